"""Starts of a search: k-means labels, and EM that drops components without points of their own.

Symbols: n points in D dimensions, k components.
"""

from __future__ import annotations

import numpy as np

from study.detection.cloud import Climb, Cloud, FloatArray, IntArray, Mixture
from study.detection.compiled import em as compiled_em


def climb_supported(
    cloud: Cloud, start: Mixture, *, k_min: int, tol_nats: float, max_iter: int
) -> tuple[Climb, int, int]:
    """Run EM; leave out components that end on too few points and go on with the others.

    Parameters
    ----------
    cloud : Cloud
    start : Mixture
    k_min : int
        So many components stay, the heaviest, whatever they hold.
    tol_nats : float
        An iteration that gains less ends a run.
    max_iter : int
        Of each run.

    Returns
    -------
    Climb
    n_iter, effort : int
        Iterations, and the same times components.
    """
    n_iter = effort = 0
    while True:
        end = cloud.climb(start, tol_nats=tol_nats, max_iter=max_iter, rule=compiled_em.PROPOSAL)
        n_iter += end.n_iter
        effort += end.n_iter * len(start.weights)
        kept = cloud.supported(end.mixture)
        kept[np.argsort(-end.mixture.weights, kind="stable")[:k_min]] = True
        if kept.all():
            return end, n_iter, effort
        weights, means, covariances = (part[kept] for part in end.mixture)
        start = Mixture(weights / weights.sum(), means, covariances)


def k_means(cloud: FloatArray, k: int, generator: np.random.Generator) -> IntArray:
    """Return k-means labels (n,) from greedy seeding and a few passes.

    scikit-learn's adds partial sums in the order its threads finish; this gives the same bits.
    """
    centres = np.empty((k, cloud.shape[1]))
    centres[0] = cloud[generator.integers(len(cloud))]
    nearest = ((cloud - centres[0]) ** 2).sum(1)
    for j in range(1, k):
        total = nearest.cumsum()
        places = np.searchsorted(total, generator.random(4) * total[-1])
        candidates = cloud[np.minimum(places, len(cloud) - 1)]
        distances = np.minimum(nearest, ((cloud - candidates[:, None]) ** 2).sum(-1))
        chosen = int(distances.sum(1).argmin())
        centres[j], nearest = candidates[chosen], distances[chosen]
    for _ in range(8):
        apart = (centres * centres).sum(1) - 2.0 * (cloud @ centres.T)
        labels: IntArray = apart.argmin(1)
        counts = np.bincount(labels, minlength=k)
        sums = np.stack([np.bincount(labels, column, minlength=k) for column in cloud.T], 1)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return labels
