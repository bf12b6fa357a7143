"""Counts against the number of points counted."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.factor_axis import set_factor_axis
from analysis.figures.layout import (
    Drawn,
    NotApplicable,
    ReportFigure,
    legend_below,
    new_figure,
    panels_of,
)
from analysis.figures.marks import plot_intervals
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import name_of, protocol_name
from study.results import PROTOCOLS


def draw_count_by_size(results: Results) -> Drawn:
    """k* against the number of points counted."""
    x = "detection_n_samples"
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if x not in factors:
        raise NotApplicable("the number of points counted (detection.n_samples) is not swept")
    frame = summary.coverage_by_cell(results)
    if frame.empty:
        raise NotApplicable("no trial finished, so no mode was counted")
    true_k = results.trials.groupby("cell")["n_components"].first().astype(float)
    for name in ("estimate", "low", "high"):
        frame[name] = frame[name] * frame["cell"].map(true_k)
    panels = panels_of(results, frame, [name for name in factors if name != x])
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    figure = new_figure(theme.FULL_WIDTH, 0.4 + 2.6 * len(panels))
    axes = figure.subplots(len(panels), len(protocols), squeeze=False)
    for row, (title, part) in zip(axes, panels, strict=True):
        for ax, protocol in zip(row, protocols, strict=True):
            plot_count_by_size(part[part["protocol"] == protocol], x=x, ax=ax)
            k = true_k[part["cell"].iloc[0]]
            ax.axhline(k, color=theme.NEUTRAL, ls=":", lw=1, label="true K")
            ax.set_title(title or protocol_name(protocol))
    legend_below(figure, axes[0, 0])
    drawn = pd.concat([part for _, part in panels])
    return Drawn(
        figure,
        drawn,
        "Counts against the number of points",
        caption(results, drawn),
        "Detected modes of each source against the number of points counted, by protocol.",
        "summary.coverage_by_cell(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption counts against the number of points."""
    return (
        "Detected modes against the number of points that the detector was given, for the same "
        "networks. A count that grows with n is not a property of the generator. Dotted: true K. "
        f"{notes.intervals(frame)} {notes.ceiling_shares(frame, marked=False)} "
        f"{notes.denominators(results)}"
    )


def plot_count_by_size(
    frame: pd.DataFrame, *, x: str = "detection_n_samples", ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw k* against the number of points counted, a line for each source.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.coverage_by_cell` with columns estimate, low and high in components; one
        protocol, one row for each level of x and source.
    x : str
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    positions = set_factor_axis(ax, frame[x])
    sources = [name for name in theme.SOURCE_COLORS if (frame["source"] == name).any()]
    for index, source in enumerate(sources):
        rows = frame[frame["source"] == source]
        place = positions(rows[x], shift=(index - (len(sources) - 1) / 2) * 0.5)
        plot_intervals(ax, place, rows, source=source, **kwargs)
    ax.set(xlabel=name_of(x), ylabel="detected modes k*")
    ax.set_ylim(0, 1.08 * float(np.nanmax(frame[["estimate", "high"]].to_numpy(float))))
    return ax


FIGURE = ReportFigure(
    "count_by_size", draw_count_by_size, kind="design", number="F4", section="robustness"
)
