"""The count of a training's memory against the tensors that it makes."""

from __future__ import annotations

import gc

import pytest
import torch

from study.config import ModelConfig
from study.training.fitted import Member, initial_stack
from study.training.memory import bytes_per_model, models_that_fit
from study.training.program import Program

SHAPES = [
    (ModelConfig(), 3, 1_000, 128),
    (ModelConfig(latent_dim=8, hidden=(64, 30), activation="gelu"), 5, 260, 64),
    (ModelConfig(latent_dim=1, hidden=(), decoder_variance="learned"), 2, 50, 64),
    (ModelConfig(hidden=(16,), activation="tanh"), 3, 2_500, 100),
]


def _storages() -> dict[int, int]:
    # Not isinstance: it asks every object, and some warn when asked.
    storages = [
        value.untyped_storage()
        for value in gc.get_objects()
        if issubclass(type(value), torch.Tensor)
    ]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


@pytest.mark.parametrize(("model", "dim", "n_samples", "batch_size"), SHAPES, ids=str)
def test_bytes_are_those_of_the_tensors(
    model: ModelConfig, dim: int, n_samples: int, batch_size: int
) -> None:
    n_models = 4
    points = torch.randn(n_models, n_samples, dim).double().numpy()
    members = [Member(data_seed=0, init_seed=i) for i in range(n_models)]
    before = _storages()
    fitted = initial_stack(points, members, model=model, device="cpu")
    network_points = fitted.to_network(points)
    program = Program(fitted.vae, network_points, members, batch_size=batch_size)
    made = sum(size for pointer, size in _storages().items() if pointer not in before)
    counted = n_models * bytes_per_model(
        model, dim=dim, n_samples=n_samples, batch_size=batch_size
    )
    # Not counted: weights of the loss, factors and Adam's step, a few numbers each.
    assert counted <= made <= counted + 64 * n_models + 64
    del program


def test_room_for_models() -> None:
    assert models_that_fit(10, 1_000) == 80
    assert models_that_fit(10, 1) == 1
