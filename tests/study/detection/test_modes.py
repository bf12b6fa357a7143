"""The calibrated protocol: what it must find, what must not change it, what it must refuse."""

from __future__ import annotations

import numpy as np
import pytest

from study.data.mixture import TrueMixture
from study.detection.cloud import Cloud, Mixture
from study.detection.modes import FittedMixture, ModeCount, control_gap, detect_modes, modal_em


def recipe(seed: int, *, k: int = 10, dim: int = 3) -> TrueMixture:
    """The report's recipe."""
    rng = np.random.default_rng(seed)
    return TrueMixture(
        means=rng.uniform(-10, 10, (k, dim)),
        variances=rng.uniform(0.5, 2.0, (k, dim)),
        weights=rng.dirichlet(np.ones(k)),
    )


def blobs(n_each: int = 300, dim: int = 3) -> np.ndarray:
    """Three clusters far apart."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(mean, 1.0, (n_each, dim)) for mean in (-10, 0, 10)])


def count(points: np.ndarray, **settings: int) -> ModeCount:
    return detect_modes(points, protocol="calibrated", **settings)


@pytest.fixture(scope="module")
def three() -> ModeCount:
    return count(blobs())


def test_curve_of_three_blobs(three: ModeCount) -> None:
    assert three.k == 3
    assert not three.at_ceiling
    assert not three.at_floor
    assert three.ks.tolist() == list(range(1, len(three.ks) + 1))
    assert np.diff(three.log_likelihood).min() > -1e-6
    assert np.diff(three.bic)[2:7].min() > 0, "BIC rises for five consecutive k"
    assert three.bic[2] == three.bic.min()
    assert (three.icl >= three.bic - 1e-6).all()
    assert three.n_iterations > 0
    assert three.fitted.weights.sum() == pytest.approx(1.0)
    centres = np.sort(three.fitted.means[:, 0])
    np.testing.assert_allclose(centres, [-10, 0, 10], atol=0.3)


def test_bic_is_that_of_the_returned_mixture(three: ModeCount) -> None:
    points = blobs()
    cloud, fitted = Cloud(points), three.fitted
    mixture = Mixture(fitted.weights, fitted.means - cloud.centre, fitted.covariances)
    log_likelihood = cloud.score(mixture).log_likelihood
    bic = 29 * np.log(len(points)) - 2 * log_likelihood  # 3 x 10 - 1 parameters
    assert bic == pytest.approx(three.bic.min(), abs=1e-6)


def test_order_of_points_changes_nothing(three: ModeCount) -> None:
    shuffled = count(blobs()[np.random.default_rng(1).permutation(900)])
    np.testing.assert_array_equal(shuffled.bic, three.bic)
    np.testing.assert_array_equal(shuffled.fitted.means, three.fitted.means)


def test_same_points_and_seed_give_the_same_bits(three: ModeCount) -> None:
    np.testing.assert_array_equal(count(blobs()).log_likelihood, three.log_likelihood)


@pytest.mark.parametrize("seed", [0, 4])
def test_search_is_no_worse_than_the_truth(seed: int) -> None:
    """Two data sets of the calibration (all 260 are the benchmark's); fixed seeds, no alarm."""
    truth = recipe(seed)
    points, _ = truth.sample(10_000, np.random.default_rng(seed))
    found = count(points)
    assert control_gap(points, truth, found) <= 2.0
    assert not found.at_ceiling


@pytest.mark.slow
@pytest.mark.parametrize(("k", "allowed"), [(3, 0), (5, 0), (10, 1), (15, 1), (20, 2)])
def test_search_is_no_worse_than_the_truth_on_most_sets(k: int, allowed: int) -> None:
    """Six data sets of each K, seeds fixed.

    With the shares the benchmark requires (97, 92, 85 percent) the chance of more failures than
    allowed is at most 17, 2 (K = 10), 8 and 5 percent for a new draw of seeds.
    """
    failures = 0
    for seed in range(100, 106):
        truth = recipe(seed, k=k)
        points, _ = truth.sample(10_000, np.random.default_rng(seed))
        failures += control_gap(points, truth, count(points)) > 2.0
    assert failures <= allowed


def test_control_gap_of_a_poor_count_is_large(three: ModeCount) -> None:
    truth = TrueMixture(
        means=np.array([[-10.0] * 3, [0.0] * 3, [10.0] * 3]),
        variances=np.ones((3, 3)),
        weights=np.full(3, 1 / 3),
    )
    assert abs(control_gap(blobs(), truth, three)) < 0.1
    assert control_gap(blobs(), truth, count(blobs(), k_max=2)) > 100


def test_ceiling_and_floor_are_flagged() -> None:
    points = blobs()
    capped = count(points, k_max=2)
    assert (capped.k, capped.at_ceiling, capped.at_floor) == (2, True, False)
    assert (capped.at_k_max, capped.at_cap, capped.stopped) == (True, False, False)
    floored = count(points, k_min=4, k_max=8)
    assert (floored.k, floored.at_ceiling, floored.at_floor) == (4, False, True)


def test_a_surface_runs_into_the_cap() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 2000))
    points = np.column_stack([5 * np.tanh(2 * u) + v, 4 * np.sin(2 * v), u * v + 3 * np.abs(u)])
    found = count(points, k_max=12)
    assert found.k == 12
    assert found.at_ceiling
    assert np.diff(found.log_likelihood).min() > -1e-6


def test_one_gaussian_is_one_mode() -> None:
    points = np.random.default_rng(0).normal(size=(3000, 2))
    found = count(points)
    assert found.k == 1
    assert not found.at_floor


def test_constant_dimension_changes_nothing_else() -> None:
    points = blobs(100)
    points[:, 2] = 4.0
    assert count(points, k_max=6).k == 3


def test_identical_points_are_one_mode() -> None:
    found = count(np.ones((100, 3)))
    assert (found.k, found.at_ceiling) == (1, False)


def test_no_component_has_too_few_distinct_points() -> None:
    """Six places in space are no six Gaussians, however often each is repeated."""
    atoms = 5.0 * np.random.default_rng(0).normal(size=(6, 3))
    found = count(np.repeat(atoms, 50, axis=0))
    assert (found.k, found.at_cap, found.at_ceiling) == (1, True, True)
    assert (found.n_distinct, found.has_ties) == (6, True)
    assert "294 of 300 points repeat" in found.notes[0]


@pytest.mark.parametrize("distance", [1e3, 1e6, 1e9, 1e12])
def test_far_outlying_cluster_is_counted(distance: float) -> None:
    points = blobs(150)
    points[:50] += distance
    assert count(points, k_max=5).k == 4


@pytest.mark.parametrize(
    ("points", "settings", "message"),
    [
        (np.zeros((0, 3)), {}, "shape"),
        (np.zeros(5), {}, "shape"),
        (np.array([[0.0, np.nan], [1.0, 2.0]]), {}, "NaN"),
        (np.random.default_rng(0).normal(size=(8, 3)), {"k_min": 3}, "allow at most 2"),
        (np.random.default_rng(0).normal(size=(50, 3)), {"k_min": 13}, "allow at most 12"),
        (np.zeros((50, 3)), {"k_min": 3, "k_max": 2}, "k_min"),
        (np.zeros((50, 3)), {"restarts": 0}, "restarts"),
    ],
)
def test_mistakes_are_named(points: np.ndarray, settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count(points, **settings)


def test_unknown_protocol_is_named() -> None:
    with pytest.raises(ValueError, match="protocol"):
        detect_modes(blobs(), protocol="best")  # type: ignore[arg-type]


def test_restarts_never_end_worse() -> None:
    truth = recipe(11)
    points, _ = truth.sample(1500, np.random.default_rng(11))
    once, twice = count(points), count(points, restarts=2)
    assert twice.bic.min() <= once.bic.min() + 0.1


@pytest.mark.parametrize(("half_distance", "n_modes"), [(1.5, 2), (0.9, 1)])
def test_two_unit_normals_have_two_modes_beyond_one_sd(half_distance: float, n_modes: int) -> None:
    means = np.array([[-half_distance], [half_distance]])
    fitted = FittedMixture(np.full(2, 0.5), means, np.ones((2, 1, 1)))
    modes = modal_em(fitted)
    assert len(modes) == n_modes
    if n_modes == 1:
        np.testing.assert_allclose(modes, 0.0, atol=1e-4)


def test_modes_come_in_order_of_density() -> None:
    fitted = FittedMixture(
        np.array([0.2, 0.5, 0.3]), np.array([[0.0], [20.0], [40.0]]), np.ones((3, 1, 1))
    )
    np.testing.assert_allclose(modal_em(fitted)[:, 0], [20.0, 40.0, 0.0], atol=1e-6)
