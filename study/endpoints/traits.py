"""What a true component is like, apart from any model: its weight, separation and spread.

The separation of component j is its distance to the nearest other component,

    s_j = min_k sqrt(sum_d (m_jd - m_kd)^2 / ((v_jd + v_kd) / 2)),

in standard deviations of the two together; its spread is the geometric mean of its variances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture


@dataclass(frozen=True, slots=True)
class ComponentTraits:
    """Traits of the components of a mixture.

    Parameters
    ----------
    weight : ndarray of shape (n_components,)
    separation : ndarray of shape (n_components,)
        Standard deviations to the nearest other component; infinite for a single one.
    variance : ndarray of shape (n_components,)
        Geometric mean over the features, in squared data units.
    """

    weight: Float64[np.ndarray, " components"]
    separation: Float64[np.ndarray, " components"]
    variance: Float64[np.ndarray, " components"]


def component_traits(truth: TrueMixture) -> ComponentTraits:
    """Return the traits of a mixture's components.

    Parameters
    ----------
    truth : TrueMixture
    """
    gaps = truth.means[:, None] - truth.means[None]  # (components, components, features)
    pooled = (truth.variances[:, None] + truth.variances[None]) / 2
    distance = np.sqrt((gaps**2 / pooled).sum(axis=2))
    np.fill_diagonal(distance, np.inf)
    variance = np.exp(np.log(truth.variances).mean(axis=1))
    return ComponentTraits(truth.weights, distance.min(axis=1), variance)


@lru_cache(maxsize=4096)
def recipe_traits(
    *,
    n_components: int,
    dim: int,
    half_width: float,
    variance: tuple[float, float],
    alpha: float,
    data_seed: int,
) -> ComponentTraits:
    """Return the traits of the components that a recipe and a data seed draw.

    Parameters
    ----------
    n_components, dim : int
    half_width : float
        Of the box of the means.
    variance : (float, float)
        Range of the variances.
    alpha : float
        Of the weights' Dirichlet law.
    data_seed : int

    Returns
    -------
    ComponentTraits
        Shared between callers: do not write into its arrays.
    """
    recipe = MixtureConfig(
        n_components=n_components, dim=dim, box=half_width, variance=variance, alpha=alpha
    )
    return component_traits(draw_mixture(recipe, data_seed))
