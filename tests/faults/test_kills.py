"""SIGKILL at any moment, to any process of a sweep; the same command again until it is done."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.harness import (
    FAULTS,
    Bench,
    assert_equal,
    descendants,
    read_all,
)

SEED = int(os.environ.get("FAULTS_SEED", "20260101"))
# Calls that write results, in which a process can die: (role, function of os, how many there are).
CALLS = (
    ("driver", "link", 1),
    ("driver", "fsync", 12),
    ("driver", "replace", 10),
    ("worker", "fsync", 12),
    ("worker", "replace", 12),
)
# Shares of the kills: by the clock and process, or inside a call.
WORKER, RAYLET, DRIVER, CALL = 0.3, 0.15, 0.25, 0.3
MOST_WORKER_KILLS = 2
LIFE_S = float(os.environ.get("FAULTS_LIFE_S", "12"))


class Killer:
    """Kills what a seed says and counts it."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.kills: dict[str, int] = {"worker": 0, "raylet": 0, "driver": 0, "call": 0}

    @property
    def n_kills(self) -> int:
        return sum(self.kills.values())

    def torment(self, bench: Bench) -> int | None:
        """Run the command once, killing on the way; return its exit status, None if killed."""
        call = self._call() if self.rng.random() < CALL / (CALL + DRIVER) else ""
        n_workers_left = MOST_WORKER_KILLS
        with bench.start(FAULT_CALL=call) as process:
            ends_at = time.monotonic() + self.rng.uniform(0.3, LIFE_S)
            while process.poll() is None:
                if time.monotonic() < ends_at:
                    time.sleep(0.05)
                    continue
                ends_at = time.monotonic() + self.rng.uniform(0.3, LIFE_S / 2)
                target = self.rng.choices(
                    ("worker", "raylet", "driver"), (WORKER, RAYLET, DRIVER)
                )[0]
                if target == "driver":
                    process.kill()
                    self.kills["driver"] += 1
                elif target == "worker" and not n_workers_left:
                    continue
                elif self._kill_below(process.pid, target):
                    self.kills[target] += 1
                    n_workers_left -= target == "worker"
            out, err = process.communicate(timeout=120)
        if (bench.place / f"once-{bench.n_runs}").exists():
            self.kills["call"] += 1
        assert "Traceback" not in out + err, out + err
        return None if process.returncode == -signal.SIGKILL else process.returncode

    def _call(self) -> str:
        role, name, most = self.rng.choice(CALLS)
        return f"{role}:{name}:{self.rng.randint(1, most)}"

    def _kill_below(self, pid: int, target: str) -> bool:
        marks = {"worker": "ray::", "raylet": "/raylet/raylet "}
        found = [p for p, line in descendants(pid).items() if marks[target] in line]
        if not found:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.rng.choice(found), signal.SIGKILL)
            return True
        return False


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(7200)
def test_killed_anywhere_the_same_command_finishes_the_same_tables(tmp_path: Path) -> None:
    calm = Bench(tmp_path / "calm")
    status, out, err = calm.run()
    assert status == 0, out + err
    wanted = read_all(calm.results)
    killer = Killer(SEED)
    n_sweeps = n_runs = 0
    while killer.n_kills < FAULTS:
        bench = Bench(tmp_path / f"sweep{n_sweeps}")
        before: dict[int, set[str]] = {}
        status = None
        while status != 0:
            before[bench.n_runs + 1] = bench.finished()
            if killer.n_kills < FAULTS:
                status = killer.torment(bench)
            else:
                status, out, err = bench.run()
                assert status == 0, out + err
            assert status in (None, 0, 1), status
            n_runs += 1
        assert_equal(read_all(bench.results), wanted)
        assert bench.recomputed(before) == set()
        assert bench.strays() == []
        n_sweeps += 1
        print(
            f"{killer.n_kills} kills {killer.kills}, {n_sweeps} sweeps, {n_runs} runs", flush=True
        )
