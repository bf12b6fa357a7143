"""Numbers of the literature on PacGAN's ring and grid: closed forms, and what one Gaussian gets.

Statistical tests have a false-alarm rate of at most 1e-4 each: 4 standard errors, seeds fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ncx2

from study.config.cells import make_cell
from study.data.mixture import TrueMixture, draw_mixture
from study.data.presets import PRESETS
from study.endpoints.literature import (
    entropic_coverage,
    literature_columns,
    rke_bandwidth,
    rke_modes,
    score_literature,
    true_rke_modes,
)

# One Gaussian with the data's covariance: modes captured with 2,500 points, share within 3 sd; as
# 300 draws gave them elsewhere (4.48 and 0.262 % of the ring: closed form 4.504 and 0.265 %).
ONE_GAUSSIAN = {"ring8": (4.48, 0.00262), "grid25": (17.67, 0.0151)}
KERNEL = {"ring8": (8.32, 8.01, 6.71), "grid25": (50.0, 27.8, 26.0)}
DRAWS = 300


def truth_of(name: str) -> TrueMixture:
    return draw_mixture(PRESETS[name].mixture, 0)


def near_a_mode(truth: TrueMixture) -> np.ndarray:
    """Return the mass that one Gaussian with an isotropic covariance has within 3 sd of each."""
    variance = truth.covariance()[0, 0]
    sd_sq = truth.variances[0, 0]
    noncentral = (truth.means**2).sum(axis=1) / variance
    return ncx2.cdf(9 * sd_sq / variance, 2, np.maximum(noncentral, 1e-300))


@pytest.mark.parametrize("name", list(ONE_GAUSSIAN))
def test_one_gaussian_in_closed_form(name: str) -> None:
    truth = truth_of(name)
    mass = near_a_mode(truth)
    modes, share = ONE_GAUSSIAN[name]
    # Within two standard errors of those 300 draws.
    assert (1 - (1 - mass) ** 2500).sum() == pytest.approx(modes, abs=2 * 2.1 / math.sqrt(DRAWS))
    assert mass.sum() == pytest.approx(share, rel=2 / math.sqrt(2500 * share * DRAWS))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ONE_GAUSSIAN))
def test_truth_and_one_gaussian_over_300_draws(name: str) -> None:
    truth, rng = truth_of(name), np.random.default_rng(1)
    root = np.linalg.cholesky(truth.covariance())
    true, flat = [], []
    for _ in range(DRAWS):
        true.append(score_literature(truth.sample(2500, rng)[0], truth))
        flat.append(score_literature(rng.standard_normal((2500, 2)) @ root.T, truth))
    assert {score.modes_captured for score in true} == {truth.n_modes}
    near = np.mean([score.hq_3sd for score in true])
    assert near == pytest.approx(1 - math.exp(-4.5), abs=4 * 0.0021 / math.sqrt(DRAWS))
    # (K - 1) / 2n nats is what the multinomial noise of the truth costs, of either kind.
    for kind in ("rkl_captured", "rkl_nearest"):
        found = np.mean([getattr(score, kind) for score in true])
        assert found == pytest.approx((truth.n_modes - 1) / 5000, rel=4 * 0.06)
    modes, share = ONE_GAUSSIAN[name]
    captured = np.array([score.modes_captured for score in flat])
    assert captured.mean() == pytest.approx(modes, abs=4 * captured.std() / math.sqrt(DRAWS))
    shares = np.array([score.hq_3sd for score in flat])
    assert shares.mean() == pytest.approx(share, abs=4 * shares.std() / math.sqrt(DRAWS))


@pytest.mark.parametrize("name", list(KERNEL))
def test_kernel_entropy_in_closed_form_and_from_points(name: str) -> None:
    truth = truth_of(name)
    points = truth.sample(2500, np.random.default_rng(2))[0]
    for bandwidth, expected in zip((0.1, 0.3, 0.5), KERNEL[name], strict=True):
        closed = true_rke_modes(truth, bandwidth)
        assert closed == pytest.approx(expected, abs=0.05)
        # The pairs' kernel has a relative standard error of about 1 %.
        assert rke_modes(points, bandwidth) == pytest.approx(closed, rel=0.04)


def test_kernel_entropy_does_not_grow_with_the_points() -> None:
    truth = truth_of("grid25")
    few, many = (truth.sample(n, np.random.default_rng(3))[0] for n in (300, 2500))
    closed = true_rke_modes(truth, 0.5)
    assert rke_modes(few, 0.5) == pytest.approx(closed, rel=0.1)
    assert rke_modes(many, 0.5) == pytest.approx(closed, rel=0.03)
    assert math.isnan(rke_modes(few[:1], 0.5))
    # Points that are all far apart are as many modes as points, not infinitely many.
    assert rke_modes(100.0 * np.arange(5.0)[:, None], 1e-3) == 5
    with pytest.raises(ValueError, match="bandwidth must be above 0"):
        rke_modes(few, 0.0)


def test_nothing_near_a_mode_has_no_captured_law() -> None:
    truth = truth_of("ring8")
    scores = score_literature(np.zeros((10, 2)), truth)
    assert (scores.modes_captured, scores.hq_3sd) == (0, 0.0)
    assert math.isnan(scores.rkl_captured)
    assert scores.rkl_nearest == pytest.approx(math.log(8))


def test_a_mode_of_several_pieces_is_one_mode() -> None:
    truth = draw_mixture(
        make_cell({"mixture.kind": "rings", "mixture.n_components": 3}).mixture, 0
    )
    assert (truth.n_modes, truth.n_components) == (3, 192)
    points = truth.sample(3000, np.random.default_rng(0))[0]
    scores = score_literature(points, truth)
    assert scores.modes_captured == 3
    assert scores.emc == pytest.approx(1, abs=0.01)
    inner = truth.means[truth.groups == 0]
    assert score_literature(inner, truth).modes_captured == 1
    assert score_literature(inner, truth).rkl_nearest == pytest.approx(math.log(3))


def test_columns_say_their_bandwidth_and_stand_beside_the_control() -> None:
    truth = truth_of("ring8")
    control = truth.sample(400, np.random.default_rng(0))[0]
    columns = literature_columns(control[:300], control, truth)
    assert columns["rke_bandwidth"] == rke_bandwidth(truth) == pytest.approx(0.03 * math.sqrt(2))
    assert columns["modes_captured"] == columns["modes_captured_control"] == 8
    assert math.isnan(entropic_coverage(np.ones(1)))
