"""What the fitted components are: one per mode, fragments, bridges."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import (
    Drawn,
    NotApplicable,
    ReportFigure,
    legend_below,
    new_figure,
    thinned,
)
from analysis.frames import composition, summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import cell_labels

PART_COLORS = {
    "one each": "#0072b2",
    "fragments": "#e69f00",
    "bridges": "#cc79a7",
    "light": "#9a9a9a",
}
PART_HATCHES = {"one each": "", "fragments": "///", "bridges": "...", "light": "xx"}


def draw_composition(results: Results) -> Drawn:
    """What the components of the calibrated count of samples are, by cell."""
    frame = composition.composition_by_cell(results)
    if frame.empty:
        raise NotApplicable("no finished trial has its fitted components matched to the truth")
    frame = frame[frame["cell"].isin(thinned(frame["cell"].tolist(), 40))]
    names = dict(composition.PART_NAMES)
    if not composition.has_light(frame):
        del names["light"]
    figure = new_figure(theme.FULL_WIDTH, 1.5 + 0.24 * max(len(frame), 4))
    ax = figure.subplots()
    plot_composition(frame, names=names, ax=ax)
    legend_below(figure, ax)
    return Drawn(
        figure,
        frame,
        "Where the extra components go",
        caption(results, frame),
        f"Stacked bars of the mean parts of k* in {len(frame)} cells, a line at the true K.",
        "composition.composition_by_cell(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption the parts of the counts."""
    n = notes.span_text(int(frame["n_data"].min()), int(frame["n_data"].max()))
    text = (
        "Components that the calibrated protocol fits to samples, mean over "
        f"{n} data seeds: the first fragment of each true component that has any; its further "
        f"fragments; and outside, {_outside_text(results)}. Bars end at the mean k*; the black "
        "line is the true K. No interval: the parts of one sum"
    )
    total = summary.cells(results)["cell"].nunique()
    if len(frame) < total:
        text += f"; {len(frame)} of {total} cells, evenly from the sweep's order"
    return f"{text}. {notes.denominators(results)}"


def _outside_text(results: Results) -> str:
    if composition.has_cut(results):
        return (
            "those with less than half of their points in the 99 % ellipsoids of true components "
            "(a cut that one or two components cross from one detector seed to the next)"
        )
    return (
        "each component by the share of its points that is outside the 99 % ellipsoids of all "
        "true ones; the rest of it counts as a fragment"
    )


def plot_composition(
    frame: pd.DataFrame,
    *,
    names: dict[str, str],
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw the parts of k* stacked, a bar for each cell; a line marks K.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `composition.composition_by_cell`.
    names : dict
        Part to its legend text, in the order of stacking.
    ax : Axes or None
    **kwargs
        To `Axes.barh`.
    """
    ax = ax or plt.gca()
    places = np.arange(len(frame))[::-1]
    base = np.zeros(len(frame))
    for part, label in names.items():
        widths = frame[part].to_numpy(float)
        style: dict[str, Any] = {"color": PART_COLORS[part], "hatch": PART_HATCHES[part]}
        style |= {"height": 0.72, "edgecolor": "white", "lw": 0.4} | kwargs
        ax.barh(places, widths, left=base, label=label, **style)
        base += widths
    for index, (place, k) in enumerate(zip(places, frame["n_components"], strict=True)):
        once: dict[str, Any] = {} if index else {"label": "true K"}
        ax.plot([k, k], [place - 0.45, place + 0.45], color="black", lw=1.6, **once)
    ax.set_yticks(places, cell_labels(list(frame["cell"])))
    ax.set_ylim(-0.6 - (len(frame) == 1), len(frame) - 0.4 + (len(frame) == 1))
    ax.set_xlabel("fitted components, mean")
    ax.grid(False, axis="y")
    return ax


FIGURE = ReportFigure(
    "composition", draw_composition, kind="design", number="F5", section="robustness"
)
