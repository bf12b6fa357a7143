"""Whether importance weights can be trusted: the tail index of their largest.

References
----------
Vehtari, Simpson, Gelman, Yao, Gabry 2024, "Pareto Smoothed Importance Sampling", JMLR 25,
https://arxiv.org/abs/1507.02646.
Zhang, Stephens 2009, "A New and Efficient Estimation Method for the Generalized Pareto
Distribution", Technometrics 51, https://doi.org/10.1198/tech.2009.08017.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

# The prior of the tail index is worth so many draws, at 1/2.
_PRIOR_DRAWS = 10
_PRIOR_SCALE = 3


def pareto_k(log_weights: Float64[np.ndarray, "points draws"]) -> Float64[np.ndarray, " points"]:
    """Estimate the tail index of each point's importance weights.

    The largest min(n / 5, 3 sqrt(n)) of n weights are fitted by a generalised Pareto law. Its
    index says how many moments the weights have: above 1/2 no finite variance, and above 0.7
    the sum of practical numbers of weights is unreliable.

    Parameters
    ----------
    log_weights : ndarray of shape (n_points, n_draws)
        Up to a constant of each point; at least 25 draws.

    Returns
    -------
    ndarray of shape (n_points,)
        Minus infinity where the largest weights are all equal.

    Raises
    ------
    ValueError
        If there are fewer than 25 draws: no five of them make a tail.
    """
    n_draws = log_weights.shape[1]
    if n_draws < 25:
        raise ValueError(f"pareto_k needs at least 25 draws a point; got {n_draws}")
    n_tail = int(min(n_draws / 5, 3 * np.sqrt(n_draws)))
    largest = np.sort(np.partition(log_weights, n_draws - n_tail - 1, axis=1)[:, -n_tail - 1 :])
    weights = np.exp(largest - largest[:, -1:])
    excess = weights[:, 1:] - weights[:, :1]
    index = np.full(len(excess), -np.inf)
    # Rounding is no tail.
    real = excess[:, -1] > 1e-12
    if real.any():
        index[real] = _fit_tail(excess[real])
    return index


def _fit_tail(excess: np.ndarray) -> np.ndarray:
    """Return the tail index of sorted excesses over a threshold, each row's own."""
    n_tail = excess.shape[1]
    n_grid = 30 + int(np.sqrt(n_tail))
    quartile = np.maximum(excess[:, int(n_tail / 4 + 0.5) - 1], 1e-12 * excess[:, -1])
    steps = 1 - np.sqrt(n_grid / (np.arange(1, n_grid + 1) - 0.5))
    slopes = steps / (_PRIOR_SCALE * quartile[:, None]) + 1 / excess[:, -1:]
    indices = np.log1p(-slopes[:, :, None] * excess[:, None]).mean(axis=2)
    profile = n_tail * (np.log(-slopes / indices) - indices - 1)
    weights = np.exp(profile - profile.max(axis=1, keepdims=True))
    slope = (slopes * weights).sum(axis=1) / weights.sum(axis=1)
    index = np.log1p(-slope[:, None] * excess).mean(axis=1)
    return (n_tail * index + _PRIOR_DRAWS / 2) / (n_tail + _PRIOR_DRAWS)
