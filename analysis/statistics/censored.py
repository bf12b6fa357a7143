"""Counts that stop at the largest k tried: right-censored, by Kaplan-Meier.

A search over k = low..high that stops at high says only that k* >= high. The mean of such counts
is a lower bound; their median is valid while less than half of them are censored.

References
----------
Kaplan and Meier (1958), "Nonparametric estimation from incomplete observations",
https://doi.org/10.1080/01621459.1958.10501452
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import (
    BOOTSTRAP_CLUSTERS,
    FloatArray,
    expanded_level,
    floats,
    resample_weights,
    t_limits,
)


def kaplan_meier(k: ArrayLike, at_ceiling: ArrayLike) -> pd.DataFrame:
    """Estimate P(k* > k) when counts at the ceiling are right-censored.

    Parameters
    ----------
    k : array of shape (n,)
        Detected counts.
    at_ceiling : array of shape (n,), bool

    Returns
    -------
    pandas.DataFrame
        Columns k, survival.
    """
    counts, censored = floats(k), floats(at_ceiling)
    known = ~(np.isnan(counts) | np.isnan(censored))
    if not known.any():
        return pd.DataFrame({"k": [], "survival": []}, dtype=float)
    data = scipy.stats.CensoredData.right_censored(counts[known], censored[known].astype(bool))
    survival = scipy.stats.ecdf(data).sf
    return pd.DataFrame({"k": survival.quantiles, "survival": survival.probabilities})


def censored_median(k: ArrayLike, at_ceiling: ArrayLike) -> float:
    """Return the Kaplan-Meier median count; infinite when half or more are censored below it.

    Returns
    -------
    float
        inf means "above the ceiling"; NaN that nothing was counted.
    """
    curve = kaplan_meier(k, at_ceiling)
    if curve.empty:
        return float("nan")
    reached = curve.loc[curve["survival"] <= 0.5 + 1e-12, "k"]
    return float(reached.iloc[0]) if len(reached) else float("inf")


def survival_limits(
    k: ArrayLike,
    at_ceiling: ArrayLike,
    clusters: ArrayLike,
    *,
    level: float = 0.95,
    n_resamples: int = 1999,
    seed: int = 0,
) -> pd.DataFrame:
    """Estimate P(k* > k) with limits that resample clusters, every cluster of equal weight.

    With 8 clusters or more: percentile bootstrap at the expanded level; with 2 to 7: t on the
    jackknife's pseudo-values; where every cluster agrees (0 or 1): Clopper-Pearson with
    n = clusters; with one cluster: none.

    Parameters
    ----------
    k, at_ceiling, clusters : arrays of shape (n,)
    level : float
    n_resamples, seed : int

    Returns
    -------
    pandas.DataFrame
        Columns k (from one below the smallest count), survival, low, high, interval, level.
    """
    counts, censored = floats(k), floats(at_ceiling)
    known = ~(np.isnan(counts) | np.isnan(censored))
    if not known.any():
        columns = ["k", "survival", "low", "high", "interval", "level"]
        return pd.DataFrame({name: [] for name in columns})
    grid, events, at_risk = _life_table(
        counts[known], censored[known].astype(bool), np.asarray(clusters)[known]
    )
    n = len(events)
    frame = pd.DataFrame({"k": grid, "survival": _survival(np.ones((1, n)), events, at_risk)[0]})
    if n == 1:
        return frame.assign(low=np.nan, high=np.nan, interval="none", level=np.nan)
    if n >= BOOTSTRAP_CLUSTERS:
        weights = resample_weights(n, n_resamples, seed)
        tail = (1 - expanded_level(level, n)) / 2
        drawn = _survival(weights, events, at_risk)
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
        kind = "percentile"
    else:
        whole = frame["survival"].to_numpy()
        pseudo = n * whole - (n - 1) * _survival(1 - np.eye(n), events, at_risk)
        low, high = t_limits(whole, pseudo.std(axis=0, ddof=1), n, level=level)
        kind = "t"
    frame = frame.assign(low=np.clip(low, 0, 1), high=np.clip(high, 0, 1), interval=kind)
    return _agreed(frame.assign(level=level), n, level)


def _agreed(frame: pd.DataFrame, n: int, level: float) -> pd.DataFrame:
    """Replace the empty interval where all clusters agree on 0 or on 1."""
    reach = (0.5 - level / 2) ** (1 / n)
    all_above, none_above = frame["survival"] >= 1 - 1e-12, frame["survival"] <= 1e-12
    frame.loc[all_above, ["low", "high"]] = (reach, 1.0)
    frame.loc[none_above, ["low", "high"]] = (0.0, 1 - reach)
    frame.loc[all_above | none_above, "interval"] = "exact"
    return frame


def _life_table(
    counts: FloatArray, censored: NDArray[np.bool_], clusters: NDArray[Any]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Count events and trials at risk at each k, as shares of each cluster's trials.

    Returns
    -------
    grid : array of shape (n_k,)
        Every k from one below the smallest count to the largest.
    events, at_risk : arrays of shape (n_clusters, n_k)
    """
    _, index = np.unique(clusters, return_inverse=True)
    grid = np.arange(counts.min() - 1, counts.max() + 1)
    member = (index == np.arange(index.max() + 1)[:, None]).astype(np.float64)
    member /= member.sum(axis=1, keepdims=True)
    events = (counts[:, None] == grid) & ~censored[:, None]
    return grid, member @ events, member @ (counts[:, None] >= grid)


def _survival(weights: FloatArray, events: FloatArray, at_risk: FloatArray) -> FloatArray:
    """Multiply the shares that survive each k: shape (n_weightings, n_k)."""
    dying, risk = weights @ events, weights @ at_risk
    lost = np.divide(dying, risk, out=np.zeros_like(dying), where=risk > 1e-12)
    return np.asarray(np.cumprod(1 - np.clip(lost, 0, 1), axis=1))
