"""True points, decoder means and samples of one trial, in three dimensions (or two)."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import Axes3D

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, limits_of, listed
from analysis.figures.point_marks import Limits, plot_plane, point_colors, representative_points
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import source_name


def draw_points(results: Results) -> Drawn:
    """True points, decoder means and samples of one trial, in three dimensions (or two)."""
    trial, points = representative_points(results)
    sources = [name for name in ("data", "means", "samples") if (points["source"] == name).any()]
    points = points[points["source"].isin(sources)]
    dim = int(trial["dim"])
    if dim < 2 or "data" not in sources:
        raise NotApplicable("the points have one dimension; there is no space to show them in")
    limits = limits_of(points, ["x0", "x1", "x2"][: min(dim, 3)])
    figure = Figure(figsize=(theme.FULL_WIDTH, 2.75))
    for index, source in enumerate(sources):
        if dim == 2:
            ax = figure.add_subplot(1, len(sources), index + 1)
            frame = points[points["source"] == source].rename(columns={"x0": "u", "x1": "v"})
            plot_plane(frame, names=("x1", "x2" if index == 0 else ""), ax=ax)
            ax.set(xlim=limits[0], ylim=limits[1], title=source_name(source))
            ax.set_aspect("equal")
        else:
            ax3d = figure.add_subplot(1, len(sources), index + 1, projection="3d")
            plot_points_3d(points, source=source, limits=limits, ax=ax3d)
    figure.subplots_adjust(left=0.01, right=0.95, bottom=0.06, top=0.92, wspace=0.12)
    if dim == 2:
        figure.subplots_adjust(left=0.08, right=0.99, bottom=0.17)
    return Drawn(
        figure,
        points,
        "True points, decoder means and samples",
        caption(trial, points),
        f"Scatter plots of {listed(sources)} with equal limits, coloured by true component.",
        f"load_points(PATH).query('trial_id == {trial['trial_id']!r}')",
    )


def caption(trial: pd.Series, drawn: pd.DataFrame) -> str:
    """Caption the pictures of the points."""
    sizes = drawn.groupby("source", sort=False).size()
    n = notes.span_text(int(sizes.min()), int(sizes.max()))
    text = (
        f"{notes.one_trial(trial)}: {n} points of each source, equal limits and viewpoint. "
        "Colour: the true component with the highest posterior probability."
    )
    if int(trial["dim"]) > 3:
        text += f" The first three of {trial['dim']} coordinates are shown."
    return text


def plot_points_3d(
    frame: pd.DataFrame,
    *,
    source: str,
    limits: Limits,
    view: tuple[float, float] = (22.0, -60.0),
    ax: Axes3D | None = None,
    **kwargs: Any,
) -> Axes3D:
    """Draw one source's points in three dimensions, coloured by true component.

    Parameters
    ----------
    frame : pandas.DataFrame
        Points of one trial: source, x0, x1, x2, component.
    source : str
    limits : three (low, high) pairs
        The same for every source, so that the pictures compare.
    view : (float, float)
        Elevation and azimuth, degrees.
    ax : Axes3D or None
    **kwargs
        Passed to `Axes3D.scatter`.
    """
    ax = ax or plt.gcf().add_subplot(projection="3d")
    points = frame[frame["source"] == source]
    style: dict[str, Any] = {"s": 4, "alpha": 0.7, "lw": 0, "rasterized": True} | kwargs
    ax.scatter(points["x0"], points["x1"], points["x2"], c=point_colors(points), **style)
    ax.set(xlim=limits[0], ylim=limits[1], zlim=limits[2], title=source_name(source))
    ax.set_xlabel("x1", labelpad=-8)
    ax.set_ylabel("x2", labelpad=-8)
    ax.set_zlabel("x3", labelpad=-8)
    ax.tick_params(labelsize=6.5, pad=-3)
    ax.set_box_aspect((1, 1, 1), zoom=1.08)
    ax.view_init(*view)
    return ax


FIGURE = ReportFigure("points", draw_points, number="F14")
