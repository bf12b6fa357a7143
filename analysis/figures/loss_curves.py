"""Training losses by epoch."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import (
    Drawn,
    NotApplicable,
    ReportFigure,
    cells_to_draw,
    legend_below,
    new_figure,
)
from analysis.figures.marks import plain_log_ticks
from analysis.frames import summary
from analysis.frames.reference import REPORTED
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import cell_text, name_of


def draw_loss_curves(results: Results) -> Drawn:
    """Training losses by epoch; the original's numbers when its cell is among them."""
    shown = cells_to_draw(results, _with_losses(results))
    # Averages of the cells that are not drawn would take minutes and gigabytes.
    frame = summary.losses_by_epoch(results, shown)
    if frame.empty:
        raise NotApplicable("no trial finished training, so there is no loss to draw")
    colors = theme.level_colors(shown)
    reported = _reported(results, int(frame["epoch"].max()))
    figure = new_figure(theme.FULL_WIDTH, 3.1)
    axes = figure.subplots(1, 2)
    for ax, quantity in zip(axes, ("recon", "kl_nats"), strict=True):
        plot_loss_curves(frame, quantity=quantity, colors=colors, reported=reported, ax=ax)
    legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "Training losses",
        caption(results, frame, with_reported=reported is not None),
        "Two line charts, reconstruction loss and KL divergence against epoch, "
        f"with one line for each of {len(shown)} cells.",
        "summary.losses_by_epoch(load_results(PATH))",
    )


def _with_losses(results: Results) -> pd.DataFrame:
    """Keep the finished trials whose curves hold a loss."""
    known = results.curves[["recon", "kl_nats"]].notna().any(axis=1)
    done = summary.done_trials(results.trials)
    return done[done["trial_id"].isin(results.curves.loc[known, "trial_id"].unique())]


def _reported(results: Results, last_epoch: int) -> pd.DataFrame | None:
    done = summary.done_trials(results.trials)
    if not summary.is_original_setting(done).any():
        return None
    rows = [(name, epoch, value) for (name, epoch), value in REPORTED.items()]
    frame = pd.DataFrame(rows, columns=["quantity", "epoch", "reported"])
    frame = frame[frame["epoch"] <= last_epoch]
    return None if frame.empty else frame


def caption(results: Results, frame: pd.DataFrame, *, with_reported: bool) -> str:
    """Caption the training losses."""
    text = "Running means over the batches of each epoch, averaged over "
    text += f"trials, for {notes.cells_shown(results, frame)}. "
    text += notes.intervals(frame, what="Bands") + " "
    if with_reported:
        text += "Crosses: what the original report logged for its one network. "
    return text + notes.denominators(results)


def plot_loss_curves(
    frame: pd.DataFrame,
    *,
    quantity: str,
    colors: dict[Any, Any],
    reported: pd.DataFrame | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw one training loss by epoch, a line for each cell with its band.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `summary.losses_by_epoch`.
    quantity : "recon" or "kl_nats"
    colors : dict
        Cell to colour; also the order of the lines.
    reported : pandas.DataFrame or None
        quantity, epoch, reported: marks of the original report.
    ax : Axes or None
    **kwargs
        Passed to `Axes.plot`.
    """
    ax = ax or plt.gca()
    known = frame[frame["quantity"] == quantity]
    positive = known.loc[known["estimate"] > 0, "estimate"]
    floor = 0.5 * float(positive.min()) if len(positive) else 1e-3
    for cell, color in colors.items():
        line = frame[(frame["cell"] == cell) & (frame["quantity"] == quantity)]
        # A band down to zero ends at the axis: its logarithm would end nowhere.
        low = line["low"].clip(lower=floor)
        ax.fill_between(line["epoch"], low, line["high"], color=color, alpha=0.2, lw=0)
        ax.plot(
            line["epoch"],
            line["estimate"],
            color=color,
            label=cell_text(str(cell)),
            **kwargs,
        )
    if reported is not None:
        marks = reported[reported["quantity"] == quantity]
        ax.plot(
            marks["epoch"],
            marks["reported"],
            "X",
            ms=7,
            color=theme.REPORTED_COLOR,
            mec="white",
            mew=0.7,
            zorder=5,
            label="original report",
        )
    ax.set(xlabel="epoch", ylabel=name_of(quantity), yscale="log")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    plain_log_ticks(ax, "y")
    return ax


FIGURE = ReportFigure("loss_curves", draw_loss_curves)
