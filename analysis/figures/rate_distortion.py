"""Reconstruction error against KL, with the bounds that theory gives."""

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
    cells_to_draw,
    legend_below,
    new_figure,
    thinned,
)
from analysis.figures.marks import plain_log_ticks
from analysis.frames import theory
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import cell_text, name_of


def draw_rate_distortion(results: Results) -> Drawn:
    """Reconstruction error against KL, with the Shannon bound and the best linear models."""
    frame = theory.rate_and_distortion(results)
    if frame.empty:
        raise NotApplicable("no finished trial has a held-out reconstruction error and KL")
    if frame["dim"].nunique() > 1 or frame["standardize"].nunique() > 1:
        raise NotApplicable(
            "the data dimension or the units of the points are swept: no common scale for losses"
        )
    shown = cells_to_draw(results, frame)
    frame = frame[frame["cell"].isin(shown)]
    curves = _linear_curves(results, frame)
    figure = new_figure(theme.FULL_WIDTH * 0.86, 4.2)
    ax = figure.subplots()
    plot_rate_distortion(
        frame,
        colors=theme.level_colors(shown),
        shannon=theory.shannon_curve(frame),
        linear=curves,
        ax=ax,
    )
    legend_below(figure, ax)
    return Drawn(
        figure,
        frame,
        "Rate and distortion",
        caption(results, frame, with_linear=bool(curves)),
        "Scatter plot of reconstruction error against KL, one point for each trial, above the "
        "curve of the Shannon bound" + (" and beside the best linear models." if curves else "."),
        "theory.rate_and_distortion(load_results(PATH))",
    )


def _linear_curves(results: Results, frame: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Trace the best linear model of each latent width, at most 3, over the betas around here."""
    eigenvalues = theory.mean_eigenvalues(results)
    if eigenvalues is None or bool(frame["standardize"].any()):
        return {}
    weights = frame["kl_weight"].astype(float)
    levels = np.geomspace(weights.min() / 40, max(weights.max(), 2 * eigenvalues[0]), 200)
    # A width beyond D is the same curve as D.
    widths = sorted({int(min(q, len(eigenvalues))) for q in frame["latent_dim"]})
    return {
        q: theory.linear_curve(eigenvalues, latent_dim=q, levels=levels)
        for q in thinned(widths, 3)
    }


def caption(results: Results, frame: pd.DataFrame, *, with_linear: bool) -> str:
    """Caption rate against distortion."""
    below = _below_bound(frame)
    text = (
        "Held-out squared error against KL, a point for each of "
        f"{notes.count(len(frame), 'trial')}, in {notes.cells_shown(results, frame)}. Black: the "
        "Shannon lower bound, KL >= h - (D/2) log(2 pi e rec / D), its mean over data seeds; "
        "grey: from the smallest to the largest. "
    )
    if below:
        text += f"Trials below their own data set's bound (a fault): {below}. "
    else:
        text += "No trial lies below the bound of its own data set by more than 0.02 nats. "
    if with_linear:
        text += "Red: the best linear model (reverse water-filling) on the mean eigenvalues. "
    else:
        text += "The linear model's curve is left out: these rows hold no eigenvalues. "
    return text + notes.denominators(results)


def _below_bound(frame: pd.DataFrame) -> int:
    bound = theory.rate_bounds(frame["entropy"], frame["recon"], frame["dim"])
    return int((frame["kl_nats"] < bound - 0.02).sum())


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
        Rows from `theory.rate_and_distortion`.
    colors : dict
        Cell to colour.
    shannon : pandas.DataFrame or None
        Rows from `theory.shannon_curve`: no model lies below it.
    linear : dict or None
        Latent dimension to a frame from `theory.linear_curve`: the best linear model.
    ax : Axes or None
    **kwargs
        Passed to `Axes.scatter`.
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


FIGURE = ReportFigure("rate_distortion", draw_rate_distortion, number="F7")
