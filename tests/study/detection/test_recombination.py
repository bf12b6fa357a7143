"""Two fits, each better in another place, make one that is better in both."""

from __future__ import annotations

import numpy as np

from study.detection.cloud import Cloud, Mixture
from study.detection.recombination import recombine


def two_pairs() -> Cloud:
    """Two far regions of two clusters each."""
    rng = np.random.default_rng(0)
    centres = np.array([[-20.0, -3.0], [-20.0, 3.0], [20.0, -3.0], [20.0, 3.0]])
    return Cloud(np.repeat(centres, 200, axis=0) + rng.normal(size=(800, 2)), pseudo_count=0.0025)


def fit(cloud: Cloud, *, fine_left: bool) -> Mixture:
    """Two components in one region and one in the other."""
    left = cloud.points[:, 0] < 0
    upper = cloud.points[:, 1] > 0
    fine = left if fine_left else ~left
    return cloud.from_labels(np.where(fine, upper, 2).astype(np.int64))


def test_each_region_comes_from_the_better_fit() -> None:
    cloud = two_pairs()
    left, right = fit(cloud, fine_left=True), fit(cloud, fine_left=False)
    price = 0.5 * 6 * np.log(800)
    (mixed,) = recombine(cloud, left, right, price)
    assert len(mixed.weights) == 4
    assert mixed.weights.sum() == 1.0
    gain = cloud.score(mixed).log_likelihood - cloud.score(left).log_likelihood
    assert gain > price
    np.testing.assert_allclose(
        np.sort(mixed.means[:, 0] + cloud.centre[0]).round(), [-20, -20, 20, 20]
    )


def test_a_fit_has_nothing_to_learn_from_itself() -> None:
    cloud = two_pairs()
    left = fit(cloud, fine_left=True)
    assert recombine(cloud, left, left, 20.0) == []


def test_components_that_do_not_pay_are_not_taken() -> None:
    cloud = two_pairs()
    left, right = fit(cloud, fine_left=True), fit(cloud, fine_left=False)
    # Each region of one fit has a component more or less: at this price the single ones win.
    (coarse,) = recombine(cloud, left, right, 1e6)
    assert len(coarse.weights) == 2
