"""What the first screen shows: a sentence, numbers and a chart, and how they are worded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.load import Results
from analysis.statistics.intervals import KIND_TEXT
from analysis.wording import notes
from analysis.wording.names import cell_text

CONTROL_LINE = "same count as true data (control)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One estimate of the chart: a dot with its interval, or a bar from zero."""

    label: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    hover: str = ""
    cell: str = ""
    is_main: bool = False
    is_bound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What the first screen draws.

    Parameters
    ----------
    kind : "dots" or "bars"
        Dots stand over their labels on a vertical axis, bars lie beside them.
    marks : sequence of Mark
    axis : str
        What is measured, with its unit.
    line : float or None
        Where the line that everything is compared with lies, and what it is called.
    """

    kind: str
    marks: tuple[Mark, ...]
    axis: str
    below: str = ""
    line: float | None = None
    line_text: str = ""
    digits: int = 1
    signed: bool = False
    percent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """One number with what it is, its interval and what it is compared with."""

    text: str
    what: str
    interval: str = ""
    control: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What the first screen says: see the module."""

    verdict: str
    numbers: tuple[Number, ...]
    chart: Chart | None


def extras(results: Results) -> pd.DataFrame:
    """Return the extra components of samples by cell, calibrated protocol; maybe empty."""
    frame = summary.contrasts_by_cell(results)
    if frame.empty:
        return frame
    return frame[(frame["source"] == "samples") & (frame["protocol"] == "calibrated")]


def interval_of(row: Any, *, digits: int = 1) -> str:
    """Write an interval with its kind and the number of data sets behind it."""
    sets = notes.count(int(row.n_data), "data set")
    if not np.isfinite([row.low, row.high]).all():
        return f"no interval: {KIND_TEXT.get(row.interval, 'not known')}; {sets}"
    if row.low == row.high:
        return f"the same in each of {sets}"
    span = f"{row.low:.{digits}f} to {row.high:.{digits}f}"
    level = f"{row.level:.0%} " if row.level == row.level else ""
    return f"{level}{KIND_TEXT[row.interval]} {span}, {sets}"


def control_text(results: Results, cell: str) -> str:
    """Say what the same detector counts on true data."""
    frame = summary.coverage_by_cell(results)
    if frame.empty:
        return ""
    own = frame[
        (frame["cell"] == cell) & (frame["source"] == "data") & (frame["protocol"] == "calibrated")
    ]
    if own.empty:
        return ""
    trials = results.trials
    true_k = int(trials.loc[trials["cell"] == cell, "n_components"].iloc[0])
    mean = float(own["estimate"].iloc[0]) * true_k
    return f"control: {mean:.1f} of {true_k} components on true data"


def place(cell: str) -> str:
    return f" at {cell_text(cell)}" if "=" in cell else ""


def extra_number(results: Results, row: Any) -> Number:
    more = "more" if row.estimate >= 0 else "fewer"
    at_least = "at least " if row.share_at_ceiling > 0 else ""
    return Number(
        text=f"{at_least}{row.estimate:+.1f}",
        what=f"components {more} than true data{place(row.cell)}",
        interval=interval_of(row),
        control=control_text(results, row.cell),
    )


def extra_marks(frame: pd.DataFrame, labels: Sequence[str], main: str) -> tuple[Mark, ...]:
    return tuple(
        Mark(
            label=label,
            value=float(r.estimate),
            low=float(r.low),
            high=float(r.high),
            hover=f"{cell_text(r.cell)}: {r.estimate:+.1f}, {interval_of(r)}, "
            f"{notes.count(int(r.n_trials), 'trial')}, {r.share_at_ceiling:.0%} at the ceiling",
            cell=str(r.cell),
            is_main=r.cell == main,
            is_bound=bool(r.share_at_ceiling > 0),
        )
        for label, r in zip(labels, summary.named_rows(frame), strict=True)
    )
