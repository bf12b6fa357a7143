"""The share of points outside the ellipsoids that hold a given share of each true component.

Symbols: D_j(x) the Mahalanobis distance of a point to component j; level p, whose ellipsoids are
D_j^2 <= the p quantile of a chi-square law with as many degrees of freedom as dimensions.

A point is outside at level p if it is in the ellipsoid of no component. 1 - p of the truth's own
points are (fewer where components overlap), at every level, so the curve of the control tells what
is normal. Just outside the 99 % ellipsoids is still the flank of a component: a generator that
makes each component a little too wide has mass there and none between the components. Outside
those of 1 - 10^-6 is no doubt left: more than 5.5 standard deviations from every component in
three dimensions.

No level is comparable over dimensions: the same excess width puts more points outside the more
dimensions there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2

from study.data.mixture import TrueMixture
from study.endpoints.fidelity import check_points

LEVELS = (0.9, 0.99, 0.999, 0.9999, 1 - 1e-6, 1 - 1e-9)
# Beyond every doubt.
BETWEEN_LEVEL = 1 - 1e-6


def outside_shares(
    points: Float64[np.ndarray, "samples features"],
    truth: TrueMixture,
    *,
    levels: Sequence[float] = LEVELS,
) -> Float64[np.ndarray, " levels"]:
    """Return the share of points outside every component's ellipsoid, level by level.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_features)
    truth : TrueMixture
    levels : sequence of float
        Between 0 and 1.

    Returns
    -------
    ndarray of shape (n_levels,)

    Raises
    ------
    ValueError
        If there is no point, one is not finite, or a level is not between 0 and 1.
    """
    bad = [level for level in levels if not 0 < level < 1]
    if bad:
        raise ValueError(f"levels must be between 0 and 1; got {bad[0]}")
    nearest_sq = truth.mahalanobis_sq(check_points(points, "points")).min(axis=1)
    # By the upper tail: a level of 1 - 1e-9 keeps its digits there.
    cuts = chi2.isf(1 - np.asarray(levels), truth.dim)
    return (nearest_sq[:, None] > cuts).mean(axis=0)


def outside_rows(sets: dict[str, np.ndarray], truth: TrueMixture) -> list[dict[str, Any]]:
    """Make the rows of `outside` of some point sets, without the trial's id.

    Parameters
    ----------
    sets : dict of str to ndarray of shape (n_samples, n_features)
        By source.
    truth : TrueMixture
    """
    return [
        {"source": source, "level": level, "outside": float(share)}
        for source, points in sets.items()
        for level, share in zip(LEVELS, outside_shares(points, truth), strict=True)
    ]


def between_mass(
    points: Float64[np.ndarray, "samples features"],
    control: Float64[np.ndarray, "control features"],
    truth: TrueMixture,
) -> float:
    """Return the share of points beyond every doubt outside, less that of the control.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_features)
    control : ndarray of shape (n_control, n_features)
        A draw of the truth.
    truth : TrueMixture

    Returns
    -------
    float
    """
    (share,), (normal,) = (
        outside_shares(each, truth, levels=(BETWEEN_LEVEL,)) for each in (points, control)
    )
    return float(share - normal)


def widened_truth_outside(level: float, *, dim: int, factor: float) -> float:
    """Return what the truth with wider components has outside, less what the truth has.

    In closed form for components that do not overlap; less where they do.

    Parameters
    ----------
    level : float
        Between 0 and 1.
    dim : int
        D.
    factor : float
        What every standard deviation is multiplied by.

    Returns
    -------
    float
        Share of points.

    Examples
    --------
    Half as wide again puts more outside the 99 % ellipsoids than most networks do:

    >>> round(widened_truth_outside(0.99, dim=3, factor=1.5), 3)
    0.159
    """
    cut = chi2.isf(1 - level, dim)
    return float(chi2.sf(cut / factor**2, dim) - (1 - level))
