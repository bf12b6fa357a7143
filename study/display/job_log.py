"""The log of a job that runs elsewhere, shown as if it ran here.

The job prints JSON lines (`--json`); they are turned back into the state that a display draws.
Whatever else it prints stays on the screen as it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

from study.display.progress import Display, RunningStack, SweepProgress

_EVENTS = ("start", "report", "finish", "note")


def show_log(lines: Iterable[str], display: Display) -> None:
    """Draw a job's log.

    Parameters
    ----------
    lines : iterable of str
        Lines of the log, as they arrive.
    display : Display
        Its progress is changed.
    """
    for line in lines:
        state = _state(line)
        if state is None:
            if line.strip():
                display.note(line)
            continue
        update_progress(display.progress, state)
        if state["event"] == "note":
            display.note(str(state.get("message", "")))
        else:
            display.update(state["event"])


def last_state(log: str) -> dict[str, Any] | None:
    """Find the newest state in a log; None if it has none yet."""
    states = (_state(line) for line in reversed(log.splitlines()))
    return next((state for state in states if state is not None), None)


def _state(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        state = json.loads(line)
        # What a display counts with must be a number, whoever wrote the line.
        for name in ("n_trials", "n_finished", "n_failed", "elapsed_s"):
            float(state[name])
    except (ValueError, KeyError, TypeError):
        return None
    return state if state.get("event") in _EVENTS else None


def update_progress(progress: SweepProgress, state: dict[str, Any]) -> None:
    """Bring the state of a sweep up to a line of its log."""
    if not progress.n_trials:
        progress.n_finished_before = int(state["n_finished"])
    progress.name = str(state.get("sweep", progress.name))
    progress.n_trials = int(state["n_trials"])
    progress.n_finished = int(state["n_finished"])
    progress.n_failed = int(state["n_failed"])
    progress.started_at = time.monotonic() - float(state["elapsed_s"])
    if "running" in state:
        progress.running = {
            i: RunningStack.from_row(row) for i, row in enumerate(state["running"])
        }
