"""A diffusion that need not be trained: the score of a Gaussian mixture is known.

What it misses of the truth is what discretisation alone costs. The sampler is Euler's method on
the probability-flow equation with noise levels s_0 > ... > s_{n-1} > s_n = 0: with r = s_{i+1} /
s_i and the denoiser D(x) = E[x_0 | x_0 + s_i e = x],

    x_{i+1} = r x_i + (1 - r) D(x_i).

Its density is exact, too. D's Jacobian is Cov[x_0 | x_i] / s_i^2, symmetric and positive
definite, so that a step is the gradient of a strictly convex function: it can be inverted, by
Newton's method, and the logarithms of the determinants add up.

References
----------
Karras, Aittala, Aila, Laine, "Elucidating the Design Space of Diffusion-Based Generative Models",
NeurIPS 2022, https://arxiv.org/abs/2206.00364: the noise levels (rho = 7) and the step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from study.training.generators import Generator, Seeds
from study.training.kinds.truth import mixture_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from study.config import TrainingConfig
    from study.data.mixture import TrueMixture
    from study.training.generators import State

# The first noise level over the data's standard deviation, and the last one over the narrowest
# component's: both far enough that the steps are all that is missed.
_WIDEST, _NARROWEST = 100.0, 1e-3
_RHO = 7
_CHUNK_ROWS = 2048
_MAX_NEWTON, _MAX_HALVINGS = 100, 60
_TOLERANCE, _ROUNDING = 1e-9, 1e-13


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactScoreOptions:
    """Settings of `exact_score`.

    Parameters
    ----------
    steps : int
        Steps from noise to a point.
    """

    steps: Annotated[int, Interval(ge=2, le=10_000)] = 50


class _ExactScore(Generator):
    """An untrained diffusion with the score of the true mixture."""

    Options = ExactScoreOptions
    knows_truth = True

    def fit(
        self,
        points: np.ndarray,
        seeds: Seeds,
        options: ExactScoreOptions,
        training: TrainingConfig,
        *,
        truth: TrueMixture | None = None,
    ) -> State:
        """Return the truth's `weights`, `means` and `variances`, and `noise` (steps + 1,)."""
        import numpy as np

        assert truth is not None, "it knows the truth"
        first = _WIDEST * np.sqrt(np.trace(truth.covariance()))
        last = _NARROWEST * np.sqrt(truth.variances.min())
        levels = np.linspace(first ** (1 / _RHO), last ** (1 / _RHO), options.steps) ** _RHO
        return {
            "weights": truth.weights,
            "means": truth.means,
            "variances": truth.variances,
            "noise": np.append(levels, 0.0),
        }

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw noise and follow it to points."""
        import numpy as np

        mean, covariance = _start(state)
        root = np.linalg.cholesky(covariance)
        starts = mean + rng.standard_normal((n_samples, len(mean))) @ root.T
        parts = [_follow(state, chunk) for chunk in _chunks(starts)]
        return np.concatenate(parts)

    def log_prob(self, state: State, points: np.ndarray) -> np.ndarray:
        """Return the sampler's own log density, not that of the equation it discretises."""
        import numpy as np

        return np.concatenate([_log_prob(state, chunk) for chunk in _chunks(points)])

    def n_weights(self, options: ExactScoreOptions, dim: int) -> int:
        """Count the noise levels and a mixture of ten components."""
        return options.steps + 1 + 10 * (1 + 2 * dim)

    def gflop(
        self, options: ExactScoreOptions, training: TrainingConfig, dim: int, n_samples: int
    ) -> float:
        """Estimate the steps of the samples, and of the density, which are all there is to do."""
        return 2.0 * options.steps


def _chunks(points: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(points), _CHUNK_ROWS):
        yield points[start : start + _CHUNK_ROWS]


def _start(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of the first, noisiest points."""
    import numpy as np

    truth = mixture_of(state)
    noise = state["noise"][0] ** 2 * np.eye(truth.dim)
    return truth.weights @ truth.means, truth.covariance() + noise


def _follow(state: State, points: np.ndarray) -> np.ndarray:
    truth, noise = mixture_of(state), state["noise"]
    for level, following in pairwise(noise):
        points = _Step(_Denoiser(truth, level), following / level)(points)
    return points


def _log_prob(state: State, points: np.ndarray) -> np.ndarray:
    import numpy as np
    from scipy.stats import multivariate_normal

    truth, noise = mixture_of(state), state["noise"]
    log_volume = np.zeros(len(points))
    for following, level in pairwise(noise[::-1]):
        step = _Step(_Denoiser(truth, level), following / level)
        points = step.inverse(points)
        log_volume += np.linalg.slogdet(step.jacobian(points))[1]
    return multivariate_normal(*_start(state)).logpdf(points) - log_volume


class _Denoiser:
    """E[x_0 | x_0 + level e = x] of a mixture, with its Jacobian."""

    def __init__(self, truth: TrueMixture, level: float) -> None:
        self._truth, self._variance = truth, level**2
        self._blurred = replace(truth, variances=truth.variances + self._variance)
        # v / (v + s^2): how much of a point's distance to a component's mean is kept.
        self._kept = truth.variances / (truth.variances + self._variance)

    def _centres(self, points: np.ndarray) -> np.ndarray:
        """Return E[x_0 | x, component], shape (n_points, n_components, n_features)."""
        return self._truth.means + self._kept * (points[:, None] - self._truth.means)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        import numpy as np

        posterior = self._blurred.posterior(points)
        return np.einsum("nk,nkd->nd", posterior, self._centres(points))

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        """Return Cov[x_0 | x] / s^2, shape (n_points, n_features, n_features)."""
        import numpy as np

        posterior, centres = self._blurred.posterior(points), self._centres(points)
        mean = np.einsum("nk,nkd->nd", posterior, centres)
        gaps = centres - mean[:, None]
        spread = np.einsum("nk,nkd,nke->nde", posterior, gaps, gaps, optimize=True)
        within = posterior @ self._kept
        return spread / self._variance + within[:, :, None] * np.eye(points.shape[1])


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of the sampler: x to ratio x + (1 - ratio) D(x)."""

    denoiser: _Denoiser
    ratio: float

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.ratio * points + (1 - self.ratio) * self.denoiser(points)

    def jacobian(self, points: np.ndarray) -> np.ndarray:
        import numpy as np

        identity = self.ratio * np.eye(points.shape[1])
        return identity + (1 - self.ratio) * self.denoiser.jacobian(points)

    def inverse(self, targets: np.ndarray) -> np.ndarray:
        """Find the points that the step takes to the targets, by Newton's method.

        Raises
        ------
        ValueError
            One is not found.
        """
        import numpy as np

        points = targets.copy()
        left = np.arange(len(points))
        for _ in range(_MAX_NEWTON):
            gaps = self(points[left]) - targets[left]
            moves = -np.linalg.solve(self.jacobian(points[left]), gaps[..., None])[..., 0]
            # Where modes part, a gap can be at its rounding while a move is far below its own.
            far = _length(gaps) > _TOLERANCE * (1 + _length(targets[left]))
            far &= _length(moves) > _ROUNDING * (1 + _length(points[left]))
            if not far.any():
                return points
            left, gaps, moves = left[far], gaps[far], moves[far]
            points[left] += self._damped(points[left], moves, gaps, targets[left])
        raise ValueError(f"exact_score: no inverse of a step within {_MAX_NEWTON} iterations")

    def _damped(
        self, points: np.ndarray, moves: np.ndarray, gaps: np.ndarray, targets: np.ndarray
    ) -> np.ndarray:
        """Shorten each move to about the minimum along it.

        Where modes part, the convex function has almost an edge: a move that merely descends
        crosses it again and again, and only the minimum is on it.
        """
        import numpy as np

        def slope(share: np.ndarray) -> np.ndarray:
            there = self(points + share[:, None] * moves) - targets
            return (there * moves).sum(axis=1)

        first = np.abs((gaps * moves).sum(axis=1))
        low, high = np.zeros(len(points)), np.ones(len(points))
        share = high
        for _ in range(_MAX_HALVINGS):
            found = slope(share)
            fine = (np.abs(found) <= 0.1 * first) | ((found <= 0) & (share == 1))
            if fine.all():
                break
            low = np.where(fine | (found < 0), share, low)
            high = np.where(fine | (found >= 0), share, high)
            share = np.where(fine, share, (low + high) / 2)
        return share[:, None] * moves


def _length(vectors: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.asarray(np.abs(vectors).max(axis=1))


EXACT_SCORE = _ExactScore()
