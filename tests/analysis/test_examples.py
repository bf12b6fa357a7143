"""The examples of the documentation run on the committed results."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("page", "n_least"), [("analysis.md", 9), ("search.md", 12)])
def test_examples_of_the_page(page: str, n_least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = doctest.testfile(
        str(ROOT / "docs" / page),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE,
    )
    assert found.attempted >= n_least
    assert found.failed == 0
