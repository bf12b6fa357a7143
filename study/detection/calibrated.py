"""The calibrated search: a scout on few points, moves on all of them, then the rest of the range.

The search over-fits a subsample (the scout), merges down to one component, and refines around the
best k there, where an iteration is cheap. The fits found start EM on all points, and the same
moves go on there until none of them improves anything.
"""

from __future__ import annotations

import numpy as np

from study.detection.cloud import Cloud, FloatArray, Mixture, pseudo_count_of
from study.detection.likelihood_path import NOTABLE_NATS, PathSearch, k_means

# The scout sees this many points; clouds up to 1.5 times as large are searched directly.
SCOUT_SIZE = 2500
# Components of the over-fitted start.
OVERFIT = 20
# Beyond so many components more independent starts are worth their time: at most so many, and
# until so many in a row taught nothing.
FEW_COMPONENTS = 12
MOST_STARTS = 9
IN_VAIN = 2
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
        Independent over-fitted starts.
    seed : int

    Returns
    -------
    PathSearch
        Finished: `fits` holds a contiguous range of k from k_min.
    """
    generator = np.random.default_rng(seed)
    cloud = Cloud(points, pseudo_count=pseudo_count_of(len(points)))
    path = PathSearch(cloud, generator, k_min=k_min, k_max=k_max)
    _attempt(path, deep=True)
    for _ in range(restarts - 1):
        _try_again(path, deep=True)
    _start_until_sure(path)
    refined = -1
    while refined != path.best_k():
        path.refine(deep=True, effort=REFINE_EFFORT)
        refined = path.best_k()
        path.extend()
    if path.best_k() < k_max:
        path.polish()
    path.finish()
    return path


def _attempt(path: PathSearch, *, deep: bool) -> None:
    """Search from a start of its own."""
    if path.n_samples > 1.5 * SCOUT_SIZE:
        _scout(path, whole=deep)
    else:
        _merge_path(path)
    path.refine(deep=deep, effort=REFINE_EFFORT)


def _try_again(path: PathSearch, *, deep: bool) -> tuple[float, float]:
    """Search from a new start, then on from the best of both, region by region.

    Returns
    -------
    gain : float
        What the lowest cost (nats) fell by.
    apart : float
        How far above the lowest cost the new start itself ended.
    """
    before = path.cost(path.best_k())
    attempt = PathSearch(path.cloud, path.generator, k_min=path.k_min, k_max=path.k_max)
    _attempt(attempt, deep=deep)
    alone = attempt.cost(attempt.best_k())
    path.cross(attempt)
    path.absorb(attempt)
    path.refine(deep=True, effort=REFINE_EFFORT)
    after = path.cost(path.best_k())
    return before - after, alone - after


def _start_until_sure(path: PathSearch) -> None:
    """Start again where many components were found, until it does not pay.

    One start that ends where the search already is confirms it; so do several in a row from which
    nothing could be learnt.
    """
    n_starts, n_in_vain = 1, 0
    while FEW_COMPONENTS < path.best_k() < path.k_max and n_starts < MOST_STARTS:
        gain, apart = _try_again(path, deep=False)
        n_starts += 1
        n_in_vain = 0 if gain > NOTABLE_NATS else n_in_vain + 1
        if n_in_vain == IN_VAIN or apart < NOTABLE_NATS:
            break


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
