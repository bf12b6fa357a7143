"""Tidy frames that hold what a figure or table shows; figures compute nothing.

Every estimate comes with `low`, `high`, `interval` (a key of `stats.KIND_TEXT`), `level`,
`n_trials` (trials behind it) and `n_data` (data seeds behind it). Cells keep the sweep's order.
The frames of the modules below this one are named here too, so that who draws or tabulates needs
one import.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.agreement import agreement
from analysis.frames.cells import (
    by_cell,
    cells,
    columns_of_counts,
    counted_pairs,
    done_trials,
    independent_factors,
    interval_row,
    lost_controls,
    named_rows,
    owed_trials,
)
from analysis.frames.contrasts import (
    cell_contrasts,
    contrasts_by_cell,
    family_alpha,
    is_measured_alike,
    paired_counts,
    primary_comparisons,
    primary_family,
)
from analysis.frames.equivalence import equivalence
from analysis.frames.importance import anova, importances
from analysis.frames.power import power_curve
from analysis.frames.profiles import interquartile_means, performance_profile
from analysis.frames.reference import (
    REPORTED,
    is_original_setting,
    is_the_original,
    reference_cell,
    report_against_replication,
)
from analysis.frames.survival import survival
from analysis.frames.variance import variance_components
from analysis.load import Results, remembered
from analysis.statistics import intervals as stats
from analysis.statistics.censored import censored_median
from study.config import ORIGINAL_RANGE
from study.results import PRIMARY_ENDPOINTS, count_columns, endpoint

__all__ = [
    "ORIGINAL_RANGE",
    "PRIMARY_ENDPOINTS",
    "REPORTED",
    "agreement",
    "anova",
    "bic_curves",
    "cell_contrasts",
    "cells",
    "contrasts_by_cell",
    "coverage_by_cell",
    "coverage_trials",
    "done_trials",
    "endpoints_by_cell",
    "equivalence",
    "family_alpha",
    "first_trials_with_points",
    "importances",
    "independent_factors",
    "interquartile_means",
    "interval_row",
    "is_measured_alike",
    "is_original_setting",
    "is_the_original",
    "losses_by_epoch",
    "lost_controls",
    "named_rows",
    "null_positions",
    "paired_counts",
    "performance_profile",
    "power_curve",
    "primary_comparisons",
    "primary_family",
    "recall_and_spurious",
    "reference_cell",
    "report_against_replication",
    "representative_trial",
    "survival",
    "variance_components",
]


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
        cell, the factors, endpoint, the estimate's columns, and lost_low, lost_high: the mean
        over all planned trials if those without a value were all at one end of what the quantity
        can be (infinite where it has no end).
    """
    return _endpoints_by_cell(results, tuple(endpoints), level).copy()


# Figure, tables, captions and answer ask for the same estimates: they are bootstrapped once.
@remembered
def _endpoints_by_cell(results: Results, endpoints: tuple[str, ...], level: float) -> pd.DataFrame:
    planned = owed_trials(results)
    heads, samples, bounds = [], [], []
    for head, group in by_cell(results, ["data_seed", *endpoints]):
        for name in endpoints:
            record = endpoint(name)
            ends = record.bounds if record else (-np.inf, np.inf)
            lost = _lost_bounds(group[name], int(planned[head["cell"]]), ends)
            n_trials = int(group[name].notna().sum())
            heads.append(head | {"endpoint": name, "n_trials": n_trials} | lost)
            samples.append((group[name], group["data_seed"]))
            bounds.append(ends)
    intervals = stats.mean_intervals(samples, level=level, bounds=bounds)
    rows = [
        head | interval_row(interval, head["n_trials"])
        for head, interval in zip(heads, intervals, strict=True)
    ]
    return pd.DataFrame(rows)


def _lost_bounds(values: pd.Series, n_planned: int, ends: tuple[float, float]) -> dict[str, float]:
    """Bound the mean over all planned trials by putting those without a value at either end."""
    known = values.dropna().astype(float)
    lost = max(n_planned - len(known), 0)
    if not lost:
        mean = float(known.mean())
        return {"lost_low": mean, "lost_high": mean}
    low, high = (float((known.sum() + lost * end) / n_planned) for end in ends)
    return {"lost_low": low, "lost_high": high}


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


@remembered
def _coverage_by_cell(results: Results, level: float) -> pd.DataFrame:
    planned = owed_trials(results)
    heads, samples, bounds = [], [], []
    for head, group in by_cell(results, columns_of_counts()):
        # A control is counted once for each mixture, however many trials share it.
        controls = group.drop_duplicates("control_id")
        for source, protocol in counted_pairs(group):
            is_control = source == "data"
            counted = controls if is_control else group
            n_planned = len(controls) if is_control else planned[head["cell"]]
            coverage = counted[count_columns(source, protocol)[1]]
            lowest, highest = _coverage_range(counted, protocol)
            heads.append(
                head
                | {"source": source, "protocol": protocol, "ceiling": highest}
                | {"n_trials": int(coverage.notna().sum())}
                | _ceiling_row(counted, source, protocol, n_planned=n_planned)
            )
            samples.append((coverage, counted["data_seed"]))
            bounds.append((lowest, highest))
    intervals = stats.mean_intervals(samples, level=level, bounds=bounds)
    rows = [
        head | interval_row(interval, head["n_trials"])
        for head, interval in zip(heads, intervals, strict=True)
    ]
    return pd.DataFrame(rows)


def _coverage_range(group: pd.DataFrame, protocol: str) -> tuple[float, float]:
    """Give the smallest and largest coverage that the protocol can find."""
    first = {name: group[name].iloc[0] for name in ("k_min", "k_max", "n_components")}
    low, high = ORIGINAL_RANGE if protocol == "original" else (first["k_min"], first["k_max"])
    true_k = float(first["n_components"])
    return float(low) / true_k, float(high) / true_k


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
        "k_median": _median(group[k], group[flag]),
    }


def _median(k: pd.Series, at_ceiling: pd.Series) -> float:
    """Give `censored_median`, by order alone where one ceiling is above every other count."""
    known = k.notna() & at_ceiling.notna()
    counts = k[known].to_numpy(np.float64)
    censored = at_ceiling[known].to_numpy(bool)
    if not len(counts) or counts[censored].min(initial=np.inf) < counts.max():
        return censored_median(k, at_ceiling)
    # Counts found at the ceiling's k itself come before those that stopped there.
    order = np.lexsort((censored, counts))
    middle = order[(len(counts) + 1) // 2 - 1]
    return float("inf") if censored[middle] else float(counts[middle])


def coverage_trials(results: Results) -> pd.DataFrame:
    """List every count as one row: cell, factors, seeds, source, protocol, k, coverage, flag."""
    done = done_trials(results.trials)
    keys = ["trial_id", "cell", *results.manifest.factors, "data_seed", "init_seed"]
    parts = []
    for source, protocol in counted_pairs(done):
        columns = list(count_columns(source, protocol))
        counted = done.drop_duplicates(["cell", "control_id"]) if source == "data" else done
        part = counted[keys + columns].rename(
            columns=dict(zip(columns, ("k", "coverage", "at_ceiling"), strict=True))
        )
        parts.append(part.assign(source=source, protocol=protocol))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def losses_by_epoch(
    results: Results, cells: Sequence[str] | None = None, *, level: float = 0.95
) -> pd.DataFrame:
    """Average the training curves within data seeds, then over them.

    Parameters
    ----------
    results : Results
    cells : sequence of str or None
        Whose curves; None: every cell's, which takes gigabytes at ten thousand trials.
    level : float

    Returns
    -------
    pandas.DataFrame
        cell, quantity ("recon" or "kl_nats"), epoch, and the estimate's columns; t intervals on
        data-seed means, or the range over init seeds when there is one data seed.
    """
    done = done_trials(results.trials)
    curves = results.curves[["trial_id", "epoch", "recon", "kl_nats"]]
    if cells is not None:
        done = done[done["cell"].isin(cells)]
        curves = curves[curves["trial_id"].isin(done["trial_id"])]
    seeds = done.set_index("trial_id")[["cell", "data_seed"]]
    long = (
        curves.join(seeds, on="trial_id", how="inner")
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


def null_positions(results: Results) -> pd.DataFrame:
    """Average recall and spurious mass of each null model over the data sets.

    Returns
    -------
    pandas.DataFrame
        null, mode_recall, spurious_mass; empty where no null model was measured.
    """
    ends = ["mode_recall", "spurious_mass"]
    if results.nulls.empty:
        return pd.DataFrame(columns=["null", *ends])
    means = results.nulls.groupby("null", sort=False)[ends].mean().dropna()
    return means.reset_index()


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


def first_trials_with_points(results: Results, points: pd.DataFrame) -> pd.DataFrame:
    """List the finished trials that stand for their cells: each cell's first that has points.

    Parameters
    ----------
    results : Results
    points : pandas.DataFrame
        Rows of points; trial_id.

    Returns
    -------
    pandas.DataFrame
        Rows of the trials table, by data and init seed.
    """
    done = done_trials(results.trials)
    done = done[done["trial_id"].isin(points["trial_id"].unique())]
    return done.sort_values(["data_seed", "init_seed"]).drop_duplicates("cell")


def representative_trial(results: Results) -> pd.Series | None:
    """Choose the trial whose points are drawn: the reference cell's first with a gallery."""
    firsts = first_trials_with_points(results, results.points)
    if firsts.empty:
        return None
    own = firsts[firsts["cell"] == reference_cell(results)]
    return (own if len(own) else firsts).iloc[0]
