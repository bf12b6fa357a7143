"""Mass outside the ellipsoids of the true components, level by level, and what it is like."""

from __future__ import annotations

import pandas as pd

from analysis.frames import summary
from analysis.load import Results
from analysis.statistics import intervals as stats
from study.endpoints.outside import widened_truth_outside

# Standard deviations of the truth that a cell's mass is set beside.
FACTORS = (1.1, 1.2, 1.5)


def outside_by_cell(results: Results) -> pd.DataFrame:
    """Average the mass of samples outside each level's ellipsoids, less the control's.

    Returns
    -------
    pandas.DataFrame
        cell, dim, ellipsoid (its level), estimate, low, high, level (of the interval), n_trials,
        n_data; empty where no trial has the curve.
    """
    if results.outside.empty:
        return pd.DataFrame()
    done = summary.done_trials(results.trials)[["trial_id", "cell", "data_seed", "dim"]]
    keys = ["trial_id", "ellipsoid"]
    named = results.outside.rename(columns={"level": "ellipsoid"})
    curve = named.pivot(index=keys, columns="source", values="outside")
    excess = (curve["samples"] - curve["data"]).rename("mass").reset_index()
    joined = done.merge(excess, on="trial_id")
    groups = list(joined.groupby(["cell", "dim", "ellipsoid"], sort=False))
    intervals = stats.mean_intervals([(g["mass"], g["data_seed"]) for _, g in groups])
    return pd.DataFrame(
        [
            {"cell": cell, "dim": dim, "ellipsoid": level}
            | summary.interval_row(interval, len(group))
            for ((cell, dim, level), group), interval in zip(groups, intervals, strict=True)
        ]
    )


def widened_truths(dim: int, levels: list[float]) -> pd.DataFrame:
    """Say what the truth has outside with its standard deviations multiplied.

    Parameters
    ----------
    dim : int
        Of the data.
    levels : list of float

    Returns
    -------
    pandas.DataFrame
        factor, ellipsoid, mass; in closed form, of components that do not overlap.
    """
    return pd.DataFrame(
        [
            {"factor": factor, "ellipsoid": level}
            | {"mass": widened_truth_outside(level, dim=dim, factor=factor)}
            for factor in FACTORS
            for level in levels
        ]
    )
