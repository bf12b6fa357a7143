"""Ctrl-C and SIGTERM to the whole command: fast, polite, and nothing finished is lost."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.faults.harness import FAULTS, Bench, wait_for
from tests.faults.signals import SIGNALS, STEADY, endings

# What Slurm and Kubernetes leave between SIGTERM and SIGKILL.
GRACE_S = 20.0
pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ([signal.SIGTERM], "SIGTERM: stopping."),
        ([signal.SIGINT], "Ctrl-C: stopping."),
        ([signal.SIGINT, signal.SIGINT], "Ctrl-C: stopped at once"),
    ],
)
def test_a_signal_stops_the_sweep_and_the_same_command_goes_on(
    tmp_path: Path, numbers: list[int], words: str
) -> None:
    # Trainings of the second init seed never end, so that there is something to stop.
    bench = Bench(tmp_path, env={"FAULT_POISON": json.dumps({"1": "hang"})})
    with bench.start() as process:
        wait_for(
            lambda: any(event.get("training") for event in bench.events()),
            timeout_s=240,
            what="a training",
        )
        time.sleep(1)
        asked_at = time.monotonic()
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.5)
        out, err = process.communicate(timeout=120)
        took_s = time.monotonic() - asked_at
    assert process.returncode == 130, out + err
    assert took_s < GRACE_S
    assert words in out + err
    assert "run the same command again" in out + err
    assert "Traceback" not in out + err
    assert not (bench.results / "lock.json").exists()
    if len(numbers) > 1:
        return
    finished = bench.finished()
    bench.env = {}
    status, out, err = bench.run()
    assert status == 0, out + err
    assert bench.recomputed({2: finished}) == set()
    assert len(bench.finished()) == 8


def test_a_signal_at_any_moment_leaves_nothing_behind() -> None:
    n = max(3, FAULTS // 3)
    moments = [round(12 * (i + 0.5) / n, 2) for i in range(n)] + [STEADY] * max(1, FAULTS // 10)
    unclean = [ending for ending in endings(moments, SIGNALS) if not ending.is_clean]
    assert not unclean, unclean
