"""A mixture of Gaussians fitted by expectation and maximisation: a generator without a network.

What a network is compared with: it has the true family's shape and an exact density, and knows
neither the components nor, unless it is told, their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval

from study.config.fields import Column
from study.training.generators import Generator, Seeds

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.data.mixture import TrueMixture
    from study.training.generators import State


def _n_components(options: EMOptions) -> int | None:
    return None if options.n_components == "truth" else options.n_components


def _start(options: EMOptions) -> str:
    return "truth" if options.n_components == "truth" else "kmeans"


@dataclass(frozen=True, slots=True, kw_only=True)
class EMOptions:
    """Settings of `em`.

    Parameters
    ----------
    n_components : int or "truth"
        Gaussians, each with a full covariance. "truth": as many as the truth has, and started
        there: what is missed is what estimation from so many points costs.
    starts : int
        Starts from k-means; the fit of the highest likelihood is kept.
    """

    n_components: Annotated[
        Annotated[int, Interval(ge=1, le=1000)] | Literal["truth"],
        Column("em_n_components", "int", _n_components),
        Column("em_start", "str", _start),
    ] = 10
    starts: Annotated[int, Interval(ge=1, le=100)] = 1

    def __post_init__(self) -> None:
        if self.n_components == "truth" and self.starts > 1:
            raise ValueError(
                "starts: must be 1 with em.n_components: truth, where EM starts; "
                f"found {self.starts}"
            )


class _EM(Generator):
    """A mixture of K Gaussians, by EM on the training points."""

    Options = EMOptions
    knows_truth = True

    def fit(
        self,
        points: np.ndarray,
        seeds: Seeds,
        options: EMOptions,
        training: TrainingConfig,
        *,
        truth: TrueMixture | None = None,
    ) -> State:
        """Fit the mixture; arrays `weights` (k,), `means` (k, D) and `covariances` (k, D, D)."""
        from sklearn.mixture import GaussianMixture

        assert truth is not None, "it knows the truth"
        if options.n_components == "truth":
            start = {"n_components": truth.n_components, **_at_truth(truth)}
        else:
            start = {"n_components": options.n_components, "n_init": options.starts}
        seed = int(seeds.rng().integers(2**31))
        mixture = GaussianMixture(**start, max_iter=1000, random_state=seed).fit(points)
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
        n_components = 10 if options.n_components == "truth" else options.n_components
        return n_components * (1 + dim + dim * dim)


def _at_truth(truth: TrueMixture) -> dict[str, Any]:
    """Return the settings of scikit-learn's mixture that start it at the truth.

    Its default tolerance, 1e-3 nats, is a fifth of what is to be seen here.
    """
    import numpy as np

    return {
        "weights_init": truth.weights,
        "means_init": truth.means,
        "precisions_init": np.stack([np.diag(1 / variances) for variances in truth.variances]),
        "tol": 1e-7,
    }


EM = _EM()
