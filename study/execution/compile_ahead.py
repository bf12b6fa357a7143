"""Compiling beside the start of Ray what the first count would wait for."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_CODE = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def compiling_ahead() -> Iterator[None]:
    """Compile what counts in processes of their own, which end with the block at the latest.

    They take a second where everything is compiled. What goes wrong there is said by the worker
    that has to compile for itself then.
    """
    path = os.pathsep.join(filter(None, [str(_CODE), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "study.detection.compiling"],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
