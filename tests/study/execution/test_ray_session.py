"""Ray for one run."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import study
import study.execution.ray_session
from study.execution.ray_environment import SessionError
from study.execution.ray_session import (
    _drivers_code,
    _reason,
    own_folder,
    temporary_parent,
    worker_log_tail,
)
from study.results import read_table

# A process of its own: what a first import of Ray did cannot be undone in this one.
RAY_FIRST = """
import ray
from study.execution.ray_environment import set_ray_environment
set_ray_environment()
from study.execution.ray_session import ray_session
from study.config import ResourcesConfig
with ray_session(None, n_workers=1, resources=ResourcesConfig()):
    print(ray.get(ray.remote(lambda: 6 * 7).remote()))
"""

# Cycles that hold Ray's references become garbage, one after another, while Ray shuts down.
GARBAGE_AT_THE_END = """
import gc
import threading
from study.execution.ray_environment import set_ray_environment
set_ray_environment()
import ray
from ray._private import worker
from study.execution.ray_session import ray_session
from study.config import ResourcesConfig
held, ended, disconnect = [], threading.Event(), worker.disconnect
def let_go():
    while held and not ended.wait(0.001):
        held.pop()
        [[] for _ in range(1_000)]
def disconnect_and_let_go(*given):
    disconnect(*given)
    threading.Thread(target=let_go).start()
worker.disconnect = disconnect_and_let_go
with ray_session(None, n_workers=1, resources=ResourcesConfig()):
    # What there is already is left out, so that each collection goes through all that is new.
    gc.freeze()
    gc.collect()
    gc.set_threshold(100, 1, 1)
    for number in range(1_000):
        cycle = [ray.put(number)]
        cycle.append(cycle)
        held.append(cycle)
    del cycle
ended.set()
print("went on")
"""


def run_alone(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, with none of our Ray's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=kept, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
@pytest.mark.ray
def test_ray_that_was_imported_before_starts_with_our_token() -> None:
    done = run_alone(RAY_FIRST)
    assert done.stdout.strip() == "42", done.stderr


@pytest.mark.slow
@pytest.mark.ray
def test_garbage_of_another_thread_does_not_end_the_driver() -> None:
    done = run_alone(GARBAGE_AT_THE_END)
    assert done.stdout.strip() == "went on", done.stderr


def test_the_last_words_of_a_worker_that_was_kept_ready_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = SimpleNamespace(get_logs_dir_path=lambda: str(tmp_path))
    monkeypatch.setattr("ray._private.worker._global_node", node)
    for age_s, job, text in ((2, "ffffffff", "ready"), (1, "01000000", "SIGSEGV received")):
        file = tmp_path / f"worker-a-{job}-7.err"
        file.write_text(text)
        os.utime(file, (100 - age_s, 100 - age_s))
    assert worker_log_tail(7) == "readySIGSEGV received"
    assert worker_log_tail(7, n_chars=8) == "received"
    assert worker_log_tail(8) == ""


def test_temporary_folders_go_where_the_user_says(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    try:
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setenv("TMPDIR", str(short))
        assert temporary_parent() == (short, [])
        monkeypatch.setenv("TMPDIR", "/nowhere")
        monkeypatch.setenv("RAY_TMPDIR", str(short))
        assert temporary_parent() == (short, [])
        with own_folder("ray-") as folder:
            assert folder.parent == short
            assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(short)


def test_places_that_do_not_do_are_passed_over_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "a" * 40)
    monkeypatch.setenv("TMPDIR", "/nowhere")
    parent, reasons = temporary_parent()
    assert parent == Path("/tmp")
    assert "sockets" in reasons[0]
    assert reasons[1] == "TMPDIR=/nowhere (no such file or directory)"


def test_no_place_at_all_is_an_error_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(study.execution.ray_session, "_unfit", lambda _: "read-only file system")
    with pytest.raises(SessionError, match=r"/tmp \(read-only file system\); set RAY_TMPDIR"):
        temporary_parent()


def test_versions_that_differ_are_all_named() -> None:
    error = RuntimeError("Version mismatch: The cluster was started with:\n  Python: 3.11.5\nThis"
                         " process was started with:\n  Python: 3.11.7")  # fmt: skip
    assert "3.11.5 This process was started with: Python: 3.11.7" in _reason(error)
    assert _reason(RuntimeError("first\nsecond")) == "first"


def test_workers_are_told_where_the_drivers_code_is(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(study.__file__).resolve().parents[1])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    with _drivers_code():
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [root, "/elsewhere"]
    assert os.environ["PYTHONPATH"] == "/elsewhere"
    monkeypatch.delenv("PYTHONPATH")
    with _drivers_code():
        assert os.environ["PYTHONPATH"] == root
    assert "PYTHONPATH" not in os.environ


TINY = """
name: tiny
mixture: {n_samples: 200, n_components: 2}
model: {hidden: [4]}
training: {epochs: 1}
detection: {sources: [means], protocols: [original], n_samples: 200}
"""


@pytest.mark.slow
@pytest.mark.ray
def test_a_copy_of_the_project_runs_its_own_code_in_its_workers(tmp_path: Path) -> None:
    """Another copy may be installed in the same environment, as the one under test is here."""
    root = Path(study.__file__).resolve().parents[1]
    shutil.copytree(root / "study", tmp_path / "study", ignore=shutil.ignore_patterns("*.nb?"))
    with (tmp_path / "study" / "trial" / "stack.py").open("a") as stream:
        stream.write("\n\ndef stack_events(*_, **__):\n    raise RuntimeError('the copy ran')\n")
    (tmp_path / "tiny.yaml").write_text(TINY)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "study.sweep", "tiny.yaml", "--workers", "1", "--quiet"]
    done = subprocess.run(
        command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 1, done.stderr
    messages = read_table(tmp_path / "results" / "tiny", "trials")["message"]
    assert messages.str.contains("the copy ran").all(), messages.tolist()
