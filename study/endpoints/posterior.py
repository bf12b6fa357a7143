"""Where the latents of a point may be: the joint density of one decoder, and climbs on it.

Symbols: x a point, z latents, f(z) decoder mean, J its Jacobian, sigma^2 decoder variance, D
features, q latent coordinates. Near a latent z the decoder is f(z) + J (z' - z), and the posterior
of z' then a Gaussian of precision I + J'J / sigma^2: that of the prior, and of what the point says
along at most min(q, D) directions.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from study.endpoints.decoder import Decoder
from study.endpoints.proposals import LOG_2PI, Local, sum_of_squares

# Gauss-Newton steps of a climb, and the sizes that are tried of each.
N_STEPS = 2
STEP_SIZES = (1.0, 0.4)
# Squared distance from which a start is in another place than one before it.
OTHER_PLACE_SQ = 10.0
# Eigenvalues below this share of the largest are directions in which the decoder is flat.
_FLAT = 1e-12


class Joint:
    """log p(x, z) of one decoder, and Gaussians that are like it near a latent.

    Parameters
    ----------
    decoder : Decoder
    variance : float
        sigma^2.
    """

    def __init__(self, decoder: Decoder, variance: float) -> None:
        self.decoder = decoder
        self.variance = variance

    def log_prob(
        self,
        points: Float64[Tensor, "points features"],
        latents: Float64[Tensor, "points draws latent"],
    ) -> Float64[Tensor, "points draws"]:
        """Return log p(x, z) of each point with latents of its own.

        Parameters
        ----------
        points : Tensor of shape (n_points, n_features)
        latents : Tensor of shape (n_points, n_draws, latent_dim)

        Returns
        -------
        Tensor of shape (n_points, n_draws)
            In nats.
        """
        means = self.decoder(latents.flatten(0, 1)).view(*latents.shape[:2], -1)
        return self._of_residuals(means - points[:, None], latents)

    def _of_residuals(self, residuals: Tensor, latents: Tensor) -> Tensor:
        constant = residuals.shape[-1] * np.log(2 * np.pi * self.variance)
        constant += latents.shape[-1] * LOG_2PI
        error_sq = sum_of_squares(residuals)
        return -(error_sq / self.variance + sum_of_squares(latents) + constant) / 2

    def places(
        self, latents: Float64[Tensor, "samples latent"]
    ) -> Float64[Tensor, "samples coordinates"]:
        """Return (z, f(z) / sigma): their distances are those of the local Gaussians."""
        return torch.cat([latents, self.decoder(latents) / self.variance**0.5], dim=1)

    def curvature(
        self, jacobian: Float64[Tensor, "points features latent"]
    ) -> tuple[Float64[Tensor, "points latent axes"], Float64[Tensor, "points axes"]]:
        """Return axes and gains of J'J / sigma^2, by the smaller of J'J and JJ'.

        Parameters
        ----------
        jacobian : Tensor of shape (n_points, n_features, latent_dim)

        Returns
        -------
        axes : Tensor of shape (n_points, latent_dim, n_axes)
            Orthonormal; a column of zeros where the gain is 0.
        gain : Tensor of shape (n_points, n_axes)
            At least 0; n_axes is the smaller of latent_dim and n_features.
        """
        scaled = jacobian / self.variance**0.5
        if scaled.shape[2] <= scaled.shape[1]:
            gain, axes = torch.linalg.eigh(scaled.transpose(1, 2) @ scaled)
            return axes, gain.clamp(min=0)
        gain, left = torch.linalg.eigh(scaled @ scaled.transpose(1, 2))
        gain = torch.where(gain > _FLAT * gain[:, -1:], gain, 0.0)
        lengths = torch.where(gain > 0, gain.rsqrt(), 0.0)
        return scaled.transpose(1, 2) @ left * lengths[:, None], gain

    def climb(
        self, points: Float64[Tensor, "points features"], latents: Float64[Tensor, "points latent"]
    ) -> tuple[Local, Float64[Tensor, " points"]]:
        """Go uphill from a latent of each point by Gauss-Newton steps that never go down.

        Parameters
        ----------
        points : Tensor of shape (n_points, n_features)
        latents : Tensor of shape (n_points, latent_dim)

        Returns
        -------
        Local
            The Gaussian like the posterior at the end of the climb.
        Tensor of shape (n_points,)
            Log integral of p(x, z) over z if the decoder were everywhere as it is there.
        """
        local, height, slope = self.expand(points, latents)
        for _ in range(N_STEPS):
            step = local.solve(slope)
            tried = torch.stack([local.mean + size * step for size in STEP_SIZES], dim=1)
            best, choice = self.log_prob(points, tried).max(dim=1)
            rows = torch.arange(len(points))
            better = (best > height)[:, None]
            latents = torch.where(better, tried[rows, choice], local.mean)
            local, height, slope = self.expand(points, latents)
        n_latents = latents.shape[1]
        return local, height + n_latents / 2 * LOG_2PI - local.log_shrinkage

    def expand(
        self, points: Float64[Tensor, "points features"], latents: Float64[Tensor, "points latent"]
    ) -> tuple[Local, Float64[Tensor, " points"], Float64[Tensor, "points latent"]]:
        """Return the local Gaussian at latents, and value and slope of log p(x, z) there."""
        means, jacobian = self.decoder.linearize(latents)
        residuals = points - means
        height = self._of_residuals(residuals, latents)
        slope = (residuals[:, None] @ jacobian)[:, 0] / self.variance - latents
        return Local(latents, *self.curvature(jacobian)), height, slope


class Bank:
    """Latents decoded once for all points, to find those that lie near a point.

    Parameters
    ----------
    joint : Joint
    latents : Tensor of shape (n_bank, latent_dim)
    """

    def __init__(self, joint: Joint, latents: Float64[Tensor, "bank latent"]) -> None:
        self._latents = latents
        self._deviation = joint.variance**0.5
        self._places = joint.places(latents)
        self._norms = sum_of_squares(self._places) / 2

    def starts(
        self, points: Float64[Tensor, "points features"], n_starts: int
    ) -> list[Float64[Tensor, "points latent"]]:
        """Return the likeliest latents of each point, each in another place than those before it.

        Parameters
        ----------
        points : Tensor of shape (n_points, n_features)
        n_starts : int

        Returns
        -------
        list of Tensor of shape (n_points, latent_dim)
        """
        n_latents = self._latents.shape[1]
        heights = points @ self._places[:, n_latents:].T / self._deviation - self._norms
        chosen = []
        for start in range(n_starts):
            best = heights.argmax(dim=1)
            chosen.append(self._latents[best])
            if start + 1 < n_starts:
                # Half the squared distance from the chosen place.
                apart = self._norms - self._places[best] @ self._places.T
                near = apart + self._norms[best][:, None] < OTHER_PLACE_SQ / 2
                heights = torch.where(near, -torch.inf, heights)
        return chosen
