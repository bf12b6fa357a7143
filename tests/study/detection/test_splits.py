"""The forecast of a split is what the split gains."""

from __future__ import annotations

import numpy as np
import pytest

from study.detection.cloud import Cloud, Mixture
from study.detection.compiled.split import grow_parts
from study.detection.moves import split_component
from study.detection.splits import SplitCache, forecast_splits


def whole(cloud: Cloud) -> Mixture:
    return cloud.from_labels(np.zeros(cloud.n_samples, dtype=np.int64))


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_two_clusters_are_found_in_one_component(dim: int) -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(-3, 1, (500, dim)), rng.normal(3, 1, (500, dim))])
    cloud = Cloud(points)
    one = whole(cloud)
    (split,) = forecast_splits(cloud, one, [0], rng)
    assert split is not None
    np.testing.assert_allclose(np.sort(split.children.means[:, 0]), [-3, 3], atol=0.25)
    after = cloud.score(split_component(one, 0, split.children)).objective
    assert after - cloud.score(one).objective == pytest.approx(split.gain, rel=0.05)


def test_too_few_points_have_no_split() -> None:
    rng = np.random.default_rng(0)
    cloud = Cloud(rng.normal(size=(9, 3)))
    assert forecast_splits(cloud, whole(cloud), [0], rng) == [None]


def test_parts_without_a_density_are_no_split() -> None:
    """Squares that overflow: both parts of every start end without points, nothing is divided."""
    points = np.random.default_rng(0).normal(size=(200, 3)) * 1e160
    starts = np.zeros((2, 10))
    starts[[0, 1], [1, 2]] = 1.0
    gain, weights, means, covariances = grow_parts(points, starts, 3, 0.02, np.ones(3))
    assert gain == -np.inf
    assert not any(part.any() for part in (weights, means, covariances))


def test_a_component_met_again_needs_no_new_forecast() -> None:
    cloud = Cloud(np.random.default_rng(0).normal(size=(300, 2)))
    cache, one = SplitCache(), whole(cloud)
    assert cache.find(one) == [0]
    cache.add(one, [0], [None])
    assert cache.find(one) == [None]
    assert cache.find(one._replace(means=one.means + 1.0)) == [0]
