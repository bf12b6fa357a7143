"""Two objectives of a search against each other."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, legend_below, new_figure
from analysis.figures.search_marks import (
    BARS,
    BEST_COLOR,
    CELL_COLOR,
    cells_of,
    counts_text,
    objectives_of,
)
from analysis.load import Results


def draw_pareto(results: Results) -> Drawn:
    """Two objectives against each other."""
    frame = cells_of(results)
    objectives = objectives_of(frame)
    if len(objectives) < 2:
        raise NotApplicable("the search has one objective")
    first, second = (frame[frame["objective"].eq(name)] for name in objectives[:2])
    figure = new_figure(theme.FULL_WIDTH * 0.75, 3.6)
    ax = figure.subplots()
    plot_pareto(first, second, ax=ax)
    legend_below(figure, ax)
    return Drawn(
        figure,
        frame,
        "Pareto front",
        f"{counts_text(frame)} {BARS} The front is that of the means: cells within their errors "
        "of it may belong to it.",
        f"{objectives[0]} against {objectives[1]}, the front joined.",
        "adaptive.suggestions(load_results(PATH))",
    )


def plot_pareto(
    first: pd.DataFrame, second: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw two objectives against each other; the front is ringed and joined.

    Parameters
    ----------
    first, second : pandas.DataFrame
        Rows from `adaptive.suggestions`, one objective each.
    ax : Axes or None
    **kwargs
        Passed to the points.
    """
    ax = ax or plt.gca()
    both = first.merge(second, on="suggestion", suffixes=("_x", "_y"))
    both = both.dropna(subset=["value_x", "value_y"])
    ax.errorbar(
        both["value_x"],
        both["value_y"],
        xerr=both["se_x"].fillna(0),
        yerr=both["se_y"].fillna(0),
        fmt="none",
        ecolor=CELL_COLOR,
        elinewidth=0.6,
        alpha=0.4,
    )
    style: dict[str, Any] = {
        "s": 8 + 5 * both["n_x"].to_numpy(float),
        "color": CELL_COLOR,
        "ec": "white",
    }
    ax.scatter(
        both["value_x"],
        both["value_y"],
        **(style | {"lw": 0.4, "zorder": 3} | kwargs),
        label="cell (mean ± SE)",
    )
    front = both[both["is_best_x"].astype(bool)].sort_values("value_x")
    ax.plot(
        front["value_x"],
        front["value_y"],
        "o-",
        color=BEST_COLOR,
        mfc="none",
        ms=9,
        lw=1,
        label="no cell is better in both",
        zorder=4,
    )
    for name, setter in (("x", ax.set_xlabel), ("y", ax.set_ylabel)):
        setter(f"{both[f'objective_{name}'].iloc[0]} ({both[f'direction_{name}'].iloc[0]})")
    return ax


FIGURE = ReportFigure("pareto", draw_pareto, kind="search", section="search")
