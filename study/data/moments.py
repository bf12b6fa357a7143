"""Closed forms of a mixture of Gaussians, without anything that draws from it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64


def mixture_covariance(
    means: Float64[np.ndarray, "components features"],
    variances: Float64[np.ndarray, "components features"],
    weights: Float64[np.ndarray, " components"],
) -> Float64[np.ndarray, "features features"]:
    """Return the covariance of a mixture of axis-aligned Gaussians.

    Parameters
    ----------
    means, variances : ndarray of shape (n_components, n_features)
    weights : ndarray of shape (n_components,)
        They sum to 1.

    Returns
    -------
    ndarray of shape (n_features, n_features)
        Between the components and within them.
    """
    centered = means - weights @ means
    between = (weights[:, None] * centered).T @ centered
    return between + np.diag(weights @ variances)
