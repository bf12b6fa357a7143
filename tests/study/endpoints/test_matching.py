"""Matching to the truth: nulls, dropped components, collapse, fragments and edge cases.

Statistical tests fix their seeds; the false-alarm rate is that of a new seed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture
from study.detection.modes import FittedMixture
from study.endpoints.matching import (
    RECALL_THRESHOLDS,
    PointMatch,
    match_components,
    match_points,
)

N_POINTS = 10_000


@pytest.fixture(scope="module")
def truth() -> TrueMixture:
    """A drawn mixture; its components overlap a little."""
    return draw_mixture(MixtureConfig(), 0)


@pytest.fixture(scope="module")
def grid() -> TrueMixture:
    """Twenty-five components, far apart: the 2-D grid of the literature on mode collapse."""
    axis = np.arange(-4.0, 5.0, 2.0)
    means = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    return TrueMixture(
        weights=np.full(25, 1 / 25), means=means, variances=np.full((25, 2), 0.05**2)
    )


def draw(mixture: TrueMixture, seed: int, n_samples: int = N_POINTS) -> np.ndarray:
    return mixture.sample(n_samples, np.random.default_rng(seed))[0]


def reweighted(mixture: TrueMixture, weights: np.ndarray) -> TrueMixture:
    return TrueMixture(
        weights=weights / weights.sum(), means=mixture.means, variances=mixture.variances
    )


def as_fitted(mixture: TrueMixture, copies: int = 1) -> FittedMixture:
    """The truth as a fit in which each component is split into equal copies."""
    return FittedMixture(
        np.repeat(mixture.weights, copies) / copies,
        np.repeat(mixture.means, copies, axis=0),
        np.repeat(mixture.variances[:, :, None] * np.eye(mixture.dim), copies, axis=0),
    )


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 16])
def test_high_quality_share_of_a_true_draw(dim: int) -> None:
    apart = TrueMixture(
        weights=np.array([0.3, 0.7]),
        means=np.array([np.zeros(dim), np.full(dim, 50.0)]),
        variances=np.full((2, dim), 2.0),
    )
    # sd .001: 4 sd, false alarm 6e-5 for each dimension.
    assert match_points(draw(apart, dim), apart).hq == pytest.approx(0.99, abs=0.004)


@pytest.mark.parametrize(("n_components", "dim"), [(10, 1), (10, 2), (10, 3), (40, 3), (10, 8)])
def test_null_is_full_recall_and_multinomial_noise(n_components: int, dim: int) -> None:
    mixture = draw_mixture(MixtureConfig(n_components=n_components, dim=dim), 1)
    match = match_points(draw(mixture, 2), mixture)
    # At 0.2 a component of 50 expected points would need fewer than 10: below 1e-11 each.
    assert match.mode_recall() == 1
    assert match.weighted_recall() == 1
    # Posterior masses vary less than multinomial shares: E tv <= .4 sum sqrt(w / n), sd a third.
    expected = 0.4 * np.sqrt(mixture.weights / N_POINTS).sum()
    assert match.total_variation < 2.5 * expected
    # 2 n KL is below a chi-square law with K - 1 degrees: false alarm 1e-4.
    limit = chi2(n_components - 1).ppf(1 - 1e-4) / (2 * N_POINTS)
    assert 0 <= match.reverse_kl < limit
    assert 0 <= match.forward_kl < 2 * limit


def test_whole_assignment_starves_hidden_components() -> None:
    """The reason for sharing points out: recall of the truth itself must be 1."""
    mixture = draw_mixture(MixtureConfig(dim=1), 1)
    points = draw(mixture, 2)
    assert match_points(points, mixture, assignment="map").mode_recall() < 0.8


def test_assignments_agree_where_components_are_apart(grid: TrueMixture) -> None:
    points = draw(grid, 0)
    shared, whole = (match_points(points, grid, assignment=a) for a in ("posterior", "map"))
    np.testing.assert_allclose(shared.mass, whole.mass, atol=1e-12)
    np.testing.assert_allclose(shared.hq_mass, whole.hq_mass, atol=1e-12)


def test_masses_add_up(truth: TrueMixture) -> None:
    points = 6 * np.random.default_rng(0).standard_normal((500, 3))
    match = match_points(points, truth)
    assert match.mass.sum() == pytest.approx(1)
    assert match.hq_mass.sum() == pytest.approx(match.hq)
    assert np.all(match.hq_mass <= match.mass)


@pytest.mark.parametrize("n_dropped", [0, 1, 5, 24])
def test_dropped_components_are_missed(grid: TrueMixture, n_dropped: int) -> None:
    match = match_points(draw(reweighted(grid, np.arange(25.0) >= n_dropped), 3), grid)
    expected = (25 - n_dropped) / 25
    assert [match.mode_recall(threshold) for threshold in (0.05, 0.2, 0.8)] == [expected] * 3
    assert match.weighted_recall() == pytest.approx(expected)
    # The dropped weight goes to the others: tv is that weight, KL(mass || weights) its log.
    assert match.total_variation == pytest.approx(n_dropped / 25, abs=0.03)
    assert match.reverse_kl == pytest.approx(-math.log(expected), abs=0.03)
    assert math.isfinite(match.forward_kl)
    assert (match.forward_kl > 0.1) == (n_dropped > 0)


def test_recall_falls_with_the_threshold(grid: TrueMixture) -> None:
    match = match_points(draw(reweighted(grid, np.arange(1.0, 26.0)), 4), grid)
    curve = [match.mode_recall(threshold) for threshold in RECALL_THRESHOLDS]
    assert (RECALL_THRESHOLDS[0], RECALL_THRESHOLDS[-1], len(curve)) == (0.05, 0.8, 16)
    assert curve == sorted(curve, reverse=True)
    assert curve[0] == 1
    assert 0.55 < curve[-1] < 0.75


def test_scattered_points_do_not_recall(grid: TrueMixture) -> None:
    """Points near every component but in none: a capture by one point would say 25 of 25."""
    points = np.random.default_rng(5).uniform(-5, 5, (N_POINTS, 2))
    match = match_points(points, grid)
    assert match.hq < 0.03
    assert match.mode_recall() == 0
    assert match.mass.min() > 0


def test_single_gaussian_fit_is_mostly_spurious(truth: TrueMixture) -> None:
    data = draw(truth, 6)
    rng = np.random.default_rng(7)
    points = rng.multivariate_normal(data.mean(axis=0), np.cov(data.T), N_POINTS)
    match, control = match_points(points, truth), match_points(data, truth)
    assert control.hq - match.hq > 0.5
    assert match.mode_recall(0.8) < 0.5


def test_collapse_recalls_little(truth: TrueMixture) -> None:
    center = truth.weights @ truth.means
    points = center + np.random.default_rng(8).standard_normal((N_POINTS, 3))
    match = match_points(points, truth)
    assert match.mode_recall() <= 0.2
    assert match.total_variation > 0.5


def test_permuting_components_permutes_the_match(truth: TrueMixture) -> None:
    order = np.random.default_rng(9).permutation(10)
    shuffled = TrueMixture(
        weights=truth.weights[order],
        means=truth.means[order],
        variances=truth.variances[order],
    )
    points = draw(truth, 10)
    match, permuted = match_points(points, truth), match_points(points, shuffled)
    np.testing.assert_allclose(permuted.mass, match.mass[order], rtol=1e-12)
    np.testing.assert_allclose(permuted.hq_mass, match.hq_mass[order], rtol=1e-12)
    assert permuted.hq == match.hq


def test_scaling_axes_changes_nothing(truth: TrueMixture) -> None:
    scale = np.array([0.01, 1.0, 1000.0])
    scaled = TrueMixture(
        weights=truth.weights, means=truth.means * scale, variances=truth.variances * scale**2
    )
    points = 1.2 * draw(truth, 11)
    match, other = match_points(points, truth), match_points(points * scale, scaled)
    np.testing.assert_allclose(other.mass, match.mass, rtol=1e-9)
    np.testing.assert_allclose(other.hq_mass, match.hq_mass, rtol=1e-9)


def test_small_components_are_not_eligible() -> None:
    mixture = TrueMixture(
        weights=np.array([0.996, 0.004, 0.0]),
        means=np.array([[0.0], [100.0], [200.0]]),
        variances=np.ones((3, 1)),
    )
    match = match_points(np.zeros((N_POINTS, 1)), mixture)
    assert match.eligible.tolist() == [True, False, False]
    assert match.mode_recall() == 1
    assert match_points(draw(mixture, 0, 20_000), mixture).eligible.tolist() == [True, True, False]


def test_no_eligible_component_is_nan(truth: TrueMixture) -> None:
    match = match_points(draw(truth, 12, 40), truth)
    assert math.isnan(match.mode_recall())
    assert math.isnan(match.weighted_recall())
    assert math.isfinite(match.total_variation)


def test_one_component() -> None:
    mixture = TrueMixture(weights=np.ones(1), means=np.zeros((1, 1)), variances=np.ones((1, 1)))
    points = draw(mixture, 13, 1000)
    match = match_points(points, mixture)
    assert (match.mode_recall(), match.total_variation, match.reverse_kl) == (1, 0, 0)
    assert match_components(as_fitted(mixture), points, mixture).fragments.tolist() == [1]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((0, 3)), r"at least one point and one feature; got \(0, 3\)"),
        (np.full((2, 3), np.nan), r"2 of 2 points hold NaN or infinity \(first at index 0\)"),
        (np.zeros((5, 2)), "truth's dimension, 3; got 2"),
    ],
)
def test_bad_points_are_refused(truth: TrueMixture, points: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match_points(points, truth)


def test_threshold_must_be_positive() -> None:
    match = PointMatch(
        n_points=100, weights=np.ones(1), mass=np.ones(1), hq_mass=np.zeros(1), hq=0.0
    )
    with pytest.raises(ValueError, match="threshold must be above 0; got 0"):
        match.mode_recall(0.0)


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_split_truth_has_that_many_fragments(grid: TrueMixture, copies: int) -> None:
    points = draw(grid, 14)
    match = match_components(as_fitted(grid, copies), points, grid)
    assert match.fragments.tolist() == [copies] * 25
    assert (match.bridges, match.light) == (0, 0)
    assert match.fragmentation(np.arange(25) < 5) == copies
    assert math.isnan(match.fragmentation(np.zeros(25, dtype=bool)))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_truth_as_fit_has_one_fragment_each_despite_overlap(dim: int) -> None:
    mixture = draw_mixture(MixtureConfig(dim=dim), 3)
    match = match_components(as_fitted(mixture), draw(mixture, 14), mixture)
    assert match.dominant.tolist() == list(range(10))
    assert match.bridges == 0


def test_every_fitted_component_is_accounted_for(grid: TrueMixture) -> None:
    """One component lies between two true ones, one is light, one has no point near it."""
    rng = np.random.default_rng(15)
    between = np.array([-3.0, -4.0]) + 0.1 * rng.standard_normal((1000, 2))
    points = np.concatenate([draw(grid, 16, 9000), between])
    fitted = as_fitted(grid)
    extra_means = np.array([[-3.0, -4.0], [0.0, 0.0], [900.0, 900.0]])
    extra_covariances = np.array([0.01, 0.0025, 0.01])[:, None, None] * np.eye(2)
    everything = FittedMixture(
        np.concatenate([0.9 * fitted.weights, [0.08, 0.004, 0.016]]),
        np.concatenate([fitted.means, extra_means]),
        np.concatenate([fitted.covariances, extra_covariances]),
    )
    match = match_components(everything, points, grid)
    assert (match.fragments.sum(), match.bridges, match.light) == (25, 2, 1)
    assert match.hq[25] < 0.05
    assert math.isnan(match.hq[27])
    assert match.dominant[:25].tolist() == list(range(25))


def split(truth: TrueMixture, component: int) -> FittedMixture:
    """The truth as a fit, one component in two equal halves."""
    order = [*range(truth.n_components), component]
    weights = truth.weights[order].copy()
    weights[[component, -1]] /= 2
    covariances = truth.variances[order][:, :, None] * np.eye(truth.dim)
    return FittedMixture(weights, truth.means[order], covariances)


def test_sums_by_quality_have_no_cut(grid: TrueMixture) -> None:
    """A fit that equals the truth, then with one component in two, then with one outside."""
    points = draw(grid, 21)
    covariances = grid.variances[:, :, None] * np.eye(2)
    whole = match_components(FittedMixture(grid.weights, grid.means, covariances), points, grid)
    assert whole.fragment_sum == pytest.approx(0, abs=1e-9)
    assert whole.fragment_mass == pytest.approx(0, abs=1e-9)
    assert whole.bridge_sum == pytest.approx(0.25, abs=0.1)
    halves = match_components(split(grid, 3), points, grid)
    assert halves.fragment_sum == pytest.approx(0.99, abs=0.03)
    assert halves.fragment_mass == pytest.approx(0.02, abs=0.003)


@pytest.mark.parametrize("share", [0.3, 0.49, 0.51, 0.7])
def test_a_component_half_outside_counts_by_its_share(share: float) -> None:
    truth = TrueMixture(weights=np.ones(1), means=np.zeros((1, 2)), variances=np.ones((1, 2)))
    inside, outside = np.zeros((1000, 2)), np.full((1000, 2), 9.0)
    points = np.where(np.arange(1000)[:, None] < 1000 * share, inside, outside)
    points = points + 0.1 * np.random.default_rng(22).standard_normal(points.shape)
    fit = FittedMixture(np.ones(1), points.mean(axis=0)[None], np.cov(points.T)[None])
    match = match_components(fit, points, truth)
    assert match.bridge_sum == pytest.approx(1 - share)
    assert match.fragment_sum == 0
    assert match.bridges == (share < 0.5)
