"""A trained decoder in double precision: its means, and how they move with the latents.

Symbols: f(z) decoder mean of the latents z, J its Jacobian, D features, q latent coordinates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

from study.training.fitted import FittedVAE
from study.training.vae import ACTIVATIONS

# Rows computed at once: the widest layer's outputs stay in a core's cache.
CHUNK_ROWS = 1_024


class Decoder:
    """The decoder of one model.

    The weights were trained in single precision; with them as they are, everything that follows
    is computed in double precision, so that small decoder variances lose no digits.

    Parameters
    ----------
    fitted : FittedVAE
        A stack of one.
    """

    def __init__(self, fitted: FittedVAE) -> None:
        # Copies are aligned: products round by the address of their operands.
        self._layers = [
            (layer.weight[0].double().cpu().clone(), layer.bias[0].double().cpu().clone())
            for layer in fitted.vae.parameters.decoder
        ]
        self._activation = ACTIVATIONS[fitted.vae.model.activation]

    def __call__(
        self, latents: Float64[Tensor, "samples latent"]
    ) -> Float64[Tensor, "samples features"]:
        """Return the decoder's means of latents.

        Parameters
        ----------
        latents : Tensor of shape (n_samples, latent_dim)

        Returns
        -------
        Tensor of shape (n_samples, n_features)
        """
        return torch.cat([self._decode(rows) for rows in latents.split(CHUNK_ROWS)])

    def linearize(
        self, latents: Float64[Tensor, "samples latent"]
    ) -> tuple[Float64[Tensor, "samples features"], Float64[Tensor, "samples features latent"]]:
        """Return the decoder's means and their derivatives by the latents.

        Parameters
        ----------
        latents : Tensor of shape (n_samples, latent_dim)

        Returns
        -------
        means : Tensor of shape (n_samples, n_features)
        jacobian : Tensor of shape (n_samples, n_features, latent_dim)
        """
        n_rows = max(
            1, CHUNK_ROWS // min(self._layers[0][0].shape[0], self._layers[-1][0].shape[1])
        )
        parts = [self._linearize(rows) for rows in latents.split(n_rows)]
        means, jacobians = zip(*parts, strict=True)
        return torch.cat(means), torch.cat(jacobians)

    def _decode(self, values: Tensor) -> Tensor:
        *hidden, (weight, bias) = self._layers
        for hidden_weight, hidden_bias in hidden:
            values = self._activation(torch.addmm(hidden_bias, values, hidden_weight))
        return torch.addmm(bias, values, weight)

    def _linearize(self, values: Tensor) -> tuple[Tensor, Tensor]:
        *hidden, (weight, bias) = self._layers
        slopes = []
        for hidden_weight, hidden_bias in hidden:
            inputs = torch.addmm(hidden_bias, values, hidden_weight)
            values, slope = value_and_slope(self._activation, inputs)
            slopes.append(slope)
        weights = [layer_weight for layer_weight, _ in self._layers]
        return torch.addmm(bias, values, weight), _chain(weights, slopes, len(values))


def value_and_slope(
    activation: Callable[[Tensor], Tensor], inputs: Tensor
) -> tuple[Tensor, Tensor]:
    """Return an activation and its derivative, element by element."""
    with torch.enable_grad():
        leaf = inputs.detach().requires_grad_()
        values = activation(leaf)
        (slope,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), slope


def _chain(weights: list[Tensor], slopes: list[Tensor], n_rows: int) -> Tensor:
    """Multiply the layers' derivatives from the end with fewer rows: latents or features."""
    n_latents, n_features = weights[0].shape[0], weights[-1].shape[1]
    if n_latents <= n_features:
        product = weights[0].expand(n_rows, *weights[0].shape)
        for weight, slope in zip(weights[1:], slopes, strict=True):
            product = (product * slope[:, None]) @ weight
        return product.transpose(1, 2)
    last = weights[-1].T
    product = last.expand(n_rows, *last.shape)
    for weight, slope in zip(weights[-2::-1], slopes[::-1], strict=True):
        product = (product * slope[:, None]) @ weight.T
    return product
