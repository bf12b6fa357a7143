"""Flow matching: a perceptron learns the velocity that carries noise to points in straight lines.

With x_0 from a standard normal, x_1 a training point and t uniform in [0, 1], the network is
trained to predict x_1 - x_0 at x_t = (1 - t) x_0 + t x_1; a sample follows it from t = 0 to 1.

References
----------
Lipman, Chen, Ben-Hamu, Nickel, Le, "Flow Matching for Generative Modeling", ICLR 2023,
https://arxiv.org/abs/2210.02747
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
class FlowMatchingOptions:
    """Settings of `flow_matching`.

    Parameters
    ----------
    steps : int
        Steps of the midpoint rule from noise to a sample.
    hidden : tuple of int
        Widths of the network's hidden layers.
    """

    steps: Annotated[int, Interval(ge=1, le=10_000)] = 50
    hidden: Annotated[
        Widths,
        Len(1, 16),
        widths_column("flow_matching"),
    ] = (128, 128, 128)


class _FlowMatching(Generator):
    """A velocity field on straight lines from noise to points."""

    Options = FlowMatchingOptions
    reads = ("epochs", "batch_size", "learning_rate", "standardize")

    def fit(
        self,
        points: np.ndarray,
        seeds: Seeds,
        options: FlowMatchingOptions,
        training: TrainingConfig,
    ) -> Iterating[float, None, State]:
        """Train the network; a loss is the mean squared error of a coordinate of the velocity."""
        import numpy as np
        import torch

        from study.training import perceptron as nets

        units = nets.units_of(points, training.standardize)
        data = nets.as_tensor((points - units["shift"]) / units["scale"])
        network = nets.make_perceptron(_sizes(options, points.shape[1]), seeds.rng("init"))
        adam = nets.optimizer(network, training.learning_rate)
        order, rng = seeds.rng("shuffle"), seeds.rng("noise")
        for _ in range(training.epochs):
            total = 0.0
            for clean in nets.shuffled_batches(data, training.batch_size, order):
                times = torch.from_numpy(rng.random(len(clean), dtype=np.float32))
                noise = nets.draw_normal(rng, *clean.shape)
                between = noise + times[:, None] * (clean - noise)
                found = network(torch.cat([between, nets.time_features(times)], dim=1))
                loss = (found - (clean - noise)).square().mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
                total += len(clean) * loss.item()
            yield total / len(data)
        return {**nets.layers_of(network), **units, "steps": np.array(options.steps)}

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw noise and follow the velocity."""
        import torch

        from study.training import perceptron as nets

        network, steps = nets.Perceptron(state), int(state["steps"])

        def velocity(points: torch.Tensor, time: float) -> torch.Tensor:
            times = nets.time_features(torch.full((n_samples,), time))
            return network(torch.cat([points, times], dim=1))

        points = nets.draw_normal(rng, n_samples, nets.n_features(state))
        for i in range(steps):
            middle = points + velocity(points, i / steps) / (2 * steps)
            points = points + velocity(middle, (i + 0.5) / steps) / steps
        return nets.to_data_units(state, points)

    def n_weights(self, options: FlowMatchingOptions, dim: int) -> int:
        """Count the network's weights."""
        return n_parameters(_sizes(options, dim))

    def gflop(
        self, options: FlowMatchingOptions, training: TrainingConfig, dim: int, n_samples: int
    ) -> float:
        """Estimate training and sampling."""
        size = n_parameters(_sizes(options, dim))
        return training_gflop(size, training, n_samples) + sampling_gflop(size, 2 * options.steps)


def _sizes(options: FlowMatchingOptions, dim: int) -> list[int]:
    return [dim + N_TIME_FEATURES, *options.hidden, dim]


FLOW_MATCHING = _FlowMatching()
