"""What the data seed decides: the truth and the point sets drawn from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture, draw_training_points
from study.data.seeds import numpy_generator


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A true mixture and three independent draws of it.

    Parameters
    ----------
    truth : TrueMixture
    training : ndarray of shape (n_samples, dim)
    heldout : ndarray of shape (n_heldout, dim)
        Held-out points for losses, likelihood and codes.
    control : ndarray of shape (n_heldout, dim)
        Points to count, and to compare samples with.
    """

    truth: TrueMixture
    training: Float64[np.ndarray, "samples features"]
    heldout: Float64[np.ndarray, "heldout features"]
    control: Float64[np.ndarray, "heldout features"]


@lru_cache(maxsize=32)
def draw_data_set(mixture: MixtureConfig, data_seed: int, n_heldout: int) -> DataSet:
    """Draw everything that a data seed decides.

    Parameters
    ----------
    mixture : MixtureConfig
    data_seed : int
    n_heldout : int
        Size of the held-out and the control draw.

    Returns
    -------
    DataSet
        Shared between callers: do not write into its arrays.
    """
    truth = draw_mixture(mixture, data_seed)
    training, _ = draw_training_points(mixture, truth, data_seed)
    heldout, _ = truth.sample(n_heldout, numpy_generator("heldout", data_seed))
    control, _ = truth.sample(n_heldout, numpy_generator("control", data_seed))
    return DataSet(truth=truth, training=training, heldout=heldout, control=control)
