"""A cloud of points laid out for the compiled passes, and Gaussian mixtures on it.

Symbols: n points in D dimensions, k components, B fits. Points are centred, and sorted so that
neighbours share a block. Mixtures are in the centred coordinates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from study.detection.compiled import em as compiled_em
from study.detection.compiled.block import BLOCK, FAST_DIM

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

# Added to the diagonal of every covariance (squared data units), as scikit-learn does.
RIDGE = 1e-6


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

    `log_likelihood` (total, nats) is that of the parameters before the last M-step. A run is
    `hopeless` when it was given up because it would have ended below what is known.
    """

    mixture: Mixture
    log_likelihood: float
    n_iter: int
    converged: bool
    hopeless: bool


class Cloud:
    """Points in blocks of neighbours.

    Parameters
    ----------
    points : ndarray, shape (n, D)

    Attributes
    ----------
    centre : ndarray, shape (D,)
    order : ndarray of int, shape (n,)
        Place of each point below in the array that came in.
    points : ndarray, shape (n, D)
        Centred, in order.
    n_samples, dim : int
    """

    def __init__(self, points: FloatArray) -> None:
        self.n_samples, self.dim = points.shape
        self.centre: FloatArray = points.mean(0)
        centred = points - self.centre
        self.order = group_neighbours(centred)
        self.points: FloatArray = centred[self.order]
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
        ridge: float = RIDGE,
    ) -> Climb:
        """Run EM.

        Parameters
        ----------
        start : Mixture
        tol_nats : float
            Of the total log likelihood.
        max_iter : int
        rule : int
            `study.detection.compiled.em.PLAIN`, PROPOSAL or PATIENT: when to end.
        known : float
            Log likelihood (total, nats) that a proposal must reach.
        ridge : float
            Added to the diagonal of every covariance (squared data units).

        Raises
        ------
        numpy.linalg.LinAlgError
            A covariance is not positive definite to working precision.
        """
        arguments = self._arguments(start)
        log_likelihood, n_iter, outcome = compiled_em.climb(
            *arguments, ridge, rule, tol_nats, max_iter, known
        )
        if n_iter == 0:
            raise np.linalg.LinAlgError("a component's covariance is not positive definite")
        weights, means, covariances = arguments[3:]
        found = Mixture(weights, means[:, : self.dim], covariances)
        hopeless = outcome == compiled_em.HOPELESS
        return Climb(found, log_likelihood, n_iter, outcome == compiled_em.CONVERGED, hopeless)

    def score(self, mixture: Mixture) -> tuple[float, float]:
        """Return log likelihood and entropy of the posterior labels (nats, in total).

        Raises
        ------
        numpy.linalg.LinAlgError
            A covariance is not positive definite to working precision.
        """
        log_likelihood, entropy = compiled_em.score(*self._arguments(mixture))
        if np.isnan(log_likelihood):
            raise np.linalg.LinAlgError("a component's covariance is not positive definite")
        return log_likelihood, entropy

    def judge(self, mixture: Mixture) -> tuple[IntArray, FloatArray]:
        """Return each point's most probable component and log density (nats), both of shape (n,).

        Raises
        ------
        numpy.linalg.LinAlgError
            A covariance is not positive definite to working precision.
        """
        return self._judge(mixture, np.empty(0), np.empty(self.n_samples))

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

    def from_labels(self, labels: IntArray, *, ridge: float = RIDGE) -> Mixture:
        """Return the mixture of the moments of labelled points; empty labels are left out.

        Parameters
        ----------
        labels : ndarray of int, shape (n,)
            In the order of `points`; not negative.
        ridge : float
            Added to the diagonal of every covariance (squared data units).
        """
        counts = np.bincount(labels)
        counts = counts[counts > 0]
        ranked = self.points[np.argsort(labels, kind="stable")]
        groups = np.split(ranked, counts.cumsum()[:-1])
        means = np.stack([group.mean(0) for group in groups])
        covariances = np.empty((len(groups), self.dim, self.dim))
        for j, group in enumerate(groups):
            gaps = group - means[j]
            covariances[j] = gaps.T @ gaps / len(group) + ridge * np.eye(self.dim)
        return Mixture(counts / self.n_samples, means, covariances)


def group_neighbours(points: FloatArray) -> IntArray:
    """Order points so that each run of `BLOCK` lies together: halve at the widest axis, again."""
    parts, done = [np.arange(len(points))], []
    while parts:
        part = parts.pop()
        if len(part) <= BLOCK:
            done.append(part)
            continue
        cloud = points[part]
        axis = int(np.ptp(cloud, axis=0).argmax())
        ranked = part[np.argsort(cloud[:, axis], kind="stable")]
        half = (len(part) // BLOCK + 1) // 2 * BLOCK
        parts += [ranked[half:], ranked[:half]]
    return np.concatenate(done)
