"""An adaptive sweep in its folder, with made-up rows in place of trainings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.config import load_sweep
from study.config.cells import Sweep
from study.config.early_stopping import mean_value
from study.planning.units import ControlBatch, Stack, Trial, Unit
from study.results import ResultsFolder, open_folder, read_table, write_tables
from study.results.compaction import compact
from study.search.adaptive_sweep import Adaptive
from study.trial.rows import control_row, failed_rows, trial_row

TEXT = """
name: x
fixed: {training.epochs: 5}
search:
  space:
    model.latent_dim: {uniform: [1, 6]}
    training.kl_weight: {log: [0.1, 10]}
    model.hidden: [[8], [8, 8]]
  objective: spurious_mass
  trials: 40
  remeasure: 1
replicates: {data: 4}
"""
STOPPING = TEXT.replace("epochs: 5", "epochs: 9, training.checkpoints: 1").replace(
    "trials: 40", "trials: 60\n  stop_after: 1"
)
STAMP = {"status": "done", "finished_at": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    path = tmp_path / "x.yaml"
    path.write_text(TEXT)
    return load_sweep(path)


@pytest.fixture
def stopping(tmp_path: Path) -> Sweep:
    path = tmp_path / "stopping.yaml"
    path.write_text(STOPPING)
    return load_sweep(path)


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return open_folder(tmp_path / "results" / "x")


def _run(unit: Unit, folder: ResultsFolder) -> None:
    """Write what a worker would write."""
    if isinstance(unit, ControlBatch):
        rows = [control_row(c) | STAMP | {"k_data_calibrated": 10} for c in unit.controls]
        write_tables(folder, unit.unit_id, {"controls": rows})
        return
    rungs, reason = _climb(unit)
    ending = STAMP | ({"status": "stopped", "message": reason} if reason else {})
    rows = [
        trial_row(trial)
        | ending
        | {"spurious_mass": None if reason else _value(trial, 9), "train_s": 1.0}
        for trial in unit.trials
    ]
    write_tables(folder, unit.unit_id, {"rungs": rungs, "trials": rows})


def _value(trial: Trial, epoch: int) -> float:
    rng = np.random.default_rng([trial.data_seed, trial.model.latent_dim, epoch])
    return abs(math.log10(trial.training.kl_weight)) + rng.normal(0, 0.05) + 1 / epoch


def _climb(stack: Stack) -> tuple[list[dict], str | None]:
    """Pass the rungs as `study.trial.stack` does."""
    rows: list[dict] = []
    for rung in stack.halving.rungs if stack.halving else ():
        values = [_value(trial, rung.epoch) for trial in stack.trials]
        rows += [
            {
                "trial_id": trial.trial_id,
                "epoch": rung.epoch,
                "objective": "spurious_mass",
                "value": value,
                "measure_s": 0.5,
            }
            for trial, value in zip(stack.trials, values, strict=True)
        ]
        reason = stack.halving.reason(rung, mean_value(values), n_epochs=9)
        if reason:
            return rows, reason
    return rows, None


def _works(folder: ResultsFolder) -> list[tuple]:
    frame = read_table(folder, "works").sort_values("work")
    seeds = map(str, frame["seeds"])
    return list(zip(frame["cell"], frame["purpose"], seeds, frame["rungs"], strict=True))


def _to_the_end(sweep: Sweep, folder: ResultsFolder) -> Adaptive:
    adaptive = Adaptive(sweep, folder)
    while (unit := adaptive.next_unit()) is not None:
        _run(unit, folder)
        adaptive.finish(unit)
    assert adaptive.is_over
    adaptive.write_summary()
    return adaptive


def test_works_controls_and_plan_are_on_disk(sweep: Sweep, folder: ResultsFolder) -> None:
    adaptive = _to_the_end(sweep, folder)
    trials = read_table(folder, "trials")
    assert len(trials) == len(adaptive.trials) == len(set(trials["trial_id"]))
    assert len(trials) <= 40
    assert trials["k_data_calibrated"].eq(10).all()
    assert _works(folder)[-1][1] == "remeasure"
    adaptive.write_summary()
    cells = read_table(folder, "suggestions")
    assert list(cells["suggestion"]) == list(range(len(adaptive.search.suggestions)))
    (best,) = cells.index[cells["is_best"]]
    values = trials.loc[trials["cell"].eq(cells["cell"][best]), "spurious_mass"]
    assert values.min() <= cells["fresh_value"][best] <= values.max()
    assert cells["fresh_n"].sum() == 4
    assert (Path(folder.path) / "optuna.journal").exists()
    # One mixture a data seed: its control is counted once for all cells.
    assert len(read_table(folder, "controls")) == 8


@pytest.mark.parametrize("kind", ["sweep", "stopping"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2))])
def test_killed_anywhere_it_continues_to_the_same_end(
    request: pytest.FixtureRequest, folder: ResultsFolder, tmp_path: Path, seed: int, kind: str
) -> None:
    sweep: Sweep = request.getfixturevalue(kind)
    whole = open_folder(tmp_path / "whole")
    _to_the_end(sweep, whole)
    rng = np.random.default_rng(seed)
    adaptive = Adaptive(sweep, folder)
    while (unit := adaptive.next_unit()) is not None:
        moment = rng.integers(6)
        if moment == 0:  # killed while the unit ran
            adaptive = Adaptive(sweep, folder)
            continue
        _run(unit, folder)
        if moment == 1:  # killed before the rows were taken note of
            adaptive = Adaptive(sweep, folder)
            continue
        adaptive.finish(unit)
        if moment == 2:  # killed between units, once through a compaction
            compact(folder)
            adaptive = Adaptive(sweep, folder)
    adaptive.write_summary()
    assert _works(folder) == _works(whole)
    for name, columns in {
        "trials": ["trial_id", "status", "message", "spurious_mass"],
        "rungs": ["trial_id", "epoch", "objective", "value", "measure_s"],
        "suggestions": ["suggestion", "value", "se", "n", "is_best", "stopped_epoch"],
    }.items():
        tables = [
            read_table(place, name)[columns].sort_values(columns[:2], ignore_index=True)
            for place in (folder, whole)
        ]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert read_table(folder, "trials")["status"].eq("stopped").any() == (kind == "stopping")


def test_stopped_cells_are_settled_and_stay_out(stopping: Sweep, folder: ResultsFolder) -> None:
    adaptive = _to_the_end(stopping, folder)
    search = adaptive.search
    stopped = [cell for cell in search.suggestions if cell.is_stopped]
    assert len(stopped) > len(search.suggestions) / 3
    assert all(not cell.remeasured and cell.number not in search.best() for cell in stopped)
    assert all(len(cell.asked) <= 2 and set(cell.values.values()) == {(None,)} for cell in stopped)
    trials, rungs = read_table(folder, "trials"), read_table(folder, "rungs")
    assert trials["status"].eq("stopped").sum() == sum(len(cell.asked) for cell in stopped)
    assert trials.loc[trials["status"].eq("stopped"), "spurious_mass"].isna().all()
    assert len(trials) <= 60
    # What a budget in hours counts: trainings, and the measuring at rungs.
    assert search.worker_s == pytest.approx(len(trials) + 0.5 * len(rungs))
    adaptive.write_summary()
    cells = read_table(folder, "suggestions").dropna(subset=["stopped_epoch"])
    assert cells["value"].isna().all()
    assert set(cells["stopped_epoch"]) <= {1, 3}
    assert cells["stopped_value"].notna().all()
    again = Adaptive(stopping, folder, retried=("failed", "timeout"))
    assert again.is_complete


def test_a_record_from_before_there_were_rungs_is_read(
    sweep: Sweep, folder: ResultsFolder
) -> None:
    adaptive = _to_the_end(sweep, folder)
    for row in folder.read_raw("works").to_pylist():
        del row["rungs"]
        folder.write_part("works", f"{row['work']:06d}", [row])
    assert read_table(folder, "works")["rungs"].isna().all()
    again = Adaptive(sweep, folder)
    assert again.is_complete
    assert again.search.best() == adaptive.search.best()


def test_a_cell_that_is_half_done_passes_no_rungs(stopping: Sweep, folder: ResultsFolder) -> None:
    adaptive = Adaptive(stopping, folder)
    while not isinstance(unit := adaptive.next_unit(), Stack):
        _run(unit, folder)
        adaptive.finish(unit)
    assert unit.halving is not None
    first, second = unit.singles()
    assert first.halving is second.halving is None
    _run(first, folder)  # a worker was lost after one of the pieces
    unit = Adaptive(stopping, folder).next_unit()
    assert [trial.trial_id for trial in unit.trials] == [t.trial_id for t in second.trials]
    assert unit.halving is None


def test_several_workers_lose_and_repeat_nothing(sweep: Sweep, folder: ResultsFolder) -> None:
    rng = np.random.default_rng(1)
    adaptive, running, n_ran = Adaptive(sweep, folder), [], []
    while True:
        while len(running) < 3 and (unit := adaptive.next_unit()) is not None:
            running.append(unit)
        if not running:
            break
        unit = running.pop(rng.integers(len(running)))
        _run(unit, folder)
        n_ran += [trial.trial_id for trial in unit.trials]
        adaptive.finish(unit)
        if rng.random() < 0.2:  # all workers and the driver are killed
            adaptive, running = Adaptive(sweep, folder), []
    assert adaptive.is_over
    assert len(n_ran) == len(set(n_ran)) == len(read_table(folder, "trials"))


def test_failed_trials_are_answered_without_value(sweep: Sweep, folder: ResultsFolder) -> None:
    adaptive = Adaptive(sweep, folder)
    while (unit := adaptive.next_unit()) is not None:
        if isinstance(unit, ControlBatch):
            _run(unit, folder)
        else:
            write_tables(folder, unit.unit_id, failed_rows(unit, "boom"))
        adaptive.finish(unit)
    assert adaptive.search.best() == []
    assert read_table(folder, "trials")["status"].eq("failed").all()
    again = Adaptive(sweep, folder, retried=("failed",))
    assert {t.trial_id for t in again.trials} == {t.trial_id for t in adaptive.trials}
    assert again.next_unit() is not None
