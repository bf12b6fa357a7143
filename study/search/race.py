"""Noisy cells compared on common seeds: means, standard errors, and who may still win.

A value is taken as cell effect + seed effect + noise, seed effects as random (shrunk by the ratio
of the variances, which is estimated). All cells are measured on the same seeds in the same order,
so a cell with few replicates is corrected for having met easy or hard data sets. The noise is
pooled over cells: two replicates say nothing of a variance.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FloatArray = np.ndarray
# A seed that no cell has a value of, where nothing is noise, has no effect.
TINY = 1e-300
MIN_FREEDOM = 0.5
SWEEPS = 20  # of the alternating fit of cell and seed effects
# Bounds of a contender, in standard errors.
WIDTH = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CellEstimates:
    """Estimates of some cells; a cell without any finite value has NaN.

    Parameters
    ----------
    mean, se : ndarray, shape (n_cells,)
        Means corrected for the seeds, and their standard errors.
    n : ndarray of int, shape (n_cells,)
        Replicates with a value.
    sd : float
        Standard deviation of one replicate about its cell and seed; NaN while no cell has two.
    """

    mean: FloatArray
    se: FloatArray
    n: FloatArray
    sd: float


def estimate_cells(values: Sequence[Mapping[Hashable, float | None]]) -> CellEstimates:
    """Estimate cell means from replicates on common seeds.

    Parameters
    ----------
    values : sequence of mapping
        Value by seed for each cell; None where the trial failed.

    Returns
    -------
    CellEstimates
    """
    table = _table(values)
    known = np.isfinite(table)
    n, per_seed = known.sum(1), known.sum(0)
    filled = np.where(known, table, 0.0)
    repeated = n >= 2
    effect = np.zeros(table.shape[1])
    ratio = 1.0  # noise variance over seed variance: how far seed effects are shrunk
    sd = float("nan")
    for _ in range(SWEEPS):
        mean = ((filled - effect) * known).sum(1) / np.maximum(n, 1)
        total = ((filled - mean[:, None]) * known).sum(0)
        effect = total / np.maximum(per_seed + ratio, TINY)
        effect -= effect.mean()
        residual = ((filled - mean[:, None] - effect) * known)[repeated]
        # Replicates less the cells' means, and less the seed effects as far as they are fitted.
        fitted = float((per_seed / np.maximum(per_seed + ratio, TINY)).sum())
        freedom = float((n - 1)[repeated].sum()) - max(fitted - 1, 0.0)
        if freedom >= MIN_FREEDOM:
            noise = float((residual**2).sum()) / freedom
            seed = float(np.mean(effect**2 + noise / np.maximum(per_seed + ratio, TINY)))
            sd, ratio = float(np.sqrt(noise)), noise / seed if seed > 0 else 1.0
    mean = np.where(n > 0, mean, np.nan)
    return CellEstimates(mean=mean, se=sd / np.sqrt(np.maximum(n, 1)), n=n, sd=sd)


def cluster_mean(values: Mapping[tuple[int, int, int], float | None]) -> tuple[float, float, int]:
    """Average one cell on its own: mean, standard error over data seeds, number of values.

    Parameters
    ----------
    values : mapping of (data, init, sample) seeds to value
        The first seed is the data's; trials that share it are one cluster.

    Returns
    -------
    mean, se : float
        NaN without values; the error is NaN with a single data seed.
    n : int
    """
    clusters: dict[int, list[float]] = {}
    for seeds, value in values.items():
        if value is not None:
            clusters.setdefault(seeds[0], []).append(value)
    means = np.array([np.mean(cluster) for cluster in clusters.values()])
    n = sum(map(len, clusters.values()))
    if not n:
        return float("nan"), float("nan"), 0
    se = means.std(ddof=1) / np.sqrt(len(means)) if len(means) > 1 else float("nan")
    return float(means.mean()), float(se), n


def _table(values: Sequence[Mapping[Hashable, float | None]]) -> FloatArray:
    """Lay values out by cell and seed; NaN where there is none."""
    seeds = {seed: i for i, seed in enumerate(dict.fromkeys(s for cell in values for s in cell))}
    table = np.full((len(values), max(len(seeds), 1)), np.nan)
    for row, cell in enumerate(values):
        for seed, value in cell.items():
            table[row, seeds[seed]] = np.nan if value is None else value
    return table


def best_cell(estimates: CellEstimates) -> int | None:
    """Choose the cell to be believed the lowest: the one with the lowest upper bound."""
    upper = estimates.mean + WIDTH * np.nan_to_num(estimates.se)
    return None if np.isnan(upper).all() else int(np.nanargmin(upper))


def next_contender(
    estimates: CellEstimates, *, n_max: int, exhausted: Collection[int] = ()
) -> int | None:
    """Choose the cell whose further replicates can change which cell is the lowest.

    Parameters
    ----------
    estimates : CellEstimates
    n_max : int
        Replicates after which a cell is known well enough.
    exhausted : collection of int
        Cells that have no replicates left although some gave no value.

    Returns
    -------
    int or None
        The lowest of the cells whose lower bound is below the best cell's upper bound and that
        have replicates left; None if more replicates would change nothing.
    """
    best = best_cell(estimates)
    if best is None or np.isnan(estimates.sd):
        return None
    lower = estimates.mean - WIDTH * estimates.se
    limit = estimates.mean[best] + WIDTH * estimates.se[best]
    open_ = (estimates.n < n_max) & (estimates.n > 0) & (lower <= limit)
    open_[list(exhausted)] = False
    if not open_.any():
        return None
    return int(np.argmin(np.where(open_, estimates.mean, np.inf)))


def pareto_front(means: FloatArray) -> FloatArray:
    """Return which cells no other cell beats in every objective.

    Parameters
    ----------
    means : ndarray, shape (n_cells, n_objectives)
        Values to be minimized; rows with NaN are never on the front.

    Returns
    -------
    ndarray of bool, shape (n_cells,)
    """
    front = np.isfinite(means).all(1)
    for i in np.flatnonzero(front):
        others = means[front]
        beaten = (others <= means[i]).all(1) & (others < means[i]).any(1)
        front[i] = not beaten.any()
    return front
