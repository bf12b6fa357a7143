"""Drawing trials beside theory: rate against distortion, and the collapse of latents.

Each function takes a tidy frame that already holds every number, and one Axes.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.figures import plain_log_ticks
from analysis.wording.names import cell_text, name_of

# Above this, edged points hide each other.
MANY_POINTS = 6000


def plot_rate_distortion(
    frame: pd.DataFrame,
    *,
    colors: dict[Any, Any],
    shannon: pd.DataFrame | None = None,
    linear: dict[int, pd.DataFrame] | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw reconstruction error against KL, a point for each trial, with what bounds them.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `theory.rate_and_distortion`.
    colors : dict
        Cell to colour.
    shannon : pandas.DataFrame or None
        From `theory.shannon_curve`: no model lies below it.
    linear : dict or None
        Latent dimension to a frame from `theory.linear_curve`: the best linear model.
    ax : Axes or None
    **kwargs
        To `Axes.scatter`.
    """
    ax = ax or plt.gca()
    if shannon is not None:
        shown = shannon[shannon["kl_nats"] > 0]
        ax.fill_betweenx(shown["recon"], shown["low"], shown["high"], color="#bdbdbd", alpha=0.5,
                         lw=0)  # fmt: skip
        ax.plot(shown["kl_nats"], shown["recon"], color="black", lw=1.3, label="Shannon bound")
    for index, (q, curve) in enumerate((linear or {}).items()):
        dash = ["--", "-.", ":"][index % 3]
        ax.plot(curve["kl_nats"], curve["recon"], color=theme.CEILING_COLOR, ls=dash, lw=1.2,
                label=f"best linear model, q = {q}")  # fmt: skip
    for index, (cell, color) in enumerate(colors.items()):
        rows = frame[frame["cell"] == cell]
        style: dict[str, Any] = {"s": 15, "alpha": 0.8, "lw": 0.3, "edgecolor": "white"}
        style |= {"rasterized": True, "marker": "oD^sv"[index % 5], "color": color} | kwargs
        ax.scatter(rows["kl_nats"], rows["recon"], label=cell_text(str(cell)), **style)
    ax.set(xlabel="rate: " + name_of("kl_nats"), yscale="log",
           ylabel="distortion: " + name_of("recon"))  # fmt: skip
    plain_log_ticks(ax, "y")
    ax.set_xlim(0, 1.3 * max(float(frame["kl_nats"].max()), 1e-3))
    ax.set_ylim(float(frame["recon"].min()) / 2.2, max(ax.get_ylim()[1], 1.0))
    return ax


def plot_active_units(
    frame: pd.DataFrame, *, colors: dict[Any, Any], ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw active units against beta / (2 lambda_1), a point for each trial; a line at 1.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `theory.collapse`, one row for each trial.
    colors : dict
        Latent dimension to colour.
    ax : Axes or None
    **kwargs
        To `Axes.scatter`.
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
        From `theory.collapse`.
    colors : dict
        Rank of the latent to colour.
    ax : Axes or None
    **kwargs
        To `Axes.scatter`.
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
    """Give edged points; thousands are small and faint, so that their density shows."""
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
