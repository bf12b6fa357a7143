"""The examples of docs/analysis.md run on the committed results."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_examples_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = doctest.testfile(
        str(ROOT / "docs" / "analysis.md"),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE,
    )
    assert found.attempted > 8
    assert found.failed == 0
