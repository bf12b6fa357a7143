"""What the tests of `study.trial.processes` call in other processes."""

from __future__ import annotations

import os
import signal
import time


def square(value: int) -> int:
    return value * value


def fail(value: int) -> int:
    if value == 2:
        raise ValueError(f"no {value}")
    return value


def die(value: int) -> int:
    """End the process if the value is 2."""
    if value == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def n_threads() -> int:
    import torch

    return torch.get_num_threads()


def wait_long(place: str) -> None:
    """Say which process this is, in a file of its own, and never end."""
    with open(f"{place}/{os.getpid()}", "w"):
        pass
    time.sleep(3600)
