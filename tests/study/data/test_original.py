"""The replay of the original report's notebook."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from study.config import MixtureConfig
from study.data.mixture import draw_mixture, draw_training_points
from study.data.original import original_draw, original_yaml


def test_component_sizes_are_the_notebooks() -> None:
    sizes = np.bincount(original_draw().labels)
    assert sizes.min() == 123
    assert sizes.max() == 3247


def test_points_follow_their_components() -> None:
    draw = original_draw()
    z = (draw.points - draw.means[draw.labels]) / np.sqrt(draw.variances[draw.labels])
    # Mean and variance of 30,000 standard normals: 5 standard errors, false alarm 1e-6.
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / z.size)


@pytest.mark.slow
def test_shortcut_past_the_first_draws_equals_the_whole_notebook() -> None:
    rng = np.random.RandomState(123)
    for _ in range(3):
        means = rng.uniform(-10, 10, (10, 3))
        variances = [rng.uniform(0.5, 2.0, 3) for _ in range(10)]
        weights = rng.dirichlet(np.ones(10))
        labels = rng.choice(10, size=10_000, p=weights)
        points = [rng.multivariate_normal(means[k], np.diag(variances[k])) for k in labels]
    draw = original_draw()
    np.testing.assert_array_equal(points, draw.points)
    np.testing.assert_array_equal(labels, draw.labels)
    np.testing.assert_array_equal(weights, draw.weights)


def _original_config(**changes: object) -> MixtureConfig:
    given = yaml.safe_load(original_yaml())
    fields = {key.removeprefix("mixture."): value for key, value in given.items()}
    return MixtureConfig(**{**fields, "training_points": "original", **changes})  # type: ignore[arg-type]


def test_yaml_reads_back_exactly_and_gives_the_original_points() -> None:
    config = _original_config()
    mixture = draw_mixture(config, 0)
    np.testing.assert_array_equal(mixture.means, original_draw().means)
    np.testing.assert_array_equal(mixture.variances, original_draw().variances)
    np.testing.assert_allclose(mixture.weights, original_draw().weights, rtol=1e-15)
    points, labels = draw_training_points(config, mixture, 7)
    np.testing.assert_array_equal(points, original_draw().points)
    np.testing.assert_array_equal(labels, original_draw().labels)


def test_original_points_need_the_original_mixture() -> None:
    config = MixtureConfig(training_points="original")
    with pytest.raises(ValueError, match=r"python -m study\.data\.original"):
        draw_training_points(config, draw_mixture(config, 0), 0)


def test_original_points_need_their_own_number() -> None:
    config = _original_config(n_samples=500)
    with pytest.raises(ValueError, match="must be 10,000"):
        draw_training_points(config, draw_mixture(config, 0), 0)
