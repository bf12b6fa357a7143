"""Where compiled code is kept: once per user, source and processor, for every copy of the code.

numba keeps it beside the source, so each clone, worktree and job's copy compiles anew, for half a
minute. Here the key is what the code depends on: the sources of its package, the versions of the
compilers and the processor. Compiled code is run, so a folder that others can write is not used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

# Folders of earlier sources that stay, the latest used first; each takes about 2 MB.
N_KEPT = 20
_NAME = "mode-study"
_PACKAGES = tuple(
    Path(__file__).resolve().parents[1] / package / "compiled"
    for package in ("detection", "training")
)


@cache
def cache_root() -> Path:
    """Return NUMBA_CACHE_DIR, the user's cache folder, or a temporary one if that is not ours."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    usual = _usual_root()
    if _make_private(usual):
        return usual
    temporary = Path(tempfile.gettempdir()) / f"{_NAME}-numba-{os.getuid()}"
    return temporary if _make_private(temporary) else Path(tempfile.mkdtemp(prefix=f"{_NAME}-"))


def cache_warning() -> str:
    """Say where compiled code is kept if that does not last; empty otherwise."""
    root, usual = cache_root(), _usual_root()
    if os.environ.get("NUMBA_CACHE_DIR") or root == usual:
        return ""
    return (
        f"compiled code is kept in {root} for now, as {usual} is not a folder that you can write "
        "and others cannot; set NUMBA_CACHE_DIR to keep it elsewhere"
    )


def use_shared_cache() -> None:
    """Let numba keep the functions of `compiled` packages there; before any is declared to it."""
    from numba.core import caching, config

    locators = getattr(getattr(caching, "CacheImpl", None), "_locator_classes", None)
    if locators is None:  # numba has been rebuilt inside: a copy compiles for itself again
        config.CACHE_DIR = str(cache_root())
    elif not any(getattr(each, "is_shared", False) for each in locators):
        locators.insert(0, _locator_class(caching._CacheLocator))


@cache
def package_folder(package: Path) -> Path:
    """Return the folder for what is compiled from a package's sources on this processor."""
    key = hashlib.sha256(repr(_key(package)).encode()).hexdigest()[:24]
    return cache_root() / f"{package.parent.name}-{key}"


def compile_parts(package: Path, parts: Mapping[str, Callable[[], object]]) -> None:
    """Compile what is not compiled yet; processes at the same time take different parts.

    Parameters
    ----------
    package : Path
        Folder of the sources.
    parts : dict
        Functions that compile; what they compile is on disk once they return.
    """
    folder = package_folder(package)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a NUMBA_CACHE_DIR that cannot be written: each process compiles for itself
        return
    for waits in (False, True):
        for name, compile_part in parts.items():
            with _locked(folder / f"{name}.lock", waits=waits) as is_ours:
                if is_ours and not (folder / f"{name}.done").exists():
                    compile_part()
                    (folder / f"{name}.done").touch()
    _remove_old(folder)


def are_compiled(package: Path, parts: Mapping[str, object]) -> bool:
    """Return whether all parts are on disk for these sources and this processor."""
    return all((package_folder(package) / f"{name}.done").exists() for name in parts)


def _key(package: Path) -> tuple[object, ...]:
    import llvmlite
    import numba
    from llvmlite import binding
    from numba.core import config
    from numba.core.codegen import get_host_cpu_features

    sources = [(path.name, path.read_bytes()) for path in sorted(package.glob("*.py"))]
    processor = config.CPU_NAME or binding.get_host_cpu_name()
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return (sources, numba.__version__, llvmlite.__version__, processor, features)


def _locator_class(base: Any) -> Any:
    class SharedLocator(base):
        """Place of a function of a `compiled` package, by content; None for all others."""

        is_shared = True

        def __init__(self, function: Any, source: Path) -> None:
            self._folder = package_folder(source.parent)
            self._line = function.__code__.co_firstlineno

        def get_cache_path(self) -> str:
            return str(self._folder)

        def get_source_stamp(self) -> str:
            return self._folder.name

        def get_disambiguator(self) -> str:
            return str(self._line)

        @classmethod
        def from_function(cls, function: Any, file: str) -> Any:
            source = Path(file)
            if source.parent not in _PACKAGES:
                return None
            self = cls(function, source)
            try:
                self.ensure_cache_path()
            except OSError:  # numba asks the next locator
                return None
            return self

    return SharedLocator


def _usual_root() -> Path:
    users = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(users) / _NAME / "compiled"


def _make_private(folder: Path) -> bool:
    """Make a folder that its owner alone can write; return whether that is so."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        return (
            _is_private(folder) and _is_private(folder.parent, sticky=True) and _can_write(folder)
        )
    except OSError:
        return False


def _is_private(folder: Path, *, sticky: bool = False) -> bool:
    """Return whether others can neither write here nor rename what is ours."""
    found = folder.lstat()
    if sticky and found.st_mode & stat.S_ISVTX:
        return stat.S_ISDIR(found.st_mode)
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not others


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextmanager
def _locked(path: Path, *, waits: bool) -> Iterator[bool]:
    """Hold a lock of this machine; yields whether it is held."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError:  # a filesystem without locks: at worst the work is done twice
            yield True
        else:
            yield True


def _remove_old(folder: Path) -> None:
    """Remove what earlier sources left, but for the latest."""
    os.utime(folder)
    others = [path for path in folder.parent.iterdir() if path.is_dir() and path != folder]
    for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[N_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
