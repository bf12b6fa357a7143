"""Drawing counts beyond their means: paired with the control, censored, against n, by origin.

Each function takes a tidy frame that already holds every number, and one Axes.
"""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.factor_axis import set_factor_axis
from analysis.figures.figures import plot_intervals
from analysis.wording.names import cell_labels, cell_text, name_of, source_name

PART_COLORS = {
    "one each": "#0072b2",
    "fragments": "#e69f00",
    "bridges": "#cc79a7",
    "light": "#9a9a9a",
}
PART_HATCHES = {"one each": "", "fragments": "///", "bridges": "...", "light": "xx"}


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


def plot_survival(
    frame: pd.DataFrame,
    *,
    source: str,
    true_k: float | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw P(k* > k) as a step function with its band; a cross ends a censored curve.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.survival`, one cell, one source.
    source : str
        For colour, dash and label.
    true_k : float or None
        K, marked.
    ax : Axes or None
    **kwargs
        To `Axes.step`.
    """
    ax = ax or plt.gca()
    color = theme.SOURCE_COLORS[source]
    if true_k is not None and not any(line.get_gid() == "true K" for line in ax.lines):
        ax.axvline(true_k, color=theme.NEUTRAL, ls=":", lw=1.2, gid="true K")
    k = frame["k"].to_numpy(float)
    places = np.concatenate([[k[0] - 1], k])
    levels = np.concatenate([[1.0], frame["survival"].to_numpy(float)])
    low, high = (
        np.concatenate([[1.0], frame[name].fillna(frame["survival"]).to_numpy(float)])
        for name in ("low", "high")
    )
    style: dict[str, Any] = {"color": color, "ls": theme.SOURCE_DASHES[source], "lw": 1.5}
    style |= {"where": "post", "label": source_name(source)} | kwargs
    ax.fill_between(places, low, high, step="post", color=color, alpha=0.15, lw=0)
    ax.step(places, levels, **style)
    if int(frame["n_censored"].iloc[0]):
        last = float(frame["survival"].iloc[-1])
        ax.plot([k[-1]], [last], "X", color=color, ms=7, mec="white", mew=0.6, zorder=5)
    ax.set(xlabel="k", ylabel="P(k* > k)")
    ax.set_ylim(-0.03, 1.03)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    return ax


def plot_ceiling_shares(frame: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw the share of counts at the ceiling, a bar for each source.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.coverage_by_cell`, one cell, one protocol.
    ax : Axes or None
    **kwargs
        To `Axes.barh`.
    """
    ax = ax or plt.gca()
    rows = frame.iloc[::-1]
    names = [textwrap.fill(source_name(name), 14) for name in rows["source"]]
    colors = [theme.SOURCE_COLORS[name] for name in rows["source"]]
    style: dict[str, Any] = {"color": colors, "height": 0.6} | kwargs
    bars = ax.barh(names, rows["share_at_ceiling"].astype(float).to_numpy(), **style)
    numbers = zip(rows["n_at_ceiling"], rows["n_trials"], strict=True)
    ax.bar_label(bars, [f"{n} of {of}" for n, of in numbers], padding=3, size=7.5)
    ax.set_xlim(0, 1.38)
    ax.set_xticks([0, 0.5, 1.0], ["0%", "50%", "100%"])
    ax.set_xlabel("share at the ceiling")
    ax.grid(False, axis="y")
    return ax


def plot_count_by_size(
    frame: pd.DataFrame, *, x: str = "detection_n_samples", ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw k* against the number of points counted, a line for each source.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.coverage_by_cell` with columns estimate, low and high in components; one
        protocol, one row for each level of x and source.
    x : str
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    positions = set_factor_axis(ax, frame[x])
    sources = [name for name in theme.SOURCE_COLORS if (frame["source"] == name).any()]
    for index, source in enumerate(sources):
        rows = frame[frame["source"] == source]
        place = positions(rows[x], shift=(index - (len(sources) - 1) / 2) * 0.5)
        plot_intervals(ax, place, rows, source=source, **kwargs)
    ax.set(xlabel=name_of(x), ylabel="detected modes k*")
    ax.set_ylim(0, 1.08 * float(np.nanmax(frame[["estimate", "high"]].to_numpy(float))))
    return ax


def plot_composition(
    frame: pd.DataFrame,
    *,
    names: dict[str, str],
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw the parts of k* stacked, a bar for each cell; a line marks K.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `composition.composition_by_cell`.
    names : dict
        Part to its legend text, in the order of stacking.
    ax : Axes or None
    **kwargs
        To `Axes.barh`.
    """
    ax = ax or plt.gca()
    places = np.arange(len(frame))[::-1]
    base = np.zeros(len(frame))
    for part, label in names.items():
        widths = frame[part].to_numpy(float)
        style: dict[str, Any] = {"color": PART_COLORS[part], "hatch": PART_HATCHES[part]}
        style |= {"height": 0.72, "edgecolor": "white", "lw": 0.4} | kwargs
        ax.barh(places, widths, left=base, label=label, **style)
        base += widths
    for index, (place, k) in enumerate(zip(places, frame["n_components"], strict=True)):
        once: dict[str, Any] = {} if index else {"label": "true K"}
        ax.plot([k, k], [place - 0.45, place + 0.45], color="black", lw=1.6, **once)
    ax.set_yticks(places, cell_labels(list(frame["cell"])))
    ax.set_ylim(-0.6 - (len(frame) == 1), len(frame) - 0.4 + (len(frame) == 1))
    ax.set_xlabel("fitted components, mean")
    ax.grid(False, axis="y")
    return ax
