"""What becomes of units whose worker is lost: again, then in pieces, then a row with its cause."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import study.execution.executor
from study.config import (
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    ResourcesConfig,
    TrainingConfig,
)
from study.display.progress import QuietDisplay, plan_progress
from study.execution.executor import Attempt, Executor, LostWorker, cause_of_death
from study.execution.stopping import Stop
from study.planning.units import Stack, Trial
from study.results import write_tables
from study.results.folder import ResultsFolder, open_folder
from study.trial.rows import trial_row


def make_stack(n_trials: int, *, timeout_min: float | None = None) -> Stack:
    shared = {
        "mixture": MixtureConfig(n_samples=100),
        "model": ModelConfig(),
        "training": TrainingConfig(timeout_min=timeout_min),
        "detection": DetectionConfig(),
    }
    return Stack(trials=tuple(Trial(**shared, init_seed=i) for i in range(n_trials)))


def loss_of(unit: Stack, *, n_lost: int = 0, hung: bool = False) -> LostWorker:
    return LostWorker(attempt=Attempt(unit=unit, n_lost=n_lost), cause="trace\nit died", hung=hung)


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return open_folder(tmp_path)


def run_with_losses(
    monkeypatch: pytest.MonkeyPatch, folder: ResultsFolder, unit: Stack, fatal: int, **loss: Any
) -> list[list[int]]:
    """Run a stack whose worker is lost whenever a certain seed is in it; list what ran."""
    rounds: list[list[int]] = []

    def run_round(self: Executor, attempts: Any, *, name: str) -> list[LostWorker]:
        losses = []
        for attempt in attempts:
            seeds = [trial.init_seed for trial in attempt.unit.trials]
            rounds.append(seeds)
            if fatal in seeds:
                losses.append(LostWorker(attempt=attempt, cause="trace\nit died", **loss))
            else:
                done = {"status": "done", "finished_at": "2026"}
                rows = [trial_row(trial) | done for trial in attempt.unit.trials]
                write_tables(folder, attempt.unit.unit_id, {"trials": rows})
        return losses

    monkeypatch.setattr(Executor, "_run_round", run_round)
    progress = plan_progress("sweep", [(trial.cell, None) for trial in unit.trials])
    executor = Executor(
        folder=folder,
        location=folder.path,
        resources=ResourcesConfig(),
        display=QuietDisplay(progress),
        stop=Stop(),
        scratch="",
        n_workers=1,
        before={},
    )
    executor.run([unit])
    return rounds


def test_a_stack_that_dies_twice_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch, folder: ResultsFolder
) -> None:
    rounds = run_with_losses(monkeypatch, folder, make_stack(3), fatal=1, hung=False)
    assert rounds == [[0, 1, 2], [0, 1, 2], [0], [1], [2], [1]]
    rows = folder.read_raw("trials").to_pylist()
    statuses = {row["init_seed"]: (row["status"], row["message"]) for row in rows}
    assert statuses[0] == statuses[2] == ("done", None)
    assert statuses[1] == ("failed", "trace\nlost its worker twice: it died")


def test_one_that_hangs_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, folder: ResultsFolder
) -> None:
    stack = make_stack(2, timeout_min=5)
    assert run_with_losses(monkeypatch, folder, stack, fatal=0, hung=True) == [[0, 1], [0], [1]]
    row = next(row for row in folder.read_raw("trials").to_pylist() if row["init_seed"] == 0)
    assert row["status"] == "timeout"
    assert "passed training.timeout_min = 5" in row["message"]


def test_what_a_lost_worker_had_written_does_not_run_again(
    monkeypatch: pytest.MonkeyPatch, folder: ResultsFolder
) -> None:
    stack = make_stack(3)
    row = trial_row(stack.trials[0]) | {"status": "done", "finished_at": "2026"}
    write_tables(folder, "earlier", {"trials": [row]})
    rounds = run_with_losses(monkeypatch, folder, stack, fatal=2, hung=False)
    assert rounds == [[0, 1, 2], [1, 2], [1], [2], [2]]


def test_a_retry_keeps_the_unit() -> None:
    stack = make_stack(2)
    (again,) = loss_of(stack).next_attempts()
    assert again == Attempt(unit=stack, n_lost=1)
    assert [a.unit for a in again and loss_of(stack, n_lost=1).next_attempts()] == list(
        stack.singles()
    )
    assert loss_of(make_stack(1), n_lost=1).next_attempts() == ()


@pytest.mark.parametrize(
    ("error", "log", "cause", "hung"),
    [
        ("The actor died", "", "was killed (SIGKILL", False),
        ("The actor died", "*** SIGSEGV received at time=1", "crashed (SIGSEGV)", False),
        ("The actor died", "x" * 9_000 + "\n*** SIGBUS received", "crashed (SIGBUS)", False),
        ("The actor died", "Timeout (0:01:00)!\nThread 1", "made no progress", True),
        ("node running low on memory", "", "ran out of memory", False),
    ],
)
def test_the_cause_of_a_death(
    monkeypatch: pytest.MonkeyPatch, error: str, log: str, cause: str, hung: bool
) -> None:
    monkeypatch.setattr(study.execution.executor, "worker_log_tail", lambda pid: log)
    found, is_hung = cause_of_death(error, 7)
    assert cause in found.splitlines()[-1]
    assert log.splitlines()[-1:] == found.splitlines()[-2:-1]
    assert is_hung == hung


def test_a_crash_is_found_behind_the_names_of_all_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a worker has loaded when it trains; its names are longer than the trace.
    loads = "import ctypes, study.execution.trainable; ctypes.string_at(0)"
    with (tmp_path / "worker-a-01000000-7.err").open("w") as log:
        subprocess.run([sys.executable, "-X", "faulthandler", "-c", loads], stderr=log, timeout=60)
    node = SimpleNamespace(get_logs_dir_path=lambda: str(tmp_path))
    monkeypatch.setattr("ray._private.worker._global_node", node)
    found, _ = cause_of_death("The actor died", 7)
    assert "worker process 7 crashed" in found.splitlines()[-1]
    assert "in string_at" in found
    assert "Extension modules" not in found
    assert len(found) < 1600
