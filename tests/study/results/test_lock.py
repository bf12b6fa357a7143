"""One writer a folder: refusals name the holder, dead ones are followed, readers never wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import study.results.lock
from study.results.folder import ResultsFolder, open_folder
from study.results.lock import Holder, LockedError, hold, read_holder

HOLD = """
import sys, time
from study.results.folder import open_folder
from study.results.lock import hold
with hold(open_folder(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return open_folder(tmp_path / "sweep")


def pretend(folder: ResultsFolder, *, age_s: float = 0.0, **changed: object) -> None:
    """Change who the lock file names, and when it was renewed."""
    place = Path(folder.path) / "lock.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **changed}))
    os.utime(place, (time.time() - age_s,) * 2)


def test_a_second_writer_is_refused_with_the_name_of_the_first(folder: ResultsFolder) -> None:
    with hold(folder):
        with pytest.raises(LockedError) as refused, hold(folder):
            pass
        found = read_holder(folder)
        assert found is not None
        for part in (found[0].host, str(os.getpid()), found[0].user, found[0].since[:19]):
            assert part in str(refused.value)
    assert read_holder(folder) is None
    assert list(Path(folder.path).iterdir()) == []


def test_a_killed_holder_is_followed_at_once(folder: ResultsFolder) -> None:
    command = [sys.executable, "-c", HOLD, folder.path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {process.pid} "), hold(folder):
            pass
        process.kill()
        process.wait()
    with hold(folder) as lease:
        lease.check()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch for less long; the locks of these tests are renewed by hand."""
    monkeypatch.setattr(study.results.lock, "LOOK_S", 0.01)
    monkeypatch.setattr(study.results.lock, "LEASE_S", 0.2)


# Of the clock that dated the lock against ours: behind, together, ahead for hours.
AGES_S = [1e6, 60.0, 0.0, -60.0, -1e6]


@pytest.mark.parametrize("age_s", AGES_S)
def test_another_machines_dead_holder_is_followed_whatever_its_clock(
    folder: ResultsFolder, quick: None, age_s: float
) -> None:
    watched: list[Holder] = []
    with hold(folder):
        pretend(folder, token="other", machine="elsewhere", host="node7", age_s=age_s)
        start = time.monotonic()
        with hold(folder, on_wait=watched.append):
            assert time.monotonic() - start >= 0.2
    assert [holder.host for holder in watched] == ["node7"]


@pytest.mark.parametrize("age_s", AGES_S)
@pytest.mark.parametrize("name", ["lock.json", "lock-1-of-2.json"])
def test_another_machines_living_holder_is_never_robbed(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch, name: str, age_s: float
) -> None:
    monkeypatch.setattr(study.results.lock, "LOOK_S", 0.01)
    with hold(folder):
        pretend(folder, token="other", machine="elsewhere", host="node7", age_s=age_s)
        place = Path(folder.path) / "lock.json"

        def renew(_: Holder) -> None:
            threading.Timer(0.05, os.utime, (place, (time.time() - age_s + 15,) * 2)).start()

        start = time.monotonic()
        with (
            pytest.raises(LockedError, match="on node7"),
            hold(folder, name=name, on_wait=renew),
        ):
            pass
        assert time.monotonic() - start < 60


def test_a_holder_that_ends_while_it_is_watched_is_followed_at_once(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study.results.lock, "LOOK_S", 0.01)
    with hold(folder):
        pretend(folder, token="other", machine="elsewhere")
        place = Path(folder.path) / "lock.json"
        with hold(folder, on_wait=lambda _: place.unlink()):
            pass


def test_a_living_process_here_is_never_robbed(folder: ResultsFolder) -> None:
    with hold(folder):
        pretend(folder, age_s=1e6)
        with pytest.raises(LockedError), hold(folder):
            pass


def test_a_pid_that_was_given_to_another_process_is_no_holder(folder: ResultsFolder) -> None:
    with hold(folder):
        pretend(folder, token="old", born="1")
        with hold(folder):
            pass


def test_an_unreadable_lock_is_watched(folder: ResultsFolder, quick: None) -> None:
    with hold(folder):
        place = Path(folder.path) / "lock.json"
        place.write_bytes(b"\x00{")
        with (
            pytest.raises(LockedError, match="unreadable lock"),
            hold(folder, on_wait=lambda _: os.utime(place, (1, 1))),
        ):
            pass
        with hold(folder):
            pass


def test_a_holder_learns_that_it_was_robbed(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study.results.lock, "RENEW_S", 0.02)
    told: list[bool] = []
    with hold(folder, on_lost=lambda: told.append(True)) as lease:
        pretend(folder, token="thief", host="node7")
        deadline = time.monotonic() + 5
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert told
        with pytest.raises(LockedError, match=r"taken over by .* on node7"):
            lease.check()
    assert read_holder(folder) is not None


def test_the_lock_is_renewed(folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.results.lock, "RENEW_S", 0.02)
    with hold(folder):
        os.utime(Path(folder.path) / "lock.json", (0, 0))
        time.sleep(0.3)
        found = read_holder(folder)
        assert found is not None
        assert time.time() - found[1] < 60


def test_without_hard_links_the_lock_still_excludes(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with hold(folder), pytest.raises(LockedError), hold(folder):
        pass
