"""Bounds and closed forms: the linear autoencoder's table, tightness, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture
from study.endpoints.bounds import (
    collapse_kl_weight,
    entropy_after_scaling,
    forward_kl,
    learned_variance_loss_floor,
    linear_optimum,
    loss_floor,
    rate_bound,
)

SMALL = (4.0, 1.0, 0.25)
LARGE = (60.0, 40.0, 8.0)
# eigenvalues, beta, q, rec, KL, loss, active units, mean log likelihood (None: not tabulated)
TABLE = [
    (SMALL, 0.5, 2, 0.75, 2.079442, 1.789721, 2, -4.256816),
    (SMALL, 1.0, 1, 1.75, 1.039721, 2.789721, 1, None),
    (SMALL, 1.0, 2, 1.25, 1.386294, 2.636294, 2, -4.353389),
    (SMALL, 1.0, 5, 1.25, 1.386294, 2.636294, 2, -4.353389),
    (SMALL, 2.0, 2, 2.25, 0.693147, 3.636294, 1, -4.574963),
    (SMALL, 4.0, 2, 3.25, 0.346574, 4.636294, 1, None),
    (SMALL, 8.0, 2, 5.25, 0.0, 5.25, 0, -5.492507),
    (SMALL, 10.0, 1, 5.25, 0.0, 5.25, 0, None),
    (LARGE, 1.0, 2, 9.0, 4.584759, 13.584759, 2, -15.301854),
    (LARGE, 1.0, 3, 1.5, 5.971054, 7.471054, 3, -9.188148),
    (LARGE, 130.0, 3, 108.0, 0.0, 108.0, 0, None),
]
spectra = st.lists(st.floats(0.01, 100), min_size=1, max_size=6).map(np.array)
kl_weights = st.floats(0.01, 300)


def gaussian_entropy(eigenvalues: np.ndarray) -> float:
    return 0.5 * float(np.log(2 * math.pi * math.e * eigenvalues).sum())


@pytest.mark.parametrize(
    ("eigenvalues", "kl_weight", "latent_dim", "recon", "kl", "loss", "active", "log_likelihood"),
    TABLE,
)
def test_linear_optimum_is_the_table(
    eigenvalues: tuple[float, ...],
    kl_weight: float,
    latent_dim: int,
    recon: float,
    kl: float,
    loss: float,
    active: int,
    log_likelihood: float | None,
) -> None:
    best = linear_optimum(np.array(eigenvalues), latent_dim=latent_dim, kl_weight=kl_weight)
    assert (best.recon, best.kl_nats, best.loss) == pytest.approx((recon, kl, loss), abs=1e-6)
    assert best.active_units == active
    assert best.kl_per_latent.shape == (latent_dim,)
    if log_likelihood is not None:
        assert best.log_likelihood == pytest.approx(log_likelihood, abs=1e-6)


def test_linear_optimum_at_the_best_noise_is_probabilistic_pca() -> None:
    points = np.random.default_rng(0).standard_normal((500, 4)) * [5, 3, 1, 0.5]
    pca = PCA(n_components=2).fit(points)
    eigenvalues = np.linalg.eigvalsh(np.cov(points.T))
    best = linear_optimum(eigenvalues, latent_dim=2, kl_weight=2 * float(pca.noise_variance_))
    # scikit-learn divides by n - 1 and scores with the n points: 2 D / n at most between the two.
    assert best.log_likelihood == pytest.approx(pca.score(points), abs=8 / 500)


@given(spectra, kl_weights, st.integers(1, 8))
def test_linear_optimum_respects_both_bounds(
    eigenvalues: np.ndarray, kl_weight: float, latent_dim: int
) -> None:
    best = linear_optimum(eigenvalues, latent_dim=latent_dim, kl_weight=kl_weight)
    entropy, dim = gaussian_entropy(eigenvalues), eigenvalues.size
    slack = 1e-9 * (1 + abs(best.loss))
    assert best.loss >= loss_floor(entropy, kl_weight, dim=dim) - slack
    assert best.kl_nats >= rate_bound(entropy, best.recon, dim=dim) - 1e-9


@given(spectra, st.floats(0.1, 0.9))
def test_bounds_are_tight_when_every_direction_is_coded(
    eigenvalues: np.ndarray, fraction: float
) -> None:
    kl_weight = 2 * fraction * float(eigenvalues.min())
    entropy, dim = gaussian_entropy(eigenvalues), eigenvalues.size
    best = linear_optimum(eigenvalues, latent_dim=dim, kl_weight=kl_weight)
    assert best.loss == pytest.approx(loss_floor(entropy, kl_weight, dim=dim), rel=1e-9, abs=1e-9)
    assert best.kl_nats == pytest.approx(rate_bound(entropy, best.recon, dim=dim), abs=1e-9)


@given(spectra, kl_weights)
def test_loss_grows_with_beta_at_the_rate_of_the_kl(
    eigenvalues: np.ndarray, kl_weight: float
) -> None:
    step = 1e-4 * kl_weight
    low, mid, high = (
        linear_optimum(eigenvalues, latent_dim=2, kl_weight=kl_weight + shift)
        for shift in (-step, 0.0, step)
    )
    assert (high.loss - low.loss) / (2 * step) == pytest.approx(mid.kl_nats, abs=1e-3)
    assert low.recon <= mid.recon <= high.recon
    assert low.kl_nats >= mid.kl_nats >= high.kl_nats


def test_collapse_threshold_is_where_the_last_unit_goes() -> None:
    eigenvalues = np.array(LARGE)
    threshold = collapse_kl_weight(eigenvalues)
    units = [
        linear_optimum(eigenvalues, latent_dim=2, kl_weight=factor * threshold).active_units
        for factor in (0.999, 1.001)
    ]
    assert units == [1, 0]


@pytest.mark.parametrize("kl_weight", [1.0, 1.5, 4.0])
def test_learned_variance_floor_holds_along_the_best_curve(kl_weight: float) -> None:
    eigenvalues = np.array(SMALL)
    entropy = gaussian_entropy(eigenvalues)
    losses = []
    for noise in np.geomspace(1e-3, 10, 200):
        best = linear_optimum(eigenvalues, latent_dim=3, kl_weight=2 * noise)
        fit = 1.5 * math.log(2 * math.pi * math.e * best.recon / 3)
        losses.append(fit + kl_weight * best.kl_nats)
    assert min(losses) >= learned_variance_loss_floor(entropy, kl_weight) - 1e-9
    if kl_weight == 1:
        assert min(losses) == pytest.approx(entropy, abs=1e-9)


def test_learned_variance_has_no_floor_below_one() -> None:
    assert learned_variance_loss_floor(6.0, 0.5) == -math.inf


def test_original_floor_constant() -> None:
    assert loss_floor(6.0, 1.0, dim=3) == pytest.approx(6.0 - 1.7171, abs=1e-4)


def test_forward_kl_of_two_gaussians() -> None:
    points = np.random.default_rng(1).standard_normal(40_000)
    truth = -0.5 * points**2 - 0.5 * math.log(2 * math.pi)
    model = -0.5 * points**2 / 4 - 0.5 * math.log(2 * math.pi * 4)
    expected = math.log(2) + 1 / 8 - 0.5
    # The summand is 3/8 x^2 plus a constant, sd .53: 5 standard errors, false alarm 6e-7.
    assert forward_kl(model, truth) == pytest.approx(expected, abs=5 * 0.53 / 200)
    assert forward_kl(truth, truth) == 0


def test_entropy_after_scaling_is_the_scaled_mixtures() -> None:
    mixture = draw_mixture(MixtureConfig(n_components=3), 0)
    points, _ = mixture.sample(100, np.random.default_rng(0))
    scale = np.array([2.0, 0.5, 7.0])
    scaled = TrueMixture(
        weights=mixture.weights,
        means=mixture.means / scale,
        variances=mixture.variances / scale**2,
    )
    entropy = -float(mixture.log_prob(points).mean())
    expected = -float(scaled.log_prob(points / scale).mean())
    assert entropy_after_scaling(entropy, scale) == pytest.approx(expected, abs=1e-10)


def test_no_error_needs_infinite_rate() -> None:
    assert rate_bound(1.0, 0.0, dim=3) == math.inf
    assert math.isnan(rate_bound(1.0, math.nan, dim=3))


def test_arguments_out_of_range_are_named() -> None:
    spectrum = np.array(SMALL)
    with pytest.raises(ValueError, match="kl_weight must be positive; got 0"):
        loss_floor(1.0, 0.0, dim=3)
    with pytest.raises(ValueError, match="kl_weight must be positive; got nan"):
        learned_variance_loss_floor(1.0, math.nan)
    with pytest.raises(ValueError, match="latent_dim must be at least 1; got 0"):
        linear_optimum(spectrum, latent_dim=0, kl_weight=1.0)
    with pytest.raises(ValueError, match="eigenvalues must be positive; the smallest is -1"):
        linear_optimum(np.array([1.0, -1.0]), latent_dim=1, kl_weight=1.0)
    with pytest.raises(ValueError, match="recon must be at least 0"):
        rate_bound(1.0, -1e-3, dim=3)
    with pytest.raises(ValueError, match="scale must be positive"):
        entropy_after_scaling(1.0, np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(3,\)"):
        forward_kl(np.zeros(2), np.zeros(3))
