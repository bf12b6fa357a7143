"""How many data seeds more: from rows whose spread is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study import seeds
from study.search.sequential import seeds_for_difference, seeds_for_half_width
from study.seeds import QuestionError, needs

PUBLISHED = Path(__file__).parents[2] / "results" / "latent_dims"


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    """Two cells of 20 data seeds with two trainings each; the second lies 1 above the first."""
    rng = np.random.default_rng(0)
    common = rng.normal(0.0, 0.3, 20)
    rows = [
        {
            "cell": cell,
            "data_seed": seed,
            "init_seed": init,
            "status": "done",
            "fkl_nats": common[seed] + shift + rng.normal(0.0, 0.05),
            "train_s": 2.0,
            "count_s": 1.0,
            "endpoints_s": 0.5,
        }
        for cell, shift in [("a", 0.0), ("b", 1.0)]
        for seed in reversed(range(20))
        for init in range(2)
    ]
    return pd.DataFrame(rows)


def test_widths_and_costs_follow_the_spread_over_data_seeds(trials: pd.DataFrame) -> None:
    first, _ = needs(trials, "fkl_nats", half_width=0.05)
    means = trials[trials["cell"] == "a"].groupby("data_seed")["fkl_nats"].mean()
    assert first.n_data == 20
    assert first.sd == pytest.approx(means.std())
    assert first.n_needed == seeds_for_half_width(float(means.std()), 0.05)
    assert first.n_needed is not None
    assert first.n_more == first.n_needed - 20
    assert first.cost_s == pytest.approx(first.n_more * 7.0)


def test_a_difference_is_paired(trials: pd.DataFrame) -> None:
    (other,) = needs(trials, "fkl_nats", difference=0.1)
    wide = trials.pivot_table(index="data_seed", columns="cell", values="fkl_nats")
    assert other.cell == "b"
    assert other.sd == pytest.approx((wide["b"] - wide["a"]).std())
    assert other.sd < 0.1  # what the data sets have in common is out
    assert other.n_needed == seeds_for_difference(other.sd, 0.1)
    assert other.n_more == 0


def test_looks_are_taken_in_the_order_of_the_seeds(trials: pd.DataFrame) -> None:
    (found,) = needs(trials, "fkl_nats", difference=0.5, looks=(8, 12, 20))
    assert found.stop == 8
    early = trials[trials["data_seed"] < 8]
    assert needs(early, "fkl_nats", difference=0.5, looks=(8, 12, 20))[0].stop == 8
    wide, narrow = (needs(trials, "fkl_nats", half_width=h, looks=(8, 20))[0] for h in (2.0, 0.01))
    assert (wide.stop, narrow.stop) == (8, None)


def test_a_cell_without_two_data_seeds_has_no_answer(trials: pd.DataFrame) -> None:
    few = trials[(trials["cell"] == "a") | (trials["data_seed"] == 0)]
    known, unknown = needs(few, "fkl_nats", half_width=0.1)
    assert known.n_needed is not None
    assert (unknown.sd, unknown.n_needed, unknown.n_more, unknown.cost_s) == (None,) * 4


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"column": "fkl_nat", "half_width": 1.0}, "did you mean fkl_nats?"),
        ({"column": "cell", "half_width": 1.0}, "'cell' is not a column of numbers"),
        ({"column": "fkl_nats", "half_width": -1.0}, "--half-width: must be above 0, got -1"),
        ({"column": "fkl_nats", "difference": float("nan")}, "--difference: must be above 0"),
        ({"column": "fkl_nats", "difference": 1.0, "against": "c"}, "there is no cell 'c'"),
        ({"column": "fkl_nats", "difference": 1.0, "power": 1.0}, "--power: must lie between"),
        ({"column": "fkl_nats", "difference": 1.0, "looks": (9, 4)}, "--looks: must be ascending"),
    ],
)
def test_impossible_questions_are_refused(
    trials: pd.DataFrame, question: dict[str, object], message: str
) -> None:
    with pytest.raises(QuestionError) as refused:
        needs(trials, **question)
    assert message in str(refused.value)


def test_the_command_answers_for_published_rows(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [str(PUBLISHED), "--half-width", "0.05", "--looks", "8", "10"]
    assert seeds.main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [need["cell"] for need in found] == [f"latent_dim={q}" for q in (1, 2, 3, 4, 8)]
    assert seeds.main(asked) == 0
    shown = capsys.readouterr().out
    assert "fkl_nats: half-width 0.05 (nats)" in shown
    assert "latent_dim=8" in shown
    assert "more data seeds are enough for every cell" in shown
    assert seeds.main([str(PUBLISHED)]) == 2
    assert "give one of --half-width and --difference" in capsys.readouterr().err
    assert seeds.main([str(PUBLISHED / "nowhere"), "--half-width", "1"]) == 2
