"""A stack from points to rows: packing changes nothing, theory holds, failures stay alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

import study.trial.measure
import study.trial.stack
from study.config import DetectionConfig, MixtureConfig, ModelConfig, TrainingConfig
from study.config.early_stopping import Halving, Rung
from study.config.objective import Objective
from study.planning.units import Control, ControlBatch, Stack, Trial
from study.results import SCHEMAS, reading_columns, to_table
from study.results.endpoints import FIT_ENDPOINTS
from study.trial.rows import failed_rows
from study.trial.stack import run_controls, run_stack

MIXTURE = MixtureConfig(n_components=4, n_samples=600)
TRAINING = TrainingConfig(epochs=3, checkpoints=2)
DETECTION = DetectionConfig(n_samples=300, k_max=6)
# What may differ between two runs of the same trial.
CIRCUMSTANCES = {"stack_id", "train_s", "count_s", "endpoints_s", "finished_at"}


def make_trial(**values: Any) -> Trial:
    defaults = {
        "mixture": MIXTURE,
        "model": ModelConfig(hidden=(16,)),
        "training": TRAINING,
        "detection": DETECTION,
    }
    return Trial(**{**defaults, **values})


def assert_same(name: str, left: list[dict[str, Any]], right: list[dict[str, Any]]) -> None:
    """Demand equality to the bit, NaN equal to NaN, of all but the circumstances."""
    frames = [
        to_table(name, [{k: v for k, v in row.items() if k not in CIRCUMSTANCES} for row in rows])
        for rows in (left, right)
    ]
    pd.testing.assert_frame_equal(*(f.to_pandas() for f in frames), check_exact=True)


@pytest.fixture(scope="module")
def stack() -> Stack:
    weights = (0.3, 1.0, 4.0)
    return Stack(
        trials=tuple(
            make_trial(
                training=dataclasses.replace(TRAINING, kl_weight=weight),
                data_seed=i % 2,
                init_seed=i,
                gallery=i == 0,
            )
            for i, weight in enumerate(weights)
        )
    )


@pytest.fixture(scope="module")
def tables(stack: Stack) -> dict[str, list[dict[str, Any]]]:
    return run_stack(stack)


def test_every_table_fits_its_schema(tables: dict[str, list[dict[str, Any]]]) -> None:
    others = {"plan", "controls", "nulls", "works", "suggestions", "rungs", "gallery"}
    wanted = set(SCHEMAS) - others
    assert set(tables) == wanted
    for name, rows in tables.items():
        assert to_table(name, rows).num_rows == len(rows) > 0


def test_a_stack_equals_its_trials_alone_to_the_bit(
    stack: Stack, tables: dict[str, list[dict[str, Any]]]
) -> None:
    alone: dict[str, list[dict[str, Any]]] = {}
    for single in stack.singles():
        for name, rows in run_stack(single).items():
            alone.setdefault(name, []).extend(rows)
    for name, rows in tables.items():
        assert_same(name, rows, alone[name])


@pytest.mark.slow
def test_models_measured_by_several_processes_are_equal_to_the_bit(
    stack: Stack, tables: dict[str, list[dict[str, Any]]]
) -> None:
    passed = run_stack(_with_rungs(stack, Rung(epoch=2, limit=1e9)), n_processes=2)
    assert len(passed.pop("rungs")) == 3
    assert set(passed) == set(tables)
    for name, rows in tables.items():
        assert_same(name, rows, passed[name])


def test_a_model_that_cannot_be_measured_is_a_row_and_is_not_trained_again(
    stack: Stack, tables: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = []
    train, score = study.trial.stack.train_checkpoints, study.trial.measure.score_points

    def train_once(*given: Any, **settings: Any) -> Any:
        trainings.append(given)
        return train(*given, **settings)

    def score_but_once(*given: Any, **settings: Any) -> Any:
        scored.append(given)
        if len(scored) == 2:  # the second model
            raise ValueError("points: singular")
        return score(*given, **settings)

    scored: list[Any] = []
    monkeypatch.setattr(study.trial.stack, "train_checkpoints", train_once)
    monkeypatch.setattr(study.trial.measure, "score_points", score_but_once)
    found = run_stack(stack)
    assert len(trainings) == 1
    assert [row["status"] for row in found["trials"]] == ["done", "failed", "done"]
    assert "ValueError: points: singular" in found["trials"][1]["message"]
    lost = stack.trials[1]
    for name in ("curves", "weights", "components"):
        key = "training_id" if name == "weights" else "trial_id"
        kept = [row for row in tables[name] if row[key] != getattr(lost, key)]
        assert_same(name, kept, found[name])


def test_a_count_that_cannot_be_made_has_no_value_and_a_reason(
    stack: Stack, tables: dict[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    count = study.detection.counting.count_modes

    def count_but_once(*given: Any) -> Any:
        counted.append(given)
        if len(counted) == 10:  # the second set of the second model, by the calibrated protocol
            raise ValueError("points: singular\nsecond line")
        return count(*given)

    counted: list[Any] = []
    monkeypatch.setattr(study.detection.counting, "count_modes", count_but_once)
    found = run_stack(stack)
    assert [row["status"] for row in found["trials"]] == ["done"] * 3
    lost = found["trials"][1]
    assert lost["message"] == "no count of samples (calibrated): points: singular"
    missing = {
        "k_samples_calibrated",
        "coverage_samples_calibrated",
        "at_ceiling_samples_calibrated",
        *reading_columns("samples"),
    }
    assert missing & set(lost) == set()
    whole = tables["trials"][1]
    # Fragmentation rests on the original protocol's fit then.
    others = set(whole) - missing - CIRCUMSTANCES - {"message"}
    assert all(lost[name] == whole[name] for name in others - FIT_ENDPOINTS)
    assert [row["message"] for row in found["trials"][::2]] == [None, None]
    to_table("trials", found["trials"])


def test_codes_that_cannot_be_counted_leave_the_rest_of_a_trial() -> None:
    # Forty codes vary in sixteen directions: twenty components need 17 of the 300 points each.
    trial = make_trial(
        detection=dataclasses.replace(DETECTION, k_min=20, k_max=20),
        mixture=MixtureConfig(n_components=4, dim=3, n_samples=600),
        model=ModelConfig(latent_dim=40, hidden=(16,)),
        training=dataclasses.replace(TRAINING, kl_weight=1e-6, epochs=40),
    )
    (row,) = run_stack(Stack(trials=(trial,)))["trials"]
    assert row["status"] == "done"
    assert row["message"].startswith("no count of codes (calibrated): points: ")
    assert "k_codes_calibrated" not in row
    assert row["k_codes_original"] >= 5
    assert row["k_samples_calibrated"] >= 1
    assert np.isfinite(row["c2st"])


def test_a_control_that_cannot_be_counted_keeps_its_null_models() -> None:
    detection = DetectionConfig(n_samples=20, k_min=2, k_max=6)
    mixture = MixtureConfig(n_components=2, dim=12, n_samples=100)
    trial = make_trial(mixture=mixture, detection=detection)
    control = Control(
        mixture=mixture,
        detection=detection,
        data_seed=0,
        data_id=trial.data_id,
        control_id=trial.control_id,
    )
    found = run_controls(ControlBatch(controls=(control,)))
    (row,) = found["controls"]
    assert row["status"] == "done"
    assert row["message"].startswith("no count of data (calibrated): ")
    assert "k_data_calibrated" not in row
    assert row["k_data_original"] >= 5
    assert len(found["nulls"]) == 4
    for name, rows in found.items():
        to_table(name, rows)


def test_a_model_whose_measuring_is_killed_is_a_row(stack: Stack) -> None:
    trial = stack.trials[0]
    (row,) = study.trial.measure.lost_rows(trial, {})["trials"]
    assert (row["trial_id"], row["status"]) == (trial.trial_id, "failed")
    assert "a process that measured it was killed twice" in row["message"]
    to_table("trials", [row])


def test_bounds_hold_on_every_trial(tables: dict[str, list[dict[str, Any]]]) -> None:
    for row in tables["trials"]:
        assert row["loss"] >= row["loss_floor"] - 0.05 * row["kl_weight"]
        assert row["kl_nats"] >= row["rate_bound_nats"] - 0.02


def test_every_count_has_its_curve_and_one_selected_k(
    tables: dict[str, list[dict[str, Any]]],
) -> None:
    for trial in tables["trials"]:
        for source in ("means", "samples", "codes"):
            for protocol in ("original", "calibrated"):
                curve = [
                    row
                    for row in tables["counts"]
                    if (row["owner_id"], row["source"], row["protocol"])
                    == (trial["trial_id"], source, protocol)
                ]
                (chosen,) = [row for row in curve if row["selected"]]
                assert chosen["bic"] == min(row["bic"] for row in curve)
                assert chosen["k"] == trial[f"k_{source}_{protocol}"]
                assert trial[f"coverage_{source}_{protocol}"] == chosen["k"] / 4
                assert chosen["contrast_error"] == 0.0
            k, low, high = (
                trial[f"{name}_{source}"] for name in ("sbic_k", "k_set_low", "k_set_high")
            )
            assert low <= trial[f"k_{source}_calibrated"] <= min(k, high)


def test_checkpoints_are_recorded_and_the_last_epoch_always(
    tables: dict[str, list[dict[str, Any]]],
) -> None:
    marked = {row["epoch"] for row in tables["curves"] if row.get("active_units") is not None}
    assert marked == {2, 3}


def test_modes_are_counted_at_checkpoints_on_request() -> None:
    detection = DetectionConfig(
        n_samples=300, sources=("means",), protocols=("original",), at_checkpoints=True
    )
    rows = run_stack(Stack(trials=(make_trial(detection=detection),)))["counts"]
    assert {row["epoch"] for row in rows} == {2, 3}


def test_a_diverged_trial_is_a_row_and_touches_no_other(
    stack: Stack, tables: dict[str, list[dict[str, Any]]]
) -> None:
    wild = dataclasses.replace(TRAINING, learning_rate=1e30)
    mixed = Stack(trials=(*stack.trials, make_trial(training=wild)))
    rows = run_stack(mixed)["trials"]
    assert [row["status"] for row in rows] == ["done"] * 3 + ["diverged"]
    assert "NaN or infinity in epoch" in rows[3]["message"]
    assert_same("trials", rows[:3], tables["trials"])


def test_the_control_carries_its_gap_and_its_curve() -> None:
    trial = make_trial()
    control = Control(
        mixture=trial.mixture,
        detection=trial.detection,
        data_seed=0,
        data_id=trial.data_id,
        control_id=trial.control_id,
    )
    tables = run_controls(ControlBatch(controls=(control,)))
    (row,) = tables["controls"]
    assert np.isfinite(row["control_gap"])
    assert 1 <= row["k_data_calibrated"] <= 6
    assert row["k_set_low_data"] <= row["k_data_calibrated"] <= row["k_set_high_data"]
    assert 1 <= row["modal_modes_data"] <= row["k_data_calibrated"]
    assert 1 <= row["icl_k_data"] <= row["k_data_calibrated"]
    assert {r["owner_id"] for r in tables["counts"]} == {trial.control_id}
    assert [r["null"] for r in tables["nulls"]] == ["truth", "gaussian", "ppca", "kde"]
    assert {r["control_id"] for r in tables["nulls"]} == {trial.control_id}
    for name, rows in tables.items():
        to_table(name, rows)


def test_a_unit_that_fails_leaves_a_row_for_each_trial(stack: Stack) -> None:
    rows = failed_rows(stack, "out of memory")["trials"]
    assert [row["trial_id"] for row in rows] == [trial.trial_id for trial in stack.trials]
    assert {(row["status"], row["message"]) for row in rows} == {("failed", "out of memory")}
    to_table("trials", rows)


def _with_rungs(
    stack: Stack, *rungs: Rung, expression: str = "coverage_samples_calibrated"
) -> Stack:
    halving = Halving(objective=Objective(expression=expression), factor=3, rungs=rungs)
    return dataclasses.replace(stack, halving=halving)


@pytest.mark.slow
def test_rungs_that_are_passed_change_no_number(
    stack: Stack, tables: dict[str, list[dict[str, Any]]]
) -> None:
    passed = run_stack(_with_rungs(stack, Rung(epoch=2, limit=1e9)))
    rungs = passed.pop("rungs")
    for name, rows in tables.items():
        assert_same(name, rows, passed[name])
    assert [row["trial_id"] for row in rungs] == [trial.trial_id for trial in stack.trials]
    assert {row["epoch"] for row in rungs} == {2}
    assert all(row["value"] in {k / 4 for k in range(1, 7)} for row in rungs)
    assert all(row["measure_s"] > 0 for row in rungs)
    to_table("rungs", rungs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "expression",
    [
        "abs(coverage_samples_calibrated - 1) + loss + active_units + kl_weight",
        "sbic_k_samples + k_set_high_means",
        "modal_modes_samples + sample_gap",
    ],
)
def test_a_rung_measures_what_the_end_would(stack: Stack, expression: str) -> None:
    # The objective at a rung of 2 epochs is that of a training that ends there.
    detection = dataclasses.replace(DETECTION, gap_restarts=1)
    trials = tuple(dataclasses.replace(trial, detection=detection) for trial in stack.trials)
    stack = dataclasses.replace(stack, trials=trials)
    rungs = run_stack(_with_rungs(stack, Rung(epoch=2), expression=expression))["rungs"]
    short = tuple(
        dataclasses.replace(t, training=dataclasses.replace(t.training, epochs=2), gallery=False)
        for t in stack.trials
    )
    ends = run_stack(Stack(trials=short))["trials"]
    objective = Objective(expression=expression)
    assert [row["value"] for row in rungs] == [objective.evaluate(row) for row in ends]


def test_a_stack_without_hope_stops_at_its_rung(
    stack: Stack, tables: dict[str, list[dict[str, Any]]]
) -> None:
    wild = make_trial(training=dataclasses.replace(TRAINING, learning_rate=1e30))
    mixed = Stack(trials=(*stack.trials, wild))
    stopped = run_stack(_with_rungs(mixed, Rung(epoch=2, limit=-1.0)))
    assert "weights" not in stopped
    assert [row["status"] for row in stopped["trials"]] == ["stopped"] * 3 + ["diverged"]
    for row in stopped["trials"][:3]:
        assert row["message"].startswith("stopped after 2 of 3 epochs: its cell's mean of cov")
        assert row["train_s"] > 0
        assert not [name for name in row if name.startswith("k_samples") or name == "mode_recall"]
    assert {row["epoch"] for row in stopped["curves"]} == {1, 2}
    own = {trial.trial_id for trial in stack.trials}
    curves = [row for row in stopped["curves"] if row["trial_id"] in own]
    assert_same("curves", curves, [row for row in tables["curves"] if row["epoch"] < 3])
    assert [row["value"] is None for row in stopped["rungs"]] == [False] * 3 + [True]
    for name, rows in stopped.items():
        to_table(name, rows)


def test_a_part_of_a_stack_is_not_judged_by_its_mean(stack: Stack) -> None:
    judged = _with_rungs(stack, Rung(epoch=2, limit=-1.0))
    assert judged.part(judged.trials) == judged
    assert judged.stack_id == stack.stack_id
    for part in (*judged.singles(), *judged.halves()):
        assert part.halving is None
