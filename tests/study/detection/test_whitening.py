"""Units of a cloud: covariance one, the same for A x + b, null directions and far points apart."""

from __future__ import annotations

import numpy as np
import pytest

from study.detection.whitening import find_whitening


def skewed(n_samples: int = 2000, dim: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_samples, dim)) ** 2 * np.arange(1, dim + 1) + rng.normal(
        size=(n_samples, dim)
    )


MAPS = {
    "small": (1e-8 * np.eye(3), 0.0),
    "large": (1e8 * np.eye(3), 0.0),
    "uneven": (np.diag([1e-8, 1.0, 1e8]), 0.0),
    "shear": (np.array([[1.0, 0.9, 0.0], [0.0, 1.0, -3.0], [0.0, 0.0, 1.0]]), 5.0),
    "mirror": (np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.3, 0.0, 7.0]]), -1e3),
}


def test_the_covariance_is_one() -> None:
    points = skewed()
    found = find_whitening(points)
    white = found.to_white(points)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(white.mean(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(found.centre + white @ found.root.T, points, rtol=1e-12, atol=1e-11)
    _, log_det = np.linalg.slogdet(np.cov(points.T, bias=True))
    assert found.log_volume == pytest.approx(0.5 * log_det, abs=1e-11)
    assert found.n_null == 0


@pytest.mark.parametrize("name", MAPS)
def test_an_affine_map_changes_nothing(name: str) -> None:
    points = skewed()
    matrix, shift = MAPS[name]
    before, after = find_whitening(points), find_whitening(points @ matrix.T + shift)
    mapped = after.to_white(points @ matrix.T + shift)
    np.testing.assert_allclose(mapped, before.to_white(points), atol=1e-9)
    volume = np.linalg.slogdet(matrix)[1]
    assert after.log_volume - before.log_volume == pytest.approx(volume, abs=1e-9)


def test_a_far_offset_costs_only_the_digits_it_takes() -> None:
    points = skewed()
    before, after = find_whitening(points), find_whitening(points + 1e8)
    gap = after.to_white(points + 1e8) - before.to_white(points)
    assert np.abs(gap).max() < 1e-6


def test_directions_without_extent_are_left_out() -> None:
    points = skewed()
    flat = np.column_stack([points, points @ [1.0, -2.0, 0.5], np.full(len(points), 4.0)])
    found = find_whitening(flat)
    assert found.n_null == 2
    white = found.to_white(flat)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(3), atol=1e-10)
    # The map from the three coordinates to the four keeps volumes times sqrt(1 + |a|^2).
    stretch = 0.5 * np.log(1.0 + 1.0 + 4.0 + 0.25)
    expected = find_whitening(points).log_volume + stretch
    assert found.log_volume == pytest.approx(expected, abs=1e-9)
    assert np.linalg.matrix_rank(found.rest, tol=1e-40) == 2
    assert np.sqrt(np.trace(found.rest)) < 1e-10


def test_rounding_to_32_bits_is_no_extent() -> None:
    t = np.random.default_rng(0).normal(size=1000)
    line = np.outer(t, [1.0, 0.7, -0.3]).astype(np.float32).astype(np.float64) + 2.0
    assert find_whitening(line.astype(np.float32).astype(np.float64)).n_null == 2
    assert find_whitening(np.outer(t, [1.0, 0.7, -0.3]) + 2.0).n_null == 2


def test_points_without_extent() -> None:
    for value in (0.0, 1.0, -1e8):
        found = find_whitening(np.full((10, 3), value))
        assert (found.n_null, found.log_volume) == (3, 0.0)
        np.testing.assert_array_equal(found.centre, value)
        assert np.linalg.matrix_rank(found.rest, tol=0.0) == 3


def test_far_points_do_not_decide_what_is_thin() -> None:
    points = skewed()
    alone = find_whitening(points[5:])
    points[:5] += 1e6
    found = find_whitening(points)
    # Skewness and mean are those of the 1,995 points.
    np.testing.assert_allclose(found.root @ found.root.T, alone.root @ alone.root.T, rtol=1e-6)


def test_half_of_the_points_in_one_place() -> None:
    points = skewed()
    points[:1200] = 3.0
    white = find_whitening(points).to_white(points)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(3), atol=1e-10)
