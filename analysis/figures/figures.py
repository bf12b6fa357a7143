"""Drawing: each function takes a tidy frame and one Axes, and gives the Axes back.

Frames come from `analysis.frames.summary` and already hold every number shown. `ax=None` means
the current Axes; further keywords go to the main artist.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from analysis.figures import theme
from analysis.figures.factor_axis import FactorAxis, set_factor_axis
from analysis.wording.names import NULL_NAMES, cell_text, level_text, name_of, source_name

FloatArray = NDArray[np.float64]
# Above this share at the ceiling a cell's mean is not to be read without it.
SHOWN_SHARE = 0.05
LETTERS_PER_INCH = 14


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
        From `summary.losses_by_epoch`.
    quantity : "recon" or "kl_nats"
    colors : dict
        Cell to colour; also the order of the lines.
    reported : pandas.DataFrame or None
        quantity, epoch, reported: marks of the original report.
    ax : Axes or None
    **kwargs
        To `Axes.plot`.
    """
    ax = ax or plt.gca()
    for cell, color in colors.items():
        line = frame[(frame["cell"] == cell) & (frame["quantity"] == quantity)]
        ax.fill_between(line["epoch"], line["low"], line["high"], color=color, alpha=0.2, lw=0)
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


def plot_bic_curves(
    frame: pd.DataFrame,
    *,
    source: str,
    protocol: str = "calibrated",
    original_range: tuple[int, int] = (5, 14),
    true_k: int | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw BIC above its minimum against k, one thin line a seed, minima marked.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.bic_curves`.
    source, protocol : str
        Which curves.
    original_range : (int, int)
        Range of the original protocol, shaded; its upper end is the original's ceiling.
    true_k : int or None
        K, marked.
    ax : Axes or None
    **kwargs
        To the lines.
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


def plot_coverage(
    frame: pd.DataFrame,
    *,
    x: str,
    sources: Sequence[str] = ("means", "samples", "codes"),
    write_shares: bool = True,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw coverage against a factor: an interval for each source, the control as a band.

    The dashed line is the ceiling k_max / K. A hollow point has 5 % or more of its trials at the
    ceiling; above it stands the share.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.coverage_by_cell`, one protocol, one row for each level of x and source.
    x : str
        The factor's column.
    sources : sequence of str
    write_shares : bool
        False where panels are too narrow for the shares' text.
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    positions = set_factor_axis(ax, frame[x])
    ceiling = frame.drop_duplicates(x)
    _plot_level_line(ax, positions(ceiling[x]), ceiling["ceiling"])
    _plot_control(ax, frame[frame["source"] == "data"], positions, x)
    ax.axhline(1, color=theme.NEUTRAL, ls=":", lw=1)
    shown = [name for name in sources if (frame["source"] == name).any()]
    for index, source in enumerate(shown):
        rows = frame[frame["source"] == source]
        place = positions(rows[x], shift=index - (len(shown) - 1) / 2)
        style = {} if positions.is_numeric else {"ls": ""}
        plot_intervals(ax, place, rows, source=source, **(style | kwargs))
        _mark_ceiling(ax, place, rows, write_shares=write_shares)
    ax.set(xlabel=name_of(x), ylabel=name_of("coverage"))
    fit_coverage_axis(ax, frame)
    return ax


def fit_coverage_axis(ax: Axes, frame: pd.DataFrame) -> None:
    """Leave room above the highest point of a frame for the shares written there.

    Panels that share an axis are fitted once more, to the frame of them all. Where the ceiling
    k_max / K moves with K, ratios span decades and the axis is logarithmic.
    """
    shown = frame[["estimate", "low", "high", "ceiling"]].to_numpy(float)
    top, bottom = float(np.nanmax(shown)), float(np.nanmin(shown))
    crowded = bool((frame["n_at_ceiling"] > 0).any())
    if frame["ceiling"].nunique() > 1 and bottom > 0 and top / bottom > 8:
        ax.set_yscale("log")
        ax.set_ylim(bottom / 1.3, top * (2 if crowded else 1.2))
        plain_log_ticks(ax, "y")
    else:
        ax.set_ylim(0, top * (1.22 if crowded else 1.06))


def _plot_control(ax: Axes, control: pd.DataFrame, positions: FactorAxis, x: str) -> None:
    """Draw the control's line and band; a single level becomes a stub across the panel."""
    if control.empty:
        return
    low = control["low"].fillna(control["estimate"])
    high = control["high"].fillna(control["estimate"])
    color = theme.SOURCE_COLORS["data"]
    place, (middle, lower, upper) = positions.widened(control[x], control["estimate"], low, high)
    ax.fill_between(place, lower, upper, color=color, alpha=0.15, lw=0)
    ax.plot(place, middle, color=color, lw=1.2, label=source_name("data"))


def _plot_level_line(ax: Axes, place: FloatArray, ceiling: pd.Series) -> None:
    order = np.argsort(place)
    place, values = place[order], ceiling.to_numpy(float)[order]
    if len(place) == 1 or np.ptp(values) == 0:
        ax.axhline(values[0], color=theme.CEILING_COLOR, ls="--", lw=1, label="ceiling k_max / K")
    else:
        ax.plot(place, values, color=theme.CEILING_COLOR, ls="--", lw=1, label="ceiling k_max / K")


def plot_intervals(
    ax: Axes, place: FloatArray, rows: pd.DataFrame, *, source: str, **kwargs: Any
) -> None:
    """Draw estimates with their intervals in one source's colour, marker and dash."""
    order = np.argsort(place)
    rows, place = rows.iloc[order], place[order]
    below = (rows["estimate"] - rows["low"]).clip(lower=0).fillna(0)
    above = (rows["high"] - rows["estimate"]).clip(lower=0).fillna(0)
    style: dict[str, Any] = {
        "color": theme.SOURCE_COLORS[source],
        "marker": theme.SOURCE_MARKERS[source],
        "ls": theme.SOURCE_DASHES[source],
        "ms": 4.5,
        "lw": 1.1,
        "capsize": 2,
        "label": source_name(source),
    }
    ax.errorbar(place, rows["estimate"], yerr=[below, above], **(style | kwargs))


def _mark_ceiling(
    ax: Axes, place: FloatArray, rows: pd.DataFrame, *, write_shares: bool = True
) -> None:
    """Hollow the points of one source whose mean is only a lower bound; write by how much."""
    flagged = (rows["share_at_ceiling"] >= SHOWN_SHARE).to_numpy(bool)
    rows, place = rows[flagged], place[flagged]
    if rows.empty:
        return
    source = rows["source"].iloc[0]
    color, marker = theme.SOURCE_COLORS[source], theme.SOURCE_MARKERS[source]
    hollow: dict[str, Any] = {"mfc": "white", "mec": color, "mew": 1.1, "ms": 4.2, "zorder": 5}
    ax.plot(place, rows["estimate"], ls="", marker=marker, **hollow)
    tops = rows["high"].fillna(rows["estimate"])
    for position, top, share in zip(place, tops, rows["share_at_ceiling"], strict=True):
        if write_shares:
            ax.annotate(
                f"{share:.0%}",
                (position, top),
                xytext=(0, 4),
                ha="center",
                textcoords="offset points",
                size=6.5,
                rotation=90,
                zorder=6,
                color=color,
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )


def plot_coverage_by_source(
    frame: pd.DataFrame, trials: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw coverage of each source when nothing is swept: every count and its interval.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.coverage_by_cell`, one cell and protocol.
    trials : pandas.DataFrame
        From `summary.coverage_trials`, the same cell and protocol.
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    sources = [name for name in theme.SOURCE_COLORS if (frame["source"] == name).any()]
    shift = np.random.default_rng(0)
    ax.axhline(
        frame["ceiling"].iloc[0],
        color=theme.CEILING_COLOR,
        ls="--",
        lw=1,
        label="ceiling k_max / K",
    )
    ax.axhline(1, color=theme.NEUTRAL, ls=":", lw=1)
    for place, source in enumerate(sources):
        counts = trials.loc[trials["source"] == source, "coverage"].to_numpy(float)
        spread = shift.uniform(-0.28, 0.02, len(counts))
        ax.scatter(
            place + spread,
            counts,
            s=9,
            alpha=0.5,
            lw=0,
            color=theme.SOURCE_COLORS[source],
            marker=theme.SOURCE_MARKERS[source],
        )
        rows = frame[frame["source"] == source]
        position = np.array([place + 0.2])
        plot_intervals(ax, position, rows, source=source, **({"ls": ""} | kwargs))
        _mark_ceiling(ax, position, rows)
    names = [textwrap.fill(source_name(name), 10) for name in sources]
    ax.set_xticks(range(len(sources)), names)
    ax.set_xlim(-0.5, len(sources) - 0.5)
    ax.set_ylabel(name_of("coverage"))
    fit_coverage_axis(ax, frame)
    return ax


def plot_endpoint(
    frame: pd.DataFrame,
    *,
    x: str,
    endpoint: str,
    hue: str | None = None,
    colors: dict[Any, Any] | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw one endpoint against a factor with its intervals, a line for each level of hue.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.endpoints_by_cell`.
    x, endpoint : str
    hue : str or None
        Column that separates lines.
    colors : dict or None
        Level of hue to colour.
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    rows = frame[frame["endpoint"] == endpoint]
    positions = set_factor_axis(ax, rows[x])
    levels = list(colors) if colors else [None]
    for index, level in enumerate(levels):
        part = rows if level is None or hue is None else rows[rows[hue] == level]
        if part.empty:
            continue
        style: dict[str, Any] = {"marker": "oD^sv"[index % 5], "label": level_text(level)}
        style |= {"ls": "-" if positions.is_numeric else ""}
        if level is not None and colors:
            style["color"] = colors[level]
        place = positions(part[x], shift=(index - (len(levels) - 1) / 2) * 0.6)
        plot_intervals(ax, place, part, source="samples", **(style | kwargs))
    ax.set(xlabel=name_of(x), ylabel=name_of(endpoint))
    if len(positions.levels) > 5:
        ax.tick_params(axis="x", labelrotation=60)
    return ax


def plot_recall_spurious(
    frame: pd.DataFrame,
    *,
    colors: dict[Any, Any],
    nulls: pd.DataFrame | None = None,
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw mode recall against spurious mass, a point for each trial.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.recall_and_spurious`, one source.
    colors : dict
        Cell to colour.
    nulls : pandas.DataFrame or None
        null, mode_recall, spurious_mass: null models, drawn as stars with their names.
    ax : Axes or None
    **kwargs
        To `Axes.scatter`.
    """
    ax = ax or plt.gca()
    # Recall is a share of few components: the shift shows points that would lie on each other.
    shift = np.random.default_rng(0)
    for index, (cell, color) in enumerate(colors.items()):
        rows = frame[frame["cell"] == cell]
        height = rows["mode_recall"].to_numpy(float) + shift.uniform(-0.008, 0.008, len(rows))
        style: dict[str, Any] = {"s": 16, "alpha": 0.75, "lw": 0.3, "edgecolor": "white"}
        style |= {"rasterized": True} | kwargs
        ax.scatter(
            rows["spurious_mass"],
            height,
            color=color,
            marker="oD^sv"[index % 5],
            label=cell_text(str(cell)),
            **style,
        )
    ax.set(xlabel=name_of("spurious_mass"), ylabel=name_of("mode_recall"))
    ax.set_ylim(-0.03, 1.04)
    # Shared axes keep the widest panel in view.
    widest = 1.06 * float(frame["spurious_mass"].max())
    if nulls is not None and len(nulls):
        widest = max(widest, 1.12 * float(nulls["spurious_mass"].max()))
        _mark_nulls(ax, nulls)
    ax.set_xlim(min(0.0, float(frame["spurious_mass"].min())), max(widest, ax.get_xlim()[1], 0.02))
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5))
    return ax


def _mark_nulls(ax: Axes, nulls: pd.DataFrame) -> None:
    for row in nulls.to_dict("records"):
        place = (row["spurious_mass"], row["mode_recall"])
        ax.plot(*place, "*", ms=11, color="black", mec="white", mew=0.6, zorder=5)
        name = NULL_NAMES.get(row["null"], row["null"])
        style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "zorder": 6}
        text = ax.annotate(name, place, size=7, xytext=(0, -11), **style)
        text.set_path_effects([withStroke(linewidth=2, foreground="white")])


def turn_crowded_ticks(ax: Axes, width: float) -> None:
    """Turn the x labels of a panel of so many inches where they would run into each other."""
    letters = sum(len(label.get_text()) + 2 for label in ax.get_xticklabels())
    if letters > LETTERS_PER_INCH * width:
        ax.tick_params(axis="x", labelrotation=60)


def plain_log_ticks(ax: Axes, which: str) -> None:
    """Write a log axis' ticks as plain numbers, few enough not to collide."""
    axis = ax.yaxis if which == "y" else ax.xaxis
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())
