"""Log densities of models, against closed forms, quadrature and brute force.

Statistical tests fix their seeds; the false-alarm rate is that of a new seed.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from study.config import Activation, MixtureConfig, ModelConfig, TrainingConfig
from study.data.data_set import draw_data_set
from study.endpoints import importance
from study.endpoints.decoder import Decoder
from study.endpoints.likelihood import exact_log_density, log_density, sampled_log_density
from study.endpoints.pareto import pareto_k
from study.training.fitted import FittedVAE, Member, load_fitted
from study.training.train import train

KL_WEIGHTS = (0.03, 0.1, 1.0)
SPECTRUM = np.array([4.0, 1.0, 0.25])
SHIFT = np.array([3.0, -2.0, 0.0])
SCALE = np.array([2.0, 1.0, 0.5])
ORIGIN = np.zeros(3)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _linear(
    *, variance: str = "implied", shift: np.ndarray = ORIGIN, n_unused: int = 0
) -> FittedVAE:
    """Return the best linear autoencoder of a diagonal covariance at beta = 1, sigma^2 = 1/2."""
    t = 0.5
    gain = np.sqrt(SPECTRUM[:2] - t)
    unused = np.zeros((3, n_unused))
    means = np.hstack([np.vstack([np.diag(gain / SPECTRUM[:2]), [0, 0]]), unused])
    log_variances = np.concatenate([np.log(t / SPECTRUM[:2]), np.zeros(n_unused)])
    state = {
        "encoder.0.weight": np.hstack([means, np.zeros_like(means)]),
        "encoder.0.bias": np.concatenate([np.zeros(means.shape[1]), log_variances])[None],
        "decoder.0.weight": np.vstack([np.hstack([np.diag(gain), np.zeros((2, 1))]), unused.T]),
        "decoder.0.bias": np.zeros((1, 3)),
        "log_variance": np.log([[t]]),
        "shift": shift,
        "scale": SCALE if shift.any() else np.ones(3),
    }
    model = ModelConfig(latent_dim=2 + n_unused, hidden=(), decoder_variance=variance)  # type: ignore[arg-type]
    return load_fitted(model, [Member(data_seed=0, init_seed=0)], [state])


def _gaussian_points(n_samples: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n_samples, 3)) * np.sqrt(SPECTRUM)


def _exact_linear(points: np.ndarray) -> np.ndarray:
    return multivariate_normal(np.zeros(3), np.diag([4.0, 1.0, 0.5])).logpdf(points)


@cache
def _curves(activation: Activation = "relu") -> tuple[FittedVAE, np.ndarray]:
    """Train curves through ten components, one for each KL weight; give held-out points too."""
    data = draw_data_set(MixtureConfig(n_samples=1_000), 1, 600)
    members = [Member(data_seed=1, init_seed=i, kl_weight=w) for i, w in enumerate(KL_WEIGHTS)]
    model = ModelConfig(latent_dim=1, hidden=(32, 32), activation=activation)
    config = TrainingConfig(epochs=40, batch_size=64, learning_rate=3e-3)
    points = np.stack([data.training] * len(members))
    return train(points, members, model=model, training=config).fitted, data.heldout


@pytest.mark.parametrize("variance", ["implied", "learned"])
def test_the_linear_model_has_its_exact_likelihood(variance: str) -> None:
    points = _gaussian_points(1_000)
    found = sampled_log_density(_linear(variance=variance), 0, points)
    error = found.log_prob - _exact_linear(points)
    assert found.met.all()
    # Three standard errors of the mean, 0.3 %, and five of the worst of 1,000, 6e-4.
    assert abs(error.mean()) < 3 * np.sqrt(np.square(found.standard_error).mean() / 1_000)
    assert np.abs(error / np.maximum(found.standard_error, 0.01)).max() < 5


def test_unused_latents_cost_the_likelihood_nothing() -> None:
    """Their posterior is the prior: a proposal that is wider there only adds noise."""
    points = _gaussian_points(1_000)
    found = sampled_log_density(_linear(n_unused=6), 0, points)
    error = found.log_prob - _exact_linear(points)
    assert abs(error.mean()) < 3 * np.sqrt(np.square(found.standard_error).mean() / 1_000)
    assert np.median(found.standard_error) < 0.12


def test_standardized_models_are_in_data_units() -> None:
    points = _gaussian_points(100)
    found = sampled_log_density(_linear(shift=SHIFT), 0, points * SCALE + SHIFT)
    expected = sampled_log_density(_linear(), 0, points).log_prob - np.log(SCALE).sum()
    np.testing.assert_allclose(found.log_prob, expected, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", pytest.param("tanh", marks=pytest.mark.slow)])
@pytest.mark.parametrize("index", range(len(KL_WEIGHTS)))
def test_quadrature_is_brute_force(activation: Activation, index: int) -> None:
    fitted, points = _curves(activation)
    grid = torch.linspace(-40, 40, 100_001, dtype=torch.float64)
    means = Decoder(fitted.select(index))(grid[:, None]).numpy()
    variance = KL_WEIGHTS[index] / 2
    few = points[:10].astype(np.float32).astype(float)
    error_sq = np.stack([np.square(means - point).sum(axis=1) for point in few])
    log_joint = -(np.square(grid.numpy()) + error_sq / variance) / 2
    constant = np.log(2 * np.pi) + 3 * np.log(2 * np.pi * variance)
    brute = logsumexp(log_joint, axis=1) + np.log(80 / 100_000) - constant / 2
    exact = exact_log_density(fitted, index, few)
    np.testing.assert_allclose(exact.log_prob, brute, atol=2e-3)
    assert (exact.standard_error == 0).all()
    assert exact.met.all()


@pytest.mark.parametrize("index", range(len(KL_WEIGHTS)))
def test_importance_sampling_is_quadrature(index: int) -> None:
    """Points far from the curve, or between its strands: 100 draws of q(z|x) are nats off."""
    fitted, points = _curves()
    found = sampled_log_density(fitted, index, points)
    exact = log_density(fitted, index, points)
    error = found.log_prob - exact.log_prob
    assert found.met.mean() > 0.99
    # 0.3 % and, for the worst of 600, 3e-4.
    assert abs(error.mean()) < 3 * np.sqrt(np.square(found.standard_error).mean() / len(points))
    assert np.abs(error / np.maximum(found.standard_error, 0.01)).max() < 5


def test_densities_depend_on_the_model_and_the_points_alone() -> None:
    points = _gaussian_points(300)
    config = TrainingConfig(epochs=1, batch_size=32)
    members = [Member(data_seed=i, init_seed=i, standardize=i == 1) for i in range(3)]
    training = np.stack([points[:100]] * 3)
    model = ModelConfig(hidden=(16,), activation="silu")
    fitted = train(training, members, model=model, training=config).fitted
    order = [2, 0]
    rebuilt = load_fitted(model, [members[i] for i in order], [fitted.state(i) for i in order])
    for new, old in enumerate(order):
        found, expected = log_density(rebuilt, new, points), log_density(fitted, old, points)
        np.testing.assert_array_equal(found.log_prob, expected.log_prob)
        np.testing.assert_array_equal(found.standard_error, expected.standard_error)


def test_what_does_not_meet_the_diagnostics_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importance, "ROUNDS", (64,))
    monkeypatch.setattr(importance, "MAX_ERROR", 0.01)
    found = log_density(_linear(), 0, _gaussian_points(50))
    assert not found.met.any()


def test_quadrature_takes_one_latent_coordinate() -> None:
    with pytest.raises(ValueError, match=r"model\.latent_dim = 1; got 2"):
        exact_log_density(_linear(), 0, _gaussian_points(2))


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize(("n_latents", "hidden"), [(2, (7, 5)), (6, (7,)), (2, ()), (6, ())])
def test_a_decoders_derivatives_are_its_differences(
    activation: Activation, n_latents: int, hidden: tuple[int, ...]
) -> None:
    model = ModelConfig(latent_dim=n_latents, hidden=hidden, activation=activation)
    config = TrainingConfig(epochs=1, batch_size=50)
    fitted = train(
        _gaussian_points(50)[None],
        [Member(data_seed=0, init_seed=0)],
        model=model,
        training=config,
    ).fitted
    decoder = Decoder(fitted)
    latents = torch.tensor(np.random.default_rng(1).standard_normal((9, n_latents)))
    means, jacobian = decoder.linearize(latents)
    torch.testing.assert_close(means, decoder(latents))
    for axis in range(n_latents):
        step = torch.zeros_like(latents)
        step[:, axis] = 1e-6
        slope = (decoder(latents + step) - decoder(latents - step)) / 2e-6
        torch.testing.assert_close(jacobian[:, :, axis], slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("index", [0.2, 0.7, 1.2])
def test_the_tail_index_of_a_pareto_law_is_found(index: float) -> None:
    rng = np.random.default_rng(3)
    log_weights = index * rng.standard_exponential((200, 2_000))
    found = pareto_k(log_weights)
    # The standard deviation of one is about (1 + k) / sqrt(134): of the mean of 200, 0.015.
    assert found.mean() == pytest.approx(index, abs=0.07)


def test_equal_weights_have_no_tail() -> None:
    assert (pareto_k(np.zeros((3, 100))) == -np.inf).all()
    with pytest.raises(ValueError, match="at least 25 draws a point; got 24"):
        pareto_k(np.zeros((3, 24)))
