"""Shares of points outside the truth's ellipsoids: closed forms, nulls and dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture
from study.endpoints.outside import (
    LEVELS,
    between_mass,
    outside_rows,
    outside_shares,
    widened_truth_outside,
)

N_POINTS = 20_000


def apart(dim: int) -> TrueMixture:
    """Two components that do not overlap."""
    means = np.zeros((2, dim))
    means[1] = 100.0
    return TrueMixture(weights=np.array([0.3, 0.7]), means=means, variances=np.ones((2, dim)))


def widened(truth: TrueMixture, factor: float) -> TrueMixture:
    return TrueMixture(
        weights=truth.weights, means=truth.means, variances=truth.variances * factor**2
    )


@pytest.mark.parametrize("dim", [1, 3, 16])
@pytest.mark.parametrize("factor", [1.0, 1.1, 1.5])
def test_a_wider_truth_has_what_the_closed_form_says(dim: int, factor: float) -> None:
    truth = apart(dim)
    points = widened(truth, factor).sample(N_POINTS, np.random.default_rng(0))[0]
    found = outside_shares(points, truth)
    for level, share in zip(LEVELS, found, strict=True):
        expected = widened_truth_outside(level, dim=dim, factor=factor) + 1 - level
        # Five standard errors of a share, and a point: false alarm 1e-6.
        assert abs(share - expected) < 5 * np.sqrt(expected / N_POINTS) + 1 / N_POINTS


def test_the_flank_of_a_wider_truth_is_not_between() -> None:
    truth = apart(3)
    points = widened(truth, 1.2).sample(N_POINTS, np.random.default_rng(1))[0]
    control = truth.sample(N_POINTS, np.random.default_rng(2))[0]
    assert outside_shares(points, truth)[1] > 0.04
    assert between_mass(points, control, truth) < 0.001
    points[: N_POINTS // 4] = 50.0
    assert between_mass(points, control, truth) == pytest.approx(0.25, abs=0.001)


def test_no_level_is_comparable_over_dimensions() -> None:
    shares = [widened_truth_outside(0.99, dim=dim, factor=1.1) for dim in (2, 3, 8, 16, 64)]
    assert np.round(shares, 3).tolist() == [0.012, 0.015, 0.025, 0.038, 0.117]


def test_rows_are_the_curve_of_each_source() -> None:
    truth = draw_mixture(MixtureConfig(), 0)
    points = truth.sample(500, np.random.default_rng(3))[0]
    rows = outside_rows({"data": points, "samples": points + 1}, truth)
    assert [row["source"] for row in rows] == ["data"] * 6 + ["samples"] * 6
    assert [row["level"] for row in rows[:6]] == list(LEVELS)
    for part in (rows[:6], rows[6:]):
        curve = [row["outside"] for row in part]
        assert curve == sorted(curve, reverse=True)


def test_a_level_is_between_0_and_1() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1; got 1\.0"):
        outside_shares(np.zeros((2, 3)), apart(3), levels=(0.9, 1.0))
