"""What a job that runs a sweep elsewhere has to say, whichever system it is given to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Seconds between SIGTERM and the end of a job: finished stacks are on disk long before.
GRACE_S = 120
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "ACCESS_KEY", "API_KEY")


class JobError(ValueError):
    """Options of which no job can be made; the message names the option and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The sweep's command line, as the job runs it.

    Parameters
    ----------
    file : str
        The sweep file, relative to the project's folder.
    results : str
        Path or URI that all nodes reach.
    arguments : tuple of str
        Further options of `study.sweep`.
    environment : tuple of (name, value)
        Variables of the job; no secrets.
    python : str
        The interpreter on the nodes.
    """

    file: str
    results: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    python: str = "python"

    def __post_init__(self) -> None:
        check_environment(self.environment)

    def words(self, *more: str) -> tuple[str, ...]:
        """List the words of the command line."""
        module = (self.python, "-u", "-m", "study.sweep", self.file)
        return (*module, "--results", self.results, *self.arguments, *more)


def check_environment(environment: Sequence[tuple[str, str]]) -> None:
    """Make sure that no variable looks like a secret.

    Raises
    ------
    JobError
        One does, or its name is none.
    """
    for name, _ in environment:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise JobError(f"environment: {name!r} is not a name for a variable")
        if any(word in name.upper() for word in _SECRET_WORDS):
            raise JobError(
                f"environment: {name} looks like a secret, and the text of a job is kept and "
                "shown; let the nodes have it, or name a Kubernetes secret (--secret NAME)"
            )
