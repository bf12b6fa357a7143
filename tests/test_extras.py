"""Reading results and reporting on them needs none of the packages of the extra `sweep`."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
# numba is not imported without llvmlite, which has no line of its own there.
ABSENT = {*(re.split(r"[\[>]", package)[0] for package in _EXTRAS["sweep"]), "llvmlite"}
BLOCKED = """
import importlib, importlib.abc, pkgutil, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import analysis, study.config, study.results
for module in pkgutil.walk_packages(analysis.__path__, "analysis."):
    importlib.import_module(module.name)
from study.__main__ import main
for words in {commands!r}:
    status = main(words)
    if status:
        sys.exit(status)
"""


def without_the_extra(*commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Load the whole analysis and run commands where importing a package of the extra fails."""
    source = BLOCKED.format(absent=ABSENT, commands=commands)
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, cwd=ROOT, timeout=250
    )


def test_the_extra_holds_what_is_heavy() -> None:
    assert {"torch", "ray", "numba"} <= ABSENT


@pytest.mark.slow
def test_what_reads_results_runs(tmp_path: Path) -> None:
    done = without_the_extra(
        ["report", "results/original", "--only", "coverage,T2", "--out", str(tmp_path)],
        ["status", "results/original"],
        ["sweep", "sweeps/latent_dims.yaml", "--dry-run"],
        ["schema", "--check"],
        ["claims", "--check"],
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "figures" / "coverage.png").is_file()
    assert list((tmp_path / "tables").glob("*.csv"))


@pytest.mark.slow
def test_a_published_folder_gives_its_page(tmp_path: Path) -> None:
    done = without_the_extra(["report", "results/original", "--out", str(tmp_path)])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").stat().st_size > 1e6


def test_what_trains_names_what_it_needs(tmp_path: Path) -> None:
    done = without_the_extra(["sweep", "sweeps/quickstart.yaml", "--results", str(tmp_path)])
    assert done.returncode == 2, done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "is not installed in" in done.stderr
    assert "'.[sweep]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "function"), [("study.verify", "Recorded"), ("study.rescore", "_rescore")]
)
def test_what_counts_names_what_it_needs(
    module: str,
    function: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    command = importlib.import_module(module)
    monkeypatch.setattr(command, function, lacking)
    assert command.main([str(ROOT / "results" / "original")]) == 2
    assert capsys.readouterr().err.startswith("error: torch is not installed in")
