"""The command: what it prints, writes and returns; without Ray, and once through it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import study.execution.run
from study.execution.exit_status import ExitStatus
from study.execution.run import (
    PlannedWork,
    SweepRun,
)
from study.execution.trainable import unit_events
from study.results import open_folder, read_table
from study.results.lock import hold
from study.sweep import main

TINY = """
name: tiny
question: Does it run?
fixed:
  mixture.n_samples: 300
  model.hidden: [8]
  training.epochs: 2
  detection.n_samples: 200
  detection.k_max: 4
  detection.sources: [data, means]
grid:
  model.latent_dim: [1, 2]
replicates: {data: 2, init: 1}
"""
CIRCUMSTANCES = ["stack_id", "train_s", "count_s", "endpoints_s", "finished_at"]


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run units in this process instead of on Ray; the list holds the units that ran."""
    ran: list[Any] = []

    def execute(current: SweepRun, work: PlannedWork, known: Any) -> None:
        for unit in work.units:
            ran.append(unit)
            list(unit_events(unit, folder=current.folder, device="cpu"))

    monkeypatch.setattr(study.execution.run, "_execute", execute)
    return ran


def run(sweep_file: Path, *options: str) -> int:
    return main([str(sweep_file), "--results", str(sweep_file.parent / "results"), *options])


def table(sweep_file: Path, name: str = "trials") -> pd.DataFrame:
    return read_table(sweep_file.parent / "results" / "tiny", name)


def test_a_sweep_runs_and_the_same_command_again_runs_nothing(
    sweep_file: Path, inline: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sweep_file) == ExitStatus.DONE
    first = table(sweep_file)
    assert len(first) == 4
    assert first["status"].eq("done").all()
    assert first["k_data_calibrated"].notna().all()
    assert "python -m analysis.report" in capsys.readouterr().out
    inline.clear()
    assert run(sweep_file) == ExitStatus.DONE
    assert inline == []
    pd.testing.assert_frame_equal(table(sweep_file), first)


def test_added_values_run_alone_and_removed_ones_are_hidden(
    sweep_file: Path, inline: list[Any]
) -> None:
    run(sweep_file)
    before = table(sweep_file).set_index("trial_id")["finished_at"]
    inline.clear()
    sweep_file.write_text(TINY.replace("[1, 2]", "[1, 2, 3]"))
    run(sweep_file)
    after = table(sweep_file).set_index("trial_id")["finished_at"]
    assert sum(len(unit.trials) for unit in inline) == 2
    assert len(after) == 6
    pd.testing.assert_series_equal(after[before.index], before)
    sweep_file.write_text(TINY.replace("[1, 2]", "[3]"))
    assert run(sweep_file) == ExitStatus.DONE
    assert table(sweep_file)["latent_dim"].tolist() == [3, 3]


def test_limit_leaves_the_rest_for_later(sweep_file: Path, inline: list[Any]) -> None:
    assert run(sweep_file, "--limit", "1") == ExitStatus.STOPPED
    assert len(table(sweep_file)) == 1
    assert run(sweep_file) == ExitStatus.DONE
    assert len(table(sweep_file)) == 4


def test_failed_trials_set_the_exit_status_and_can_be_retried(
    sweep_file: Path, inline: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(*_: Any, **__: Any) -> Any:
        raise RuntimeError("poison")

    with monkeypatch.context() as patch:
        patch.setattr("study.execution.trainable.stack_events", poison)
        assert run(sweep_file) == ExitStatus.FAILED
    assert table(sweep_file)["status"].eq("failed").all()
    inline.clear()
    assert run(sweep_file) == ExitStatus.FAILED
    assert inline == []
    assert run(sweep_file, "--retry-failed") == ExitStatus.DONE


def test_a_failed_control_is_retried_though_its_trials_are_done(
    sweep_file: Path,
    inline: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def poison(*_: Any, **__: Any) -> Any:
        raise RuntimeError("poison")

    with monkeypatch.context() as patch:
        patch.setattr("study.execution.trainable.run_controls", poison)
        assert run(sweep_file) == ExitStatus.FAILED
    assert "2 controls failed" in capsys.readouterr().err
    assert table(sweep_file)["k_data_calibrated"].isna().all()
    assert run(sweep_file, "--retry-failed") == ExitStatus.DONE
    assert table(sweep_file)["k_data_calibrated"].notna().all()


def test_a_run_that_was_stopped_says_so(
    sweep_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study.execution.run, "_execute", lambda *_: None)
    assert run(sweep_file) == ExitStatus.STOPPED
    assert "run the same command again" in capsys.readouterr().out


@pytest.mark.slow
def test_force_runs_everything_again_and_replaces_the_rows(
    sweep_file: Path, inline: list[Any]
) -> None:
    run(sweep_file)
    before = table(sweep_file).set_index("trial_id")["finished_at"]
    inline.clear()
    assert run(sweep_file, "--force") == ExitStatus.DONE
    assert sum(len(unit.trials) for unit in inline) == 4
    after = table(sweep_file).set_index("trial_id")["finished_at"]
    assert (after[before.index] > before).all()
    inline.clear()
    assert run(sweep_file) == ExitStatus.DONE
    assert inline == []


def test_a_second_run_at_once_is_refused_by_the_name_of_the_first(
    sweep_file: Path, inline: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with hold(open_folder(sweep_file.parent / "results" / "tiny")):
        assert run(sweep_file) == ExitStatus.USAGE
    error = capsys.readouterr().err
    assert f"another process writes here: process {os.getpid()} of " in error
    assert error.count("\n") == 1
    assert inline == []
    assert run(sweep_file) == ExitStatus.DONE


def test_a_dashboard_that_is_not_installed_is_named(
    sweep_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(sweep_file, "--dashboard") == ExitStatus.USAGE
    assert "ray[default]" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(sweep_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sweep_file, "--dry-run") == ExitStatus.DONE
    text = capsys.readouterr().out
    assert "4 trials in 2 cells" in text
    assert "judging by the reference machine" in text
    assert not (sweep_file.parent / "results").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--set", "model.latent_dims=3"], "model.latent_dim"),
        (["--set", "training.epochs=0"], "training.epochs"),
    ],
)
def test_a_wrong_field_is_one_line_and_exit_2(
    sweep_file: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(sweep_file, *options) == ExitStatus.USAGE
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (sweep_file.parent / "results").exists()


def test_a_results_folder_that_cannot_be_written_is_exit_2(
    sweep_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (sweep_file.parent / "results").write_text("a file, not a folder")
    assert run(sweep_file) == ExitStatus.USAGE
    assert "cannot" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--limit", "--workers"])
def test_counts_below_one_are_refused(sweep_file: Path, option: str) -> None:
    with pytest.raises(SystemExit) as stop:
        run(sweep_file, option, "0")
    assert stop.value.code == ExitStatus.USAGE


def sweep_command(sweep_file: Path, results: str, *options: str) -> list[str]:
    place = str(sweep_file.parent / results)
    return [sys.executable, "-m", "study.sweep", str(sweep_file), "--results", place, *options]


def test_a_unit_without_room_is_refused_before_anything_is_written(
    sweep_file: Path, inline: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sweep_file, "--set", "resources.cpus=1000") == ExitStatus.USAGE
    assert "resources.cpus: must be at most" in capsys.readouterr().err
    assert inline == []
    assert not (sweep_file.parent / "results").exists()


@pytest.mark.slow
@pytest.mark.ray
def test_workers_and_processes_make_equal_tables(sweep_file: Path) -> None:
    runs = {
        "one": ["--workers", "1"],
        "two": ["--workers", "2"],
        "pool": ["--workers", "1", "--set", "resources.cpus=2"],
    }
    for name, options in runs.items():
        command = sweep_command(sweep_file, name, *options, "--json")
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == ExitStatus.DONE, done.stderr
        assert done.stderr == ""
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert events[-1]["n_finished"] == 4
    for name in (
        "trials",
        "curves",
        "counts",
        "components",
        "recall",
        "outside",
        "points",
        "controls",
    ):
        left, *others = (
            _sorted(read_table(sweep_file.parent / run / "tiny", name)) for run in runs
        )
        for other in others:
            pd.testing.assert_frame_equal(left, other)
    weights = [
        open_folder(sweep_file.parent / run / "tiny")
        .read_raw("weights")
        .sort_by([("training_id", "ascending"), ("name", "ascending")])
        for run in runs
    ]
    assert weights[0].equals(weights[1])
    assert weights[0].equals(weights[2])


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.drop(columns=[c for c in CIRCUMSTANCES if c in frame])
    keys = [c for c in frame.columns if c.endswith("_id") or c in ("source", "protocol")]
    order = [*keys, *(c for c in ("epoch", "k", "index", "component", "threshold") if c in frame)]
    return frame.sort_values(order, kind="stable").reset_index(drop=True)
