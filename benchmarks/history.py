"""What benchmarks measured, on which machine and commit: benchmarks/history.csv.

A ratio compares two things measured side by side in one run, so it travels between machines; a
value alone does not, and `load` says how busy the machine was when the benchmark began.
"""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from study.results.processor import cpu_model

HISTORY = Path(__file__).with_name("history.csv")
# What decides the figures; the rows of earlier runs do not.
_SOURCES = ("study", "benchmarks", ":(exclude)benchmarks/*.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much a benchmark does.

    Parameters
    ----------
    quick : bool
        The smallest run that goes through every step; its figures mean nothing.
    n_trials, n_epochs : int
        Of benchmarks that run whole sweeps.
    n_repeats : int
        Times that a short comparison is repeated.
    """

    quick: bool = False
    n_trials: int = 24
    n_epochs: int = 100
    n_repeats: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One figure.

    Parameters
    ----------
    benchmark, name : str
        Which benchmark, and what of it; the name states sizes.
    value : float or None
        In `unit`; None if it could not be measured, and the name says why.
    unit : str
    ratio : float or None
        To what the name says, measured in the same run.
    """

    benchmark: str
    name: str
    value: float | None
    unit: str
    ratio: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """When and where a benchmark ran."""

    date: str
    commit: str
    dirty: bool
    cpu: str
    cores: int
    load: float


COLUMNS = [field.name for field in (*fields(Circumstances), *fields(Measurement))]


def circumstances() -> Circumstances:
    """Say when and where this is, with the load of the last minute."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    return Circumstances(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_git("rev-parse", "--short=10", "HEAD") or "unknown",
        dirty=bool(_git("status", "--porcelain", "--untracked-files=no", "--", *_SOURCES)),
        cpu=cpu_model(),
        cores=len(usable),
        load=round(os.getloadavg()[0], 2),
    )


def append(
    place: Circumstances, measured: Iterable[Measurement], *, path: Path | None = None
) -> None:
    """Add rows to the history, with its header if the file is new."""
    path = path or HISTORY
    is_new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for row in measured:
            writer.writerow({**asdict(place), **_rounded(row)})


def _rounded(row: Measurement) -> dict[str, object]:
    form = asdict(row)
    return {key: f"{v:.5g}" if isinstance(v, float) else v for key, v in form.items()}


def read(path: Path | None = None) -> list[dict[str, str]]:
    """Read every row, oldest first; none if there is no file."""
    path = path or HISTORY
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def latest(rows: Iterable[dict[str, str]], benchmark: str) -> list[dict[str, str]]:
    """Choose what a benchmark last found: each name once, all of the last row's commit."""
    own = [row for row in rows if row["benchmark"] == benchmark]
    last = [row for row in own if row["commit"] == own[-1]["commit"]]
    return list({row["name"]: row for row in last}.values())


def _git(*arguments: str) -> str:
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
