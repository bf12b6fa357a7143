"""Turn rows into tidy frames that hold what a figure or table shows; figures compute nothing.

Every estimate comes with `low`, `high`, `interval` (a key of `stats.KIND_TEXT`), `level`,
`n_trials` (trials behind it) and `n_data` (data seeds behind it). Cells keep the sweep's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis import stats
from analysis.load import Results
from study.config import MixtureConfig, ModelConfig, TrainingConfig
from study.results import PROTOCOLS, SOURCES, count_columns

ORIGINAL_RANGE = (5, 14)
# What the original report logged for its one network.
REPORTED = {
    ("recon", 10): 2.5483,
    ("recon", 100): 1.8898,
    ("kl_nats", 10): 3.9426,
    ("kl_nats", 100): 3.1580,
}
REPORTED_K = 14
PRIMARY_ENDPOINTS = ("mode_recall", "spurious_mass", "fkl_nats")
BOUNDS = {
    "mode_recall": (0.0, 1.0),
    "spurious_mass": (-1.0, 1.0),
    "fkl_nats": (0.0, np.inf),
    "tv": (0.0, 1.0),
}


def named_rows(frame: pd.DataFrame) -> list[Any]:
    """List a frame's rows as named tuples; a place to say once that columns have no types."""
    return list(frame.itertuples(index=False))


def done_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Keep the trials that were trained and measured to the end."""
    return trials[trials["status"] == "done"]


def cells(results: Results) -> pd.DataFrame:
    """Count each cell's trials, finished or not.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, n_planned, n_done, n_failed (diverged, timed out, failed), n_missing
        (planned, not yet run), n_data and n_init (seeds among the finished).
    """
    return _cells(results).copy()


@lru_cache(maxsize=4)
def _cells(results: Results) -> pd.DataFrame:
    trials, factors = results.trials, list(results.manifest.factors)
    planned = results.plan["cell"].value_counts()
    rows = []
    for cell, group in trials.groupby("cell", sort=False):
        done = done_trials(group)
        n_planned = int(planned.get(cell, len(group)))
        rows.append(
            {"cell": cell}
            | {name: group[name].iloc[0] for name in factors}
            | {
                "n_planned": n_planned,
                "n_done": len(done),
                "n_failed": len(group) - len(done),
                "n_missing": n_planned - len(group),
                "n_data": done["data_seed"].nunique(),
                "n_init": done["init_seed"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def lost_controls(results: Results) -> pd.DataFrame:
    """List the mixtures whose control was not counted: control_id, status, message."""
    lost = results.controls[results.controls["status"] != "done"]
    return lost[["control_id", "status", "message"]].reset_index(drop=True)


def independent_factors(cell_frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """Order the factors for drawing: the x axis first, then those that split panels.

    x is the numeric factor with the most levels. A factor that another one already determines
    (axes that move together, a rule and the number it implies) is left out.
    """
    levels = {name: cell_frame[name].nunique() for name in factors}
    numeric = [name for name in factors if pd.api.types.is_numeric_dtype(cell_frame[name])]
    numeric = [name for name in numeric if not pd.api.types.is_bool_dtype(cell_frame[name])]
    ranked = sorted(factors, key=lambda name: (name not in numeric, -levels[name]))
    kept: list[str] = []
    for name in ranked:
        determined = kept and cell_frame.groupby(kept)[name].nunique().max() <= 1
        if levels[name] > 1 and not determined:
            kept.append(name)
    return kept


def _interval_row(interval: stats.Interval, n_trials: int) -> dict[str, Any]:
    row = asdict(interval)
    row["n_data"] = row.pop("n_clusters")
    row["interval"] = row.pop("kind")
    return row | {"n_trials": n_trials}


def _by_cell(results: Results) -> Iterable[tuple[dict[str, Any], pd.DataFrame]]:
    factors = list(results.manifest.factors)
    for cell, group in done_trials(results.trials).groupby("cell", sort=False):
        yield {"cell": cell} | {name: group[name].iloc[0] for name in factors}, group


def endpoints_by_cell(
    results: Results, endpoints: Sequence[str] = PRIMARY_ENDPOINTS, *, level: float = 0.95
) -> pd.DataFrame:
    """Estimate the mean of endpoints in each cell, with intervals over data seeds.

    Parameters
    ----------
    results : Results
    endpoints : sequence of str
        Numeric columns of the trials table.
    level : float

    Returns
    -------
    pandas.DataFrame
        cell, the factors, endpoint, and the estimate's columns.
    """
    rows = []
    for head, group in _by_cell(results):
        for name in endpoints:
            interval = stats.mean_interval(
                group[name],
                group["data_seed"],
                level=level,
                bounds=BOUNDS.get(name, (-np.inf, np.inf)),
            )
            row = _interval_row(interval, int(group[name].notna().sum()))
            rows.append(head | {"endpoint": name} | row)
    return pd.DataFrame(rows)


def coverage_by_cell(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Estimate coverage k* / K of every source by both protocols, the control among them.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, source ("data" is the control), protocol, the estimate's columns,
        ceiling (largest k tried over K), n_at_ceiling, share_at_ceiling (of the counted trials),
        share_low and share_high (of all planned trials, if none or all of the missing ones were
        at the ceiling), k_median (Kaplan-Meier, inf: above the ceiling).
    """
    return _coverage_by_cell(results, level).copy()


# Figure, tables, captions and answer ask for the same estimates: they are bootstrapped once.
@lru_cache(maxsize=4)
def _coverage_by_cell(results: Results, level: float) -> pd.DataFrame:
    planned = cells(results).set_index("cell")["n_planned"]
    rows = []
    for head, group in _by_cell(results):
        # A control is counted once for each mixture, however many trials share it.
        controls = group.drop_duplicates("control_id")
        for source, protocol in _counted(group):
            is_control = source == "data"
            counted = controls if is_control else group
            n_planned = len(controls) if is_control else planned[head["cell"]]
            rows.append(
                head
                | {"source": source, "protocol": protocol}
                | _coverage_row(counted, source, protocol, level=level)
                | _ceiling_row(counted, source, protocol, n_planned=n_planned)
            )
    return pd.DataFrame(rows)


def _counted(trials: pd.DataFrame) -> list[tuple[str, str]]:
    """List the (source, protocol) pairs that at least one trial counted."""
    pairs = [(source, protocol) for protocol in PROTOCOLS for source in SOURCES]
    return [pair for pair in pairs if trials[count_columns(*pair)[0]].notna().any()]


def _coverage_row(
    group: pd.DataFrame, source: str, protocol: str, *, level: float
) -> dict[str, Any]:
    _, coverage, _ = count_columns(source, protocol)
    first = group.iloc[0]
    ks = ORIGINAL_RANGE if protocol == "original" else (first["k_min"], first["k_max"])
    low, high = (float(k) / float(first["n_components"]) for k in ks)
    interval = stats.mean_interval(
        group[coverage], group["data_seed"], level=level, bounds=(low, high)
    )
    row = _interval_row(interval, int(group[coverage].notna().sum()))
    return row | {"ceiling": high}


def _ceiling_row(
    group: pd.DataFrame, source: str, protocol: str, *, n_planned: int
) -> dict[str, Any]:
    k, _, flag = count_columns(source, protocol)
    flags = group[flag].dropna().astype(bool)
    low, high = stats.share_bounds(int(flags.sum()), len(flags), int(n_planned))
    return {
        "n_at_ceiling": int(flags.sum()),
        "share_at_ceiling": float(flags.mean()) if len(flags) else float("nan"),
        "share_low": low,
        "share_high": high,
        "k_median": stats.censored_median(group[k], group[flag]),
    }


def coverage_trials(results: Results) -> pd.DataFrame:
    """List every count as one row: cell, factors, seeds, source, protocol, k, coverage, flag."""
    done = done_trials(results.trials)
    keys = ["trial_id", "cell", *results.manifest.factors, "data_seed", "init_seed"]
    parts = []
    for source, protocol in _counted(done):
        columns = list(count_columns(source, protocol))
        counted = done.drop_duplicates(["cell", "control_id"]) if source == "data" else done
        part = counted[keys + columns].rename(
            columns=dict(zip(columns, ("k", "coverage", "at_ceiling"), strict=True))
        )
        parts.append(part.assign(source=source, protocol=protocol))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def contrasts_by_cell(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Compare k* of generated points with k* of the control, paired by data seed.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, source, protocol, the difference in components with its interval,
        p_value (sign-flip), p_holm (Holm over the cells of a source and protocol), superiority,
        dz and share_at_ceiling: where it is not 0 the difference is a lower bound.
    """
    return _contrasts_by_cell(results, level).copy()


@lru_cache(maxsize=4)
def _contrasts_by_cell(results: Results, level: float) -> pd.DataFrame:
    rows = []
    for head, group in _by_cell(results):
        for source, protocol in _counted(group):
            if source == "data" or group[f"k_data_{protocol}"].isna().all():
                continue
            contrast = stats.paired_contrast(
                group[f"k_{source}_{protocol}"],
                group[f"k_data_{protocol}"],
                group["data_seed"],
                level=level,
            )
            rows.append(
                head
                | {"source": source, "protocol": protocol}
                | _interval_row(contrast.difference, len(group))
                | {
                    "p_value": contrast.p_value,
                    "superiority": contrast.superiority,
                    "dz": contrast.dz,
                    "share_at_ceiling": float(group[f"at_ceiling_{source}_{protocol}"].mean()),
                }
            )
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    families = frame.groupby(["source", "protocol"], sort=False)["p_value"]
    return frame.assign(p_holm=families.transform(stats.holm))


def losses_by_epoch(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Average the training curves within data seeds, then over them.

    Returns
    -------
    pandas.DataFrame
        cell, quantity ("recon" or "kl_nats"), epoch, and the estimate's columns; t intervals on
        data-seed means, or the range over init seeds when there is one data seed.
    """
    done = done_trials(results.trials)
    seeds = done.set_index("trial_id")[["cell", "data_seed"]]
    long = (
        results.curves[["trial_id", "epoch", "recon", "kl_nats"]]
        .join(seeds, on="trial_id", how="inner")
        .melt(["trial_id", "cell", "data_seed", "epoch"], var_name="quantity")
        .dropna(subset=["value"])
    )
    if long.empty:
        return long
    keys = ["cell", "quantity", "epoch"]
    inside = long.groupby([*keys, "data_seed"], sort=False)["value"].agg(["mean", "count"])
    frame = inside.groupby(keys, sort=False).agg(
        estimate=("mean", "mean"),
        sd=("mean", "std"),
        n_data=("mean", "size"),
        n_trials=("count", "sum"),
    )
    spread = long.groupby(keys, sort=False)["value"].agg(["min", "max"])
    low, high = stats.t_limits(frame["estimate"], frame["sd"], frame["n_data"], level=level)
    several, alone = frame["n_data"] > 1, frame["n_trials"] == 1
    frame["low"] = low.where(several, spread["min"]).mask(alone)
    frame["high"] = high.where(several, spread["max"]).mask(alone)
    frame["interval"] = np.select([several, alone], ["t", "none"], "range")
    frame["level"] = np.where(several, level, np.nan)
    return frame.drop(columns="sd").reset_index()


def bic_curves(results: Results, trials: pd.DataFrame) -> pd.DataFrame:
    """Take the BIC curves of some trials and of their controls, each above its own minimum.

    Parameters
    ----------
    results : Results
    trials : pandas.DataFrame
        Rows of the trials table, such as one cell's.

    Returns
    -------
    pandas.DataFrame
        owner_id, source, protocol, k, bic, delta_bic (BIC units above the curve's minimum),
        selected, at_ceiling; of each owner the last epoch counted.
    """
    owners = [*trials["trial_id"], *trials["control_id"].dropna().unique()]
    counts = results.counts[results.counts["owner_id"].isin(owners)]
    curve = ["owner_id", "source", "protocol"]
    last = counts.groupby(curve)["epoch"].transform("max")
    counts = counts[last.isna() | (counts["epoch"] == last)]
    lowest = counts.groupby(curve)["bic"].transform("min")
    columns = [*curve, "k", "bic", "delta_bic", "selected", "at_ceiling"]
    frame = counts.assign(delta_bic=counts["bic"] - lowest)[columns]
    return frame.sort_values([*curve, "k"]).reset_index(drop=True)


def recall_and_spurious(results: Results) -> pd.DataFrame:
    """Pair mode recall with spurious mass: samples and decoder means of every finished trial.

    Returns
    -------
    pandas.DataFrame
        trial_id, cell, factors, seeds, source, mode_recall, spurious_mass.
    """
    done = done_trials(results.trials)
    keys = ["trial_id", "cell", *results.manifest.factors, "data_seed", "init_seed"]
    parts = []
    for source, tail in (("samples", ""), ("means", "_means")):
        names = {f"mode_recall{tail}": "mode_recall", f"spurious_mass{tail}": "spurious_mass"}
        part = done[[*keys, *names]].rename(columns=names).assign(source=source)
        parts.append(part.dropna(subset=["mode_recall", "spurious_mass"]))
    return pd.concat(parts, ignore_index=True)


def original_settings() -> dict[str, Any]:
    """Give the trials-table columns that define the original report's network and training."""
    mixture, model, training = MixtureConfig(), ModelConfig(), TrainingConfig()
    return {
        "n_components": mixture.n_components,
        "dim": mixture.dim,
        "alpha": mixture.alpha,
        "n_samples": mixture.n_samples,
        "latent_dim": model.latent_dim,
        "hidden": "x".join(map(str, model.hidden)),
        "activation": model.activation,
        "decoder_variance_rule": model.decoder_variance,
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "kl_weight": training.kl_weight,
        "standardize": training.standardize,
    }


def is_original_setting(trials: pd.DataFrame) -> pd.Series:
    """Mark the trials with the original's mixture law, network and training.

    A given mixture counts only when it is trained on the original's own points.
    """
    matches = pd.Series(True, index=trials.index)
    for name, value in original_settings().items():
        same = (trials[name] == value).fillna(False).astype(bool)
        # A given mixture has no recipe, hence no alpha.
        matches &= same | trials[name].isna() if name == "alpha" else same
    recipe = (trials["box_rule"] == "fixed") & (trials["box_half_width"] == MixtureConfig().box)
    own = trials["training_points"] == "original"
    return matches & (recipe.fillna(False).astype(bool) | own.fillna(False).astype(bool))


def is_the_original(results: Results) -> bool:
    """Whether the whole sweep trains the original's network on the original's own points."""
    trials = results.trials
    own = (trials["training_points"] == "original").fillna(False)
    return bool(own.all() and is_original_setting(trials).all())


def reference_cell(results: Results) -> str:
    """Choose the cell whose pictures stand for the sweep: the original's, else the first.

    Cells without a finished trial are passed over while another has one.
    """
    done = done_trials(results.trials)
    pool = done if len(done) else results.trials
    preferred = pool[is_original_setting(pool)]
    return str((preferred if len(preferred) else pool)["cell"].iloc[0])


def representative_trial(results: Results) -> pd.Series | None:
    """Choose the trial whose points are drawn: the reference cell's first with a gallery."""
    done = done_trials(results.trials)
    done = done[done["trial_id"].isin(results.points["trial_id"].unique())]
    if done.empty:
        return None
    first = done[done["cell"] == reference_cell(results)]
    pool = first if len(first) else done
    return pool.sort_values(["data_seed", "init_seed"]).iloc[0]


def report_against_replication(results: Results) -> pd.DataFrame:
    """Set the original report's numbers beside the sweep's spread.

    Returns
    -------
    pandas.DataFrame
        quantity, epoch, reported, mean, low, high (range over the trials), n_trials, inside
        (whether the reported number lies in the range).
    """
    done = done_trials(results.trials)
    curves = results.curves[results.curves["trial_id"].isin(done["trial_id"])]
    rows = []
    for (name, epoch), reported in REPORTED.items():
        values = curves.loc[curves["epoch"] == epoch, name]
        rows.append({"quantity": name, "epoch": epoch} | _spread(values, reported))
    last = int(done["epochs"].max()) if len(done) else 0
    for source in ("means", "data", "samples", "codes"):
        for protocol in PROTOCOLS:
            k, _, _ = count_columns(source, protocol)
            told = REPORTED_K if (source, protocol) == ("means", "original") else float("nan")
            rows.append({"quantity": k, "epoch": last} | _spread(done[k], told))
    return pd.DataFrame(rows).query("n_trials > 0").reset_index(drop=True)


def _spread(values: pd.Series, reported: float) -> dict[str, Any]:
    known = values.dropna().astype(float)
    low, high = (known.min(), known.max()) if len(known) else (np.nan, np.nan)
    return {
        "reported": reported,
        "mean": known.mean() if len(known) else np.nan,
        "low": low,
        "high": high,
        "n_trials": len(known),
        "inside": None if np.isnan(reported) else bool(low <= reported <= high),
    }
