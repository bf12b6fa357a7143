"""The likelihood path: the best mixture known for each number of components, improved by moves.

Symbols: n points in D dimensions, k components, l(k) the best total log likelihood (nats) known
with k. A *merge* replaces two components of the k-path by one with their joint moments and so
proposes a fit for k - 1; a *split* replaces one component by two and proposes a fit for k + 1.
EM finishes every proposal. Both moves come with a forecast: Runnalls' cost bounds what a merge
loses, and a two-component EM on the component's own points shows what a split gains.

References
----------
Runnalls, "Kullback-Leibler approach to Gaussian mixture reduction", IEEE TAES 2007,
https://doi.org/10.1109/TAES.2007.4383588
Ueda, Nakano, Ghahramani, Hinton, "SMEM algorithm for mixture models", Neural Computation 2000,
https://doi.org/10.1162/089976600300015088
Verbeek, Vlassis, Krose, "Efficient greedy learning of Gaussian mixture models", Neural
Computation 2003, https://doi.org/10.1162/089976603762553004
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from study.em import EMRun, Mixtures, PreparedPoints, n_parameters


# A component's points are whitened down to this ratio of smallest to largest variance.
SMALLEST_VARIANCE_RATIO = 1e-10


# EM ends a merge at least this share of Runnalls' bound below the start ...
MERGE_LOSS_SHARE = 0.3
# ... and a split at most this much above its forecast.
SPLIT_GAIN_FACTOR = 1.3
SPLIT_GAIN_SLACK = 10.0


@dataclass(frozen=True, slots=True)
class PathFit:
    """One mixture on the path: its parameters (B = 1, centred) and total log likelihood (nats)."""

    mixtures: Mixtures
    log_likelihood: float
    converged: bool


def merge_costs(mixtures: Mixtures) -> Tensor:
    """Return Runnalls' cost (nats per sample) of merging each pair, shape (k, k).

    Parameters
    ----------
    mixtures : Mixtures, B = 1

    Returns
    -------
    Tensor, shape (k, k)
        Infinite on and below the diagonal.
    """
    weights, means, covariances = (part[0] for part in mixtures)
    joint = weights[:, None] + weights
    share = (weights[:, None] / joint)[..., None, None]
    gap = means[:, None] - means
    spread = gap[..., :, None] * gap[..., None, :]
    merged = share * covariances[:, None] + (1 - share) * covariances + share * (1 - share) * spread
    log_det = torch.linalg.slogdet(covariances).logabsdet
    loss = joint * torch.linalg.slogdet(merged).logabsdet
    cost = 0.5 * (loss - weights[:, None] * log_det[:, None] - weights * log_det)
    below = torch.ones_like(cost, dtype=torch.bool).tril()
    return cost.masked_fill(below, torch.inf)


def merge_pair(mixtures: Mixtures, first: int, second: int) -> Mixtures:
    """Return the mixture with two components replaced by one of the same moments (B = 1)."""
    weights, means, covariances = (part[0] for part in mixtures)
    pair = torch.tensor([first, second])
    weight = weights[pair].sum()
    share = weights[pair] / weight
    mean = share @ means[pair]
    gap = means[pair] - mean
    spread = covariances[pair] + gap[:, :, None] * gap[:, None, :]
    covariance = (share[:, None, None] * spread).sum(0)
    keep = [j for j in range(len(weights)) if j not in (first, second)]
    return Mixtures(
        torch.cat([weights[keep], weight[None]])[None],
        torch.cat([means[keep], mean[None]])[None],
        torch.cat([covariances[keep], covariance[None]])[None],
    )


@dataclass(frozen=True, slots=True)
class Split:
    """A proposal to replace one component by two.

    Parameters
    ----------
    gain : float
        Log likelihood (nats) that two components gain over one on the component's own points.
    children : Mixtures
        The two parts (B = 1), weights summing to one, in the coordinates of the path.
    """

    gain: float
    children: Mixtures


def split_component(mixtures: Mixtures, component: int, children: Mixtures) -> Mixtures:
    """Return the mixture with one component replaced by two parts of it (B = 1)."""
    weights, means, covariances = (part[0] for part in mixtures)
    keep = [j for j in range(len(weights)) if j != component]
    shares, centres, shapes = (part[0] for part in children)
    return Mixtures(
        torch.cat([weights[keep], weights[component] * shares])[None],
        torch.cat([means[keep], centres])[None],
        torch.cat([covariances[keep], shapes])[None],
    )


class _SplitCache:
    """Forecasts of components met before: most components of a path survive from k to k + 1."""

    def __init__(self, *, tolerance: float = 0.03, capacity: int = 120) -> None:
        self.tolerance = tolerance
        self.capacity = capacity
        self._keys: Tensor | None = None
        self._splits: list[Split | None] = []

    def _describe(self, mixtures: Mixtures) -> Tensor:
        return torch.cat(
            [mixtures.weights[0][:, None], mixtures.means[0], mixtures.covariances[0].flatten(1)],
            1,
        )

    def find(self, mixtures: Mixtures) -> list[Split | None | int]:
        """Return each component's known forecast, or its index where there is none."""
        known: list[Split | None | int] = list(range(mixtures.weights.shape[1]))
        if self._keys is None:
            return known
        keys = self._describe(mixtures)
        dim = mixtures.means.shape[-1]
        variance = mixtures.covariances[0].diagonal(dim1=-2, dim2=-1).sum(-1)
        # tolerances relative to weight, root of trace, trace
        scale = torch.cat(
            [
                mixtures.weights[0][:, None],
                variance.sqrt()[:, None].expand(-1, dim),
                variance[:, None].expand(-1, dim * dim),
            ],
            1,
        )
        apart = ((keys[:, None] - self._keys).abs() / scale[:, None]).amax(-1)
        nearest = apart.min(1)
        for j, (gap, at) in enumerate(
            zip(nearest.values.tolist(), nearest.indices.tolist(), strict=True)
        ):
            if gap < self.tolerance:
                known[j] = self._splits[at]
        return known

    def add(self, mixtures: Mixtures, components: list[int], splits: list[Split | None]) -> None:
        keys = self._describe(mixtures)[components]
        self._keys = keys if self._keys is None else torch.cat([self._keys, keys])
        self._splits = [*self._splits, *splits]
        self._keys = self._keys[-self.capacity :]
        self._splits = self._splits[-self.capacity :]


class _SplitForecast:
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
        self.counts = torch.bincount(labels, minlength=k)
        if len(components) < k:
            wanted = torch.zeros(k, dtype=torch.bool)
            wanted[components] = True
            order = order[wanted[labels[order]]]
            self.counts = self.counts[components]
        ends = [0, *self.counts.cumsum(0).tolist()]
        self.segments = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]
        self._whiten(data.points[0][order], data.features[0][order])

    def _whiten(self, points: Tensor, features: Tensor) -> None:
        dim, data = self.data.dim, self.data
        sums = torch.stack([features[part].sum(0) for part in self.segments])
        scatter = data.unpack(sums / self.counts.clamp(min=1)[:, None])
        self.means = scatter[:, 0, 1:]
        covariances = scatter[:, 1:, 1:] - self.means[:, :, None] * self.means[:, None, :]
        values, vectors = torch.linalg.eigh(covariances)
        floor = SMALLEST_VARIANCE_RATIO * values[:, -1:].clamp(min=1e-300)
        scale = values.clamp(min=1e-6).maximum(floor).sqrt()
        self.roots = vectors * scale[:, None, :]
        inverses = vectors / scale[:, None, :]
        shifts = (self.means[:, None] @ inverses)[:, 0]
        white = torch.empty_like(points)
        for part, inverse, shift in zip(self.segments, inverses, shifts, strict=True):
            torch.sub(points[part] @ inverse, shift, out=white[part])
        extended = torch.cat([torch.ones_like(white[:, :1]), white], 1)
        self.features = extended[:, data.rows] * extended[:, data.columns]
        self.features_by_row = self.features.T.contiguous()
        self.totals = torch.stack([self.features[part].sum(0) for part in self.segments])
        self.ridge = 1e-3 * torch.eye(dim + 1, dtype=points.dtype, device=points.device)
        self.ridge[0, 0] = 0.0

    def _evaluate(self, coefficients: Tensor) -> Tensor:
        """Evaluate coefficients (k, S, F) on each component's own points, shape (S, n)."""
        out = self.features.new_empty(coefficients.shape[1], len(self.features))
        for rows, part in zip(coefficients, self.segments, strict=True):
            torch.mm(rows, self.features_by_row[:, part], out=out[:, part])
        return out

    def _starts(self, generator: np.random.Generator, n_random: int) -> Tensor:
        """Return discriminants (k, S, F): halves along each axis, core and rim, random pairs."""
        dim, k = self.data.dim, len(self.counts)
        fixed = self.features.new_zeros(dim + 1, self.features.shape[1])
        fixed[range(dim), range(1, dim + 1)] = 1.0
        fixed[dim, (self.data.rows == self.data.columns).nonzero()[:, 0]] = 1.0
        fixed[dim, 0] = -dim
        draws = torch.from_numpy(generator.random((k, 2 * n_random)))
        first = torch.tensor([part.start for part in self.segments])
        chosen = first[:, None] + (draws * self.counts[:, None]).long()
        pairs = self.features[chosen.clamp_(max=len(self.features) - 1), 1 : dim + 1]
        near, far = pairs[:, :n_random], pairs[:, n_random:]
        linear = near - far
        constant = 0.5 * (far.square() - near.square()).sum(-1, keepdim=True)
        rest = linear.new_zeros(k, n_random, self.features.shape[1] - 1 - dim)
        random = torch.cat([constant, linear, rest], -1)
        return torch.cat([fixed.expand(k, -1, -1), random], 1)

    def _maximize(self, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return counts (k, S, 2), scatters and coefficients of both parts given shares (S, n)."""
        data = self.data
        first = torch.stack([shares[:, part] @ self.features[part] for part in self.segments])
        moments = torch.stack([first, self.totals[:, None] - first], 2)
        counts = moments[..., :1].clamp(min=1e-6)
        scatter = data.unpack(moments / counts) + self.ridge
        scatter[..., 0, 0] = 1.0
        counts = counts[..., 0]
        cholesky = torch.linalg.cholesky_ex(scatter).L
        inverse = torch.cholesky_inverse(cholesky)
        coefficients = inverse.flatten(-2)[..., data.packing] * data.multiplicity
        half_log_det = cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        share = counts / counts.sum(-1, keepdim=True)
        coefficients[..., 0] += share.log() - half_log_det + 0.5
        return counts, scatter, coefficients

    def _gains(self, counts: Tensor, coefficients: Tensor, shares: Tensor) -> Tensor:
        """Return what two parts gain over one (nats, in total), shape (k, S)."""
        first = self._evaluate(coefficients[:, :, 0])
        second = self._evaluate(coefficients[:, :, 1])
        density = torch.logaddexp(first, second)
        totals = torch.stack([density[:, part].sum(1) for part in self.segments])
        # One whitened Gaussian has mean log density -D/2, leaving out the same constant.
        gains = totals + 0.5 * self.data.dim * self.counts[:, None]
        return gains.masked_fill(~(counts.amin(-1) > self.data.dim + 1), -torch.inf)

    def run(
        self, generator: np.random.Generator, *, n_random: int, n_iter: int
    ) -> list[Split | None]:
        """Return the best split of each component, or None where the parts came out too small."""
        shares = (self._evaluate(self._starts(generator, n_random)) > 0).to(self.features)
        for _ in range(n_iter):
            counts, scatter, coefficients = self._maximize(shares)
            difference = coefficients[:, :, 0] - coefficients[:, :, 1]
            shares = self._evaluate(difference).clamp_(-40.0, 40.0).sigmoid_()
        gains = self._gains(counts, coefficients, shares)
        splits: list[Split | None] = []
        for j, start in enumerate(gains.argmax(1).tolist()):
            gain = float(gains[j, start])
            children = self._children(j, counts[j, start], scatter[j, start])
            splits.append(Split(gain, children) if math.isfinite(gain) else None)
        return splits

    def _children(self, component: int, counts: Tensor, scatter: Tensor) -> Mixtures:
        root = self.roots[component]
        white = scatter[:, 0, 1:]
        covariances = scatter[:, 1:, 1:] - white[:, :, None] * white[:, None, :]
        means = white @ root.T + self.means[component]
        covariances = root @ covariances @ root.T
        return Mixtures((counts / counts.sum())[None], means[None], covariances[None])


class PathSearch:
    """Best known mixtures of one cloud for each k, and the moves that improve them.

    Parameters
    ----------
    points : Tensor, shape (n, D), float64
    generator : numpy Generator
        For every draw.
    price : float, optional
        What one parameter must gain (nats in total); BIC's (log n) / 2 by default.
    """

    def __init__(
        self, points: Tensor, generator: np.random.Generator, *, price: float | None = None
    ) -> None:
        self.data = PreparedPoints(points)
        self.n_samples = self.data.n_samples
        self.generator = generator
        self.price = 0.5 * math.log(self.n_samples) if price is None else price
        self.fits: dict[int, PathFit] = {}
        self.n_iterations = 0
        # log likelihood of the fit whose splits (merges) were last tried, for each k
        self._split_from: dict[int, float] = {}
        self._merged_from: dict[int, float] = {}
        self._cache = _SplitCache()

    def cost(self, k: int) -> float:
        """Return the criterion (nats, lower is better) of the best fit with k components."""
        return self.price * n_parameters(k, self.data.dim) - self.fits[k].log_likelihood

    def best_k(self) -> int:
        """Return the k of lowest cost; the smaller one in a tie."""
        return min(sorted(self.fits), key=self.cost)

    def offer(self, start: EMRun, *, tol_nats: float = 0.1, max_iter: int = 60) -> bool:
        """Finish a proposal by EM and keep it if it is the best with its k.

        It is given up as soon as its log likelihood, extrapolated generously, would end below
        the best known.
        """
        k = start.n_components
        known = self.fits[k].log_likelihood if k in self.fits else -math.inf
        current, delta = -math.inf, math.inf
        for iteration in range(max_iter):
            previous, before = current, delta
            current = float(start.step())
            self.n_iterations += 1
            delta = current - previous
            if iteration < 2:
                continue
            rate = min(max(delta / before, 0.6), 0.97) if before > 0 else 0.6
            if current + 2.0 * delta * rate / (1.0 - rate) < known + 0.01:
                return False
            if delta < tol_nats:
                break
        if current <= known:
            return False
        self.fits[k] = PathFit(start.mixtures, current, delta < tol_nats)
        return True

    def overfit(self, k: int) -> None:
        """Start the path from k-means with k clusters."""
        random_state = int(self.generator.integers(2**31))
        means = KMeans(k, n_init=1, random_state=random_state, max_iter=10)
        labels = torch.from_numpy(means.fit_predict(self.data.points[0].numpy())).long()
        shares = torch.nn.functional.one_hot(labels, k).to(torch.float64)[None]
        self.offer(EMRun.from_responsibilities(self.data, shares))

    def merge_down(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k - 1 components from the best with k."""
        fit = self.fits[k]
        if self._merged_from.get(k) == fit.log_likelihood:
            return False
        self._merged_from[k] = fit.log_likelihood
        costs = merge_costs(fit.mixtures).flatten()
        ranked = torch.argsort(costs)[: min(n_candidates, k * (k - 1) // 2)].tolist()
        known = self.fits[k - 1].log_likelihood if k - 1 in self.fits else -math.inf
        improved = False
        for flat in ranked:
            # EM wins back about half of the bound: hopeless proposals are not started.
            forecast = fit.log_likelihood - MERGE_LOSS_SHARE * self.n_samples * float(costs[flat])
            if forecast < known or costs[flat] > 4 * costs[ranked[0]] + 1e-3:
                continue
            merged = merge_pair(fit.mixtures, flat // k, flat % k)
            improved |= self.offer(EMRun(self.data, merged))
        return improved

    def split_up(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k + 1 components from the best with k."""
        fit = self.fits[k]
        if self._split_from.get(k) == fit.log_likelihood:
            return False
        self._split_from[k] = fit.log_likelihood
        splits = self._forecast(fit.mixtures)
        known = self.fits[k + 1].log_likelihood if k + 1 in self.fits else -math.inf
        ranked = sorted(splits, key=lambda pair: -pair[1].gain)[:n_candidates]
        improved = False
        for component, split in ranked:
            hopeful = fit.log_likelihood + SPLIT_GAIN_FACTOR * split.gain + SPLIT_GAIN_SLACK
            if hopeful < known or split.gain < 0.3 * ranked[0][1].gain:
                continue
            proposal = split_component(fit.mixtures, component, split.children)
            improved |= self.offer(EMRun(self.data, proposal))
        return improved

    def _forecast(self, mixtures: Mixtures) -> list[tuple[int, Split]]:
        known = self._cache.find(mixtures)
        new = [entry for entry in known if isinstance(entry, int)]
        if new:
            posterior = EMRun(self.data, mixtures).responsibilities()[0]
            draws = torch.from_numpy(self.generator.random(self.n_samples))
            forecast = _SplitForecast(self.data, posterior, draws, new)
            splits = forecast.run(self.generator, n_random=4, n_iter=10)
            self._cache.add(mixtures, new, splits)
            for j, split in zip(new, splits, strict=True):
                known[j] = split
        return [(j, split) for j, split in enumerate(known) if isinstance(split, Split)]

    def refine(self, k_min: int, k_max: int, *, rounds: int = 4) -> None:
        """Split up and merge down around the best k until nothing improves."""
        for _ in range(rounds):
            best = self.best_k()
            low, high = max(k_min, best - 2), min(k_max, best + 3)
            improved = False
            for k in range(low, high):
                improved |= self.split_up(k, 2)
            for k in range(high, low, -1):
                if k in self.fits:
                    improved |= self.merge_down(k, 2)
            if not improved:
                break

    def polish(self, *, tol_nats: float = 1e-3, max_iter: int = 500, window: float = 10.0) -> None:
        """Run EM to convergence wherever the cost is within `window` nats of the lowest."""
        lowest = self.cost(self.best_k())
        for k in [k for k in self.fits if self.cost(k) < lowest + window]:
            run = EMRun(self.data, self.fits[k].mixtures)
            current, delta = float(run.step()), math.inf
            for _ in range(max_iter):
                previous, before = current, delta
                current = float(run.step())
                delta = current - previous
                self.n_iterations += 1
                rate = min(max(delta / before, 0.0), 0.999) if before > 0 else 0.0
                if delta * max(1.0, rate / (1.0 - rate)) < tol_nats * 10:
                    break
            self.fits[k] = PathFit(run.mixtures, current, delta < tol_nats * 10)


SCOUT_SIZE = 2500


def search_path(
    points: Tensor, *, k_min: int, k_max: int, restarts: int, seed: int, start: int = 20
) -> PathSearch:
    """Search"""
    generator = np.random.default_rng(seed)
    n = len(points)
    path = PathSearch(points, generator)
    start = min(start, k_max)
    for _ in range(restarts):
        if n > 1.5 * SCOUT_SIZE:
            sub = torch.from_numpy(generator.permutation(n)[:SCOUT_SIZE])
            price = 0.5 * math.log(n) * SCOUT_SIZE / n + 0.5
            scout = PathSearch(points[sub], generator, price=price)
        else:
            scout = path
        scout.overfit(start)
        for k in range(start, k_min, -1):
            scout.merge_down(k, 1)
        if scout is not path:
            scout.refine(k_min, k_max, rounds=ROUNDS)
            shift = scout.data.centre - path.data.centre
            top = min(scout.best_k() + 3, max(scout.fits))
            for k in range(k_min, top + 1):
                weights, means, covariances = scout.fits[k].mixtures
                path.offer(EMRun(path.data, Mixtures(weights, means + shift, covariances)))
    path.refine(k_min, k_max)
    while (top := max(path.fits)) < min(k_max, path.best_k() + 5):
        path.split_up(top, 1)
        if top + 1 not in path.fits:
            break
    path.polish()
    return path
ROUNDS = 1
