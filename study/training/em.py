"""A mixture of Gaussians fitted by expectation and maximisation: a generator without a network.

What a network is compared with: it has the true family's shape and an exact density, and knows
neither the components nor, unless it is told, their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from study.training.generators import Generator, Seeds

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.training.generators import State


@dataclass(frozen=True, slots=True, kw_only=True)
class EMOptions:
    """Settings of `em`.

    Parameters
    ----------
    n_components : int
        Gaussians, each with a full covariance.
    starts : int
        Starts from k-means; the fit of the highest likelihood is kept.
    """

    n_components: Annotated[int, Interval(ge=1, le=1000)] = 10
    starts: Annotated[int, Interval(ge=1, le=100)] = 1


class _EM(Generator):
    """A mixture of K Gaussians, by EM on the training points."""

    Options = EMOptions

    def fit(
        self, points: np.ndarray, seeds: Seeds, options: EMOptions, training: TrainingConfig
    ) -> State:
        """Fit the mixture; arrays `weights` (k,), `means` (k, D) and `covariances` (k, D, D)."""
        from sklearn.mixture import GaussianMixture

        mixture = GaussianMixture(
            options.n_components,
            n_init=options.starts,
            max_iter=1000,
            random_state=int(seeds.rng().integers(2**31)),
        ).fit(points)
        return {
            "weights": mixture.weights_,
            "means": mixture.means_,
            "covariances": mixture.covariances_,
        }

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw points of the mixture."""
        import numpy as np

        weights = state["weights"] / state["weights"].sum()
        labels = rng.choice(len(weights), n_samples, p=weights)
        noise = rng.standard_normal((n_samples, state["means"].shape[1]))
        roots = np.linalg.cholesky(state["covariances"])
        return state["means"][labels] + np.einsum("nij,nj->ni", roots[labels], noise)

    def log_prob(self, state: State, points: np.ndarray) -> np.ndarray:
        """Return the mixture's log density at each point."""
        import numpy as np
        from scipy.special import logsumexp
        from scipy.stats import multivariate_normal

        parts = (state["weights"], state["means"], state["covariances"])
        joint = [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(points)
            for weight, mean, covariance in zip(*parts, strict=True)
        ]
        return np.asarray(logsumexp(joint, axis=0))

    def n_weights(self, options: EMOptions, dim: int) -> int:
        """Count the numbers of weights, means and covariances."""
        return options.n_components * (1 + dim + dim * dim)


EM = _EM()
