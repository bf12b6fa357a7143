"""An adaptive sweep in its folder, with made-up rows in place of trainings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from study.adaptive import Adaptive
from study.compaction import compact
from study.config import load_sweep
from study.grid import ControlBatch, Unit
from study.results import ResultsFolder, open_folder, read_table, write_tables
from study.rows import control_row, failed_rows, trial_row
from study.sections import Sweep

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
STAMP = {"status": "done", "finished_at": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    path = tmp_path / "x.yaml"
    path.write_text(TEXT)
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
    rows = []
    for trial in unit.trials:
        rng = np.random.default_rng([trial.data_seed, trial.model.latent_dim])
        value = abs(math.log10(trial.training.kl_weight)) + rng.normal(0, 0.05)
        rows.append(trial_row(trial) | STAMP | {"spurious_mass": value, "train_s": 1.0})
    write_tables(folder, unit.unit_id, {"trials": rows})


def _works(folder: ResultsFolder) -> list[tuple]:
    frame = read_table(folder, "works").sort_values("work")
    return list(zip(frame["cell"], frame["purpose"], map(str, frame["seeds"]), strict=True))


def _to_the_end(sweep: Sweep, folder: ResultsFolder) -> Adaptive:
    adaptive = Adaptive(sweep, folder)
    while (unit := adaptive.next_unit()) is not None:
        _run(unit, folder)
        adaptive.finish(unit)
    assert adaptive.is_over
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


@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_it_continues_to_the_same_end(
    sweep: Sweep, folder: ResultsFolder, tmp_path: Path, seed: int
) -> None:
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
    assert _works(folder) == _works(whole)
    ids = [set(read_table(place, "trials")["trial_id"]) for place in (folder, whole)]
    assert ids[0] == ids[1]


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
