"""Compiled costs of merging components of a Gaussian mixture.

Symbols: k components in D dimensions. Written out because the search asks for the costs of every
split that it considers, and NumPy on k (k - 1) / 2 small matrices takes six times as long.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from study.detection.compiled.block import SOURCE_STAMP
from study.detection.compiled.em import factor_root


def _compile_cost_matrix(stamp: str):
    @njit(cache=True)
    def cost_matrix(weights, means, covariances):
        """Return Runnalls' cost (nats per sample) of each pair, shape (k, k).

        Infinite on and below the diagonal, and where a covariance is not positive definite.
        """
        len(stamp)  # part of the key under which compiled code is kept
        k, dim = means.shape
        costs, own = np.full((k, k), math.inf), np.empty(k)
        merged, root, gap = np.empty((dim, dim)), np.empty((dim, dim)), np.empty(dim)
        for j in range(k):
            own[j] = weights[j] * factor_root(covariances[j], root)
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
                # A root's log determinant is half of its matrix's.
                cost = joint * factor_root(merged, root) - own[first] - own[second]
                if not math.isnan(cost):
                    costs[first, second] = cost
        return costs

    return cost_matrix


cost_matrix = _compile_cost_matrix(SOURCE_STAMP)
