"""Calls over several processes: in order, a few ahead; a process that is killed is survived."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import study.trial.processes
from study.trial.processes import AHEAD, LostProcessError, map_in_processes
from tests.study.trial.process_calls import die, fail, n_threads, square

ROOT = Path(__file__).parents[3]
WAITERS = """
import sys
from study.trial.processes import map_in_processes
from tests.study.trial.process_calls import wait_long
if __name__ == "__main__":
    list(map_in_processes(wait_long, [(sys.argv[1],)] * 2, n_processes=2))
"""


@pytest.mark.parametrize("n_processes", [1, 2])
def test_results_come_in_order_from_arguments_taken_as_needed(n_processes: int) -> None:
    taken = []

    def arguments() -> Iterator[tuple[int]]:
        for value in range(20):
            taken.append(value)
            yield (value,)

    results = map_in_processes(square, arguments(), n_processes=n_processes)
    assert taken == []
    assert next(results) == 0
    assert len(taken) <= AHEAD * n_processes
    assert list(results) == [value * value for value in range(1, 20)]


@pytest.mark.parametrize("n_processes", [1, 2])
def test_an_exception_is_the_callers(n_processes: int) -> None:
    results = map_in_processes(fail, ((value,) for value in range(5)), n_processes=n_processes)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="no 2"):
        next(results)


def test_a_call_that_ends_its_process_costs_no_other() -> None:
    arguments = [(value,) for value in range(6)]
    results = map_in_processes(die, arguments, n_processes=2, lost=lambda value: -value)
    assert list(results) == [0, 1, -2, 3, 4, 5]
    with pytest.raises(LostProcessError):
        list(map_in_processes(die, arguments, n_processes=2))


def test_a_process_that_was_killed_while_idle_is_replaced() -> None:
    assert list(map_in_processes(square, [(1,)], n_processes=2)) == [1]
    for process in list(study.trial.processes._pool(2)._processes.values()):
        process.kill()
        process.join()
    assert list(map_in_processes(square, [(2,), (3,)], n_processes=2)) == [4, 9]


@pytest.mark.slow
def test_a_process_computes_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    study.trial.processes._pool.cache_clear()
    assert list(map_in_processes(n_threads, [()], n_processes=2)) == [1]


def test_processes_end_with_the_one_that_made_them(tmp_path: Path) -> None:
    (tmp_path / "waiters.py").write_text(WAITERS)
    place = tmp_path / "waiting"
    place.mkdir()
    command = [sys.executable, str(tmp_path / "waiters.py"), str(place)]
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        _wait_until(lambda: len(list(place.iterdir())) == 2)
    finally:
        parent.kill()
        parent.wait()
    children = [int(file.name) for file in place.iterdir()]
    _wait_until(lambda: not any(map(_is_alive, children)))


def _wait_until(holds, patience_s: float = 60.0) -> None:
    give_up_at = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody asked for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
