"""A mixture's neighbourhoods, searched afresh one by one.

Symbols: n points in D dimensions, k components. A *region* is a component and those nearest to it,
with the points that belong to them: each point belongs to a component drawn from its posterior, as
in `study.detection.splits`.

Where the search of a whole cloud has ended, some region can often be done better, and the search
of a region is a small one: few points, few components, and everything else stays as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from study.detection.cloud import Cloud, IntArray, Mixture
from study.detection.likelihood_path import PathSearch
from study.detection.moves import merge_costs
from study.detection.starts import k_means

# Components of a region, at most.
REGION_SIZE = 5
# A region is over-fitted with so many components per component of its own, then merged down.
OVERFIT_FACTOR = 2
# Refinement of a region stops after this many iterations times components.
REGION_EFFORT = 2_000
# Fewer points per dimension are left alone.
FEWEST_POINTS = 20


class Found(NamedTuple):
    """A better fit of a region.

    Parameters
    ----------
    gain : float
        What the cost of the region's points (nats) falls by.
    region : ndarray of int
        The components that it takes the place of.
    mixture : Mixture
        Of the region's points alone, in the coordinates of the whole cloud.
    """

    gain: float
    region: IntArray
    mixture: Mixture


def search_regions(path: PathSearch) -> None:
    """Search the regions of a path's best fit afresh, and offer it what is better there.

    Every better fit of a region is a proposal of its own, and those of disjoint regions together
    are another.

    Parameters
    ----------
    path : PathSearch
    """
    mixture, generator = path.fits[path.best_k()].mixture, path.generator
    regions = cut_regions(path.cloud, mixture, generator)
    labels = path.cloud.draw_labels(mixture, generator.random((path.n_samples,)))
    found = [
        better
        for region in regions
        if (better := _search_region(path, mixture, region, labels)) is not None
    ]
    found.sort(key=lambda better: -better.gain)
    together: list[Found] = []
    for better in found:
        path.propose(replace_regions(mixture, [better]))
        if all(np.intersect1d(better.region, other.region).size == 0 for other in together):
            together.append(better)
    if len(together) > 1:
        path.propose(replace_regions(mixture, together))


def cut_regions(cloud: Cloud, mixture: Mixture, generator: np.random.Generator) -> list[IntArray]:
    """Cover the components of a mixture with regions.

    Parameters
    ----------
    cloud : Cloud
    mixture : Mixture
    generator : numpy Generator

    Returns
    -------
    list of ndarray of int
        The components of each region; every component is in at least one.
    """
    costs = merge_costs(mixture, cloud.pseudo_count / cloud.n_samples)
    costs = np.minimum(costs, costs.T)
    np.fill_diagonal(costs, -np.inf)
    covered = np.zeros(len(costs), dtype=bool)
    regions = []
    for component in generator.permutation(len(costs)).tolist():
        if not covered[component]:
            region = np.argsort(costs[component], kind="stable")[:REGION_SIZE]
            covered[region] = True
            regions.append(region)
    return regions


def _search_region(
    path: PathSearch, mixture: Mixture, region: IntArray, labels: IntArray
) -> Found | None:
    """Search the points of a region afresh; None if nothing better than the present is found."""
    points = path.cloud.points[np.isin(labels, region)]
    size = len(region)
    k_max = min(OVERFIT_FACTOR * size, len(points) // (2 * (path.cloud.dim + 1)))
    if len(points) < FEWEST_POINTS * (path.cloud.dim + 1) or k_max <= size:
        return None
    few = Cloud(points, pseudo_count=path.cloud.pseudo_count)
    weights, means, covariances = (part[region] for part in mixture)
    now = PathSearch(few, path.generator, k_min=1, k_max=k_max, price=path.price)
    if not now.offer(Mixture(weights / weights.sum(), means - few.centre, covariances)):
        return None
    again = PathSearch(few, path.generator, k_min=1, k_max=k_max, price=path.price)
    again.overfit(k_means(few.points, k_max, path.generator))
    for k in range(max(again.fits), max(size - 2, 1), -1):
        again.merge_down(k, 1)
    again.refine(deep=False, effort=REGION_EFFORT)
    path.count_part(now)
    path.count_part(again)
    best = again.best_k()
    gain = now.cost(size) - again.cost(best)
    if not gain > 0.0:
        return None
    better = again.fits[best].mixture
    return Found(gain, region, better._replace(means=better.means + few.centre))


def replace_regions(mixture: Mixture, found: list[Found]) -> Mixture:
    """Return a mixture with the components of disjoint regions replaced by what was found there.

    Parameters
    ----------
    mixture : Mixture
    found : list of Found
    """
    gone = np.concatenate([better.region for better in found])
    parts = [[np.delete(part, gone, axis=0)] for part in mixture]
    for better in found:
        share = mixture.weights[better.region].sum()
        new = better.mixture._replace(weights=share * better.mixture.weights)
        for part, more in zip(parts, new, strict=True):
            part.append(more)
    return Mixture(*(np.concatenate(part) for part in parts))
