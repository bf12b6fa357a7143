"""The one way to print: whatever is wrong with the screen, the work goes on.

A pipe whose reader has gone, a full disk under a log, a closed stream, and an encoding that lacks
a character are troubles of whoever looks, not of the work: no such error leaves this module.
Characters that the stream cannot write appear as escapes. Every command begins with
`guard_output`, and prints with `say`, `say_error` and `make_console`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from study.results.plain_text import printable

if TYPE_CHECKING:
    from rich.console import Console


MIN_COLUMNS = 20


def guard_output() -> None:
    """Make sure that a stream which breaks changes neither the work nor the exit status.

    A standard descriptor that was closed is opened on nothing, so that no file or socket of ours
    gets its number and what others print. At exit, what could not be written is dropped: the
    interpreter would print an error of its own and end with status 120.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                # The lowest free number is this one.
                os.open(os.devnull, os.O_RDWR)
    # Python has no stream for a descriptor that was closed when it started, and Ray asks for one.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # as long as we live
    atexit.unregister(_drop_the_rest)
    atexit.register(_drop_the_rest)


def _drop_the_rest() -> None:
    for stream, number in ((sys.__stdout__, 1), (sys.__stderr__, 2)):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, number)
                os.close(nothing)


def say(text: object = "", *, end: str = "\n") -> bool:
    """Print to standard output.

    Parameters
    ----------
    text : object
    end : str
        What follows the text.

    Returns
    -------
    bool
        Whether the stream took it. Only a command whose output is its result needs to look.
    """
    return _write(sys.stdout, f"{text}{end}")


def say_error(text: object) -> None:
    """Print a line to standard error; text of files that it quotes cannot steer the terminal."""
    _write(sys.stderr, f"{printable(text)}\n")


def _write(stream: Any, text: str) -> bool:
    """Write and flush; False if the stream did not take it."""
    if stream is None:
        return False
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        return False
    return True


class SafeStream:
    """Standard output, as it is at each moment, for rich: its errors stay here."""

    @property
    def _stream(self) -> Any:
        # A live display puts a stream of rich in the place of standard output.
        return getattr(sys.stdout, "rich_proxied_file", sys.stdout)

    @property
    def encoding(self) -> str:
        """The stream's encoding, from which rich chooses the characters of bars and frames."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def write(self, text: str) -> int:
        """Write what the stream takes."""
        _write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: each write is flushed."""

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return bool(self._stream.isatty())
        except (AttributeError, OSError, ValueError):
            return False

    def fileno(self) -> int:
        """Return the stream's descriptor; OSError if it has none."""
        try:
            return int(self._stream.fileno())
        except (AttributeError, ValueError):
            raise OSError("standard output has no descriptor") from None


def make_console() -> Console:
    """Make rich's console on standard output, from which no output error comes."""
    # Not at the top: --help and one line on stderr need no rich.
    from rich.console import Console

    # Of a width of no columns nothing would be seen.
    unusable = os.environ.get("COLUMNS", "").isdigit() and int(os.environ["COLUMNS"]) < MIN_COLUMNS
    surroundings = {k: v for k, v in os.environ.items() if k != "COLUMNS" or not unusable}
    return Console(file=SafeStream(), _environ=surroundings)  # type: ignore[arg-type]
