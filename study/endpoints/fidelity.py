"""How close generated points are to a reference draw of the truth, by neighbors and by classifier.

Each measure compares two equally large point sets. Under the null (both are draws of the same
law): density has mean 1, coverage 1 - 2^-k, classifier accuracy mean 1/2 and variance at most
1 / (4 n_test). The reference must be independent of the points that the model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import KDTree
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

N_NEIGHBORS = 5
MAX_POINTS = 10_000
# Beyond this dimension a KD-tree visits nearly every point and plain matrix products are faster.
MAX_TREE_DIM = 8
# Products cost the square of the number of points: 0.8 s at 5,000 on one core.
MAX_PRODUCT_POINTS = 5_000
CHUNK_SIZE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborFidelity:
    """Density and coverage of a generated point set.

    Parameters
    ----------
    density : float
        Mean number of reference balls around a generated point, over n_neighbors. 1 under the
        null, below 1 where points lie off the truth; it exceeds 1 when they crowd near modes.
    coverage : float
        Share of reference balls that hold a generated point.
    """

    density: float
    coverage: float


def check_points(points: np.ndarray, name: str) -> Float64[np.ndarray, "samples features"]:
    """Return points as float64, or say what is wrong with them.

    Parameters
    ----------
    points : ndarray of shape (n_samples, n_features)
    name : str
        What the message calls them.

    Returns
    -------
    ndarray of shape (n_samples, n_features)

    Raises
    ------
    ValueError
        If they are not a non-empty two-dimensional array of finite numbers.
    """
    if points.ndim != 2 or points.size == 0:
        raise ValueError(
            f"{name} must have shape (n_samples, n_features) with at least one point and one "
            f"feature; got {points.shape}"
        )
    finite = np.isfinite(points).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise ValueError(
            f"{name} must be finite; {bad.size} of {len(points)} points hold NaN or infinity "
            f"(first at index {bad[0]}): record the model as diverged instead of scoring it"
        )
    return points.astype(np.float64, copy=False)


def neighbor_fidelity(
    generated: Float64[np.ndarray, "generated features"],
    reference: Float64[np.ndarray, "reference _"],
    *,
    n_neighbors: int = N_NEIGHBORS,
) -> NeighborFidelity:
    """Measure density and coverage, in memory linear in the number of points.

    Around each reference point lies a ball that reaches to its n_neighbors-th nearest reference
    point. Both sets are cut to the size of the smaller one, since the null of coverage holds for
    equal sizes only, and to `MAX_POINTS`, in more than 8 dimensions to `MAX_PRODUCT_POINTS`.
    Points on a ball's surface are outside, as in the authors' code.

    Parameters
    ----------
    generated, reference : ndarray of shape (n_samples, n_features)
    n_neighbors : int
        At least 1.

    Returns
    -------
    NeighborFidelity

    Raises
    ------
    ValueError
        If there are not more points than n_neighbors, a point is not finite, or the dimensions
        differ.

    References
    ----------
    Naeem, Oh, Uh, Choi, Yoo 2020, "Reliable Fidelity and Diversity Metrics for Generative
    Models", https://arxiv.org/abs/2002.09797.
    """
    generated, reference = _equal_parts(generated, reference)
    by_tree = reference.shape[1] <= MAX_TREE_DIM
    if not by_tree:
        generated, reference = generated[:MAX_PRODUCT_POINTS], reference[:MAX_PRODUCT_POINTS]
    n_points = len(reference)
    if not 1 <= n_neighbors < n_points:
        raise ValueError(
            f"n_neighbors must be at least 1 and below the number of points, {n_points}; "
            f"got {n_neighbors}"
        )
    count = _ball_counts_by_tree if by_tree else _ball_counts_by_product
    inside = count(generated, reference, n_neighbors)
    return NeighborFidelity(
        density=float(inside.sum() / (n_neighbors * n_points)), coverage=float(np.mean(inside > 0))
    )


def two_sample_accuracy(
    generated: Float64[np.ndarray, "generated features"],
    reference: Float64[np.ndarray, "reference _"],
    *,
    rng: np.random.Generator,
) -> float:
    """Measure how well a classifier tells generated from reference points it has not seen.

    Gradient-boosted trees are trained on a random half of each set and tested on the other
    halves. Both sets are cut to the size of the smaller one and to `MAX_POINTS`. One thread.

    Parameters
    ----------
    generated, reference : ndarray of shape (n_samples, n_features)
    rng : numpy.random.Generator
        Draws the split.

    Returns
    -------
    float
        Held-out accuracy: 1/2 when the laws agree, 1 when they can be told apart.

    Raises
    ------
    ValueError
        If there are fewer than four points in a set, a point is not finite, or the dimensions
        differ.

    References
    ----------
    Lopez-Paz, Oquab 2017, "Revisiting Classifier Two-Sample Tests",
    https://arxiv.org/abs/1610.06545.
    """
    parts = _equal_parts(generated, reference)
    n_points = len(parts[0])
    if n_points < 4:
        raise ValueError(
            f"two_sample_accuracy needs at least 4 points in each set; got {n_points}"
        )
    shuffled = [part[rng.permutation(n_points)] for part in parts]
    n_train = n_points // 2
    train = np.concatenate([part[:n_train] for part in shuffled])
    test = np.concatenate([part[n_train:] for part in shuffled])
    classifier = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=15, early_stopping=False, random_state=0
    )
    with threadpool_limits(limits=1):
        classifier.fit(train, np.repeat([0, 1], n_train))
        predicted = classifier.predict(test)
    return float(np.mean(predicted == np.repeat([0, 1], n_points - n_train)))


def _equal_parts(
    generated: np.ndarray, reference: np.ndarray
) -> tuple[Float64[np.ndarray, "samples features"], Float64[np.ndarray, "samples features"]]:
    generated = check_points(generated, "generated points")
    reference = check_points(reference, "reference points")
    if generated.shape[1] != reference.shape[1]:
        raise ValueError(
            "generated and reference points must have the same dimension; "
            f"got {generated.shape[1]} and {reference.shape[1]}"
        )
    n_points = min(len(generated), len(reference), MAX_POINTS)
    return generated[:n_points], reference[:n_points]


def _ball_counts_by_tree(
    generated: np.ndarray, reference: np.ndarray, n_neighbors: int
) -> Int64[np.ndarray, " reference"]:
    """Count the generated points strictly inside each reference point's ball."""
    distances, _ = KDTree(reference).query(reference, k=[n_neighbors + 1])
    # query_ball_point includes the surface; the next smaller number leaves it out.
    radii = np.nextafter(distances[:, 0], 0)
    return KDTree(generated).query_ball_point(reference, radii, return_length=True)


def _ball_counts_by_product(
    generated: np.ndarray, reference: np.ndarray, n_neighbors: int
) -> Int64[np.ndarray, " reference"]:
    """Count as `_ball_counts_by_tree`, by matrix products over chunks of reference points."""
    # Centering keeps |x|^2 - 2 x'y + |y|^2 from cancelling when the data lie far from the origin.
    center = reference.mean(axis=0)
    generated, reference = generated - center, reference - center
    counts = [
        np.sum(
            _distances_sq(chunk, generated)
            < np.partition(_distances_sq(chunk, reference), n_neighbors)[:, [n_neighbors]],
            axis=1,
        )
        for chunk in _chunks(reference)
    ]
    return np.concatenate(counts)


def _chunks(points: np.ndarray) -> Iterator[np.ndarray]:
    return (points[start : start + CHUNK_SIZE] for start in range(0, len(points), CHUNK_SIZE))


def _distances_sq(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    products = left @ right.T
    return np.sum(left**2, axis=1)[:, None] - 2 * products + np.sum(right**2, axis=1)
