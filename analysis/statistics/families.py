"""Families of paired tests on shared data seeds: step-down max-T, and its simultaneous intervals.

Symbols: x_jd is test j's difference in data seed d (mean over the trials of the seed, missing
where the seed has no pair), t_j the studentised mean of row j over its n_j seeds.

**Sign flips.** If two cells do the same, the two values of a data seed could as well be exchanged,
so that all differences of a seed can change sign together: whatever the laws of the values are,
and however the tests of a family depend on each other. Every test of a family is therefore set
beside the largest |t| of the family under the same flips (Westfall and Young), the largest one
beside all, the next beside those that are left, and so on (step-down). All 2^n sign patterns are
tried for n <= 15; above, random ones, the observed pattern included. There is no floor that
grows with the number of tests, as there is for Holm's method: only that of the patterns, 2^(1-n).
A test with so few seeds that it cannot reject by itself would keep the others from it; it is
judged beside the family (Tarone). So that tests of unequal n_j compare, t_j is turned into the
normal value of equal probability (Wallace).

**The other null hypothesis.** A cell may help some data sets and harm others, so that the mean
difference is zero and the law of the differences is skewed. Then sign flips reject too often. A
bootstrap of seeds, studentised in each resample, holds its level there; with few seeds it is
cautious where the law is symmetric. Both are given; docs/statistics.md has the simulations.

References
----------
Westfall and Young (1993), "Resampling-based multiple testing", Wiley, algorithm 2.8
Tarone (1990), "A modified Bonferroni method for discrete data",
https://doi.org/10.2307/2531456
Wallace (1959), "Bounds on normal approximations to Student's and the chi-square distributions",
https://doi.org/10.1214/aoms/1177706091
Romano and Wolf (2005), "Exact and approximate stepdown methods for multiple hypothesis testing",
https://doi.org/10.1198/016214504000000539
Phipson and Smyth (2010), "Permutation p-values should never be zero",
https://doi.org/10.2202/1544-6115.1585
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from analysis.statistics.hypotheses import EXACT_CLUSTERS, RANDOM_FLIPS, sign_patterns
from analysis.statistics.intervals import FloatArray, floats, resample_weights
from study.endpoints.design import smallest_p

N_BOOTSTRAP = 1999
# Below this share of the variance a resample has none but rounding.
_NO_SPREAD = 1e-12


@dataclass(frozen=True, slots=True)
class Family:
    """What a family of tests says; arrays of shape (n_tests,), NaN where there was no test.

    Parameters
    ----------
    p_adjusted : array
        Step-down max-T by sign flips: the two values of a data seed could be exchanged.
    p_skewed : array
        Step-down max-T by the studentised bootstrap: the mean is zero, whatever the law.
    low, high : array
        Simultaneous intervals of the mean differences, by sign flips of the residuals; NaN for
        tests that cannot reject.
    low_skewed, high_skewed : array
        The same by the studentised bootstrap.
    critical : array
        The |t| from which on a test is significant when it is judged beside all others.
    n_patterns : int
        Sign patterns tried.
    is_exact : bool
        Whether these are all patterns.
    """

    p_adjusted: FloatArray
    p_skewed: FloatArray
    low: FloatArray
    high: FloatArray
    low_skewed: FloatArray
    high_skewed: FloatArray
    critical: FloatArray
    n_patterns: int
    is_exact: bool


def seed_matrix(differences: Sequence[tuple[ArrayLike, ArrayLike]]) -> FloatArray:
    """Lay out differences by test and data seed.

    Parameters
    ----------
    differences : sequence of (differences, data seeds)
        Of each trial or pair; they are averaged within data seeds.

    Returns
    -------
    array of shape (n_tests, n_seeds)
        A column for each data seed that any test has, NaN where a test lacks it.
    """
    known = [(floats(values), np.asarray(seeds)) for values, seeds in differences]
    labels = np.unique(np.concatenate([seeds for _, seeds in known])) if known else np.array([])
    matrix = np.full((len(known), len(labels)), np.nan)
    for row, (values, seeds) in zip(matrix, known, strict=True):
        kept = ~np.isnan(values)
        place = np.searchsorted(labels, seeds[kept])
        n = np.bincount(place, minlength=len(labels))
        with np.errstate(invalid="ignore"):
            row[:] = np.bincount(place, weights=values[kept], minlength=len(labels)) / n
    return matrix


def judge_family(
    differences: FloatArray,
    *,
    level: float = 0.95,
    n_flips: int = RANDOM_FLIPS,
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> Family:
    """Judge all tests of a family together.

    Parameters
    ----------
    differences : array of shape (n_tests, n_seeds)
        Of `seed_matrix`. Tests with fewer than two seeds are left out.
    level : float
        Of the simultaneous intervals.
    n_flips : int
        Random sign patterns above 15 seeds.
    n_bootstrap : int
        Resamples of the studentised bootstrap.
    seed : int
        Seed of both.
    """
    x = np.asarray(differences, dtype=np.float64)
    n = (~np.isnan(x)).sum(axis=1)
    p_flips, p_skewed, critical, half, wide = (np.full(len(x), np.nan) for _ in range(5))
    mean = np.full(len(x), np.nan)
    signs = sign_patterns(x.shape[1], n_flips, seed)
    able = smallest_p(n) <= 1 - level
    for tests in (np.flatnonzero(able), np.flatnonzero(~able & (n >= 2))):
        if not len(tests):
            continue
        rows = _Rows.of(x[tests])
        mean[tests] = rows.mean
        p_flips[tests] = step_down(rows.z, rows.flipped(signs))
        p_skewed[tests] = step_down(rows.z, rows.resampled(n_bootstrap, seed), observed=1)
        if able[tests[0]]:
            critical[tests] = rows.critical(rows.centred.flipped(signs), level)
            half[tests] = critical[tests] * rows.error
            wide[tests] = rows.critical(rows.resampled(n_bootstrap, seed), level) * rows.error
    is_exact = x.shape[1] <= EXACT_CLUSTERS
    return Family(
        p_adjusted=p_flips,
        p_skewed=p_skewed,
        low=mean - half,
        high=mean + half,
        low_skewed=mean - wide,
        high_skewed=mean + wide,
        critical=critical,
        n_patterns=2 * len(signs) if is_exact else len(signs),
        is_exact=is_exact,
    )


def step_down(
    statistics: FloatArray, drawn: Iterator[FloatArray], *, observed: int = 0
) -> FloatArray:
    """Adjust the p-values of a family by the step-down maxima of drawn statistics.

    Parameters
    ----------
    statistics : array of shape (n_tests,)
        The observed ones; large ones speak against the null hypothesis.
    drawn : iterator of arrays of shape (n, n_tests)
        Statistics under the null hypotheses, in parts. NaN: a draw that says nothing of a test; it
        counts against that test, and against no other.
    observed : int
        Add so many draws that equal the observed statistics: 1 where the draws do not hold
        them, so that no p-value is zero; 0 where they do.

    Returns
    -------
    array of shape (n_tests,)
        Monotone in the order of the statistics.
    """
    order = np.argsort(-statistics, kind="stable")
    # The tolerance keeps draws that tie with the observed ones from being lost to rounding.
    bound = statistics[order] * (1 - 1e-9) - 1e-12
    n_above, n = np.full(len(order), float(observed)), observed
    for part in drawn:
        ranked = part[:, order]
        empty = np.isnan(ranked)
        ranked[empty] = 0.0
        largest = np.maximum.accumulate(ranked[:, ::-1], axis=1)[:, ::-1]
        n_above += ((largest >= bound) | empty).sum(axis=0)
        n += len(part)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(n_above / n)
    return adjusted


@dataclass(frozen=True, slots=True)
class _Rows:
    """Tests with what their statistics need.

    Parameters
    ----------
    values : array of shape (n_tests, n_seeds)
        0 where missing.
    known : array of shape (n_tests, n_seeds)
    n, mean, error, z : array of shape (n_tests,)
        Seeds, mean, standard error of the mean, and the statistic: |t| as a normal value.
    """

    values: FloatArray
    known: FloatArray
    n: FloatArray
    mean: FloatArray
    error: FloatArray
    z: FloatArray

    @classmethod
    def of(cls, x: FloatArray) -> _Rows:
        known = (~np.isnan(x)).astype(np.float64)
        values = np.where(np.isnan(x), 0.0, x)
        n = known.sum(axis=1)
        mean, square = values.sum(axis=1) / n, (values**2).sum(axis=1) / n
        error = np.sqrt(np.maximum(square - mean**2, 0) / (n - 1))
        return cls(values, known, n, mean, error, _z(mean, square, n))

    def flipped(self, signs: FloatArray) -> Iterator[FloatArray]:
        """Give the statistics under sign patterns, in parts that fit in memory."""
        square = (self.values**2).sum(axis=1) / self.n
        for part in _parts(signs, len(self.n)):
            yield _z(part @ self.values.T / self.n, square, self.n)

    @property
    def centred(self) -> _Rows:
        """The residuals of each test."""
        residuals = self.values - self.mean[:, None]
        return _Rows.of(np.where(self.known > 0, residuals, np.nan))

    def critical(self, drawn: Iterator[FloatArray], level: float) -> FloatArray:
        """Give the |t| of each test that the largest drawn statistic reaches at a level."""
        largest = np.concatenate([np.nan_to_num(part).max(axis=1) for part in drawn])
        free = self.n - 1
        z = np.quantile(largest, level, method="higher") * (8 * free + 3) / (8 * free + 1)
        return np.asarray(np.sqrt(free * np.expm1(z**2 / free)))

    def resampled(self, n_bootstrap: int, seed: int) -> Iterator[FloatArray]:
        """Give the statistics of the residuals in bootstrap resamples of the seeds."""
        centred = self.centred.values
        spread = (centred**2).sum(axis=1) / self.n
        weights = resample_weights(self.values.shape[1], n_bootstrap, seed)
        for part in _parts(weights, len(self.n)):
            with np.errstate(invalid="ignore", divide="ignore"):
                total = part @ self.known.T
                mean = part @ centred.T / total
                square = part @ (centred**2).T / total
                # Where few values are distinct, resamples without spread are frequent.
                empty = ~(square - mean**2 > 1e-9 * spread)
                z = _z(mean, square, self.n)
            yield np.where(empty & (spread > 0), np.nan, z)


def _parts(draws: FloatArray, n_tests: int) -> Iterator[FloatArray]:
    size = max(1, 400_000 // max(n_tests, 1))
    for start in range(0, len(draws), size):
        yield draws[start : start + size]


def _z(mean: FloatArray, square: FloatArray, n: FloatArray) -> FloatArray:
    """Give |t| as a normal value, from mean and mean square; differences all zero have 0."""
    spread = np.maximum(square - mean**2, _NO_SPREAD * square)
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = mean**2 / spread  # t^2 / (n - 1)
    free = n - 1
    z = (8 * free + 1) / (8 * free + 3) * np.sqrt(free * np.log1p(scaled))
    return np.asarray(np.where(square > 0, z, 0.0))


def sign_test(differences: ArrayLike) -> float:
    """Test that a difference is as often above zero as below it, whatever its law.

    Parameters
    ----------
    differences : array of shape (n,)
        One for each data seed; zeros and missing ones are left out.

    Returns
    -------
    float
        Two-sided binomial p-value; NaN without a difference.
    """
    values = floats(differences)
    values = values[~np.isnan(values) & (values != 0)]
    if not len(values):
        return float("nan")
    return float(scipy.stats.binomtest(int((values > 0).sum()), len(values)).pvalue)
