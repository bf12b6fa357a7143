"""What splitting a component would gain: a two-component EM on the component's own points.

Symbols: m points of a component in D dimensions, S starts, F = 1 + D + D (D + 1) / 2 products of
[1, y] for a whitened point y: 1, then y_a, then y_a y_b with b <= a by rows. A part's log density
is linear in them.

A point belongs to one component, drawn from its posterior: the points of a component are then
distributed as the component itself where the fit is right, without cut edges. Each component's
points are whitened by their penalised covariance, so that all parts share one scale and no product
cancels. The gain is one of the objective that EM climbs, penalties included.

References
----------
Verbeek, Vlassis, Krose, "Efficient greedy learning of Gaussian mixture models", Neural
Computation 2003, https://doi.org/10.1162/089976603762553004
"""

from __future__ import annotations

import math

import numpy as np

from study.detection.cloud import Cloud, FloatArray, Mixture
from study.detection.compiled.split import grow_parts
from study.detection.moves import Split

# Smaller variances of a component, relative to its largest, are rounding.
ROUNDING = 1e-14


class SplitCache:
    """Forecasts of components met before: most components of a path survive from k to k + 1."""

    def __init__(self, *, tolerance: float = 0.03, capacity: int = 120) -> None:
        self.tolerance = tolerance
        self.capacity = capacity
        self._keys: FloatArray = np.empty((0, 0))
        self._splits: list[Split | None] = []

    @staticmethod
    def _describe(mixture: Mixture) -> FloatArray:
        weights, means, covariances = mixture
        return np.concatenate([weights[:, None], means, covariances.reshape(len(means), -1)], 1)

    def find(self, mixture: Mixture) -> list[Split | int | None]:
        """Return each component's known forecast, or its index where there is none."""
        known: list[Split | int | None] = list(range(len(mixture.weights)))
        if not self._splits:
            return known
        weights, means, covariances = mixture
        dim = means.shape[1]
        variance = np.trace(covariances, axis1=1, axis2=2)
        scale = np.stack([weights, np.sqrt(variance), variance]).repeat([1, dim, dim * dim], 0).T
        keys = self._describe(mixture)
        apart = np.abs((keys[:, None] - self._keys) / scale[:, None]).max(-1)
        nearest = apart.argmin(1)
        for j, at in enumerate(nearest.tolist()):
            if apart[j, at] < self.tolerance:
                known[j] = self._splits[at]
        return known

    def add(self, mixture: Mixture, components: list[int], splits: list[Split | None]) -> None:
        """Remember the forecasts of some components of a mixture."""
        keys = self._describe(mixture)[components]
        self._keys = np.concatenate([self._keys, keys])[-self.capacity :] if self._splits else keys
        self._splits = [*self._splits, *splits][-self.capacity :]


def forecast_splits(
    cloud: Cloud,
    mixture: Mixture,
    components: list[int],
    generator: np.random.Generator,
    *,
    n_random: int = 4,
    n_iter: int = 10,
) -> list[Split | None]:
    """Forecast the best split of each of some components.

    Parameters
    ----------
    cloud : Cloud
    mixture : Mixture
    components : list of int
    generator : numpy Generator
    n_random : int
        Starts from random pairs of points, beside D + 1 fixed ones.
    n_iter : int
        EM iterations of each start.

    Returns
    -------
    list of Split or None
        None where the parts came out too small.
    """
    labels = cloud.draw_labels(mixture, generator.random((cloud.n_samples,)))
    draws = generator.random((len(components), 2 * n_random))
    return [
        _best_split(cloud.points[labels == component], pairs, n_iter, cloud.pseudo_count)
        for component, pairs in zip(components, draws, strict=True)
    ]


def _best_split(
    points: FloatArray, draws: FloatArray, n_iter: int, pseudo_count: float
) -> Split | None:
    """Forecast the best split of the component that has these points (m, D)."""
    n_points, dim = points.shape
    if n_points < 2 * (dim + 2):
        return None
    centre = points.mean(0)
    gaps = points - centre
    values, vectors = np.linalg.eigh(gaps.T @ gaps)
    variances = (np.maximum(values, 0.0) + pseudo_count) / (n_points + pseudo_count)
    scale = np.sqrt(np.maximum(variances, ROUNDING * variances[-1]))
    if not scale[-1] > 0.0:
        return None
    white = gaps @ (vectors / scale)
    starts = _starts(white, draws)
    gain, weights, means, covariances = grow_parts(
        white, starts, n_iter, pseudo_count, 1.0 / scale**2
    )
    if not math.isfinite(gain):
        return None
    root = vectors * scale
    children = root @ covariances @ root.T
    children = 0.5 * (children + children.swapaxes(1, 2))
    return Split(gain, Mixture(weights, means @ root.T + centre, children))


def _starts(white: FloatArray, draws: FloatArray) -> FloatArray:
    """Return discriminants (S, F): halves along each axis, core and rim, random pairs."""
    n_points, dim = white.shape
    n_random = len(draws) // 2
    starts = np.zeros((dim + 1 + n_random, 1 + dim + dim * (dim + 1) // 2))
    starts[range(dim), range(1, dim + 1)] = 1.0
    squares = [1 + dim + a * (a + 3) // 2 for a in range(dim)]
    starts[dim, squares] = 1.0
    starts[dim, 0] = -(white * white).sum() / n_points
    pairs = white[np.minimum((draws * n_points).astype(np.int64), n_points - 1)]
    near, far = pairs[:n_random], pairs[n_random:]
    starts[dim + 1 :, 0] = 0.5 * (far**2 - near**2).sum(-1)
    starts[dim + 1 :, 1 : dim + 1] = near - far
    return starts
