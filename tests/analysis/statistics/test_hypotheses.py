"""Simulations state the false-alarm rate of each assertion; every seed is fixed."""

import numpy as np
import pingouin
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from analysis.statistics import hypotheses


def test_sign_flip_is_exact() -> None:
    assert hypotheses.sign_flip_test([1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
    assert hypotheses.sign_flip_test(np.arange(1.0, 11.0)) == pytest.approx(2 / 2**10)
    assert hypotheses.sign_flip_test([0.0, 0.0]) == 1.0
    assert np.isnan(hypotheses.sign_flip_test([1.0]))


def test_sign_flip_equals_scipy() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, 9)
    expected = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert hypotheses.sign_flip_test(differences) == pytest.approx(expected.pvalue)


# 1,000 null experiments at 5 %: outside 0.025..0.08 with probability below 1e-4.
def test_sign_flip_holds_its_level() -> None:
    rng = np.random.default_rng(0)
    p = [hypotheses.sign_flip_test(rng.normal(size=8)) for _ in range(1000)]
    assert 0.025 <= np.mean(np.array(p) <= 0.05) <= 0.08


def test_large_samples_are_flipped_at_random() -> None:
    p = hypotheses.sign_flip_test(np.random.default_rng(0).normal(2, 1, 20), n_resamples=2000)
    assert p == 1 / 2000


def test_paired_contrast() -> None:
    clusters = np.repeat(np.arange(4), 2)
    contrast = hypotheses.paired_contrast(10 + clusters, np.full(8, 10), clusters)
    assert contrast.difference.estimate == 1.5
    assert contrast.superiority == pytest.approx((3 + 0.5) / 4)
    assert contrast.dz == pytest.approx(1.5 / np.std([0, 1, 2, 3], ddof=1))


def test_holm() -> None:
    adjusted = hypotheses.holm([0.01, 0.04, np.nan, 0.03])
    assert adjusted == pytest.approx([0.03, 0.06, np.nan, 0.06], nan_ok=True)


def test_holm_and_benjamini_hochberg_equal_statsmodels() -> None:
    p = np.random.default_rng(2).uniform(size=20) ** 2
    for method, ours in (("holm", hypotheses.holm), ("fdr_bh", hypotheses.benjamini_hochberg)):
        assert ours(p) == pytest.approx(multipletests(p, method=method)[1])
    with_gap = hypotheses.benjamini_hochberg([0.01, np.nan, 0.03])
    assert with_gap == pytest.approx([0.02, np.nan, 0.03], nan_ok=True)


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.9, 1.4])
def test_equivalence_equals_pingouin(shift: float) -> None:
    x = np.random.default_rng(3).normal(shift, 0.8, 12)
    ours = hypotheses.equivalence_test(x, np.arange(12), margin=1.0)
    expected = pingouin.tost(x, np.zeros(12), bound=1.0, paired=True)
    assert ours.p_value == pytest.approx(float(expected["pval"].iloc[0]))
    # The interval lies within the margin exactly when the test passes.
    assert (ours.p_value < 0.05) == (ours.low > -1 and ours.high < 1)


def test_contrast_equals_pingouin() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(1, 1, 9), rng.normal(0, 1, 9)
    ours = hypotheses.paired_contrast(x, y, np.arange(9))
    expected = pingouin.compute_effsize_from_t(
        scipy.stats.ttest_rel(x, y).statistic, N=9, eftype="cohen"
    )
    # Cohen's d from t is 2 t / sqrt(N) for two groups: twice the paired dz.
    assert 2 * ours.dz == pytest.approx(expected)


def test_equivalence_without_spread() -> None:
    inside = hypotheses.equivalence_test([0.2, 0.2, 0.2], [0, 1, 2], margin=1.0)
    assert inside.p_value < 1e-9
    assert np.isnan(hypotheses.equivalence_test([0.2], [0], margin=1.0).p_value)
    with pytest.raises(ValueError, match="margin must be positive"):
        hypotheses.equivalence_test([0.2], [0], margin=0.0)
