"""What the figures of one trial's points share: the trial, its clouds and their colours.

Clouds are rasterised inside SVG files, which stay small that way; component numbers are written on
them, so that a grey print still reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from analysis.figures import theme
from analysis.figures.layout import NotApplicable
from analysis.frames import summary
from analysis.load import Results

Limits = Sequence[tuple[float, float]]


def representative_points(results: Results) -> tuple[pd.Series, pd.DataFrame]:
    """Choose the trial that stands for the sweep, and return it with its points."""
    if results.points.empty:
        raise NotApplicable(
            "the point gallery is not in this folder (it is not kept in version control); "
            "running the sweep makes it"
        )
    trial = summary.representative_trial(results)
    if trial is None:
        raise NotApplicable("no finished trial has a point gallery")
    return trial, results.points[results.points["trial_id"] == trial["trial_id"]]


def plot_plane(
    frame: pd.DataFrame,
    *,
    labels: pd.DataFrame | None = None,
    names: Sequence[str] = ("", ""),
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw points in the plane, coloured by true component and numbered.

    Parameters
    ----------
    frame : pandas.DataFrame
        u, v, component.
    labels : pandas.DataFrame or None
        u, v, component: where to write each component's number.
    names : (str, str)
        Axis labels; an empty one hides that axis' ticks, whose values mean nothing.
    ax : Axes or None
    **kwargs
        Passed to `Axes.scatter`.
    """
    ax = ax or plt.gca()
    style: dict[str, Any] = {"s": 5, "alpha": 0.6, "lw": 0, "rasterized": True} | kwargs
    ax.scatter(frame["u"], frame["v"], c=point_colors(frame), **style)
    if labels is not None:
        for u, v, component in labels[["u", "v", "component"]].itertuples(index=False):
            ax.text(
                u,
                v,
                str(int(component) + 1),
                ha="center",
                va="center",
                size=7.5,
                weight="bold",
                path_effects=[withStroke(linewidth=2.2, foreground="white")],
            )
    ax.set(xlabel=names[0], ylabel=names[1])
    for axis, name in zip((ax.xaxis, ax.yaxis), names, strict=True):
        if not name:
            axis.set_ticks([])
    return ax


def point_colors(points: pd.DataFrame) -> list[Any]:
    """Colour points by true component; those without one are grey."""
    known = points["component"].dropna().astype(int)
    colors = theme.component_colors(sorted(known.unique()))
    return [colors.get(value, theme.NEUTRAL) for value in points["component"].fillna(-1)]
