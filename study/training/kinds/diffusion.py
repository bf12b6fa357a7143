"""A diffusion that predicts noise (DDPM): a small perceptron, trained and sampled step by step.

With beta_1 ... beta_T rising linearly, alpha_t = 1 - beta_t and a_t = alpha_1 ... alpha_t, a point
after t steps of noise is x_t = sqrt(a_t) x + sqrt(1 - a_t) e. The network predicts e.

References
----------
Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020,
https://arxiv.org/abs/2006.11239
"""

from __future__ import annotations

from collections.abc import Generator as Iterating
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval, Len

from study.training.generators import Generator, Seeds
from study.training.network_shape import (
    N_TIME_FEATURES,
    Widths,
    n_parameters,
    sampling_gflop,
    training_gflop,
    widths_column,
)

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.training.generators import State


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionOptions:
    """Settings of `diffusion`.

    Parameters
    ----------
    steps : int
        T, steps from a point to noise and back.
    beta_first, beta_last : float
        Variance of the noise that the first and the last step add.
    hidden : tuple of int
        Widths of the network's hidden layers.
    """

    steps: Annotated[int, Interval(ge=2, le=10_000)] = 100
    beta_first: Annotated[float, Interval(ge=1e-6, le=0.999)] = 1e-3
    beta_last: Annotated[float, Interval(ge=1e-6, le=0.999)] = 0.2
    hidden: Annotated[
        Widths,
        Len(1, 16),
        widths_column("diffusion"),
    ] = (128, 128, 128)

    def __post_init__(self) -> None:
        if self.beta_last < self.beta_first:
            raise ValueError(
                f"beta_last: must be at least diffusion.beta_first = {self.beta_first:g}; "
                f"found {self.beta_last:g}"
            )


class _Diffusion(Generator):
    """Denoising diffusion with a perceptron that predicts the noise."""

    Options = DiffusionOptions
    reads = ("epochs", "batch_size", "learning_rate", "standardize")

    def fit(
        self,
        points: np.ndarray,
        seeds: Seeds,
        options: DiffusionOptions,
        training: TrainingConfig,
    ) -> Iterating[float, None, State]:
        """Train the network; a loss is the mean squared error of a coordinate of the noise."""
        import numpy as np
        import torch

        from study.training import perceptron as nets

        units = nets.units_of(points, training.standardize)
        data = nets.as_tensor((points - units["shift"]) / units["scale"])
        network = nets.make_perceptron(_sizes(options, points.shape[1]), seeds.rng("init"))
        adam = nets.optimizer(network, training.learning_rate)
        betas = np.linspace(options.beta_first, options.beta_last, options.steps)
        kept = nets.as_tensor(np.cumprod(1 - betas))[:, None]
        order, rng = seeds.rng("shuffle"), seeds.rng("noise")
        for _ in range(training.epochs):
            total = 0.0
            for clean in nets.shuffled_batches(data, training.batch_size, order):
                step = torch.from_numpy(rng.integers(options.steps, size=len(clean)))
                noise = nets.draw_normal(rng, *clean.shape)
                noisy = kept[step].sqrt() * clean + (1 - kept[step]).sqrt() * noise
                times = nets.time_features((step + 1) / options.steps)
                loss = (network(torch.cat([noisy, times], dim=1)) - noise).square().mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
                total += len(clean) * loss.item()
            yield total / len(data)
        return {**nets.layers_of(network), **units, "betas": betas}

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw noise and take it back step by step, with fresh noise in each."""
        import numpy as np
        import torch

        from study.training import perceptron as nets

        network, betas = nets.Perceptron(state), state["betas"]
        kept = np.cumprod(1 - betas)
        before = np.append(1.0, kept[:-1])
        shape = (n_samples, nets.n_features(state))
        points = nets.draw_normal(rng, *shape)
        for i in reversed(range(len(betas))):
            times = nets.time_features(torch.full((n_samples,), (i + 1) / len(betas)))
            predicted = network(torch.cat([points, times], dim=1))
            points = points - betas[i] / np.sqrt(1 - kept[i]) * predicted
            points = points / np.sqrt(1 - betas[i])
            if i > 0:
                spread = np.sqrt(betas[i] * (1 - before[i]) / (1 - kept[i]))
                points = points + spread * nets.draw_normal(rng, *shape)
        return nets.to_data_units(state, points)

    def n_weights(self, options: DiffusionOptions, dim: int) -> int:
        """Count the network's weights."""
        return n_parameters(_sizes(options, dim)) + options.steps

    def gflop(
        self, options: DiffusionOptions, training: TrainingConfig, dim: int, n_samples: int
    ) -> float:
        """Estimate training and sampling."""
        size = n_parameters(_sizes(options, dim))
        return training_gflop(size, training, n_samples) + sampling_gflop(size, options.steps)


def _sizes(options: DiffusionOptions, dim: int) -> list[int]:
    return [dim + N_TIME_FEATURES, *options.hidden, dim]


DIFFUSION = _Diffusion()
