"""Merges keep moments and Runnalls' bound holds."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from study.detection.cloud import Cloud, Mixture
from study.detection.moves import add_component, merge_costs, merge_pair, split_component


def mixture_of(seed: int, k: int = 5, dim: int = 3) -> Mixture:
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(k, dim, dim))
    return Mixture(
        rng.dirichlet(np.ones(k)),
        rng.normal(size=(k, dim)),
        roots @ roots.swapaxes(1, 2) + np.eye(dim),
    )


def moments(mixture: Mixture) -> tuple[np.ndarray, np.ndarray]:
    weights, means, covariances = mixture
    mean = weights @ means
    gap = means - mean
    return mean, np.einsum("k,kab->ab", weights, covariances + gap[:, :, None] * gap[:, None])


def test_merge_preserves_moments() -> None:
    mixture = mixture_of(0)
    merged = merge_pair(mixture, 1, 3)
    assert merged.weights.shape == (4,)
    for before, after in zip(moments(mixture), moments(merged), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 3, 5])
def test_merge_costs_are_those_of_the_joint_moments(dim: int) -> None:
    """Runnalls' cost of a pair, with the moments that merging it gives."""
    mixture = mixture_of(4, dim=dim)
    costs = merge_costs(mixture)
    own = mixture.weights * np.linalg.slogdet(mixture.covariances)[1]
    for first, second in combinations(range(5), 2):
        merged = merge_pair(mixture, first, second)
        joint = merged.weights[-1] * np.linalg.slogdet(merged.covariances[-1])[1]
        expected = 0.5 * (joint - own[first] - own[second])
        np.testing.assert_allclose(costs[first, second], expected, rtol=1e-12)
    assert np.isinf(costs[np.tril_indices(5)]).all()


def test_merging_what_is_no_covariance_costs_infinitely_much() -> None:
    mixture = mixture_of(5)
    mixture.covariances[2] = -np.eye(3)
    costs = merge_costs(mixture)
    assert np.isinf(costs[[0, 1, 2, 2], [2, 2, 3, 4]]).all()
    assert np.isfinite(costs[[0, 0, 3], [1, 3, 4]]).all()


def test_merge_cost_bounds_the_loss_on_the_model_itself() -> None:
    """Runnalls' bound holds for the mean over the mixture; 200,000 draws, margin 5 sd."""
    mixture = mixture_of(1)
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 200_000, p=mixture.weights)
    roots = np.linalg.cholesky(mixture.covariances)
    noise = np.einsum("nab,nb->na", roots[labels], rng.normal(size=(len(labels), 3)))
    cloud = Cloud(mixture.means[labels] + noise)
    centred = mixture._replace(means=mixture.means - cloud.centre)
    first, second = np.unravel_index(int(merge_costs(centred).argmin()), (5, 5))
    before = cloud.judge(centred)[1]
    after = cloud.judge(merge_pair(centred, int(first), int(second)))[1]
    loss = before - after
    margin = 5 * loss.std() / np.sqrt(len(loss))
    assert -margin < loss.mean() < merge_costs(centred).min() + margin


def test_splitting_and_adding_keep_the_weights_a_distribution() -> None:
    mixture, parts = mixture_of(2), mixture_of(3, k=2)
    assert split_component(mixture, 1, parts).weights.sum() == 1.0
    light = Mixture(np.full(1, 0.1), parts.means[:1], parts.covariances[:1])
    added = add_component(mixture, light)
    np.testing.assert_allclose(added.weights.sum(), 1.0)
    assert added.weights[-1] == 0.1
