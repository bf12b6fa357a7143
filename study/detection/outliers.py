"""New components on points that a mixture leaves out, with a forecast of what each would gain.

Symbols: n points in D dimensions. Gains are in nats of the objective that EM climbs: the total log
likelihood less the penalties.
"""

from __future__ import annotations

import math

import numpy as np

from study.detection.cloud import Cloud, FloatArray, IntArray, Mixture


def outlier_components(
    cloud: Cloud,
    mixture: Mixture,
    *,
    n_seeds: int = 12,
    n_near: int = 64,
    n_iter: int = 10,
) -> list[tuple[float, Mixture]]:
    """Forecast what one more component on left-out points would gain.

    Parameters
    ----------
    cloud : Cloud
    mixture : Mixture
    n_seeds : int
        Points of lowest density that a component is started on.
    n_near, n_iter : int
        Each start runs `n_iter` EM steps of its own component on its `n_near` nearest points.

    Returns
    -------
    list of (gain, component)
        Gain in nats (total), best first; the component's weight is its share.
    """
    n = cloud.n_samples
    _, log_prob = cloud.judge(mixture)
    typical = np.tensordot(mixture.weights, mixture.covariances, 1)
    white = cloud.points @ np.linalg.inv(np.linalg.cholesky(typical)).T
    lowest = _lowest(log_prob, min(4 * n_seeds, n))
    chosen = lowest[_spread(white[lowest], n_seeds)]
    squares = (white * white).sum(1)
    distance_sq = squares - 2.0 * (white[chosen] @ white.T)  # less a constant for each seed
    near = np.argpartition(distance_sq, min(n_near, n) - 1, axis=1)[:, :n_near]  # (seeds, near)
    places, background = cloud.points[near], log_prob[near]
    start = Mixture(
        np.full(len(chosen), 3.0 / n),
        cloud.points[chosen],
        np.broadcast_to(typical, (len(chosen), cloud.dim, cloud.dim)),
    )
    try:
        gains, found = _grow(places, background, start, n, n_iter, cloud.pseudo_count)
    except np.linalg.LinAlgError:
        return []  # components of such different scales leave nothing to compare with
    order = np.argsort(-gains).tolist()
    return [(float(gains[j]), Mixture(*(part[j : j + 1] for part in found))) for j in order]


def _grow(
    places: FloatArray,
    background: FloatArray,
    start: Mixture,
    n_samples: int,
    n_iter: int,
    pseudo_count: float,
) -> tuple[FloatArray, Mixture]:
    """Run EM of one new component per seed against a fixed background.

    Parameters
    ----------
    places : ndarray, shape (seeds, near, D)
    background : ndarray, shape (seeds, near)
        Log density of the places under the mixture as it is.
    start : Mixture
        One component for each seed.
    n_samples, n_iter : int
    pseudo_count : float
        Of the prior, as in `study.detection.cloud`.

    Returns
    -------
    gains : ndarray, shape (seeds,), nats in total
    found : Mixture
    """
    dim = places.shape[-1]
    weights, means, covariances = start
    for _ in range(n_iter):
        gaps = places - means[:, None]
        precision = np.linalg.inv(covariances)
        log_own = -0.5 * ((gaps @ precision) * gaps).sum(-1) - 0.5 * dim * math.log(2 * math.pi)
        log_det = np.linalg.slogdet(covariances)[1]
        log_own -= 0.5 * log_det[:, None]
        penalties = np.trace(precision, axis1=1, axis2=2) + log_det - dim
        rest = np.log1p(-weights)
        odds = np.log(weights)[:, None] + log_own - background - rest[:, None]
        gains = np.logaddexp(odds, 0.0).sum(1) + n_samples * rest - 0.5 * pseudo_count * penalties
        found = Mixture(weights, means, covariances)
        shares = 1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500)))
        counts = np.maximum(shares.sum(1), 1e-3)
        weights = counts / n_samples
        means = (shares[..., None] * places).sum(1) / counts[:, None]
        gaps = places - means[:, None]
        scatter = (shares[..., None] * gaps).swapaxes(1, 2) @ gaps
        scatter = 0.5 * (scatter + scatter.swapaxes(1, 2)) + pseudo_count * np.eye(dim)
        covariances = scatter / (counts + pseudo_count)[:, None, None]
    return gains, found


def _lowest(numbers: FloatArray, n_lowest: int) -> IntArray:
    """Return the places of the lowest numbers, ascending; equal ones in order of place."""
    limit = np.partition(numbers, n_lowest - 1)[n_lowest - 1]
    places = np.flatnonzero(numbers <= limit)
    return places[np.argsort(numbers[places], kind="stable")[:n_lowest]]


def _spread(candidates: FloatArray, n_seeds: int) -> list[int]:
    """Take candidates in order, leaving out those within one unit of one already taken."""
    taken: list[int] = []
    for at, candidate in enumerate(candidates):
        gaps = ((candidates[taken] - candidate) ** 2).sum(1)
        if not (gaps < 1.0).any():
            taken.append(at)
        if len(taken) == n_seeds:
            break
    return taken
