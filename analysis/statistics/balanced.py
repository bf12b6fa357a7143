"""Balanced arrays of trials: cells x data seeds x init seeds x ..., and what varies in them.

Symbols: C cells, D data seeds; further axes (init, sample, detector seeds) are nested in a data
seed. Means of squares are taken within cells and averaged over them.

References
----------
Burdick and Graybill (1992), "Confidence Intervals on Variance Components", Marcel Dekker: the
modified large-sample interval of a difference of two mean squares (chapter 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats

from analysis.statistics.intervals import FloatArray


@dataclass(frozen=True, slots=True)
class BalancedArray:
    """The largest complete block that greedy dropping finds.

    Parameters
    ----------
    values : array of shape (n_levels of axis 0, ...)
        Without missing values.
    labels : tuple of tuples
        The levels kept of each axis.
    n_dropped : int
        Trials with a value that are not in it.
    """

    values: FloatArray
    labels: tuple[tuple[Any, ...], ...]
    n_dropped: int


def balanced_core(frame: pd.DataFrame, value: str, axes: Sequence[str]) -> BalancedArray:
    """Arrange rows as an array, dropping levels until none is missing.

    The level with the largest share of missing trials goes first, so one lost trial costs one
    data seed or one init seed, whichever is the smaller loss.

    Parameters
    ----------
    frame : pandas.DataFrame
    value : str
        The column to arrange.
    axes : sequence of str
        Columns whose levels make the axes; rows that repeat a place are averaged.
    """
    known = frame.dropna(subset=[value])
    codes, labels = zip(*(pd.factorize(known[name]) for name in axes), strict=True)
    shape = tuple(len(names) for names in labels)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, codes, known[value].to_numpy(np.float64))
    np.add.at(count, codes, 1.0)
    kept = [np.arange(size) for size in shape]
    present = count > 0
    while present.size and not present.all():
        axis, index = _emptiest(present)
        kept[axis] = np.delete(kept[axis], index)
        present = np.delete(present, index, axis=axis)
    block = np.ix_(*kept)
    levels = tuple(tuple(names[kept[i]]) for i, names in enumerate(labels))
    inside = int(count[block].sum())
    return BalancedArray(total[block] / count[block], levels, len(known) - inside)


def _emptiest(present: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[int, int]:
    """Find the axis and level with the largest share missing; of equals the smallest level."""
    best, found = (-1.0, -1), (0, 0)
    for axis in range(present.ndim):
        others = tuple(i for i in range(present.ndim) if i != axis)
        missing = (~present).mean(axis=others)
        index = int(missing.argmax())
        # Equal shares: dropping from a longer axis loses fewer trials.
        rank = (float(missing[index]), present.shape[axis])
        if rank > best:
            best, found = rank, (axis, index)
    return found


@dataclass(frozen=True, slots=True)
class Components:
    """Variance components of nested strata, the first one's seeds being the clusters.

    Parameters
    ----------
    variance : array of shape (n_strata,)
        Analysis-of-variance estimates; unbiased, hence sometimes negative.
    low, high : array of shape (n_strata,)
        Limits, cut at 0.
    """

    variance: FloatArray
    low: FloatArray
    high: FloatArray


def nested_components(values: FloatArray, *, level: float = 0.95) -> Components:
    """Split the variance within cells into nested strata.

    Intervals are modified large-sample ones. The degrees of freedom of each mean square come
    from its jackknife over clusters, so that neither normal effects nor independent cells (they
    share their data seeds) are taken for granted.

    Parameters
    ----------
    values : array of shape (n_cells, n_clusters, ...)
        Each further axis is nested in the one before; all but the first of size 2 or more.
    level : float

    Raises
    ------
    ValueError
        An axis other than the first has fewer than 2 levels.
    """
    if min(values.shape[1:], default=0) < 2:
        raise ValueError(f"each stratum needs 2 seeds or more, found shape {values.shape}")
    n = values.shape[1]
    everything = np.full((1, n), 1 / n)
    spread = _mean_variances(values, everything, n)[0]
    inner = np.array([*values.shape[2:], 1])
    nested = np.append(spread[1:], 0.0) / inner
    if n > 2:
        left_out = _mean_variances(values, (1 - np.eye(n)) / (n - 1), n - 1)
        noise = (n - 1) * left_out.var(axis=0)
    else:
        noise = np.full(len(spread), np.inf)
    free = _degrees(spread, noise, values.shape)
    low, high = np.empty(len(spread)), np.empty(len(spread))
    for i in range(len(spread)):
        below = (nested[i], free[i + 1]) if i + 1 < len(spread) else (0.0, np.inf)
        low[i], high[i] = difference_limits((spread[i], free[i]), below, level=level)
    return Components(spread - nested, np.maximum(low, 0), np.maximum(high, 0))


def _mean_variances(values: FloatArray, weights: FloatArray, n: int) -> FloatArray:
    """Average each stratum's variance of means over cells, clusters weighted.

    Parameters
    ----------
    weights : array of shape (n_weightings, n_clusters)
        Rows sum to 1.
    n : int
        Clusters behind a weighting.

    Returns
    -------
    array of shape (n_weightings, n_strata)
        Expectation in stratum l: its component plus the next stratum's over that one's size.
    """
    found = []
    means = values
    for axis in range(values.ndim - 1, 1, -1):
        inside = means.var(axis=axis, ddof=1)
        inside = inside.mean(axis=tuple(range(2, inside.ndim))) if inside.ndim > 2 else inside
        found.append(weights @ inside.mean(axis=0))
        means = means.mean(axis=axis)
    centred = means - means.mean(axis=1, keepdims=True)
    first, second = weights @ centred.T, weights @ (centred**2).T
    found.append((second - first**2).mean(axis=1) * n / (n - 1))
    return np.stack(found[::-1], axis=1)


def _degrees(spread: FloatArray, noise: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Match each mean square to a chi-squared law, between 1 and what independence would give.

    Cells share their data seeds, so the first stratum has no more than one cell's.
    """
    outer = np.cumprod([shape[0], *shape[1:-1]])
    outer[0] = 1
    most = outer * (np.array(shape[1:]) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        matched = 2 * spread**2 / noise
    return np.clip(np.where(np.isfinite(matched), matched, most), 1.0, most)


def difference_limits(
    upper: tuple[float, float], lower: tuple[float, float], *, level: float = 0.95
) -> tuple[float, float]:
    """Bound the difference of two expected mean squares (modified large sample).

    Parameters
    ----------
    upper, lower : (mean square, degrees of freedom)
        A lower mean square of 0 gives the chi-squared interval of the upper one.
    level : float
    """
    (s1, n1), (s2, n2) = upper, lower
    tail = 0.5 - level / 2
    chi2, f = scipy.stats.chi2, scipy.stats.f
    if s1 == 0 or s2 == 0:
        return s1 * n1 / chi2.isf(tail, n1) - s2, s1 * n1 / chi2.ppf(tail, n1) - s2
    g1, h1 = 1 - n1 / chi2.isf(tail, n1), n1 / chi2.ppf(tail, n1) - 1
    g2, h2 = 1 - n2 / chi2.isf(tail, n2), n2 / chi2.ppf(tail, n2) - 1
    high_f, low_f = f.isf(tail, n1, n2), f.ppf(tail, n1, n2)
    g12 = ((high_f - 1) ** 2 - g1**2 * high_f**2 - h2**2) / high_f
    h12 = ((1 - low_f) ** 2 - h1**2 * low_f**2 - g2**2) / low_f
    down = (g1 * s1) ** 2 + (h2 * s2) ** 2 + g12 * s1 * s2
    up = (h1 * s1) ** 2 + (g2 * s2) ** 2 + h12 * s1 * s2
    return s1 - s2 - float(np.sqrt(max(down, 0))), s1 - s2 + float(np.sqrt(max(up, 0)))


@dataclass(frozen=True, slots=True)
class FactorialSums:
    """Sums of squares of a balanced factorial in blocks (data seeds), over all trials.

    Parameters
    ----------
    terms : tuple of tuples of int
        The factor axes of each effect, main effects first.
    effects : array of shape (n_terms,)
    blocks, error, within : float
        Of data seeds, of cells x data seeds, and of the trials inside a cell and data seed.
    """

    terms: tuple[tuple[int, ...], ...]
    effects: FloatArray
    blocks: float
    error: float
    within: float


def factorial_sums(values: FloatArray) -> FactorialSums:
    """Split the sum of squares of a balanced factorial in blocks.

    Parameters
    ----------
    values : array of shape (n_levels of factor 1, ..., n_data, n_per_place)
    """
    n_factors, per_place = values.ndim - 2, values.shape[-1]
    places = values.mean(axis=-1)
    grand = places.mean()
    by_cell = places.mean(axis=-1)
    per_cell = places.shape[-1] * per_place
    terms = tuple(
        term for size in range(1, n_factors + 1) for term in combinations(range(n_factors), size)
    )
    effects = []
    for term in terms:
        effect = np.zeros_like(by_cell)
        for size in range(len(term) + 1):
            for part in combinations(term, size):
                rest = tuple(axis for axis in range(n_factors) if axis not in part)
                effect = effect + (-1) ** (len(term) - size) * by_cell.mean(
                    axis=rest, keepdims=True
                )
        effects.append(per_cell * float((effect**2).sum()))
    by_block = places.mean(axis=tuple(range(n_factors)))
    blocks = by_cell.size * per_place * float(((by_block - grand) ** 2).sum())
    residual = places - by_cell[..., None] - by_block + grand
    return FactorialSums(
        terms,
        np.array(effects),
        blocks,
        per_place * float((residual**2).sum()),
        float(((values - places[..., None]) ** 2).sum()),
    )
