"""Which searched field matters, by evaluator, beside a parameter of noise."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, legend_below, new_figure
from analysis.figures.search_marks import cells_of, objectives_of
from analysis.frames import adaptive
from analysis.load import Results
from analysis.wording.names import name_of


def draw_search_importances(results: Results) -> Drawn:
    """Which searched field matters, by evaluator, beside a parameter of noise."""
    objective = objectives_of(cells_of(results))[0]
    frame = adaptive.search_importances(results, objective)
    if frame.empty:
        raise NotApplicable(f"importances need {adaptive.MIN_CELLS} cells with every field")
    figure = new_figure(theme.FULL_WIDTH * 0.8, 1.6 + 0.4 * frame["factor"].nunique())
    ax = figure.subplots()
    plot_importances(frame, ax=ax)
    legend_below(figure, ax)
    return Drawn(
        figure,
        frame,
        "Importance of the searched fields",
        f"Of {objective}. fANOVA: share of the variance that a forest explains by the field. "
        "PED-ANOVA: how far the field separates the best tenth of the cells. The noise parameter "
        "was added afterwards: what does not exceed its bar is not told from noise.",
        "Bars of importance by field and evaluator.",
        "searched.search_importances(load_results(PATH), OBJECTIVE)",
    )


def plot_importances(frame: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw importances as bars, an evaluator each; the noise parameter's bar is the floor.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `adaptive.search_importances`.
    ax : Axes or None
    **kwargs
        To the bars.
    """
    ax = ax or plt.gca()
    order = frame.groupby("factor")["importance"].max().sort_values().index
    evaluators = list(dict.fromkeys(frame["evaluator"]))
    height = 0.8 / len(evaluators)
    for i, evaluator in enumerate(evaluators):
        part = frame[frame["evaluator"].eq(evaluator)].set_index("factor")["importance"]
        at = np.arange(len(order)) + (i - (len(evaluators) - 1) / 2) * height
        style = {"height": height, "color": theme.EVALUATOR_COLORS[evaluator], "label": evaluator}
        ax.barh(at, part.reindex(order).fillna(0), **(style | kwargs))
    ax.set_yticks(range(len(order)), [name_of(name) for name in order])
    ax.set_xlabel("importance (share)")
    return ax


FIGURE = ReportFigure("search_importances", draw_search_importances, kind="search")
