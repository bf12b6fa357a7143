"""Where the likelihood has no bound of its own: counts hold still, no plain start is better."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from study.detection.cloud import Cloud, n_parameters, pseudo_count_of
from study.detection.modes import ModeCount, detect_modes
from study.detection.sight import inspect
from study.detection.starts import climb_supported, k_means

N_SAMPLES = 3000
K_MAX = 60


def decoded(width: int, seed: int) -> np.ndarray:
    """Draw from a random network's decoder: a curve (width 1) or a surface (2) in space."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(N_SAMPLES, width))
    hidden = np.maximum(latent @ rng.normal(size=(width, 16)) + rng.normal(size=16), 0.0)
    return 4.0 * hidden @ rng.normal(size=(16, 3))


@cache
def found(width: int, seed: int) -> tuple[np.ndarray, ModeCount]:
    points = decoded(width, seed)
    return points, detect_modes(points, protocol="calibrated", k_max=K_MAX)


def bic_from_k_means(points: np.ndarray, k: int) -> float:
    """Climb the search's objective from k-means; components without points of their own go."""
    sight = inspect(points)
    cloud = Cloud(sight.white, pseudo_count=pseudo_count_of(len(points)))
    start = cloud.from_labels(k_means(cloud.points, k, np.random.default_rng(k)))
    end, _, _ = climb_supported(cloud, start, k_min=1, tol_nats=0.02, max_iter=1000)
    log_likelihood = end.log_likelihood - cloud.n_samples * sight.whitening.log_volume
    price = n_parameters(len(end.mixture.weights), sight.dim) * np.log(cloud.n_samples)
    return float(price - 2.0 * log_likelihood)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("k", [15, 40])
def test_no_start_from_k_means_is_better(width: int, k: int) -> None:
    points, count = found(width, 0)
    assert bic_from_k_means(points, k) > count.bic.min() - 10.0


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_no_start_from_k_means_is_better_at_any_k(width: int, seed: int) -> None:
    points, count = found(width, seed)
    for k in range(2, K_MAX + 1, 2):
        assert bic_from_k_means(points, k) > count.bic.min() - 10.0, k


@pytest.mark.parametrize("width", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_units_change_no_count(width: int) -> None:
    points, count = found(width, 0)
    for scale in (1e-6, 1e3):
        scaled = detect_modes(scale * points, protocol="calibrated", k_max=K_MAX)
        assert scaled.k == count.k


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_counts_on_curves_hold_over_caps_and_detector_seeds(seed: int) -> None:
    points, count = found(1, seed)
    for settings in ({"seed": 1, "k_max": K_MAX}, {"seed": 0, "k_max": 100}):
        again = detect_modes(points, protocol="calibrated", **settings)
        assert abs(again.k - count.k) <= 1
        assert again.bic.min() == pytest.approx(count.bic.min(), abs=10.0)
