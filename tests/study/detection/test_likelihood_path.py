"""The path keeps its promises: monotone after repair, effort counted, hopeless proposals left."""

from __future__ import annotations

import numpy as np
import pytest

from study.detection import calibrated
from study.detection.calibrated import search_path
from study.detection.cloud import Cloud
from study.detection.likelihood_path import PathFit, PathSearch


def blobs() -> np.ndarray:
    """Three clusters far apart."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(mean, 1.0, (300, 3)) for mean in (-10, 0, 10)])


def test_repair_makes_the_path_monotone() -> None:
    path = search_path(blobs(), k_min=1, k_max=6)
    good = path.fits[4].mixture
    path.fits[4] = PathFit(good._replace(means=good.means + 3.0), -1e9, 0.0, True)
    path.finish()
    levels = [path.fits[k].log_likelihood for k in sorted(path.fits)]
    assert path.n_repairs >= 1
    assert np.diff(levels).min() > -1e-6


def test_search_counts_the_iterations_of_all_points() -> None:
    cloud = Cloud(blobs(), pseudo_count=0.1)
    path = PathSearch(cloud, np.random.default_rng(0), k_min=5, k_max=5)
    path.overfit(np.arange(900)[cloud.order] // 180)
    assert path.effort == 5 * path.n_iterations > 0


def test_a_proposal_that_cannot_win_is_given_up() -> None:
    cloud = Cloud(blobs())
    path = PathSearch(cloud, np.random.default_rng(0), k_min=1, k_max=5)
    start = cloud.from_labels(np.arange(900)[cloud.order] // 300)
    assert path.offer(start)
    best = path.fits[3]
    poor = start._replace(means=start.means[[0, 0, 2]] + np.arange(3)[:, None])
    assert not path.offer(poor)
    # It may come to the same optimum, a last bit above it.
    assert path.fits[3].log_likelihood == pytest.approx(best.log_likelihood, rel=1e-14)


def test_gaps_in_the_range_are_filled() -> None:
    cloud = Cloud(blobs(), pseudo_count=0.1)
    path = PathSearch(cloud, np.random.default_rng(0), k_min=1, k_max=6)
    path.overfit(np.arange(900)[cloud.order] // 150)
    path.finish()
    assert sorted(path.fits) == [1, 2, 3, 4, 5, 6]
    assert all(np.isfinite(fit.entropy) for fit in path.fits.values())


def test_a_scout_of_which_nothing_survives_still_gives_a_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Refused as on clouds where EM on all points leaves some component too few of its own.
    monkeypatch.setattr(PathSearch, "offer", lambda *_, **__: False)
    rng = np.random.default_rng(0)
    cloud = Cloud(rng.normal(size=(4000, 2)), pseudo_count=0.001)
    path = PathSearch(cloud, rng, k_min=1, k_max=6)
    calibrated._scout(path, whole=False)
    assert path.fits
