"""The cells as one table to sort: estimates, flags and each data set's value as a small line."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.contrasts import CONTROLLED
from analysis.frames.count_contrasts import less_control
from analysis.load import Results
from analysis.page.chips import ill_controls
from analysis.statistics.intervals import floats
from analysis.tables.table import estimate_text
from analysis.wording.names import cell_text, short_name

ENDPOINTS = ("mode_recall", "spurious_mass", "fkl_nats")
_LINE = (72, 18)


@dataclass(frozen=True, slots=True)
class CellRow:
    """One cell in the table.

    Parameters
    ----------
    name, text : str
        The cell's label, and the same for people.
    values : tuple of (text, sort key)
        In the order of `CELL_HEADS`; the key is NaN where there is no number.
    line : str
        SVG: a value for each data set.
    flags : tuple of (text, level)
    """

    name: str
    text: str
    values: tuple[tuple[str, float], ...]
    line: str
    flags: tuple[tuple[str, str], ...]


def cell_heads() -> list[str]:
    """Name the table's columns of values."""
    return ["extra components", "k* of samples", *(short_name(name) for name in ENDPOINTS)]


def cell_rows(results: Results) -> list[CellRow]:
    """List the cells in the sweep's order."""
    extra = summary.contrasts_by_cell(results)
    if len(extra):
        extra = extra[(extra["source"] == "samples") & (extra["protocol"] == "calibrated")]
    ends = summary.endpoints_by_cell(results, (CONTROLLED, *ENDPOINTS))
    by_end = {} if ends.empty else _keyed(ends, ["cell", "endpoint"])
    by_extra = {} if extra.empty else _keyed(extra, ["cell"])
    bad = _cells_of_bad_controls(results)
    marks = _lines(results)
    rows = []
    for row in summary.named_rows(summary.cells(results)):
        values = [_value(by_extra.get((row.cell,)), 1, signed=True)]
        values.append(_value(by_end.get((row.cell, CONTROLLED)), 1))
        values += [_value(by_end.get((row.cell, name)), 2) for name in ENDPOINTS]
        own = by_extra.get((row.cell,))
        share = float(own["share_at_ceiling"]) if own is not None else 0.0
        rows.append(
            CellRow(
                name=str(row.cell),
                text=cell_text(str(row.cell)),
                values=tuple(values),
                line=marks.get(str(row.cell), ""),
                flags=tuple(_flags(row, share, str(row.cell) in bad)),
            )
        )
    return rows


def _keyed(frame: pd.DataFrame, keys: list[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {tuple(row[key] for key in keys): row for row in frame.to_dict("records")}  # type: ignore[misc]


def _value(row: dict[str, Any] | None, digits: int, *, signed: bool = False) -> tuple[str, float]:
    if row is None or not np.isfinite(row["estimate"]):
        return "-", float("nan")
    text = estimate_text(row, digits=digits)
    plus = "+" if signed and row["estimate"] > 0 else ""
    return plus + text, float(row["estimate"])


def _flags(row: Any, share: float, is_bad: bool) -> list[tuple[str, str]]:
    found = []
    if is_bad:
        found.append(("control ended badly", "bad"))
    if row.n_failed:
        found.append((f"{row.n_failed} failed", "bad"))
    if row.n_missing:
        found.append((f"{row.n_missing} not run", "bad"))
    if share > 0:
        found.append((f"{share:.0%} at ceiling", "warn"))
    return found


def _cells_of_bad_controls(results: Results) -> set[str]:
    ill = set(ill_controls(results)["control_id"])
    trials = results.trials
    return set(trials.loc[trials["control_id"].isin(ill), "cell"].astype(str))


def _lines(results: Results) -> dict[str, str]:
    """Draw each cell's extra components by data set, all cells on one scale."""
    done = summary.done_trials(less_control(results).trials)
    values = floats(done[CONTROLLED])
    if not np.isfinite(values).any():
        return {}
    means = (
        pd.Series(values).groupby([done["cell"].to_numpy(), done["data_seed"].to_numpy()]).mean()
    )
    means = means.dropna()
    low, high = min(float(means.min()), 0.0), max(float(means.max()), 0.0)
    return {
        str(cell): _line(group.tolist(), low, high)
        for cell, group in means.groupby(level=0, sort=False)
    }


def _line(values: Sequence[float], low: float, high: float) -> str:
    width, height = _LINE
    span = high - low or 1.0
    x = np.linspace(4, width - 4, max(len(values), 2))
    y = [height - 2 - (height - 4) * (value - low) / span for value in values]
    zero = height - 2 - (height - 4) * (0 - low) / span
    dots = "".join(
        f'<circle cx="{a:.0f}" cy="{b:.1f}" r="1.8"/>' for a, b in zip(x, y, strict=False)
    )
    label = html.escape("by data set: " + ", ".join(f"{value:+.1f}" for value in values))
    return (
        f'<svg class="spark" width="{width}" height="{height}" role="img" aria-label="{label}">'
        f'<line x1="0" x2="{width}" y1="{zero:.1f}" y2="{zero:.1f}"/>{dots}</svg>'
    )
