"""Which factors matter: analysis of variance, and importances from Optuna beside it.

Three questions, three numbers, never mixed: omega squared is a share of the variance over the
grid; fANOVA is the same share by a random forest; PED-ANOVA says what matters for being among
the best tenth. A dummy factor of pure noise shows what each gives to nothing.

References
----------
Olejnik and Algina (2003), "Generalized eta and omega squared statistics",
https://doi.org/10.1037/1082-989X.8.4.434
Hutter, Hoos and Leyton-Brown (2014), "An efficient approach for assessing hyperparameter
importance", https://proceedings.mlr.press/v32/hutter14.html
Watanabe, Bansal and Hutter (2023), "PED-ANOVA: efficiently quantifying hyperparameter importance
in arbitrary subspaces", https://doi.org/10.24963/ijcai.2023/488
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import optuna
import pandas as pd
import scipy.stats

from analysis.frames.cells import cells, done_trials, independent_factors
from analysis.frames.contrasts import is_measured_alike
from analysis.frames.reference import reference_cell
from analysis.load import Results
from analysis.statistics.balanced import balanced_core, factorial_sums
from analysis.statistics.intervals import FloatArray, jackknife_half_width
from study.results import endpoint as endpoint_record

Scale = Literal["raw", "log"]
# Nested in the data seed.
INNER_SEEDS = ("init_seed", "sample_seed", "detection_seed")
DATA, INIT, ERROR, DUMMY = "data seed", "other seeds", "cells x data seed", "noise (dummy)"
# Optuna's time grows with the rows (fANOVA's with their square); shares are stable long before.
PED_ROWS = 1000
FANOVA_ROWS, FANOVA_TREES, FANOVA_DEPTH = 150, 16, 8
ANOVA_COLUMNS = (
    "endpoint", "scale", "term", "df", "sum_sq", "f", "p", "eta_sq", "omega_sq", "low", "high",
    "interval", "level", "error", "n_data", "n_init", "n_trials", "n_dropped", "left_out",
)  # fmt: skip
IMPORTANCE_COLUMNS = (
    "endpoint", "factor", "evaluator", "importance", "low", "high", "is_dummy", "interval",
    "level", "n_data", "n_trials",
)  # fmt: skip


def anova(
    results: Results, endpoint: str, *, scale: Scale = "raw", level: float = 0.95
) -> pd.DataFrame:
    """Analyse the variance of a balanced factorial with data seeds as random blocks.

    Each factor and interaction is tested against cells x data seeds, that against the trials
    inside (other seeds). Where factors are not fully crossed, the levels that leave gaps are left
    out; where that leaves no grid, all cells are one term, "cell". The F test of cells takes
    differences between cells to vary equally (sphericity); the families of
    `contrasts.cell_contrasts` do not. A measuring factor is left out for an endpoint that does not
    depend on it.

    Parameters
    ----------
    results : Results
    endpoint : str
        A numeric column of the trials table.
    scale : "raw" or "log"
        Shares of variance belong to a scale: where spreads grow with the mean, the raw ones are
        those of the few cells with the largest means.
    level : float
        Of the intervals of omega squared.

    Returns
    -------
    pandas.DataFrame
        endpoint, scale, term, df, sum_sq, f, p, eta_sq, omega_sq (less than 0 is none), low and
        high (of omega squared, by the jackknife over data seeds), interval, level, error (the
        term it is tested against), n_data, n_init (trials a cell and data seed), n_trials,
        n_dropped (outside the balanced core), left_out (levels). Empty below 2 cells or 2 data
        seeds, and on the log scale where a value is not positive.
    """
    design = _design(results, endpoint)
    if design is None or (scale == "log" and not (design.values > 0).all()):
        return pd.DataFrame(columns=list(ANOVA_COLUMNS))
    values = np.log(design.values) if scale == "log" else design.values
    frame = _anova_rows(design.names, values)
    limits = _omega_limits(design.names, values, frame, level)
    return frame.assign(
        endpoint=endpoint,
        scale=scale,
        **limits,
        n_data=values.shape[-2],
        n_init=values.shape[-1],
        n_trials=values.size,
        n_dropped=design.n_dropped,
        left_out=design.left_out,
    )[list(ANOVA_COLUMNS)]


def _omega_limits(
    names: list[str], values: FloatArray, frame: pd.DataFrame, level: float
) -> dict[str, Any]:
    """Put limits around omega squared by leaving out one data seed at a time."""
    n = values.shape[-2]
    if n < 3:
        return {"low": np.nan, "high": np.nan, "interval": "none", "level": np.nan}
    left_out = np.stack(
        [_anova_rows(names, np.delete(values, i, axis=-2))["omega_sq"] for i in range(n)]
    )
    half = jackknife_half_width(left_out, level)
    return {
        "low": np.clip(frame["omega_sq"] - half, 0, 1),
        "high": np.clip(frame["omega_sq"] + half, 0, 1),
        "interval": "jackknife",
        "level": level,
    }


@dataclass(frozen=True, slots=True)
class _Design:
    """An endpoint as factors x data seeds x trials.

    Parameters
    ----------
    names : list of str
        One for each of the first axes of `values`.
    values : array
        Axes: the factors, data seeds, trials inside.
    n_dropped : int
        Trials outside the balanced core.
    left_out : str
        Levels without which the grid is complete.
    """

    names: list[str]
    values: FloatArray
    n_dropped: int
    left_out: str = ""


def _design(results: Results, endpoint: str) -> _Design | None:
    """Arrange an endpoint as factors x data seeds x trials; None where there is no factorial."""
    done = _moved_by_factors(results, endpoint)
    frame = cells(results)
    frame = frame[frame["cell"].isin(done["cell"])]
    factors = independent_factors(frame, results.manifest.factors)
    if done.empty or not factors:
        return None
    gaps, left_out = _gaps(frame[["cell", *factors]], factors)
    rows = done[~done["cell"].isin(gaps)]
    rows = rows.assign(value=rows[endpoint].astype("Float64").astype(float))
    inner = [name for name in INNER_SEEDS if name not in results.manifest.factors]
    rows["replicate"] = rows.groupby(inner, sort=False).ngroup()
    core = balanced_core(rows, "value", ["cell", "data_seed", "replicate"])
    if core.values.shape[0] < 2 or core.values.shape[1] < 2 or not core.values.size:
        return None
    kept = rows.drop_duplicates("cell").set_index("cell").loc[list(core.labels[0]), factors]
    levels = [pd.factorize(kept[name]) for name in factors]
    shape = tuple(len(names) for _, names in levels)
    if np.prod(shape) != len(kept) or kept.duplicated().any():
        return _Design(["cell"], core.values, core.n_dropped)
    values = np.empty((*shape, *core.values.shape[1:]))
    values[tuple(codes for codes, _ in levels)] = core.values
    used = [axis for axis, size in enumerate(shape) if size > 1]
    return _Design(
        [factors[i] for i in used],
        values.reshape(*(shape[i] for i in used), *values.shape[len(shape) :]),
        core.n_dropped,
        left_out,
    )


def _moved_by_factors(results: Results, endpoint: str) -> pd.DataFrame:
    """Take the finished trials, of a factor that cannot move the endpoint only one level."""
    done = done_trials(results.trials)
    reference = done[done["cell"] == reference_cell(results)]
    for name in results.manifest.factors:
        if is_measured_alike(endpoint, {name}) and len(reference):
            done = done[done[name] == reference[name].iloc[0]]
    return done


def _gaps(frame: pd.DataFrame, factors: list[str]) -> tuple[set[str], str]:
    """Find the cells without which the others are fully crossed, level by level.

    The level that lacks the largest share of its combinations goes first. Nothing is left out
    where that would take more than half of the cells, or a factor's last but one level.
    """
    kept = frame
    left_out: list[str] = []
    while True:
        n_levels = {name: kept[name].nunique() for name in factors}
        size = math.prod(n_levels.values())
        n_missing = size - len(kept.drop_duplicates(factors))
        if n_missing == 0:
            gone = set(frame["cell"]) - set(kept["cell"])
            return gone, ", ".join(left_out)
        shares = {
            (name, level): 1 - len(rows.drop_duplicates(factors)) * n_levels[name] / size
            for name in factors
            if n_levels[name] > 2
            for level, rows in kept.groupby(name, sort=False)
        }
        if not shares or len(kept) <= len(frame) / 2:
            return set(), ""
        name, level = max(shares, key=lambda key: shares[key])
        kept = kept[kept[name] != level]
        left_out.append(f"{name}={level}")


def _anova_rows(names: list[str], values: FloatArray) -> pd.DataFrame:
    sums = factorial_sums(values)
    n_data, per_place = values.shape[-2:]
    n_cells = int(np.prod(values.shape[:-2]))
    labels = [" x ".join(names[i] for i in term) for term in sums.terms]
    free = [int(np.prod([values.shape[i] - 1 for i in term])) for term in sums.terms]
    rows = [
        *zip(labels, free, sums.effects, [ERROR] * len(labels), strict=True),
        (DATA, n_data - 1, sums.blocks, ERROR),
        (ERROR, (n_cells - 1) * (n_data - 1), sums.error, INIT),
    ]
    if per_place > 1:
        rows.append((INIT, n_cells * n_data * (per_place - 1), sums.within, ""))
    frame = pd.DataFrame(rows, columns=["term", "df", "sum_sq", "error"])
    square = (frame["sum_sq"] / frame["df"]).to_numpy()
    by_term = dict(zip(frame["term"], zip(square, frame["df"], strict=True), strict=True))
    below = [by_term.get(name, (np.nan, np.nan)) for name in frame["error"]]
    noise, noise_df = (np.array(column, dtype=float) for column in zip(*below, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        frame["f"] = square / noise
    frame["p"] = scipy.stats.f.sf(frame["f"], frame["df"], noise_df)
    total = float(frame["sum_sq"].sum())
    frame["eta_sq"] = frame["sum_sq"] / total if total > 0 else np.nan
    frame["omega_sq"] = (frame["sum_sq"] - frame["df"] * noise) / (total + noise)
    return frame


def importances(results: Results, endpoint: str, *, level: float = 0.95) -> pd.DataFrame:
    """Rank the factors, the data seed and a dummy by three evaluators.

    Parameters
    ----------
    results : Results
    endpoint : str
        A numeric column of the trials table.
    level : float

    Returns
    -------
    pandas.DataFrame
        endpoint, factor, evaluator ("omega squared", "fANOVA", "PED-ANOVA"), importance (a share
        of the variance; Optuna's sum to 1), low, high, is_dummy, interval (jackknife over data
        seeds, or none: fANOVA), level, n_data, n_trials. An interaction is a factor named
        "a x b", of omega squared alone. Empty where `anova` is.
    """
    design = _design(results, endpoint)
    if design is None:
        return pd.DataFrame(columns=list(IMPORTANCE_COLUMNS))
    names, values = design.names, design.values
    noise = _dummy(values.shape)
    parts = [_omega(names, values, noise, level)]
    record = endpoint_record(endpoint)
    # PED-ANOVA asks what the best trials have in common.
    if record is not None and record.better != "neither":
        worth = values if record.better == "low" else -values
        parts.append(_ped(names, worth, noise, level))
    parts.append(_fanova(names, values, noise))
    frame = pd.concat(parts, ignore_index=True)
    return frame.assign(
        endpoint=endpoint,
        is_dummy=frame["factor"] == DUMMY,
        n_data=values.shape[-2],
        n_trials=values.size,
    )[list(IMPORTANCE_COLUMNS)]


def _dummy(shape: tuple[int, ...]) -> FloatArray:
    """Draw a factor of 5 levels that has nothing to do with the rows."""
    return np.random.default_rng(0).integers(0, 5, shape).astype(np.float64)


def _omega(names: list[str], values: FloatArray, noise: FloatArray, level: float) -> pd.DataFrame:
    def shares(rows: FloatArray, dummy: FloatArray) -> dict[str, float]:
        frame = _anova_rows(names, rows).set_index("term")["omega_sq"]
        found = {str(term): float(share) for term, share in frame.items()}
        kept = {term: max(found[term], 0.0) for term in found if term not in (ERROR, INIT)}
        return kept | {DUMMY: _one_way_omega(rows.ravel(), dummy.ravel())}

    return _jackknifed(shares, values, noise, level).assign(evaluator="omega squared")


def _one_way_omega(values: FloatArray, groups: FloatArray) -> float:
    """Give omega squared of one factor of unequal groups."""
    frame = pd.DataFrame({"value": values, "group": groups}).groupby("group")["value"]
    total = float(((values - values.mean()) ** 2).sum())
    between = float((frame.size() * (frame.mean() - values.mean()) ** 2).sum())
    free = frame.ngroups - 1
    square = (total - between) / max(len(values) - free - 1, 1)
    return max((between - free * square) / (total + square), 0.0) if total > 0 else float("nan")


def _jackknifed(shares: Any, values: FloatArray, noise: FloatArray, level: float) -> pd.DataFrame:
    """Put t limits around shares, from leaving out one data seed at a time; cut at 0 and 1."""
    n = values.shape[-2]
    whole = shares(values, noise)
    if n > 2:
        left_out = pd.DataFrame(
            [shares(np.delete(values, i, axis=-2), np.delete(noise, i, axis=-2)) for i in range(n)]
        )
        half = pd.Series(jackknife_half_width(left_out.to_numpy(), level), index=left_out.columns)
    else:
        half = pd.Series(np.nan, index=list(whole))
    frame = pd.Series(whole, name="importance").rename_axis("factor").reset_index()
    half = frame["factor"].map(half)
    return frame.assign(
        low=(frame["importance"] - half).clip(0, 1),
        high=(frame["importance"] + half).clip(0, 1),
        interval="jackknife" if n > 2 else "none",
        level=level if n > 2 else np.nan,
    )


def _ped(names: list[str], values: FloatArray, noise: FloatArray, level: float) -> pd.DataFrame:
    """Importance for the trials with the least values."""
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()

    def shares(rows: FloatArray, dummy: FloatArray) -> dict[str, float]:
        listed = _rows(names, rows, dummy)
        few = listed.sample(PED_ROWS, random_state=0) if len(listed) > PED_ROWS else listed
        return _optuna_shares(few, evaluator)

    return _jackknifed(shares, values, noise, level).assign(evaluator="PED-ANOVA")


def _fanova(names: list[str], values: FloatArray, noise: FloatArray) -> pd.DataFrame:
    rows = _rows(names, values, noise)
    if len(rows) > FANOVA_ROWS:
        rows = rows.sample(FANOVA_ROWS, random_state=0)
    evaluator = optuna.importance.FanovaImportanceEvaluator(
        n_trees=FANOVA_TREES, max_depth=FANOVA_DEPTH, seed=0
    )
    shares = _optuna_shares(rows, evaluator, ordered=True)
    frame = pd.Series(shares, name="importance").rename_axis("factor").reset_index()
    return frame.assign(low=np.nan, high=np.nan, interval="none", level=np.nan, evaluator="fANOVA")


def _rows(names: list[str], values: FloatArray, noise: FloatArray) -> pd.DataFrame:
    """List an array's trials with the codes of their levels."""
    codes = np.indices(values.shape)
    columns = {name: codes[i].ravel() for i, name in enumerate([*names, DATA])}
    return pd.DataFrame(columns | {DUMMY: noise.ravel().astype(int), "value": values.ravel()})


def _optuna_shares(
    rows: pd.DataFrame, evaluator: Any, *, ordered: bool = False
) -> dict[str, float]:
    """Feed rows to Optuna as finished trials; levels are categories, or whole numbers.

    Trees split whole numbers hundreds of times faster than categories, which become a column for
    each level; a few splits tell any level apart.
    """
    names = [name for name in rows.columns if name != "value"]
    levels = {name: sorted(map(int, rows[name].unique())) for name in names}
    # Optuna gives a factor of one level no importance.
    varied = [name for name in names if len(levels[name]) > 1]
    space: dict[str, Any] = {
        name: optuna.distributions.IntDistribution(levels[name][0], levels[name][-1])
        if ordered
        else optuna.distributions.CategoricalDistribution(levels[name])
        for name in varied
    }
    if np.ptp(rows["value"]) == 0 or not varied:
        return dict.fromkeys(names, 0.0)
    found = optuna_importances(rows.astype(dict.fromkeys(varied, int)), space, evaluator)
    return {name: float(found.get(name, 0.0)) for name in names}


def optuna_importances(
    rows: pd.DataFrame,
    space: Mapping[str, optuna.distributions.BaseDistribution],
    evaluator: Any,
    *,
    direction: Literal["minimize", "maximize"] = "minimize",
) -> dict[str, float]:
    """Give rows to Optuna as finished trials and ask an evaluator for importances.

    Parameters
    ----------
    rows : pandas.DataFrame
        A column for each parameter, and value.
    space : mapping of str to distribution
        The parameters.
    evaluator : an evaluator of optuna.importance
    direction : "minimize" or "maximize"
        What is good of the value.

    Returns
    -------
    dict of str to float
        The largest first.
    """
    trials = [
        optuna.trial.create_trial(
            params={name: row[name] for name in space},
            distributions=dict(space),
            value=float(row["value"]),
        )
        for row in rows.to_dict("records")
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = _quiet_study(direction)
        study.add_trials(trials)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _quiet_study(direction: Literal["minimize", "maximize"]) -> optuna.Study:
    """Make a study in memory without its line on stderr."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction=direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
