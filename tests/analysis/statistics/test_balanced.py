import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as smf

from analysis.statistics.balanced import (
    balanced_core,
    difference_limits,
    factorial_sums,
    nested_components,
)


def _values(seed: int, n_cells: int = 1, n_data: int = 10, n_init: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    data = rng.normal(0, 1.5, (n_cells, n_data, 1))
    return data + rng.normal(0, 0.8, (n_cells, n_data, n_init))


def test_components_equal_restricted_likelihood() -> None:
    values = _values(0)[0]
    frame = pd.DataFrame({"y": values.ravel(), "seed": np.repeat(np.arange(10), 3)})
    fit = smf.mixedlm("y ~ 1", frame, groups="seed").fit(reml=True)
    found = nested_components(values[None])
    # In a balanced design both are the same estimate, up to the optimiser's tolerance.
    assert found.variance[0] == pytest.approx(float(fit.cov_re.iloc[0, 0]), rel=1e-3)
    assert found.variance[1] == pytest.approx(float(fit.scale), rel=1e-3)
    assert (found.low < found.variance).all()
    assert (found.high > found.variance).all()


def test_three_strata_by_hand() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 4, 3, 2))
    sample = values.var(axis=3, ddof=1).mean()
    init = values.mean(axis=3).var(axis=2, ddof=1).mean() - sample / 2
    data = values.mean(axis=(2, 3)).var(axis=1, ddof=1).mean() - (init + sample / 2) / 3
    assert nested_components(values).variance == pytest.approx([data, init, sample])


def test_a_negative_component_stays_negative() -> None:
    values = np.array([[[0.0, 4.0], [4.0, 0.0], [0.1, 4.0]]])
    found = nested_components(values)
    assert found.variance[0] < 0
    assert found.low[0] == 0
    assert found.high[0] >= 0
    assert found.low[1] > 0


def test_a_single_stratum_has_the_chi_squared_interval() -> None:
    low, high = difference_limits((2.0, 9.0), (0.0, np.inf))
    assert low == pytest.approx(18 / scipy.stats.chi2.ppf(0.975, 9))
    assert high == pytest.approx(18 / scipy.stats.chi2.ppf(0.025, 9))


def test_one_seed_has_no_components() -> None:
    with pytest.raises(ValueError, match="2 seeds or more"):
        nested_components(np.zeros((1, 5, 1)))


def test_core_drops_as_little_as_it_can() -> None:
    frame = pd.DataFrame(
        [(c, d, i, float(c + d + i)) for c in range(3) for d in range(6) for i in range(2)],
        columns=["cell", "data_seed", "init_seed", "value"],
    )
    frame.loc[(frame["data_seed"] == 4) & (frame["cell"] == 1), "value"] = np.nan
    core = balanced_core(frame, "value", ["cell", "data_seed", "init_seed"])
    assert core.values.shape == (3, 5, 2)
    assert 4 not in core.labels[1]
    assert core.n_dropped == 4
    assert core.values[1, 0, 1] == 2.0
    # A cell that lost everything goes, not the seeds of the others.
    frame.loc[frame["cell"] == 2, "value"] = np.nan
    assert balanced_core(frame, "value", ["cell", "data_seed", "init_seed"]).values.shape[0] == 2


def test_sums_of_squares_add_up() -> None:
    values = np.random.default_rng(3).normal(size=(3, 2, 5, 4))
    sums = factorial_sums(values)
    total = ((values - values.mean()) ** 2).sum()
    parts = sums.effects.sum() + sums.blocks + sums.error + sums.within
    assert parts == pytest.approx(total)
    assert sums.terms == ((0,), (1,), (0, 1))
