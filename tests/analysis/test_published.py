"""A report from a published file is the report of the folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import study
from analysis.report import main
from study.exchange.crate import publish


@pytest.mark.slow
def test_figures_and_tables_of_the_file_are_those_of_the_folder(
    results_folder: Path, tmp_path: Path
) -> None:
    published = tmp_path / "widths.zip"
    publish(str(results_folder), published)
    only = ["--only", "coverage,headline"]
    assert main([str(results_folder), "--out", str(tmp_path / "folder"), *only]) == 0
    assert main([str(published), *only]) == 0
    made = tmp_path / "widths-report"
    names = sorted(path.relative_to(made) for path in made.rglob("*.*"))
    assert len(names) == 9
    for name in names:
        assert (made / name).read_bytes() == (tmp_path / "folder" / name).read_bytes(), name
    one, other = study.open(published), study.open(results_folder)
    pd.testing.assert_frame_equal(one.headline, other.headline)
    assert one.answer == other.answer
