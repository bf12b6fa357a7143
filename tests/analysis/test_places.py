"""Where a report writes, and what of its surroundings it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import report
from analysis.load import load_results
from analysis.page.render import certificate

DRAWN = ("coverage", "recall_spurious")


@pytest.fixture(scope="module")
def small(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a small sweep with points and a certificate."""
    folder = build(
        tmp_path_factory.mktemp("places") / "small",
        cells=[{"latent_dim": 1}, {"latent_dim": 2}],
        seeds=(3, 1),
        n_points=60,
    )
    found = {"results": "small", "equal": True, "n_equal": 3, "tolerance": None}
    (folder / "verify.json").write_text(json.dumps(found))
    return folder


def _state(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_with_out_the_results_stay_as_they_are(small: Path, tmp_path: Path) -> None:
    before = _state(small)
    assert report.main([str(small), "--out", str(tmp_path / "there")]) == 0
    assert _state(small) == before
    assert (tmp_path / "there" / "report.html").is_file()


def test_results_in_a_store_ask_for_a_place(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for paths in ([f"file://{small}"], [f"file://{small}", str(small.parent)]):
        assert report.main(paths) == 2
        told = capsys.readouterr().err
        assert told.splitlines()[-1].endswith("--out reports/small")
    assert list(tmp_path.iterdir()) == []
    only = ["--only", "coverage", "--out", "here"]
    assert report.main([f"file://{small}", *only]) == 0
    assert (tmp_path / "here" / "figures" / "coverage.png").is_file()


def test_a_certificate_is_found_where_the_results_are(small: Path) -> None:
    for location in (str(small), f"file://{small}"):
        assert load_results(location).location == location
        assert "equal: yes" in certificate(location)
    assert certificate(small.parent).startswith("none yet")


def test_what_cannot_be_written_is_said_before_drawing(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert report.main([str(small), "--out", str(tmp_path / "file" / "there")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot be written" in line


SETTINGS = """
text.usetex: True
interactive: True
svg.fonttype: path
savefig.bbox: tight
savefig.dpi: 30
figure.dpi: 30
font.family: Comic Neue
axes.prop_cycle: cycler("color", ["r"])
lines.linewidth: 9
axes.grid: False
savefig.transparent: True
pdf.fonttype: 42
axes.formatter.use_locale: True
"""
HOSTILE = {
    "notebook": {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
    "nonsense": {"MPLBACKEND": "nonsense"},
    "window": {"MPLBACKEND": "TkAgg"},
    "settings": {"MATPLOTLIBRC": SETTINGS},
    "not text": {"MATPLOTLIBRC": "\udcff\udcfe"},
    "wrong": {"MATPLOTLIBRC": "font.size: large as a house\nno.such.key: 3\n:::\n"},
}


def _drawn(small: Path, out: Path, surroundings: dict[str, str]) -> dict[str, str]:
    """Draw in a process of its own; its files by name."""
    out.mkdir()
    given = dict(surroundings)
    if "MATPLOTLIBRC" in given:
        rc = out.parent / f"{out.name}.rc"
        rc.write_bytes(given["MATPLOTLIBRC"].encode(errors="surrogateescape"))
        given["MATPLOTLIBRC"] = str(rc)
    command = [sys.executable, "-m", "analysis.report", str(small), "--only", ",".join(DRAWN)]
    done = subprocess.run(
        [*command, "--format", "html,latex", "--out", str(out)],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return {Path(name).name: digest for name, digest in _state(out).items()}


@pytest.mark.slow
def test_no_setting_of_matplotlib_changes_a_file(small: Path, tmp_path: Path) -> None:
    usual = dict.fromkeys(("MPLBACKEND", "MATPLOTLIBRC"), "")
    plain = _drawn(small, tmp_path / "plain", usual)
    assert {f"{name}.{kind}" for name in DRAWN for kind in ("png", "svg", "pdf")} <= set(plain)
    for name, surroundings in HOSTILE.items():
        assert _drawn(small, tmp_path / name, surroundings) == plain, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["notebook", "not text"])
def test_figures_can_be_imported_under_settings_that_matplotlib_refuses(
    name: str, tmp_path: Path
) -> None:
    given = dict(HOSTILE[name])
    if "MATPLOTLIBRC" in given:
        (tmp_path / "rc").write_bytes(b"\xff\xfe")
        given["MATPLOTLIBRC"] = str(tmp_path / "rc")
    code = (
        "import os; before = dict(os.environ); import analysis.figures.theme as theme;"
        "import matplotlib; assert dict(os.environ) == before;"
        "exec('with theme.style(): assert matplotlib.rcParams[\"font.size\"] == 8.5')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
