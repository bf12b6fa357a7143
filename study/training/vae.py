"""Stacks of variational autoencoders: every tensor has a leading models axis.

Symbols: M models, n samples, D features, q latent coordinates. The encoder maps a point x to the
mean mu and log variance of q(z|x); the decoder maps z to the mean f(z) of p(x|z). A layer computes
``inputs @ weight + bias`` with weights stored as (models, inputs, outputs).

All parameters of a stack live in one tensor, a row for each model. Every parameter begins at a
multiple of `layout.ALIGNMENT` numbers: matrix products round by the address of their operands, so
a model's must not depend on its place in the stack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from study.config import Activation, ModelConfig
from study.data.seeds import torch_generator
from study.training.layout import LOG_VARIANCE, padded, padded_size, parameter_shapes

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "elu": functional.elu,
    "softplus": functional.softplus,
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One affine layer of every model in the stack.

    Parameters
    ----------
    weight : Tensor of shape (n_models, n_inputs, n_outputs)
    bias : Tensor of shape (n_models, 1, n_outputs)
    """

    weight: Float32[Tensor, "models inputs outputs"]
    bias: Float32[Tensor, "models 1 outputs"]


class ParameterStack:
    """The numbers of a stack's parameters (or of their gradients) in one tensor.

    Parameters
    ----------
    model : ModelConfig
    dim : int
        Features of a point.
    flat : Tensor of shape (n_models, n_numbers)
        Storage, as `zero_parameters` makes it.

    Attributes
    ----------
    flat : Tensor of shape (n_models, n_numbers)
        All numbers, padding included.
    views : dict of str to Tensor of shape (n_models, ...)
        Each parameter in its own shape, without the padding.
    encoder, decoder : list of Layer
        The same views, by layer. The last encoder layer gives mu and log variance side by side.
    """

    def __init__(self, model: ModelConfig, *, dim: int, flat: Tensor) -> None:
        self.flat = flat
        self.views: dict[str, Tensor] = {}
        start = 0
        for name, shape in parameter_shapes(model, dim).items():
            self.views[name] = flat[:, start : start + prod(shape)].unflatten(1, shape)
            start += padded(prod(shape))
        depth = len(model.hidden) + 1
        self.encoder = [self._layer("encoder", index) for index in range(depth)]
        self.decoder = [self._layer("decoder", index) for index in range(depth)]

    def _layer(self, part: str, index: int) -> Layer:
        return Layer(self.views[f"{part}.{index}.weight"], self.views[f"{part}.{index}.bias"])


def zero_parameters(
    model: ModelConfig, *, n_models: int, dim: int, device: torch.device | str = "cpu"
) -> ParameterStack:
    """Return a stack of parameters that are all 0.

    Parameters
    ----------
    model : ModelConfig
    n_models : int
    dim : int
        Features of a point.
    device : torch.device or str

    Returns
    -------
    ParameterStack
    """
    flat = torch.zeros(n_models, padded_size(model, dim), device=device)
    return ParameterStack(model, dim=dim, flat=flat)


class StackedVAE:
    """Variational autoencoders of one shape, computed together.

    Parameters
    ----------
    model : ModelConfig
    n_models : int
    dim : int
        Features of a point.
    device : torch.device or str

    Attributes
    ----------
    parameters : ParameterStack
        Zero until `initialize` or `load_states`.
    """

    def __init__(
        self, model: ModelConfig, *, n_models: int, dim: int, device: torch.device | str = "cpu"
    ) -> None:
        self.model = model
        self.dim = dim
        self.parameters = zero_parameters(model, n_models=n_models, dim=dim, device=device)

    @property
    def n_models(self) -> int:
        """Models in the stack."""
        return len(self.parameters.flat)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.parameters.flat.device

    def part(self, start: int, stop: int) -> StackedVAE:
        """Return some neighbours as a stack that shares their memory.

        Parameters
        ----------
        start, stop : int
            Positions in the stack.

        Returns
        -------
        StackedVAE
        """
        part = copy(self)
        flat = self.parameters.flat[start:stop]
        part.parameters = ParameterStack(self.model, dim=self.dim, flat=flat)
        return part

    def initialize(self, seeds: Sequence[tuple[int, int]]) -> None:
        """Draw the weights of each model from its own stream, by the law of torch.nn.Linear.

        Parameters
        ----------
        seeds : sequence of (data_seed, init_seed)
            One pair a model. The numbers do not depend on the device.
        """
        for index, pair in enumerate(seeds):
            generator = torch_generator("init", *pair)
            for layer in (*self.parameters.encoder, *self.parameters.decoder):
                bound = layer.weight.shape[1] ** -0.5
                for target in (layer.weight[index], layer.bias[index]):
                    draw = torch.empty(target.shape).uniform_(-bound, bound, generator=generator)
                    target.copy_(draw)

    def encode(
        self, points: Float32[Tensor, "models samples features"]
    ) -> tuple[Float32[Tensor, "models samples latent"], Float32[Tensor, "models samples latent"]]:
        """Return mean and log variance of q(z|x).

        Parameters
        ----------
        points : Tensor of shape (n_models, n_samples, n_features)

        Returns
        -------
        mu, log_variance : Tensor of shape (n_models, n_samples, latent_dim)
        """
        heads = self._forward(self.parameters.encoder, points)
        mu, log_variance = heads.split(self.model.latent_dim, dim=-1)
        return mu, log_variance

    def decode(
        self, latents: Float32[Tensor, "models samples latent"]
    ) -> Float32[Tensor, "models samples features"]:
        """Return the mean of p(x|z).

        Parameters
        ----------
        latents : Tensor of shape (n_models, n_samples, latent_dim)

        Returns
        -------
        Tensor of shape (n_models, n_samples, n_features)
        """
        return self._forward(self.parameters.decoder, latents)

    def decoder_variances(self, kl_weights: Float[Tensor, " models"]) -> Float[Tensor, " models"]:
        """Return each model's decoder variance, in the units that the network trains in.

        Parameters
        ----------
        kl_weights : Tensor of shape (n_models,)
            beta of each model.

        Returns
        -------
        Tensor of shape (n_models,)
            beta / 2 if implied by the squared error, else the learned one.
        """
        if self.model.decoder_variance == "implied":
            return kl_weights / 2
        return self.parameters.views[LOG_VARIANCE].view(-1).to(kl_weights.dtype).exp()

    def state(self, index: int) -> dict[str, np.ndarray]:
        """Return a copy of one model's parameters.

        Parameters
        ----------
        index : int
            Position in the stack.

        Returns
        -------
        dict of str to ndarray
            Named and shaped as `parameter_shapes` says.
        """
        views = self.parameters.views.items()
        return {name: view[index].detach().cpu().numpy().copy() for name, view in views}

    def load_states(self, states: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Overwrite the parameters of every model.

        Parameters
        ----------
        states : sequence of mapping of str to ndarray
            One for each model, as `state` returns; other keys are ignored.

        Raises
        ------
        ValueError
            If the number of states, a name or a shape is not this stack's.
        """
        if len(states) != self.n_models:
            raise ValueError(f"states must hold {self.n_models} models; got {len(states)}")
        for index, state in enumerate(states):
            for name, view in self.parameters.views.items():
                found = np.shape(state[name]) if name in state else None
                if found != tuple(view.shape[1:]):
                    raise ValueError(
                        f"states[{index}][{name!r}] must have shape {tuple(view.shape[1:])} "
                        f"for {self.model}; got {found}"
                    )
                view[index].copy_(torch.as_tensor(np.array(state[name])))

    def _forward(self, layers: Sequence[Layer], values: Tensor) -> Tensor:
        activation = ACTIVATIONS[self.model.activation]
        for layer in layers[:-1]:
            values = activation(torch.baddbmm(layer.bias, values, layer.weight))
        return torch.baddbmm(layers[-1].bias, values, layers[-1].weight)
