"""Drawing point clouds: each function takes a tidy frame and one Axes, and gives the Axes back.

Frames come from `analysis.frames.embed`. Clouds are rasterised inside SVG files, which stay small
that way; component numbers are written on them, so that a grey print still reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from mpl_toolkits.mplot3d import Axes3D

from analysis.figures import theme
from analysis.wording.names import source_name

Limits = Sequence[tuple[float, float]]


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
        To `Axes3D.scatter`.
    """
    ax = ax or plt.gcf().add_subplot(projection="3d")
    points = frame[frame["source"] == source]
    style: dict[str, Any] = {"s": 4, "alpha": 0.7, "lw": 0, "rasterized": True} | kwargs
    ax.scatter(points["x0"], points["x1"], points["x2"], c=_point_colors(points), **style)
    ax.set(xlim=limits[0], ylim=limits[1], zlim=limits[2], title=source_name(source))
    ax.set_xlabel("x1", labelpad=-8)
    ax.set_ylabel("x2", labelpad=-8)
    ax.set_zlabel("x3", labelpad=-8)
    ax.tick_params(labelsize=6.5, pad=-3)
    ax.set_box_aspect((1, 1, 1), zoom=1.08)
    ax.view_init(*view)
    return ax


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
        To `Axes.scatter`.
    """
    ax = ax or plt.gca()
    style: dict[str, Any] = {"s": 5, "alpha": 0.6, "lw": 0, "rasterized": True} | kwargs
    ax.scatter(frame["u"], frame["v"], c=_point_colors(frame), **style)
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


def plot_latent_plane(frame: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw the encoder's codes in the plane, equal units on both axes.

    Parameters
    ----------
    frame : pandas.DataFrame
        u, v, component, from `embed.as_plane`.
    ax : Axes or None
    **kwargs
        To `plot_plane`.
    """
    ax = plot_plane(frame, ax=ax, **kwargs)
    if ax.get_ylabel():
        ax.set_aspect("equal", adjustable="datalim")
    else:
        ax.spines["left"].set_visible(False)
    return ax


def plot_tsne(
    frame: pd.DataFrame,
    *,
    source: str,
    limits: Limits | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw one source of a t-SNE embedding; its axes have no units and show none.

    Parameters
    ----------
    frame : pandas.DataFrame
        source, u, v, component, from `embed.tsne`.
    source : str
    limits : two (low, high) pairs or None
        Shared by sources that share an embedding.
    ax : Axes or None
    **kwargs
        To `plot_plane`.
    """
    ax = plot_plane(frame[frame["source"] == source], ax=ax, **kwargs)
    if limits is not None:
        ax.set(xlim=limits[0], ylim=limits[1])
    ax.set_title(source_name(source))
    for spine in ax.spines.values():
        spine.set(visible=True, color="#bbbbbb")
    return ax


def _point_colors(points: pd.DataFrame) -> list[Any]:
    known = points["component"].dropna().astype(int)
    colors = theme.component_colors(sorted(known.unique()))
    return [colors.get(value, theme.NEUTRAL) for value in points["component"].fillna(-1)]
