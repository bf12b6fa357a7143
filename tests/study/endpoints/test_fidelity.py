"""Density, coverage and classifier accuracy: definitions, nulls and what they notice.

Statistical tests fix their seeds; the false-alarm rate is that of a new seed.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture
from study.endpoints import fidelity
from study.endpoints.fidelity import check_points, neighbor_fidelity, two_sample_accuracy

N_POINTS = 10_000


@pytest.fixture(scope="module")
def truth() -> TrueMixture:
    return draw_mixture(MixtureConfig(), 0)


@pytest.fixture(scope="module")
def reference(truth: TrueMixture) -> np.ndarray:
    return truth.sample(N_POINTS, np.random.default_rng(100))[0]


def by_definition(
    generated: np.ndarray, reference: np.ndarray, n_neighbors: int
) -> tuple[float, float]:
    """Density and coverage as the paper's formulas say, with whole distance matrices."""
    radii = np.sort(cdist(reference, reference), axis=1)[:, n_neighbors]
    inside = cdist(reference, generated) < radii[:, None]
    return float(inside.sum() / (n_neighbors * len(generated))), float(inside.any(axis=1).mean())


@pytest.mark.parametrize("dim", [1, 3, 8, 9, 20])
@pytest.mark.parametrize("n_neighbors", [1, 5])
def test_neighbor_fidelity_is_the_definition(dim: int, n_neighbors: int) -> None:
    rng = np.random.default_rng(dim)
    reference = 100 + rng.standard_normal((400, dim))
    generated = 100.3 + 0.8 * rng.standard_normal((400, dim))
    result = neighbor_fidelity(generated, reference, n_neighbors=n_neighbors)
    expected = by_definition(generated, reference, n_neighbors)
    assert (result.density, result.coverage) == pytest.approx(expected, abs=1e-12)


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    generated, reference = rng.standard_normal((2, 300, 12))
    whole = neighbor_fidelity(generated, reference)
    monkeypatch.setattr(fidelity, "CHUNK_SIZE", 7)
    assert neighbor_fidelity(generated, reference) == whole


def test_null_of_density_and_coverage(truth: TrueMixture, reference: np.ndarray) -> None:
    points, _ = truth.sample(N_POINTS, np.random.default_rng(101))
    result = neighbor_fidelity(points, reference)
    # sd .0064 and .0025 over 40 mixtures: 4.7 and 4 sd, false alarm 7e-5 together.
    assert result.density == pytest.approx(1, abs=0.03)
    assert result.coverage == pytest.approx(1 - 2**-5, abs=0.01)


def test_null_of_coverage_depends_on_neighbors(truth: TrueMixture, reference: np.ndarray) -> None:
    points, _ = truth.sample(N_POINTS, np.random.default_rng(102))
    result = neighbor_fidelity(points, reference, n_neighbors=1)
    # sd below .01: false alarm below 6e-5.
    assert result.coverage == pytest.approx(0.5, abs=0.04)


def test_null_of_classifier(truth: TrueMixture, reference: np.ndarray) -> None:
    points, _ = truth.sample(N_POINTS, np.random.default_rng(103))
    accuracy = two_sample_accuracy(points, reference, rng=np.random.default_rng(0))
    # N(1/2, 1 / (4 n_test)) with n_test = 10,000: 5 sd, false alarm 6e-7.
    assert accuracy == pytest.approx(0.5, abs=0.025)


def test_spread_of_one_tenth_is_noticed(truth: TrueMixture, reference: np.ndarray) -> None:
    wide = TrueMixture(weights=truth.weights, means=truth.means, variances=1.21 * truth.variances)
    points, _ = wide.sample(N_POINTS, np.random.default_rng(104))
    # Density about .967, 5 sd below 1; a seed in some hundreds fails.
    assert neighbor_fidelity(points, reference).density < 0.985
    # Mean .524 and sd .005 over six mixtures: a seed in some hundreds fails.
    assert two_sample_accuracy(points, reference, rng=np.random.default_rng(0)) > 0.51


def test_half_the_components_cover_their_own_weight(
    truth: TrueMixture, reference: np.ndarray
) -> None:
    kept = np.arange(truth.n_components) % 2 == 0
    weights = np.where(kept, truth.weights, 0)
    half = TrueMixture(
        weights=weights / weights.sum(), means=truth.means, variances=truth.variances
    )
    points, _ = half.sample(N_POINTS, np.random.default_rng(105))
    # The kept components have more points than under the truth, so their balls are nearly all hit.
    share = truth.weights[kept].sum()
    assert neighbor_fidelity(points, reference).coverage == pytest.approx(share, abs=0.03)


def test_collapsed_points_are_told_apart(reference: np.ndarray) -> None:
    points = np.repeat(reference.mean(axis=0)[None], 1000, axis=0)
    result = neighbor_fidelity(points, reference[:1000])
    assert result.coverage < 0.05
    assert two_sample_accuracy(points, reference[:1000], rng=np.random.default_rng(0)) > 0.95


def test_classifier_depends_on_its_seed_alone(truth: TrueMixture, reference: np.ndarray) -> None:
    points, _ = truth.sample(1000, np.random.default_rng(106))
    first, again, other = (
        two_sample_accuracy(points, reference, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_sets_are_cut_to_equal_sizes(reference: np.ndarray) -> None:
    points = reference[5000:7000]
    assert neighbor_fidelity(points, reference[:3000]) == neighbor_fidelity(
        points, reference[:2000]
    )


def test_bad_points_are_named(reference: np.ndarray) -> None:
    broken = reference[:20].copy()
    broken[[4, 7], 1] = np.nan, np.inf
    message = r"generated points must be finite; 2 of 20 .* index 4\)"
    with pytest.raises(ValueError, match=message):
        neighbor_fidelity(broken, reference)
    with pytest.raises(ValueError, match="reference points must have shape"):
        neighbor_fidelity(reference, reference[:0])
    with pytest.raises(ValueError, match=r"generated points must have shape .*got \(3,\)"):
        check_points(np.zeros(3), "generated points")
    with pytest.raises(ValueError, match="same dimension; got 2 and 3"):
        two_sample_accuracy(reference[:, :2], reference, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"n_neighbors must be at least 1 and below .* 5; got 5"):
        neighbor_fidelity(reference[:5], reference)
    with pytest.raises(ValueError, match="at least 4 points in each set; got 3"):
        two_sample_accuracy(reference[:3], reference, rng=np.random.default_rng(0))
