"""Full and read-only disks, torn and deleted files: a message, nothing lost, the same command."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import study.execution.run
from study.execution.run import PlannedWork, SweepRun
from study.execution.trainable import unit_events
from study.results import read_table
from study.results.process import Process
from study.sweep import main
from tests.faults.harness import PATIENCE_S, Bench, assert_equal, read_all, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


def mount(place: Path, *options: str) -> bool:
    """Mount a small filesystem in memory, if we may."""
    command = ["mount", "-t", "tmpfs", *options, "none", str(place)]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True).returncode == 0
    return False


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose results lie on a disk of 160 kB: enough to start, too little to end."""
    bench = Bench(tmp_path / "bench", env={"STUDY_PATIENCE_S": "2"})
    place = bench.place / "results"
    place.mkdir()
    if os.geteuid() != 0 or not mount(place, "-o", "size=160k"):
        pytest.skip("only root can mount a small disk")
    yield bench
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The same sweep, undisturbed."""
    bench = Bench(tmp_path_factory.mktemp("calm"))
    status, out, err = bench.run()
    assert status == 0, out + err
    return bench


def remount(bench: Bench, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(bench.place / "results")], check=True)


def test_a_full_disk(small_disk: Bench, calm: Bench) -> None:
    status, out, err = small_disk.run()
    assert status == 1, out + err
    assert "results cannot be written: " in err
    assert "No space left on device" in err
    assert "Traceback" not in err
    assert not [file for file in small_disk.strays() if file.endswith(".tmp")]
    finished = small_disk.finished()
    remount(small_disk, "size=16m")
    status, out, err = small_disk.run()
    assert status == 0, out + err
    assert_equal(read_all(small_disk.results), read_all(calm.results))
    assert small_disk.recomputed({2: finished}) == set()
    assert small_disk.strays() == []


def test_a_folder_that_becomes_read_only(small_disk: Bench, calm: Bench) -> None:
    remount(small_disk, "size=16m")
    with small_disk.start() as process:
        wait_for(
            lambda: any(event.get("landed") for event in small_disk.events()),
            timeout_s=240,
            what="the first stack",
        )
        remount(small_disk, "ro")
        out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err
    assert process.returncode == 1, out + err
    assert "Read-only file system" in err
    finished = small_disk.finished()
    assert finished
    # While it is so, the same command refuses to start.
    status, out, err = small_disk.run()
    assert status == 2, out + err
    assert "Read-only file system" in err
    remount(small_disk, "rw")
    status, out, err = small_disk.run()
    assert status == 0, out + err
    assert_equal(read_all(small_disk.results), read_all(calm.results))
    assert small_disk.recomputed({3: finished}) == set()


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Run units in this process; the list holds the trials that were trained."""
    trained: list[Any] = []

    def execute(current: SweepRun, work: PlannedWork, known: Any) -> None:
        for unit in work.units:
            trained.extend(unit.trials)
            list(unit_events(unit, folder=current.folder, device="cpu"))

    monkeypatch.setattr(study.execution.run, "_execute", execute)
    return trained


@pytest.mark.parametrize("fault", ["half", "part", "deleted", "compacted", "manifest", "plan"])
def test_damaged_and_deleted_files(
    tmp_path: Path, inline: list[Any], capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """Stop a sweep half way, damage it, and run the same command."""
    calm, bench = Bench(tmp_path / "calm"), Bench(tmp_path / "damaged")
    assert main(calm.command()[3:]) == 0
    inline.clear()
    if fault == "part":
        # Leave parts as they are when a run is killed.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(study.execution.run, "tidy", lambda *_: None)
            assert main([*bench.command()[3:], "--limit", "4"]) == 130
    else:
        assert main([*bench.command()[3:], "--limit", "4"]) == 130
    assert len(inline) == 4
    capsys.readouterr()
    warned, n_again = damage(bench, fault)
    inline.clear()
    assert main(bench.command()[3:]) == 0
    err = capsys.readouterr().err
    assert (warned in err) if warned else err == "", err
    assert_equal(read_all(bench.results), read_all(calm.results))
    assert [file for file in bench.strays() if not file.startswith("damaged/")] == []
    # Only what the damaged files held is trained again, beside what was left.
    assert len(inline) == 4 + n_again


def damage(bench: Bench, fault: str) -> tuple[str, int]:
    """Damage the folder; return the warning that is due and how many trials it costs."""
    if fault == "part":
        file = sorted(bench.results.glob("parts/recall/*.parquet"))[0]
        file.unlink()
        return "rows of 2 finished trials are missing", 2
    name = {"half": "trials", "deleted": "trials", "compacted": "curves"}.get(fault, fault)
    file = bench.results / ("manifest.json" if fault == "manifest" else f"{name}.parquet")
    if fault == "deleted":
        file.unlink()
        return "", 4
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    if fault == "manifest":
        return "", 0
    return f"{file.name}: not a whole table", 0 if fault == "plan" else 4


def test_a_corrupted_ray_folder_is_not_ours_to_trip_over(tmp_path: Path, calm: Bench) -> None:
    """What a killed run left of Ray is removed, whatever it holds; another's is left alone."""
    dead = Path("/tmp/ray-fault-test")
    foreign = Path("/tmp/ray-foreign-test")
    for place in (dead, foreign):
        (place / "session_latest").mkdir(parents=True, exist_ok=True)
        (place / "session_latest" / "node_ip_address.json").write_bytes(b"\x00garbage")
    note = '{"machine": "%s", "pid": 1, "born": "never"}'
    (dead / "study-owner.json").write_text(note % Process.current().machine)
    try:
        # Nor does it need a home to write to.
        kept = str(tmp_path / "compiled")
        bench = Bench(tmp_path, env={"HOME": "/proc/nowhere", "NUMBA_CACHE_DIR": kept})
        status, out, err = bench.run()
        assert status == 0, out + err
        assert err == ""
        assert not dead.exists()
        assert foreign.exists()
        assert len(read_table(bench.results, "trials")) == 8
    finally:
        subprocess.run(["rm", "-r", "-f", str(dead), str(foreign)], check=True)
