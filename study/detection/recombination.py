"""The best of two fits of one cloud, region by region.

Symbols: n points in D dimensions, fits with k and l components. A *region* is a set of components
of either fit that own the same points: a connected part of the graph that joins components sharing
points. Where clusters lie apart, which local optimum EM took in one region says nothing of
another, so two fits of equal cost have their best regions in different places: the fit that takes
each region from the better of the two is better than both. (In combinatorial optimisation this is
a partition crossover.)

References
----------
Whitley, Hains, Howe, "Tunneling between optima: partition crossover for the traveling salesman
problem", GECCO 2009, https://doi.org/10.1145/1569901.1570026
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from study.detection.cloud import Cloud, FloatArray, IntArray, Mixture

# Components are joined that share more than this share of the smaller one's points.
SHARED = (0.03, 0.1, 0.25)
# A region that gains less (nats) by a change stays as it is.
WORTH_NATS = 0.5


def recombine(cloud: Cloud, first: Mixture, second: Mixture, price: float) -> list[Mixture]:
    """Return mixtures that take each region from the fit that is better there.

    Parameters
    ----------
    cloud : Cloud
    first, second : Mixture
    price : float
        What a component must gain (nats in total).

    Returns
    -------
    list of Mixture
        One for each way to cut the cloud into regions in which neither fit is the better one
        throughout; before EM.
    """
    k = len(first.weights)
    (owners, density), (others, other_density) = (cloud.judge(fit) for fit in (first, second))
    shared = np.zeros((k, len(second.weights)))
    np.add.at(shared, (owners, others), 1.0)
    smaller = np.minimum(shared.sum(1)[:, None], shared.sum(0)[None])
    mixed: dict[bytes, Mixture] = {}
    for share in SHARED:
        regions = _regions(shared > share * smaller)
        taken = _choose(regions[:k], regions[k:], owners, other_density - density, price)
        if not (taken[:k].all() or taken[k:].all()):
            mixed.setdefault(taken.tobytes(), _join(first, second, taken))
    return list(mixed.values())


def _regions(joined: NDArray[np.bool_]) -> IntArray:
    """Return the region of each component, those of the first fit before those of the second."""
    rows, columns = np.nonzero(joined)
    k, size = len(joined), sum(joined.shape)
    graph = coo_array((np.ones(len(rows)), (rows, k + columns)), shape=(size, size))
    labels: IntArray = connected_components(graph, directed=False)[1]
    return labels


def _choose(
    own: IntArray, new: IntArray, owners: IntArray, gains: FloatArray, price: float
) -> NDArray[np.bool_]:
    """Return which components of both fits to take, shape (k + l,).

    Parameters
    ----------
    own, new : ndarray of int, shapes (k,) and (l,)
        The regions of the components of the first fit and of the second.
    owners : ndarray of int, shape (n,)
        The component of the first fit that each point belongs to.
    gains : ndarray, shape (n,)
        Log density of the second fit less that of the first (nats).
    price : float
    """
    n_regions = max(own.max(), new.max()) + 1
    n_first, n_second = (np.bincount(part, minlength=n_regions) for part in (own, new))
    worth = np.bincount(own[owners], gains, minlength=n_regions)
    better = worth > price * (n_second - n_first) + WORTH_NATS
    better &= (n_first > 0) & (n_second > 0)
    return np.concatenate([~better[own], better[new]])


def _join(first: Mixture, second: Mixture, taken: NDArray[np.bool_]) -> Mixture:
    weights, means, covariances = (
        np.concatenate(pair)[taken] for pair in zip(first, second, strict=True)
    )
    return Mixture(weights / weights.sum(), means, covariances)
