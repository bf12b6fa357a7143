"""Do the metrics agree: rank correlations over trials and over cells."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from analysis.frames.cells import done_trials
from analysis.load import Results
from analysis.statistics.intervals import BOOTSTRAP_CLUSTERS, FloatArray
from study.results import COMPARED_ENDPOINTS

COMPARED_COUNTS = ("k_samples_original", "k_samples_calibrated", "k_means_calibrated")
COLUMNS = (
    "metric", "other", "spearman", "kendall", "low", "high", "n", "level", "interval",
    "confidence", "n_data",
)  # fmt: skip
# A rank correlation of fewer is a coin toss.
SMALLEST = 4


def agreement(
    results: Results,
    level: Literal["trials", "cells"],
    metrics: Sequence[str] | None = None,
    *,
    confidence: float = 0.95,
    n_resamples: int = 199,
    seed: int = 0,
) -> pd.DataFrame:
    """Correlate the ranks that metrics give to trials, or to cells (means over data seeds).

    Parameters
    ----------
    results : Results
    level : {"trials", "cells"}
        What is ranked.
    metrics : sequence of str, optional
        Numeric columns of the trials table; those that are constant or absent are left out. By
        default three counts and the endpoints that are compared.
    confidence : float
    n_resamples, seed : int
        Of the bootstrap over data seeds (whole data seeds, with all cells in them).

    Returns
    -------
    pandas.DataFrame
        metric, other (each pair once), spearman, kendall (tau-b), low and high (of spearman), n
        (trials or cells), level ("trials" or "cells"), interval, confidence, n_data. Empty below
        4 of what is ranked.

    Raises
    ------
    ValueError
        `level` is neither.
    """
    if level not in ("trials", "cells"):
        raise ValueError(f"level must be 'trials' or 'cells', found {level!r}")
    done = done_trials(results.trials)
    listed = (*COMPARED_COUNTS, *COMPARED_ENDPOINTS) if metrics is None else metrics
    names = [name for name in listed if name in done and done[name].nunique() > 1]
    table = done[names].astype("Float64").astype(float).dropna(axis=1, how="all").dropna()
    seeds = done.loc[table.index, "data_seed"].to_numpy()
    groups = pd.factorize(done.loc[table.index, "cell"])[0]
    if level == "trials":
        groups = np.arange(len(table))
    values = _group_means(table.to_numpy(np.float64), groups)
    if len(values) < SMALLEST or table.shape[1] < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    n_data = len(np.unique(seeds))
    several = n_data >= BOOTSTRAP_CLUSTERS
    limits = np.full((2, len(table.columns), len(table.columns)), np.nan)
    if several:
        drawn = _resampled(table.to_numpy(np.float64), groups, seeds, n_resamples, seed)
        tails = [0.5 - confidence / 2, 0.5 + confidence / 2]
        with warnings.catch_warnings():
            # A pair whose ranks never vary in a resample has no limits.
            warnings.filterwarnings("ignore", "All-NaN slice")
            limits = np.nanquantile(drawn, tails, axis=0)
    frame = _pairs(list(table.columns), values, limits).assign(
        n=len(values),
        level=level,
        interval="percentile" if several else "none",
        confidence=confidence if several else np.nan,
        n_data=n_data,
    )
    return frame[list(COLUMNS)]


def _pairs(names: list[str], values: FloatArray, limits: FloatArray) -> pd.DataFrame:
    spearman = _spearman(values)
    rows = [
        {
            "metric": names[i],
            "other": names[j],
            "spearman": spearman[i, j],
            "kendall": float(scipy.stats.kendalltau(values[:, i], values[:, j]).statistic),
            "low": limits[0, i, j],
            "high": limits[1, i, j],
        }
        for i, j in combinations(range(len(names)), 2)
    ]
    return pd.DataFrame(rows)


def _resampled(
    values: FloatArray, groups: NDArray[np.int64], seeds: NDArray[Any], n: int, seed: int
) -> FloatArray:
    """Correlate resamples of whole data seeds: shape (n, n_metrics, n_metrics)."""
    rng = np.random.default_rng(seed)
    _, which = np.unique(seeds, return_inverse=True)
    members = [np.flatnonzero(which == i) for i in range(which.max() + 1)]
    found = []
    for _ in range(n):
        chosen = rng.integers(0, len(members), len(members))
        index = np.concatenate([members[i] for i in chosen])
        # A trial drawn twice is two trials; a cell's mean holds each of them.
        each = np.arange(len(index)) if len(groups) == groups.max() + 1 else groups[index]
        found.append(_spearman(_group_means(values[index], each)))
    return np.stack(found)


def _group_means(values: FloatArray, groups: NDArray[np.int64]) -> FloatArray:
    """Average the rows of each group: shape (n_groups, n_metrics)."""
    if not len(groups):
        return values
    size = np.bincount(groups)
    total = np.zeros((len(size), values.shape[1]))
    np.add.at(total, groups, values)
    return total[size > 0] / size[size > 0, None]


def _spearman(values: FloatArray) -> FloatArray:
    """Correlate the ranks of columns; a column that is constant gives NaN."""
    ranks = scipy.stats.rankdata(values, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.atleast_2d(np.corrcoef(ranks, rowvar=False)))
