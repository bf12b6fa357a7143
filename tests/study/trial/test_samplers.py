"""Latents of another law than the prior, from the same stored weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from study.config import DetectionConfig, MixtureConfig, ModelConfig, TrainingConfig
from study.planning.units import Trial
from study.trial.models import VAEModel

SPECTRUM = (4.0, 1.0, 0.25)
OFFSET = np.array([1.0, -0.5])
NOISE = 0.5
N_SAMPLES = 20_000


def linear_state() -> dict[str, np.ndarray]:
    """Return the best linear autoencoder of the spectrum at beta = 1, its codes moved away."""
    values = np.array(SPECTRUM[:2])
    gain = np.sqrt(values - NOISE)
    mean_weights = np.vstack([np.diag(gain / values), [0, 0]])
    return {
        "encoder.0.weight": np.hstack([mean_weights, np.zeros_like(mean_weights)]),
        "encoder.0.bias": np.concatenate([OFFSET, np.log(NOISE / values)])[None],
        "decoder.0.weight": np.hstack([np.diag(gain), np.zeros((2, 1))]),
        "decoder.0.bias": np.zeros((1, 3)),
        "log_variance": np.log([[NOISE]]),
        "shift": np.zeros(3),
        "scale": np.ones(3),
    }


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(
        mixture=MixtureConfig(
            n_components=1,
            n_samples=N_SAMPLES,
            means=((0.0, 0.0, 0.0),),
            variances=(SPECTRUM,),
            weights=(1.0,),
        ),
        model=ModelConfig(latent_dim=2, hidden=()),
        training=TrainingConfig(),
        detection=DetectionConfig(n_samples=N_SAMPLES),
    )


def with_sampler(trial: Trial, sampler: str, n_components: int = 1) -> Trial:
    detection = replace(
        trial.detection,
        sampler=sampler,  # type: ignore[arg-type]
        sampler_components=n_components,
    )
    return replace(trial, detection=detection)


@pytest.mark.parametrize("n_components", [1, 3])
def test_of_a_linear_autoencoder_it_is_principal_components(
    trial: Trial, n_components: int
) -> None:
    model = VAEModel(with_sampler(trial, "gmm_expost", n_components), linear_state())
    samples = model.generated()["samples"]
    # The decoder takes the codes' offset along; the prior knows nothing of it.
    centre = np.append(np.sqrt(np.array(SPECTRUM[:2]) - NOISE) * OFFSET, 0.0)
    variances = np.array([*SPECTRUM[:2], NOISE])
    # 4.5 standard errors, of the training points and of the draws.
    error = 4.5 * np.sqrt(2 / N_SAMPLES)
    assert np.all(np.abs(samples.mean(axis=0) - centre) < error * np.sqrt(variances))
    bound = np.sqrt(2) * error * np.sqrt(np.outer(variances, variances))
    assert np.all(np.abs(np.cov(samples.T) - np.diag(variances)) < bound)
    plain = VAEModel(trial, linear_state()).generated()["samples"]
    assert abs(plain[:, 0].mean()) < error * 2


def test_what_the_network_loses_and_encodes_is_the_same_to_the_bit(trial: Trial) -> None:
    points = np.random.default_rng(0).standard_normal((200, 3))
    prior, expost = (
        VAEModel(with_sampler(trial, sampler), linear_state())
        for sampler in ("prior", "gmm_expost")
    )
    assert prior.columns(points, 1.0) == expost.columns(points, 1.0)
    assert np.array_equal(prior.codes(points), expost.codes(points))
    assert expost.density(points) == (None, {})
    again = VAEModel(with_sampler(trial, "gmm_expost"), linear_state())
    assert np.array_equal(expost.generated()["means"], again.generated()["means"])


def test_it_is_another_trial_of_the_same_training_and_control(trial: Trial) -> None:
    other = with_sampler(trial, "gmm_expost")
    assert other.trial_id != trial.trial_id
    assert other.trial_id != with_sampler(trial, "gmm_expost", 3).trial_id
    assert (other.training_id, other.control_id) == (trial.training_id, trial.control_id)
    assert with_sampler(trial, "prior", 3).trial_id == trial.trial_id
