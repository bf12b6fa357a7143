"""The calibrated search: a scout on few points, moves on all of them, then the rest of the range.

The search over-fits a subsample (the scout), merges down to one component, and refines around the
best k there, where an iteration is cheap. The fits found start EM on all points, and the same
moves go on there until none of them improves anything.
"""

from __future__ import annotations

import numpy as np

from study.detection.cloud import Cloud, FloatArray, Mixture, pseudo_count_of
from study.detection.likelihood_path import NOTABLE_NATS, PathSearch
from study.detection.regions import search_regions
from study.detection.starts import k_means

# The scout sees this many points; clouds up to 1.5 times as large are searched directly.
SCOUT_SIZE = 2500
# Components of the over-fitted start.
OVERFIT = 20
# Beyond so many components one start is not enough. A search makes at most so many, until so many
# in a row taught nothing; unless two searches agree, there are this many, which learn from one
# another.
FEW_COMPONENTS = 10
MOST_STARTS = 9
IN_VAIN = 2
SEARCHES = 4
# A start from which nothing was learnt confirms a fit if it ended at most so far (nats) above: on
# a mixture starts end 0 to 5 above, on what a network draws 10 to 70.
CONFIRMING_NATS = 5.0
# Regions are searched afresh until so many rounds in a row gained nothing, at most so often.
ROUNDS_IN_VAIN = 2
MOST_ROUNDS = 20
# Refinement on all points stops after this many iterations times components: ten times what the
# report's data needs. It binds on clouds that no mixture of few Gaussians fits.
REFINE_EFFORT = 12_000
# EM of a fit carried over from the scout stops at this gain (nats) per iteration.
CARRIED_NATS = 1.0


def search_path(
    points: FloatArray, *, k_min: int, k_max: int, restarts: int = 1, seed: int = 0
) -> PathSearch:
    """Find good mixtures of a cloud for a range of k.

    Parameters
    ----------
    points : ndarray, shape (n, D), float64
        In units of their own covariance (`study.detection.whitening`), and in a canonical order if
        the answer must not depend on the order.
    k_min, k_max : int
        Range of k; it ends early once BIC has risen five times in a row.
    restarts : int
        Independent searches, at least; where many components are found there are up to SEARCHES.
    seed : int

    Returns
    -------
    PathSearch
        Finished: `fits` holds a contiguous range of k from k_min.
    """
    generator = np.random.default_rng(seed)
    cloud = Cloud(points, pseudo_count=pseudo_count_of(len(points)))
    path = PathSearch(cloud, generator, k_min=k_min, k_max=k_max)
    is_sure, n_searches = _search(path), 1
    while n_searches < restarts or (n_searches < SEARCHES and _is_hard(path) and not is_sure):
        is_sure = _search_again(path)
        n_searches += 1
    refined = -1
    while refined != path.best_k():
        path.refine(deep=True, effort=REFINE_EFFORT)
        refined = path.best_k()
        path.extend()
    if path.best_k() < k_max:
        path.polish()
    path.finish()
    return path


def _search(path: PathSearch) -> bool:
    """Search from starts for as long as that pays; return whether one confirmed another."""
    _attempt(path, deep=True)
    if _start_until_sure(path):
        return True
    _search_regions(path)
    return False


def _search_again(path: PathSearch) -> bool:
    """Search from other starts, learn from it, and return whether it ended where the path was."""
    other = PathSearch(path.cloud, path.generator, k_min=path.k_min, k_max=path.k_max)
    _search(other)
    gain, apart = _learn(path, other)
    if gain > NOTABLE_NATS:
        _search_regions(path)
    return apart < NOTABLE_NATS


def _attempt(path: PathSearch, *, deep: bool) -> None:
    """Search from one start."""
    if path.n_samples > 1.5 * SCOUT_SIZE:
        _scout(path, whole=deep)
    else:
        _merge_path(path)
    path.refine(deep=deep, effort=REFINE_EFFORT)


def _learn(path: PathSearch, other: PathSearch) -> tuple[float, float]:
    """Go on from the best of a path and of another search, region by region.

    Returns
    -------
    gain : float
        What the lowest cost (nats) fell by.
    apart : float
        How far above the lowest cost the other search itself ended.
    """
    before, alone = path.cost(path.best_k()), other.cost(other.best_k())
    path.cross(other)
    path.absorb(other)
    path.refine(deep=True, effort=REFINE_EFFORT)
    after = path.cost(path.best_k())
    return before - after, alone - after


def _is_hard(path: PathSearch) -> bool:
    """Return whether many components were found, but not as many as are allowed."""
    return FEW_COMPONENTS < path.best_k() < path.k_max


def _start_until_sure(path: PathSearch) -> bool:
    """Start again where many components were found, until it does not pay.

    Returns
    -------
    bool
        Whether a start has ended where the search already was, which confirms it. Otherwise
        several in a row taught nothing.
    """
    n_starts, n_in_vain = 1, 0
    while _is_hard(path) and n_starts < MOST_STARTS:
        other = PathSearch(path.cloud, path.generator, k_min=path.k_min, k_max=path.k_max)
        _attempt(other, deep=False)
        gain, apart = _learn(path, other)
        n_starts += 1
        n_in_vain = 0 if gain > NOTABLE_NATS else n_in_vain + 1
        if gain <= NOTABLE_NATS and apart < CONFIRMING_NATS:
            return True
        if n_in_vain == IN_VAIN:
            break
    return False


def _search_regions(path: PathSearch) -> None:
    """Search parts of the best fit afresh where many components were found, until in vain."""
    n_rounds = n_in_vain = 0
    while _is_hard(path) and n_in_vain < ROUNDS_IN_VAIN and n_rounds < MOST_ROUNDS:
        before = path.cost(path.best_k())
        search_regions(path)
        path.refine(deep=True, effort=REFINE_EFFORT)
        gain = before - path.cost(path.best_k())
        n_rounds += 1
        n_in_vain = 0 if gain > NOTABLE_NATS else n_in_vain + 1


def _merge_path(path: PathSearch) -> None:
    start = max(path.k_min, min(OVERFIT, path.k_max))
    path.overfit(k_means(path.cloud.points, start, path.generator))
    start = max(path.fits)
    for k in range(start, path.k_min, -1):
        path.merge_down(k, 1)


def _scout(path: PathSearch, *, whole: bool) -> None:
    """Search a subsample and carry its fits over to all points: the `whole` path, or its end."""
    chosen = path.generator.permutation(path.n_samples)[:SCOUT_SIZE]
    # The price of all points, plus the optimism of a fit on fewer (half a nat per parameter).
    price = path.price * SCOUT_SIZE / path.n_samples + 0.5
    few = Cloud(path.cloud.points[chosen], pseudo_count=path.cloud.pseudo_count)
    scout = PathSearch(few, path.generator, k_min=path.k_min, k_max=path.k_max, price=price)
    _merge_path(scout)
    scout.refine(deep=False)
    best = scout.best_k()
    first = path.k_min if whole else max(path.k_min, best - 3)
    for k in range(first, min(best + 3, max(scout.fits)) + 1):
        start = _moved(scout.fits[k].mixture, few.centre)
        path.offer(start, tol_nats=CARRIED_NATS, max_iter=40 if k >= best - 3 else 10)
    if not path.fits:
        # EM on all points took too few of them for some component of every fit.
        path.begin(_moved(scout.fits[best].mixture, few.centre))


def _moved(mixture: Mixture, step: FloatArray) -> Mixture:
    return mixture._replace(means=mixture.means + step)
