"""SIGKILL at any moment, to any process of a sweep; the same command again until it is done."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.execution.exit_status import ExitStatus
from tests.faults.harness import (
    FAULTS,
    HOOKS,
    ROOT,
    Bench,
    assert_equal,
    descendants,
    read_all,
)

SEED = int(os.environ.get("FAULTS_SEED", "20260101"))
# Kills of whole runs with Ray are dear: a tenth. The others are of the command in one process.
N_RAY = max(4, FAULTS // 10)
N_ALONE = FAULTS - N_RAY
# Calls of os in which a process dies while it writes results, and how many there are in a run.
CALLS = {
    "alone": (("driver", "link", 1), ("driver", "fsync", 60), ("driver", "replace", 50)),
    "ray": (
        ("driver", "fsync", 12),
        ("driver", "replace", 10),
        ("worker", "fsync", 12),
        ("worker", "replace", 12),
    ),
}
MOST_RUNS = 100
# In one run: a unit that loses its worker twice has failed, and its row says so.
MOST_WORKER_DEATHS = 1

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(7200)]


class Killer:
    """Kills what a seed says, and counts it.

    Parameters
    ----------
    seed : int
    life_s : float
        How long an undisturbed run takes.
    """

    def __init__(self, seed: int, life_s: float) -> None:
        self.rng = random.Random(seed)
        self.life_s = life_s
        self.kills = dict.fromkeys(("worker", "raylet", "driver", "call"), 0)

    @property
    def n_kills(self) -> int:
        return sum(self.kills.values())

    def moment_s(self) -> float:
        """Draw when to strike: anywhere in a run, its start included."""
        return self.rng.uniform(0.0, 1.1 * self.life_s)

    def next_strike(self, bench: Bench) -> Callable[[], bool]:
        """Draw when to strike a run with Ray: by the clock, or after what its workers report.

        A run's length varies with the machine's load; by the clock alone some phases were missed.
        """
        if self.rng.random() < 0.3:
            strike_at = time.monotonic() + self.moment_s()
            return lambda: time.monotonic() >= strike_at
        n_events = len(bench.events()) + self.rng.randint(1, 4)
        pause_s = self.rng.uniform(0.0, 1.0)
        seen: list[float] = []

        def is_due() -> bool:
            if not seen and len(bench.events()) >= n_events:
                seen.append(time.monotonic())
            return bool(seen) and time.monotonic() >= seen[0] + pause_s

        return is_due

    def call(self, kind: str) -> str:
        """Draw a call to die in, for two runs of five."""
        if self.rng.random() > 0.4:
            return ""
        role, name, most = self.rng.choice(CALLS[kind])
        return f"{role}:{name}:{self.rng.randint(1, most)}"

    def count_call(self, bench: Bench) -> None:
        self.kills["call"] += (bench.place / f"once-{bench.n_runs}").exists()

    def kill_below(self, pid: int, target: str) -> bool:
        """Kill one of the worker processes, or the raylet."""
        marks = {"worker": "ray::", "raylet": "/raylet/raylet "}
        found = [p for p, line in descendants(pid).items() if marks[target] in line]
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(found), signal.SIGKILL)
                self.kills[target] += 1
                return True
        return False


def torment_ray(bench: Bench, killer: Killer) -> int | None:
    """Run the command once with Ray, killing on the way; return its status, None if killed."""
    call = killer.call("ray")
    n_workers_left = MOST_WORKER_DEATHS - call.startswith("worker")
    with bench.start(FAULT_CALL=call) as process:
        is_due = killer.next_strike(bench)
        while process.poll() is None:
            if not is_due():
                time.sleep(0.05)
                continue
            target = killer.rng.choices(("worker", "raylet", "driver"), (5, 2, 3))[0]
            is_due = killer.next_strike(bench)
            if target == "driver":
                process.kill()
                killer.kills["driver"] += 1
            elif target == "raylet" or n_workers_left:
                struck = killer.kill_below(process.pid, target)
                n_workers_left -= struck and target == "worker"
        out, err = process.communicate(timeout=120)
    killer.count_call(bench)
    assert "Traceback" not in out + err, out + err
    if process.returncode == ExitStatus.STOPPED:
        print(f"ended with {ExitStatus.STOPPED}: {out[-300:]} {err[-300:]}", flush=True)
    return None if process.returncode == -signal.SIGKILL else process.returncode


class Warm:
    """A warm process whose children run the command without Ray."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def run(self, bench: Bench, killer: Killer | None) -> int | None:
        """Run the command once, killing it if there is a killer."""
        bench.n_runs += 1
        call = killer.call("alone") if killer else ""
        log = bench.place / f"output-{bench.n_runs}"
        env = {**bench.environment(), "FAULT_CALL": call}
        spec = {"argv": bench.command()[3:], "env": env, "log": str(log)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(spec) + "\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        if killer and not call:
            timer = threading.Timer(killer.moment_s(), self._kill, (pid,))
            timer.start()
        status = int(self._process.stdout.readline())
        if killer and not call:
            timer.cancel()
            killer.kills["driver"] += os.WIFSIGNALED(status)
        if killer:
            killer.count_call(bench)
        assert "Traceback" not in log.read_text(), log.read_text()
        return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def warm() -> Iterator[Warm]:
    command = [sys.executable, str(Path(__file__).parent / "warm.py")]
    env = {**os.environ, "PYTHONPATH": f"{HOOKS}:{ROOT}", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=env) as process:
        yield Warm(process)
        assert process.stdin is not None
        process.stdin.close()


def survive(
    tmp_path: Path, n_kills: int, run: Callable[[Bench, Killer | None], int | None]
) -> None:
    """Run sweeps with kills until there were enough, and check each when it is done.

    Parameters
    ----------
    tmp_path : Path
    n_kills : int
    run : callable
        Runs the command of a bench once, under a killer or undisturbed; returns its exit status.
    """
    # The first run compiles and fills caches; kills are drawn over the life of the later ones.
    assert run(Bench(tmp_path / "first"), None) == 0
    calm = Bench(tmp_path / "calm")
    started = time.monotonic()
    assert run(calm, None) == 0
    killer = Killer(SEED, time.monotonic() - started)
    wanted = read_all(calm.results)
    n_sweeps = n_runs = 0
    while killer.n_kills < n_kills:
        bench = Bench(tmp_path / f"sweep{n_sweeps}")
        before: dict[int, set[str]] = {}
        status: int | None = None
        while status != 0:
            before[bench.n_runs + 1] = bench.finished()
            status = run(bench, killer if killer.n_kills < n_kills else None)
            # Ray was killed under it (1, or stopped before the end), or while it started (2).
            assert status in (None, 0, 1, 2, ExitStatus.STOPPED), status
            assert bench.n_runs < MOST_RUNS, "the sweep does not end"
            n_runs += 1
        assert_equal(read_all(bench.results), wanted)
        assert bench.recomputed(before) == set()
        assert bench.strays() == []
        n_sweeps += 1
        counts = f"{killer.n_kills} kills {killer.kills}, {n_sweeps} sweeps, {n_runs} runs"
        print(f"{counts}, {killer.life_s:.1f} s undisturbed", flush=True)


def test_the_command_alone_survives_kills(tmp_path: Path, warm: Warm) -> None:
    survive(tmp_path, N_ALONE, warm.run)


@pytest.mark.ray
def test_driver_workers_and_raylet_survive_kills(tmp_path: Path) -> None:
    def run(bench: Bench, killer: Killer | None) -> int | None:
        return bench.run()[0] if killer is None else torment_ray(bench, killer)

    survive(tmp_path, N_RAY, run)
