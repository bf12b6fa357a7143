"""The true mixture: its law, its draws and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, multivariate_normal

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture, draw_training_points


@pytest.fixture
def mixture() -> TrueMixture:
    return draw_mixture(MixtureConfig(n_components=4, dim=3), 5)


def test_log_prob_is_scipys(mixture: TrueMixture) -> None:
    points, _ = mixture.sample(50, np.random.default_rng(0))
    density = sum(
        w * multivariate_normal(m, np.diag(v)).pdf(points)
        for w, m, v in zip(mixture.weights, mixture.means, mixture.variances, strict=True)
    )
    np.testing.assert_allclose(mixture.log_prob(points), np.log(density), rtol=1e-12)


def test_posterior_is_a_distribution_and_bayes_rule(mixture: TrueMixture) -> None:
    points, labels = mixture.sample(2000, np.random.default_rng(1))
    posterior = mixture.posterior(points)
    np.testing.assert_allclose(posterior.sum(axis=1), 1, rtol=1e-12)
    # Calibration: the mean posterior of a component is its share; 5 sd, false alarm 4e-6.
    share = np.bincount(labels, minlength=4) / 2000
    sd = np.sqrt((posterior * (1 - posterior)).sum(axis=0)) / 2000
    assert np.all(np.abs(posterior.mean(axis=0) - share) < 5 * sd + 1e-12)


def test_mahalanobis_of_own_component_is_chi_squared(mixture: TrueMixture) -> None:
    points, labels = mixture.sample(20_000, np.random.default_rng(2))
    own = mixture.mahalanobis_sq(points)[np.arange(20_000), labels]
    # Share inside the 90 % region; 5 sd, false alarm 6e-7.
    inside = np.mean(own <= chi2(3).ppf(0.9))
    assert abs(inside - 0.9) < 5 * np.sqrt(0.09 / 20_000)


def test_covariance_is_the_samples(mixture: TrueMixture) -> None:
    points, _ = mixture.sample(200_000, np.random.default_rng(3))
    # Bounded means: an entry's standard error is below 0.25; 5 of them, false alarm 6e-6.
    np.testing.assert_allclose(np.cov(points.T, ddof=0), mixture.covariance(), atol=1.25)


def test_recipe_is_respected() -> None:
    config = MixtureConfig(n_components=40, dim=2, box=3.0, variance=(0.1, 0.2))
    mixture = draw_mixture(config, 0)
    assert (mixture.n_components, mixture.dim) == (40, 2)
    assert np.abs(mixture.means).max() <= 3
    assert mixture.variances.min() >= 0.1
    assert mixture.variances.max() <= 0.2


@pytest.mark.parametrize(("k", "half_width"), [(10, 10.0), (80, 20.0)])
def test_density_box_grows_with_the_cube_root(k: int, half_width: float) -> None:
    wide = draw_mixture(MixtureConfig(n_components=k, box="density"), 1)
    fixed = draw_mixture(MixtureConfig(n_components=k, box=half_width), 1)
    np.testing.assert_allclose(wide.means, fixed.means, rtol=1e-12)


def test_seed_alone_decides_the_draw() -> None:
    config = MixtureConfig()
    np.testing.assert_array_equal(draw_mixture(config, 3).means, draw_mixture(config, 3).means)
    assert not np.array_equal(draw_mixture(config, 3).means, draw_mixture(config, 4).means)


def test_training_points_are_not_the_mixtures_stream() -> None:
    config = MixtureConfig(n_samples=100)
    mixture = draw_mixture(config, 0)
    points, labels = draw_training_points(config, mixture, 0)
    assert points.shape == (100, 3)
    assert labels.dtype == np.int64
    again, _ = draw_training_points(config, mixture, 0)
    np.testing.assert_array_equal(points, again)


def test_given_mixture_ignores_the_seed() -> None:
    config = MixtureConfig(
        means=((0.0, 1.0), (2.0, 3.0)), variances=((1.0, 1.0), (2.0, 2.0)), weights=(0.25, 0.75)
    )
    mixture = draw_mixture(config, 9)
    np.testing.assert_array_equal(mixture.means, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(mixture.weights, [0.25, 0.75])


def test_component_of_weight_zero_has_no_posterior() -> None:
    mixture = TrueMixture(
        weights=np.array([1.0, 0.0]), means=np.zeros((2, 1)), variances=np.ones((2, 1))
    )
    np.testing.assert_array_equal(mixture.posterior(np.zeros((1, 1))), [[1, 0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": np.array([0.5, 0.4])}, "sum to 1"),
        ({"weights": np.array([1.5, -0.5])}, "non-negative"),
        ({"variances": np.zeros((2, 1))}, "positive"),
        ({"means": np.zeros((3, 1))}, "shapes"),
    ],
)
def test_no_mixture_is_refused(changes: dict[str, np.ndarray], message: str) -> None:
    fields = {
        "weights": np.array([0.5, 0.5]),
        "means": np.zeros((2, 1)),
        "variances": np.ones((2, 1)),
    }
    with pytest.raises(ValueError, match=message):
        TrueMixture(**{**fields, **changes})


def test_incomplete_given_mixture_is_refused() -> None:
    with pytest.raises(ValueError, match="one is missing"):
        draw_mixture(MixtureConfig(means=((0.0,),)), 0)
