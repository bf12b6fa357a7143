"""Which searched field matters, by evaluator, beside a parameter of noise."""

from __future__ import annotations

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, legend_below, new_figure
from analysis.figures.marks import plot_importances
from analysis.figures.search_marks import cells_of, objectives_of
from analysis.frames import adaptive
from analysis.load import Results


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
        "adaptive.search_importances(load_results(PATH), OBJECTIVE)",
    )


FIGURE = ReportFigure(
    "search_importances", draw_search_importances, kind="search", section="search"
)
