"""What a worker does with a unit: reports, rows, and failures that stay alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import study.execution.trainable
from study.config import DetectionConfig, MixtureConfig, ModelConfig, TrainingConfig
from study.execution.trainable import unit_events
from study.planning.units import Stack, Trial
from study.results import open_folder


def make_stack(n_trials: int) -> Stack:
    shared = {
        "mixture": MixtureConfig(n_samples=100),
        "model": ModelConfig(),
        "training": TrainingConfig(),
        "detection": DetectionConfig(),
    }
    return Stack(trials=tuple(Trial(**shared, init_seed=i) for i in range(n_trials)))


def fake_events(stack: Stack, **_: Any) -> Any:
    """Fail if trial 1 is there, else finish at once."""
    yield {"phase": "training", "epoch": 1, "n_epochs": 2, "loss": 1.0, "done": False}
    if any(trial.init_seed == 1 for trial in stack.trials):
        raise RuntimeError("poison")
    return {"trials": [{"trial_id": t.trial_id, "status": "done"} for t in stack.trials]}


def test_a_failing_stack_is_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.execution.trainable, "stack_events", fake_events)
    folder = open_folder(tmp_path)
    stack = make_stack(3)
    reports = list(unit_events(stack, folder=folder, device="cpu"))
    assert reports[-1] == {
        "phase": "finished",
        "done": True,
        "statuses": ["done", "failed", "done"],
        "coverage": [None, None, None],
    }
    assert not any(report["done"] for report in reports[:-1])
    rows = {row["trial_id"]: row for row in folder.read_raw("trials").to_pylist()}
    messages = [rows[trial.trial_id]["message"] for trial in stack.trials]
    assert [rows[t.trial_id]["status"] for t in stack.trials] == ["done", "failed", "done"]
    assert "RuntimeError: poison" in messages[1]


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_a_stack_that_does_not_fit_is_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    sizes = []

    def events(stack: Stack, **_: Any) -> Any:
        sizes.append(len(stack.trials))
        yield {"phase": "training", "epoch": 1, "n_epochs": 2, "loss": 1.0, "done": False}
        if len(stack.trials) > 2:
            raise error("too large")
        return {"trials": [{"trial_id": t.trial_id, "status": "done"} for t in stack.trials]}

    monkeypatch.setattr(study.execution.trainable, "stack_events", events)
    folder = open_folder(tmp_path)
    reports = list(unit_events(make_stack(7), folder=folder, device="cpu"))
    assert sizes == [7, 4, 2, 2, 3, 2, 1]
    assert reports[-1]["statuses"] == ["done"] * 7
    assert not any(report["done"] for report in reports[:-1])
    assert len(folder.read_raw("trials")) == 7


def test_a_good_stack_writes_once_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study.execution.trainable, "stack_events", fake_events)
    folder = open_folder(tmp_path)
    reports = list(unit_events(make_stack(1), folder=folder, device="cpu"))
    assert reports[-1]["statuses"] == ["done"]
    assert len(folder.part_files("trials")) == 1


def test_time_after_a_write_is_watched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away is no hang; the training that follows may be one."""
    monkeypatch.setattr(study.execution.trainable, "stack_events", fake_events)
    reports = list(unit_events(make_stack(3), folder=open_folder(tmp_path), device="cpu"))
    phases = [report["phase"] for report in reports]
    for index, phase in enumerate(phases[:-1]):
        if phase == "writing":
            assert phases[index + 1] in ("written", "finished")


def test_a_process_that_hangs_ends_with_its_traces() -> None:
    code = (
        "import time; from study.execution.trainable import _watchdog\n"
        "with _watchdog(0.5): time.sleep(60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 1
    assert study.execution.trainable.HUNG_MARK in done.stderr
