"""How far the counts reach: P(k* > k) with counts at the ceiling censored."""

from __future__ import annotations

import textwrap
from dataclasses import replace
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
    legend_below,
    new_figure,
    true_k_of,
)
from analysis.frames import summary
from analysis.load import Results
from analysis.statistics import intervals as stats
from analysis.wording import notes
from analysis.wording.names import protocol_name, source_name
from study.results import PROTOCOLS, SOURCES


def draw_survival(results: Results) -> Drawn:
    """P(k* > k) by Kaplan-Meier for every source in the reference cell, by protocol."""
    cell = summary.reference_cell(results)
    # Bands of the other cells would be resampled for nothing.
    alone = replace(results, trials=results.trials[results.trials["cell"] == cell])
    parts = [
        summary.survival(alone, source, protocol).assign(source=source, protocol=protocol)
        for protocol in PROTOCOLS
        for source in SOURCES
    ]
    frame = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    if frame.empty:
        raise NotApplicable(f"no finished trial of the cell {cell!r} has a count")
    coverage = summary.coverage_by_cell(results)
    coverage = coverage[coverage["cell"] == cell]
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    figure = new_figure(theme.FULL_WIDTH, 2.5 * len(protocols))
    axes = figure.subplots(len(protocols), 2, squeeze=False, width_ratios=(1.7, 1))
    for (left, right), protocol in zip(axes, protocols, strict=True):
        for source in SOURCES:
            rows = frame[(frame["protocol"] == protocol) & (frame["source"] == source)]
            if len(rows):
                plot_survival(rows, source=source, true_k=true_k_of(results, cell), ax=left)
        left.set_title(protocol_name(protocol))
        plot_ceiling_shares(coverage[coverage["protocol"] == protocol], ax=right)
    legend_below(figure, axes[-1, 0])
    return Drawn(
        figure,
        frame,
        "How far the counts reach",
        caption(results, frame, cell=cell),
        "Step functions of the share of counts above k for each source, and bars of the share "
        "of counts at the ceiling, by protocol.",
        f"summary.survival(load_results(PATH), SOURCE, PROTOCOL).query(\"cell == '{cell}'\")",
    )


def caption(results: Results, frame: pd.DataFrame, *, cell: str) -> str:
    """Caption the survival curves."""
    curves = frame.drop_duplicates(["source", "protocol"])
    capped = [
        f"{source_name(r.source)} {int(r.n_censored)} of {int(r.n)} ({r.protocol})"
        for r in summary.named_rows(curves[curves["n_censored"] > 0])
    ]
    levels = curves["level"].dropna() if "level" in curves else pd.Series(dtype=float)
    band = f"{levels.iloc[0]:.0%} " if len(levels) else ""
    kinds = list(curves["interval"].dropna().unique()) if "interval" in curves else []
    how = " or ".join(stats.KIND_TEXT.get(str(kind), str(kind)) for kind in kinds)
    at = "; ".join(capped) if capped else "none"
    return (
        f"Share of counts above k{notes.in_cell(cell)}, Kaplan-Meier, with counts at the ceiling "
        f"censored: from the ceiling on, the curve is unknown (cross). Band: {band}{how or 'none'}"
        f". Dotted: true K. Counts at the ceiling: {at}. {notes.denominators(results)}"
    )


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


FIGURE = ReportFigure("survival", draw_survival, kind="design", number="F3", section="robustness")
