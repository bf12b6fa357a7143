"""The encoder's codes of one trial, coloured by true component."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, new_figure
from analysis.figures.point_marks import plot_plane, representative_points
from analysis.frames import embed
from analysis.load import Results
from analysis.wording import notes


def draw_latent_plane(results: Results) -> Drawn:
    """The encoder's codes of one trial, coloured by true component."""
    trial, points = representative_points(results)
    codes = points[points["source"] == "codes"]
    if codes.empty:
        raise NotApplicable("codes are not among the counted sources of this sweep")
    plane, names = embed.as_plane(codes)
    labels = embed.label_positions(plane)
    figure = new_figure(theme.HALF_WIDTH * 1.35, 3.9 if names[1] else 2.2)
    ax = figure.subplots()
    plot_latent_plane(plane, labels=labels, names=names, ax=ax)
    return Drawn(
        figure,
        plane,
        "The latent plane",
        caption(trial, plane, names),
        "Scatter plot of latent codes coloured and numbered by true component.",
        f"embed.as_plane(load_points(PATH).query('trial_id == {trial['trial_id']!r} "
        'and source == "codes"\'))',
    )


def caption(trial: pd.Series, plane: pd.DataFrame, names: Sequence[str]) -> str:
    """Caption the latent plane."""
    if not names[1]:
        how = "the one code on a line; the height is jitter without meaning"
    elif names[0].startswith("principal"):
        how = f"two principal components of the {trial['latent_dim']} codes, with their variance"
    else:
        how = "the two codes as they are"
    return (
        f"{notes.one_trial(trial)}: encoder means of {len(plane)} data points, {how}. "
        "Colour and number: true component; numbers mark components with 1 % of the points."
    )


def plot_latent_plane(frame: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw the encoder's codes in the plane, equal units on both axes.

    Parameters
    ----------
    frame : pandas.DataFrame
        u, v, component, from `embed.as_plane`.
    ax : Axes or None
    **kwargs
        Passed to `plot_plane`.
    """
    ax = plot_plane(frame, ax=ax, **kwargs)
    if ax.get_ylabel():
        ax.set_aspect("equal", adjustable="datalim")
    else:
        ax.spines["left"].set_visible(False)
    return ax


FIGURE = ReportFigure("latent_plane", draw_latent_plane)
