"""What a run reports while it runs: `running.json`, read by `study.status` elsewhere.

Who writes is in `lock.json`; this file adds what is in work, and each share of a sweep has a pair
of its own. It is removed at the end, so one that lies beside a dead writer's lock is the last that
was known.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from study.display.progress import SweepProgress
from study.results.folder import ResultsFolder
from study.results.provenance import timestamp

STATE_NAME = "running.json"
INTERVAL_S = {"local": 5.0, "remote": 20.0}


@contextlib.contextmanager
def heartbeat(
    folder: ResultsFolder, progress: SweepProgress, name: str = STATE_NAME
) -> Iterator[None]:
    """Write what is running every few seconds, from a thread of its own, and clear up after.

    A write that fails is left out: nothing depends on it.

    Parameters
    ----------
    folder : ResultsFolder
    progress : SweepProgress
        Read only.
    name : str
        The file, as `state_name` makes it: each share has one of its own.
    """
    quick = ResultsFolder(folder.filesystem, folder.path, 0.0)
    ended = threading.Event()
    interval_s = INTERVAL_S["local" if folder.is_local else "remote"]

    def keep() -> None:
        while True:
            # A dictionary that grows while it is read is read again next time.
            with contextlib.suppress(OSError, RuntimeError):
                quick.write_bytes(name, json.dumps(state_of(progress)).encode())
            if ended.wait(interval_s):
                return

    thread = threading.Thread(target=keep, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=interval_s)
        with contextlib.suppress(OSError):
            quick.filesystem.delete_file(f"{quick.path}/{name}")


def state_name(lock_name: str) -> str:
    """Name the file that goes with a lock.

    Examples
    --------
    >>> state_name("lock-2-of-4.json")
    'running-2-of-4.json'
    """
    return STATE_NAME.removesuffix(".json") + lock_name.removeprefix("lock")


def state_of(progress: SweepProgress) -> dict[str, Any]:
    """Return the content of the file."""
    return {
        "updated": timestamp(),
        "elapsed_s": round(progress.elapsed_s, 1),
        "trials_per_minute": progress.trials_per_minute,
        "seconds_left": progress.seconds_left,
        "running": [asdict(stack) for stack in list(progress.running.values())],
    }


def read_state(folder: ResultsFolder, name: str = STATE_NAME) -> dict[str, Any] | None:
    """Read the file; None if there is none, or it makes no sense."""
    try:
        state = folder.read_object(name)
    except (OSError, ValueError):
        return None
    running, left_s = state.get("running"), state.get("seconds_left")
    listed = running if isinstance(running, list) else []
    is_number = isinstance(left_s, int | float) and math.isfinite(left_s)
    return state | {
        "running": [unit for unit in listed if isinstance(unit, dict)],
        "seconds_left": left_s if is_number else None,
    }
