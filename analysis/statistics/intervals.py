"""Statistics for cells x data seeds x init seeds: arrays in, numbers out.

The data seed draws the mixture and its points; every init seed of a data seed shares them. Trials
of one data seed are therefore one cluster, and n in every interval and test below is the number
of clusters, never the number of trials.

Intervals of a mean, by the number of clusters:

- 8 or more: BCa bootstrap of the cluster means, at the expanded level of Hesterberg (2015). The
  plain BCa interval holds only 90 % at 10 clusters where it claims 95 %; expanded it holds
  93-96 % (docs/statistics.md has the simulation).
- 2 to 7: Student's t on the cluster means.
- 1: no interval over data seeds exists; the range over the trials is given and named as such.

References
----------
Efron (1987), "Better bootstrap confidence intervals", https://doi.org/10.1080/01621459.1987.10478410
Hesterberg (2015), "What teachers should know about the bootstrap",
https://doi.org/10.1080/00031305.2015.1089789
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntervalKind = Literal[
    "bca", "t", "exact", "percentile", "mls", "jackknife", "constant", "range", "none"
]

BOOTSTRAP_CLUSTERS = 8
N_RESAMPLES = 4999
KIND_TEXT: dict[str, str] = {
    "bca": "BCa bootstrap interval",
    "t": "t interval",
    "exact": "Clopper-Pearson interval",
    "percentile": "percentile bootstrap interval over data seeds",
    "mls": "modified large-sample interval with jackknifed degrees of freedom",
    "jackknife": "jackknife t interval over data seeds",
    "constant": "no spread over data seeds",
    "range": "range over init seeds of one data seed, not a confidence interval",
    "none": "single value, no interval",
}


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its interval.

    Parameters
    ----------
    estimate, low, high : float
        NaN where there is nothing to estimate.
    n_clusters : int
        Data seeds behind it.
    kind : str
        A key of `KIND_TEXT`.
    level : float
        Confidence level; NaN for the kinds that have none.
    """

    estimate: float
    low: float
    high: float
    n_clusters: int
    kind: IntervalKind
    level: float


def cluster_means(values: ArrayLike, clusters: ArrayLike) -> FloatArray:
    """Average within clusters, missing values left out.

    Parameters
    ----------
    values : array of shape (n,)
    clusters : array of shape (n,)

    Returns
    -------
    array of shape (n_clusters,)
        In the order of the sorted cluster labels; clusters without a value are dropped.
    """
    x = floats(values)
    known = ~np.isnan(x)
    _, index = np.unique(np.asarray(clusters)[known], return_inverse=True)
    return np.asarray(np.bincount(index, weights=x[known]) / np.bincount(index), dtype=np.float64)


def floats(values: ArrayLike) -> FloatArray:
    """Convert to float64; pandas' missing integers and booleans become NaN."""
    if isinstance(values, (pd.Series, pd.api.extensions.ExtensionArray)):
        return np.asarray(values.to_numpy(np.float64, na_value=np.nan))
    return np.asarray(values, dtype=np.float64)


def mean_interval(
    values: ArrayLike,
    clusters: ArrayLike,
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Estimate a mean with an interval that resamples clusters.

    The estimate is the mean of the cluster means, so that a data seed that lost trials to
    failures weighs as much as any other.

    Parameters
    ----------
    values, clusters : arrays of shape (n,)
        One value and one data seed for each trial.
    level : float
        In (0, 1).
    bounds : (float, float)
        What the quantity cannot leave; the interval is cut there.
    n_resamples, seed : int
        The bootstrap's.

    Returns
    -------
    Interval
        Its kind says which of the module's rules applied.

    Raises
    ------
    ValueError
        `level` is outside (0, 1).
    """
    return mean_intervals(
        [(values, clusters)], level=level, bounds=[bounds], n_resamples=n_resamples, seed=seed
    )[0]


def mean_intervals(
    samples: Sequence[tuple[ArrayLike, ArrayLike]],
    *,
    level: float = 0.95,
    bounds: Sequence[tuple[float, float]] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Give `mean_interval` of many samples; those of one size share their resamples.

    Parameters
    ----------
    samples : sequence of (values, clusters)
    level, n_resamples, seed
        As `mean_interval`.
    bounds : sequence of (float, float) or None
        One pair for each sample.

    Returns
    -------
    list of Interval

    Raises
    ------
    ValueError
        `level` is outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), found {level}; 0.95 is usual")
    means = [cluster_means(values, clusters) for values, clusters in samples]
    found: list[Interval | None] = [
        _without_resampling(values, row, level)
        for (values, _), row in zip(samples, means, strict=True)
    ]
    by_size: dict[int, list[int]] = {}
    for index, (row, interval) in enumerate(zip(means, found, strict=True)):
        if interval is None:
            by_size.setdefault(len(row), []).append(index)
    for n, indices in by_size.items():
        low, high = bca_limits(
            np.stack([means[i] for i in indices]), level=level, n_resamples=n_resamples, seed=seed
        )
        for i, start, end in zip(indices, low, high, strict=True):
            mean = float(means[i].mean())
            found[i] = Interval(mean, float(start), float(end), n, "bca", level)
    whole = [(-np.inf, np.inf)] * len(means) if bounds is None else bounds
    return [_cut(interval, *ends) for interval, ends in zip(found, whole, strict=True) if interval]


def _without_resampling(values: ArrayLike, means: FloatArray, level: float) -> Interval | None:
    """Give the interval of a sample that needs no bootstrap; None where it does."""
    n, nan = len(means), float("nan")
    if n == 0:
        return Interval(nan, nan, nan, 0, "none", nan)
    estimate = float(means.mean())
    if n == 1:
        known = floats(values)[~np.isnan(floats(values))]
        if len(known) == 1:
            return Interval(estimate, nan, nan, 1, "none", nan)
        return Interval(estimate, float(known.min()), float(known.max()), 1, "range", nan)
    if np.ptp(means) <= 1e-12 * max(1.0, abs(estimate)):
        return Interval(estimate, estimate, estimate, n, "constant", nan)
    if n >= BOOTSTRAP_CLUSTERS:
        return None
    low, high = t_limits(estimate, float(means.std(ddof=1)), n, level=level)
    return Interval(estimate, float(low), float(high), n, "t", level)


def _cut(interval: Interval, lowest: float, highest: float) -> Interval:
    """Cut an interval where its quantity ends.

    An estimate that is itself out of bounds is a fault of the rows: the interval shows it.
    """
    if interval.kind not in ("t", "bca"):
        return interval
    low = min(max(interval.low, lowest), interval.estimate)
    high = max(min(interval.high, highest), interval.estimate)
    return replace(interval, low=low, high=high)


def t_limits(mean: Any, sd: Any, n: Any, *, level: float = 0.95) -> tuple[Any, Any]:
    """Give Student's limits of a mean from its standard deviation; arrays broadcast.

    Parameters
    ----------
    mean, sd : float or array
        Of the cluster means; sd with ddof 1.
    n : int or array
        Clusters; the limits are NaN below 2.
    """
    n = np.asarray(n, dtype=np.float64)
    free = np.where(n > 1, n - 1, np.nan)
    half = scipy.stats.t.ppf(0.5 + level / 2, free) * sd / np.sqrt(n)
    return mean - half, mean + half


def jackknife_half_width(left_out: FloatArray, level: float = 0.95) -> FloatArray:
    """Return half the width of Student's interval from estimates without one cluster each.

    Parameters
    ----------
    left_out : array of shape (n_clusters, ...)
        The estimate without each cluster in turn; 2 clusters or more.
    level : float

    Returns
    -------
    array of shape (...)
    """
    n = len(left_out)
    error = np.sqrt((n - 1) ** 2 / n * np.var(left_out, axis=0, ddof=1))
    return np.asarray(scipy.stats.t.ppf(0.5 + level / 2, n - 1) * error)


def expanded_level(level: float, n: int) -> float:
    """Widen a bootstrap's nominal level so that a mean of n normal values keeps `level`.

    A bootstrap distribution of a mean is narrower than Student's by sqrt((n - 1) / n) and has a
    normal's tails; the level is moved to where both meet (Hesterberg 2015, section 5.3).
    """
    quantile = scipy.stats.t.ppf(0.5 + level / 2, n - 1) * np.sqrt(n / (n - 1))
    return float(1 - 2 * scipy.stats.norm.sf(quantile))


@lru_cache(maxsize=32)
def resample_weights(n: int, n_resamples: int = N_RESAMPLES, seed: int = 0) -> FloatArray:
    """Draw how often each of n clusters enters each resample, over n.

    Returns
    -------
    array of shape (n_resamples, n)
        Rows sum to 1. The draws are those of `scipy.stats.bootstrap` with the same seed.
    """
    drawn = np.random.default_rng(seed).integers(0, n, (n_resamples, n))
    counts = np.zeros((n_resamples, n))
    np.add.at(counts, (np.arange(n_resamples)[:, None], drawn), 1.0)
    return counts / n


def bca_limits(
    means: FloatArray,
    *,
    level: float = 0.95,
    expand: bool = True,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Give BCa limits of the mean of each row.

    Parameters
    ----------
    means : array of shape (n_samples, n_clusters)
        Rows that are not constant.
    level : float
    expand : bool
        Use the level of `expanded_level`.
    n_resamples, seed : int

    Returns
    -------
    (array, array) of shape (n_samples,)
    """
    n = means.shape[1]
    weights = resample_weights(n, n_resamples, seed)
    nominal = expanded_level(level, n) if expand else level
    tail = scipy.stats.norm.ppf(0.5 - nominal / 2)
    low, high = np.empty(len(means)), np.empty(len(means))
    # Some hundred rows at a time: all resampled means of ten thousand would not fit in memory.
    for start in range(0, len(means), 256):
        rows = means[start : start + 256]
        centre = rows.mean(axis=1, keepdims=True)
        drawn = np.sort((rows - centre) @ weights.T, axis=1)
        # Equal up to rounding is equal: counts tie often.
        near = 1e-12 * np.abs(rows).max(axis=1, keepdims=True) + 1e-300
        below = ((drawn < -near).mean(axis=1) + (drawn <= near).mean(axis=1)) / 2
        z0 = scipy.stats.norm.ppf(below)
        left_out = -(rows - centre) / (n - 1)
        skew = (-left_out) ** 3
        spread = (left_out**2).sum(axis=1)
        acceleration = skew.sum(axis=1) / (6 * spread**1.5)
        for out, z in ((low, z0 + tail), (high, z0 - tail)):
            share = scipy.stats.norm.cdf(z0 + z / (1 - acceleration * z))
            out[start : start + 256] = centre[:, 0] + _sorted_quantile(drawn, share)
    return low, high


def _sorted_quantile(rows: FloatArray, share: FloatArray) -> FloatArray:
    """Interpolate a quantile of each sorted row (numpy's default definition)."""
    place = share * (rows.shape[1] - 1)
    below = np.clip(np.floor(place).astype(int), 0, rows.shape[1] - 2)
    index = np.arange(len(rows))
    left, right = rows[index, below], rows[index, below + 1]
    return np.asarray(left + (place - below) * (right - left))


def share_bounds(n_true: int, n_counted: int, n_planned: int) -> tuple[float, float]:
    """Bound a share over all planned trials when some gave no answer.

    Parameters
    ----------
    n_true, n_counted, n_planned : int
        Trials with the property, trials that could be asked, trials planned.

    Returns
    -------
    (float, float)
        If none, and if all, of the missing trials had the property.

    Raises
    ------
    ValueError
        Not 0 <= n_true <= n_counted <= n_planned, or nothing was planned.
    """
    if not 0 <= n_true <= n_counted <= n_planned or n_planned == 0:
        raise ValueError(
            "need 0 <= n_true <= n_counted <= n_planned and n_planned > 0, "
            f"found {n_true}, {n_counted}, {n_planned}"
        )
    return n_true / n_planned, (n_true + n_planned - n_counted) / n_planned
