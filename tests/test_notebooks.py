"""The notebooks of examples/ run from start to end, and show what they promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["measured_samples", "own_study"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # As a notebook's own: figures are shown.
    monkeypatch.delenv("MPLBACKEND", raising=False)
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(tmp_path)}}
    client.NotebookClient(notebook, timeout=500, resources=where).execute()
    shown = [kind for output in _outputs(notebook) for kind in output.get("data", {})]
    text = "".join(output.get("text", "") for output in _outputs(notebook))
    if path.stem == "own_study":
        assert "can only be described" in text
        assert "control_gap: BIC" in text
    assert "text/html" in shown
    # What is committed was run, too.
    stored = nbformat.read(path, as_version=4)
    assert all(cell.outputs for cell in stored.cells if cell.cell_type == "code" and _shows(cell))


def _outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def _shows(cell: Any) -> bool:
    """Whether a cell's last line is an expression that is shown, or it prints."""
    last = cell.source.splitlines()[-1]
    return "print(" in cell.source or not last.startswith((" ", ")", "}", "import", "folder"))
