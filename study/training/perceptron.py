"""Perceptrons of PyTorch for generators: seeded, fed in shuffled batches, kept as arrays.

All random numbers come from NumPy generators of the trial's streams; PyTorch's own generator
decides nothing. In a state layer i is `weight{i}` (n_out, n_in) and `bias{i}` (n_out,); `shift`
and `scale` (n_features,) take the network's units to those of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from study.training.network_shape import N_TIME_FEATURES

if TYPE_CHECKING:
    from study.training.generators import State

Arrays = dict[str, np.ndarray]


def make_perceptron(
    sizes: Sequence[int], rng: np.random.Generator, activation: Callable[[], nn.Module] = nn.SiLU
) -> nn.Sequential:
    """Make a perceptron with an activation between its layers.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output.
    rng : numpy.random.Generator
        Draws the initial weights.
    activation : callable
        Makes the module that follows each layer but the last.
    """
    parts: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        parts += [make_layer(n_in, n_out, rng), activation()]
    return nn.Sequential(*parts[:-1])


def make_layer(n_in: int, n_out: int, rng: np.random.Generator) -> nn.Linear:
    """Make a layer with weights and biases uniform within 1 / sqrt(n_in), PyTorch's default."""
    layer = nn.Linear(n_in, n_out)
    bound = n_in**-0.5
    with torch.no_grad():
        for part in (layer.weight, layer.bias):
            part.copy_(torch.from_numpy(rng.uniform(-bound, bound, tuple(part.shape))))
    return layer


def optimizer(network: nn.Module, learning_rate: float, beta1: float = 0.9) -> torch.optim.Adam:
    """Make Adam for a network."""
    return torch.optim.Adam(
        network.parameters(), lr=learning_rate, betas=(beta1, 0.999), fused=True
    )


def units_of(points: np.ndarray, standardize: bool) -> Arrays:
    """Return `shift` and `scale` of the units that a network sees.

    Raises
    ------
    ValueError
        Points to be standardized do not vary along some axis.
    """
    dim = points.shape[1]
    if not standardize:
        return {"shift": np.zeros(dim), "scale": np.ones(dim)}
    scale = points.std(axis=0)
    if not np.all(scale > 0):
        raise ValueError("standardize needs points that vary along every axis; one is constant")
    return {"shift": points.mean(axis=0), "scale": scale}


def as_tensor(values: np.ndarray) -> torch.Tensor:
    """Copy an array into a tensor of single precision."""
    return torch.tensor(values, dtype=torch.float32)


def draw_normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Draw standard normal numbers of single precision."""
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def shuffled_batches(
    points: torch.Tensor, batch_size: int, rng: np.random.Generator
) -> Iterator[torch.Tensor]:
    """Iterate over the points once, in a new order; the last, shorter batch is kept."""
    order = torch.from_numpy(rng.permutation(len(points)))
    yield from points[order].split(batch_size)


def time_features(times: torch.Tensor) -> torch.Tensor:
    """Return what a network is told of times in [0, 1]: shape (n, N_TIME_FEATURES)."""
    waves = times[:, None] * torch.pi * 2.0 ** torch.arange((N_TIME_FEATURES - 1) // 2)
    return torch.cat([times[:, None], waves.sin(), waves.cos()], dim=1)


def layers_of(network: nn.Module) -> Arrays:
    """Return weights and biases of a network's layers as arrays of a state."""
    layers = [part for part in network.modules() if isinstance(part, nn.Linear)]
    state: Arrays = {}
    for index, layer in enumerate(layers):
        state[f"weight{index}"] = layer.weight.detach().numpy().copy()
        state[f"bias{index}"] = layer.bias.detach().numpy().copy()
    return state


class Perceptron:
    """A trained perceptron of a state, to be applied.

    Parameters
    ----------
    state : mapping of str to ndarray
    activation : callable
        Between layers, as in training.

    Raises
    ------
    KeyError
        The state has no layer.
    """

    def __init__(
        self,
        state: State,
        activation: Callable[[torch.Tensor], torch.Tensor] = nn.functional.silu,
    ) -> None:
        n_layers = next(i for i in count() if f"weight{i}" not in state)
        names = [(f"weight{i}", f"bias{i}") for i in range(max(n_layers, 1))]
        self._layers = [(as_tensor(state[w]), as_tensor(state[b])) for w, b in names]
        self._activation = activation

    @torch.no_grad()
    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Return the output, shape (n, n_out)."""
        for weight, bias in self._layers[:-1]:
            values = self._activation(nn.functional.linear(values, weight, bias))
        return nn.functional.linear(values, *self._layers[-1])


def to_data_units(state: State, points: torch.Tensor) -> np.ndarray:
    """Take points of a network to the units of the data."""
    return np.asarray(state["shift"] + state["scale"] * points.double().numpy())


def n_features(state: State) -> int:
    """Return D of a state."""
    return len(state["shift"])
