"""Compiling where neither the code nor a home can be written."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from study.training import compiled_cache
from study.training.compiled_cache import (
    N_KEPT,
    are_compiled,
    cache_root,
    cache_warning,
    compile_parts,
    package_folder,
)

ROOT = Path(__file__).parents[3]


def _forget() -> None:
    cache_root.cache_clear()
    package_folder.cache_clear()


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    _forget()
    yield
    _forget()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give the user a cache folder and a place for temporary files of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path / "cache"


def _package(folder: Path, text: str) -> Path:
    package = folder / "part" / "compiled"
    package.mkdir(parents=True)
    (package / "code.py").write_text(text)
    return package


def test_a_users_copies_share_a_private_folder(home: Path) -> None:
    assert cache_root() == home / "mode-study" / "compiled"
    assert cache_root().stat().st_mode & 0o777 == 0o700
    assert cache_warning() == ""


def test_copies_of_the_same_sources_share_what_others_do_not(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [
        package_folder(_package(tmp_path / name, text))
        for name, text in [("one", "a"), ("copy", "a"), ("other", "b")]
    ]
    assert folders[0] == folders[1] != folders[2]
    monkeypatch.setattr("numba.core.config.CPU_NAME", "another-processor")
    package_folder.cache_clear()
    assert package_folder(tmp_path / "one" / "part" / "compiled") not in folders


def test_a_part_is_compiled_once_by_whoever_comes_first(home: Path, tmp_path: Path) -> None:
    package = _package(tmp_path, "a")
    compiled: list[str] = []
    parts = {name: (lambda name=name: compiled.append(name)) for name in ("one", "two")}
    assert not are_compiled(package, parts)

    def both_at_a_time() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: compile_parts(package, parts), range(4)))

    both_at_a_time()
    both_at_a_time()
    assert sorted(compiled) == ["one", "two"]
    assert are_compiled(package, parts)


def test_a_part_that_fails_is_tried_again(home: Path, tmp_path: Path) -> None:
    package = _package(tmp_path, "a")
    with pytest.raises(ZeroDivisionError):
        compile_parts(package, {"one": lambda: 1 / 0})
    assert not are_compiled(package, ["one"])
    compile_parts(package, {"one": lambda: None})
    assert are_compiled(package, ["one"])


def test_folders_of_old_sources_go(home: Path, tmp_path: Path) -> None:
    for at in range(N_KEPT + 5):
        compile_parts(_package(tmp_path / str(at), str(at)), {"one": lambda: None})
    assert len(list(cache_root().iterdir())) == N_KEPT + 1
    latest = package_folder(tmp_path / str(N_KEPT + 4) / "part" / "compiled")
    assert latest.is_dir()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Make the user's cache folder one that cannot be written."""
    # A file where a folder is wanted stops root, too.
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_private_temporary_folder_is_the_last_resort(nowhere: Path) -> None:
    place = cache_root()
    assert place == nowhere / f"mode-study-numba-{os.getuid()}"
    assert place.stat().st_mode & 0o777 == 0o700
    assert str(place) in cache_warning()
    assert "NUMBA_CACHE_DIR" in cache_warning()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_can_write_is_not_used(nowhere: Path, mode: int) -> None:
    open_to_all = nowhere / f"mode-study-numba-{os.getuid()}"
    open_to_all.mkdir()
    open_to_all.chmod(mode)
    assert cache_root() != open_to_all
    assert cache_root().stat().st_mode & 0o777 == 0o700


def test_the_users_cache_that_others_can_write_is_not_used(home: Path) -> None:
    usual = home / "mode-study" / "compiled"
    usual.mkdir(parents=True)
    usual.chmod(0o777)
    assert cache_root() != usual
    assert f"as {usual} is not a folder that you can write and others cannot" in cache_warning()


def test_a_link_in_its_place_is_not_followed(home: Path, tmp_path: Path) -> None:
    (home / "mode-study").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (home / "mode-study" / "compiled").symlink_to(tmp_path / "elsewhere")
    assert cache_root() != home / "mode-study" / "compiled"


def test_the_users_own_setting_holds(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(nowhere / "mine"))
    assert cache_root() == nowhere / "mine"
    assert cache_warning() == ""


def test_where_nothing_can_be_kept_each_process_compiles(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(nowhere / "file"))
    compile_parts(_package(tmp_path, "a"), {"one": lambda: pytest.fail("nobody would find it")})
    program = (
        "import numpy as np; from study.detection.compiled.merge_costs import cost_matrix\n"
        "cost_matrix(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)), 0.1); print('counted')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.stdout.strip() == "counted", done.stderr


def test_a_filesystem_without_locks_does_for_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    package = _package(tmp_path, "a")
    compile_parts(package, {"one": lambda: None})
    assert are_compiled(package, ["one"])


def test_numba_of_another_make_keeps_code_for_a_copy(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from numba.core import caching, config

    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.delattr(caching.CacheImpl, "_locator_classes")
    compiled_cache.use_shared_cache()
    assert str(cache_root()) == config.CACHE_DIR


@pytest.mark.slow
def test_a_read_only_copy_without_a_home_counts(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "study", tmp_path / "study", ignore=shutil.ignore_patterns("__pycache__")
    )
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
    assert list(tmp_path.glob("mode-study-numba-*/*/*.nbi"))
    assert not list((tmp_path / "study").rglob("*.nbi"))
