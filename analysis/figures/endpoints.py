"""The primary endpoints against the swept factors."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.factor_axis import set_factor_axis
from analysis.figures.layout import (
    MAX_LINES,
    Drawn,
    NotApplicable,
    ReportFigure,
    legend_below,
    near_groups,
    new_figure,
)
from analysis.figures.marks import plot_intervals
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import level_text, name_of


def draw_endpoints(results: Results) -> Drawn:
    """Forward KL, mode recall and mass outside the ellipsoids against the swept factors."""
    frame = summary.endpoints_by_cell(results)
    frame = frame.dropna(subset=["estimate"]) if len(frame) else frame
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if frame.empty:
        raise NotApplicable("no finished trial has the primary endpoints")
    if not factors:
        raise NotApplicable("nothing is swept here; the endpoints are in the tables")
    others = factors[1:]
    if others:
        near = near_groups(results, frame, others, MAX_LINES)
        frame = frame.loc[sorted(index for _, rows in near for index in rows.index)]
        # A factor that only other kinds of model have is missing here.
        labels = frame[others].astype("string").fillna("none")
        frame = frame.assign(group=labels.agg(", ".join, axis=1))
    levels = list(dict.fromkeys(frame["group"])) if others else []
    endpoints = list(dict.fromkeys(frame["endpoint"]))[::-1]
    figure = new_figure(theme.FULL_WIDTH * 1.15, 2.9 + 0.2 * len(levels) / 3)
    axes = figure.subplots(1, len(endpoints), squeeze=False)[0]
    for ax, endpoint in zip(axes, endpoints, strict=True):
        plot_endpoint(
            frame,
            x=factors[0],
            endpoint=endpoint,
            hue="group" if others else None,
            colors=theme.level_colors(levels) if others else None,
            ax=ax,
        )
    if others:
        legend_below(figure, axes[0], title=", ".join(name_of(name) for name in others))
    return Drawn(
        figure,
        frame,
        "Primary endpoints by swept factor",
        caption(results, frame),
        "Forward KL, mass outside the 99 % ellipsoids and mode recall against "
        f"{name_of(factors[0])} with intervals.",
        "summary.endpoints_by_cell(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption the primary endpoints."""
    return (
        "Mean over data seeds of the three primary endpoints, on samples: forward KL from the "
        "true density to the model's, mass outside the 99 % ellipsoids of the true components "
        f"and mode recall. {notes.intervals(frame)} "
        f"{notes.density_note(results)}{notes.recall_note(results)}"
        f"{_few_cells(results, frame)}{notes.denominators(results)}"
    )


def _few_cells(results: Results, frame: pd.DataFrame) -> str:
    """Say which cells are drawn, where these are not all."""
    if frame["cell"].nunique() == summary.cells(results)["cell"].nunique():
        return ""
    return f"Drawn: {notes.cells_shown(results, frame)}. "


def plot_endpoint(
    frame: pd.DataFrame,
    *,
    x: str,
    endpoint: str,
    hue: str | None = None,
    colors: dict[Any, Any] | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw one endpoint against a factor with its intervals, a line for each level of hue.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.endpoints_by_cell`.
    x, endpoint : str
    hue : str or None
        Column that separates lines.
    colors : dict or None
        Level of hue to colour.
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    rows = frame[frame["endpoint"] == endpoint]
    positions = set_factor_axis(ax, rows[x])
    levels = list(colors) if colors else [None]
    for index, level in enumerate(levels):
        part = rows if level is None or hue is None else rows[rows[hue] == level]
        if part.empty:
            continue
        style: dict[str, Any] = {"marker": "oD^sv"[index % 5], "label": level_text(level)}
        style |= {"ls": "-" if positions.is_numeric else ""}
        if level is not None and colors:
            style["color"] = colors[level]
        place = positions(part[x], shift=(index - (len(levels) - 1) / 2) * 0.6)
        plot_intervals(ax, place, part, source="samples", **(style | kwargs))
    ax.set(xlabel=name_of(x), ylabel=name_of(endpoint))
    if len(positions.levels) > 5:
        ax.tick_params(axis="x", labelrotation=60)
    return ax


FIGURE = ReportFigure("endpoints", draw_endpoints, kind="design", section="endpoints")
