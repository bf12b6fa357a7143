from __future__ import annotations

import numpy as np
import pytest

from study.search.race import best_cell, cluster_mean, estimate_cells, next_contender, pareto_front


def _cells(truth: list[float], n: list[int], *, seed: int = 0) -> list[dict[int, float | None]]:
    rng = np.random.default_rng(seed)
    data = rng.normal(0, 5, max(n))  # easy and hard data sets, the same for every cell
    return [
        {j: mean + data[j] + rng.normal(0, 0.1) for j in range(count)}
        for mean, count in zip(truth, n, strict=True)
    ]


def test_common_seeds_are_taken_out() -> None:
    # Seed effects are 50 times the noise, and cells have met different numbers of them.
    estimates = estimate_cells(_cells([0.0, 1.0, 2.0], [2, 10, 4]))
    differences = estimates.mean - estimates.mean[0]
    np.testing.assert_allclose(differences, [0, 1, 2], atol=0.4)
    assert 0.05 < estimates.sd < 0.2


def test_failed_trials_leave_their_cell_without_value() -> None:
    estimates = estimate_cells([{0: None, 1: None}, {0: 1.0, 1: 2.0}])
    assert np.isnan(estimates.mean[0])
    assert estimates.n.tolist() == [0, 2]
    assert best_cell(estimates) == 1


def test_nothing_known_has_no_best_cell() -> None:
    assert best_cell(estimate_cells([{0: None}])) is None
    assert next_contender(estimate_cells([{0: None}]), n_max=5) is None


def test_a_hopeless_cell_gets_no_more_replicates() -> None:
    estimates = estimate_cells(_cells([0.0, 100.0], [10, 2]))
    assert next_contender(estimates, n_max=10) is None


def test_a_close_cell_gets_more_replicates() -> None:
    values = [{0: 0.0, 1: 2.0, 2: 1.0, 3: 1.0}, {0: 1.0, 1: 1.0}]
    assert next_contender(estimate_cells(values), n_max=4) == 1


def test_pareto_front_is_what_nothing_beats() -> None:
    means = np.array([[0, 3], [1, 1], [3, 0], [2, 2], [np.nan, 0], [1, 1]])
    assert pareto_front(means).tolist() == [True, True, True, False, False, True]


@pytest.mark.parametrize("n", [1, 2])
def test_all_equal_values_are_no_trouble(n: int) -> None:
    estimates = estimate_cells([dict.fromkeys(range(n), 1.0) for _ in range(3)])
    assert best_cell(estimates) == 0
    assert estimates.mean.tolist() == [1.0, 1.0, 1.0]


def test_a_mean_on_its_own_has_the_error_of_its_data_seeds() -> None:
    values = {(0, 0, 0): 1.0, (0, 1, 0): 3.0, (1, 0, 0): 4.0, (1, 1, 0): None}
    mean, se, n = cluster_mean(values)
    assert (mean, n) == (3.0, 3)  # of the cluster means 2 and 4
    assert se == pytest.approx(1.0)
    assert cluster_mean({})[2] == 0
