"""Where numba keeps compiled code when the places it would choose cannot be written.

Numba writes beside the source, else below the user's cache folder, and refuses to compile where it
can write neither: code on a read-only disk and no home, as in many containers.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path

_PACKAGES = tuple(
    Path(__file__).resolve().parents[1] / package / "compiled"
    for package in ("detection", "training")
)


@cache
def temporary_cache() -> Path | None:
    """Return a folder of ours for compiled code; None where numba finds a place by itself."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return None
    beside = (package / "__pycache__" for package in _PACKAGES)
    if all(map(_can_write, beside)) or _can_write(_users_cache() / "numba"):
        return None
    # Compiled code is run: a folder that others can write is not used.
    place = Path(tempfile.gettempdir()) / f"mode-study-numba-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or place.is_symlink():
        place = Path(tempfile.mkdtemp(prefix="mode-study-numba-"))
    return place


def use_writable_cache() -> None:
    """Tell numba of that folder; before the first function is declared to it."""
    place = temporary_cache()
    if place is not None:
        from numba.core import config

        config.CACHE_DIR = str(place)


def cache_warning() -> str:
    """Say where compiled code is kept if that is nowhere lasting; empty otherwise."""
    place = temporary_cache()
    if place is None:
        return ""
    return (
        f"compiled code is kept in {place} for now, as neither the project's folder nor "
        f"{_users_cache()} can be written; set NUMBA_CACHE_DIR to keep it"
    )


def _users_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
