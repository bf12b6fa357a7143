"""Output that cannot be written: the work goes on, and the exit status is its own."""

from __future__ import annotations

import ast
import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from study import status
from study.display.console import make_console, say, say_error
from study.display.progress import (
    Display,
    JsonDisplay,
    LiveDisplay,
    PlainDisplay,
    RunningStack,
    SweepProgress,
)
from study.results import open_folder, to_table
from study.sweep import main

ROOT = Path(__file__).resolve().parents[3]
STRANGE = "Does β = 0.5 change k*? é ━ \udce9 \U0001f600"


class _Breaking(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error

    def isatty(self) -> bool:
        return True


def _encoded(name: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=name, errors="strict")


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS: dict[str, Callable[[], io.TextIOBase | None]] = {
    "full disk": lambda: _Breaking(OSError(errno.ENOSPC, "No space left on device")),
    "broken pipe": lambda: _Breaking(BrokenPipeError(errno.EPIPE, "Broken pipe")),
    "gone terminal": lambda: _Breaking(OSError(errno.EIO, "Input/output error")),
    "closed": _closed,
    "none": lambda: None,
    "ascii": lambda: _encoded("ascii"),
    "latin-1": lambda: _encoded("latin-1"),
    "cp1252": lambda: _encoded("cp1252"),
    "utf-8": lambda: _encoded("utf-8"),
}
DISPLAYS: dict[str, Callable[[SweepProgress, Console], Display]] = {
    "json": lambda progress, _: JsonDisplay(progress),
    "live": LiveDisplay,
    "plain": PlainDisplay,
}


@pytest.fixture(params=STREAMS)
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put a stream with a trouble in the place of both standard ones."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, STREAMS[request.param]())
    return str(request.param)


def test_no_stream_makes_printing_fail(screen: str) -> None:
    took = say(STRANGE)
    say_error(STRANGE)
    table = Table("β", box=None)
    table.add_row(STRANGE)
    make_console().print(table)
    assert took == isinstance(sys.stdout, io.TextIOWrapper)


@pytest.mark.parametrize("kind", DISPLAYS)
def test_no_stream_makes_a_display_fail(screen: str, kind: str) -> None:
    progress = SweepProgress(STRANGE)
    progress.plan("β=1", finished=False)
    progress.running[0] = RunningStack("β=1", 2, phase="training")
    with DISPLAYS[kind](progress, make_console()) as display:
        for event in ("start", "report", "finish"):
            display.update(event)
        display.note(STRANGE)


def test_what_a_stream_lacks_appears_as_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _encoded("latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    assert say("é β")
    assert stream.buffer.getvalue() == b"\xe9 \\u03b2\n"  # type: ignore[attr-defined]


def _sweep_file(folder: Path) -> Path:
    path = folder / "tiny.yaml"
    text = f'name: tiny\nquestion: "Does β matter?"\nfixed:\n{"":2}training.epochs: 2\n'
    path.write_text(
        text + "grid: {model.latent_dim: [1, 2]}\nreplicates: {data: 1, init: 1, sample: 1}\n",
        encoding="utf-8",
    )
    return path


def test_a_plan_is_shown_on_any_stream(screen: str, tmp_path: Path) -> None:
    assert main([str(_sweep_file(tmp_path)), "--dry-run", "--results", str(tmp_path)]) == 0


PLACES = {
    "full disk": "> /dev/full",
    "full disk for errors": "2> /dev/full",
    "closed": ">&-",
    "everything closed": "<&- >&- 2>&-",
    "no reader": "| true; exit ${PIPESTATUS[0]}",
    "no reader of both": "2>&1 | true; exit ${PIPESTATUS[0]}",
}
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "locale": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


def _end(words: str, **environment: str) -> tuple[int, str]:
    command = f"{sys.executable} -m {words}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
    )
    return done.returncode, done.stderr.decode("utf-8", "replace")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = open_folder(tmp_path / "results")
    folder.write_manifest({"name": "β"})
    plan = [{"trial_id": "a", "control_id": "c", "cell": "β=1"}]
    folder.write_table("plan.parquet", to_table("plan", plan))
    return tmp_path / "results"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_exit_status_alone(results: Path) -> None:
    assert _end(f"study.status {results} --json > /dev/full") == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("study.status {results}", 0),
        ("study.status {results} --json", 0),
        ("study.status {results}/none", 2),
        ("study.sweep {file} --dry-run --results {results}", 0),
        ("study.sweep --help", 0),
        ("study.verify {results}", 2),
        ("study.rescore {results}/none", 2),
        ("study nonsense", 2),
        ("study.submit {file} --to slurm --print --results {results} 2>&1", None),
        ("analysis.report {results}/none", 2),
        ("analysis.claims --check", 0),
    ],
)
def test_every_command_ends_with_its_own_status(
    results: Path, words: str, expected: int | None, place: str
) -> None:
    file = _sweep_file(results.parent)
    found, errors = _end(f"{words.format(results=results, file=file)} {PLACES[place]}")
    # A script that could not be written whole is an error of the command that prints it.
    assert found in ((0, 2) if expected is None else (expected,))
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "words", ["study.status {results}", "study.sweep {file} --dry-run --results {results}"]
)
def test_every_encoding_shows_names_and_questions(
    results: Path, words: str, encoding: str
) -> None:
    file = _sweep_file(results.parent)
    words = words.format(results=results, file=file)
    assert _end(words, **ENCODINGS[encoding]) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["| head -n 1; exit ${PIPESTATUS[0]}", "> /dev/full", ">&- 2>&-"]
)
def test_a_sweep_outlives_its_screen(tmp_path: Path, place: str) -> None:
    """The same on Ray, where Tune's callbacks print."""
    file = _sweep_file(tmp_path)
    tiny = "mixture.n_samples=200 mixture.n_components=3 model.hidden=[8]"
    tiny += " detection.n_samples=100 detection.k_max=4 detection.sources=[data,means]"
    fixed = " ".join(f"--set {word}" for word in tiny.split())
    words = f"study.sweep {file} --workers 1 --json --results {tmp_path}/results {fixed}"
    found, errors = _end(f"{words} {place}")
    assert "Traceback" not in errors
    assert found == 0
    ended = open_folder(tmp_path / "results" / "tiny").read_raw("trials", ["status"])
    assert set(ended["status"].to_pylist()) == {"done"}


@pytest.mark.parametrize("name", ["caf\udce9", "\udce2\udcb2"])
def test_a_path_that_is_not_text_is_refused_in_one_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status.main([name]) == 2
    assert "PYTHONUTF8=1" in capsys.readouterr().err


def _strays(path: Path) -> list[str]:
    """List where a module prints past the one way."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call | ast.Attribute):
            continue
        text = ast.unparse(node.func if isinstance(node, ast.Call) else node)
        if text in ("print", "Console", "sys.stdout", "sys.stderr", "traceback.print_exc"):
            found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {text}")
    return found


def test_nothing_is_printed_past_the_one_way() -> None:
    # A recipe's file is made by it once, by hand, and nothing else hangs on that.
    exempt = {ROOT / "study/display/console.py", ROOT / "study/data/original.py"}
    files = [path for top in ("study", "analysis") for path in (ROOT / top).rglob("*.py")]
    assert [line for path in files if path not in exempt for line in _strays(path)] == []
