"""What a stranger is told of a sweep: counts from the tables, and nothing stale called current."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

import study.display.writers
from study.display.heartbeat import STATE_NAME, heartbeat, read_state, state_name, state_of
from study.display.progress import RunningStack, SweepProgress
from study.planning.shard import Shard
from study.results import open_folder, to_table
from study.results.lock import LOCK_NAME, hold
from study.results.provenance import timestamp
from study.status import main, read_status


def row(trial_id: str, status: str, message: str | None = None) -> dict[str, Any]:
    return {
        "trial_id": trial_id,
        "control_id": "c",
        "status": status,
        "message": message,
        "finished_at": timestamp(),
    }


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch for less long."""
    monkeypatch.setattr(study.display.writers, "LOOK_S", 0.01)
    monkeypatch.setattr(study.display.writers, "WATCH_S", 0.1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = open_folder(tmp_path)
    folder.write_manifest({"name": "tiny"})
    plan = [
        {"trial_id": str(i), "control_id": "c", "cell": f"latent_dim={1 + i % 2}"}
        for i in range(8)
    ]
    folder.write_table("plan.parquet", to_table("plan", plan))
    trace = "Traceback (most recent call last):\n  File x\nRuntimeError: trial {} broke"
    rows = [row("0", "done"), row("1", "done"), row("2", "diverged", "NaN in epoch 3 of 5")]
    rows += [row(str(i), "failed", trace.format(i)) for i in (3, 4)]
    folder.write_part("trials", "a", rows)
    return tmp_path


def show(place: Path, capsys: pytest.CaptureFixture[str]) -> str:
    before = sorted((path, path.stat().st_mtime_ns) for path in place.rglob("*"))
    assert main([str(place)]) == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in place.rglob("*")) == before
    return capsys.readouterr().out


def test_counts_causes_and_what_to_do(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = show(place, capsys)
    assert "2 of 8 trials done, 3 failed, 3 left" in text
    assert "Not running, 3 trials left: run the same command to continue." in text
    assert "2 x failed: RuntimeError: trial 3 broke" in text
    assert text.count("Traceback") == 1
    assert "1 x diverged: NaN in epoch 3 of 5" in text
    assert "1 missing, 0 failed" in text
    status = read_status(open_folder(place))
    assert status.cells["latent_dim=1"] == {
        "trials": 4,
        "done": 1,
        "stopped": 0,
        "not_done": 2,
        "left": 1,
    }


def test_stopped_trials_are_no_failures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_folder(place).write_part("trials", "b", [row(str(i), "stopped", "why") for i in (5, 7)])
    text = show(place, capsys)
    assert "2 of 8 trials done, 2 stopped early, 3 failed, 1 left" in text
    assert "why" not in text
    cells = read_status(open_folder(place)).cells
    assert [cell["stopped"] for cell in cells.values()] == [0, 2]


def test_a_run_in_progress_is_shown_and_clears_up(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress("tiny")
    for _ in range(3):
        progress.plan("latent_dim=1", finished=False)
    progress.finish("latent_dim=1", failed=False)
    progress.running[0] = RunningStack("latent_dim=1", 2, phase="training", epoch=3, n_epochs=9)
    folder = open_folder(place)
    with hold(folder), heartbeat(folder, progress):
        while read_state(folder) is None:
            pass
        text = show(place, capsys)
        assert "Running, about" in text
        assert socket.gethostname() in text
        assert "training epoch 3/9" in text
        assert "not current" not in text
        assert main([str(place), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["state"] == "running"
        assert found["n_left"] == 3
    assert not (place / STATE_NAME).exists()
    assert "Not running" in show(place, capsys)


def test_a_dead_driver_is_shown_as_such(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = open_folder(place)
    progress = SweepProgress("tiny")
    progress.running[0] = RunningStack("latent_dim=1", 2, phase="counting", n_counted=1)
    with hold(folder):
        lock = json.loads((place / LOCK_NAME).read_text())
    # No process of this number was born then.
    (place / LOCK_NAME).write_text(json.dumps(lock | {"born": "1"}))
    state = state_of(progress) | {"updated": "2020-01-01T00:00:00+00:00"}
    (place / STATE_NAME).write_text(json.dumps(state))
    text = show(place, capsys)
    assert "Stopped" in text
    assert "run the same command to continue" in " ".join(text.split())
    assert "not current" in text
    # One of another machine is watched.
    (place / LOCK_NAME).write_text(json.dumps(lock | {"machine": "elsewhere"}))
    assert read_status(folder).state == "silent"


@pytest.mark.parametrize("ahead_s", [-1e6, 0.0, 1e6])
@pytest.mark.parametrize("sign", [LOCK_NAME, STATE_NAME, None])
def test_a_writer_elsewhere_runs_if_it_gives_a_sign_while_it_is_watched(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    sign: str | None,
    ahead_s: float,
) -> None:
    """Whatever its clock says: a lock dated tomorrow is no sign of life."""
    with hold(open_folder(place)):
        lock = json.loads((place / LOCK_NAME).read_text())
    (place / LOCK_NAME).write_text(json.dumps(lock | {"machine": "elsewhere"}))
    (place / STATE_NAME).write_text(json.dumps(state_of(SweepProgress("tiny"))))
    os.utime(place / LOCK_NAME, (time.time() + ahead_s,) * 2)

    def give_sign(_: float) -> None:
        if sign == LOCK_NAME:
            os.utime(place / LOCK_NAME, (time.time() + ahead_s + 15,) * 2)
        elif sign == STATE_NAME:
            (place / STATE_NAME).write_text(json.dumps(state_of(SweepProgress("tiny"))))

    monkeypatch.setattr(time, "sleep", give_sign)
    assert main([str(place)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert ("Running" in text) == (sign is not None)
    assert ("No heartbeat while it was watched" in text) == (sign is None)


def test_every_share_is_shown_with_what_it_does(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = open_folder(place)
    names = [Shard(index, 3).lock_name for index in (1, 2)]
    with contextlib.ExitStack() as stack:
        for index, name in enumerate(names):
            progress = SweepProgress("tiny")
            label = f"latent_dim={index + 1}"
            progress.running[0] = RunningStack(label, 2, phase="training", epoch=3, n_epochs=9)
            stack.enter_context(hold(folder, name=name))
            stack.enter_context(heartbeat(folder, progress, state_name(name)))
        while any(read_state(folder, state_name(name)) is None for name in names):
            pass
        # The third one died.
        dead = json.loads((place / names[0]).read_text()) | {"born": "1", "pid": 77}
        (place / Shard(3, 3).lock_name).write_text(json.dumps(dead))
        text = " ".join(show(place, capsys).split())
        assert "Not running" not in text
        for index in (1, 2):
            assert f"Share {index}/3: Running" in text
            assert f"Running in share {index}/3" in text
            assert f"latent_dim={index} training epoch 3/9" in text
        assert "Share 3/3: Stopped" in text
        assert main([str(place), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["state"] == "running"
        assert [(one["share"], one["state"]) for one in found["writers"]] == [
            ("1/3", "running"),
            ("2/3", "running"),
            ("3/3", "stopped"),
        ]
        assert [one["running"][0]["label"] for one in found["writers"][:2]] == [
            "latent_dim=1",
            "latent_dim=2",
        ]
    assert not list(place.glob("running*"))


def test_a_complete_folder_and_one_that_is_none(
    place: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = [row(str(i), "done") for i in range(2, 8)]
    open_folder(place).write_part("trials", "b", rest)
    assert "Complete: every trial has ended." in show(place, capsys)
    assert main([str(tmp_path_factory.mktemp("empty"))]) == 2
    assert "no manifest.json here" in capsys.readouterr().err


def test_a_folder_of_sweeps_is_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place.parent / "broken").mkdir()
    (place.parent / "broken" / "manifest.json").write_text("{")
    assert main([str(place.parent), "--json"]) == 0
    rows = {row["sweep"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows[place.name]["done"] == 2
    assert rows[place.name]["failed"] == 3
    assert rows["broken"]["state"] == "unreadable"
    assert main([str(place.parent)]) == 0
    assert "2/8" in capsys.readouterr().out
