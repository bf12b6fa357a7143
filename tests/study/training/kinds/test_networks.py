"""Generators with networks of PyTorch: seeded, kept as arrays, and they learn."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from study.config import MixtureConfig, TrainingConfig
from study.config.catalogue import options_of
from study.config.cells import make_cell
from study.data.data_set import DataSet, draw_data_set
from study.planning.estimate import estimate
from study.planning.units import Trial, n_weights
from study.plugins import GENERATORS
from study.training.generators import Seeds, fit_generator
from study.training.kinds.gan import GANOptions, _folded_layers, _make_critic, _make_generator
from study.training.perceptron import Perceptron, draw_normal
from study.trial.kinds import fit_events

NETWORKS = ("diffusion", "flow_matching", "gan")
MIXTURE = MixtureConfig(
    n_components=2,
    dim=2,
    n_samples=600,
    means=((-3.0, 0.0), (3.0, 1.0)),
    variances=((0.1, 0.1), (0.1, 0.1)),
    weights=(0.5, 0.5),
)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return draw_data_set(MIXTURE, 0, 400)


def fit(kind: str, data: DataSet, *, init: int = 0, epochs: int = 2, **given: Any) -> Any:
    options = options_of(GENERATORS[kind], tuple(given.items()))
    training = TrainingConfig(epochs=epochs, batch_size=64, learning_rate=3e-3, standardize=True)
    found = fit_generator(GENERATORS[kind], data, Seeds(data=0, init=init), options, training)
    losses = []
    while isinstance(found, Iterator):
        try:
            losses.append(next(found))
        except StopIteration as stop:
            found = stop.value
    return losses, found


def digest(state: dict[str, np.ndarray]) -> int:
    return zlib.crc32(b"".join(state[name].tobytes() for name in sorted(state)))


@pytest.mark.parametrize("kind", NETWORKS)
def test_numbers_follow_from_the_seeds_alone(kind: str, data: DataSet) -> None:
    losses, state = fit(kind, data, hidden=(8,))
    torch.manual_seed(7)
    again_losses, again = fit(kind, data, hidden=(8,))
    assert (losses, digest(state)) == (again_losses, digest(again))
    assert len(losses) == 2
    assert digest(fit(kind, data, init=1, hidden=(8,))[1]) != digest(state)
    assert all(values.dtype.kind in "fi" for values in state.values())
    draw = [GENERATORS[kind].sample(state, 5, np.random.default_rng(3)) for _ in range(2)]
    assert np.array_equal(*draw)
    assert draw[0].shape == (5, 2)
    # What the plan said that it would store.
    cell = make_cell({"model.kind": kind, f"{kind}.hidden": (8,)})
    n_numbers = sum(values.size for values in state.values())
    assert abs(n_weights(cell.model, 2) - n_numbers) <= 105


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [("diffusion", {"steps": 50}), ("flow_matching", {"steps": 10}), ("gan", {"packing": 2})],
)
def test_it_learns(kind: str, options: dict[str, Any], data: DataSet) -> None:
    _, state = fit(kind, data, epochs=100, hidden=(64, 64), **options)
    samples = GENERATORS[kind].sample(state, 1000, np.random.default_rng(0))
    near = data.truth.mahalanobis_sq(samples) < 9
    shares = near.mean(axis=0)
    # The truth has 0.49 in each, one Gaussian 0.16.
    assert np.all(shares > 0.3), shares


def test_batch_norm_is_folded_into_the_layers() -> None:
    rng = np.random.default_rng(0)
    generator = _make_generator([2, 8, 8, 3], rng)
    for norm in (generator[1], generator[4]):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    folded = Perceptron(_folded_layers(generator, rng, 2), torch.relu)
    latents = draw_normal(rng, 20, 2)
    with torch.no_grad():
        ours, theirs = folded(latents), generator.eval()(latents)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_critic_sees_a_pack_and_takes_the_largest_piece() -> None:
    options = GANOptions(critic_hidden=(4,), maxout=3, packing=2)
    critic = _make_critic(options, 5, np.random.default_rng(0))
    packs = torch.ones(7, 10)
    pieces = critic[0](packs).reshape(7, 4, 3)
    torch.testing.assert_close(critic[1](critic[0](packs)), pieces.amax(dim=2))
    assert critic(packs).shape == (7, 1)


def make_trial(values: dict[str, Any]) -> Trial:
    cell = make_cell({"mixture.n_samples": 300, "detection.n_samples": 200, **values})
    return Trial(
        mixture=cell.mixture, model=cell.model, training=cell.training, detection=cell.detection
    )


def test_a_network_that_diverges_ends_with_its_losses() -> None:
    trial = make_trial(
        {"model.kind": "diffusion", "training.learning_rate": 10.0, "training.epochs": 200}
        | {"mixture.box": 1e6, "diffusion.hidden": (8,) * 16}
    )
    events = fit_events(trial)
    reports = []
    ended = None
    while ended is None:
        try:
            reports.append(next(events))
        except StopIteration as stop:
            ended = stop.value
    assert len(reports) == len(ended.losses) < 200
    assert ended.status == "diverged"
    assert ended.message == f"NaN or infinity in epoch {len(reports)}"
    assert ended.state == {}


def test_an_estimate_tells_kinds_and_sizes_apart() -> None:
    def seconds(**values: Any) -> float:
        return estimate([make_trial(values)], n_workers=1).wall_time_s

    for kind in NETWORKS:
        small = seconds(**{"model.kind": kind, f"{kind}.hidden": (16,)})
        wide = seconds(**{"model.kind": kind, f"{kind}.hidden": (512, 512)})
        assert small < wide
    few, many = (
        seconds(**{"model.kind": "exact_score", "exact_score.steps": n}) for n in (10, 99)
    )
    assert few < many
