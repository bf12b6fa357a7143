from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.files import replacing, write_csv, write_text


def test_no_cell_is_a_formula_and_numbers_stay(tmp_path: Path) -> None:
    texts = ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "-", "-1.5", "+3", "plain"]
    frame = pd.DataFrame({"text": texts, "number": range(-4, 5)})
    write_csv(tmp_path / "x.csv", frame)
    written = pd.read_csv(tmp_path / "x.csv", dtype={"text": str})
    assert written["text"].tolist() == [f"'{text}" for text in texts[:5]] + texts[5:]
    assert written["number"].tolist() == list(range(-4, 5))


def test_a_file_is_whole_or_as_before(tmp_path: Path) -> None:
    place = tmp_path / "x.html"
    write_text(place, "old")

    def write_half(into: Path) -> None:
        into.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), replacing(place) as into:
        write_half(into)
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]
