"""Training again is judged by the spread over training seeds, and as an equivalence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from study.results.comparison import Comparison, Judge, Level, compare_tables, equivalence
from study.results.precision import Sizes
from study.results.spread import Spread

N_DATA, N_SEEDS, SD = 4, 6, 0.3
SIZES = Sizes(n_components=10, n_points=1_000)


def sweep(rng: np.random.Generator, n_seeds: int = N_SEEDS) -> pd.DataFrame:
    """Draw a sweep of three cells whose data sets differ by far more than their trainings."""
    rows = [
        {"trial_id": f"{cell}{data}{seed}", "cell": cell, "data_seed": data}
        for cell in "abc"
        for data in range(N_DATA)
        for seed in range(n_seeds)
    ]
    frame = pd.DataFrame(rows)
    center = 10.0 * frame["data_seed"] + frame["cell"].map(ord)
    return frame.assign(recon=center + SD * rng.standard_normal(len(frame)), k_max=20)


def judge_of(frame: pd.DataFrame) -> Judge:
    owners = frame.set_index("trial_id")[["cell", "data_seed"]]
    spread = Spread(lambda _: frame.drop(columns="cell"), owners, n_numbers=len(frame))
    return Judge(level=Level.TRAINED, sizes=SIZES, spread=spread)


def again(
    frame: pd.DataFrame, judge: Judge, change: np.ndarray, *, n: int = 10
) -> list[Comparison]:
    """Compare the first trials with what another training gave."""
    found = frame.assign(recon=frame["recon"] + change)
    return [
        compare_tables(
            {"trials": frame.iloc[[i]].reset_index(drop=True)},
            {"trials": found.iloc[[i]].reset_index(drop=True)},
            judge,
        )
        for i in range(min(n, len(frame)))
    ]


def test_another_training_of_the_same_law_is_equal_and_a_change_beyond_it_is_found() -> None:
    # One number in one of a hundred such sweeps is blamed, so the seed is fixed.
    rng = np.random.default_rng(0)
    frame = sweep(rng)
    judge = judge_of(frame)
    same = again(frame, judge, SD * np.sqrt(2) * rng.standard_normal(len(frame)))
    assert not any(each.differences for each in same)
    assert all(each.differences for each in again(frame, judge, np.full(len(frame), 12 * SD)))
    # The row that is judged is left out of what it is judged by.
    tampered = frame.copy()
    tampered.loc[0, "recon"] += 1e6
    (first, *others) = again(tampered, judge_of(tampered), np.where(tampered.index == 0, -1e6, 0))
    assert [each.column for each in first.differences] == ["recon"]
    assert not any(each.differences for each in others)


def test_settings_are_held_to_the_letter_and_a_missing_value_is_a_difference() -> None:
    frame = sweep(np.random.default_rng(1))
    judge = judge_of(frame)
    one = frame.iloc[[0]].reset_index(drop=True)
    for changed, column in ((one.assign(k_max=21), "k_max"), (one.assign(recon=np.nan), "recon")):
        found = compare_tables({"trials": one}, {"trials": changed}, judge)
        assert [each.column for each in found.differences] == [column]


def test_with_one_training_seed_the_data_sets_stand_for_it() -> None:
    frame = sweep(np.random.default_rng(2), n_seeds=1)
    judge = judge_of(frame)
    assert not any(each.differences for each in again(frame, judge, np.full(len(frame), 1.0)))
    assert all(each.differences for each in again(frame, judge, np.full(len(frame), 1e4)))


@pytest.mark.parametrize(
    ("shift", "n", "expected"),
    [(0.0, 20, "equivalent"), (3.0, 20, "moved"), (0.9, 4, "undecided"), (0.0, 1, "undecided")],
)
def test_the_mean_change_is_judged_as_an_equivalence(shift: float, n: int, expected: str) -> None:
    rng = np.random.default_rng(3)
    frame = sweep(rng)
    change = SD * (shift + np.sqrt(2) * rng.standard_normal(len(frame)))
    comparisons = again(frame, judge_of(frame), change, n=n)
    assert equivalence(comparisons) == {"recon": expected}


def curve(n_rows: int, bic: float = 50.0) -> dict[str, pd.DataFrame]:
    ids = {"owner_id": "a", "source": "samples", "protocol": "calibrated", "epoch": 100}
    return {"counts": pd.DataFrame([ids | {"k": k, "bic": bic} for k in range(1, n_rows + 1)])}


@pytest.mark.parametrize(("n_rows", "n_unlike"), [(10, 0), (11, 0), (9, 0), (12, 1), (8, 1)])
def test_counted_again_a_curve_may_end_one_component_later(n_rows: int, n_unlike: int) -> None:
    judge = Judge(level=Level.COUNTED, sizes=SIZES)
    found = compare_tables(curve(10), curve(n_rows), judge)
    assert len(found.differences) == n_unlike
    assert found.columns["counts.bic"].n == min(10, n_rows)
    exact = compare_tables(curve(10), curve(n_rows), Judge(level=Level.BIT, sizes=SIZES))
    assert len(exact.differences) == abs(n_rows - 10)


def test_the_shared_part_of_two_curves_is_compared_and_a_lost_row_is_found() -> None:
    judge = Judge(level=Level.COUNTED, sizes=SIZES)
    found = compare_tables(curve(10), curve(11, bic=51.0), judge)
    assert [each.column for each in found.differences] == ["bic"] * 10
    control = pd.DataFrame({"control_id": ["c"], "k_data_calibrated": [10]})
    for level in (Level.BIT, Level.COUNTED, Level.TRAINED):
        judge = Judge(level=level, sizes=SIZES)
        lost = compare_tables({"controls": control[:0]}, {"controls": control}, judge)
        assert [each.column for each in lost.differences] == ["k_data_calibrated"]
