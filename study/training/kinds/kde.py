"""The training points with noise: a generator that remembers and does not generalise.

The noise is Scott's factor n^(-1 / (D + 4)) times the standard deviation within the true
components, axis by axis. Scott's rule on the whole cloud would take the distance between the
components for spread (1.6 on the original's data, wider than the components) and blur them.

References
----------
Scott, "Multivariate Density Estimation", Wiley 1992.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from study.training.generators import Generator, Seeds

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.data.mixture import TrueMixture
    from study.training.generators import State

_CHUNK_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class KDEOptions:
    """Settings of `kde`.

    Parameters
    ----------
    bandwidth : float
        Standard deviation of the noise, as a multiple of the one by Scott's rule.
    """

    bandwidth: Annotated[float, Interval(ge=1e-3, le=1e3)] = 1.0


class _KDE(Generator):
    """A kernel density estimate with Gaussian kernels along the axes."""

    Options = KDEOptions
    knows_truth = True

    def fit(
        self,
        points: np.ndarray,
        seeds: Seeds,
        options: KDEOptions,
        training: TrainingConfig,
        *,
        truth: TrueMixture | None = None,
    ) -> State:
        """Return `centres` (n, D), the points, and `bandwidth` (D,)."""
        import numpy as np

        assert truth is not None, "it knows the truth"
        n_points, dim = points.shape
        scott = n_points ** (-1 / (dim + 4)) * np.sqrt(truth.weights @ truth.variances)
        return {"centres": points, "bandwidth": options.bandwidth * scott}

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw training points, with replacement, and add noise."""
        centres = state["centres"]
        chosen = centres[rng.integers(len(centres), size=n_samples)]
        return chosen + state["bandwidth"] * rng.standard_normal(chosen.shape)

    def log_prob(self, state: State, points: np.ndarray) -> np.ndarray:
        """Return the log density of the estimate at each point."""
        import numpy as np
        from scipy.special import logsumexp

        centres, bandwidth = state["centres"], state["bandwidth"]
        scaled = centres / bandwidth
        squares = 0.5 * (scaled**2).sum(axis=1)
        constant = np.log(2 * np.pi * bandwidth**2).sum() / 2 + np.log(len(centres))
        parts = []
        for start in range(0, len(points), _CHUNK_ROWS):
            few = points[start : start + _CHUNK_ROWS] / bandwidth
            joint = few @ scaled.T - squares
            parts.append(logsumexp(joint, axis=1) - 0.5 * (few**2).sum(axis=1))
        return np.concatenate(parts) - constant

    def n_weights(self, options: KDEOptions, dim: int) -> int:
        """Count the coordinates of as many points as a study usually has."""
        return 10_000 * dim

    def gflop(
        self, options: KDEOptions, training: TrainingConfig, dim: int, n_samples: int
    ) -> float:
        """Return 0: nothing is fitted."""
        return 0.0


KDE = _KDE()
