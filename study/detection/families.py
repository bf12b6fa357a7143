"""Mixtures of Gaussians with fewer parameters than full covariances: a search for each family.

Symbols: n points in D dimensions, k components, c the prior's pseudo-count. Families: `diagonal`
(a variance for each axis and component; mclust's VVI), `spherical` (one for each component; VII)
and `tied` (one full covariance that all components share; EEE). Points are in units in which the
penalty of `study.detection.cloud` suits the family: of each axis, of all axes together, and of
the whole covariance. Counts are thereby the same under the maps that keep the family: of scales of
the axes, of rotations with one scale, of every affine map.

The search goes up from k_min: every fit starts from the splits of the widest components of the one
before and from k-means, and EM climbs the objective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from study.detection.cloud import FloatArray, IntArray, pseudo_count_of
from study.detection.likelihood_path import RISES
from study.detection.sight import Sight
from study.detection.starts import k_means

# EM stops where an iteration gains less (nats), or after so many.
TOLERANCE_NATS = 0.02
MAX_ITER = 300
# Splits tried for each k.
N_SPLITS = 3
# Distinct points that a component needs: two have a variance.
FEWEST_POINTS = 2


@dataclass(frozen=True, slots=True)
class Fit:
    """One mixture of a family, in the family's units.

    Parameters
    ----------
    weights : ndarray, shape (k,)
    means : ndarray, shape (k, D)
    covariance : ndarray, shape (k, D), or (D, D) if tied
        Variances of the axes, or the covariance that all share.
    objective, log_likelihood, entropy : float
        Nats, in total; the last is of the posterior labels.
    converged : bool
    n_iter : int
    is_tied : bool
    """

    weights: FloatArray
    means: FloatArray
    covariance: FloatArray
    objective: float
    log_likelihood: float
    entropy: float
    converged: bool
    n_iter: int
    is_tied: bool


def n_family_parameters(family: str, n_components: int, dim: int) -> int:
    """Return the free parameters of a mixture of a family.

    Examples
    --------
    >>> [n_family_parameters(family, 3, 4) for family in ("diagonal", "spherical", "tied")]
    [26, 17, 24]
    """
    own = n_components * (1 + dim) - 1
    if family == "diagonal":
        return own + n_components * dim
    return own + (n_components if family == "spherical" else dim * (dim + 1) // 2)


class FamilySearch:
    """The best fit found for each k of one family on one cloud.

    Parameters
    ----------
    family : "diagonal", "spherical" or "tied"
    points : ndarray, shape (n, D)
        In the family's units.
    generator : numpy Generator
    k_min, k_max : int

    Attributes
    ----------
    fits : dict of int to Fit
    n_iterations : int
    """

    def __init__(
        self,
        family: str,
        points: FloatArray,
        generator: np.random.Generator,
        *,
        k_min: int,
        k_max: int,
    ) -> None:
        self.family, self.points, self.generator = family, points, generator
        self.k_min, self.k_max = k_min, k_max
        self.n_samples, self.dim = points.shape
        self.pseudo_count = pseudo_count_of(self.n_samples)
        self._squares = points * points
        self._scatter = points.T @ points if family == "tied" else np.empty(0)
        self.fits: dict[int, Fit] = {}
        self.n_iterations = 0

    def bic(self, k: int) -> float:
        """Return BIC of the best fit with k components, in the family's units."""
        price = n_family_parameters(self.family, k, self.dim) * math.log(self.n_samples)
        return price - 2.0 * self.fits[k].log_likelihood

    def run(self) -> None:
        """Search upwards until BIC has risen five times in a row or no fit is better."""
        k = self.k_min
        while k <= self.k_max:
            starts = [self._from_labels(k_means(self.points, k, self.generator))]
            if k - 1 in self.fits:
                starts += self._splits(self.fits[k - 1])
            ends = [self.climb(*start) for start in starts if len(start[0]) == k]
            ends = [end for end in ends if self._supports(end)]
            if not ends:
                break
            best = max(ends, key=lambda end: end.objective)
            if k > self.k_min and best.log_likelihood <= self.fits[k - 1].log_likelihood:
                break
            self.fits[k] = best
            last = [self.bic(j) for j in range(k - RISES, k + 1) if j in self.fits]
            if len(last) > RISES and (np.diff(last) > 0).all():
                break
            k += 1

    def climb(self, weights: FloatArray, means: FloatArray, covariance: FloatArray) -> Fit:
        """Run EM from parameters."""
        objective, gain, n_iter = -math.inf, math.inf, 0
        while True:
            n_iter += 1
            log_joint = self._log_joint(weights, means, covariance)
            top = log_joint.max(1, keepdims=True)
            shares = np.exp(log_joint - top)
            total = shares.sum(1, keepdims=True)
            log_likelihood = float((top + np.log(total)).sum())
            shares /= total
            current = log_likelihood - 0.5 * self.pseudo_count * self._penalty(covariance)
            gain, objective = current - objective, current
            if gain < TOLERANCE_NATS or n_iter == MAX_ITER:
                break
            weights, means, covariance = self._maximize(shares)
        entropy = -float((shares * np.log(np.maximum(shares, 1e-300))).sum())
        converged = gain < TOLERANCE_NATS
        self.n_iterations += n_iter
        return Fit(
            weights=weights,
            means=means,
            covariance=covariance,
            objective=objective,
            log_likelihood=log_likelihood,
            entropy=entropy,
            converged=converged,
            n_iter=n_iter,
            is_tied=self.family == "tied",
        )

    def log_densities(self, fit: Fit) -> FloatArray:
        """Return the log density (nats) of each point, shape (n,), in the family's units."""
        log_joint = self._log_joint(fit.weights, fit.means, fit.covariance)
        density: FloatArray = np.logaddexp.reduce(log_joint, axis=1)
        return density

    def _log_joint(
        self, weights: FloatArray, means: FloatArray, covariance: FloatArray
    ) -> FloatArray:
        """Return log weight plus log density of each point and component, shape (n, k)."""
        if self.family == "tied":
            root = np.linalg.cholesky(covariance)
            framed = np.linalg.solve(root, self.points.T).T
            centres = np.linalg.solve(root, means.T).T
            squares = np.einsum("na,na->n", framed, framed)[:, None]
            squares = squares - 2.0 * framed @ centres.T + (centres * centres).sum(1)
            log_volume = 2.0 * np.log(np.diag(root)).sum()
        else:
            precision = 1.0 / covariance
            squares = self._squares @ precision.T - 2.0 * self.points @ (means * precision).T
            squares += (means * means * precision).sum(1)
            log_volume = np.log(covariance).sum(1)
        constant = np.log(weights) - 0.5 * (log_volume + self.dim * math.log(2.0 * math.pi))
        joint: FloatArray = constant - 0.5 * squares
        return joint

    def _maximize(self, shares: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Do an M-step from shares, shape (n, k)."""
        c = self.pseudo_count
        counts = shares.sum(0) + 1e-12
        means = shares.T @ self.points / counts[:, None]
        weights = counts / counts.sum()
        if self.family == "tied":
            within = self._scatter - (counts * means.T) @ means
            within = 0.5 * (within + within.T) + c * np.eye(self.dim)
            return weights, means, within / (self.n_samples + c)
        scatter = shares.T @ self._squares - counts[:, None] * means * means
        variances = (np.maximum(scatter, 0.0) + c) / (counts + c)[:, None]
        if self.family == "spherical":
            variances = np.broadcast_to(variances.mean(1, keepdims=True), means.shape)
        return weights, means, variances

    def _penalty(self, covariance: FloatArray) -> float:
        """Return the sum of tr inv(S) + log |S| - D over the covariances there are."""
        if self.family == "tied":
            log_det = np.linalg.slogdet(covariance)[1]
            return float(np.trace(np.linalg.inv(covariance)) + log_det - self.dim)
        return float((1.0 / covariance + np.log(covariance) - 1.0).sum())

    def _from_labels(self, labels: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        used = np.unique(labels)
        return self._maximize((labels[:, None] == used).astype(np.float64))

    def _splits(self, fit: Fit) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
        """Return starts in which one component is halved along its widest axis."""
        labels = self._log_joint(fit.weights, fit.means, fit.covariance).argmax(1)
        gains, starts = [], []
        for j in range(len(fit.weights)):
            own = self.points[labels == j]
            if len(own) < 2 * FEWEST_POINTS:
                continue
            gaps = own - own.mean(0)
            _, _, rows = np.linalg.svd(gaps, full_matrices=False)
            along = gaps @ (
                rows[0]
                if self.family == "tied"
                else np.eye(self.dim)[int(np.square(gaps).sum(0).argmax())]
            )
            halves = labels.copy()
            halves[np.flatnonzero(labels == j)[along > 0.0]] = len(fit.weights)
            gains.append(np.abs(along).sum())
            starts.append(halves)
        ranked = np.argsort(gains)[::-1][:N_SPLITS]
        return [self._from_labels(starts[at]) for at in ranked]

    def _supports(self, fit: Fit) -> bool:
        """Return whether every component has two distinct points of its own."""
        labels = self._log_joint(fit.weights, fit.means, fit.covariance).argmax(1)
        return all(
            len(np.unique(self.points[labels == j], axis=0)) >= FEWEST_POINTS
            for j in range(len(fit.weights))
        )


@dataclass(frozen=True, slots=True)
class Units:
    """Points in a family's units, x = centre + A z.

    Parameters
    ----------
    white : ndarray, shape (n, d)
        In a canonical order.
    centre : ndarray, shape (D,)
    root : ndarray, shape (D, d)
        A.
    rest : ndarray, shape (D, D)
        Covariance along null directions.
    log_volume : float
    """

    white: FloatArray
    centre: FloatArray
    root: FloatArray
    rest: FloatArray
    log_volume: float

    def to_data(self, fit: Fit) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return weights, means and full covariances in the units of the points."""
        k, dim = fit.means.shape
        if fit.is_tied:
            inner = np.broadcast_to(fit.covariance, (k, dim, dim))
        else:
            inner = fit.covariance[:, :, None] * np.eye(dim)
        covariances = self.root @ inner @ self.root.T + self.rest
        return fit.weights, self.centre + fit.means @ self.root.T, covariances


def find_units(family: str, points: FloatArray, sight: Sight) -> Units:
    """Bring a cloud into the units of a family other than full.

    Parameters
    ----------
    family : str
    points : ndarray, shape (n, D)
    sight : Sight
        Of the same points.

    Raises
    ------
    ValueError
        When an axis is constant: no density of the family exists.
    """
    if family == "tied":
        whitening = sight.whitening
        return Units(
            sight.white, whitening.centre, whitening.root, whitening.rest, whitening.log_volume
        )
    ordered = points[np.lexsort(points.T)]
    centre = ordered.mean(0)
    reach = np.abs(ordered - centre).max(0)
    constant = np.flatnonzero(reach <= 4.0 * np.finfo(float).eps * np.abs(ordered).max(0))
    if len(constant):
        raise ValueError(
            f"points: axis {constant[0]} is constant, where {family} covariances have no density; "
            "drop it"
        )
    scale = reach * np.sqrt(np.square((ordered - centre) / reach).mean(0))
    if family == "spherical":
        scale = np.full_like(scale, scale.max() * math.sqrt(np.square(scale / scale.max()).mean()))
    dim = len(scale)
    return Units(
        (ordered - centre) / scale,
        centre,
        np.diag(scale),
        np.zeros((dim, dim)),
        float(np.log(scale).sum()),
    )
