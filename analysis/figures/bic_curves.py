"""BIC against the number of components, one line per seed."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import (
    Drawn,
    NotApplicable,
    ReportFigure,
    legend_below,
    listed,
    new_figure,
)
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import source_name
from study.results import SOURCES


def draw_bic_curves(results: Results) -> Drawn:
    """BIC against k for every source in the reference cell."""
    cell = summary.reference_cell(results)
    trials = summary.done_trials(results.trials)
    trials = trials[trials["cell"] == cell]
    frame = summary.bic_curves(results, trials)
    protocol = "calibrated" if (frame["protocol"] == "calibrated").any() else "original"
    frame = frame[frame["protocol"] == protocol]
    sources = [name for name in SOURCES if (frame["source"] == name).any()]
    if trials.empty or not sources:
        raise NotApplicable(f"no BIC curve was stored for a finished trial of the cell {cell!r}")
    figure = new_figure(theme.FULL_WIDTH, 2.5 * ((len(sources) + 1) // 2))
    axes = np.ravel(
        figure.subplots(
            (len(sources) + 1) // 2, min(2, len(sources)), sharex=True, sharey=True, squeeze=False
        )
    )
    true_k = int(trials["n_components"].iloc[0])
    for ax, source in zip(axes, sources, strict=False):
        plot_bic_curves(
            frame,
            source=source,
            protocol=protocol,
            true_k=true_k,
            original_range=summary.ORIGINAL_RANGE,
            ax=ax,
        )
        ax.label_outer()
    for ax in axes[len(sources) :]:
        ax.remove()
    legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "BIC against the number of components",
        caption(frame, cell=cell, protocol=protocol, true_k=true_k),
        f"Line charts of BIC above its minimum against k for {listed(sources)}, "
        "one line for each seed, the original range 5 to 14 shaded.",
        f"summary.bic_curves(results, results.trials.query('cell == {cell!r}'))",
    )


def caption(frame: pd.DataFrame, *, cell: str, protocol: str, true_k: int) -> str:
    """Caption the BIC curves of one cell."""
    curves = frame.drop_duplicates(["owner_id", "source"])
    sizes = curves.groupby("source", sort=False).size()
    drawn = ", ".join(f"{source_name(name)} {n}" for name, n in sizes.items())
    low, high = summary.ORIGINAL_RANGE
    text = (
        f"BIC of full-covariance Gaussian mixtures, each curve above its own minimum "
        f"(linear below 10, logarithmic above), by the {protocol} protocol"
        f"{notes.in_cell(cell)}. One thin line per seed; curves: {drawn}. Markers: selected k*. "
        f"Shaded: the original's range, k = {low} to {high}; dashed: its ceiling; "
        f"dotted: the true K = {true_k}."
    )
    selected = frame[frame["selected"].fillna(False).astype(bool)]
    beyond = selected[selected["k"] > high].groupby("source", sort=False).size()
    if len(beyond):
        shares = [f"{n} of {sizes.at[name]} for {source_name(name)}" for name, n in beyond.items()]
        text += f" Minima beyond k = {high}: " + ", ".join(shares) + "."
    capped = selected[selected["at_ceiling"].fillna(False).astype(bool)].groupby("source").size()
    if len(capped):
        shares = [f"{n} of {sizes.at[name]} for {source_name(name)}" for name, n in capped.items()]
        text += " At the end of the wide range too: " + ", ".join(shares) + "."
    return text


def plot_bic_curves(
    frame: pd.DataFrame,
    *,
    source: str,
    protocol: str = "calibrated",
    original_range: tuple[int, int] = summary.ORIGINAL_RANGE,
    true_k: int | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw BIC above its minimum against k, one thin line a seed, minima marked.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `summary.bic_curves`.
    source, protocol : str
        Which curves.
    original_range : (int, int)
        Range of the original protocol, shaded; its upper end is the original's ceiling.
    true_k : int or None
        K, marked.
    ax : Axes or None
    **kwargs
        Passed to the lines.
    """
    ax = ax or plt.gca()
    curves = frame[(frame["source"] == source) & (frame["protocol"] == protocol)]
    color = theme.SOURCE_COLORS[source]
    _shade_original_range(ax, original_range, true_k)
    # Hundreds of curves would make an SVG file of megabytes.
    many = curves["owner_id"].nunique() > 60
    style: dict[str, Any] = {"color": color, "lw": 0.7, "alpha": 0.45, "rasterized": many} | kwargs
    sns.lineplot(
        data=curves,
        x="k",
        y="delta_bic",
        units="owner_id",
        estimator=None,
        errorbar=None,
        legend=False,
        ax=ax,
        **style,
    )
    minima = curves[curves["selected"].astype(bool)]
    ax.plot(
        minima["k"],
        minima["delta_bic"],
        ls="",
        marker=theme.SOURCE_MARKERS[source],
        ms=5,
        color=color,
        mec="white",
        mew=0.5,
        clip_on=False,
        zorder=4,
    )
    ax.set_yscale("symlog", linthresh=10)
    # Shared axes keep the highest panel in view.
    ax.set_ylim(0, max(ax.get_ylim()[1], 1.5 * curves["delta_bic"].max(), 10))
    ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    ax.set(xlabel="components k", ylabel="BIC above its minimum", title=source_name(source))
    return ax


def _shade_original_range(ax: Axes, original_range: tuple[int, int], true_k: int | None) -> None:
    low, high = original_range
    ax.axvspan(
        low,
        high,
        color=theme.PROTOCOL_COLORS["original"],
        alpha=0.18,
        lw=0,
        label=f"original's range, {low} to {high}",
    )
    ax.axvline(high, color=theme.CEILING_COLOR, ls="--", lw=1, label="original's ceiling")
    if true_k is not None:
        ax.axvline(true_k, color=theme.NEUTRAL, ls=":", lw=1.2, label=f"true K = {true_k}")


FIGURE = ReportFigure("bic_curves", draw_bic_curves, number="F1", section="robustness")
