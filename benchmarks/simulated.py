"""Simulated sweeps with known truths: how often the statistics of `analysis` are right.

Thousands of experiments at once, axes experiments x cells x data seeds x init seeds. The spreads
are the ones measured over real sweeps: a standard deviation over data seeds, one over init seeds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from analysis.frames.power import t_power
from analysis.statistics.balanced import factorial_sums, nested_components
from analysis.statistics.censored import survival_limits
from analysis.statistics.families import judge_family
from analysis.statistics.hypotheses import (
    benjamini_hochberg,
    equivalence_test,
    holm,
    sign_flip_test,
    sign_flip_tests,
)
from analysis.statistics.intervals import (
    BOOTSTRAP_CLUSTERS,
    bca_limits,
    resample_weights,
    t_limits,
)

FloatArray = NDArray[np.float64]
N_INIT = 3
N_RESAMPLES = 1999
LEVEL, ALPHA = 0.95, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """How a value spreads over data and init seeds.

    Parameters
    ----------
    mean, data, init : float
        Mean, and standard deviations over data seeds and over init seeds.
    skewed : bool
        Exponential instead of normal over data seeds.
    ceiling : float
        Values are rounded and cut there; infinite: neither.
    """

    mean: float
    data: float
    init: float
    skewed: bool = False
    ceiling: float = float("inf")

    def draw(self, rng: np.random.Generator, *shape: int) -> FloatArray:
        """Draw experiments: shape (..., n_data, n_init)."""
        outer = shape[:-1]
        effect = rng.exponential(size=outer) - 1 if self.skewed else rng.standard_normal(outer)
        values = self.mean + self.data * effect[..., None]
        values = values + self.init * rng.standard_normal(shape)
        return values if np.isinf(self.ceiling) else np.minimum(np.round(values), self.ceiling)


LAWS = {
    "forward KL": Law(mean=0.558, data=0.078, init=0.041),
    "count": Law(mean=18.0, data=0.49, init=1.81),
    # 30 % of these counts are at the ceiling.
    "count, 30 % at the ceiling": Law(mean=17.517, data=0.49, init=1.81, ceiling=19),
    "skewed over data seeds": Law(mean=0.558, data=0.078, init=0.041, skewed=True),
}


def generator(*names: object) -> np.random.Generator:
    """Give the stream of one case; the same names give the same numbers."""
    return np.random.default_rng(zlib.crc32(repr(names).encode()))


@lru_cache(maxsize=16)
def true_mean(law: Law) -> float:
    """Give the mean of a law, by 4 million draws where it has no closed form."""
    if np.isinf(law.ceiling):
        return law.mean
    return float(law.draw(generator("mean"), 2_000_000, 2).mean())


def interval_coverage(law: Law, n_data: int, method: str, *, n: int) -> float:
    """Give the share of n experiments whose nominal 95 % interval holds the true mean.

    Parameters
    ----------
    law : Law
    n_data : int
    method : str
        "ours" (the rule of `analysis.statistics.intervals`), "t", "plain BCa" or "row bootstrap"
        (percentiles, trials taken as independent).
    n : int
    """
    values = law.draw(generator("interval", law, n_data), n, n_data, N_INIT)
    low, high = _limits(values, method)
    if np.isfinite(law.ceiling):
        high = np.minimum(high, law.ceiling)
    truth = true_mean(law)
    return float(np.mean((low <= truth) & (truth <= high)))


def _limits(values: FloatArray, method: str) -> tuple[FloatArray, FloatArray]:
    n_data = values.shape[1]
    means = values.mean(axis=2)
    if method == "row bootstrap":
        return _row_bootstrap(values.reshape(len(values), -1))
    if method == "t" or (method == "ours" and n_data < BOOTSTRAP_CLUSTERS):
        return t_limits(means.mean(axis=1), means.std(axis=1, ddof=1), n_data, level=LEVEL)
    varied = np.ptp(means, axis=1) > 0
    low, high = means.mean(axis=1), means.mean(axis=1)
    low[varied], high[varied] = bca_limits(
        means[varied], level=LEVEL, expand=method == "ours", n_resamples=N_RESAMPLES
    )
    return low, high


def _row_bootstrap(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    weights = resample_weights(rows.shape[1], N_RESAMPLES, 0)
    tails = [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]
    parts = [
        np.quantile(rows[i : i + 256] @ weights.T, tails, axis=1) for i in range(0, len(rows), 256)
    ]
    low, high = np.concatenate(parts, axis=1)
    return low, high


def sign_flip_level(law: Law, n_data: int, *, n: int) -> float:
    """Give the share of n experiments without a difference that the sign-flip test rejects.

    Two cells share their data seeds, whose effect cancels but for a tenth of its spread.
    """
    rng = generator("flip", law, n_data)
    shared = Law(mean=law.mean, data=0.0, init=law.init, ceiling=law.ceiling)
    effect = law.data * (rng.exponential(size=(n, 1, n_data, 1)) - 1)
    own = 0.1 * law.data * rng.standard_normal((n, 2, n_data, 1))
    cells = effect + own + shared.draw(rng, n, 2, n_data, N_INIT)
    means = cells.mean(axis=3)
    return float(np.mean(sign_flip_tests(means[:, 1] - means[:, 0], n_resamples=4999) <= ALPHA))


# What the values of a family's cells, or its differences, are drawn from: mean 0, any variance.
FAMILY_LAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], FloatArray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "lognormal": lambda rng, shape: rng.lognormal(size=shape) - np.exp(0.5),
    "counts with ties": lambda rng, shape: np.round(1.2 * rng.standard_normal(shape)),
}


@lru_cache(maxsize=64)
def family_rates(
    law: str, n_data: int, *, n: int, is_exchangeable: bool, effect: float = 0.0
) -> dict[str, float]:
    """Judge n families of 4 cells x 3 endpoints, each cell compared with one reference cell.

    Parameters
    ----------
    law : str
        A key of `FAMILY_LAWS`.
    n_data, n : int
    is_exchangeable : bool
        Whether the law is that of the cells' values, so that a cell without effect and the
        reference could be exchanged and their differences are symmetric; else it is that of the
        differences, which have mean 0 and are as skewed as it is.
    effect : float
        Of the first cell, in standard deviations of the difference, on the first endpoint.

    Returns
    -------
    dict
        For "max-T", "Holm" and "bootstrap max-T" the share of families in which a test without
        effect is significant ("false") and in which the one with an effect is ("found"); the share
        of families whose simultaneous intervals all hold the truth ("covered", "covered by the
        bootstrap"), and that in which the sign-flip tests, not adjusted, find anything false
        ("not adjusted"); and the power that `analysis.frames.power` announces ("predicted").
    """
    rng = generator("family", law, n_data, is_exchangeable, effect)
    hits = {name: np.zeros(2) for name in ("max-T", "Holm", "bootstrap max-T", "not adjusted")}
    covered = {"covered": 0, "covered by the bootstrap": 0}
    critical = 0.0
    for _ in range(n):
        x = _differences(FAMILY_LAWS[law], n_data, rng, is_exchangeable)
        spread = _spread(law, is_exchangeable)
        x[0] += effect * spread
        truth = np.zeros(len(x))
        truth[0] = effect * spread
        family = judge_family(x, n_flips=1999, n_bootstrap=999)
        alone = sign_flip_tests(x, n_resamples=1999)
        for name, p in (
            ("max-T", family.p_adjusted),
            ("Holm", holm(alone)),
            ("bootstrap max-T", family.p_skewed),
            ("not adjusted", alone),
        ):
            null = p[1:] if effect else p
            hits[name] += (null.min() <= ALPHA, p[0] <= ALPHA)
        critical += family.critical[0] / n
        near = 1e-12 * spread
        for name, low, high in (
            ("covered", family.low, family.high),
            ("covered by the bootstrap", family.low_skewed, family.high_skewed),
        ):
            covered[name] += bool(np.all((low - near <= truth) & (truth <= high + near)))
    rates = {f"{name}, false": hits[name][0] / n for name in hits}
    error, free = np.array([1 / np.sqrt(n_data)]), np.array([n_data - 1.0])
    alone_level = 1 - 2 * scipy.stats.t.sf(critical, n_data - 1)
    rates["predicted"] = float(t_power(effect, error, free, level=alone_level)[0])
    rates |= {f"{name}, found": hits[name][1] / n for name in hits}
    return rates | {name: hits / n for name, hits in covered.items()}


@lru_cache(maxsize=16)
def _spread(law: str, is_exchangeable: bool) -> float:
    """Give the standard deviation of a difference."""
    rng = generator("family spread", law, is_exchangeable)
    return float(_differences(FAMILY_LAWS[law], 200_000, rng, is_exchangeable).std())


def _differences(
    draw: Callable[[np.random.Generator, tuple[int, ...]], FloatArray],
    n_data: int,
    rng: np.random.Generator,
    is_exchangeable: bool,
    n_cells: int = 4,
    n_endpoints: int = 3,
) -> FloatArray:
    """Draw (n_cells * n_endpoints, n_data) differences, dependent within an endpoint."""
    if is_exchangeable:
        values = draw(rng, (n_endpoints, n_cells + 1, n_data))
        differences = values[:, 1:] - values[:, :1]
    else:
        own = draw(rng, (n_endpoints, n_cells, n_data))
        differences = own + draw(rng, (n_endpoints, 1, n_data))
    return differences.reshape(-1, n_data)


def false_discoveries(n_data: int, *, n: int, n_tests: int = 20) -> float:
    """Give the mean share of false ones among Benjamini-Hochberg's findings; half are true."""
    rng = generator("bh", n_data, n_tests)
    effect = np.where(np.arange(n_tests) < n_tests // 2, 1.5, 0.0)
    differences = rng.standard_normal((n, n_tests, n_data)) + effect[:, None]
    p_values = sign_flip_tests(differences.reshape(-1, n_data), n_resamples=4999)
    found = np.stack([benjamini_hochberg(row) <= ALPHA for row in p_values.reshape(n, -1)])
    false = (found & (effect == 0)).sum(axis=1)
    return float(np.mean(false / np.maximum(found.sum(axis=1), 1)))


def equivalence_rate(law: Law, n_data: int, *, margin: float, difference: float, n: int) -> float:
    """Give the share of n experiments that TOST calls equivalent at a true difference."""
    rng = generator("tost", law, n_data, margin, difference)
    spread = Law(mean=difference, data=law.data, init=np.sqrt(2) * law.init, skewed=law.skewed)
    means = spread.draw(rng, n, n_data, N_INIT).mean(axis=2)
    seeds = np.arange(n_data)
    passed = [equivalence_test(row, seeds, margin=margin).p_value < ALPHA for row in means]
    return float(np.mean(passed))


def component_errors(law: Law, n_data: int, *, n: int, n_cells: int = 1) -> dict[str, float]:
    """Compare estimated variance components with the true ones.

    Returns
    -------
    dict
        ratio_data, ratio_init (mean estimate over truth), coverage_data, coverage_init (of the
        95 % intervals), bootstrap_data (of the percentile bootstrap over data seeds instead).
    """
    rng = generator("components", law, n_data, n_cells)
    truth = np.array([law.data**2, law.init**2])
    # Cells share half of the data seeds' variance.
    half = Law(mean=0.0, data=law.data / np.sqrt(2), init=0.0, skewed=law.skewed)
    common = half.draw(rng, n, 1, n_data, 1)
    own = half.draw(rng, n, n_cells, n_data, 1)
    values = common + own + law.init * rng.standard_normal((n, n_cells, n_data, N_INIT))
    found = [nested_components(one) for one in values]
    ratio = np.mean([one.variance for one in found], axis=0) / truth
    inside = np.mean([(one.low <= truth) & (truth <= one.high) for one in found], axis=0)
    naive = np.mean([_bootstrap_holds(one, truth[0]) for one in values])
    return {
        "ratio_data": float(ratio[0]),
        "ratio_init": float(ratio[1]),
        "coverage_data": float(inside[0]),
        "coverage_init": float(inside[1]),
        "bootstrap_data": float(naive),
    }


def _bootstrap_holds(values: FloatArray, truth: float) -> bool:
    n_data, n_init = values.shape[1:]
    weights = resample_weights(n_data, 399, 0)
    means, inside = values.mean(axis=2), values.var(axis=2, ddof=1).mean(axis=0)
    between = weights @ (means**2).T - (weights @ means.T) ** 2
    drawn = between.mean(axis=1) * n_data / (n_data - 1) - (weights @ inside) / n_init
    low, high = np.quantile(drawn, [0.025, 0.975])
    return bool(low <= truth <= high)


def survival_coverage(law: Law, n_data: int, *, k: int, n: int) -> float:
    """Give the share of n experiments whose interval of P(k* > k) holds the truth."""
    truth = float((law.draw(generator("mean"), 1_000_000, 2) > k).mean())
    values = law.draw(generator("survival", law, n_data, k), n, n_data, N_INIT)
    seeds = np.repeat(np.arange(n_data), N_INIT)
    hits = 0
    for one in values.reshape(n, -1):
        curve = survival_limits(one, one >= law.ceiling, seeds, n_resamples=499)
        at = curve[curve["k"] <= k].tail(1)
        low, high = (at["low"].iloc[0], at["high"].iloc[0]) if len(at) else _all_above(n_data)
        hits += bool(low <= truth <= high)
    return hits / n


def _all_above(n_data: int) -> tuple[float, float]:
    return float((0.5 - LEVEL / 2) ** (1 / n_data)), 1.0


def anova_level(law: Law, n_data: int, *, n: int, n_cells: int = 5) -> float:
    """Give the share of n sweeps without a difference in which the F test of cells finds one."""
    rng = generator("anova", law, n_data, n_cells)
    half = Law(mean=0.0, data=law.data / np.sqrt(2), init=0.0, skewed=law.skewed)
    common, own = half.draw(rng, n, 1, n_data, 1), half.draw(rng, n, n_cells, n_data, 1)
    values = common + own + law.init * rng.standard_normal((n, n_cells, n_data, N_INIT))
    free = (n_cells - 1, (n_cells - 1) * (n_data - 1))
    found = 0
    for one in values:
        sums = factorial_sums(one)
        ratio = (sums.effects[0] / free[0]) / (sums.error / free[1])
        found += bool(scipy.stats.f.sf(ratio, *free) <= ALPHA)
    return found / n


def power_error(law: Law, n_data: int, *, effect: float, n: int) -> tuple[float, float]:
    """Compare the formula's power of a paired difference with n simulated sign-flip tests.

    Returns
    -------
    (float, float)
        Predicted (t test) and simulated (sign-flip test).
    """
    rng = generator("power", law, n_data, effect)
    spread = Law(mean=effect, data=law.data, init=np.sqrt(2) * law.init)
    means = spread.draw(rng, n, n_data, N_INIT).mean(axis=2)
    error = np.sqrt((spread.data**2 + spread.init**2 / N_INIT) / n_data)
    predicted = float(t_power(effect, np.array([error]), np.array([n_data - 1.0]))[0])
    simulated = np.mean([sign_flip_test(row, n_resamples=4999) <= ALPHA for row in means])
    return predicted, float(simulated)
