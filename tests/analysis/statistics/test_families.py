"""Step-down max-T against R, the truth of small cases, and what must not move it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from analysis.statistics import families, hypotheses
from analysis.statistics.families import judge_family

# Kept from R 4.2, Bioconductor's multtest 2.54.0: the paired t over all 2^8 sign patterns,
#   P <- matrix(0, nrow(X), 2 * ncol(X)); P[, seq(2, 2 * ncol(X), 2)] <- X
#   mt.maxT(P, classlabel = rep(0:1, ncol(X)), test = "pairt", B = 0)
X = np.array(
    [
        [1.80, 2.10, 1.53, 0.91, 1.35, 0.81, 1.86, 3.14],
        [0.71, 0.58, 1.69, 1.56, 1.31, 0.27, 1.17, 1.90],
        [-0.44, 0.44, -1.00, -0.39, -0.94, 0.66, -0.37, 1.17],
        [0.26, 3.05, 1.53, -0.74, 0.75, 0.98, 0.74, 2.25],
        [-0.98, -0.81, 1.06, -0.81, -0.03, 0.88, -0.58, -0.11],
        [-0.69, -0.74, -2.03, -0.72, 0.56, -2.35, 0.06, -0.68],
    ]
)
MULTTEST = [0.0078125, 0.0156250, 0.8125, 0.1171875, 0.8125, 0.1171875]


def test_step_down_equals_multtest() -> None:
    found = judge_family(X)
    assert found.p_adjusted == pytest.approx(MULTTEST)
    assert found.is_exact
    assert found.n_patterns == 2**8


def test_a_family_of_one_is_its_sign_flip_test() -> None:
    for row in X:
        alone = judge_family(row[None]).p_adjusted[0]
        assert alone == pytest.approx(hypotheses.sign_flip_test(row))


def test_it_never_asks_more_than_holm() -> None:
    """Step-down maxima use what the tests have in common; Holm's method supposes the worst."""
    holm = multipletests([hypotheses.sign_flip_test(row) for row in X], method="holm")[1]
    copies = judge_family(np.repeat(X[:1], 20, axis=0)).p_adjusted
    assert copies == pytest.approx(np.full(20, hypotheses.sign_flip_test(X[0])))
    assert (judge_family(X).p_adjusted <= holm + 0.05).all()


def test_random_flips_are_never_zero() -> None:
    rng = np.random.default_rng(0)
    found = judge_family(rng.normal(3, 1, (3, 20)), n_flips=1000)
    assert found.p_adjusted == pytest.approx(np.full(3, 1 / 1000))
    assert not found.is_exact
    again = judge_family(rng.normal(0, 1, (3, 20)), n_flips=1000)
    assert (again.p_adjusted > 1 / 1000).all()


def test_missing_seeds_leave_the_others_alone() -> None:
    with_gap = np.vstack([X, np.full((1, 8), np.nan)])
    with_gap[2, 3] = np.nan
    found = judge_family(with_gap)
    assert np.isnan(found.p_adjusted[-1])
    assert np.isnan(found.low[-1])
    assert np.isfinite(found.p_adjusted[:-1]).all()
    column = np.hstack([X, np.full((6, 1), np.nan)])
    assert judge_family(column).p_adjusted == pytest.approx(MULTTEST)


def test_tests_that_cannot_reject_stand_beside() -> None:
    """Five seeds give no p below 1/16; in one family they would keep every other from less."""
    few = np.full((4, 8), np.nan)
    few[:, :5] = 10 + np.random.default_rng(1).normal(size=(4, 5))
    found = judge_family(np.vstack([X, few]))
    assert found.p_adjusted[:6] == pytest.approx(MULTTEST)
    assert (found.p_adjusted[6:] >= 1 / 16).all()
    assert np.isnan(found.low[6:]).all()


def test_differences_that_are_all_zero_or_all_equal() -> None:
    found = judge_family(np.vstack([X, np.zeros(8), np.full(8, -0.1)]))
    assert found.p_adjusted[-2] == 1
    assert found.p_skewed[-2] == 1
    assert (found.low[-2], found.high[-2]) == (0, 0)
    assert found.p_adjusted[-1] == pytest.approx(2 / 2**8)
    assert found.low[-1] == pytest.approx(-0.1)


def test_rare_values_do_not_pass_for_certain() -> None:
    """Two of ten differences that are not zero: most resamples hold one, a tenth holds none."""
    rare = np.zeros(10)
    rare[[2, 7]] = -0.1
    assert judge_family(rare[None]).p_skewed[0] > 0.1
    # And they do not keep the others from their own p.
    clear = np.linspace(1, 2, 10)
    assert judge_family(np.vstack([clear, rare])).p_skewed[0] < 0.02


def test_intervals_are_inverted_tests() -> None:
    found = judge_family(X)
    error = X.std(axis=1, ddof=1) / np.sqrt(8)
    assert (found.high - found.low) / 2 / error == pytest.approx(found.critical)
    assert (found.low + found.high) / 2 == pytest.approx(X.mean(axis=1))
    # Shifted to the end of its interval, a test is about to be significant.
    moved = X - found.low[:, None] * 1.02
    assert judge_family(moved).p_adjusted.min() < 0.08


@given(st.floats(1e-6, 1e6), st.permutations(range(6)), st.permutations(range(8)))
def test_units_and_orders_do_not_matter(scale: float, tests: list[int], seeds: list[int]) -> None:
    found = judge_family(scale * X[tests][:, seeds])
    assert found.p_adjusted == pytest.approx(np.array(MULTTEST)[tests])


def test_seed_matrix_averages_within_seeds() -> None:
    matrix = families.seed_matrix([([1.0, 3.0, np.nan], [4, 4, 9]), ([5.0, 7.0], [9, 2])])
    assert matrix == pytest.approx(np.array([[np.nan, 2, np.nan], [7, np.nan, 5]]), nan_ok=True)
    assert families.seed_matrix([]).shape == (0, 0)


def test_sign_test_counts_signs() -> None:
    assert families.sign_test([3.0, 1.0, 2.0, 0.0, np.nan]) == pytest.approx(2 / 8)
    assert np.isnan(families.sign_test([0.0, 0.0]))
