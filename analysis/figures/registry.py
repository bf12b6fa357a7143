"""The list of figures, in the report's order.

A figure is one file of this folder: how it is built and drawn, its caption and its name, handed
over as `FIGURE`. To add one, write its file and add it to `MODULES`; a plug-in calls `register`.
"""

from __future__ import annotations

import re

from analysis.figures import (
    agreement,
    bic_curves,
    collapse,
    composition,
    count_by_size,
    coverage,
    distributions,
    endpoints,
    latent_plane,
    loss_curves,
    lost_modes,
    outside,
    paired_counts,
    pareto,
    points,
    power,
    rate_distortion,
    recall_spurious,
    response_surface,
    search_history,
    search_importances,
    search_map,
    search_slices,
    survival,
    tsne,
    variance,
)
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure
from analysis.frames.adaptive import search_of
from analysis.load import Results

__all__ = [
    "FIGURES",
    "Drawn",
    "FigureError",
    "NotApplicable",
    "ReportFigure",
    "figure_numbers",
    "figures_of",
    "register",
]

MODULES = (
    coverage,
    bic_curves,
    paired_counts,
    survival,
    count_by_size,
    composition,
    endpoints,
    recall_spurious,
    outside,
    lost_modes,
    response_surface,
    rate_distortion,
    collapse,
    variance,
    distributions,
    agreement,
    power,
    search_history,
    search_slices,
    search_map,
    pareto,
    search_importances,
    loss_curves,
    points,
    latent_plane,
    tsne,
)
FIGURES: dict[str, ReportFigure] = {}


class FigureError(ValueError):
    """A figure that cannot be registered; the message says why."""


def register(figure: ReportFigure) -> ReportFigure:
    """Add a figure to the report, after those already there.

    Parameters
    ----------
    figure : ReportFigure

    Returns
    -------
    ReportFigure
        The same.

    Raises
    ------
    FigureError
        Its name cannot name a file, or its name or number is taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", figure.name):
        raise FigureError(
            f"figure name {figure.name!r}: expected lower-case letters, digits and underscores"
        )
    if figure.name in FIGURES:
        raise FigureError(f"figure name {figure.name!r} is taken; choose another")
    if figure.number in figure_numbers():
        taken = figure_numbers()[figure.number]
        raise FigureError(f"figure {figure.name!r}: number {figure.number!r} is that of {taken!r}")
    FIGURES[figure.name] = figure
    return figure


def figure_numbers() -> dict[str, str]:
    """Map the study's own numbers, F1, F2 ..., to names."""
    numbered = [figure for figure in FIGURES.values() if figure.number]
    numbered.sort(key=lambda figure: (len(figure.number), figure.number))
    return {figure.number: figure.name for figure in numbered}


def figures_of(results: Results) -> list[str]:
    """List the figures that a sweep of this kind can have, designed or adaptive."""
    other = "search" if search_of(results) is None else "design"
    return [name for name, figure in FIGURES.items() if figure.kind != other]


for module in MODULES:
    register(module.FIGURE)
