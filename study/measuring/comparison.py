"""Measured points beside their control and the null models, as one table of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.measuring.measure import Measurement, over_files
from study.results import count_columns
from study.results.endpoints import RECORDS

Row = dict[str, Any]
NULL_TITLES = {
    "truth": "truth",
    "gaussian": "one Gaussian",
    "ppca": "PPCA",
    "kde": "kernel density",
}
ROUNDING = 1e-12
PROTOCOLS = ("original", "calibrated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A table: what was measured by row, who by column.

    Parameters
    ----------
    head : tuple of str
    rows : tuple of tuple of str
        As long as the head.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def compare(measured: Sequence[Measurement]) -> Comparison:
    """Put the numbers of one or more sets of points beside the control's and the null models'.

    Parameters
    ----------
    measured : sequence of Measurement
        Against the same truth or reference. Of several, means and intervals are shown.

    Returns
    -------
    Comparison
    """
    first = measured[0]
    spread = over_files(measured) if len(measured) > 1 else {}
    nulls = {row["null"]: row for row in first.nulls}
    has_control = any(key.startswith("k_data_") for key in first.columns)
    control_title = "control" if first.columns.get("n_components") else "reference"
    head = [
        "",
        f"{len(measured)} files" if spread else first.name,
        *([control_title] if has_control else []),
        *(NULL_TITLES.get(name, name) for name in nulls),
    ]
    rows = []
    for title, key, control_key, null_key in _lines(first):
        cells = [title, _spread_text(spread[key]) if key in spread else _cell(first.columns, key)]
        if has_control:
            cells.append(_cell(first.columns, control_key))
        cells += [_cell(row, null_key) for row in nulls.values()]
        rows.append(tuple(cells))
    return Comparison(head=tuple(head), rows=tuple(rows))


def _lines(one: Measurement) -> list[tuple[str, str, str, str]]:
    """List title, column, the control's column and the null models' column of each row."""
    lines = []
    for protocol in PROTOCOLS:
        key, _, _ = count_columns("samples", protocol)
        control, _, _ = count_columns("data", protocol)
        if key in one.columns:
            lines.append((f"k*, {protocol}", key, control, f"k_{protocol}"))
    for name in ("modal_modes", "icl_k"):
        key = f"{name}_samples"
        if key in one.columns:
            lines.append((RECORDS[key].short_title, key, f"{name}_data", ""))
    counts = {key for _, key, _, _ in lines}
    for name, record in RECORDS.items():
        # The control has a column of its own; counts are above.
        if name not in one.columns or name.endswith("_control") or name in counts:
            continue
        control = "hq_control" if name == "hq_samples" else f"{name}_control"
        lines.append((record.short_title, name, control, name))
    return lines


def _cell(row: Row, key: str) -> str:
    value = row.get(key)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    text = number_text(value)
    source_protocol = key.removeprefix("k_")
    if key.startswith("k_") and row.get(f"at_ceiling_{source_protocol}"):
        text += "+"
    low, high = (
        row.get(f"k_set_{end}_{source_protocol.split('_')[0]}") for end in ("low", "high")
    )
    if key.endswith("_calibrated") and key.startswith("k_") and low is not None:
        text += f" {{{low}..{high}}}"
    return text


def number_text(value: Any) -> str:
    """Write a number in at most four digits; what is rounding is 0."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{float(value):.4g}" if abs(value) > ROUNDING else "0"


def _spread_text(found: Row) -> str:
    low, high = number_text(found["low"]), number_text(found["high"])
    return f"{number_text(found['mean'])} [{low}, {high}]"
