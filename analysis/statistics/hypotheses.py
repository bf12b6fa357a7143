"""Tests for differences paired by data seed, and what several of them are worth together.

A data seed is one pair. Every p-value is two-sided unless said otherwise.

References
----------
Holm (1979), "A simple sequentially rejective multiple test procedure", https://www.jstor.org/stable/4615733
Benjamini and Hochberg (1995), "Controlling the false discovery rate",
https://doi.org/10.1111/j.2517-6161.1995.tb02031.x
Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach",
https://doi.org/10.1007/BF01068419
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from analysis.statistics.intervals import (
    FloatArray,
    Interval,
    cluster_means,
    floats,
    mean_intervals,
    t_limits,
)

EXACT_CLUSTERS = 15
RANDOM_FLIPS = 50_000


@dataclass(frozen=True, slots=True)
class Contrast:
    """A paired difference over data seeds.

    Parameters
    ----------
    difference : Interval
        Mean of the data seeds' differences.
    p_value : float
        Two-sided sign-flip test; NaN below 2 data seeds.
    superiority : float
        Share of data seeds with a positive difference, ties counted half.
    dz : float
        Mean difference in units of the differences' standard deviation.
    """

    difference: Interval
    p_value: float
    superiority: float
    dz: float


def sign_flip_test(
    differences: ArrayLike, *, n_resamples: int = RANDOM_FLIPS, seed: int = 0
) -> float:
    """Test that paired differences are symmetric about zero, on their mean.

    Parameters
    ----------
    differences : array of shape (n,)
        One for each data seed. All 2^n sign patterns are tried for n <= 15; above, random ones,
        the observed pattern included.
    n_resamples, seed : int
        Of the random patterns.

    Returns
    -------
    float
        p-value; NaN below 2 differences. It cannot be smaller than 2^(1 - n).
    """
    values = floats(differences)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan")
    return float(sign_flip_tests(values[None], n_resamples=n_resamples, seed=seed)[0])


def sign_flip_tests(
    differences: FloatArray, *, n_resamples: int = RANDOM_FLIPS, seed: int = 0
) -> FloatArray:
    """Give `sign_flip_test` of each row, without missing values.

    Parameters
    ----------
    differences : array of shape (n_tests, n), n >= 2

    Returns
    -------
    array of shape (n_tests,)
    """
    signs = sign_patterns(differences.shape[1], n_resamples, seed)
    p_values = np.empty(len(differences))
    for index, row in enumerate(differences):
        means = np.abs(signs @ row)
        # The tolerance keeps patterns that tie with the observed one from being lost to rounding.
        p_values[index] = np.mean(means >= abs(row.sum()) * (1 - 1e-12) - 1e-300)
    return p_values


@lru_cache(maxsize=16)
def sign_patterns(n: int, n_resamples: int = RANDOM_FLIPS, seed: int = 0) -> FloatArray:
    """List sign patterns of n differences, the observed one (all +1) first.

    Parameters
    ----------
    n : int
    n_resamples, seed : int
        How many random patterns are drawn above 15 differences, and from which seed.

    Returns
    -------
    array of shape (n_patterns, n)
        All of them for n <= 15, but for their opposites, which give the same two-sided statistic.
    """
    if n <= EXACT_CLUSTERS:
        # A pattern and its opposite give the same statistic: half of them are enough.
        flips = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1
        return np.asarray(1.0 - 2.0 * flips, dtype=np.float64)
    drawn = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_resamples, n))
    signs = np.asarray(drawn, dtype=np.float64)
    signs[0] = 1.0
    return signs


def paired_contrast(
    values: ArrayLike, controls: ArrayLike, clusters: ArrayLike, *, level: float = 0.95
) -> Contrast:
    """Compare values with their controls, data seed by data seed.

    Parameters
    ----------
    values, controls, clusters : arrays of shape (n,)
        A trial's value, the control of the same data set, its data seed.
    level : float
    """
    return paired_contrasts([(floats(values) - floats(controls), clusters)], level=level)[0]


def paired_contrasts(
    differences: Sequence[tuple[ArrayLike, ArrayLike]], *, level: float = 0.95
) -> list[Contrast]:
    """Judge many sets of paired differences.

    Parameters
    ----------
    differences : sequence of (differences, clusters)
        Of each trial; they are averaged within data seeds.
    level : float
    """
    intervals = mean_intervals(differences, level=level)
    contrasts = []
    for (values, clusters), interval in zip(differences, intervals, strict=True):
        means = cluster_means(values, clusters)
        nan = float("nan")
        superiority = float(np.mean((means > 0) + 0.5 * (means == 0))) if len(means) else nan
        sd = float(means.std(ddof=1)) if len(means) > 1 else nan
        contrasts.append(
            Contrast(
                difference=interval,
                p_value=sign_flip_test(means),
                superiority=superiority,
                dz=float(means.mean() / sd) if sd > 0 else nan,
            )
        )
    return contrasts


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Two one-sided tests that a mean difference lies within a margin.

    Parameters
    ----------
    difference, low, high : float
        Mean over data seeds and its 90 % t interval (1 - 2 alpha at alpha = 0.05).
    p_value : float
        The larger of the two one-sided ones; NaN below 2 data seeds.
    n_clusters : int
    """

    difference: float
    low: float
    high: float
    p_value: float
    n_clusters: int


def equivalence_test(
    differences: ArrayLike, clusters: ArrayLike, *, margin: float, alpha: float = 0.05
) -> Equivalence:
    """Test that a mean paired difference is smaller than a margin, either way (TOST).

    Parameters
    ----------
    differences, clusters : arrays of shape (n,)
        They are averaged within data seeds.
    margin : float
        In the differences' units.
    alpha : float
        The interval has the level 1 - 2 alpha: it lies within the margin exactly when
        p < alpha.

    Raises
    ------
    ValueError
        `margin` is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin must be positive, found {margin}; 1 component is usual")
    means = cluster_means(differences, clusters)
    n, nan = len(means), float("nan")
    if n < 2:
        return Equivalence(float(means.mean()) if n else nan, nan, nan, nan, n)
    mean, sd = float(means.mean()), float(means.std(ddof=1))
    low, high = t_limits(mean, sd, n, level=1 - 2 * alpha)
    if sd == 0:
        p_value = 0.0 if abs(mean) < margin else 1.0
    else:
        t = (margin - abs(mean)) / (sd / np.sqrt(n))
        p_value = float(scipy.stats.t.sf(t, n - 1))
    return Equivalence(mean, float(low), float(high), p_value, n)


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust a family of p-values by Holm's step-down method; missing ones stay missing.

    Parameters
    ----------
    p_values : array of shape (n,)
    """
    p = floats(p_values)
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: ArrayLike) -> FloatArray:
    """Adjust p-values of an exploration for the false discovery rate; missing ones stay missing.

    Parameters
    ----------
    p_values : array of shape (n,)
    """
    p = floats(p_values)
    adjusted = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjusted[known] = scipy.stats.false_discovery_control(p[known])
    return adjusted
