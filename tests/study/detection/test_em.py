"""EM of a cloud against scikit-learn's, from equal starts."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from study.detection.cloud import Climb, Cloud, Mixture, n_parameters

REG_COVAR = 1e-6


def blobs(seed: int, *, n_samples: int = 1200, k: int = 6, dim: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    means = rng.uniform(-6, 6, (k, dim))
    labels = rng.choice(k, n_samples, p=rng.dirichlet(np.ones(k)))
    return means[labels] + rng.standard_normal((n_samples, dim)) * rng.uniform(0.7, 1.4, dim)


def surface(seed: int, n_samples: int = 1200) -> np.ndarray:
    """Points on a two-dimensional surface in three dimensions, as decoder means are."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n_samples, 2))
    hidden = np.maximum(latent @ rng.standard_normal((2, 64)) + rng.standard_normal(64), 0)
    return hidden @ rng.standard_normal((64, 3))


def almost_flat(seed: int) -> np.ndarray:
    """A cloud so thin that the quadratic form alone would lose half its digits."""
    points = blobs(seed)
    points[:, 2] = points[:, 0] + 1e-4 * points[:, 2]
    return points


def nearest(seed: int, points: np.ndarray, k: int) -> np.ndarray:
    """Starting labels (n,): the nearest of k random points."""
    rng = np.random.default_rng(seed)
    centres = points[rng.choice(len(points), k, replace=False)]
    return ((points[:, None] - centres) ** 2).sum(-1).argmin(1)


class StartedMixture(GaussianMixture):
    """scikit-learn's mixture, started from given responsibilities."""

    def _initialize_parameters(
        self, X: np.ndarray, random_state: object, xp: object = None
    ) -> None:
        self._initialize(X, self.start)


def reference(points: np.ndarray, labels: np.ndarray, **settings: float) -> GaussianMixture:
    model = StartedMixture(labels.max() + 1, **settings)
    model.start = np.eye(labels.max() + 1)[labels]
    return model.fit(points)


def climb(points: np.ndarray, labels: np.ndarray, *, tol: float, max_iter: int = 300) -> Climb:
    cloud = Cloud(points, ridge=REG_COVAR)
    mixture = cloud.from_labels(labels[cloud.order])
    return cloud.climb(mixture, tol_nats=tol * len(points), max_iter=max_iter)


@pytest.mark.parametrize("cloud", [blobs, surface, almost_flat])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_follows_scikit_learn_from_equal_starts(cloud, k: int) -> None:
    points = cloud(3)
    start = nearest(1, points, k)
    theirs = reference(points, start, tol=1e-4, max_iter=300)
    ours = climb(points, start, tol=1e-4)
    assert ours.n_iter == theirs.n_iter_
    assert ours.converged == theirs.converged_
    # Rounding moves the smallest variance by eps times the condition number, relative to itself:
    # 4e7 for the flat cloud, where both sums are some 1e-8 off the exact one, here on one side,
    # there on the other.
    rounding = 4 * np.finfo(float).eps * np.linalg.cond(theirs.covariances_).max()
    lower_bound = ours.log_likelihood / len(points)
    assert lower_bound == pytest.approx(theirs.lower_bound_, abs=max(1e-8, rounding))
    np.testing.assert_allclose(ours.mixture.weights, theirs.weights_, atol=1e-6)
    np.testing.assert_allclose(ours.mixture.means + Cloud(points).centre, theirs.means_, atol=1e-6)
    np.testing.assert_allclose(ours.mixture.covariances, theirs.covariances_, atol=1e-6)


def test_an_almost_flat_cloud_costs_no_digits() -> None:
    """One Gaussian in closed form, in 80-bit arithmetic."""
    points = almost_flat(3).astype(np.longdouble)
    gap = points - points.mean(0)
    plain = gap.T @ gap / len(points)
    ridged = plain + np.longdouble(REG_COVAR) * np.eye(3)
    minors = np.cross(ridged[1], ridged[2]), np.cross(ridged[2], ridged[0])
    adjugate = np.stack([*minors, np.cross(ridged[0], ridged[1])])
    determinant = ridged[0] @ adjugate[0]
    trace = (adjugate * plain).sum() / determinant
    exact = -0.5 * (3 * np.log(2 * np.pi) + np.log(determinant) + trace)
    ours = climb(almost_flat(3), np.zeros(len(points), int), tol=1e-4)
    # Rounding times the condition of the covariance is 9e-9; processors differ below that.
    assert ours.log_likelihood / len(points) == pytest.approx(float(exact), abs=5e-9)


def test_bic_equals_scikit_learn_on_equal_parameters() -> None:
    points = blobs(0)
    theirs = GaussianMixture(4, random_state=0).fit(points)
    cloud = Cloud(points)
    mixture = Mixture(theirs.weights_, theirs.means_ - cloud.centre, theirs.covariances_)
    log_likelihood = cloud.score(mixture).log_likelihood
    bic = n_parameters(4, 3) * np.log(len(points)) - 2 * log_likelihood
    assert bic == pytest.approx(theirs.bic(points), abs=1e-6)
