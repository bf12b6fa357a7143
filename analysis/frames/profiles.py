"""Whole distributions over runs: interquartile means and performance profiles.

A trial that failed reached no score: it stays in the denominator of a profile and counts as the
worst value in an interquartile mean. One that a search stopped early is left out.

References
----------
Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice",
https://arxiv.org/abs/2108.13264
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from analysis.load import Results
from analysis.statistics.intervals import (
    BOOTSTRAP_CLUSTERS,
    FloatArray,
    expanded_level,
    resample_weights,
)
from study.results import PRIMARY_ENDPOINTS, is_larger_better

N_RESAMPLES = 1999
N_SCORES = 41


def interquartile_means(
    results: Results, endpoints: Sequence[str] = PRIMARY_ENDPOINTS, *, level: float = 0.95
) -> pd.DataFrame:
    """Average the middle half of each cell's recorded trials.

    Parameters
    ----------
    results : Results
    endpoints : sequence of str
        Numeric columns of the trials table.
    level : float

    Returns
    -------
    pandas.DataFrame
        cell, the factors, endpoint, estimate (NaN where a quarter or more of the trials failed:
        the middle half then holds failures), low, high, interval (percentile bootstrap over data
        seeds; none below 8), level, n_trials, n_lost, n_data.
    """
    rows = []
    for head, group in _recorded(results):
        for name in endpoints:
            values, seeds = _worst_for_lost(group, name)
            rows.append(
                head
                | {"endpoint": name, "estimate": interquartile_mean(values)}
                | _resampled(values, seeds, level)
                | {"n_trials": len(values), "n_lost": int(group[name].isna().sum())}
            )
    return pd.DataFrame(rows)


def interquartile_mean(values: FloatArray) -> float:
    """Average the middle half of the values; NaN where that half is not finite."""
    mean = float(scipy.stats.trim_mean(values, 0.25)) if len(values) else float("nan")
    return mean if np.isfinite(mean) else float("nan")


def _recorded(results: Results) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    factors = list(results.manifest.factors)
    return [
        ({"cell": cell} | {name: group[name].iloc[0] for name in factors}, group)
        for cell, group in _ended(results.trials).groupby("cell", sort=False)
    ]


def _ended(trials: pd.DataFrame) -> pd.DataFrame:
    """Leave out what a search stopped early: it was not lost, and its end is not known."""
    return trials[trials["status"] != "stopped"]


def _worst_for_lost(group: pd.DataFrame, name: str) -> tuple[FloatArray, FloatArray]:
    """Return a cell's values, the lost ones infinitely bad, and their data seeds."""
    worst = -np.inf if is_larger_better(name) else np.inf
    done = (group["status"] == "done") & group[name].notna()
    values = group[name].astype("Float64").astype(float).where(done, worst)
    seeds = np.asarray(group["data_seed"].to_numpy(np.float64))
    return np.asarray(values.to_numpy(np.float64)), seeds


def _resampled(values: FloatArray, seeds: FloatArray, level: float) -> dict[str, Any]:
    """Bootstrap the interquartile mean over data seeds."""
    labels, which = np.unique(seeds, return_inverse=True)
    n = len(labels)
    nothing = {"low": np.nan, "high": np.nan, "interval": "none", "level": np.nan, "n_data": n}
    if n < BOOTSTRAP_CLUSTERS or not np.isfinite(interquartile_mean(values)):
        return nothing
    drawn = _interquartile_means(values, np.rint(resample_weights(n, 499) * n)[:, which])
    tail = (1 - expanded_level(level, n)) / 2
    if np.isnan(drawn).any():
        return nothing
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return nothing | {"low": low, "high": high, "interval": "percentile", "level": level}


def _interquartile_means(values: FloatArray, times: FloatArray) -> FloatArray:
    """Return the interquartile mean of each resample.

    Parameters
    ----------
    values : array of shape (n,)
    times : array of shape (n_resamples, n)
        How often each value enters.
    """
    order = np.argsort(values)
    values, times = values[order], times[:, order]
    after = times.cumsum(axis=1)
    size = after[:, -1:]
    cut = np.floor(0.25 * size)
    kept = np.minimum(after, size - cut) - np.maximum(after - times, cut)
    kept = np.clip(kept, 0, None)
    # A lost trial is infinitely bad; one that is cut away must not make 0 times infinity.
    used = np.broadcast_to(values, kept.shape)
    total = np.multiply(kept, used, out=np.zeros_like(kept), where=kept > 0).sum(axis=1)
    means = total / kept.sum(axis=1)
    return np.asarray(np.where(np.isfinite(means), means, np.nan))


def performance_profile(results: Results, endpoint: str, *, level: float = 0.95) -> pd.DataFrame:
    """Return the share of each cell's recorded trials that reach a score or better.

    Parameters
    ----------
    results : Results
    endpoint : str
        A numeric column of the trials table.
    level : float

    Returns
    -------
    pandas.DataFrame
        cell, the factors, endpoint, score, share (failed trials reach none), low, high, interval
        (percentile bootstrap over data seeds; none below 8), level, n_trials, n_data. "Better" is
        larger for the recalls and densities, smaller otherwise.
    """
    cells = [(head, *_worst_for_lost(group, endpoint)) for head, group in _recorded(results)]
    known = np.concatenate([np.empty(0), *(v[np.isfinite(v)] for _, v, _ in cells)])
    if not len(known):
        return pd.DataFrame()
    scores = np.linspace(known.min(), known.max(), N_SCORES)
    larger = is_larger_better(endpoint)
    parts = []
    for head, values, seeds in cells:
        reached = values[:, None] >= scores if larger else values[:, None] <= scores
        labels, which = np.unique(seeds, return_inverse=True)
        by_seed = np.stack([reached[which == i].mean(axis=0) for i in range(len(labels))])
        frame = pd.DataFrame({"score": scores, "share": by_seed.mean(axis=0)})
        enough = len(labels) >= BOOTSTRAP_CLUSTERS
        frame["low"], frame["high"] = _share_limits(by_seed, level) if enough else (np.nan, np.nan)
        frame["interval"] = "percentile" if enough else "none"
        frame["level"] = level if enough else np.nan
        counts: dict[str, Any] = {
            "endpoint": endpoint,
            "n_trials": len(values),
            "n_data": len(labels),
        }
        parts.append(frame.assign(**head, **counts))
    first = [*cells[0][0], "endpoint", "score", "share", "low", "high", "interval", "level"]
    return pd.concat(parts, ignore_index=True)[[*first, "n_trials", "n_data"]]


def _share_limits(by_seed: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    tail = (1 - expanded_level(level, len(by_seed))) / 2
    drawn = resample_weights(len(by_seed), N_RESAMPLES) @ by_seed
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return np.asarray(low), np.asarray(high)
