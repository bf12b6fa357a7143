"""Probabilistic principal components: the best that a linear autoencoder can be.

References
----------
Tipping, Bishop, "Probabilistic Principal Component Analysis", JRSS-B 1999,
https://doi.org/10.1111/1467-9868.00196
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

from study.training.generators import Seeds
from study.training.kinds.gaussian import OneGaussian

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.training.generators import State


@dataclass(frozen=True, slots=True, kw_only=True)
class PPCAOptions:
    """Settings of `ppca`.

    Parameters
    ----------
    latent_dim : int
        Principal components that are kept, at most D - 1: the others give the noise.
    """

    latent_dim: Annotated[int, Interval(ge=1, le=255)] = 2


class _PPCA(OneGaussian):
    """A Gaussian whose covariance is a few principal components and isotropic noise."""

    Options = PPCAOptions

    def fit(
        self, points: np.ndarray, seeds: Seeds, options: PPCAOptions, training: TrainingConfig
    ) -> State:
        """Return `mean` (D,) and `covariance` (D, D) of maximal likelihood."""
        state = super().fit(points, seeds, options, training)
        assert isinstance(state, dict), "the parent class returns a state"
        return state | {"covariance": ppca_covariance(state["covariance"], options.latent_dim)}


def ppca_covariance(covariance: np.ndarray, latent_dim: int) -> np.ndarray:
    """Return the covariance W W' + s^2 I of maximal likelihood.

    Parameters
    ----------
    covariance : ndarray of shape (n_features, n_features)
    latent_dim : int
        At most n_features - 1 are used: the discarded eigenvalues give the noise.
    """
    import numpy as np

    values, vectors = np.linalg.eigh(covariance)
    n_noise = max(len(values) - latent_dim, 1)
    kept = np.concatenate([np.full(n_noise, values[:n_noise].mean()), values[n_noise:]])
    return (vectors * kept) @ vectors.T


PPCA = _PPCA()
