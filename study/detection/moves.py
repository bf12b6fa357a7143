"""Split and merge moves on a Gaussian mixture.

Symbols: n points in D dimensions, k components. Gains and costs are in nats of the total log
likelihood unless stated otherwise.

A *merge* replaces two components by one with their joint moments; Runnalls' cost bounds what it
loses. A *split* replaces one component by two. An *addition* is a new component.

References
----------
Runnalls, "Kullback-Leibler approach to Gaussian mixture reduction", IEEE TAES 2007,
https://doi.org/10.1109/TAES.2007.4383588
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from study.detection.cloud import FloatArray, Mixture
from study.detection.compiled.merge_costs import cost_matrix


def merge_costs(mixture: Mixture, prior_weight: float = 0.0) -> FloatArray:
    """Return Runnalls' cost (nats per sample) of merging each pair of components.

    Parameters
    ----------
    mixture : Mixture
    prior_weight : float
        Pseudo-count of the prior over the number of points: a merge changes the penalties, too.

    Returns
    -------
    ndarray, shape (k, k)
        Infinite on and below the diagonal, and where a covariance is not positive definite to
        working precision.
    """
    return cost_matrix(*(np.array(part, order="C") for part in mixture), prior_weight)


def merge_pair(mixture: Mixture, first: int, second: int) -> Mixture:
    """Return the mixture with two components replaced by one of the same moments."""
    pair = [first, second]
    weights, means, covariances = (part[pair] for part in mixture)
    share = weights / weights.sum()
    mean = share @ means
    gap = means - mean
    spread = covariances + gap[:, :, None] * gap[:, None, :]
    covariance = (share[:, None, None] * spread).sum(0)
    merged = Mixture(weights.sum()[None], mean[None], covariance[None])
    return _replace(mixture, pair, merged)


def _replace(mixture: Mixture, gone: list[int], new: Mixture) -> Mixture:
    """Return a mixture without the components `gone` and with new ones at its end."""
    keep = [j for j in range(len(mixture.weights)) if j not in gone]
    parts = zip(mixture, new, strict=True)
    return Mixture(*(np.concatenate([old[keep], more]) for old, more in parts))


@dataclass(frozen=True, slots=True)
class Split:
    """A proposal to replace one component by two.

    Parameters
    ----------
    gain : float
        Log likelihood (nats) that two components gain over one on the component's own points.
    children : Mixture
        The two parts; weights sum to one; in the coordinates of the path.
    """

    gain: float
    children: Mixture


def split_component(mixture: Mixture, component: int, children: Mixture) -> Mixture:
    """Return the mixture with one component replaced by two parts of it."""
    scaled = children._replace(weights=mixture.weights[component] * children.weights)
    return _replace(mixture, [component], scaled)


def add_component(mixture: Mixture, addition: Mixture) -> Mixture:
    """Return the mixture with one more component; the others keep their proportions."""
    rest = mixture._replace(weights=mixture.weights * (1.0 - addition.weights.sum()))
    return _replace(rest, [], addition)
