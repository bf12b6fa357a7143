"""The chart that a reader explores: every estimate of the sweep as one tidy frame and a figure.

All numbers and all words on hovering are made here; the page's script only places rows of the
frame on the axes that are chosen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures import theme
from analysis.frames import summary
from analysis.load import Results
from analysis.page.packing import packed
from analysis.statistics.intervals import KIND_TEXT, floats
from analysis.wording.names import (
    SHORT_NAMES,
    cell_text,
    level_text,
    name_of,
    short_name,
    source_name,
)
from study.results import PROTOCOLS, SOURCES, count_columns

# Beside k*, coverage and k* less the control; those that a sweep did not measure are left out.
MEASURED = (
    "fkl_nats", "spurious_mass", "mode_recall", "hq_samples", "tv", "c2st", "recon", "kl_nats",
    "fragmentation", "bridges",
)  # fmt: skip
# Of single trials on the page: more than these are not sent.
MOST_POINTS = 60_000
COLUMNS = (
    "quantity", "source", "protocol", "estimate", "low", "high", "interval", "level", "n_data",
    "n_trials", "share_at_ceiling",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Explored:
    """What the page needs: the frame (as CSV beside), and the packed payload of the script."""

    frame: pd.DataFrame
    payload: str


def explore_frame(results: Results) -> pd.DataFrame:
    """List every estimate of the sweep.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, quantity ("k", "coverage", "extra": k* less the control, or a column of
        the trials table), source and protocol (empty where they do not apply), estimate, low,
        high, interval, level, n_data, n_trials, share_at_ceiling.
    """
    keys = ["cell", *results.manifest.factors]
    parts = []
    coverage = summary.coverage_by_cell(results)
    if len(coverage):
        parts.append(coverage.assign(quantity="coverage"))
        true_k = results.trials.drop_duplicates("cell").set_index("cell")["n_components"]
        scale = floats(coverage["cell"].map(true_k))
        limits = {name: coverage[name] * scale for name in ("estimate", "low", "high")}
        parts.append(coverage.assign(quantity="k", **limits))
    extra = summary.contrasts_by_cell(results)
    if len(extra):
        parts.append(extra.assign(quantity="extra"))
    done = summary.done_trials(results.trials)
    known = [name for name in MEASURED if name in done and done[name].notna().any()]
    if known:
        ends = summary.endpoints_by_cell(results, known)
        parts.append(ends.rename(columns={"endpoint": "quantity"}).assign(source="", protocol=""))
    if not parts:
        return pd.DataFrame(columns=[*keys, *COLUMNS])
    frame = pd.concat(parts, ignore_index=True)
    # A sweep without counts has no column that only counts have.
    estimated = frame.dropna(subset=["estimate"])
    return estimated.reindex(columns=[*keys, *COLUMNS]).reset_index(drop=True)


def explored(results: Results) -> Explored:
    """Make the frame and what the script draws."""
    frame = explore_frame(results)
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    factors += [name for name in results.manifest.factors if name not in factors]
    content = {
        "factors": [_factor(results, name) for name in factors],
        "cells": _cells(results, factors),
        "quantities": _quantities(frame),
        "rows": _rows(frame),
        "points": _points(results, frame),
        "sources": {name: source_name(name) for name in SOURCES},
        "colors": theme.SOURCE_COLORS,
        "figure": json.loads(default_figure(results, frame).to_json()),
    }
    return Explored(frame, packed(json.dumps(content, separators=(",", ":"))))


def _factor(results: Results, name: str) -> dict[str, Any]:
    levels = summary.cells(results)[name]
    ordered = sorted(set(levels)) if pd.api.types.is_numeric_dtype(levels) else list(levels)
    texts = [level_text(level) for level in dict.fromkeys(ordered)]
    return {"name": name, "title": name_of(name), "short": SHORT_NAMES.get(name, name_of(name)),
            "levels": texts}  # fmt: skip


def _cells(results: Results, factors: Sequence[str]) -> list[dict[str, Any]]:
    rows = summary.cells(results)[["cell", *factors]].to_dict("records")
    return [
        {"name": str(row["cell"]), "text": cell_text(str(row["cell"])),
         "levels": [level_text(row[name]) for name in factors]}
        for row in rows
    ]  # fmt: skip


def quantity_title(quantity: str) -> str:
    """Name a quantity of the frame for an axis, with its unit."""
    titles = {
        "k": "modes detected k* (components)",
        "coverage": "coverage k* / K",
        "extra": "k* less the control (components)",
    }
    return titles.get(quantity) or name_of(quantity)


def _quantities(frame: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    for name, rows in frame.groupby("quantity", sort=False):
        pairs = rows[["source", "protocol"]].drop_duplicates().to_numpy().tolist()
        short = {"k": "k*", "coverage": "coverage", "extra": "k* less the control"}
        found.append(
            {"name": name, "title": quantity_title(str(name)),
             "short": short.get(str(name)) or short_name(str(name)),
             "pairs": [pair for pair in pairs if pair[0]]}
        )  # fmt: skip
    return found


def hover_text(row: Any) -> str:
    """Write what hovering over a mean shows; every number is the frame's, to four digits."""
    parts = [f"<b>{cell_text(row.cell)}</b>"]
    if row.source:
        parts.append(f"{source_name(row.source)}, {row.protocol} protocol")
    value = f"{row.estimate:.4g}"
    if np.isfinite([row.low, row.high]).all() and row.low < row.high:
        level = f"{row.level:.0%} " if row.level == row.level else ""
        value += f" [{row.low:.4g}, {row.high:.4g}]"
        parts += [value, level + KIND_TEXT[row.interval]]
    else:
        parts.append(value)
    parts.append(f"{int(row.n_data)} data sets, {int(row.n_trials)} trials")
    if row.share_at_ceiling == row.share_at_ceiling:
        parts.append(f"{row.share_at_ceiling:.0%} at the ceiling")
    return "<br>".join(parts)


def _rows(frame: pd.DataFrame) -> list[list[Any]]:
    return [
        [r.quantity, r.source, r.protocol, r.cell, _finite(r.estimate), _finite(r.low),
         _finite(r.high), hover_text(r)]
        for r in summary.named_rows(frame)
    ]  # fmt: skip


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _points(results: Results, frame: pd.DataFrame) -> dict[str, Any]:
    """Give every trial's values by quantity, source and protocol; none where they are too many."""
    done = summary.done_trials(results.trials)
    columns: dict[str, pd.Series] = {}
    for source in SOURCES:
        for protocol in PROTOCOLS:
            k, coverage, _ = count_columns(source, protocol)
            columns[f"k|{source}|{protocol}"] = done[k]
            columns[f"coverage|{source}|{protocol}"] = done[coverage]
            columns[f"extra|{source}|{protocol}"] = done[k] - done[f"k_data_{protocol}"]
    wanted = frame[["quantity", "source", "protocol"]].drop_duplicates().to_numpy().tolist()
    if len(wanted) * len(done) > MOST_POINTS:
        return {}
    values = {}
    for quantity, source, protocol in wanted:
        column = columns[f"{quantity}|{source}|{protocol}"] if source else done[quantity]
        values[f"{quantity}|{source}|{protocol}"] = [_finite(v) for v in floats(column)]
    seeds = [f"data seed {d}, init seed {i}" for d, i in zip(done["data_seed"], done["init_seed"],
                                                            strict=True)]  # fmt: skip
    return {"cells": done["cell"].astype(str).tolist(), "seeds": seeds, "values": values}


def default_choice(frame: pd.DataFrame) -> tuple[str, str, str]:
    """Choose what is shown first: extra components of samples, where they are known."""
    known = set(map(tuple, frame[["quantity", "source", "protocol"]].to_numpy().tolist()))
    wanted = (("extra", "samples", "calibrated"), ("k", "samples", "calibrated"))
    return next((one for one in wanted if one in known), min(known, default=("", "", "")))


def default_figure(results: Results, frame: pd.DataFrame) -> go.Figure:
    """Draw the means of the first choice by cell, with their intervals.

    Returns
    -------
    plotly.graph_objects.Figure
        One trace; hover texts are `hover_text`, and customdata names the cells.
    """
    quantity, source, protocol = default_choice(frame)
    rows = frame[
        (frame["quantity"] == quantity)
        & (frame["source"] == source)
        & (frame["protocol"] == protocol)
    ]
    figure = go.Figure(layout=go.Layout(template="none", height=430, hovermode="closest"))
    figure.update_layout(
        margin={"l": 60, "r": 14, "t": 20, "b": 60},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        yaxis_title_text=quantity_title(quantity) if quantity else "",
    )
    figure.add_trace(
        go.Scatter(
            x=[cell_text(str(cell)) for cell in rows["cell"]],
            y=rows["estimate"].tolist(),
            error_y={
                "type": "data",
                "symmetric": False,
                "array": (rows["high"] - rows["estimate"]).fillna(0).tolist(),
                "arrayminus": (rows["estimate"] - rows["low"]).fillna(0).tolist(),
            },
            mode="markers",
            name=source_name(source) if source else quantity,
            marker={"color": theme.SOURCE_COLORS.get(source, theme.NEUTRAL), "size": 10},
            hovertext=[hover_text(r) for r in summary.named_rows(rows)],
            hoverinfo="text",
            customdata=rows["cell"].tolist(),
        )
    )
    return figure
