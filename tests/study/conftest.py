"""What several tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from study.results import read_table

TABLES = (
    "trials",
    "controls",
    "curves",
    "counts",
    "components",
    "recall",
    "outside",
    "points",
    "nulls",
)
# Columns that say how a row was made, not what it says.
CIRCUMSTANCES = (
    "stack_id",
    "train_s",
    "count_s",
    "endpoints_s",
    "finished_at",
    "commit",
    "dirty",
)


@pytest.fixture(scope="session")
def assert_same_tables() -> Callable[[Path, Path], None]:
    """Compare every table of two results folders, bit by bit."""

    def compare(left: Path, right: Path) -> None:
        assert len(read_table(left, "trials"))
        for name in TABLES:
            pd.testing.assert_frame_equal(_sorted(left, name), _sorted(right, name))

    return compare


def _sorted(folder: Path, name: str) -> pd.DataFrame:
    frame = read_table(folder, name).drop(columns=list(CIRCUMSTANCES), errors="ignore")
    keys = [c for c in frame if c.endswith("_id") or c in ("source", "protocol", "null")]
    order = [*keys, *(c for c in ("epoch", "k", "index", "component", "threshold") if c in frame)]
    return frame.sort_values(order, kind="stable").reset_index(drop=True)
