"""Compiling where neither the code nor a home can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.training import compiled_cache
from study.training.compiled_cache import cache_warning, temporary_cache

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    temporary_cache.cache_clear()
    yield
    temporary_cache.cache_clear()


def test_numba_chooses_where_it_can_write() -> None:
    assert temporary_cache() is None
    assert cache_warning() == ""


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make neither the code's folders nor the user's cache folder writable."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    # A file where a folder is wanted stops root, too.
    (tmp_path / "file").touch()
    monkeypatch.setattr(compiled_cache, "_PACKAGES", (tmp_path / "file",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_private_temporary_folder_is_the_last_resort(nowhere: Path) -> None:
    place = temporary_cache()
    assert place == nowhere / f"mode-study-numba-{os.getuid()}"
    assert place.stat().st_mode & 0o777 == 0o700
    assert str(place) in cache_warning()
    assert "NUMBA_CACHE_DIR" in cache_warning()


def test_a_folder_that_others_can_write_is_not_used(nowhere: Path) -> None:
    open_to_all = nowhere / f"mode-study-numba-{os.getuid()}"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    place = temporary_cache()
    assert place is not None
    assert place != open_to_all
    assert place.stat().st_mode & 0o777 == 0o700


def test_the_users_own_setting_holds(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(nowhere / "mine"))
    assert temporary_cache() is None


@pytest.mark.slow
def test_a_read_only_copy_without_a_home_counts(tmp_path: Path) -> None:
    """Folders that root cannot write either: their __pycache__ is a file."""
    shutil.copytree(
        ROOT / "study", tmp_path / "study", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in (tmp_path / "study").rglob("compiled"):
        (folder / "__pycache__").touch()
    # The smallest of the compiled functions: the place is chosen once for all of them.
    program = (
        "import numpy as np; from study.detection.compiled.merge_costs import cost_matrix\n"
        "apart = np.array([[0.0, 0.0], [1.0, 0.0]])\n"
        "costs = cost_matrix(np.full(2, 0.5), apart, np.stack([np.eye(2)] * 2), 0.1)\n"
        "print(np.isfinite(costs).sum())"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": "/dev/null", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout.strip() == "1", done.stderr
    assert list(tmp_path.glob("mode-study-numba-*/**/*.nbi"))
