"""Statistics for cells x data seeds x init seeds: arrays in, numbers out.

The data seed draws the mixture and its points; every init seed of a data seed shares them. Trials
of one data seed are therefore one cluster, and n in every interval and test below is the number
of clusters, never the number of trials.

Intervals of a mean, by the number of clusters:

- 8 or more: BCa bootstrap of the cluster means, at the expanded level of Hesterberg (2015). The
  plain BCa interval holds only 90 % at 10 clusters where it claims 95 %; expanded it holds
  93-96 % (docs/analysis.md has the simulation).
- 2 to 7: Student's t on the cluster means.
- 1: no interval over data seeds exists; the range over the trials is given and named as such.

References
----------
Efron (1987), "Better bootstrap confidence intervals", https://doi.org/10.1080/01621459.1987.10478410
Hesterberg (2015), "What teachers should know about the bootstrap",
https://doi.org/10.1080/00031305.2015.1089789
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntervalKind = Literal["bca", "t", "exact", "constant", "range", "none"]

BOOTSTRAP_CLUSTERS = 8
EXACT_CLUSTERS = 15
KIND_TEXT: dict[str, str] = {
    "bca": "BCa bootstrap interval",
    "t": "t interval",
    "exact": "Clopper-Pearson interval",
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
    x = _floats(values)
    known = ~np.isnan(x)
    _, index = np.unique(np.asarray(clusters)[known], return_inverse=True)
    return np.asarray(np.bincount(index, weights=x[known]) / np.bincount(index), dtype=np.float64)


def _floats(values: ArrayLike) -> FloatArray:
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
    n_resamples: int = 4999,
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
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), found {level}; 0.95 is usual")
    means = cluster_means(values, clusters)
    n, nan = len(means), float("nan")
    if n == 0:
        return Interval(nan, nan, nan, 0, "none", nan)
    estimate = float(means.mean())
    if n == 1:
        known = _floats(values)[~np.isnan(_floats(values))]
        kind: IntervalKind = "range" if len(known) > 1 else "none"
        low, high = (float(known.min()), float(known.max())) if len(known) > 1 else (nan, nan)
        return Interval(estimate, low, high, 1, kind, nan)
    if np.ptp(means) <= 1e-12 * max(1.0, abs(estimate)):
        return Interval(estimate, estimate, estimate, n, "constant", nan)
    if n < BOOTSTRAP_CLUSTERS:
        kind = "t"
        low, high = t_limits(estimate, float(means.std(ddof=1)), n, level=level)
    else:
        kind = "bca"
        low, high = _bca_limits(means, level, n_resamples, seed)
    # An estimate that is itself out of bounds is a fault of the rows: the interval shows it.
    low, high = min(max(low, bounds[0]), estimate), max(min(high, bounds[1]), estimate)
    return Interval(estimate, float(low), float(high), n, kind, level)


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


def expanded_level(level: float, n: int) -> float:
    """Widen a bootstrap's nominal level so that a mean of n normal values keeps `level`.

    A bootstrap distribution of a mean is narrower than Student's by sqrt((n - 1) / n) and has a
    normal's tails; the level is moved to where both meet (Hesterberg 2015, section 5.3).
    """
    quantile = scipy.stats.t.ppf(0.5 + level / 2, n - 1) * np.sqrt(n / (n - 1))
    return float(1 - 2 * scipy.stats.norm.sf(quantile))


def _bca_limits(
    means: FloatArray, level: float, n_resamples: int, seed: int
) -> tuple[float, float]:
    interval = scipy.stats.bootstrap(
        (means,),
        np.mean,
        n_resamples=n_resamples,
        confidence_level=expanded_level(level, len(means)),
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def share_interval(flags: ArrayLike, clusters: ArrayLike, *, level: float = 0.95) -> Interval:
    """Estimate a share; when every data seed agrees, Clopper-Pearson with n = data seeds.

    Parameters
    ----------
    flags : array of shape (n,)
        True, False or missing.
    clusters : array of shape (n,)
    """
    interval = mean_interval(flags, clusters, level=level, bounds=(0, 1))
    if interval.kind == "constant" and interval.estimate in (0.0, 1.0):
        n, successes = interval.n_clusters, round(interval.estimate * interval.n_clusters)
        exact = scipy.stats.binomtest(successes, n).proportion_ci(level, method="exact")
        return Interval(interval.estimate, float(exact.low), float(exact.high), n, "exact", level)
    return interval


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


def sign_flip_test(differences: ArrayLike, *, n_resamples: int = 50_000, seed: int = 0) -> float:
    """Test that paired differences are symmetric about zero (two-sided, on their mean).

    Parameters
    ----------
    differences : array of shape (n,)
        One for each data seed. All 2^n sign patterns are tried for n <= 15; above, random ones,
        the observed pattern included.

    Returns
    -------
    float
        p-value; NaN below 2 differences. It cannot be smaller than 2^(1 - n).
    """
    values = _floats(differences)
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        return float("nan")
    if n <= EXACT_CLUSTERS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        rng = np.random.default_rng(seed)
        signs = rng.choice([-1.0, 1.0], size=(n_resamples, n))
        signs[0] = 1.0
    means = np.abs(signs @ values)
    # The tolerance keeps patterns that tie with the observed one from being lost to rounding.
    return float(np.mean(means >= abs(values.sum()) * (1 - 1e-12) - 1e-300))


def paired_contrast(
    values: ArrayLike, controls: ArrayLike, clusters: ArrayLike, *, level: float = 0.95
) -> Contrast:
    """Compare values with their controls, data seed by data seed.

    Parameters
    ----------
    values, controls, clusters : arrays of shape (n,)
        A trial's value, the control of the same data set, its data seed.
    """
    differences = _floats(values) - _floats(controls)
    means = cluster_means(differences, clusters)
    nan = float("nan")
    superiority = float(np.mean((means > 0) + 0.5 * (means == 0))) if len(means) else nan
    sd = float(means.std(ddof=1)) if len(means) > 1 else nan
    return Contrast(
        difference=mean_interval(differences, clusters, level=level),
        p_value=sign_flip_test(means),
        superiority=superiority,
        dz=float(means.mean() / sd) if sd > 0 else nan,
    )


def holm(p_values: ArrayLike) -> FloatArray:
    """Adjust a family of p-values by Holm's step-down method; missing ones stay missing.

    Parameters
    ----------
    p_values : array of shape (n,)
    """
    p = _floats(p_values)
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


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
    counts, censored = _floats(k), _floats(at_ceiling)
    known = ~(np.isnan(counts) | np.isnan(censored))
    if not known.any():
        return pd.DataFrame({"k": [], "survival": []}, dtype=float)
    data = scipy.stats.CensoredData.right_censored(counts[known], censored[known].astype(bool))
    survival = scipy.stats.ecdf(data).sf
    return pd.DataFrame({"k": survival.quantiles, "survival": survival.probabilities})


def censored_median(k: ArrayLike, at_ceiling: ArrayLike) -> float:
    """Give the Kaplan-Meier median count; infinite when half or more are censored below it.

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
