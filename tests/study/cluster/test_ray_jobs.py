"""A real head with its dashboard and job server on this machine, and a sweep submitted to it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from study.cluster.command import JobError
from study.cluster.ray_jobs import check_server
from study.results import open_folder, read_table
from study.results.provenance import provenance
from study.results.repair import incomplete_ids

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1200)]
QUICKSTART = Path(__file__).parents[3] / "sweeps" / "quickstart.yaml"
LONG = (
    "resources.stack_size=1",
    "training.epochs=30",
    "mixture.n_samples=1000",
    "detection.n_samples=300",
    "detection.k_max=5",
    "detection.sources=[means]",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """What head and clients share: a token, and this Python first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    kept.pop("PYTHONPATH", None)
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@pytest.fixture(scope="module")
def address(environment: Mapping[str, str]) -> Iterator[str]:
    """A head of our own: own ports, own folder, ended by process id."""
    folder = tempfile.mkdtemp(prefix="rj", dir="/tmp")
    url = f"http://127.0.0.1:{(dashboard := free_port())}"
    options = {
        "port": free_port(),
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": free_port(),
        "ray-client-server-port": free_port(),
        "num-cpus": 2,
        "object-store-memory": 100 * 2**20,
        "temp-dir": folder,
    }
    ray = str(Path(sys.executable).parent / "ray")
    command = [ray, "start", "--head", "--block", *(f"--{k}={v}" for k, v in options.items())]
    with subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as head:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RAY_AUTH_TOKEN", environment["RAY_AUTH_TOKEN"])
            patch.setenv("RAY_AUTH_MODE", "token")
            wait_for_server(url)
        try:
            yield url
        finally:
            end(head.pid, folder)


def wait_for_server(url: str) -> None:
    give_up_at = time.monotonic() + 180
    while True:
        try:
            check_server(url)
            return
        except JobError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(1)


def end(pid: int, folder: str) -> None:
    """End the head and what it started, known by its folder; nothing else."""
    os.kill(pid, signal.SIGTERM)
    give_up_at = time.monotonic() + 10
    while processes_of(folder) and time.monotonic() < give_up_at:
        time.sleep(0.5)
    for left in processes_of(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


def processes_of(folder: str) -> list[int]:
    """List the processes whose command line names a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if folder.encode() in place.read_bytes():
                found.append(int(place.parent.name))
    return found


def submit(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study.submit", *words]
    root = QUICKSTART.parents[1]
    return subprocess.run(
        command, env=dict(environment), cwd=root, capture_output=True, text=True, timeout=900
    )


def test_a_submitted_sweep_makes_the_tables_of_a_local_one(
    tmp_path: Path,
    address: str,
    environment: Mapping[str, str],
    assert_same_tables: Callable[[Path, Path], None],
) -> None:
    commit = provenance()["commit"]
    sent = (str(QUICKSTART), "--smoke", "--to", "ray", "--address", address, "--name", "quick")
    done = submit(environment, *sent, "--results", str(tmp_path / "there"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4/4 trials" in done.stdout
    assert "room for 2 stacks at once" in done.stdout
    assert done.stderr == ""
    assert environment["RAY_AUTH_TOKEN"] not in done.stdout + done.stderr
    local = [sys.executable, "-m", "study.sweep", str(QUICKSTART), "--smoke", "--quiet"]
    subprocess.run(
        [*local, "--results", str(tmp_path / "here")],
        env=dict(environment),
        cwd=QUICKSTART.parents[1],
        check=True,
        timeout=600,
    )
    name = "quickstart-smoke"
    assert_same_tables(tmp_path / "here" / name, tmp_path / "there" / name)
    trials = read_table(tmp_path / "there" / "quickstart-smoke", "trials")
    assert set(trials["commit"]) == {commit}
    again = submit(environment, *sent, "--results", str(tmp_path / "there"))
    assert again.returncode == 2
    assert "a job named quick exists (SUCCEEDED)" in again.stderr
    status = submit(environment, "status", "quick", "--address", address)
    assert "quick: SUCCEEDED\n4/4 trials" in status.stdout


def test_stopping_leaves_finished_rows_whole(
    tmp_path: Path, address: str, environment: Mapping[str, str]
) -> None:
    changes = [word for change in LONG for word in ("--set", change)]
    sent = (str(QUICKSTART), "--to", "ray", "--address", address, "--name", "long", "--detach")
    done = submit(environment, *sent, *changes, "--results", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    parts = tmp_path / "quickstart" / "parts" / "trials"
    give_up_at = time.monotonic() + 600
    while not (parts.exists() and list(parts.iterdir())) and time.monotonic() < give_up_at:
        time.sleep(0.2)
    stopped = submit(environment, "stop", "long", "--address", address)
    assert "long: STOPPED" in stopped.stdout or "long: SUCCEEDED" in stopped.stdout
    folder = open_folder(tmp_path / "quickstart")
    trials = read_table(folder, "trials")
    assert len(trials) >= 1
    assert trials["status"].eq("done").all()
    assert incomplete_ids(folder) == set()
    unknown = submit(environment, "logs", "nobody", "--address", address)
    assert unknown.returncode == 2
    assert "no job named nobody" in unknown.stderr
