"""Counts beside their control, data seed by data seed."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
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
    thinned,
    true_k_of,
)
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import cell_text, protocol_name, source_name
from study.results import PROTOCOLS


def draw_paired_counts(results: Results) -> Drawn:
    """Control k* beside generated k*, data seed by data seed, and all differences."""
    source = "samples"
    frames = [
        summary.paired_counts(results, source, protocol).assign(protocol=protocol, source=source)
        for protocol in PROTOCOLS
    ]
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise NotApplicable("no finished trial has both a count of its samples and a control")
    cell = summary.reference_cell(results)
    if cell not in set(frame["cell"]):
        cell = str(frame["cell"].iloc[0])
    frame = frame[frame["cell"].isin(shown := _some_cells(results, frame))]
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    figure = new_figure(theme.FULL_WIDTH, 2.75 * len(protocols))
    # The steps of one or two data seeds would look like a law.
    with_steps = int(frame["data_seed"].nunique()) > 2
    shape: dict[str, Any] = {"width_ratios": (1, 1.25)} if with_steps else {}
    axes = figure.subplots(len(protocols), 1 + with_steps, squeeze=False, **shape)
    colors = theme.level_colors(shown)
    for (left, *right), protocol in zip(axes, protocols, strict=True):
        rows = frame[frame["protocol"] == protocol]
        true_k = true_k_of(results, cell)
        plot_paired_slopes(rows[rows["cell"] == cell], true_k=true_k, ax=left)
        left.set_title(protocol_name(protocol))
        for ax in right:
            plot_delta_steps(rows, colors=colors, ax=ax)
    if with_steps:
        legend_below(figure, axes[0, 1])
    return Drawn(
        figure,
        frame,
        "Counts beside their control",
        caption(results, frame, cell=cell, with_steps=with_steps),
        "Slopes from each data seed's control count to the count of its samples, and cumulative "
        "shares of the differences, by protocol.",
        'summary.paired_counts(load_results(PATH), "samples", "calibrated")',
    )


def _some_cells(results: Results, frame: pd.DataFrame) -> list[str]:
    """Choose at most 8 cells, the reference cell among them."""
    present = cells_to_draw(results, frame)
    reference = summary.reference_cell(results)
    few = thinned(present, 8)
    return few if reference in few or reference not in present else [reference, *few[1:]]


def caption(results: Results, frame: pd.DataFrame, *, cell: str, with_steps: bool) -> str:
    """Caption the counts beside their control."""
    rows = frame[frame["cell"] == cell]
    parts = []
    for protocol, part in rows.groupby("protocol", sort=False):
        above = int((part["delta"] > 0).sum())
        capped = int((part["at_ceiling"].astype(float) > 0).sum())
        seeds = notes.count(len(part), "data seed")
        text = f"{protocol} protocol {above} of {seeds} above the control"
        parts.append(text + (f", {capped} with counts at the ceiling" if capped else ""))
    shown = frame["cell"].nunique()
    total = summary.cells(results)["cell"].nunique()
    few = "" if shown == total else f" ({shown} of {total} cells)"
    text = (
        f"k* of the control and of samples for each data seed{notes.in_cell(cell)}, averaged "
        "over init seeds; hollow: some of these counts are at the ceiling, so the line ends too "
        f"low; dotted: true K. By the {'; '.join(parts)}. "
    )
    if with_steps:
        text += f"Right: cumulative share of the differences, by cell{few}. "
    return text + notes.denominators(results)


def plot_paired_slopes(
    frame: pd.DataFrame, *, true_k: float | None = None, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw k* of the control and of generated points, a line for each data seed.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.paired_counts`, one cell. Hollow: counts at the ceiling.
    true_k : float or None
        K, marked.
    ax : Axes or None
    **kwargs
        To the lines.
    """
    ax = ax or plt.gca()
    source = str(frame["source"].iloc[0]) if "source" in frame else "samples"
    control, color = theme.SOURCE_COLORS["data"], theme.SOURCE_COLORS[source]
    if true_k is not None:
        ax.axhline(true_k, color=theme.NEUTRAL, ls=":", lw=1.2, label=f"true K = {true_k:g}")
    style: dict[str, Any] = {"color": color, "lw": 0.9, "alpha": 0.55} | kwargs
    ends = frame[["k_control", "k_generated"]].to_numpy(float)
    for left, right in ends:
        ax.plot([0, 1], [left, right], **style)
    # Counts are whole numbers: the shift shows data seeds that coincide.
    shift = np.random.default_rng(0).uniform(-0.03, 0.03, len(ends))
    ax.plot(shift, ends[:, 0], "o", ms=4.5, color=control, mec="white", mew=0.5)
    capped = frame["at_ceiling"].astype(float).to_numpy() > 0
    marker = theme.SOURCE_MARKERS[source]
    for hollow, rows in ((False, ~capped), (True, capped)):
        face = "white" if hollow else color
        edge, width = (color, 1.0) if hollow else ("white", 0.5)
        style = {"marker": marker, "ms": 4.5, "mfc": face, "mec": edge, "mew": width, "zorder": 4}
        ax.plot(1 + shift[rows], ends[rows, 1], ls="", **style)
    ax.set_xticks([0, 1], ["control", source_name(source)])
    ax.set_xlim(-0.25, 1.25)
    ax.set_ylabel("detected modes k*")
    ax.yaxis.set_major_locator(ticker.MaxNLocator(7, integer=True))
    return ax


def plot_delta_steps(
    frame: pd.DataFrame,
    *,
    colors: dict[Any, Any],
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw the share of data seeds whose difference from the control is at most x.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.paired_counts`.
    colors : dict
        Cell to colour, also the order of the lines.
    ax : Axes or None
    **kwargs
        To `Axes.ecdf`.
    """
    ax = ax or plt.gca()
    ax.axvline(0, color=theme.NEUTRAL, ls=":", lw=1.2)
    for index, (cell, color) in enumerate(colors.items()):
        deltas = frame.loc[frame["cell"] == cell, "delta"].to_numpy(float)
        if len(deltas):
            style: dict[str, Any] = {"color": color, "lw": 1.4, "ls": _dash(index)} | kwargs
            ax.ecdf(deltas, label=cell_text(str(cell)), **style)
    ax.set(xlabel="k* less the control's", ylabel="share of data seeds at most x")
    ax.set_ylim(-0.02, 1.02)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    return ax


def _dash(index: int) -> Any:
    return ["-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5))][index % 4]


FIGURE = ReportFigure(
    "paired_counts", draw_paired_counts, kind="design", number="F2", section="robustness"
)
