"""The batched EM against scikit-learn, and its invariances."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from study.cloud import Cloud, Mixture, n_parameters
from study.em import GaussianMixtures


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


def shares(seed: int, points: np.ndarray, k: int) -> np.ndarray:
    """Starting responsibilities (n, k): the nearest of k random points."""
    rng = np.random.default_rng(seed)
    centres = points[rng.choice(len(points), k, replace=False)]
    return np.eye(k)[((points[:, None] - centres) ** 2).sum(-1).argmin(1)]


class StartedMixture(GaussianMixture):
    """scikit-learn's mixture, started from given responsibilities."""

    def _initialize_parameters(
        self, X: np.ndarray, random_state: object, xp: object = None
    ) -> None:
        self._initialize(X, self.start)


def reference(points: np.ndarray, start: np.ndarray, **settings: float) -> GaussianMixture:
    model = StartedMixture(start.shape[1], **settings)
    model.start = start
    return model.fit(points)


@pytest.mark.parametrize("cloud", [blobs, surface, almost_flat])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_follows_scikit_learn_from_equal_starts(cloud, k: int) -> None:
    points = cloud(3)
    start = shares(1, points, k)
    theirs = reference(points, start, tol=1e-4, max_iter=300)
    ours = GaussianMixtures(tol=1e-4, max_iter=300).fit(points, start[None])
    assert ours.n_iter_[0] == theirs.n_iter_
    assert ours.converged_[0] == theirs.converged_
    # Rounding moves the smallest variance by eps times the condition number, relative to itself:
    # 4e7 for the flat cloud, where both sums are some 1e-8 off the exact one, here on one side,
    # there on the other.
    rounding = 4 * np.finfo(float).eps * np.linalg.cond(theirs.covariances_).max()
    assert ours.lower_bound_[0] == pytest.approx(theirs.lower_bound_, abs=max(1e-8, rounding))
    np.testing.assert_allclose(ours.weights_[0], theirs.weights_, atol=1e-6)
    np.testing.assert_allclose(ours.means_[0], theirs.means_, atol=1e-6)
    np.testing.assert_allclose(ours.covariances_[0], theirs.covariances_, atol=1e-6)
    np.testing.assert_allclose(
        ours.score_samples(points)[0], theirs.score_samples(points), atol=1e-5
    )
    np.testing.assert_array_equal(ours.predict(points)[0], theirs.predict(points))
    assert ours.bic(points)[0] == pytest.approx(theirs.bic(points), abs=1e-3)


def test_an_almost_flat_cloud_costs_no_digits() -> None:
    """One Gaussian in closed form, in 80-bit arithmetic."""
    points = almost_flat(3).astype(np.longdouble)
    gap = points - points.mean(0)
    plain = gap.T @ gap / len(points)
    ridged = plain + np.longdouble(1e-6) * np.eye(3)
    minors = np.cross(ridged[1], ridged[2]), np.cross(ridged[2], ridged[0])
    adjugate = np.stack([*minors, np.cross(ridged[0], ridged[1])])
    determinant = ridged[0] @ adjugate[0]
    trace = (adjugate * plain).sum() / determinant
    exact = -0.5 * (3 * np.log(2 * np.pi) + np.log(determinant) + trace)
    ours = GaussianMixtures(tol=1e-4).fit(almost_flat(3), np.ones((1, len(points), 1)))
    # Rounding times the condition of the covariance is 9e-9; processors differ below that.
    assert ours.lower_bound_[0] == pytest.approx(float(exact), abs=5e-9)


def test_bic_equals_scikit_learn_on_equal_parameters() -> None:
    points = blobs(0)
    theirs = GaussianMixture(4, random_state=0).fit(points)
    cloud = Cloud(points)
    mixture = Mixture(theirs.weights_, theirs.means_ - cloud.centre, theirs.covariances_)
    log_likelihood, _ = cloud.score(mixture)
    bic = n_parameters(4, 3) * np.log(len(points)) - 2 * log_likelihood
    assert bic == pytest.approx(theirs.bic(points), abs=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_a_stack_equals_its_members_to_the_bit(shared: bool) -> None:
    clouds = np.stack([blobs(seed) for seed in range(3)])
    points = clouds[0] if shared else clouds
    start = np.stack([shares(seed, clouds[0 if shared else seed], 5) for seed in range(3)])
    together = GaussianMixtures(tol=1e-5).fit(points, start)
    assert len(set(together.n_iter_.tolist())) > 1, "the members should stop at different times"
    for i in range(3):
        alone = GaussianMixtures(tol=1e-5).fit(clouds[0 if shared else i], start[i : i + 1])
        np.testing.assert_array_equal(together.means_[i], alone.means_[0])
        np.testing.assert_array_equal(together.covariances_[i], alone.covariances_[0])
        assert together.lower_bound_[i] == alone.lower_bound_[0]
        assert together.n_iter_[i] == alone.n_iter_[0]


def test_fits_with_different_k_run_together() -> None:
    points = blobs(1)
    narrow, wide = shares(0, points, 3), shares(0, points, 5)
    padded = np.concatenate([narrow, np.zeros((len(points), 2))], axis=1)
    together = GaussianMixtures().fit(points, np.stack([padded, wide]))
    alone = GaussianMixtures().fit(points, narrow[None])
    np.testing.assert_allclose(together.means_[0, :3], alone.means_[0], atol=1e-9)
    assert (together.weights_[0, 3:] == 0).all()
    assert together.lower_bound_[0] == pytest.approx(alone.lower_bound_[0], abs=1e-10)
    assert together.bic(points)[0] == pytest.approx(alone.bic(points)[0], abs=1e-6)


def test_order_of_points_and_components_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    points = blobs(2)
    start = shares(3, points, 5)
    rows, columns = rng.permutation(len(points)), rng.permutation(5)
    plain = GaussianMixtures().fit(points, start[None])
    mixed = GaussianMixtures().fit(points[rows], start[rows][None, :, columns])
    np.testing.assert_allclose(mixed.means_[0], plain.means_[0, columns], atol=1e-9)
    np.testing.assert_allclose(mixed.weights_[0], plain.weights_[0, columns], atol=1e-12)
    np.testing.assert_array_equal(columns[mixed.predict(points)[0]], plain.predict(points)[0])


def test_far_offset_changes_nothing() -> None:
    points = blobs(4)
    start = shares(4, points, 4)
    near = GaussianMixtures().fit(points, start[None])
    far = GaussianMixtures().fit(points + 1e6, start[None])
    np.testing.assert_allclose(far.means_ - 1e6, near.means_, atol=1e-6)
    np.testing.assert_allclose(far.covariances_, near.covariances_, atol=1e-6)


@pytest.mark.parametrize(
    ("points", "start", "message"),
    [
        (np.full((4, 2), np.nan), np.ones((1, 4, 1)), "finite"),
        (np.zeros(4), np.ones((1, 4, 1)), "axes"),
        (np.zeros((4, 2)), np.ones((1, 3, 1)), "does not match"),
        (np.zeros((2, 4, 2)), np.ones((1, 4, 1)), "does not match"),
    ],
)
def test_mistakes_are_named(points: np.ndarray, start: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixtures().fit(points, start)


def test_a_cloud_without_extent_and_without_ridge_is_refused() -> None:
    with pytest.raises(ValueError, match="positive definite"):
        GaussianMixtures(reg_covar=0.0).fit(np.ones((10, 2)), np.ones((1, 10, 1)))
