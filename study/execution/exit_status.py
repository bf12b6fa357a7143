"""How a command ends."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """The exit statuses of every command."""

    DONE = 0
    """Everything that was asked for is done."""
    FAILED = 1
    """Something failed, or the run broke off."""
    USAGE = 2
    """It could not start: bad input, results that cannot be written, another writer."""
    STOPPED = 130
    """It was stopped before the end."""
