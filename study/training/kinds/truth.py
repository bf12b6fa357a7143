"""The true mixture as a generator: it has nothing to learn, and no generator does better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from study.training.generators import Generator, Seeds

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.data.mixture import TrueMixture
    from study.training.generators import State


class _Truth(Generator):
    """Fresh draws of the true mixture."""

    knows_truth = True

    def fit(
        self,
        points: np.ndarray,
        seeds: Seeds,
        options: Any,
        training: TrainingConfig,
        *,
        truth: TrueMixture | None = None,
    ) -> State:
        """Return `weights` (K,), `means` (K, D) and `variances` (K, D) of the truth."""
        assert truth is not None, "it knows the truth"
        return {"weights": truth.weights, "means": truth.means, "variances": truth.variances}

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw points of the mixture."""
        return mixture_of(state).sample(n_samples, rng)[0]

    def log_prob(self, state: State, points: np.ndarray) -> np.ndarray:
        """Return the mixture's log density at each point."""
        return mixture_of(state).log_prob(points)

    def gflop(self, options: Any, training: TrainingConfig, dim: int, n_samples: int) -> float:
        """Return 0: nothing is fitted."""
        return 0.0


def mixture_of(state: State) -> TrueMixture:
    """Rebuild the true mixture of a state.

    Parameters
    ----------
    state : mapping of str to ndarray
        With `weights`, `means` and `variances`.
    """
    from study.data.mixture import TrueMixture

    return TrueMixture(**{name: state[name] for name in ("weights", "means", "variances")})


TRUTH = _Truth()
