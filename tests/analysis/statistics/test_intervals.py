import numpy as np
import pandas as pd
import pytest
import scipy.stats

from analysis.statistics import intervals as stats

# Data and init standard deviations of the forward KL.
FKL = (0.078, 0.041)


def _experiment(
    rng: np.random.Generator, n_data: int, sd: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    clusters = np.repeat(np.arange(n_data), 3)
    values = rng.normal(0, sd[0], n_data)[clusters] + rng.normal(0, sd[1], len(clusters))
    return values, clusters


def test_kind_follows_the_number_of_clusters() -> None:
    rng = np.random.default_rng(0)
    for n_data, kind in [(2, "t"), (7, "t"), (8, "bca"), (12, "bca")]:
        interval = stats.mean_interval(*_experiment(rng, n_data, FKL))
        assert (interval.kind, interval.n_clusters, interval.level) == (kind, n_data, 0.95)
        assert interval.low < interval.estimate < interval.high


def test_one_data_seed_has_no_interval() -> None:
    interval = stats.mean_interval([1.0, 2.0, 6.0], [0, 0, 0])
    assert (interval.kind, interval.low, interval.high) == ("range", 1.0, 6.0)
    assert np.isnan(interval.level)
    single = stats.mean_interval([1.0], [0])
    assert single.kind == "none"
    assert np.isnan(single.low)


def test_nothing_to_estimate() -> None:
    interval = stats.mean_interval(pd.array([None, None], dtype="Int64"), [0, 1])
    assert interval.n_clusters == 0
    assert np.isnan(interval.estimate)


def test_t_interval_equals_scipy() -> None:
    x = np.array([1.0, 2.0, 4.0, 3.5, 0.2])
    interval = stats.mean_interval(x, np.arange(5), level=0.9)
    expected = scipy.stats.ttest_1samp(x, 0).confidence_interval(0.9)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_unequal_clusters_weigh_the_same() -> None:
    interval = stats.mean_interval([0.0, 0.0, 0.0, 0.0, 1.0], [0, 0, 0, 0, 1])
    assert interval.estimate == 0.5


def test_intervals_end_where_the_quantity_ends() -> None:
    wide = stats.mean_interval([0.9, 0.2], [0, 1])
    cut = stats.mean_interval([0.9, 0.2], [0, 1], bounds=(0, 1))
    assert wide.low < 0
    assert wide.high > 1
    assert (cut.low, cut.estimate, cut.high) == (0, wide.estimate, 1)


def test_results_repeat() -> None:
    values, clusters = _experiment(np.random.default_rng(3), 10, FKL)
    assert stats.mean_interval(values, clusters) == stats.mean_interval(values, clusters)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_level_is_checked(level: float) -> None:
    with pytest.raises(ValueError, match="level must be in"):
        stats.mean_interval([1.0, 2.0], [0, 1], level=level)


def test_share_bounds_count_the_missing() -> None:
    assert stats.share_bounds(6, 8, 10) == (0.6, 0.8)
    with pytest.raises(ValueError, match="n_planned"):
        stats.share_bounds(3, 2, 10)


def test_expanded_level_reaches_student() -> None:
    n = 10
    reach = scipy.stats.norm.ppf(0.5 + stats.expanded_level(0.95, n) / 2)
    assert reach * np.sqrt((n - 1) / n) == pytest.approx(scipy.stats.t.ppf(0.975, n - 1))


def test_bca_equals_scipy() -> None:
    x = np.random.default_rng(0).exponential(size=12)
    expected = scipy.stats.bootstrap(
        (x,), np.mean, n_resamples=999, confidence_level=0.9, method="BCa",
        rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    low, high = stats.bca_limits(x[None], level=0.9, expand=False, n_resamples=999, seed=5)
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_many_samples_equal_one_at_a_time() -> None:
    rng = np.random.default_rng(1)
    samples = [_experiment(rng, n, FKL) for n in (12, 5, 9, 12, 1)]
    for many, one in zip(stats.mean_intervals(samples), samples, strict=True):
        alone = stats.mean_interval(*one)
        assert (many.kind, many.n_clusters) == (alone.kind, alone.n_clusters)
        assert (many.low, many.high) == pytest.approx((alone.low, alone.high))
