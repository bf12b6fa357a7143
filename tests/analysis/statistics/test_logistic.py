"""Bias-reduced logistic regression against R and statsmodels, and its intervals by simulation."""

import numpy as np
import pytest
import statsmodels.api as sm

from analysis.statistics.logistic import clustered_logistic, fit_logistic

A = [2.04, -2.56, 0.42, -0.57, -0.45, -0.22, -2.02, -0.23, -0.87, 3.32, 0.23, -0.35]
B = [-0.28, -0.67, -1.06, -0.39, 0.48, -0.24, 0.96, -0.2, 0.02, 1.55, 0.55, -0.51]
Y = [3, 0, 3, 0, 2, 3, 0, 3, 0, 3, 3, 0]
X = np.column_stack([np.ones(12), A, B])
# Kept from R 4.2, brglm2 0.9:
#   glm(cbind(y, n - y) ~ a + b, binomial, method = "brglmFit", type = "AS_mean")
BRGLM2 = [8.93000779753, 23.82845910487, 4.83149705860]


def test_estimates_equal_brglm2() -> None:
    assert fit_logistic(X, Y, [3] * 12) == pytest.approx(BRGLM2, rel=1e-6)


def test_large_samples_have_the_likelihoods_estimates() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([np.ones(400), rng.normal(size=(400, 2))])
    n = np.full(400, 200)
    y = rng.binomial(n, 1 / (1 + np.exp(-x @ [1.0, 0.5, -1.0])))
    expected = sm.GLM(np.column_stack([y, n - y]), x, family=sm.families.Binomial()).fit().params
    assert fit_logistic(x, y, n) == pytest.approx(expected, abs=2e-3)


def test_complete_separation_has_finite_estimates() -> None:
    """Every mode below a weight lost, every one above it recalled: no maximum of likelihood."""
    found = fit_logistic(X, np.where(np.array(A) > -0.5, 3, 0), [3] * 12)
    assert np.isfinite(found).all()
    assert found[1] > 0
    assert np.isfinite(fit_logistic(X, [3] * 12, [3] * 12)).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="not of full rank"):
        fit_logistic(np.column_stack([X, X[:, 1]]), Y, [3] * 12)
    with pytest.raises(ValueError, match="between 0 and trials"):
        fit_logistic(X, [4] * 12, [3] * 12)


def simulate(rng: np.random.Generator, n_data: int) -> tuple[np.ndarray, ...]:
    """Modes of n_data data sets, three networks each, that share what befalls their data set."""
    weight = np.log2(rng.dirichlet(np.ones(10), n_data).clip(0.005))
    shift = rng.normal(0, 0.7, (n_data, 1))
    odds = 6.0 + 1.2 * weight + shift
    y = rng.binomial(3, 1 / (1 + np.exp(-odds)))
    x = np.column_stack([np.ones(y.size), weight.ravel()])
    return x, y.ravel(), np.full(y.size, 3), np.repeat(np.arange(n_data), 10)


# 300 experiments with 10 data sets, a slope of 1.2 within data sets (1.13 over them all, since
# constants differ between data sets): 95 % intervals hold it in 91.5 to 98.5 % with probability
# 0.99. Taking rows for independent holds it less often.
@pytest.mark.slow
def test_intervals_over_data_sets_cover() -> None:
    rng = np.random.default_rng(1)
    x, y, n, _ = simulate(rng, 20_000)
    truth = fit_logistic(x, y, n)[1]
    hits = 0
    for _ in range(300):
        fit = clustered_logistic(*simulate(rng, 10))
        hits += abs(fit.coefficients[1] - truth) <= fit.half_width[1]
    assert 0.915 <= hits / 300 <= 0.985
