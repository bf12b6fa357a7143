"""A generative adversarial network, with packing: a critic that sees several points at once.

A critic of m points at a time (PacGAN) sees whether they are as different from one another as
real ones. The generator maximises log c(fake), the critic log c(real) + log (1 - c(fake)).

References
----------
Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, https://arxiv.org/abs/1406.2661
Lin, Khetan, Fanti, Oh, "PacGAN: The Power of Two Samples in Generative Adversarial Networks",
NeurIPS 2018, https://arxiv.org/abs/1712.04086: packing; batch norm, maxout and beta1 as there.
"""

from __future__ import annotations

from collections.abc import Generator as Iterating
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval, Len

from study.training.generators import Generator, Seeds
from study.training.network_shape import (
    Widths,
    n_parameters,
    sampling_gflop,
    training_gflop,
    widths_column,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from study.config import TrainingConfig
    from study.training.generators import State

_N_STATISTICS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GANOptions:
    """Settings of `gan`.

    Parameters
    ----------
    latent_dim : int
        Coordinates of the standard normal that the generator starts from.
    hidden : tuple of int
        Widths of the generator's hidden layers: rectified, after batch norm.
    critic_hidden : tuple of int
        Widths of the critic's hidden layers.
    maxout : int
        Linear pieces of each unit of the critic, of which the largest counts; with 1 a leaky
        rectifier in their place.
    packing : int
        m, points that the critic sees at once; 1 is a GAN without packing.
    beta1 : float
        Adam's decay of the mean gradient.
    """

    latent_dim: Annotated[int, Interval(ge=1, le=1024)] = 2
    hidden: Annotated[Widths, Len(1, 16), widths_column("gan")] = (128, 128)
    critic_hidden: Annotated[Widths, Len(1, 16), widths_column("gan", "critic_hidden")] = (64, 64)
    maxout: Annotated[int, Interval(ge=1, le=32)] = 5
    packing: Annotated[int, Interval(ge=1, le=64)] = 1
    beta1: Annotated[float, Interval(ge=0, le=0.999)] = 0.8


class _GAN(Generator):
    """A generator trained against a critic, both perceptrons."""

    Options = GANOptions
    reads = ("epochs", "batch_size", "learning_rate", "standardize")

    def fit(
        self, points: np.ndarray, seeds: Seeds, options: GANOptions, training: TrainingConfig
    ) -> Iterating[float, None, State]:
        """Train both; a loss is the critic's, 2 log 2 where it cannot tell at all."""
        import torch

        from study.training import perceptron as nets

        units = nets.units_of(points, training.standardize)
        data = nets.as_tensor((points - units["shift"]) / units["scale"])
        init, order, rng = seeds.rng("init"), seeds.rng("shuffle"), seeds.rng("noise")
        generator = _make_generator(_sizes(options, data.shape[1]), init)
        critic = _make_critic(options, data.shape[1], init)
        critic_adam, generator_adam = (
            nets.optimizer(network, training.learning_rate, options.beta1)
            for network in (critic, generator)
        )
        for _ in range(training.epochs):
            total = 0.0
            # A pack has points of as many orders, so that an epoch has as many steps as without.
            orders = [
                nets.shuffled_batches(data, training.batch_size, order)
                for _ in range(options.packing)
            ]
            for pack in zip(*orders, strict=True):
                real = torch.cat(pack, dim=1)
                # Batch norm needs two points.
                n_fakes = max(options.packing * len(real), 2)
                latents = nets.draw_normal(rng, n_fakes, options.latent_dim)
                fake = generator(latents)[: options.packing * len(real)].reshape(real.shape)
                loss = _loss(critic, real, fake.detach())
                _descend(critic_adam, loss)
                _descend(generator_adam, torch.nn.functional.softplus(-critic(fake)).mean())
                total += len(real) * loss.item()
            yield total / len(data)
        return {**_folded_layers(generator, rng, options.latent_dim), **units}

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw latent points and generate from them."""
        import torch

        from study.training import perceptron as nets

        network = nets.Perceptron(state, torch.relu)
        latents = nets.draw_normal(rng, n_samples, state["weight0"].shape[1])
        return nets.to_data_units(state, network(latents))

    def n_weights(self, options: GANOptions, dim: int) -> int:
        """Count the generator's weights; the critic is not kept."""
        return n_parameters(_sizes(options, dim))

    def gflop(
        self, options: GANOptions, training: TrainingConfig, dim: int, n_samples: int
    ) -> float:
        """Estimate training, twice through the critic, and sampling."""
        size = n_parameters(_sizes(options, dim))
        critic = n_parameters([dim * options.packing, *options.critic_hidden, 1]) * options.maxout
        trained = training_gflop(options.packing * size + 2 * critic, training, n_samples)
        return 2 * trained + sampling_gflop(size, 1)


def _sizes(options: GANOptions, dim: int) -> list[int]:
    return [options.latent_dim, *options.hidden, dim]


def _make_generator(sizes: list[int], rng: np.random.Generator) -> nn.Sequential:
    from itertools import pairwise

    from torch import nn

    from study.training.perceptron import make_layer

    parts: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        parts += [make_layer(n_in, n_out, rng), nn.BatchNorm1d(n_out), nn.ReLU()]
    return nn.Sequential(*parts, make_layer(sizes[-2], sizes[-1], rng))


def _make_critic(options: GANOptions, dim: int, rng: np.random.Generator) -> nn.Sequential:
    from torch import nn

    from study.training.perceptron import make_layer

    parts: list[nn.Module] = []
    width = dim * options.packing
    for n_out in options.critic_hidden:
        parts.append(make_layer(width, n_out * options.maxout, rng))
        # The pieces of a unit are neighbours.
        is_maxout = options.maxout > 1
        parts.append(nn.MaxPool1d(options.maxout) if is_maxout else nn.LeakyReLU(0.2))
        width = n_out
    return nn.Sequential(*parts, make_layer(width, 1, rng))


def _loss(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import softplus

    return softplus(-critic(real)).mean() + softplus(critic(fake)).mean()


def _descend(adam: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def _folded_layers(
    generator: nn.Sequential, rng: np.random.Generator, latent_dim: int
) -> dict[str, np.ndarray]:
    """Return the generator's layers with batch norm as part of them.

    Its means and variances are those of many latent points, not of the last batches.
    """
    import torch
    from torch import nn

    from study.training.perceptron import draw_normal, layers_of

    norms = [part for part in generator if isinstance(part, nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        generator(draw_normal(rng, _N_STATISTICS, latent_dim))
    state = layers_of(generator)
    for index, norm in enumerate(norms):
        assert norm.running_var is not None, "it keeps statistics"
        assert norm.running_mean is not None, "it keeps statistics"
        factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy()
        mean, bias = norm.running_mean.numpy(), norm.bias.detach().numpy()
        state[f"weight{index}"] *= factor[:, None]
        state[f"bias{index}"] = factor * (state[f"bias{index}"] - mean) + bias
    return state


GAN = _GAN()
