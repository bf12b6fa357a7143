"""A process of some machine, told apart from later ones that get its number."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process.

    Parameters
    ----------
    machine : str
        Identity of the running system and its process namespace; empty if unknown.
    pid : int
    born : str
        When it started, in the system's own count.
    """

    machine: str
    pid: int
    born: str

    @classmethod
    def current(cls) -> Process:
        """Describe this process."""
        return cls(machine=_machine(), pid=os.getpid(), born=_born(os.getpid()))

    @classmethod
    def parse(cls, text: str) -> Process:
        """Read what `text` wrote.

        Raises
        ------
        ValueError, TypeError
            It is something else.
        """
        return cls(**json.loads(text))

    def text(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))

    @property
    def is_here(self) -> bool:
        """Return whether it is one of this machine, so that `has_ended` is known."""
        return bool(self.machine) and self.machine == _machine()

    @property
    def has_ended(self) -> bool:
        """Return whether this machine knows that it has ended."""
        return self.is_here and _born(self.pid) != self.born


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Return when a process started; empty if it has ended."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]
