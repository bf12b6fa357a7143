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
from torch import Tensor

from study.em import EMRun, Mixtures, PreparedPoints, n_parameters, run_em


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
    component : int
    gain : float
        Log likelihood (nats) that two components gain over one on the component's own points.
    children : Mixtures
        The two parts (B = 1), weights summing to one, in the coordinates of the path.
    """

    component: int
    gain: float
    children: Mixtures


def split_component(mixtures: Mixtures, split: Split) -> Mixtures:
    """Return the mixture with the proposal carried out (B = 1)."""
    weights, means, covariances = (part[0] for part in mixtures)
    keep = [j for j in range(len(weights)) if j != split.component]
    shares, centres, shapes = (part[0] for part in split.children)
    return Mixtures(
        torch.cat([weights[keep], weights[split.component] * shares])[None],
        torch.cat([means[keep], centres])[None],
        torch.cat([covariances[keep], shapes])[None],
    )


class _SplitForecast:
    """Two-component EM on each component's own points, from several starts at once.

    A point belongs to one component, drawn from its posterior: the points of a component are then
    distributed as the component itself where the fit is right, without cut edges. Each
    component's points are whitened, so that all parts share one scale.

    Shapes: k components, S starts; the part's parameters are (k, S, ...).
    """

    def __init__(self, data: PreparedPoints, posterior: Tensor, draws: Tensor) -> None:
        # posterior (k, n); draws (n,) uniform.
        k = len(posterior)
        labels = (posterior.cumsum(0) < draws).sum(0).clamp_(max=k - 1)
        order = torch.argsort(labels, stable=True)
        self.counts = torch.bincount(labels, minlength=k)
        self.bounds = [0, *self.counts.cumsum(0).tolist()]
        self.dim = data.dim
        self.rows, self.columns, self.multiplicity = data.rows, data.columns, data.multiplicity
        points = data.points[0][order]
        self.features = data.features[0][order]
        self.segments = [
            slice(a, b) for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True)
        ]
        self._whiten(points)

    def _whiten(self, points: Tensor) -> None:
        dim = self.dim
        sums = torch.stack([self.features[part].sum(0) for part in self.segments])
        counts = self.counts.clamp(min=1)[:, None]
        self.means = sums[:, 1 : 1 + dim] / counts
        self.roots = torch.zeros(len(sums), dim, dim, dtype=points.dtype, device=points.device)
        covariances = torch.empty_like(self.roots)
        for j, part in enumerate(self.segments):
            points[part] -= self.means[j]
            covariances[j] = points[part].T @ points[part] / counts[j]
        covariances += 1e-6 * torch.eye(dim, dtype=points.dtype, device=points.device)
        values, vectors = torch.linalg.eigh(covariances)
        scale = values.clamp(min=1e-12).sqrt()
        self.roots = vectors * scale[:, None, :]
        inverse = vectors / scale[:, None, :]
        for j, part in enumerate(self.segments):
            points[part] = points[part] @ inverse[j]
        self.points = points
        products = points[:, self.rows] * points[:, self.columns]
        self.features = torch.cat([torch.ones_like(points[:, :1]), points, products], 1)
        self.totals = torch.stack([self.features[part].sum(0) for part in self.segments])

    def _starts(self, generator: np.random.Generator, n_random: int) -> Tensor:
        """Return starting shares of the first part, shape (S, n): axis halves and random pairs."""
        halves = (self.points.T > 0).to(self.points)
        starts = [halves, (self.points.square().sum(1) > self.dim).to(halves)[None]]
        for _ in range(n_random):
            first, second = (self._random_member(generator) for _ in range(2))
            nearer = (self.points - first).square().sum(1) < (self.points - second).square().sum(1)
            starts.append(nearer.to(halves)[None])
        return torch.cat(starts)

    def _random_member(self, generator: np.random.Generator) -> Tensor:
        """Return, for each point, one random point of its own component, shape (n, D)."""
        low = torch.tensor(self.bounds[:-1])
        pick = torch.from_numpy(generator.random(len(low)))
        chosen = (low + (pick * self.counts).floor()).long().clamp(max=len(self.points) - 1)
        return torch.repeat_interleave(self.points[chosen], self.counts, dim=0)

    def _moments(self, shares: Tensor) -> Tensor:
        """Return feature sums of both parts, shape (k, S, 2, F)."""
        first = torch.stack([shares[:, part] @ self.features[part] for part in self.segments])
        return torch.stack([first, self.totals[:, None] - first], 2)

    def _parameters(self, moments: Tensor) -> Mixtures:
        dim = self.dim
        counts = moments[..., 0].clamp(min=1e-9)
        means = moments[..., 1 : 1 + dim] / counts[..., None]
        second = moments[..., 1 + dim :] / counts[..., None]
        covariances = second.new_empty((*counts.shape, dim, dim))
        covariances[..., self.rows, self.columns] = second
        covariances[..., self.columns, self.rows] = second
        covariances -= means[..., :, None] * means[..., None, :]
        ridge = 1e-3 * torch.eye(dim, dtype=means.dtype, device=means.device)
        return Mixtures(counts / counts.sum(-1, keepdim=True), means, covariances + ridge)

    def _coefficients(self, parts: Mixtures) -> Tensor:
        cholesky = torch.linalg.cholesky_ex(parts.covariances).L
        precisions = torch.cholesky_inverse(cholesky)
        linear = (precisions @ parts.means[..., None])[..., 0]
        log_det = 2.0 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = parts.weights.log() - 0.5 * (log_det + (linear * parts.means).sum(-1))
        quadratic = -0.5 * self.multiplicity * precisions[..., self.rows, self.columns]
        return torch.cat([constant[..., None], linear, quadratic], -1)

    def _log_joint(self, coefficients: Tensor) -> Tensor:
        """Evaluate coefficients (k, S, F) on each component's own points, shape (S, n)."""
        out = torch.empty(
            coefficients.shape[1], len(self.features), dtype=self.features.dtype
        )
        for j, part in enumerate(self.segments):
            out[:, part] = coefficients[j] @ self.features[part].T
        return out

    def run(self, generator: np.random.Generator, *, n_random: int, n_iter: int) -> list[Split]:
        """Return the best split of each component, best gain first."""
        shares = self._starts(generator, n_random)
        for _ in range(n_iter):
            parts = self._parameters(self._moments(shares))
            coefficients = self._coefficients(parts)
            difference = coefficients[:, :, 0] - coefficients[:, :, 1]
            shares = torch.sigmoid(self._log_joint(difference))
        first = self._log_joint(coefficients[:, :, 0])
        # log(a + b) with a = exp(first), share = a / (a + b)
        log_density = first - shares.clamp(min=1e-300).log()
        self_entropy = -0.5 * self.points.square().sum(1)
        gained = log_density - self_entropy
        gains = torch.stack([gained[:, part].sum(1) for part in self.segments])
        smallest = (parts.weights * self.counts[:, None, None]).amin(-1)
        gains = gains.masked_fill(~(smallest > self.dim + 1), -torch.inf)
        best = gains.argmax(1)
        return self._proposals(parts, gains, best)

    def _proposals(self, parts: Mixtures, gains: Tensor, best: Tensor) -> list[Split]:
        splits = []
        for j, start in enumerate(best.tolist()):
            gain = float(gains[j, start])
            if math.isfinite(gain):
                root = self.roots[j]
                means = parts.means[j, start] @ root.T + self.means[j]
                covariances = root @ parts.covariances[j, start] @ root.T
                children = Mixtures(parts.weights[j, start][None], means[None], covariances[None])
                splits.append(Split(j, gain, children))
        return sorted(splits, key=lambda split: -split.gain)


class PathSearch:
    """Best known mixtures of one cloud for each k, and the moves that improve them.

    Parameters
    ----------
    points : Tensor, shape (n, D), float64
    seed : int
        Seeds every draw.
    """

    def __init__(self, points: Tensor, *, seed: int) -> None:
        self.data = PreparedPoints(points)
        self.n_samples = self.data.n_samples
        self.generator = np.random.default_rng(seed)
        self.fits: dict[int, PathFit] = {}
        self.n_iterations = 0

    def bic(self, k: int) -> float:
        """Return BIC of the best fit with k components."""
        n_free = n_parameters(k, self.data.dim)
        return -2.0 * self.fits[k].log_likelihood + n_free * math.log(self.n_samples)

    def best_k(self) -> int:
        return min(self.fits, key=self.bic)

    def offer(self, mixtures: Mixtures, *, tol_nats: float = 0.1, max_iter: int = 100) -> bool:
        """Finish a proposal by EM and keep it if it is the best with its k."""
        k = mixtures.weights.shape[1]
        run = EMRun(self.data, mixtures)
        known = self.fits[k].log_likelihood if k in self.fits else -math.inf
        last, delta, converged = -math.inf, math.inf, False
        for i in range(max_iter):
            current = float(run.step())
            self.n_iterations += 1
            previous_delta, delta, last = delta, current - last, current
            if delta < tol_nats:
                converged = True
                break
            if i > 4 and delta < previous_delta:
                rate = min(delta / previous_delta, 0.97)
                if current + 2 * delta * rate / (1 - rate) < known:
                    return False
        if not current > known + 1e-3:
            return False
        self.fits[k] = PathFit(run.mixtures, current, converged)
        return True

    def overfit(self, k: int) -> None:
        """Start from k-means with k clusters."""
        from sklearn.cluster import KMeans

        random_state = int(self.generator.integers(2**31))
        n_sub = min(self.n_samples, 2000)
        sub = self.generator.permutation(self.n_samples)[:n_sub]
        km = KMeans(k, n_init=1, random_state=random_state).fit(self.data.points[0][sub].numpy())
        labels = torch.from_numpy(km.predict(self.data.points[0].numpy())).long()
        resp = torch.nn.functional.one_hot(labels, k).to(torch.float64)[None]
        self.offer(EMRun.from_responsibilities(self.data, resp).mixtures)

    def merge_down(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k - 1 components from the best with k."""
        mixtures = self.fits[k].mixtures
        costs = merge_costs(mixtures).flatten()
        improved = False
        for flat in torch.argsort(costs)[: min(n_candidates, k * (k - 1) // 2)].tolist():
            improved |= self.offer(merge_pair(mixtures, flat // k, flat % k))
        return improved

    def split_up(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k + 1 components from the best with k."""
        mixtures = self.fits[k].mixtures
        posterior = EMRun(self.data, mixtures).responsibilities()[0]
        draws = torch.from_numpy(self.generator.random(self.n_samples))
        forecast = _SplitForecast(self.data, posterior, draws)
        splits = forecast.run(self.generator, n_random=4, n_iter=10)
        improved = False
        for split in splits[:n_candidates]:
            improved |= self.offer(split_component(mixtures, split))
        return improved

    def refine(self, k_min: int, k_max: int, rounds: int = 3) -> None:
        """Split up and merge down around the best k until nothing improves."""
        for _ in range(rounds):
            best = self.best_k()
            low, high = max(k_min, best - 2), min(k_max, best + 3)
            improved = False
            for k in range(low, high):
                improved |= self.split_up(k, 2)
            for k in range(high, low, -1):
                improved |= self.merge_down(k, 2)
            if not improved:
                break

    def search(self, k_min: int, k_max: int, *, start: int = 20) -> None:
        start = min(start, k_max)
        self.overfit(start)
        for k in range(start, k_min, -1):
            self.merge_down(k, 1)
        self.refine(k_min, k_max)
        while (top := max(self.fits)) < min(k_max, self.best_k() + 5):
            self.split_up(top, 1)
            if top + 1 not in self.fits:
                break
