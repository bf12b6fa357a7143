"""The objective of a search against each searched field."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, legend_below, new_figure
from analysis.figures.search_marks import (
    BARS,
    cells_of,
    counts_text,
    mark_best,
    objectives_of,
    plot_cells,
    set_scale,
)
from analysis.frames import adaptive
from analysis.load import Results
from analysis.wording.names import name_of

MAX_SLICES = 6


def draw_search_slices(results: Results) -> Drawn:
    """The objective against each searched field."""
    frame = cells_of(results)
    fields = [f for f in adaptive.searched_fields(results) if frame[f].nunique() > 1][:MAX_SLICES]
    if not fields:
        raise NotApplicable("no searched field has taken two values")
    objectives = objectives_of(frame)
    figure = new_figure(theme.FULL_WIDTH * 1.1, 2.5 * len(objectives) + 0.4)
    axes = figure.subplots(len(objectives), len(fields), squeeze=False, sharey="row")
    for row, objective in zip(axes, objectives, strict=True):
        part = frame[frame["objective"].eq(objective)]
        for ax, field in zip(row, fields, strict=True):
            log = adaptive.is_log(results, field)
            plot_slice(part, x=field, log=log, ax=ax)
            ax.label_outer()
        row[0].set_ylabel(objective if len(objective) < 34 else "objective")
    legend_below(figure, axes[0][0])
    return Drawn(
        figure,
        frame,
        "The objective along each searched field",
        f"{counts_text(frame)} {BARS} All cells are in each panel, whatever their other fields.",
        f"Objective against {', '.join(map(name_of, fields))}.",
        "adaptive.suggestions(load_results(PATH))",
    )


def plot_slice(
    frame: pd.DataFrame, *, x: str, log: bool = False, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw the cells' means against one searched field, whatever the others are.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `adaptive.suggestions`, one objective.
    x : str
        Field.
    log : bool
        Whether it was searched on a logarithmic scale.
    ax : Axes or None
    **kwargs
        Passed to the points.
    """
    ax = ax or plt.gca()
    known = frame.dropna(subset=["value", x])
    if pd.api.types.is_numeric_dtype(known[x]):
        positions = known[x].astype(float)
        set_scale(ax, "x", positions, log=log)
    else:
        levels = list(dict.fromkeys(known[x].astype(str)))
        positions = known[x].astype(str).map(levels.index).astype(float)
        ax.set_xticks(range(len(levels)), levels)
        ax.set_xlim(-0.5, len(levels) - 0.5)
    plot_cells(ax, positions, known, **kwargs)
    mark_best(ax, known, positions)
    ax.set_xlabel(name_of(x))
    return ax


FIGURE = ReportFigure("search_slices", draw_search_slices, kind="search", section="search")
