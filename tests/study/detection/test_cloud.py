"""The compiled passes against closed forms, scikit-learn and themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from study.detection.cloud import Cloud, Mixture, group_neighbours, pseudo_count_of
from study.detection.compiled import em as compiled_em
from study.detection.compiled.block import BLOCK, exponential
from study.detection.whitening import find_whitening


def blobs(seed: int, *, n_samples: int = 1000, k: int = 6, dim: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = rng.uniform(-6, 6, (k, dim))
    return means[rng.integers(k, size=n_samples)] + rng.standard_normal((n_samples, dim))


def curve(seed: int, n_samples: int = 1000) -> np.ndarray:
    """Points on a curve: every component of a good fit is thin."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=n_samples)
    line = np.column_stack([3 * t, 4 * np.sin(3 * t), 5 * np.maximum(t, 0)])
    return line + 1e-3 * rng.normal(size=line.shape)


def start_of(cloud: Cloud, k: int) -> Mixture:
    return cloud.from_labels(np.arange(cloud.n_samples) * k // cloud.n_samples)


def log_joint(cloud: Cloud, mixture: Mixture) -> np.ndarray:
    columns = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(cloud.points)
        for weight, mean, covariance in zip(*mixture, strict=True)
    ]
    return np.column_stack(columns)


def test_exponential_is_exact_to_the_last_places() -> None:
    x = np.linspace(-600, 0, 20_001)
    ours = np.array([exponential(value) for value in x])
    np.testing.assert_allclose(ours, np.exp(x), rtol=1e-15)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 9])
def test_scores_are_those_of_the_closed_form(dim: int) -> None:
    cloud = Cloud(blobs(dim, dim=dim))
    mixture = start_of(cloud, 5)
    joint = log_joint(cloud, mixture)
    density = logsumexp(joint, axis=1)
    posterior = np.exp(joint - density[:, None])
    _, log_likelihood, entropy = cloud.score(mixture)
    assert log_likelihood == pytest.approx(density.sum(), rel=1e-12)
    assert entropy == pytest.approx(-(posterior * (joint - density[:, None])).sum(), abs=1e-8)
    labels, log_prob = cloud.judge(mixture)
    np.testing.assert_allclose(log_prob, density, rtol=1e-11)
    np.testing.assert_array_equal(labels, joint.argmax(1))


def test_drawn_labels_follow_the_posterior() -> None:
    """Chi-square over 1,000 points with one posterior; false alarm 1 in 1,000, seed fixed."""
    cloud = Cloud(np.zeros((1000, 2)))
    weights = np.array([0.2, 0.5, 0.3])
    same = Mixture(weights, np.zeros((3, 2)), np.broadcast_to(np.eye(2), (3, 2, 2)))
    labels = cloud.draw_labels(same, np.random.default_rng(0).random(1000))
    counts = np.bincount(labels, minlength=3)
    assert ((counts - 1000 * weights) ** 2 / (1000 * weights)).sum() < 13.8


def whitened(points: np.ndarray) -> np.ndarray:
    return find_whitening(points).to_white(points)


KINDS = ("blobs", "curve", "surface", "heavy tails", "lattice", "copies")


def draw(kind: str, n: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    points = rng.normal(size=(n, dim)) + 4.0 * rng.integers(4, size=(n, 1))
    t = rng.normal(size=(n, 1))
    if kind == "curve":
        return np.sin(np.arange(1, dim + 1) * t) + t
    if kind == "surface":
        return np.sin(rng.normal(size=(2, dim)).T[None] @ rng.normal(size=(n, 2, 1)))[..., 0]
    if kind == "heavy tails":
        return points / np.abs(rng.normal(size=(n, 1)))
    if kind == "lattice":
        return points.round()
    return points[rng.integers(n // 3, size=n)] if kind == "copies" else points


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(60, 700),
    dim=st.integers(1, 6),
    k=st.integers(1, 12),
    log_scale=st.integers(-8, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_objective_never_falls(
    kind: str, n: int, dim: int, k: int, log_scale: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = whitened(10.0**log_scale * draw(kind, n, dim, rng))
    data = Cloud(points, pseudo_count=pseudo_count_of(n))
    mixture, path = data.from_labels(rng.integers(k, size=n)), []
    for _ in range(25):
        step = data.climb(mixture, tol_nats=0.0, max_iter=1)
        mixture = step.mixture
        path.append(step.objective)
    assert np.diff(path).min() > -1e-9 * max(1.0, abs(path[-1]))


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
def test_the_objective_is_the_likelihood_less_the_penalties(dim: int) -> None:
    cloud = Cloud(blobs(dim, dim=dim), pseudo_count=0.7)
    mixture = start_of(cloud, 4)
    precisions, (_, log_dets) = (
        np.linalg.inv(mixture.covariances),
        np.linalg.slogdet(mixture.covariances),
    )
    penalties = np.trace(precisions, axis1=1, axis2=2) + log_dets - dim
    score = cloud.score(mixture)
    assert score.objective == pytest.approx(score.log_likelihood - 0.35 * penalties.sum())
    step = cloud.climb(mixture, tol_nats=0.0, max_iter=1)
    assert step.objective == pytest.approx(score.objective, rel=1e-12)
    assert step.log_likelihood == pytest.approx(score.log_likelihood, rel=1e-12)


def test_a_component_needs_distinct_points_of_its_own() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(200, 2)), np.full((40, 2), 7.0)])
    cloud = Cloud(points, pseudo_count=0.1)
    apart = cloud.from_labels((cloud.order >= 200).astype(np.int64))
    assert cloud.supported(apart).tolist() == [True, False]
    few = cloud.from_labels((cloud.order < 2).astype(np.int64))
    assert not cloud.supports(few)
    assert cloud.supports(cloud.from_labels((cloud.order < 100).astype(np.int64)))


def test_a_thin_component_costs_no_digits() -> None:
    """A line of width 1e-3 in a cloud 1e3 wide, against the closed form in its own frame."""
    rng = np.random.default_rng(0)
    along, across = rng.normal(size=(2, 4000))
    line = np.column_stack([along, along + 1e-3 * across, along])
    cloud = Cloud(np.concatenate([line, 1e3 + rng.normal(size=(10, 3))]), ridge=1e-10)
    start = cloud.from_labels((cloud.order >= 4000).astype(np.int64))
    end = cloud.climb(start, tol_nats=1e-9, max_iter=5)
    gap = end.mixture.covariances[0] @ np.array([1.0, -1.0, 0.0])
    assert np.array([1.0, -1.0, 0.0]) @ gap == pytest.approx(1e-6 * across.var(), rel=1e-3)


def test_max_iter_ends_a_run_that_has_not_converged() -> None:
    cloud = Cloud(blobs(6))
    end = cloud.climb(start_of(cloud, 3), tol_nats=1e-9, max_iter=2)
    assert (end.n_iter, end.converged, end.hopeless) == (2, False, False)


def test_a_hopeless_proposal_is_given_up() -> None:
    cloud = Cloud(blobs(6))
    end = cloud.climb(
        start_of(cloud, 3), tol_nats=0.3, max_iter=60, rule=compiled_em.PROPOSAL, known=1e9
    )
    assert end.hopeless
    assert end.n_iter == 3


def test_the_mixture_that_came_in_is_left_alone() -> None:
    cloud = Cloud(blobs(7))
    start = start_of(cloud, 3)
    before = [part.copy() for part in start]
    cloud.climb(start, tol_nats=0.0, max_iter=3)
    for part, copy in zip(start, before, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_singular_covariances_are_refused() -> None:
    cloud = Cloud(blobs(8))
    flat = start_of(cloud, 2)._replace(covariances=np.zeros((2, 3, 3)))
    for work in (cloud.score, cloud.judge):
        with pytest.raises(np.linalg.LinAlgError, match="positive definite"):
            work(flat)


def test_neighbours_share_a_block() -> None:
    points = np.random.default_rng(0).uniform(size=(16 * BLOCK + 5, 2))
    order = group_neighbours(points)
    assert np.array_equal(np.sort(order), np.arange(len(points)))
    blocks = points[order][: 16 * BLOCK].reshape(16, BLOCK, 2)
    assert np.ptp(blocks, axis=1).mean() < 0.4


# In four dimensions, whose passes are loops over the dimensions; the last bits of a climb.
CLIMB = """
import hashlib
import numpy as np
from study.detection.cloud import Cloud
cloud = Cloud(np.random.default_rng(0).normal(size=(700, 4)))
start = cloud.from_labels(np.arange(700) // 100)
end = cloud.climb(start, tol_nats=0.0, max_iter=20)
print(hashlib.sha256(b"".join(part.tobytes() for part in end.mixture)).hexdigest())
"""


@pytest.mark.slow
def test_the_process_that_compiles_gives_the_same_bits_as_those_that_load(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", CLIMB]
    compiled, loaded = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert list(tmp_path.rglob("*.nbc"))
    assert compiled == loaded
