"""Files of a results folder that are not what they should be: one line each, and no waiting."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import study.display.writers
from study.results import ResultsError, open_folder, printable, read_certificate, to_table
from study.results.folder import MOST_SMALL_BYTES
from study.results.lock import LockedError, hold, read_holder
from study.results.provenance import timestamp
from study.status import main

CONTENTS = {
    "empty": b"",
    "cut": b'{"name": "x',
    "list": b"[]",
    "number": b"3",
    "null": b"null",
    "not utf-8": b"\xff\xfe",
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "infinite pid": b'{"pid": Infinity}',
    "huge pid": b'{"pid": 1e300, "name": 3}',
    "negative pid": json.dumps(
        dict.fromkeys(("token", "host", "machine", "born", "user", "since", "command"), "x")
        | {"pid": -1}
    ).encode(),
    "wrong factors": b'{"name": "x", "schema_version": 2, "factors": [3]}',
    "wrong version": b'{"schema_version": [1]}',
    "infinite version": b'{"schema_version": 1e999}',
    "wrong sweep": b'{"schema_version": 2, "sweep": 3}',
    "wrong number": b'{"schema_version": 2, "n_trials": "a"}',
    "wrong state": b'{"running": [3, null], "seconds_left": "x", "updated": 3}',
    "escapes": b'{"running": [{"label": "\\u001b[31m[/red]"}], "seconds_left": NaN}',
    "numbers for text": json.dumps({"running": [{"label": 3, "n_epochs": []}]}).encode(),
}
NAMES = ("manifest.json", "lock.json", "running.json", "verify.json")
ESCAPE = "\x1b[2J[/red][bold]"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch locks of nobody for less long."""
    monkeypatch.setattr(study.display.writers, "LOOK_S", 0.01)
    monkeypatch.setattr(study.display.writers, "WATCH_S", 0.05)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = open_folder(tmp_path / "x")
    folder.write_manifest({"name": "x"})
    plan = [{"trial_id": i, "control_id": "c", "cell": f"{i}{ESCAPE}"} for i in "ab"]
    folder.write_table("plan.parquet", to_table("plan", plan))
    rows = [
        plan[0] | {"status": "done", "finished_at": timestamp()},
        plan[1] | {"status": "failed", "message": f"Error: {ESCAPE}", "finished_at": timestamp()},
    ]
    folder.write_part("trials", "a", rows)
    return tmp_path / "x"


def _replace(place: Path, name: str, kind: str) -> None:
    path = place / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        path.touch()
        os.truncate(path, MOST_SMALL_BYTES + 1)
    else:
        path.write_bytes(CONTENTS[kind])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [*CONTENTS, "folder", "pipe", "huge"])
@pytest.mark.parametrize("name", NAMES)
def test_no_small_file_stops_a_reader(
    place: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _replace(place, name, kind)
    for options in ([], ["--json"]):
        status = main([str(place), *options])
        printed = capsys.readouterr()
        assert status == 2 if name == "manifest.json" else status in (0, 2)
        assert "\x1b" not in printed.out + printed.err
        assert len(printed.err.splitlines()) <= 1
    read_certificate(place)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_lock_that_is_no_file_is_refused_at_once(place: Path, kind: str) -> None:
    _replace(place, "lock.json", kind)
    folder = open_folder(place)
    with (
        pytest.raises((ResultsError, LockedError), match=r"lock\.json"),
        hold(folder, on_lost=lambda: None),
    ):
        pass


@pytest.mark.timeout(20)
def test_a_table_that_is_a_pipe_is_damaged(place: Path) -> None:
    os.mkfifo(place / "parts" / "trials" / "b.parquet")
    with pytest.raises(ResultsError, match="not a regular file"):
        open_folder(place).read_raw("trials")


def test_an_unreadable_lock_is_of_nobody_known(place: Path) -> None:
    (place / "lock.json").write_bytes(CONTENTS["infinite pid"])
    found = read_holder(open_folder(place))
    assert found is not None
    assert found[0].command == "unreadable lock"


def test_cells_and_messages_reach_the_terminal_as_text(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(place)]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert f"a{printable(ESCAPE)}" in text
    assert f"Error: {printable(ESCAPE)}" in text


def test_nothing_is_complete_without_a_plan(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "plan.parquet").unlink()
    assert main([str(place)]) == 0
    text = capsys.readouterr().out
    assert "Complete" not in text
    assert "plan.parquet holds no plan" in text
    assert "1 of 2 trials done" in text
