"""Each cell's mean in the order in which a search asked for it."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, ReportFigure, legend_below, new_figure
from analysis.figures.search_marks import (
    BARS,
    cells_of,
    counts_text,
    mark_best,
    objectives_of,
    plot_cells,
    search_of,
)
from analysis.load import Results


def draw_search_history(results: Results) -> Drawn:
    """Each cell's mean in the order of asking, and the winner on fresh seeds."""
    frame, level = cells_of(results), search_of(results).get("level")
    objectives = objectives_of(frame)
    figure = new_figure(theme.FULL_WIDTH, 2.9 * len(objectives))
    axes = figure.subplots(len(objectives), 1, squeeze=False, sharex=True)[:, 0]
    for ax, objective in zip(axes, objectives, strict=True):
        part = frame[frame["objective"].eq(objective)]
        plot_history(part, level=level, ax=ax)
        ax.set_ylabel(objective if len(objective) < 34 else "objective")
        ax.label_outer()
    legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "What the search asked for",
        f"{counts_text(frame)} {BARS} {_fresh_text(frame)}".strip(),
        "Objective of each cell against the order in which cells were proposed.",
        "adaptive.suggestions(load_results(PATH))",
    )


def _fresh_text(frame: pd.DataFrame) -> str:
    fresh = frame.dropna(subset=["fresh_value"])
    if fresh.empty:
        return ""
    rows = (
        f"{row['value']:.3g} ± {row['se']:.2g} while searching, {row['fresh_value']:.3g} ± "
        f"{row['fresh_se']:.2g} on {int(row['fresh_n'])} trainings with fresh data seeds"
        for _, row in fresh.iterrows()
    )
    return (
        "The best of many noisy means is too good (the winner's curse), so winners were measured "
        f"again: {'; '.join(rows)}."
    )


def plot_history(
    frame: pd.DataFrame, *, level: float | None = None, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw each cell's mean in the order of asking.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `adaptive.suggestions`, one objective.
    level : float or None
        Level of a boundary, marked.
    ax : Axes or None
    **kwargs
        Passed to the points.
    """
    ax = ax or plt.gca()
    known = frame.dropna(subset=["value"])
    plot_cells(ax, known["suggestion"], known, label="cell (mean ± SE)", **kwargs)
    if level is not None:
        ax.axhline(level, color=theme.CEILING_COLOR, ls="--", lw=1, label=f"level {level:g}")
    else:
        lowest = known["direction"].eq("minimize").all()
        best = known["value"].cummin() if lowest else known["value"].cummax()
        ax.step(
            known["suggestion"],
            best,
            where="post",
            color=theme.NEUTRAL,
            lw=1,
            label="best mean so far",
        )
        mark_best(ax, known, known["suggestion"])
    ax.set_xlabel("cell, in the order of asking")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    return ax


FIGURE = ReportFigure("search_history", draw_search_history, kind="search", section="search")
