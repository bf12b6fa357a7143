"""A cloud of points laid out for the compiled passes, and Gaussian mixtures on it.

Symbols: n points in D dimensions, k components. Points are centred, and sorted so that neighbours
share a block. Mixtures are in the centred coordinates.

EM climbs the *objective* l - (c / 2) sum_j [tr inv(S_j) + log |S_j| - D]: the total log likelihood
l (nats) less a penalty of each covariance S_j that is 0 for the unit matrix and grows beyond all
bounds towards a singular one. It acts as c more points in every component, the *pseudo-count*,
with covariance 1: points are to be in units of their own covariance. With c = 2 a and a between
1 / n and a constant times n^-1/2 the maximum exists and is consistent, also for more components
than there are; on points that are a mixture it is the maximum likelihood estimate but for a
relative change of c / n_j in a covariance of n_j points. Without a pseudo-count the objective is
the likelihood.

References
----------
Chen, Tan, "Inference for multivariate normal mixtures", Journal of Multivariate Analysis 2009,
https://arxiv.org/abs/0805.3906
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.detection.compiled import em as compiled_em
from study.detection.compiled.block import BLOCK, FAST_DIM

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]


# Of a block's width: coordinates closer than that are the same in sorting.
SORTING_STEPS = 2.0**33
# Chen and Tan's a is this share of n^-1/2. Less leaves curves more optima to get lost in; more
# moves components of two dozen points (docs/log.md).
PENALTY_SHARE = 0.05


def pseudo_count_of(n_samples: int) -> float:
    """Return the prior's pseudo-count for so many points: 2 a, a = 0.05 n^-1/2."""
    return 2.0 * PENALTY_SHARE / math.sqrt(n_samples)


class Mixture(NamedTuple):
    """Parameters of a full-covariance mixture.

    Shapes: weights (k,), means (k, D), covariances (k, D, D).
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray


def n_parameters(n_components: int, dim: int) -> int:
    """Return the free parameters of a full-covariance mixture."""
    return n_components * (1 + dim + dim * (dim + 1) // 2) - 1


class Climb(NamedTuple):
    """Where a run of EM ended.

    `objective` and `log_likelihood` (total, nats) are those of the parameters before the last
    M-step. A run is `hopeless` when it was given up because it would have ended below what is
    known.
    """

    mixture: Mixture
    objective: float
    log_likelihood: float
    n_iter: int
    converged: bool
    hopeless: bool


class Score(NamedTuple):
    """What a mixture is worth on a cloud: nats, in total; `entropy` is of the posterior labels."""

    objective: float
    log_likelihood: float
    entropy: float


class Cloud:
    """Points in blocks of neighbours.

    Parameters
    ----------
    points : ndarray, shape (n, D)
    pseudo_count : float
        Points that the prior counts for in every covariance; 0 for none.
    ridge : float
        Added to the diagonal of every covariance by every M-step (squared units of the points), as
        scikit-learn does. EM is no ascent then.

    Attributes
    ----------
    centre : ndarray, shape (D,)
    order : ndarray of int, shape (n,)
        Place of each point below in the array that came in.
    points : ndarray, shape (n, D)
        Centred, in order.
    n_samples, dim : int
    """

    def __init__(
        self, points: FloatArray, *, pseudo_count: float = 0.0, ridge: float = 0.0
    ) -> None:
        self.pseudo_count, self.ridge = pseudo_count, ridge
        self.n_samples, self.dim = points.shape
        self.centre: FloatArray = points.mean(0)
        centred = points - self.centre
        self.order = group_neighbours(centred)
        self.points: FloatArray = centred[self.order]
        self._places, self._most_copies = _places(self.points)
        n_blocks = -(-self.n_samples // BLOCK)
        # The last block is filled up with copies of a point, which count for nothing.
        places = np.minimum(np.arange(n_blocks * BLOCK), self.n_samples - 1)
        self._filled_dim = max(self.dim, FAST_DIM)
        filled = self._fill(self.points)[places].reshape(n_blocks, BLOCK, self._filled_dim)
        self._blocks = np.ascontiguousarray(filled.transpose(0, 2, 1))
        low, high = filled.min(1), filled.max(1)
        self._boxes = np.ascontiguousarray(np.stack([low + high, high - low], 1) / 2)

    def _fill(self, vectors: FloatArray) -> FloatArray:
        """Append zero coordinates up to the dimension that the passes are written for."""
        missing = self._filled_dim - self.dim
        return np.pad(vectors, ((0, 0), (0, missing))) if missing else np.array(vectors)

    def _arguments(self, mixture: Mixture) -> tuple[Any, ...]:
        weights, means, covariances = mixture
        own = (np.array(weights), self._fill(means), np.array(covariances, order="C"))
        return (self._blocks, self._boxes, self.n_samples, *own)

    def climb(
        self,
        start: Mixture,
        *,
        tol_nats: float,
        max_iter: int,
        rule: int = compiled_em.PLAIN,
        known: float = -np.inf,
    ) -> Climb:
        """Run EM.

        Parameters
        ----------
        start : Mixture
        tol_nats : float
            Of the objective.
        max_iter : int
        rule : int
            `study.detection.compiled.em.PLAIN`, PROPOSAL or PATIENT: when to end.
        known : float
            Objective (nats) that a proposal must reach.

        Raises
        ------
        numpy.linalg.LinAlgError
            A covariance is not positive definite to working precision.
        """
        arguments = self._arguments(start)
        objective, log_likelihood, n_iter, outcome = compiled_em.climb(
            *arguments, self.pseudo_count, self.ridge, rule, tol_nats, max_iter, known
        )
        if n_iter == 0:
            raise np.linalg.LinAlgError("a component's covariance is not positive definite")
        weights, means, covariances = arguments[3:]
        found = Mixture(weights, means[:, : self.dim], covariances)
        hopeless = outcome == compiled_em.HOPELESS
        converged = outcome == compiled_em.CONVERGED
        return Climb(found, objective, log_likelihood, n_iter, converged, hopeless)

    def score(self, mixture: Mixture) -> Score:
        """Judge a mixture on all points.

        Raises
        ------
        numpy.linalg.LinAlgError
            A covariance is not positive definite to working precision.
        """
        penalties, log_likelihood, entropy = compiled_em.score(*self._arguments(mixture))
        if np.isnan(log_likelihood):
            raise np.linalg.LinAlgError("a component's covariance is not positive definite")
        return Score(log_likelihood - 0.5 * self.pseudo_count * penalties, log_likelihood, entropy)

    def judge(self, mixture: Mixture) -> tuple[IntArray, FloatArray]:
        """Return each point's most probable component and log density (nats), both of shape (n,).

        Raises
        ------
        numpy.linalg.LinAlgError
            A covariance is not positive definite to working precision.
        """
        return self._judge(mixture, np.empty(0), np.empty(self.n_samples))

    def supports(self, mixture: Mixture) -> bool:
        """Return whether every component has enough distinct points for a covariance."""
        return bool(self.supported(mixture).all())

    def supported(self, mixture: Mixture) -> NDArray[np.bool_]:
        """Return which components have D + 1 distinct points of their own, shape (k,)."""
        counts = mixture.weights * self.n_samples
        enough: NDArray[np.bool_] = counts >= self.dim + 1
        if self._most_copies == 1 or not (counts < self._most_copies * (self.dim + 1)).any():
            return enough
        labels, _ = self.judge(mixture)
        owners = np.unique(np.stack([labels, self._places], 1), axis=0)[:, 0]
        return np.bincount(owners, minlength=len(counts)) > self.dim

    def draw_labels(self, mixture: Mixture, draws: FloatArray) -> IntArray:
        """Draw each point's component from its posterior.

        Parameters
        ----------
        mixture : Mixture
        draws : ndarray, shape (n,)
            Uniform in [0, 1).

        Returns
        -------
        ndarray of int, shape (n,)

        Raises
        ------
        numpy.linalg.LinAlgError
            A covariance is not positive definite to working precision.
        """
        return self._judge(mixture, draws, np.empty(0))[0]

    def _judge(
        self, mixture: Mixture, draws: FloatArray, log_prob: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        labels = np.zeros(self.n_samples, dtype=np.int64)
        if not compiled_em.judge(*self._arguments(mixture), draws, labels, log_prob):
            raise np.linalg.LinAlgError("a component's covariance is not positive definite")
        return labels, log_prob

    def from_labels(self, labels: IntArray) -> Mixture:
        """Return the mixture of the moments of labelled points; empty labels are left out.

        Parameters
        ----------
        labels : ndarray of int, shape (n,)
            In the order of `points`; not negative.
        """
        counts = np.bincount(labels)
        counts = counts[counts > 0]
        ranked = self.points[np.argsort(labels, kind="stable")]
        groups = np.split(ranked, counts.cumsum()[:-1])
        means = np.stack([group.mean(0) for group in groups])
        covariances = np.empty((len(groups), self.dim, self.dim))
        for j, group in enumerate(groups):
            gaps = group - means[j]
            covariances[j] = self._regularize(gaps.T @ gaps, float(len(group)))
        return Mixture(counts / self.n_samples, means, covariances)

    def _regularize(self, scatter: FloatArray, count: float) -> FloatArray:
        """Return the covariance of an M-step from the sum of squares of `count` points."""
        unit = np.eye(self.dim)
        prior = self.pseudo_count * unit
        return (scatter + prior) / (count + self.pseudo_count) + self.ridge * unit


def _places(points: FloatArray) -> tuple[IntArray, int]:
    """Number the distinct places of points, shape (n,), and count the most points in one."""
    ranked = np.sort(points @ np.sqrt(np.arange(2.0, points.shape[1] + 2.0)))
    if (ranked[1:] != ranked[:-1]).all():
        return np.arange(len(points)), 1
    _, places, copies = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    return places, int(copies.max())


def group_neighbours(points: FloatArray) -> IntArray:
    """Order points so that each run of `BLOCK` lies together: halve at the widest axis, again.

    Points that differ by rounding keep the order in which they came.
    """
    parts, done = [np.arange(len(points))], []
    while parts:
        part = parts.pop()
        if len(part) <= BLOCK:
            done.append(part)
            continue
        cloud = points[part]
        spans = np.ptp(cloud, axis=0)
        axis = int(spans.argmax())
        steps = np.round(cloud[:, axis] * (SORTING_STEPS / (spans[axis] or 1.0)))
        ranked = part[np.argsort(steps, kind="stable")]
        half = (len(part) // BLOCK + 1) // 2 * BLOCK
        parts += [ranked[half:], ranked[:half]]
    return np.concatenate(done)
