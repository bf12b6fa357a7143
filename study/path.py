"""The likelihood path: the best mixture known for each number of components, improved by moves.

Symbols: n points in D dimensions, k components, l(k) the best total log likelihood (nats) known
with k, p(k) the free parameters. The *cost* of k is price x p(k) - l(k); with the price
(log n) / 2 it is half of BIC.

The search over-fits a subsample (the scout), merges down to one component, and refines around the
best k there, where an iteration is cheap. The fits found start EM on all points, and the same
moves go on there until none of them improves anything; EM finishes every proposal.

References
----------
Ueda, Nakano, Ghahramani, Hinton, "SMEM algorithm for mixture models", Neural Computation 2000,
https://doi.org/10.1162/089976600300015088
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from study.em import EMRun, FloatArray, Mixtures, PreparedPoints, n_parameters
from study.moves import (
    Split,
    SplitCache,
    SplitForecast,
    add_component,
    merge_costs,
    merge_pair,
    outlier_components,
    split_component,
)

# The scout sees this many points; clouds up to 1.5 times as large are searched directly.
SCOUT_SIZE = 2500
# Components of the over-fitted start.
OVERFIT = 20
# Beyond so many components a second independent start is worth its time.
FEW_COMPONENTS = 12
# Widths (below, above the best k) of the two refinement sweeps.
SWEEPS = ((2, 2), (3, 3))
# The range of k is long enough once BIC has risen this many times in a row.
RISES = 5
# Refinement on all points stops after this many iterations times components: ten times what the
# report's data needs. It binds on clouds that no mixture of few Gaussians fits.
REFINE_EFFORT = 12_000
POLISH_EFFORT = 3_000
# A fit that gains less (nats) does not start another round of moves.
NOTABLE_NATS = 0.5
# EM stops at this gain (nats) per iteration: of a proposal, of a fit carried over, when polished.
PROPOSAL_NATS = 0.3
CARRIED_NATS = 1.0
POLISHED_NATS = 0.01
# EM ends a merge at least this share of Runnalls' bound below the start ...
MERGE_LOSS_SHARE = 0.3
# ... and a split at most this much above its forecast.
SPLIT_GAIN_FACTOR = 1.3
SPLIT_GAIN_SLACK = 10.0


@dataclass(frozen=True, slots=True)
class PathFit:
    """One mixture on the path.

    Parameters
    ----------
    mixtures : Mixtures
        B = 1, centred.
    log_likelihood : float
        Total, nats.
    converged : bool
    entropy : float
        Of the posterior labels, total, nats; known once the path is finished.
    """

    mixtures: Mixtures
    log_likelihood: float
    converged: bool
    entropy: float = math.nan


class PathSearch:
    """Best known mixtures of one cloud for each k, and the moves that improve them.

    Parameters
    ----------
    data : PreparedPoints
        One cloud.
    generator : numpy Generator
        For every draw.
    k_min, k_max : int
        No fit outside this range is tried.
    price : float, optional
        What one parameter must gain (nats in total); BIC's (log n) / 2 by default.

    Attributes
    ----------
    fits : dict of int to PathFit
    n_iterations : int
        EM iterations so far.
    effort : int
        The same, each counted with its number of components.
    n_repairs : int
        Fits replaced by `finish` because the likelihood fell from k - 1 to k.
    """

    def __init__(
        self,
        data: PreparedPoints,
        generator: np.random.Generator,
        *,
        k_min: int,
        k_max: int,
        price: float | None = None,
    ) -> None:
        self.data = data
        self.n_samples = self.data.n_samples
        self.generator = generator
        self.k_min, self.k_max = k_min, k_max
        self.price = 0.5 * math.log(self.n_samples) if price is None else price
        self.fits: dict[int, PathFit] = {}
        self.n_iterations = self.effort = self.n_repairs = 0
        # Log likelihood of the fit that each kind of move was last tried on, by (move, k).
        self._tried: dict[tuple[str, int], float] = {}
        self._forecasts = SplitCache()

    def cost(self, k: int) -> float:
        """Return the criterion (nats, lower is better) of the best fit with k components."""
        return self.price * n_parameters(k, self.data.dim) - self.fits[k].log_likelihood

    def best_k(self) -> int:
        """Return the k of lowest cost; the smaller one in a tie."""
        return min(sorted(self.fits), key=self.cost)

    def known(self, k: int) -> float:
        """Return the best log likelihood known with k components."""
        return self.fits[k].log_likelihood if k in self.fits else -math.inf

    def _step(self, run: EMRun) -> float:
        self.n_iterations += 1
        self.effort += run.n_components
        return float(run.step()[0])

    def offer(self, start: EMRun, *, tol_nats: float = PROPOSAL_NATS, max_iter: int = 60) -> bool:
        """Finish a proposal by EM, keep it if best with its k, tell whether that was notable.

        It is given up as soon as its log likelihood, extrapolated generously, would end below
        the best known.
        """
        known = self.known(start.n_components)
        current, delta = -math.inf, math.inf
        for iteration in range(max_iter):
            previous, before = current, delta
            current = self._step(start)
            delta = current - previous
            if iteration < 2:
                continue
            rate = min(max(delta / before, 0.6), 0.97) if before > 0 else 0.6
            if current + 2.0 * delta * rate / (1.0 - rate) < known:
                return False
            if delta < tol_nats:
                break
        if not current > known:
            return False
        self.fits[start.n_components] = PathFit(start.mixtures, current, delta < tol_nats)
        return current > known + NOTABLE_NATS

    def overfit(self, k: int) -> None:
        """Start the path from k-means with k clusters."""
        labels = _k_means(self.data.points[0], k, self.generator)
        shares = torch.nn.functional.one_hot(labels, k).to(torch.float64)[None]
        self.offer(EMRun.from_responsibilities(self.data, shares))
        if k not in self.fits:
            raise np.linalg.LinAlgError("the likelihood of the start is not a number")

    def _is_new(self, move: str, k: int) -> bool:
        """Tell whether the fit with k improved notably since the move was last tried on it."""
        current = self.fits[k].log_likelihood
        if current < self._tried.get((move, k), -math.inf) + NOTABLE_NATS:
            return False
        self._tried[move, k] = current
        return True

    def merge_down(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k - 1 components from the best with k."""
        if k <= self.k_min or k not in self.fits or not self._is_new("merge", k):
            return False
        fit = self.fits[k]
        costs = merge_costs(fit.mixtures).ravel()
        ranked = np.argsort(costs)[: min(n_candidates, k * (k - 1) // 2)].tolist()
        improved = False
        for flat in ranked:
            # EM wins back about half of the bound: hopeless proposals are not started.
            forecast = fit.log_likelihood - MERGE_LOSS_SHARE * self.n_samples * costs[flat]
            if forecast >= self.known(k - 1) and costs[flat] <= 4.0 * costs[ranked[0]] + 1e-3:
                merged = merge_pair(fit.mixtures, *divmod(flat, k))
                improved |= self.offer(EMRun(self.data, merged))
        return improved

    def split_up(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k + 1 components from the best with k."""
        if k >= self.k_max or k not in self.fits or not self._is_new("split", k):
            return False
        fit = self.fits[k]
        ranked = sorted(self._split_forecasts(fit.mixtures), key=lambda pair: -pair[1].gain)
        improved = False
        for component, split in ranked[:n_candidates]:
            hope = fit.log_likelihood + SPLIT_GAIN_FACTOR * split.gain + SPLIT_GAIN_SLACK
            if hope >= self.known(k + 1) and split.gain >= 0.3 * ranked[0][1].gain:
                proposal = split_component(fit.mixtures, component, split.children)
                improved |= self.offer(EMRun(self.data, proposal))
        return improved

    def swap(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k components: one of the best is split while a pair is merged."""
        if k < 2 or not self._is_new("swap", k):
            return False
        mixtures = self.fits[k].mixtures
        proposals = []
        for component, split in self._split_forecasts(mixtures):
            apart = split_component(mixtures, component, split.children)
            costs = self.n_samples * merge_costs(apart)
            costs[k - 1, k] = np.inf  # not the two parts again
            for flat in np.argsort(costs, axis=None)[:2].tolist():
                proposals.append((split.gain - 0.5 * costs.flat[flat], apart, flat))
        proposals.sort(key=lambda proposal: -proposal[0])
        improved = False
        for _, apart, flat in proposals[:n_candidates]:
            merged = merge_pair(apart, *divmod(flat, k + 1))
            improved |= self.offer(EMRun(self.data, merged))
        return improved

    def add_outliers(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k + 1 components: a new one on points that the best leaves out."""
        if k >= self.k_max or k not in self.fits or not self._is_new("add", k):
            return False
        fit = self.fits[k]
        improved = False
        for gain, addition in outlier_components(self.data, fit.mixtures)[:n_candidates]:
            if fit.log_likelihood + gain + SPLIT_GAIN_SLACK > self.known(k + 1):
                proposal = add_component(fit.mixtures, addition)
                improved |= self.offer(EMRun(self.data, proposal))
        return improved

    def _split_forecasts(self, mixtures: Mixtures) -> list[tuple[int, Split]]:
        known = self._forecasts.find(mixtures)
        new = [entry for entry in known if isinstance(entry, int)]
        if new:
            posterior = EMRun(self.data, mixtures).responsibilities()[0]
            draws = self.data.to_device(self.generator.random(self.n_samples))
            forecast = SplitForecast(self.data, posterior, draws, new)
            splits = forecast.run(self.generator, n_random=4, n_iter=10)
            self._forecasts.add(mixtures, new, splits)
            for j, split in zip(new, splits, strict=True):
                known[j] = split
        return [(j, split) for j, split in enumerate(known) if isinstance(split, Split)]

    def refine(self, *, deep: bool, effort: float = math.inf) -> None:
        """Split up and merge down around the best k until nothing improves.

        A round that improves nothing hands over to a more expensive one; any improvement starts
        again with the cheapest. Nothing is refined once the cap itself is the best: the answer is
        "at the ceiling" either way.
        """
        stage, limit = 0, self.effort + effort
        n_stages = len(SWEEPS) + 1 if deep else 1
        while stage < n_stages and self.effort < limit and self.best_k() < self.k_max:
            improved = self._sweep(*SWEEPS[stage]) if stage < len(SWEEPS) else self._dig()
            stage = 0 if improved else stage + 1

    def _sweep(self, below: int, above: int) -> bool:
        best = self.best_k()
        low, high = max(self.k_min, best - below), min(self.k_max, best + above)
        improved = [self.split_up(k, 2) for k in range(low, high)]
        improved += [self.merge_down(k, 2) for k in range(high, low, -1)]
        return any(improved)

    def _dig(self) -> bool:
        best = self.best_k()
        improved = [self.swap(best, 8)]
        improved += [self.add_outliers(k, 2) for k in (best, best - 1)]
        return any(improved)

    def extend(self) -> None:
        """Split up until the cost has risen RISES times in a row, or the cap is reached."""
        while (top := max(self.fits)) < self.k_max:
            last = [self.cost(k) for k in range(top - RISES, top + 1) if k in self.fits]
            if len(last) > RISES and all(np.diff(last) > 0):
                break
            self._tried.pop(("split", top), None)
            self.split_up(top, 1)
            if top + 1 not in self.fits:
                break

    def polish(self, *, window_nats: float = 10.0) -> None:
        """Run EM to convergence where the cost is close to the lowest, the best k first."""
        lowest, limit = self.cost(self.best_k()), self.effort + POLISH_EFFORT
        for k in sorted(self.fits, key=self.cost):
            if self.cost(k) < lowest + window_nats and self.effort < limit:
                self._converge(k, limit)

    def _converge(self, k: int, limit: int) -> None:
        run = EMRun(self.data, self.fits[k].mixtures)
        current, delta = self._step(run), math.inf
        remaining = math.inf
        while remaining > POLISHED_NATS and self.effort < limit:
            previous, before = current, delta
            current = self._step(run)
            delta = current - previous
            rate = min(max(delta / before, 0.0), 0.999) if before > 0 else 0.0
            remaining = delta * max(1.0, rate / (1.0 - rate))
        self.fits[k] = PathFit(run.mixtures, current, remaining <= POLISHED_NATS)

    def absorb(self, other: PathSearch) -> None:
        """Take over the fits of another search of the same cloud that are better."""
        for k, fit in other.fits.items():
            if fit.log_likelihood > self.known(k):
                self.fits[k] = fit
                for move in ("merge", "split", "swap", "add"):
                    # What was tried on this very fit need not be tried again.
                    self._tried[move, k] = other._tried.get((move, k), -math.inf)
        self.n_iterations += other.n_iterations
        self.effort += other.effort

    def finish(self) -> None:
        """Evaluate every fit exactly and repair the path where the likelihood falls with k."""
        for k in sorted(self.fits):
            self._evaluate(k)
            fall = self.known(k - 1) - self.known(k)
            if fall > 0.0:
                self.n_repairs += 1
            if fall > NOTABLE_NATS:
                self._tried.pop(("split", k - 1), None)
                self.split_up(k - 1, 1)
                self._evaluate(k)
            if self.known(k) < self.known(k - 1):
                # Two equal halves have exactly the likelihood of the whole.
                below = self.fits[k - 1]
                _, means, covariances = (part[0, :1] for part in below.mixtures)
                halves = Mixtures(np.full(2, 0.5), means.repeat(2, 0), covariances.repeat(2, 0))
                doubled = split_component(below.mixtures, 0, halves)
                self.fits[k] = PathFit(doubled, below.log_likelihood, below.converged)
                self._evaluate(k)

    def _evaluate(self, k: int) -> None:
        fit = self.fits[k]
        run = EMRun(self.data, fit.mixtures)
        posterior = run.responsibilities()[0]
        entropy = -float((posterior.clamp(min=1e-300).log_() * posterior).sum())
        exact = float(run.log_likelihood[0])
        self.fits[k] = PathFit(fit.mixtures, exact, fit.converged, entropy)


def _k_means(points: Tensor, k: int, generator: np.random.Generator) -> Tensor:
    """Return k-means labels (n,) from greedy seeding and a few passes.

    scikit-learn's adds partial sums in the order its threads finish; this gives the same bits.
    """
    cloud = points.cpu().numpy()
    centres = np.empty((k, cloud.shape[1]))
    centres[0] = cloud[generator.integers(len(cloud))]
    nearest = ((cloud - centres[0]) ** 2).sum(1)
    for j in range(1, k):
        total = nearest.cumsum()
        places = np.searchsorted(total, generator.random(4) * total[-1])
        candidates = cloud[np.minimum(places, len(cloud) - 1)]
        distances = np.minimum(nearest, ((cloud - candidates[:, None]) ** 2).sum(-1))
        chosen = int(distances.sum(1).argmin())
        centres[j], nearest = candidates[chosen], distances[chosen]
    for _ in range(8):
        labels = torch.cdist(points, torch.from_numpy(centres).to(points)).argmin(1)
        counts = np.bincount(labels.cpu().numpy(), minlength=k)
        sums = np.stack(
            [np.bincount(labels.cpu().numpy(), column, minlength=k) for column in cloud.T], 1
        )
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    return labels


def search_path(
    points: Tensor, *, k_min: int, k_max: int, restarts: int = 1, seed: int = 0
) -> PathSearch:
    """Find good mixtures of a cloud for a range of k.

    Parameters
    ----------
    points : Tensor, shape (n, D), float64
        In a canonical order if the answer must not depend on the order.
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
    data = PreparedPoints(points)
    path = PathSearch(data, generator, k_min=k_min, k_max=k_max)
    n_starts = 0
    while n_starts < restarts * _starts_needed(path):
        attempt = PathSearch(data, generator, k_min=k_min, k_max=k_max)
        if data.n_samples > 1.5 * SCOUT_SIZE:
            _scout(attempt, points)
        else:
            _merge_path(attempt)
        attempt.refine(deep=True, effort=REFINE_EFFORT)
        path.absorb(attempt)
        n_starts += 1
    refined = -1
    while refined != path.best_k():
        path.refine(deep=True, effort=REFINE_EFFORT)
        refined = path.best_k()
        path.extend()
    if path.best_k() < k_max:
        path.polish()
    path.finish()
    return path


def _starts_needed(path: PathSearch) -> int:
    """Return how many independent starts the number of components calls for."""
    if not path.fits or path.best_k() == path.k_max:
        return 1
    return 1 if path.best_k() <= FEW_COMPONENTS else 2


def _merge_path(path: PathSearch) -> None:
    start = max(path.k_min, min(OVERFIT, path.k_max))
    path.overfit(start)
    for k in range(start, path.k_min, -1):
        path.merge_down(k, 1)


def _scout(path: PathSearch, points: Tensor) -> None:
    """Search a subsample and carry its fits over to all points."""
    chosen = torch.from_numpy(path.generator.permutation(path.n_samples)[:SCOUT_SIZE])
    # The price of all points, plus the optimism of a fit on fewer (half a nat per parameter).
    price = path.price * SCOUT_SIZE / path.n_samples + 0.5
    sub = PreparedPoints(points[chosen])
    scout = PathSearch(sub, path.generator, k_min=path.k_min, k_max=path.k_max, price=price)
    _merge_path(scout)
    scout.refine(deep=False)
    shift: FloatArray = sub.centre - path.data.centre
    best = scout.best_k()
    for k in range(path.k_min, min(best + 3, max(scout.fits)) + 1):
        mixtures = scout.fits[k].mixtures
        start = EMRun(path.data, mixtures._replace(means=mixtures.means + shift))
        path.offer(start, tol_nats=CARRIED_NATS, max_iter=40 if k >= best - 3 else 10)
