"""The untrained diffusion: its density is that of its points, and its steps are all it misses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import trapezoid

from study.config import TrainingConfig
from study.data.mixture import TrueMixture
from study.training.generators import Seeds
from study.training.kinds.exact_score import EXACT_SCORE, ExactScoreOptions

LINE = TrueMixture(
    weights=np.array([0.2, 0.5, 0.3]),
    means=np.array([[-3.0], [0.0], [2.5]]),
    variances=np.array([[0.2], [0.5], [0.1]]),
)
PLANE = TrueMixture(
    weights=np.array([0.4, 0.6]),
    means=np.array([[-1.0, 0.0], [1.5, 1.0]]),
    variances=np.array([[0.3, 0.6], [0.5, 0.2]]),
)


def fitted(truth: TrueMixture, steps: int) -> dict[str, np.ndarray]:
    options = ExactScoreOptions(steps=steps)
    points = np.zeros((2, truth.dim))
    seeds = Seeds(data=0, init=0)
    return EXACT_SCORE.fit(points, seeds, options, TrainingConfig(), truth=truth)


def test_forward_kl_falls_to_nothing_as_steps_grow() -> None:
    grid = np.linspace(-6.5, 5.5, 601)
    log_p = LINE.log_prob(grid[:, None])
    kls = []
    for steps in (3, 6, 12, 25, 50, 100, 200):
        log_q = EXACT_SCORE.log_prob(fitted(LINE, steps), grid[:, None])
        kls.append(trapezoid(np.exp(log_p) * (log_p - log_q), grid))
        assert trapezoid(np.exp(log_q), grid) == pytest.approx(1, abs=2e-3)
    assert np.all(np.diff(kls) < 0), kls
    assert 0 < kls[-1] < 1e-3, kls


def test_the_density_is_that_of_the_samples_also_when_steps_are_few() -> None:
    state = fitted(PLANE, 6)
    samples = EXACT_SCORE.sample(state, 40_000, np.random.default_rng(0))
    # Cells of a grid: shares of samples against the integral of the density, 4.5 sd each.
    edges = np.linspace(-4, 4, 11)
    counts, _, _ = np.histogram2d(*samples.T, bins=(edges, edges))
    fine = (np.arange(80) + 0.5) / 10 - 4
    nodes = np.stack(np.meshgrid(fine, fine, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(EXACT_SCORE.log_prob(state, nodes)).reshape(10, 8, 10, 8)
    shares = density.sum(axis=(1, 3)) * 0.01
    error = np.sqrt(shares * len(samples)) + 1
    assert np.all(np.abs(counts - shares * len(samples)) < 4.5 * error + 0.01 * counts)


def test_a_coarse_step_is_inverted_between_the_modes() -> None:
    narrow = TrueMixture(
        weights=np.array([0.5, 0.5]),
        means=np.array([[-1.0], [1.0]]),
        variances=np.full((2, 1), 1e-4),
    )
    between = np.linspace(-1, 1, 41)[:, None]
    assert np.isfinite(EXACT_SCORE.log_prob(fitted(narrow, 4), between)).all()
