"""Units in which a cloud of points has covariance one, whatever units it came in.

Symbols: n points x in D dimensions, d <= D of them kept; x = centre + A z, where the z have mean 0
and covariance 1 over the points that count. The fit of a mixture in z is that in x, and the
densities differ by the volume of A. A direction along which the points vary by no more than the
rounding of their numbers is null and left out: no density exists along it.

Covariances are those of all points but the far ones: a handful of points at a thousand times the
typical distance would otherwise decide what counts as thin. The axes of z are those of a second,
robust scatter in units of the first, signed by skewness (invariant coordinates): z is then the
same to rounding for A x + b, unless the cloud looks the same along two axes, and so is a search
on it.

References
----------
Tyler, Critchley, Dumbgen, Oja, "Invariant co-ordinate selection", JRSS-B 2009,
https://doi.org/10.1111/j.1467-9868.2009.00706.x
Kent, Tyler, "Redescending M-estimates of multivariate location and scatter", Annals of Statistics
1991, https://doi.org/10.1214/aos/1176348388
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]

# A spread of so many units in the last place is rounding: of a sum or a small matrix product.
ROUNDING_UNITS = 4.0
# ... and a standard deviation of so much less than the widest, in units of each axis, is, too.
ROUNDING_OF_AXES = 1e-13
# Points are far beyond so many typical (median) distances, if no more than this share of them is.
FAR = 20.0
MOST_FAR = 0.25
ROBUST_STEPS = 8
ROBUST_FLOOR = 1e-12


@dataclass(frozen=True, slots=True)
class Whitening:
    """The map from whitened coordinates to those of the points.

    Parameters
    ----------
    centre : ndarray, shape (D,)
    root : ndarray, shape (D, d)
        A: a whitened vector z is centre + A z.
    inverse : ndarray, shape (d, D)
        A left inverse of it.
    rest : ndarray, shape (D, D)
        Covariance (squared data units) along null directions: their rounding. Zero without any.
    log_volume : float
        Log of the volume (nats) of A's unit cube, within the kept directions.
    """

    centre: FloatArray
    root: FloatArray
    inverse: FloatArray
    rest: FloatArray
    log_volume: float

    @property
    def n_null(self) -> int:
        """Number of directions that are left out."""
        return self.root.shape[0] - self.root.shape[1]

    def to_white(self, points: FloatArray) -> FloatArray:
        """Return points (n, D) in whitened coordinates, shape (n, d)."""
        return np.ascontiguousarray((points - self.centre) @ self.inverse.T)


def find_whitening(points: FloatArray) -> Whitening:
    """Find the units of a cloud.

    Parameters
    ----------
    points : ndarray, shape (n, D)
        Finite. In a canonical order if the last digits must not depend on the order.

    Returns
    -------
    Whitening
        With d = 0 if all points are the same.
    """
    centre = points.mean(0)
    centre = centre + (points - centre).mean(0)
    gaps = points - centre
    rounding = _rounding(points)
    scale = _spread(gaps, rounding)
    scaled = np.where(np.abs(gaps).max(0) > rounding, gaps / scale, 0.0)
    values, vectors = _principal_axes(scaled)
    smallest = np.sqrt(np.square(rounding / scale) @ np.square(vectors))
    kept = values > np.maximum(smallest, ROUNDING_OF_AXES * values.max())
    steps, back = vectors[:, kept] * values[kept], vectors[:, kept] / values[kept]
    shift, turn = _canonical(scaled @ back)
    noise = scale[:, None] * vectors[:, ~kept] * np.maximum(smallest, values)[~kept]
    steps_turned = steps @ turn
    return Whitening(
        centre=centre + scale * (steps @ shift),
        root=scale[:, None] * steps_turned,
        inverse=np.linalg.solve(turn, back.T) / scale,
        rest=noise @ noise.T,
        log_volume=_log_volume(scale, steps_turned),
    )


def _rounding(points: FloatArray) -> FloatArray:
    """Return the rounding of each axis, shape (D,), for numbers of 32 bits if they are such."""
    with np.errstate(over="ignore"):
        narrow = np.array_equal(points.astype(np.float32), points)
    unit = float(np.finfo(np.float32 if narrow else np.float64).eps)
    reach = np.abs(points).max(0)
    # An axis of zeros is as exact as the others.
    reach = np.where(reach > 0.0, reach, reach.max() or 1.0)
    return ROUNDING_UNITS * unit * reach


def _spread(gaps: FloatArray, rounding: FloatArray) -> FloatArray:
    """Return the standard deviation of each axis, shape (D,); its rounding if that is more."""
    reach = np.maximum(np.abs(gaps).max(0), rounding)
    return np.maximum(reach * np.sqrt(np.square(gaps / reach).mean(0)), rounding)


def _principal_axes(scaled: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return standard deviations, shape (D,), along axes, shape (D, D), to full precision.

    A covariance matrix would lose half of the digits of the smallest.
    """
    n_samples, dim = scaled.shape
    _, singular, rows = np.linalg.svd(np.linalg.qr(scaled, mode="r"))
    values = np.zeros(dim)
    values[: len(singular)] = singular / np.sqrt(n_samples)
    return values, rows.T


def _log_volume(scale: FloatArray, steps: FloatArray) -> float:
    """Return the log volume of the unit cube's image under scale x steps."""
    used = np.abs(steps).max(1, initial=0.0) > ROUNDING_OF_AXES
    if used.sum() == steps.shape[1]:
        return float(np.log(scale[used]).sum() + np.linalg.slogdet(steps[used])[1])
    level = np.exp(np.log(scale[used]).mean())
    root = (scale / level)[used, None] * steps[used]
    root = root[np.argsort(-np.abs(root).max(1))]
    diagonal = np.abs(np.diag(np.linalg.qr(root, mode="r")))
    return float(np.log(diagonal).sum() + steps.shape[1] * np.log(level))


def _canonical(white: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return centre (d,) and root (d, d) of points that have covariance 1: far ones apart, axes.

    The points are then centre + root y.
    """
    dim = white.shape[1]
    shift, root = np.zeros(dim), np.eye(dim)
    if not dim:
        return shift, root
    location, scatter = _robust(white)
    near = _near(white - location, scatter)
    if not near.all():
        shift = white[near].mean(0)
        values, vectors = _principal_axes(white[near] - shift)
        if values[-1] <= ROUNDING_OF_AXES * values[0]:
            shift = np.zeros(dim)
        else:
            root = vectors * values
    # Axes of the robust scatter in units of the covariance.
    inner = np.linalg.solve(root, np.linalg.cholesky(scatter))
    _, vectors = np.linalg.eigh(inner @ inner.T)
    turned = (white - location) @ (np.linalg.inv(root).T @ vectors)
    weights = 1.0 / (1.0 + np.einsum("na,na->n", turned, turned))
    skewness = weights @ turned**3
    return shift, root @ (vectors * np.where(skewness < 0.0, -1.0, 1.0))


def _robust(white: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return location and scatter by steps of a multivariate Cauchy fit."""
    n_samples, dim = white.shape
    location, scatter = np.zeros(dim), np.eye(dim)
    for _ in range(ROBUST_STEPS):
        gaps = white - location
        weights = (1.0 + dim) / (1.0 + _distances_sq(gaps, scatter))
        location = weights @ white / weights.sum()
        renewed = (weights[:, None] * gaps).T @ (white - location) / n_samples
        renewed = 0.5 * (renewed + renewed.T)
        spread = np.linalg.eigvalsh(renewed)
        # More points in one place than a scatter allows: it shrinks to nothing.
        if not spread[0] > ROBUST_FLOOR * spread[-1]:
            break
        scatter = renewed
    return location, scatter


def _distances_sq(gaps: FloatArray, scatter: FloatArray) -> FloatArray:
    framed = gaps @ np.linalg.inv(np.linalg.cholesky(scatter)).T
    squares: FloatArray = np.einsum("na,na->n", framed, framed)
    return squares


def _near(gaps: FloatArray, scatter: FloatArray) -> NDArray[np.bool_]:
    """Return which points are not far from the rest."""
    distances = np.sqrt(_distances_sq(gaps, scatter))
    near: NDArray[np.bool_] = distances <= FAR * np.median(distances)
    return near if near.mean() >= 1.0 - MOST_FAR else np.ones(len(gaps), dtype=bool)
