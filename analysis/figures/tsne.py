"""t-SNE of data, samples and codes of one trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import (
    Drawn,
    NotApplicable,
    ReportFigure,
    limits_of,
    listed,
    new_figure,
)
from analysis.figures.point_marks import Limits, plot_plane, representative_points
from analysis.frames import embed
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import source_name


def draw_tsne(results: Results) -> Drawn:
    """t-SNE of data, samples and codes of one trial."""
    trial, points = representative_points(results)
    points = points[points["source"].isin(["data", "samples", "codes"])]
    if points.groupby("source").size().min() < 10:
        raise NotApplicable("the point gallery is too small for t-SNE (fewer than 10 points)")
    frame = embed.tsne(points)
    sources = [name for name in ("data", "samples", "codes") if (frame["source"] == name).any()]
    shared = limits_of(frame[frame["source"] != "codes"], ["u", "v"])
    figure = new_figure(theme.FULL_WIDTH, 2.7)
    axes = np.ravel(figure.subplots(1, len(sources)))
    for ax, source in zip(axes, sources, strict=True):
        plot_tsne(
            frame,
            source=source,
            limits=None if source == "codes" else shared,
            labels=embed.label_positions(frame[frame["source"] == source]),
            ax=ax,
        )
        ax.set_box_aspect(1)
    return Drawn(
        figure,
        frame,
        "t-SNE of data, samples and codes",
        caption(trial, frame),
        f"t-SNE maps of {listed(sources)}, coloured and numbered by true component.",
        f"embed.tsne(load_points(PATH).query('trial_id == {trial['trial_id']!r}'))",
    )


def caption(trial: pd.Series, frame: pd.DataFrame) -> str:
    """Caption the t-SNE maps."""
    sizes = frame.groupby("source", sort=False).size()
    n = notes.span_text(int(sizes.min()), int(sizes.max()))
    return (
        f"{notes.one_trial(trial)}: {n} points of each source, seed 0. Data and "
        "samples share one embedding, so a place means the same in both; codes have their own. "
        "Distances between clusters in a t-SNE map carry no meaning. Colour and number: true "
        "component."
    )


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
        Passed to `plot_plane`.
    """
    ax = plot_plane(frame[frame["source"] == source], ax=ax, **kwargs)
    if limits is not None:
        ax.set(xlim=limits[0], ylim=limits[1])
    ax.set_title(source_name(source))
    for spine in ax.spines.values():
        spine.set(visible=True, color="#bbbbbb")
    return ax


FIGURE = ReportFigure("tsne", draw_tsne)
