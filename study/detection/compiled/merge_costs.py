"""Compiled costs of merging components of a Gaussian mixture.

Symbols: k components in D dimensions. Written out because the search asks for the costs of every
split that it considers, and NumPy on k (k - 1) / 2 small matrices takes six times as long.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from study.detection.compiled.block import SOURCE_STAMP
from study.detection.compiled.em import invert_root


@njit(forceinline=True)
def _judge(covariance, root, inverse):
    """Return half the log determinant, and the penalty tr inv(S) + log |S| - D."""
    half_log_det = invert_root(covariance, root, inverse)
    penalty = 2.0 * half_log_det - len(covariance)
    for a in range(len(covariance)):
        for b in range(a + 1):
            penalty += inverse[a, b] * inverse[a, b]
    return half_log_det, penalty


def _compile_cost_matrix(stamp: str):
    @njit(cache=True)
    def cost_matrix(weights, means, covariances, prior_weight):
        """Return Runnalls' cost (nats per sample) of each pair, shape (k, k).

        The change of the penalties, at half of `prior_weight` each, is part of it. Infinite on and
        below the diagonal, and where a covariance is not positive definite.
        """
        len(stamp)  # part of the key under which compiled code is kept
        k, dim = means.shape
        costs, own = np.full((k, k), math.inf), np.empty(k)
        merged, root, gap = np.empty((dim, dim)), np.empty((dim, dim)), np.empty(dim)
        inverse = np.empty((dim, dim))
        for j in range(k):
            half_log_det, penalty = _judge(covariances[j], root, inverse)
            own[j] = weights[j] * half_log_det + 0.5 * prior_weight * penalty
        for first in range(k):
            for second in range(first + 1, k):
                joint = weights[first] + weights[second]
                share = weights[first] / joint
                for a in range(dim):
                    gap[a] = means[first, a] - means[second, a]
                    for b in range(a + 1):
                        merged[a, b] = share * covariances[first, a, b]
                        merged[a, b] += (1.0 - share) * covariances[second, a, b]
                        merged[a, b] += share * (1.0 - share) * gap[a] * gap[b]
                half_log_det, penalty = _judge(merged, root, inverse)
                cost = joint * half_log_det + 0.5 * prior_weight * penalty
                cost -= own[first] + own[second]
                if not math.isnan(cost):
                    costs[first, second] = cost
        return costs

    return cost_matrix


cost_matrix = _compile_cost_matrix(SOURCE_STAMP)
