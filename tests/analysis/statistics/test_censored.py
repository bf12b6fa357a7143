import numpy as np
import pytest
import scipy.stats
from statsmodels.duration.survfunc import SurvfuncRight

from analysis.statistics import censored


def test_kaplan_meier_by_hand() -> None:
    curve = censored.kaplan_meier([10, 11, 14, 14], [False, False, False, True])
    assert list(curve["k"]) == [10, 11, 14]
    assert list(curve["survival"]) == pytest.approx([0.75, 0.5, 0.25])


def test_median_of_censored_counts() -> None:
    assert censored.censored_median([10, 11, 12], [False] * 3) == 11
    assert censored.censored_median([14, 14, 12], [True, True, False]) == np.inf
    assert np.isnan(censored.censored_median([], []))


def _counts(rng: np.random.Generator, n_data: int, n_init: int = 3) -> tuple[np.ndarray, ...]:
    seeds = np.repeat(np.arange(n_data), n_init)
    k = np.round(17.5 + rng.normal(0, 1, n_data)[seeds] + rng.normal(0, 1.5, len(seeds)))
    ceiling = rng.choice([18, 20], size=len(seeds))
    return np.minimum(k, ceiling), k >= ceiling, seeds


def test_survival_equals_scipy_and_statsmodels() -> None:
    k, at_ceiling, seeds = _counts(np.random.default_rng(0), 10)
    curve = censored.survival_limits(k, at_ceiling, seeds).set_index("k")["survival"]
    scipys = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(k, at_ceiling)).sf
    assert curve.loc[scipys.quantiles].to_numpy() == pytest.approx(scipys.probabilities)
    theirs = SurvfuncRight(k, (~at_ceiling).astype(int))
    assert curve.loc[theirs.surv_times].to_numpy() == pytest.approx(theirs.surv_prob)


def test_survival_of_few_data_seeds_is_students() -> None:
    k, at_ceiling, seeds = _counts(np.random.default_rng(1), 5)
    nothing = np.zeros_like(at_ceiling)
    curve = censored.survival_limits(k, nothing, seeds).set_index("k")
    row = curve[curve["interval"] == "t"].iloc[0]
    shares = np.array([(k[seeds == i] > row.name).mean() for i in range(5)])
    expected = scipy.stats.ttest_1samp(shares, 0).confidence_interval(0.95)
    assert row["low"] == pytest.approx(max(expected.low, 0))
    assert row["high"] == pytest.approx(min(expected.high, 1))


def test_survival_where_all_agree() -> None:
    curve = censored.survival_limits([14] * 10, [True] * 10, np.arange(10))
    assert set(curve["interval"]) == {"exact"}
    assert list(curve["survival"]) == [1.0, 1.0]
    assert curve["low"].iloc[0] == pytest.approx(0.025 ** (1 / 10))
    assert censored.survival_limits([], [], []).empty
    assert set(censored.survival_limits([3, 4], [False, False], [0, 0])["interval"]) == {"none"}
