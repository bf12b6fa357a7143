"""The likelihood path: the best mixture known for each number of components, improved by moves.

Symbols: n points in D dimensions, k components, l(k) the total log likelihood (nats) of the best
fit known with k, p(k) the free parameters. The best fit is that of the highest objective
(`study.detection.cloud`), which EM and all moves share. The *cost* of k is price x p(k) - l(k);
with the price (log n) / 2 it is half of BIC.

Moves propose mixtures from the best ones of neighbouring k; EM finishes every proposal. A fit with
a component on fewer than D + 1 distinct points is none.

References
----------
Ueda, Nakano, Ghahramani, Hinton, "SMEM algorithm for mixture models", Neural Computation 2000,
https://doi.org/10.1162/089976600300015088
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from study.detection.cloud import Climb, Cloud, FloatArray, IntArray, Mixture, n_parameters
from study.detection.compiled import em as compiled_em
from study.detection.moves import Split, add_component, merge_costs, merge_pair, split_component
from study.detection.outliers import outlier_components
from study.detection.recombination import recombine
from study.detection.splits import SplitCache, forecast_splits
from study.detection.starts import climb_supported, k_means

# Widths (below, above the best k) of the two refinement sweeps.
SWEEPS = ((2, 2), (3, 3))
# The range of k is long enough once BIC has risen this many times in a row.
RISES = 5
POLISH_EFFORT = 3_000
# Points times components times iterations that the last digits of the best fit are worth.
FINAL_WORK = 5_000_000
# A fit that gains less (nats) does not start another round of moves.
NOTABLE_NATS = 0.5
# EM stops at this gain (nats) per iteration: of a proposal, when polished.
PROPOSAL_NATS = 0.3
POLISHED_NATS = 0.01
# ... and of the best, on small clouds.
FINAL_NATS = 1e-6
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
    mixture : Mixture
        Centred.
    objective, log_likelihood : float
        Total, nats; BIC is of the latter.
    converged : bool
    entropy : float
        Of the posterior labels, total, nats; known once the path is finished.
    """

    mixture: Mixture
    objective: float
    log_likelihood: float
    converged: bool
    entropy: float = math.nan


class PathSearch:
    """Best known mixtures of one cloud for each k, and the moves that improve them.

    Parameters
    ----------
    cloud : Cloud
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
        cloud: Cloud,
        generator: np.random.Generator,
        *,
        k_min: int,
        k_max: int,
        price: float | None = None,
    ) -> None:
        self.cloud = cloud
        self.n_samples = cloud.n_samples
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
        return self.price * n_parameters(k, self.cloud.dim) - self.fits[k].log_likelihood

    def best_k(self) -> int:
        """Return the k of lowest cost; the smaller one in a tie."""
        return min(sorted(self.fits), key=self.cost)

    def known(self, k: int) -> float:
        """Return the best objective known with k components."""
        return self.fits[k].objective if k in self.fits else -math.inf

    def offer(
        self, start: Mixture, *, tol_nats: float = PROPOSAL_NATS, max_iter: int = 60
    ) -> bool:
        """Finish a proposal by EM, keep it if it is best; return whether that was notable.

        It is given up as soon as its objective, extrapolated generously, would end below the best
        known, and as soon as a component has too few points of its own.
        """
        k = len(start.weights)
        known = self.known(k)
        end = self.cloud.climb(
            start, tol_nats=tol_nats, max_iter=max_iter, rule=compiled_em.PROPOSAL, known=known
        )
        self._count(end.n_iter, k)
        if end.hopeless or not end.objective > known or not self.cloud.supports(end.mixture):
            return False
        self._keep(end)
        return end.objective > known + NOTABLE_NATS

    def propose(self, start: Mixture) -> bool:
        """Offer a mixture if its number of components is in the range."""
        return self.k_min <= len(start.weights) <= self.k_max and self.offer(start)

    def count_part(self, other: PathSearch) -> None:
        """Add the work of a search on some of the points, scaled to all of them."""
        share = other.n_samples / self.n_samples
        self.n_iterations += round(share * other.n_iterations)
        self.effort += round(share * other.effort)

    def _keep(self, end: Climb) -> None:
        k = len(end.mixture.weights)
        self.fits[k] = PathFit(end.mixture, end.objective, end.log_likelihood, end.converged)

    def _count(self, n_iter: int, k: int) -> None:
        self.n_iterations += n_iter
        self.effort += n_iter * k

    def overfit(self, labels: IntArray) -> None:
        """Start the path from labelled points, a component for each label."""
        self.begin(self.cloud.from_labels(labels))

    def begin(self, start: Mixture) -> None:
        """Start the path from a mixture that EM has improved.

        Components that end on too few points are left out, and EM goes on with the others.
        """
        end, n_iter, effort = climb_supported(
            self.cloud, start, k_min=self.k_min, tol_nats=PROPOSAL_NATS, max_iter=60
        )
        self.n_iterations += n_iter
        self.effort += effort
        self._keep(end)

    def _is_new(self, move: str, k: int) -> bool:
        """Return whether the fit with k improved notably since the move was last tried on it."""
        current = self.known(k)
        if current < self._tried.get((move, k), -math.inf) + NOTABLE_NATS:
            return False
        self._tried[move, k] = current
        return True

    def merge_down(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k - 1 components from the best with k."""
        if k <= self.k_min or k not in self.fits or not self._is_new("merge", k):
            return False
        fit = self.fits[k]
        costs = self._merge_costs(fit.mixture).ravel()
        ranked = np.argsort(costs)[: min(n_candidates, k * (k - 1) // 2)].tolist()
        if np.isinf(costs[ranked[0]]):
            raise np.linalg.LinAlgError("no two components have a joint covariance")
        improved = False
        limit = costs[ranked[0]] + 3.0 * abs(costs[ranked[0]]) + 1e-3
        for flat in ranked:
            # EM wins back about half of the bound: hopeless proposals are not started.
            forecast = fit.objective - MERGE_LOSS_SHARE * self.n_samples * max(costs[flat], 0.0)
            if forecast >= self.known(k - 1) and costs[flat] <= limit:
                improved |= self.offer(merge_pair(fit.mixture, *divmod(flat, k)))
        if k - 1 not in self.fits:
            # EM took too many points from some component; the merged mixture itself has them.
            self._place(merge_pair(fit.mixture, *divmod(ranked[0], k)))
        return improved

    def _place(self, mixture: Mixture) -> None:
        """Take a mixture as it is."""
        score = self.cloud.score(mixture)
        self.fits[len(mixture.weights)] = PathFit(mixture, *score[:2], False, score.entropy)

    def _merge_costs(self, mixture: Mixture) -> FloatArray:
        return merge_costs(mixture, self.cloud.pseudo_count / self.n_samples)

    def split_up(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k + 1 components from the best with k."""
        if k >= self.k_max or k not in self.fits or not self._is_new("split", k):
            return False
        fit = self.fits[k]
        ranked = sorted(self._split_forecasts(fit.mixture), key=lambda pair: -pair[1].gain)
        improved = False
        for component, split in ranked[:n_candidates]:
            hope = fit.objective + SPLIT_GAIN_FACTOR * split.gain + SPLIT_GAIN_SLACK
            if hope >= self.known(k + 1) and split.gain >= 0.3 * ranked[0][1].gain:
                improved |= self.offer(split_component(fit.mixture, component, split.children))
        return improved

    def swap(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k components: one of the best is split while a pair is merged."""
        if k < 2 or not self._is_new("swap", k):
            return False
        mixture = self.fits[k].mixture
        proposals = []
        for component, split in self._split_forecasts(mixture):
            apart = split_component(mixture, component, split.children)
            costs = self.n_samples * self._merge_costs(apart)
            costs[k - 1, k] = np.inf  # not the two parts again
            for flat in np.argsort(costs, axis=None)[:2].tolist():
                if np.isfinite(costs.flat[flat]):
                    proposals.append((split.gain - 0.5 * costs.flat[flat], apart, flat))
        proposals.sort(key=lambda proposal: -proposal[0])
        improved = False
        for _, apart, flat in proposals[:n_candidates]:
            improved |= self.offer(merge_pair(apart, *divmod(flat, k + 1)))
        return improved

    def add_outliers(self, k: int, n_candidates: int) -> bool:
        """Propose fits with k + 1 components: a new one on points that the best leaves out."""
        if k >= self.k_max or k not in self.fits or not self._is_new("add", k):
            return False
        fit = self.fits[k]
        improved = False
        for gain, addition in outlier_components(self.cloud, fit.mixture)[:n_candidates]:
            if fit.objective + gain + SPLIT_GAIN_SLACK > self.known(k + 1):
                improved |= self.offer(add_component(fit.mixture, addition))
        return improved

    def _split_forecasts(self, mixture: Mixture) -> list[tuple[int, Split]]:
        known = self._forecasts.find(mixture)
        new = [entry for entry in known if isinstance(entry, int)]
        if new:
            splits = forecast_splits(self.cloud, mixture, new, self.generator)
            self._forecasts.add(mixture, new, splits)
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
        """Split up until the cost has risen RISES times in a row, or nothing is left to try."""
        while (top := max(self.fits)) < self.k_max and not self.has_risen():
            if not self._go_beyond(top):
                break

    def has_risen(self) -> bool:
        """Return whether the cost rises throughout the last RISES steps of k."""
        top = max(self.fits)
        last = [self.cost(k) for k in range(top - RISES, top + 1) if k in self.fits]
        return len(last) > RISES and all(np.diff(last) > 0)

    def _go_beyond(self, top: int) -> bool:
        """Find a fit with one more component that is better than that with `top`.

        The best split comes first, and all others that promise to pay for themselves; then every
        other split, points that the fit leaves out, and a start from k-means.
        """
        self._tried.pop(("split", top), None)
        self.split_up(top, 1)
        worth = self.price * (n_parameters(2, self.cloud.dim) - n_parameters(1, self.cloud.dim))
        if self._gain(top) < worth:
            forecasts = self._split_forecasts(self.fits[top].mixture)
            promising = sum(split.gain > worth for _, split in forecasts)
            if promising > 1:
                self._tried.pop(("split", top), None)
                self.split_up(top, promising)
        for desperate in (self._split_anything, self._add_anything, self._start_afresh):
            if self._gain(top) > 0.0:
                break
            desperate(top)
        return self._gain(top) > 0.0

    def _gain(self, k: int) -> float:
        """Return what one more component gains in the log likelihood (nats), as far as known."""
        if k + 1 not in self.fits:
            return -math.inf
        return self.fits[k + 1].log_likelihood - self.fits[k].log_likelihood

    def _split_anything(self, k: int) -> None:
        for component, split in self._split_forecasts(self.fits[k].mixture):
            self.offer(split_component(self.fits[k].mixture, component, split.children))

    def _add_anything(self, k: int) -> None:
        for _, addition in outlier_components(self.cloud, self.fits[k].mixture):
            self.offer(add_component(self.fits[k].mixture, addition))

    def _start_afresh(self, k: int) -> None:
        labels = k_means(self.cloud.points, k + 1, self.generator)
        start = self.cloud.from_labels(labels)
        if len(start.weights) == k + 1:
            self.offer(start)

    def polish(self, *, window_nats: float = 10.0) -> None:
        """Run EM to convergence where the cost is close to the lowest, the best k first."""
        lowest, limit = self.cost(self.best_k()), self.effort + POLISH_EFFORT
        for k in sorted(self.fits, key=self.cost):
            if self.cost(k) < lowest + window_nats and self.effort < limit:
                self._converge(k, limit, POLISHED_NATS)
        final = self.effort + FINAL_WORK // self.n_samples
        if final > self.effort + self.best_k():
            self._converge(self.best_k(), final, FINAL_NATS)

    def _converge(self, k: int, limit: int, tol_nats: float) -> None:
        end = self.cloud.climb(
            self.fits[k].mixture,
            tol_nats=tol_nats,
            max_iter=1 + (limit - self.effort) // k,
            rule=compiled_em.PATIENT,
        )
        self._count(end.n_iter, k)
        if self.cloud.supports(end.mixture):
            self._keep(end)

    def cross(self, other: PathSearch) -> bool:
        """Propose what takes each region from the better of both searches' best fits."""
        price = self.price * (n_parameters(2, self.cloud.dim) - n_parameters(1, self.cloud.dim))
        improved = False
        near = (0, -1, 1, -2, 2)
        theirs = other.best_k()
        for k in (theirs + step for step in near):
            if k in other.fits and not (other is self and k == theirs):
                pair = self.fits[self.best_k()].mixture, other.fits[k].mixture
                for mixture in recombine(self.cloud, *pair, price):
                    improved |= self.propose(mixture)
        return improved

    def absorb(self, other: PathSearch) -> None:
        """Take over the fits of another search of the same cloud that are better."""
        for k, fit in other.fits.items():
            if fit.objective > self.known(k):
                self.fits[k] = fit
                for move in ("merge", "split", "swap", "add"):
                    # What was tried on this very fit need not be tried again.
                    self._tried[move, k] = other._tried.get((move, k), -math.inf)
        self.n_iterations += other.n_iterations
        self.effort += other.effort

    def finish(self) -> None:
        """Evaluate every fit exactly and repair the path where the likelihood falls with k."""
        self._fill_gaps()
        for k in sorted(self.fits):
            self._evaluate(k)
            if k == self.k_min:
                continue
            fall = -self._gain(k - 1)
            if fall > 0.0:
                self.n_repairs += 1
            if fall > NOTABLE_NATS:
                self._tried.pop(("split", k - 1), None)
                self.split_up(k - 1, 1)
                self._evaluate(k)
            if self._gain(k - 1) < 0.0:
                self._double(k - 1)

    def _fill_gaps(self) -> None:
        """Merge down to every k between those that have a fit."""
        for k in range(max(self.fits), self.k_min, -1):
            if k - 1 not in self.fits:
                self._tried.pop(("merge", k), None)
                self.merge_down(k, 1)

    def _double(self, k: int) -> None:
        """Take the fit with k for that with k + 1: two equal halves are as likely as the whole."""
        below = self.fits[k]
        _, means, covariances = (part[:1] for part in below.mixture)
        halves = Mixture(np.full(2, 0.5), means.repeat(2, 0), covariances.repeat(2, 0))
        self._place(split_component(below.mixture, 0, halves))

    def _evaluate(self, k: int) -> None:
        fit = self.fits[k]
        objective, log_likelihood, entropy = self.cloud.score(fit.mixture)
        self.fits[k] = PathFit(fit.mixture, objective, log_likelihood, fit.converged, entropy)
