"""Split and merge moves on a Gaussian mixture, with a forecast of what each is worth.

Symbols: n points in D dimensions, k components, S starts. Mixtures have a leading axis of one fit
(B = 1) where the docstring says so; a replacement for some components has no such axis. Gains and
costs are in nats of the total log likelihood unless stated otherwise.

A *merge* replaces two components by one with their joint moments; Runnalls' cost bounds what it
loses. A *split* replaces one component by two: a two-component EM on the component's own points
finds them and shows what they gain. An *addition* is a new component on points of low density.

References
----------
Runnalls, "Kullback-Leibler approach to Gaussian mixture reduction", IEEE TAES 2007,
https://doi.org/10.1109/TAES.2007.4383588
Verbeek, Vlassis, Krose, "Efficient greedy learning of Gaussian mixture models", Neural
Computation 2003, https://doi.org/10.1162/089976603762553004
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from study.em import EMRun, FloatArray, Mixtures, PreparedPoints, factorize

# A component's points are whitened down to this ratio of smallest to largest variance.
SMALLEST_VARIANCE_RATIO = 1e-10
SMALLEST_VARIANCE = 1e-6
# Added to the variances of the parts of a whitened component while a split is being forecast.
FORECAST_RIDGE = 1e-3


def merge_costs(mixtures: Mixtures) -> FloatArray:
    """Return Runnalls' cost (nats per sample) of merging each pair of components.

    Parameters
    ----------
    mixtures : Mixtures, B = 1

    Returns
    -------
    ndarray, shape (k, k)
        Infinite on and below the diagonal.
    """
    weights, means, covariances = (part[0] for part in mixtures)
    k = len(weights)
    first, second = np.triu_indices(k, 1)
    joint = weights[first] + weights[second]
    share = (weights[first] / joint)[:, None, None]
    gap = means[first] - means[second]
    merged = share * covariances[first] + (1 - share) * covariances[second]
    merged += share * (1 - share) * gap[:, :, None] * gap[:, None, :]
    own = weights * np.linalg.slogdet(covariances)[1]
    cost = np.full((k, k), np.inf)
    cost[first, second] = 0.5 * (joint * np.linalg.slogdet(merged)[1] - own[first] - own[second])
    return cost


def merge_pair(mixtures: Mixtures, first: int, second: int) -> Mixtures:
    """Return the mixture with two components replaced by one of the same moments (B = 1)."""
    pair = [first, second]
    weights, means, covariances = (part[0, pair] for part in mixtures)
    share = weights / weights.sum()
    mean = share @ means
    gap = means - mean
    spread = covariances + gap[:, :, None] * gap[:, None, :]
    covariance = (share[:, None, None] * spread).sum(0)
    merged = Mixtures(weights.sum()[None], mean[None], covariance[None])
    return _replace(mixtures, pair, merged)


def _replace(mixtures: Mixtures, gone: list[int], new: Mixtures) -> Mixtures:
    """Return a mixture (B = 1) without the components `gone` and with new ones (no B axis)."""
    keep = [j for j in range(mixtures.weights.shape[1]) if j not in gone]
    parts = zip(mixtures, new, strict=True)
    return Mixtures(*(np.concatenate([old[0, keep], more])[None] for old, more in parts))


@dataclass(frozen=True, slots=True)
class Split:
    """A proposal to replace one component by two.

    Parameters
    ----------
    gain : float
        Log likelihood (nats) that two components gain over one on the component's own points.
    children : Mixtures
        The two parts, without a B axis; weights sum to one; in the coordinates of the path.
    """

    gain: float
    children: Mixtures


def split_component(mixtures: Mixtures, component: int, children: Mixtures) -> Mixtures:
    """Return the mixture with one component replaced by two parts of it (B = 1)."""
    scaled = children._replace(weights=mixtures.weights[0, component] * children.weights)
    return _replace(mixtures, [component], scaled)


class SplitCache:
    """Forecasts of components met before: most components of a path survive from k to k + 1."""

    def __init__(self, *, tolerance: float = 0.03, capacity: int = 120) -> None:
        self.tolerance = tolerance
        self.capacity = capacity
        self._keys: FloatArray = np.empty((0, 0))
        self._splits: list[Split | None] = []

    @staticmethod
    def _describe(mixtures: Mixtures) -> FloatArray:
        weights, means, covariances = (part[0] for part in mixtures)
        return np.concatenate([weights[:, None], means, covariances.reshape(len(means), -1)], 1)

    def find(self, mixtures: Mixtures) -> list[Split | int | None]:
        """Return each component's known forecast, or its index where there is none."""
        known: list[Split | int | None] = list(range(mixtures.weights.shape[1]))
        if not self._splits:
            return known
        weights, means, covariances = (part[0] for part in mixtures)
        dim = means.shape[1]
        variance = np.trace(covariances, axis1=1, axis2=2)
        scale = np.stack([weights, np.sqrt(variance), variance]).repeat([1, dim, dim * dim], 0).T
        keys = self._describe(mixtures)
        apart = np.abs((keys[:, None] - self._keys) / scale[:, None]).max(-1)
        nearest = apart.argmin(1)
        for j, at in enumerate(nearest.tolist()):
            if apart[j, at] < self.tolerance:
                known[j] = self._splits[at]
        return known

    def add(self, mixtures: Mixtures, components: list[int], splits: list[Split | None]) -> None:
        keys = self._describe(mixtures)[components]
        self._keys = np.concatenate([self._keys, keys])[-self.capacity :] if self._splits else keys
        self._splits = [*self._splits, *splits][-self.capacity :]


class SplitForecast:
    """Two-component EM on each component's own points, from several starts at once.

    A point belongs to one component, drawn from its posterior: the points of a component are then
    distributed as the component itself where the fit is right, without cut edges. Each
    component's points are whitened, so that all parts share one scale.

    Shapes: k components, S starts, n points sorted by component, F products of [1, y].
    """

    def __init__(
        self, data: PreparedPoints, posterior: Tensor, draws: Tensor, components: list[int]
    ) -> None:
        # posterior (k, n), draws (n,) uniform in [0, 1); k below is len(components)
        k = len(posterior)
        self.data = data
        self.components = components
        labels = (posterior.cumsum(0) < draws).sum(0).clamp_(max=k - 1)
        order = torch.argsort(labels, stable=True)
        self.counts = torch.bincount(labels, minlength=k).cpu().numpy()
        if len(components) < k:
            wanted = torch.zeros(k, dtype=torch.bool, device=labels.device)
            wanted[components] = True
            order = order[wanted[labels[order]]]
            self.counts = self.counts[components]
        ends = [0, *self.counts.cumsum().tolist()]
        self.segments = [slice(a, b) for a, b in pairwise(ends)]
        self._whiten(data.points[0][order])

    def _parts(self) -> list[tuple[slice, int]]:
        """Return each component's rows and how many they are."""
        return list(zip(self.segments, self.counts.tolist(), strict=True))

    def _whiten(self, points: Tensor) -> None:
        dim, data = self.data.dim, self.data
        centres = [points[part].sum(0) / max(n, 1) for part, n in self._parts()]
        self.means = torch.stack(centres).cpu().numpy()
        gaps = [
            points[part] - centre for (part, _), centre in zip(self._parts(), centres, strict=True)
        ]
        spreads = [gap.T @ gap / max(len(gap), 1) for gap in gaps]
        covariances = torch.stack(spreads).cpu().numpy()
        values, vectors = np.linalg.eigh(covariances)
        floor = np.maximum(SMALLEST_VARIANCE_RATIO * values[:, -1:], SMALLEST_VARIANCE)
        scale = np.sqrt(np.maximum(values, floor))
        self.roots = vectors * scale[:, None, :]
        inverses = vectors / scale[:, None, :]
        rotated = [
            gap @ inverse for gap, inverse in zip(gaps, data.to_device(inverses), strict=True)
        ]
        white = torch.cat(rotated)
        extended = torch.cat([torch.ones_like(white[:, :1]), white], 1)
        self.features = extended[:, data.rows] * extended[:, data.columns]
        self.features_by_row = self.features.T.contiguous()
        totals = torch.stack([self.features[part].sum(0) for part in self.segments])
        self.totals = totals.cpu().numpy()
        self.ridge = FORECAST_RIDGE * np.eye(dim + 1)
        self.ridge[0, 0] = 0.0

    def _evaluate(self, coefficients: FloatArray) -> Tensor:
        """Evaluate coefficients (k, S, F) on each component's own points, shape (S, n)."""
        out = self.features.new_empty(coefficients.shape[1], len(self.features))
        forms = self.data.to_device(coefficients)
        for rows, part in zip(forms, self.segments, strict=True):
            torch.mm(rows, self.features_by_row[:, part], out=out[:, part])
        return out

    def _starts(self, generator: np.random.Generator, n_random: int) -> FloatArray:
        """Return discriminants (k, S, F): halves along each axis, core and rim, random pairs."""
        dim, k, data = self.data.dim, len(self.counts), self.data
        starts = np.zeros((k, dim + 1 + n_random, len(data.packing)))
        starts[:, range(dim), range(1, dim + 1)] = 1.0
        starts[:, dim, data.rows == data.columns] = 1.0
        starts[:, dim, 0] = -dim
        first = np.array([part.start for part in self.segments])
        draws = generator.random((k, 2 * n_random)) * self.counts[:, None]
        chosen = np.minimum(first[:, None] + draws.astype(np.int64), len(self.features) - 1)
        pairs = self.features[torch.from_numpy(chosen), 1 : dim + 1].cpu().numpy()
        near, far = pairs[:, :n_random], pairs[:, n_random:]
        starts[:, dim + 1 :, 0] = 0.5 * (far**2 - near**2).sum(-1)
        starts[:, dim + 1 :, 1 : dim + 1] = near - far
        return starts

    def _maximize(self, shares: Tensor) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return counts (k, S, 2), scatters and coefficients of both parts given shares (S, n)."""
        data = self.data
        sums = torch.stack([shares[:, part] @ self.features[part] for part in self.segments])
        first = sums.cpu().numpy()
        moments = np.stack([first, self.totals[:, None] - first], 2)
        counts = np.maximum(moments[..., 0], 1e-6)
        scatter = data.unpack(moments / counts[..., None]) + self.ridge
        scatter[..., 0, 0] = 1.0
        factors = factorize(scatter)
        coefficients = data.pack_form(factors.inverse)
        log_share = np.log(counts / counts.sum(-1, keepdims=True))
        coefficients[..., 0] += log_share - factors.half_log_det + 0.5
        return counts, scatter, coefficients

    def _gains(self, counts: FloatArray, coefficients: FloatArray) -> FloatArray:
        """Return what two parts gain over one (nats, in total), shape (k, S)."""
        first = self._evaluate(coefficients[:, :, 0])
        second = self._evaluate(coefficients[:, :, 1])
        density = torch.logaddexp(first, second)
        totals = torch.stack([density[:, part].sum(1) for part in self.segments])
        # One whitened Gaussian has mean log density -D/2, leaving out the same constant.
        gains = totals.cpu().numpy() + 0.5 * self.data.dim * self.counts[:, None]
        return np.where(counts.min(-1) > self.data.dim + 1, gains, -np.inf)

    def run(
        self, generator: np.random.Generator, *, n_random: int, n_iter: int
    ) -> list[Split | None]:
        """Return the best split of each component, or None where the parts came out too small."""
        if not len(self.features):
            return [None] * len(self.segments)
        shares = (self._evaluate(self._starts(generator, n_random)) > 0).to(self.features)
        for _ in range(n_iter):
            counts, scatter, coefficients = self._maximize(shares)
            difference = coefficients[:, :, 0] - coefficients[:, :, 1]
            shares = self._evaluate(difference).clamp_(-40.0, 40.0).sigmoid_()
        gains = self._gains(counts, coefficients)
        splits: list[Split | None] = []
        for j, start in enumerate(gains.argmax(1).tolist()):
            gain = float(gains[j, start])
            children = self._children(j, counts[j, start], scatter[j, start])
            splits.append(Split(gain, children) if math.isfinite(gain) else None)
        return splits

    def _children(self, component: int, counts: FloatArray, scatter: FloatArray) -> Mixtures:
        root = self.roots[component]
        white = scatter[:, 0, 1:]
        covariances = scatter[:, 1:, 1:] - white[:, :, None] * white[:, None, :]
        means = white @ root.T + self.means[component]
        return Mixtures(counts / counts.sum(), means, root @ covariances @ root.T)


def add_component(mixtures: Mixtures, addition: Mixtures) -> Mixtures:
    """Return the mixture with one more component; the others keep their proportions (B = 1)."""
    rest = mixtures._replace(weights=mixtures.weights * (1.0 - addition.weights.sum()))
    return _replace(rest, [], addition)


def outlier_components(
    data: PreparedPoints,
    mixtures: Mixtures,
    *,
    n_seeds: int = 12,
    n_near: int = 64,
    n_iter: int = 10,
) -> list[tuple[float, Mixtures]]:
    """Forecast what one more component on left-out points would gain.

    Parameters
    ----------
    data : PreparedPoints
    mixtures : Mixtures, B = 1
    n_seeds : int
        Points of lowest density that a component is started on.
    n_near, n_iter : int
        Each start runs `n_iter` EM steps of its own component on its `n_near` nearest points.

    Returns
    -------
    list of (gain, component)
        Gain in nats (total), best first; the component has no B axis, its weight is its share.
    """
    n = data.n_samples
    log_prob = EMRun(data, mixtures).log_prob()[0]
    typical = np.tensordot(mixtures.weights[0], mixtures.covariances[0], 1)
    root = data.to_device(np.linalg.inv(np.linalg.cholesky(typical)).T)
    white = data.points[0] @ root
    lowest = torch.argsort(log_prob)[: 4 * n_seeds]
    seeds = _spread(white[lowest].cpu().numpy(), n_seeds)
    chosen = lowest[seeds]
    distance = torch.cdist(white[chosen], white)
    near = distance.topk(min(n_near, n), largest=False).indices  # (seeds, near)
    places, background = data.points[0][near].cpu().numpy(), log_prob[near].cpu().numpy()
    start = Mixtures(
        np.full(len(seeds), 3.0 / n),
        data.points[0][chosen].cpu().numpy(),
        np.broadcast_to(typical, (len(seeds), data.dim, data.dim)),
    )
    try:
        gains, found = _grow(places, background, start, n, n_iter)
    except np.linalg.LinAlgError:
        return []  # components of such different scales leave nothing to compare with
    order = np.argsort(-gains).tolist()
    return [(float(gains[j]), Mixtures(*(part[j : j + 1] for part in found))) for j in order]


def _grow(
    places: FloatArray, background: FloatArray, start: Mixtures, n_samples: int, n_iter: int
) -> tuple[FloatArray, Mixtures]:
    """Run EM of one new component per seed against a fixed background.

    Parameters
    ----------
    places : ndarray, shape (seeds, near, D)
    background : ndarray, shape (seeds, near)
        Log density of the places under the mixture as it is.
    start : Mixtures
        One component for each seed, no B axis.
    n_samples, n_iter : int

    Returns
    -------
    gains : ndarray, shape (seeds,), nats in total
    found : Mixtures
    """
    dim = places.shape[-1]
    weights, means, covariances = start
    for _ in range(n_iter):
        gaps = places - means[:, None]
        precision = np.linalg.inv(covariances)
        log_own = -0.5 * ((gaps @ precision) * gaps).sum(-1) - 0.5 * dim * math.log(2 * math.pi)
        log_own -= 0.5 * np.linalg.slogdet(covariances)[1][:, None]
        rest = np.log1p(-weights)
        odds = np.log(weights)[:, None] + log_own - background - rest[:, None]
        gains = np.logaddexp(odds, 0.0).sum(1) + n_samples * rest
        found = Mixtures(weights, means, covariances)
        shares = 1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500)))
        counts = np.maximum(shares.sum(1), 1e-3)
        weights = counts / n_samples
        means = (shares[..., None] * places).sum(1) / counts[:, None]
        gaps = places - means[:, None]
        covariances = (shares[..., None] * gaps).swapaxes(1, 2) @ gaps / counts[:, None, None]
        covariances = covariances + 1e-6 * np.eye(dim)
    return gains, found


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
