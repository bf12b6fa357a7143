"""A normalizing flow with an exact density: neural splines or masked affine maps, by zuko.

References
----------
Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", NeurIPS 2019,
https://arxiv.org/abs/1906.04032
Papamakarios, Pavlakou, Murray, "Masked Autoregressive Flow for Density Estimation", NeurIPS 2017,
https://arxiv.org/abs/1705.07057
Zuko, https://zuko.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Generator as Iterating
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Interval, Len

from study.training.generators import Generator, Seeds
from study.training.network_shape import Widths, n_parameters, training_gflop, widths_column

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.training.generators import State

_ARCHITECTURES = ("nsf", "maf")
_BINS = 8
_DRAWN_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOptions:
    """Settings of `flow`.

    Parameters
    ----------
    architecture : "nsf" or "maf"
        Each coordinate, given those before it, goes through a monotonic spline ("nsf") or an
        affine map ("maf").
    transforms : int
        Autoregressive maps, one after the other, in alternating order of the coordinates.
    bins : int
        Pieces of each spline of "nsf".
    hidden : tuple of int
        Widths of the hidden layers of the network of each map.
    """

    architecture: Literal["nsf", "maf"] = "nsf"
    transforms: Annotated[int, Interval(ge=1, le=64)] = 3
    bins: Annotated[int, Interval(ge=2, le=256)] = _BINS
    hidden: Annotated[Widths, Len(1, 16), widths_column("flow")] = (64, 64)

    def __post_init__(self) -> None:
        if self.architecture == "maf" and self.bins != _BINS:
            raise ValueError(
                f"bins: has no effect on flow.architecture: maf; remove it (found {self.bins})"
            )


class _Flow(Generator):
    """An autoregressive flow from the data to a standard normal, by maximal likelihood."""

    Options = FlowOptions
    # Splines reach from -5 to 5, so that a flow always trains on standardized points.
    reads = ("epochs", "batch_size", "learning_rate")
    packages = ("zuko",)
    extra = "flows"

    def fit(
        self, points: np.ndarray, seeds: Seeds, options: FlowOptions, training: TrainingConfig
    ) -> Iterating[float, None, State]:
        """Train the flow; a loss is the mean of -log density in standardized units, nats."""
        import numpy as np

        from study.training import perceptron as nets

        units = nets.units_of(points, standardize=True)
        data = nets.as_tensor((points - units["shift"]) / units["scale"])
        numbers = (_ARCHITECTURES.index(options.architecture), options.transforms, options.bins)
        design = np.array([*numbers, *options.hidden])
        flow = _make_flow(design, points.shape[1], seed=int(seeds.rng("init").integers(2**31)))
        adam, order = nets.optimizer(flow, training.learning_rate), seeds.rng("shuffle")
        for _ in range(training.epochs):
            total = 0.0
            for batch in nets.shuffled_batches(data, training.batch_size, order):
                loss = -flow().log_prob(batch).mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
                total += len(batch) * loss.item()
            yield total / len(data)
        trained = {name: part.detach().numpy().copy() for name, part in flow.named_parameters()}
        return {**trained, **units, "design": design}

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw from the standard normal and invert the maps."""
        import torch

        from study.training import perceptron as nets

        flow = _load_flow(state)
        noise = torch.from_numpy(rng.standard_normal((n_samples, nets.n_features(state))))
        with torch.no_grad():
            inverse = flow().transform.inv
            points = torch.cat([inverse(few) for few in noise.split(_DRAWN_AT_ONCE)])
        return nets.to_data_units(state, points)

    def log_prob(self, state: State, points: np.ndarray) -> np.ndarray:
        """Return the flow's log density at each point."""
        import numpy as np
        import torch

        standard = torch.from_numpy((points - state["shift"]) / state["scale"])
        with torch.no_grad():
            density = _load_flow(state)()
            found = torch.cat([density.log_prob(few) for few in standard.split(_DRAWN_AT_ONCE)])
        return np.asarray(found.numpy() - np.log(state["scale"]).sum())

    def n_weights(self, options: FlowOptions, dim: int) -> int:
        """Count the weights of the networks."""
        return options.transforms * _n_weights_per_map(options, dim)

    def gflop(
        self, options: FlowOptions, training: TrainingConfig, dim: int, n_samples: int
    ) -> float:
        """Estimate training: in small maps most of it is what surrounds the products."""
        per_map = training_gflop(2 * _n_weights_per_map(options, dim), training, n_samples)
        return options.transforms * per_map


def _n_weights_per_map(options: FlowOptions, dim: int) -> int:
    per_coordinate = 2 if options.architecture == "maf" else 3 * options.bins - 1
    return n_parameters([dim, *options.hidden, dim * per_coordinate])


def _make_flow(design: np.ndarray, dim: int, *, seed: int = 0) -> Any:
    """Make a flow from its design: architecture, maps, bins and hidden widths."""
    import torch
    import zuko

    architecture, transforms, bins, *hidden = (int(number) for number in design)
    shape = {"transforms": transforms, "hidden_features": hidden}
    # zuko draws weights from PyTorch's own generator, which is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if _ARCHITECTURES[architecture] == "maf":
            return zuko.flows.MAF(dim, **shape)
        return zuko.flows.NSF(dim, bins=bins, **shape)


def _load_flow(state: State) -> Any:
    """Rebuild a trained flow, in double precision."""
    import torch

    flow = _make_flow(state["design"], len(state["shift"])).double()
    with torch.no_grad():
        for name, part in flow.named_parameters():
            part.copy_(torch.tensor(state[name]))
    return flow


FLOW = _Flow()
