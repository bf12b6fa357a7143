"""The hand-written gradient against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from study.config import ModelConfig
from study.training.epoch import Batch
from study.training.gradients import ACTIVATION_PAIRS, GradientPass
from study.training.vae import StackedVAE

MODELS = [
    ModelConfig(latent_dim=2, hidden=()),
    ModelConfig(latent_dim=1, hidden=(16,)),
    ModelConfig(latent_dim=3, hidden=(20, 7, 12)),
    ModelConfig(latent_dim=2, hidden=(16,), decoder_variance="learned"),
    *(ModelConfig(latent_dim=2, hidden=(9, 5), activation=name) for name in ACTIVATION_PAIRS),
]


def _stack(model: ModelConfig, n_models: int = 3) -> StackedVAE:
    vae = StackedVAE(model, n_models=n_models, dim=4)
    vae.initialize([(0, index) for index in range(n_models)])
    return vae


def _batch(model: ModelConfig, n_samples: int = 11, n_models: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(3)
    return Batch(
        points=2 * torch.randn(n_models, 4, n_samples, generator=generator),
        noise=torch.randn(n_models, model.latent_dim, n_samples, generator=generator),
        heads=torch.empty(n_models, 2 * model.latent_dim, n_samples),
        residual=torch.empty(n_models, 4, n_samples),
    )


def _compute(gradient_pass: GradientPass, batch: Batch) -> None:
    for operation in gradient_pass.operations(batch):
        operation()


def _heads_and_means(vae: StackedVAE, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Run the network as everything after training does: samples before features."""
    mu, log_variance = vae.encode(batch.points.transpose(1, 2))
    noise = batch.noise.transpose(1, 2)
    return mu, log_variance, vae.decode(mu + (log_variance / 2).exp() * noise)


def _loss(vae: StackedVAE, batch: Batch, kl_weights: Tensor) -> Tensor:
    """Write the loss as a formula; sum over models."""
    mu, log_variance, means = _heads_and_means(vae, batch)
    error = (means - batch.points.transpose(1, 2)).square().sum(-1).mean(-1)
    kl = 0.5 * (log_variance.exp() + mu**2 - 1 - log_variance).sum(-1).mean(-1)
    if vae.model.decoder_variance == "learned":
        s = vae.parameters.views["log_variance"].view(-1)
        error = vae.dim / 2 * (np.log(2 * np.pi) + s) + error / (2 * s.exp())
    return (error + kl_weights * kl).sum()


def _autograd(vae: StackedVAE, batch: Batch, kl_weights: Tensor) -> dict[str, Tensor]:
    for view in vae.parameters.views.values():
        view.requires_grad_(True)
        view.grad = None
    _loss(vae, batch, kl_weights).backward()  # type: ignore[no-untyped-call]
    grads = {name: view.grad for name, view in vae.parameters.views.items()}
    for view in vae.parameters.views.values():
        view.requires_grad_(False)
    return {name: grad for name, grad in grads.items() if grad is not None}


@pytest.mark.parametrize("n_models", [1, 3])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_gradients_are_autograds(model: ModelConfig, n_models: int) -> None:
    """A stack of one takes plain matrix products, a larger one batched products."""
    vae, batch = _stack(model, n_models), _batch(model, n_models=n_models)
    betas = torch.tensor([0.5, 1.0, 8.0])[:n_models]
    expected = _autograd(vae, batch, betas)
    gradient_pass = GradientPass(vae, betas)
    _compute(gradient_pass, batch)
    assert set(expected) == set(gradient_pass.gradients.views)
    for name, grad in gradient_pass.gradients.views.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_batches_of_several_sizes_share_the_gradients() -> None:
    model = MODELS[1]
    vae, betas = _stack(model), torch.ones(3)
    gradient_pass = GradientPass(vae, betas)
    for n_samples in (11, 4, 11):
        batch = _batch(model, n_samples)
        expected = _autograd(vae, batch, betas)
        _compute(gradient_pass, batch)
        for name, grad in gradient_pass.gradients.views.items():
            torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-5, msg=name)


def test_outputs_are_kept() -> None:
    vae, batch = _stack(MODELS[1]), _batch(MODELS[1])
    _compute(GradientPass(vae, torch.ones(3)), batch)
    mu, log_variance, means = _heads_and_means(vae, batch)
    heads = torch.cat((mu, log_variance), -1)
    torch.testing.assert_close(batch.heads, heads.transpose(1, 2))
    torch.testing.assert_close(batch.residual, means.transpose(1, 2) - batch.points)


def test_mean_reduction_is_the_sum_at_a_larger_kl_weight() -> None:
    """mse_loss's mean over points and features + beta KL = (sums + D beta KL) / D."""
    vae, batch, beta = _stack(MODELS[2]), _batch(MODELS[2]), torch.tensor([0.5, 1.0, 2.0])
    for view in vae.parameters.views.values():
        view.requires_grad_(True)
    mu, log_variance, means = _heads_and_means(vae, batch)
    kl = 0.5 * (log_variance.exp() + mu**2 - 1 - log_variance).sum(-1).mean(-1)
    ((means - batch.points.transpose(1, 2)).square().mean((1, 2)) + beta * kl).sum().backward()
    mean_grads = {name: view.grad for name, view in vae.parameters.views.items()}
    for view in vae.parameters.views.values():
        view.requires_grad_(False)
    sum_pass = GradientPass(vae, 4 * beta)
    _compute(sum_pass, batch)
    for name, grad in sum_pass.gradients.views.items():
        torch.testing.assert_close(grad / 4, mean_grads[name], rtol=1e-4, atol=2e-6)


def test_models_do_not_see_each_other() -> None:
    vae, batch, betas = _stack(MODELS[1]), _batch(MODELS[1]), torch.ones(3)
    gradient_pass = GradientPass(vae, betas)
    _compute(gradient_pass, batch)
    gradients = gradient_pass.gradients.views
    before = {name: share.clone() for name, share in gradients.items()}
    batch.points[1] = np.nan
    _compute(gradient_pass, batch)
    for name, share in gradients.items():
        assert torch.equal(share[[0, 2]], before[name][[0, 2]])
        assert share[1].isnan().any()
