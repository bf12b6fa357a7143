"""Mode recall against spurious mass, a point for each trial."""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

from analysis.figures import theme
from analysis.figures.layout import (
    Drawn,
    NotApplicable,
    ReportFigure,
    cells_to_draw,
    legend_below,
    listed,
    new_figure,
    settle_labels,
)
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import NULL_NAMES, cell_text, name_of, source_name


def draw_recall_spurious(results: Results) -> Drawn:
    """Mode recall against spurious mass, a point for each trial."""
    frame = summary.recall_and_spurious(results)
    if frame.empty:
        raise NotApplicable("no finished trial has mode recall and spurious mass")
    shown = cells_to_draw(results, frame)
    frame = frame[frame["cell"].isin(shown)]
    sources = [name for name in ("samples", "means") if (frame["source"] == name).any()]
    figure = new_figure(theme.FULL_WIDTH, 3.2)
    axes = figure.subplots(1, len(sources), sharex=True, sharey=True, squeeze=False)[0]
    for ax, source in zip(axes, sources, strict=True):
        colors = theme.level_colors(shown)
        # Null models are samples; decoder means have no counterpart among them.
        plot_recall_spurious(
            frame[frame["source"] == source],
            colors=colors,
            nulls=summary.null_positions(results) if source == "samples" else None,
            ax=ax,
        )
        ax.set_title(source_name(source))
        ax.label_outer()
    if len(shown) > 1:
        legend_below(figure, axes[0])
    for ax in axes:
        settle_labels(ax, [text for text in ax.texts if isinstance(text, Annotation)])
    return Drawn(
        figure,
        frame,
        "Mode recall against mass outside the 99 % ellipsoids",
        caption(results, frame),
        f"Scatter plot of mode recall against mass outside the ellipsoids for {listed(sources)}, "
        "one point for each trial, coloured by cell.",
        "summary.recall_and_spurious(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption recall against spurious mass."""
    n = frame["trial_id"].nunique()
    stars = ""
    if len(summary.null_positions(results)):
        stars = " Stars: null models, mean over the data sets."
    return (
        f"One point for each of {notes.count(n, 'trial')} and source, in "
        f"{notes.cells_shown(results, frame)}. Mode recall: share of true "
        "components (with at least 50 expected points) that receive 0.2 of their mass in points "
        "of high density. Mass outside: share of points outside every component's 99 % ellipsoid, "
        "less the same share of true data. Points are shifted by up to 0.008 in height to "
        f"show those that coincide.{stars} {notes.denominators(results)}"
    )


def plot_recall_spurious(
    frame: pd.DataFrame,
    *,
    colors: dict[Any, Any],
    nulls: pd.DataFrame | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw mode recall against spurious mass, a point for each trial.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.recall_and_spurious`, one source.
    colors : dict
        Cell to colour.
    nulls : pandas.DataFrame or None
        null, mode_recall, spurious_mass: null models, drawn as stars with their names.
    ax : Axes or None
    **kwargs
        To `Axes.scatter`.
    """
    ax = ax or plt.gca()
    # Recall is a share of few components: the shift shows points that would lie on each other.
    shift = np.random.default_rng(0)
    for index, (cell, color) in enumerate(colors.items()):
        rows = frame[frame["cell"] == cell]
        height = rows["mode_recall"].to_numpy(float) + shift.uniform(-0.008, 0.008, len(rows))
        style: dict[str, Any] = {"s": 16, "alpha": 0.75, "lw": 0.3, "edgecolor": "white"}
        # Marks at the edge are whole.
        style |= {"rasterized": True, "clip_on": False, "zorder": 3} | kwargs
        ax.scatter(
            rows["spurious_mass"],
            height,
            color=color,
            marker="oD^sv"[index % 5],
            label=cell_text(str(cell)),
            **style,
        )
    ax.set(xlabel=name_of("spurious_mass"), ylabel=name_of("mode_recall"))
    ax.set_ylim(-0.03, 1.04)
    # Shared axes keep the widest panel in view.
    widest = 1.06 * float(frame["spurious_mass"].max())
    if nulls is not None and len(nulls):
        widest = max(widest, 1.12 * float(nulls["spurious_mass"].max()))
        _mark_nulls(ax, nulls)
    ax.set_xlim(min(0.0, float(frame["spurious_mass"].min())), max(widest, ax.get_xlim()[1], 0.02))
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5))
    return ax


def _mark_nulls(ax: Axes, nulls: pd.DataFrame) -> None:
    for row in nulls.to_dict("records"):
        place = (row["spurious_mass"], row["mode_recall"])
        style: dict[str, Any] = {"ms": 11, "color": "black", "mec": "white", "mew": 0.6}
        ax.plot(*place, "*", zorder=5, clip_on=False, **style)
        name = textwrap.fill(NULL_NAMES.get(row["null"], row["null"]), 20)
        where: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "top"}
        text = ax.annotate(name, place, size=7, xytext=(0, -6), zorder=6, **where)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])


FIGURE = ReportFigure("recall_spurious", draw_recall_spurious, number="F6", section="endpoints")
