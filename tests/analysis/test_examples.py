"""The examples of the documentation run on the committed results."""

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "n_least"),
    [
        ("analysis.md", 9),
        ("search.md", 12),
        # It runs a sweep.
        pytest.param(
            "python.md", 12, marks=[pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(600)]
        ),
    ],
)
def test_examples_of_the_page(
    page: str, n_least: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    found = doctest.testfile(
        str(ROOT / "docs" / page),
        module_relative=False,
        extraglobs={"folder": tmp_path},
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    assert found.attempted >= n_least
    assert found.failed == 0
