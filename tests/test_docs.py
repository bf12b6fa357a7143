"""The documentation as a site: every page is reachable, and no link is dead."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.wording.glossary import as_markdown

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_the_glossary_is_the_pages_own() -> None:
    """To renew it: write `as_markdown()` into docs/glossary.md."""
    assert (DOCS / "glossary.md").read_text() == as_markdown()


def test_every_page_is_one_click_from_the_start() -> None:
    linked = set(re.findall(r"\]\(([\w.]+\.md)", (DOCS / "index.md").read_text()))
    assert linked == {path.name for path in DOCS.glob("*.md")} - {"index.md"}


def test_no_comment_cuts_a_paragraph() -> None:
    """A line that begins with a comment ends the paragraph above it on code hosts."""
    found = []
    for path in (ROOT / "README.md", ROOT / "results" / "README.md", *DOCS.glob("*.md")):
        lines = path.read_text().splitlines()
        for above, line, below in zip(lines, lines[1:], lines[2:], strict=False):
            if line.lstrip().startswith("<!--") and above.strip() and below.strip():
                found.append(f"{path.name}: {line}")
    assert found == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run([*command, "--site-dir", str(tmp_path)], cwd=ROOT, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "search" / "search_index.json").exists()
    assert "detect_modes" in (tmp_path / "api" / "index.html").read_text()
