"""What fitted models generate, encode and lose, against exact results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from study.config import ModelConfig, TrainingConfig
from study.training.fitted import FittedVAE, Member, load_fitted
from study.training.generate import (
    active_codes,
    draw_means,
    draw_samples,
    encode_points,
    heldout_losses,
)
from study.training.train import train

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
    latent_dim = 2 + n_unused
    model = ModelConfig(latent_dim=latent_dim, hidden=(), decoder_variance=variance)  # type: ignore[arg-type]
    return load_fitted(model, [Member(data_seed=0, init_seed=0)], [state])


def _exact_covariance() -> np.ndarray:
    return np.diag([4.0, 1.0, 0.5])  # W W' + sigma^2 I


def _gaussian_points(n_samples: int = 2_000) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n_samples, 3)) * np.sqrt(SPECTRUM)


def test_heldout_losses_are_the_closed_forms() -> None:
    # Rescale so that the sample's second moments are the law's: only the noise draw is random.
    points = _gaussian_points()
    points *= np.sqrt(SPECTRUM / (points**2).mean(axis=0))
    recon, kl_nats, loss = heldout_losses(_linear(), 0, points)
    # Standard error of the reconstruction over 2,000 noise draws is below 0.03; 5 of them.
    assert recon == pytest.approx(1.25, abs=0.15)
    assert kl_nats == pytest.approx(1.386294, abs=1e-3)
    assert loss == recon + kl_nats
    learned_recon, learned_kl, learned_loss = heldout_losses(
        _linear(variance="learned"), 0, points
    )
    assert (learned_recon, learned_kl) == (recon, kl_nats)
    assert learned_loss == pytest.approx(1.5 * np.log(np.pi) + loss, rel=1e-6)


def test_loss_is_tight_to_the_likelihood_of_the_linear_model() -> None:
    """-loss - D/2 log pi is the exact log likelihood at beta = 1 (Lucas et al. 2019)."""
    points = _gaussian_points(20_000)
    _, _, loss = heldout_losses(_linear(), 0, points)
    exact = multivariate_normal(np.zeros(3), _exact_covariance()).logpdf(points).mean()
    assert -loss - 1.5 * np.log(np.pi) == pytest.approx(exact, abs=0.04)


def test_samples_have_the_models_law() -> None:
    fitted = _linear(shift=SHIFT)
    means = draw_means(fitted, 0, n_samples=40_000, sample_seed=0)
    samples = draw_samples(fitted, 0, means, sample_seed=0)
    decoded = np.diag([3.5, 0.5, 0.0]) * np.outer(SCALE, SCALE)
    whole = _exact_covariance() * np.outer(SCALE, SCALE)
    # Standard errors: at most sqrt(2 / n) of the variances; 5 of them, false alarm 2e-5.
    np.testing.assert_allclose(np.cov(means.T), decoded, atol=0.036 * 16)
    np.testing.assert_allclose(np.cov(samples.T), whole, atol=0.036 * 16)
    np.testing.assert_allclose(samples.mean(axis=0), SHIFT, atol=5 * 4 / 200)
    assert np.ptp(means[:, 2]) < 1e-6


def test_codes_are_the_encoders_means() -> None:
    points = _gaussian_points(1_500)
    codes = encode_points(_linear(shift=SHIFT), 0, points * SCALE + SHIFT)
    gain = np.sqrt(SPECTRUM[:2] - 0.5) / SPECTRUM[:2]
    np.testing.assert_allclose(codes, points[:, :2] * gain, atol=1e-5)


def _trained(model: ModelConfig) -> FittedVAE:
    points = 2 * np.random.default_rng(2).standard_normal((3, 100, 3))
    members = [Member(data_seed=i, init_seed=i, standardize=i == 1) for i in range(3)]
    config = TrainingConfig(epochs=1, batch_size=32)
    return train(points, members, model=model, training=config).fitted


@pytest.mark.parametrize("variance", ["implied", "learned"])
def test_stored_weights_generate_the_same_to_the_bit(variance: str) -> None:
    model = ModelConfig(hidden=(16,), decoder_variance=variance)  # type: ignore[arg-type]
    fitted = _trained(model)
    order = [2, 0]
    rebuilt = load_fitted(
        model, [fitted.members[i] for i in order], [fitted.state(i) for i in order]
    )
    points = _gaussian_points(50)
    for new, old in enumerate(order):
        means = draw_means(fitted, old, n_samples=70, sample_seed=4)
        np.testing.assert_array_equal(draw_means(rebuilt, new, n_samples=70, sample_seed=4), means)
        np.testing.assert_array_equal(
            draw_samples(rebuilt, new, means, sample_seed=4),
            draw_samples(fitted, old, means, sample_seed=4),
        )
        np.testing.assert_array_equal(
            encode_points(rebuilt, new, points), encode_points(fitted, old, points)
        )
        assert heldout_losses(rebuilt, new, points) == heldout_losses(fitted, old, points)


def test_sample_seeds_give_other_draws_of_one_model() -> None:
    fitted = _linear()
    first, second = (draw_means(fitted, 0, n_samples=10, sample_seed=s) for s in (0, 1))
    assert not np.allclose(first, second)
    noise = [draw_samples(fitted, 0, first, sample_seed=s) - first for s in (0, 1)]
    assert not np.allclose(*noise)


def test_given_noise_is_that_of_the_samples_and_not_of_the_training() -> None:
    fitted, points = _linear(variance="learned", shift=SHIFT), _gaussian_points(50)
    noisy = replace(fitted, members=(replace(fitted.members[0], noise_variance=2.0),))
    np.testing.assert_allclose(noisy.noise_variance[0], 2 * SCALE**2)
    np.testing.assert_allclose(noisy.trained_variance, fitted.decoder_variance)
    assert heldout_losses(noisy, 0, points) == heldout_losses(fitted, 0, points)
    means = draw_means(fitted, 0, n_samples=70, sample_seed=4)
    noises = [draw_samples(each, 0, means, sample_seed=4) - means for each in (fitted, noisy)]
    np.testing.assert_allclose(noises[1], 2 * noises[0])


def test_noise_variance_follows_the_kl_weight_and_the_units() -> None:
    fitted = _linear(shift=SHIFT)
    doubled = replace(fitted, members=(replace(fitted.members[0], kl_weight=2.0),))
    np.testing.assert_allclose(doubled.noise_variance, 2 * fitted.noise_variance)
    np.testing.assert_allclose(fitted.noise_variance[0], 0.5 * SCALE**2)
    np.testing.assert_allclose(fitted.log_volume, np.log(SCALE).sum())


def test_codes_are_counted_where_they_vary() -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(500, 4)) * np.array([1.0, 1e-3, 0.5, 0.0])
    np.testing.assert_array_equal(active_codes(codes), codes[:, [0, 2]])


def test_collapsed_codes_keep_the_coordinate_that_varies_most() -> None:
    codes = np.random.default_rng(0).normal(size=(500, 3)) * np.array([1e-4, 1e-2, 1e-3])
    np.testing.assert_array_equal(active_codes(codes), codes[:, [1]])
