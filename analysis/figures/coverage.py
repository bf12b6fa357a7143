"""Coverage against each swept factor, beside its control and its ceiling."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from analysis.figures import theme
from analysis.figures.factor_axis import FactorAxis, set_factor_axis
from analysis.figures.layout import (
    MAX_LABELLED_PANELS,
    Drawn,
    NotApplicable,
    ReportFigure,
    legend_below,
    new_figure,
    panels_of,
)
from analysis.figures.marks import FloatArray, plain_log_ticks, plot_intervals, turn_crowded_ticks
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import name_of, protocol_name, source_name
from study.results import PROTOCOLS

# Above this share at the ceiling a cell's mean is not to be read without it.
SHOWN_SHARE = 0.05


def draw_coverage(results: Results, *, protocol: str | None = None) -> Drawn:
    """Coverage against each swept factor, beside the control; None: by every protocol."""
    frame = summary.coverage_by_cell(results)
    if frame.empty:
        raise NotApplicable("no trial finished, so no mode was counted")
    if protocol is not None:
        counted = list(frame["protocol"].unique())
        if protocol not in counted:
            raise ValueError(f"protocol must be one of {', '.join(counted)}, not {protocol!r}")
        frame = frame[frame["protocol"] == protocol]
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    if not factors:
        return _coverage_of_one_cell(results, frame, protocols)
    panels = panels_of(results, frame, factors[1:])
    figure = new_figure(
        min(theme.FULL_WIDTH * 1.6, max(theme.FULL_WIDTH, 2.7 * len(panels))),
        0.5 + 2.7 * len(protocols),
    )
    axes = figure.subplots(len(protocols), len(panels), sharex=True, sharey="row", squeeze=False)
    for row, protocol in enumerate(protocols):
        for column, (title, part) in enumerate(panels):
            ax = axes[row, column]
            plot_coverage(
                part[part["protocol"] == protocol],
                x=factors[0],
                levels=frame[factors[0]],
                write_shares=len(panels) <= MAX_LABELLED_PANELS,
                ax=ax,
            )
            if row == 0:
                ax.set_title(title or protocol_name(protocol))
            elif not title:
                ax.set_title(protocol_name(protocol))
            ax.label_outer()
            turn_crowded_ticks(ax, figure.get_figwidth() / (len(panels) + 0.5))
            if title and column == 0:
                ax.set_ylabel(f"{protocol} protocol\n{name_of('coverage')}")
    legend_below(figure, axes[0, 0])
    drawn = pd.concat([part for _, part in panels])
    for row, protocol in enumerate(protocols):
        fit_coverage_axis(axes[row, 0], drawn[drawn["protocol"] == protocol])
    return Drawn(
        figure,
        drawn,
        "Coverage by swept factor",
        caption(results, drawn, factors=factors),
        f"Coverage of each source against {name_of(factors[0])}, "
        "the control as a band and the ceiling as a dashed line.",
        "summary.coverage_by_cell(load_results(PATH))",
    )


def _coverage_of_one_cell(results: Results, frame: pd.DataFrame, protocols: list[str]) -> Drawn:
    trials = summary.coverage_trials(results)
    figure = new_figure(theme.FULL_WIDTH, 3.2)
    axes = figure.subplots(1, len(protocols), squeeze=False)[0]
    for ax, protocol in zip(axes, protocols, strict=True):
        plot_coverage_by_source(
            frame[frame["protocol"] == protocol], trials[trials["protocol"] == protocol], ax=ax
        )
        ax.set_title(protocol_name(protocol))
    for ax in axes[1:]:
        # Each protocol has its own scale, so only the label is dropped, not the ticks.
        ax.set_ylabel("")
    return Drawn(
        figure,
        frame,
        "Coverage by source",
        caption(results, frame, factors=[]),
        "Coverage of each source by both protocols: every count as a point, "
        "the mean with its interval beside, the ceiling as a dashed line.",
        "summary.coverage_by_cell(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame, *, factors: Sequence[str]) -> str:
    """Caption the coverage figure."""
    text = "Detected modes k* over true components K. "
    if factors:
        text += "Band: the control (the same count on a fresh draw of the true mixture). "
    else:
        text += "Points: single counts; the control is the same count on fresh true data. "
    text += "Dotted: coverage 1. Dashed: the ceiling, the largest k tried over K. "
    text += (
        notes.intervals(frame)
        + " "
        + notes.ceiling_shares(frame)
        + " "
        + notes.denominators(results)
    )
    n_left = summary.coverage_by_cell(results)["cell"].nunique() - frame["cell"].nunique()
    if n_left:
        text += f" {n_left} cells are left out, those far from {summary.reference_cell(results)}."
    return text


def plot_coverage(
    frame: pd.DataFrame,
    *,
    x: str,
    levels: pd.Series | None = None,
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
    levels : pandas.Series or None
        The factor's levels, where panels share an axis and this one may lack some; None: the
        frame's own.
    sources : sequence of str
    write_shares : bool
        False where panels are too narrow for the shares' text.
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.

    Raises
    ------
    ValueError
        The frame holds more than one protocol: their ceilings and counts do not mix.
    """
    _require_one_protocol(frame)
    ax = ax or plt.gca()
    positions = set_factor_axis(ax, frame[x] if levels is None else levels)
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


def _require_one_protocol(frame: pd.DataFrame) -> None:
    found = list(frame["protocol"].unique()) if "protocol" in frame else []
    if len(found) > 1:
        raise ValueError(
            f"frame holds the protocols {' and '.join(found)}, whose ceilings and counts do not "
            f"mix; draw one: frame[frame['protocol'] == {found[-1]!r}]"
        )


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
        # Limits that follow the data: set ones would hold zero on a logarithmic axis, too.
        ends = [(0.0, 0.0), (0.0, top * (1.22 if crowded else 1.06))]
        ax.update_datalim(ends, updatex=False)
        ax.set_ymargin(0)
        ax.autoscale(axis="y")


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
    _require_one_protocol(frame)
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


FIGURE = ReportFigure("coverage", draw_coverage, kind="design", section="endpoints")
