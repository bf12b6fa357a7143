"""Stacked autoencoders: layout, arithmetic and the round trip of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from study.config import ModelConfig
from study.training.layout import parameter_shapes
from study.training.vae import ACTIVATIONS, StackedVAE

SHAPES = [
    ModelConfig(latent_dim=1, hidden=()),
    ModelConfig(latent_dim=2, hidden=(16,)),
    ModelConfig(latent_dim=8, hidden=(128, 128)),
    ModelConfig(latent_dim=3, hidden=(10, 7), activation="tanh", decoder_variance="learned"),
]


def _stack(model: ModelConfig, n_models: int = 3, dim: int = 3) -> StackedVAE:
    vae = StackedVAE(model, n_models=n_models, dim=dim)
    vae.initialize([(index, 10 + index) for index in range(n_models)])
    return vae


def _torch_network(
    state: dict[str, np.ndarray], part: str, activation: type[nn.Module]
) -> nn.Module:
    """Build one half of a model from torch.nn.Linear layers."""
    modules: list[nn.Module] = []
    depth = sum(name.startswith(part) for name in state) // 2
    for index in range(depth):
        weight, bias = state[f"{part}.{index}.weight"], state[f"{part}.{index}.bias"]
        linear = nn.Linear(*weight.shape)
        linear.weight.data = torch.from_numpy(weight.T.copy())
        linear.bias.data = torch.from_numpy(bias[0])
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


def test_stack_computes_what_its_models_compute_as_torch_modules() -> None:
    vae = _stack(ModelConfig(latent_dim=2, hidden=(16, 8)))
    points = torch.randn(3, 20, 3, generator=torch.Generator().manual_seed(0))
    mu, log_variance = vae.encode(points)
    means = vae.decode(mu)
    for index in range(3):
        state = vae.state(index)
        with torch.no_grad():
            heads = _torch_network(state, "encoder", nn.ReLU)(points[index])
            decoded = _torch_network(state, "decoder", nn.ReLU)(mu[index])
        torch.testing.assert_close(torch.cat((mu[index], log_variance[index]), -1), heads)
        torch.testing.assert_close(means[index], decoded)


@pytest.mark.parametrize("model", SHAPES)
def test_states_round_trip_exactly(model: ModelConfig) -> None:
    vae = _stack(model)
    copy = StackedVAE(model, n_models=3, dim=3)
    copy.load_states([vae.state(index) for index in range(3)])
    assert torch.equal(copy.parameters.flat, vae.parameters.flat)


def test_states_can_be_picked_and_reordered() -> None:
    vae = _stack(SHAPES[1])
    copy = StackedVAE(SHAPES[1], n_models=2, dim=3)
    copy.load_states([vae.state(2), vae.state(0)])
    np.testing.assert_array_equal(
        copy.state(0)["decoder.0.weight"], vae.state(2)["decoder.0.weight"]
    )


def test_state_of_another_shape_is_refused() -> None:
    vae = _stack(SHAPES[1])
    other = StackedVAE(ModelConfig(hidden=(8,)), n_models=1, dim=3)
    with pytest.raises(ValueError, match=r"must have shape \(3, 8\).*got \(3, 16\)"):
        other.load_states([vae.state(0)])
    with pytest.raises(ValueError, match="must hold 1 models; got 2"):
        other.load_states([vae.state(0), vae.state(1)])


def test_initial_weights_follow_the_law_of_torch_linear() -> None:
    state = _stack(ModelConfig(hidden=(128, 128)), n_models=1).state(0)
    for name, fan_in in [("encoder.0", 3), ("encoder.1", 128), ("decoder.0", 2)]:
        weight = state[f"{name}.weight"]
        bound = fan_in**-0.5
        assert np.abs(weight).max() <= bound
        assert np.abs(state[f"{name}.bias"]).max() <= bound
        # A uniform law's standard deviation is bound / sqrt(3); its estimate from n numbers has
        # relative error below 0.45 / sqrt(n). 5 of them: false alarm below 1e-6.
        assert weight.std() == pytest.approx(bound / 3**0.5, rel=2.3 / weight.size**0.5)


def test_initial_weights_depend_on_the_models_own_seeds_alone() -> None:
    vae = StackedVAE(SHAPES[2], n_models=2, dim=3)
    vae.initialize([(5, 0), (1, 11)])
    alone = StackedVAE(SHAPES[2], n_models=1, dim=3)
    alone.initialize([(1, 11)])
    for name, values in alone.state(0).items():
        np.testing.assert_array_equal(values, vae.state(1)[name])


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_is_nonlinear(activation: str) -> None:
    vae = _stack(ModelConfig(activation=activation), n_models=1)  # type: ignore[arg-type]
    z = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(1))
    straight = vae.decode(z) + vae.decode(-z) - 2 * vae.decode(torch.zeros_like(z))
    assert straight.abs().max() > 1e-4


@pytest.mark.parametrize("model", SHAPES)
def test_parameters_tile_the_flat_tensor(model: ModelConfig) -> None:
    parameters = _stack(model).parameters
    parameters.flat.zero_()
    for view in parameters.views.values():
        view.add_(1)
    shapes = parameter_shapes(model, 3).values()
    assert parameters.flat.max() == 1
    assert parameters.flat.sum() == 3 * sum(int(np.prod(shape)) for shape in shapes)


def test_decoder_variance_is_half_the_kl_weight_or_learned() -> None:
    betas = torch.tensor([0.5, 1.0, 4.0])
    torch.testing.assert_close(_stack(SHAPES[0]).decoder_variances(betas), betas / 2)
    learned = _stack(SHAPES[3])
    learned.parameters.views["log_variance"].fill_(np.log(0.3))
    torch.testing.assert_close(learned.decoder_variances(betas), torch.full((3,), 0.3))


@pytest.mark.parametrize("model", SHAPES)
def test_every_parameter_begins_at_a_cache_line(model: ModelConfig) -> None:
    parameters = _stack(model, dim=5).parameters
    for view in parameters.views.values():
        assert all(view[index].data_ptr() % 64 == 0 for index in range(3))


def test_part_shares_memory() -> None:
    vae = _stack(SHAPES[1])
    part = vae.part(1, 3)
    assert part.n_models == 2
    part.parameters.flat.fill_(7.0)
    assert (vae.state(1)["encoder.0.weight"] == 7).all()
    assert not (vae.state(0)["encoder.0.weight"] == 7).any()
