"""Which code on which machine made a row, and when."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from study.tables import SCHEMA_VERSION


@cache
def provenance() -> dict[str, Any]:
    """Say which code on which machine makes a row: commit, versions, processor."""
    root = Path(__file__).resolve().parent.parent
    commit = os.environ.get("STUDY_COMMIT") or _git(root, "rev-parse", "HEAD")
    return {
        "commit": commit or "unknown",
        # Of the code that makes numbers: a changed note or figure changes no row.
        "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no", "study")),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "sklearn": importlib.metadata.version("scikit-learn"),
        "numpy": importlib.metadata.version("numpy"),
        "cpu": _cpu_model(),
        "schema_version": SCHEMA_VERSION,
    }


def timestamp() -> str:
    """Give the time now, UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    lines = [line for line in text.splitlines() if line.startswith("model name")]
    return lines[0].split(":", 1)[1].strip() if lines else platform.machine()
