"""Parts of a fit are searched afresh: what is better there takes their place, the rest stays."""

from __future__ import annotations

import numpy as np

from study.detection.cloud import Cloud
from study.detection.likelihood_path import PathSearch
from study.detection.regions import cut_regions, search_regions

# Four groups far apart, of three clusters each.
FAR = 40.0 * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
CENTRES = (FAR[:, None] + 6.0 * np.array([[0, 0], [1, 0], [0, 1]])).reshape(-1, 2)


def searched(n_coarse: int) -> PathSearch:
    """Fit one component to each of the first `n_coarse` groups, three to each of the others."""
    noise = np.random.default_rng(0).normal(size=(1200, 2))
    cloud = Cloud(np.repeat(CENTRES, 100, axis=0) + noise, pseudo_count=1e-3)
    gaps = cloud.points[:, None] + cloud.centre - CENTRES
    cluster = np.square(gaps).sum(-1).argmin(1)
    group = cluster // 3
    path = PathSearch(cloud, np.random.default_rng(0), k_min=1, k_max=20)
    path.overfit(np.where(group < n_coarse, 3 * group, cluster))
    return path


def test_regions_cover_all_components() -> None:
    path = searched(0)
    regions = cut_regions(path.cloud, path.fits[12].mixture, path.generator)
    assert set(np.concatenate(regions).tolist()) == set(range(12))
    assert len(regions) < 12


def test_a_region_that_can_be_done_better_is() -> None:
    path = searched(2)
    before = path.cost(8)
    search_regions(path)
    assert path.best_k() > 8
    assert path.cost(path.best_k()) < before - 50.0


def test_a_fit_that_is_right_stays() -> None:
    path = searched(0)
    before = path.cost(12)
    search_regions(path)
    assert path.best_k() == 12
    assert path.cost(12) >= before - 0.5
