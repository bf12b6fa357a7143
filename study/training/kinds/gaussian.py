"""One Gaussian with the mean and covariance of the training points, which knows of no modes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from study.training.generators import Generator, Seeds

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.training.generators import State


class OneGaussian(Generator):
    """One Gaussian; derive from it and define `fit` for another covariance."""

    def fit(
        self, points: np.ndarray, seeds: Seeds, options: Any, training: TrainingConfig
    ) -> State:
        """Return `mean` (D,) and `covariance` (D, D) of the points."""
        import numpy as np

        covariance = np.atleast_2d(np.cov(points.T, bias=True))
        return {"mean": points.mean(axis=0), "covariance": covariance}

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw points of the Gaussian."""
        import numpy as np

        root = np.linalg.cholesky(state["covariance"])
        return state["mean"] + rng.standard_normal((n_samples, len(root))) @ root.T

    def log_prob(self, state: State, points: np.ndarray) -> np.ndarray:
        """Return the Gaussian's log density at each point."""
        import numpy as np
        from scipy.stats import multivariate_normal

        density = multivariate_normal(state["mean"], state["covariance"])
        return np.atleast_1d(density.logpdf(points))

    def n_weights(self, options: Any, dim: int) -> int:
        """Count the numbers of mean and covariance."""
        return dim + dim * dim

    def gflop(self, options: Any, training: TrainingConfig, dim: int, n_samples: int) -> float:
        """Count the product that the covariance takes."""
        return 2e-9 * dim * dim * n_samples


GAUSSIAN = OneGaussian()
