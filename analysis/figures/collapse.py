"""Active units and each latent's KL against the distance to the collapse threshold."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, new_figure, thinned
from analysis.frames import theory
from analysis.load import Results
from analysis.wording import notes

# Above this, edged points hide each other.
MANY_POINTS = 6000


def draw_collapse(results: Results) -> Drawn:
    """Active units and each latent's KL against the distance to the collapse threshold."""
    frame = theory.collapse(results)
    if frame.empty:
        raise NotApplicable(
            "no finished trial on points as they are has its latents' KL and lambda_1"
        )
    factors = results.manifest.factors
    if "kl_weight" not in factors and float(frame["ratio"].max()) < 0.3:
        raise NotApplicable(
            "the KL weight is not swept, and every trial is far from the collapse threshold "
            f"(beta / (2 lambda_1) at most {frame['ratio'].max():.2g})"
        )
    widths = thinned(sorted(frame["latent_dim"].unique()), 5)
    ranks = list(range(1, min(int(frame["rank"].max()), 5) + 1))
    figure = new_figure(theme.FULL_WIDTH, 3.3)
    left, right = figure.subplots(1, 2)
    trials = frame[frame["latent_dim"].isin(widths)].drop_duplicates("trial_id")
    plot_active_units(trials, colors=theme.level_colors(widths), ax=left)
    plot_latent_kl(frame, colors=theme.level_colors(ranks), ax=right)
    for ax in (left, right):
        # Among thousands of points no place is free.
        many = len(frame) > MANY_POINTS
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}
        place |= {"ncols": 3, "markerscale": 2.5}
        legend = ax.legend(fontsize=7, **(place if many else {"loc": "best"}))
        for handle in legend.legend_handles if many else ():
            handle.set_alpha(1)
    return Drawn(
        figure,
        frame,
        "Collapse of the latents",
        caption(results, frame),
        "Scatter plots of active units and of each latent's KL against beta over twice the "
        "largest eigenvalue of the data's covariance, a dashed line at 1.",
        "theory.collapse(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption the collapse of the latents."""
    trials = frame.drop_duplicates("trial_id")
    beyond = trials[trials["ratio"] >= 1]
    dead = int((beyond["active_units"] == 0).sum())
    text = (
        f"A point for each of {notes.count(len(trials), 'trial')} (left) and each of its latents "
        "(right: ordered by KL, the five largest). lambda_1: largest eigenvalue of the data set's "
        "covariance; from 1 on (dashed), ignoring the latents is a stable solution. A unit is "
        "active when its mean varies by more than 0.01 over the data. "
    )
    if len(beyond):
        text += f"Beyond 1: {dead} of {notes.count(len(beyond), 'trial')} without an active unit. "
    else:
        text += "No trial lies beyond 1. "
    return text + notes.denominators(results)


def plot_active_units(
    frame: pd.DataFrame, *, colors: dict[Any, Any], ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw active units against beta / (2 lambda_1), a point for each trial; a line at 1.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `theory.collapse`, one row for each trial.
    colors : dict
        Latent dimension to colour.
    ax : Axes or None
    **kwargs
        Passed to `Axes.scatter`.
    """
    ax = ax or plt.gca()
    _mark_threshold(ax)
    for index, (q, color) in enumerate(colors.items()):
        rows = frame[frame["latent_dim"] == q]
        style = _point_style(18, len(frame))
        style |= {"color": color, "marker": "oD^sv"[index % 5], "rasterized": True} | kwargs
        # Whole numbers would hide each other: levels of q stand a little apart.
        height = rows["active_units"] + 0.06 * (index - (len(colors) - 1) / 2)
        ax.scatter(rows["ratio"], height, label=f"q = {q}", **style)
    ax.set(ylabel="active units", xlabel="beta / (2 lambda_1)")
    ax.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.set_ylim(-0.4, float(frame["active_units"].max()) + 0.5)
    _set_ratio_axis(ax, frame["ratio"])
    return ax


def plot_latent_kl(
    frame: pd.DataFrame, *, colors: dict[Any, Any], ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw each latent's KL against beta / (2 lambda_1), latents ordered by their KL.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `theory.collapse`.
    colors : dict
        Rank of the latent to colour.
    ax : Axes or None
    **kwargs
        Passed to `Axes.scatter`.
    """
    ax = ax or plt.gca()
    _mark_threshold(ax)
    for index, (rank, color) in enumerate(colors.items()):
        rows = frame[frame["rank"] == rank]
        style = _point_style(14, len(frame))
        style |= {"color": color, "marker": "oD^sv"[index % 5], "rasterized": True} | kwargs
        ax.scatter(rows["ratio"], rows["kl_nats"], label=f"latent {rank}", **style)
    ax.set(ylabel="KL of a latent (nats)", xlabel="beta / (2 lambda_1)")
    _set_ratio_axis(ax, frame["ratio"])
    return ax


def _point_style(size: int, n: int) -> dict[str, Any]:
    """Return edged points; thousands are small and faint, so that their density shows."""
    if n > MANY_POINTS:
        return {"s": 3, "alpha": 0.25, "lw": 0}
    return {"s": size, "alpha": 0.7, "lw": 0.3, "edgecolor": "white"}


def _mark_threshold(ax: Axes) -> None:
    ax.axvline(1, color=theme.CEILING_COLOR, ls="--", lw=1.1, label="collapse is stable from here")


def _set_ratio_axis(ax: Axes, ratio: pd.Series) -> None:
    ax.set_xscale("log")
    ax.set_xlim(float(ratio.min()) / 1.5, max(float(ratio.max()) * 1.5, 1.6))
    ax.xaxis.set_major_locator(ticker.LogLocator(numticks=6))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(ticker.NullFormatter())


FIGURE = ReportFigure("collapse", draw_collapse, kind="design", number="F9")
