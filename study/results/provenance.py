"""Which code on which machine made a row, and when."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from study.results.processor import cpu_model
from study.results.tables import SCHEMA_VERSION

UNKNOWN = "unknown"


@cache
def provenance() -> dict[str, Any]:
    """Return which code on which machine makes a row: commit, versions, processor."""
    root = Path(__file__).resolve().parents[2]
    # A copy that was sent elsewhere has no repository: who sent it says what it is.
    sent = os.environ.get("STUDY_COMMIT")
    return {
        "commit": sent or _git(root, "rev-parse", "HEAD") or UNKNOWN,
        "dirty": read_dirty(os.environ.get("STUDY_DIRTY", "")) if sent else _is_dirty(root),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "sklearn": importlib.metadata.version("scikit-learn"),
        "numpy": importlib.metadata.version("numpy"),
        "cpu": cpu_model(),
        "schema_version": SCHEMA_VERSION,
    }


def _is_dirty(root: Path) -> bool | None:
    """Return whether the code behind the numbers differs from its commit; None if git fails."""
    # A changed note or figure changes no row.
    changes = _git(root, "status", "--porcelain", "--untracked-files=no", "study")
    return None if changes is None else bool(changes)


def write_dirty(dirty: bool | None) -> str:
    """Write for an environment variable whether code is changed; empty if unknown."""
    return "" if dirty is None else str(int(dirty))


def read_dirty(text: str) -> bool | None:
    """Read what `write_dirty` wrote."""
    return {"0": False, "1": True}.get(text)


@cache
def code_version() -> str:
    """Hash the source of this package: equal where the same code runs."""
    folder = Path(__file__).resolve().parents[1]
    content = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        name = file.relative_to(folder).as_posix()
        content.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return content.hexdigest()[:16]


def timestamp() -> str:
    """Return the current time in UTC, as ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _git(root: Path, *arguments: str) -> str | None:
    """Ask git; None if it is not there or refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
