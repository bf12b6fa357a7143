"""The original protocol runs on our EM and gives what scikit-learn gives, on every kind of set."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from study.detection.modes import ORIGINAL_KS, ORIGINAL_SEED, detect_modes

FloatArray = np.ndarray


def mixture(rng: np.random.Generator, n_samples: int) -> FloatArray:
    """Draw from a mixture of the report's recipe."""
    means = rng.uniform(-10, 10, (10, 3))
    labels = rng.choice(10, n_samples, p=rng.dirichlet(np.ones(10)))
    return means[labels] + rng.normal(size=(n_samples, 3)) * rng.uniform(0.7, 1.4, (10, 3))[labels]


def surface(rng: np.random.Generator, n_samples: int) -> FloatArray:
    """Draw from a curved surface, as decoder means lie on one."""
    u, v = rng.normal(size=(2, n_samples))
    return np.column_stack([5 * np.tanh(2 * u) + v, 4 * np.sin(2 * v), u * v + 3 * np.abs(u)])


def curve(rng: np.random.Generator, n_samples: int) -> FloatArray:
    """Draw from a curve, the decoder means of a one-dimensional latent space."""
    t = rng.normal(size=n_samples)
    return np.column_stack([3 * t, 4 * np.sin(3 * t), 5 * np.maximum(t, 0)])


def codes(rng: np.random.Generator, n_samples: int) -> FloatArray:
    """Draw clusters in the plane, as codes are."""
    centres = rng.normal(size=(8, 2))
    return centres[rng.integers(8, size=n_samples)] + 0.1 * rng.normal(size=(n_samples, 2))


def wide(rng: np.random.Generator, n_samples: int) -> FloatArray:
    """Draw one Gaussian in eight dimensions."""
    return rng.normal(size=(n_samples, 8)) @ rng.normal(size=(8, 8))


KINDS = (mixture, surface, curve, codes, wide)


def assert_equals_sklearn(points: FloatArray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [GaussianMixture(k, random_state=ORIGINAL_SEED).fit(points) for k in ORIGINAL_KS]
    bic = np.array([model.bic(points) for model in models])
    count = detect_modes(points, protocol="original")
    assert count.k == ORIGINAL_KS[int(bic.argmin())]
    np.testing.assert_allclose(count.bic, bic, rtol=1e-9, atol=1e-3)
    assert count.n_iterations == sum(model.n_iter_ for model in models)
    assert count.at_ceiling == (count.k == ORIGINAL_KS[-1])
    chosen = models[int(bic.argmin())]
    np.testing.assert_allclose(count.fitted.means, chosen.means_, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_set_of_each_kind(kind: object) -> None:
    assert_equals_sklearn(kind(np.random.default_rng(7), 250))  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_sets(kind: object) -> None:
    for seed in range(40):
        rng = np.random.default_rng(1000 + seed)
        assert_equals_sklearn(kind(rng, int(rng.integers(200, 900))))  # type: ignore[operator]


def test_empty_clusters_are_as_in_scikit_learn() -> None:
    few = np.repeat(np.random.default_rng(0).normal(size=(9, 2)), 20, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [GaussianMixture(k, random_state=ORIGINAL_SEED).fit(few) for k in ORIGINAL_KS]
    count = detect_modes(few, protocol="original")
    assert count.k == ORIGINAL_KS[int(np.argmin([model.bic(few) for model in models]))]
