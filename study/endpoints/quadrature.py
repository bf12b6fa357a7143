"""The log density of points under a decoder with one latent coordinate, by quadrature.

Symbols: z latent, f(z) decoder mean, sigma^2 decoder variance. The curve f is replaced by a chain
of straight pieces, as fine as it must be for the chain to lie within a fraction of sigma of the
curve; the integral of exp(-z^2 / 2 - |x - f(z)|^2 / (2 sigma^2)) over a piece is then a
difference of normal distribution functions, however narrow the noise. Rectified networks are such
chains already.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from scipy.special import erf, erfcx, logsumexp

from study.endpoints.decoder import Decoder

# Latents beyond are worth less than exp(-500,000).
LIMIT = 1_000.0
# Distance of curve and chain at which a piece is halved, in standard deviations of the noise.
TOLERANCE = 1e-4
MIN_PIECE = 1e-9
MAX_PIECES = 200_000
# Pieces whose integrand stays so many nats below the point's largest add nothing.
NEGLIGIBLE_NATS = 40.0
_PAIRS_AT_ONCE = 2_000_000


def quadrature_log_prob(
    decoder: Decoder, points: Float64[np.ndarray, "samples features"], variance: float
) -> Float64[np.ndarray, " samples"]:
    """Integrate over the latent coordinate, for each point.

    Parameters
    ----------
    decoder : Decoder
        With one latent coordinate.
    points : ndarray of shape (n_samples, n_features)
        In the network's units.
    variance : float
        sigma^2.

    Returns
    -------
    ndarray of shape (n_samples,)
        Log densities in nats, in the network's units.
    """
    nodes, means = chain(decoder, np.sqrt(variance))
    size = max(1, _PAIRS_AT_ONCE // len(nodes))
    parts = [
        _log_integrals(points[start : start + size], nodes, means, variance)
        for start in range(0, len(points), size)
    ]
    constant = np.log(2 * np.pi) + points.shape[1] * np.log(2 * np.pi * variance)
    return np.concatenate(parts) - constant / 2


def chain(decoder: Decoder, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Return latents, and the curve there, between which the curve is straight enough.

    Parameters
    ----------
    decoder : Decoder
        With one latent coordinate.
    noise : float
        Standard deviation of the decoder's noise.

    Returns
    -------
    nodes : ndarray of shape (n_nodes,)
        Increasing, from -`LIMIT` to `LIMIT`.
    means : ndarray of shape (n_nodes, n_features)
    """
    outer = np.geomspace(8, LIMIT, 200)[1:]
    nodes = np.concatenate([-outer[::-1], np.linspace(-8, 8, 1_025), outer])
    means = _decode(decoder, nodes)
    open_pieces = np.arange(len(nodes) - 1)
    while open_pieces.size and len(nodes) < MAX_PIECES:
        left, right = open_pieces, open_pieces + 1
        # Off the middle, so that two bends do not hide each other.
        middle = 0.45 * nodes[left] + 0.55 * nodes[right]
        curve = _decode(decoder, middle)
        straight = 0.45 * means[left] + 0.55 * means[right]
        bent = np.linalg.norm(curve - straight, axis=1) > TOLERANCE * noise
        bent &= nodes[right] - nodes[left] > MIN_PIECE
        at = right[bent]
        nodes = np.insert(nodes, at, middle[bent])
        means = np.insert(means, at, curve[bent], axis=0)
        first = left[bent] + np.arange(bent.sum())
        open_pieces = np.sort(np.concatenate([first, first + 1]))
    return nodes, means


def _decode(decoder: Decoder, nodes: np.ndarray) -> np.ndarray:
    return decoder(torch.tensor(nodes[:, None])).numpy()


def _log_integrals(
    points: np.ndarray, nodes: np.ndarray, means: np.ndarray, variance: float
) -> np.ndarray:
    """Sum the pieces' integrals: exp(start + slope t - curvature t^2 / 2) for t in [0, length]."""
    length, steps = np.diff(nodes), np.diff(means, axis=0)
    directions = steps / length[:, None]
    curvature = 1 + np.square(directions).sum(axis=1) / variance
    centre = means.mean(axis=0)
    points, means = points - centre, means[:-1] - centre
    squares = np.square(points).sum(axis=1)[:, None] + np.square(means).sum(axis=1)
    distance_sq = np.maximum(squares - 2 * points @ means.T, 0)
    start = -0.5 * (nodes[:-1] ** 2 + distance_sq / variance)
    along = points @ directions.T - (means * directions).sum(axis=1)
    slope = along / variance - nodes[:-1]
    best = np.clip(slope / curvature, 0, length)
    highest = start + slope * best - 0.5 * curvature * best**2
    row, piece = np.nonzero(highest > highest.max(axis=1, keepdims=True) - NEGLIGIBLE_NATS)
    parts = np.full(start.shape, -np.inf)
    parts[row, piece] = _log_piece(
        start[row, piece], slope[row, piece], curvature[piece], length[piece]
    )
    return logsumexp(parts, axis=1)


def _log_piece(
    start: np.ndarray, slope: np.ndarray, curvature: np.ndarray, length: np.ndarray
) -> np.ndarray:
    """Integrate over [0, length]; from the end where the integrand is larger."""
    falls_back = slope > curvature * length / 2
    end = start + slope * length - 0.5 * curvature * length**2
    start = np.where(falls_back, end, start)
    slope = np.where(falls_back, curvature * length - slope, slope)
    root = np.sqrt(curvature / 2)
    low, high = -slope / curvature * root, (length - slope / curvature) * root
    # Short pieces lose every digit in a difference.
    short = root * length * np.maximum(1, np.abs(low) + np.abs(high)) < 1e-5
    middle = start + slope * length / 2 - curvature * length**2 / 8 + np.log(length)
    inside = low <= 0
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        # The integrand falls from the start on: exp(low^2) (erf(high) - erf(low)).
        fall = np.exp(low**2 - high**2)
        falling = start + np.log(erfcx(np.maximum(low, 0)) - fall * erfcx(np.maximum(high, 0)))
        peak = start + low**2 + np.log(erf(high) - erf(low))
    area = np.where(inside, peak, falling) + np.log(np.sqrt(np.pi) / 2 / root)
    return np.where(short, middle, area)
