"""Gaussians to draw the latents of points from, a batch of points at a time.

Symbols: q latent coordinates. Tensors are in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

LOG_2PI = float(np.log(2 * np.pi))


def sum_of_squares(values: Tensor) -> Tensor:
    """Sum squares over the last axis; products are much faster than sums of a few numbers."""
    return values.square() @ torch.ones(values.shape[-1], dtype=values.dtype)


class Proposal(Protocol):
    """A Gaussian of latents for each point."""

    def draw(self, noise: Tensor) -> Tensor:
        """Turn standard normal numbers of shape (n_points, n_draws, q) into latents."""

    def log_prob(self, latents: Tensor) -> Tensor:
        """Return the log density of latents of shape (n_points, n_draws, q)."""

    def select(self, rows: Tensor) -> Proposal:
        """Keep some points."""


@dataclass(frozen=True, slots=True)
class Diagonal:
    """Independent coordinates.

    Parameters
    ----------
    mean, deviation : Tensor of shape (n_points, latent_dim)
    """

    mean: Float64[Tensor, "points latent"]
    deviation: Float64[Tensor, "points latent"]

    def draw(self, noise: Tensor) -> Tensor:
        """Return mean + deviation x noise."""
        return self.mean[:, None] + self.deviation[:, None] * noise

    def log_prob(self, latents: Tensor) -> Tensor:
        """Return log densities, of shape (n_points, n_draws)."""
        scaled = (latents - self.mean[:, None]) / self.deviation[:, None]
        return -sum_of_squares(scaled) / 2 - self._log_scale[:, None]

    @property
    def _log_scale(self) -> Tensor:
        return self.deviation.log().sum(dim=1) + self.mean.shape[1] / 2 * LOG_2PI

    def select(self, rows: Tensor) -> Diagonal:
        """Keep some points."""
        return Diagonal(self.mean[rows], self.deviation[rows])


@dataclass(frozen=True, slots=True)
class Local:
    """Gaussians of precision (I + V diag(gain) V') / width^2, with V of orthonormal columns.

    Parameters
    ----------
    mean : Tensor of shape (n_points, latent_dim)
    axes : Tensor of shape (n_points, latent_dim, n_axes)
        V. A column of zeros stands for a direction of gain 0.
    gain : Tensor of shape (n_points, n_axes)
    width : float
    """

    mean: Float64[Tensor, "points latent"]
    axes: Float64[Tensor, "points latent axes"]
    gain: Float64[Tensor, "points axes"]
    width: float = 1.0

    def draw(self, noise: Tensor) -> Tensor:
        """Return mean + width x the root of the inverse precision x noise."""
        shrink = (1 + self.gain).rsqrt() - 1
        along = noise @ self.axes * shrink[:, None]
        return self.mean[:, None] + self.width * (noise + along @ self.axes.transpose(1, 2))

    def distance_sq(self, latents: Tensor) -> Tensor:
        """Return squared Mahalanobis distances of latents, of shape (n_points, n_draws)."""
        offset = latents - self.mean[:, None]
        scaled = offset @ (self.axes * self.gain.sqrt()[:, None])
        return (sum_of_squares(offset) + sum_of_squares(scaled)) / self.width**2

    def log_prob(self, latents: Tensor) -> Tensor:
        """Return log densities, of shape (n_points, n_draws)."""
        n_latents = self.mean.shape[1]
        log_scale = n_latents * (LOG_2PI / 2 + np.log(self.width)) - self.log_shrinkage
        return -self.distance_sq(latents) / 2 - log_scale[:, None]

    def solve(self, slope: Float64[Tensor, "points latent"]) -> Float64[Tensor, "points latent"]:
        """Return the inverse precision, at width 1, times a vector of each point."""
        along = (slope[:, None] @ self.axes)[:, 0] * self.gain / (1 + self.gain)
        return slope - (self.axes @ along[:, :, None])[:, :, 0]

    @property
    def log_shrinkage(self) -> Float64[Tensor, " points"]:
        """Half the log determinant of I + V diag(gain) V'."""
        return torch.log1p(self.gain).sum(dim=1) / 2

    def select(self, rows: Tensor) -> Local:
        """Keep some points."""
        return Local(self.mean[rows], self.axes[rows], self.gain[rows], self.width)

    def widened(self, width: float) -> Local:
        """Return the same with standard deviations times width."""
        return Local(self.mean, self.axes, self.gain, self.width * width)
