"""What the figures of an adaptive sweep share: its cells, their points, words and axes."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures.layout import NotApplicable
from analysis.frames import adaptive
from analysis.load import Results

CELL_COLOR = "#0072b2"
BEST_COLOR = "#d55e00"
FRESH_COLOR = "#009e73"
BARS = (
    "Points are means over replicates, corrected for their data seeds; bars are one standard "
    "error from the noise pooled over cells; larger points have more replicates."
)


def search_of(results: Results) -> dict[str, Any]:
    """Return the search's settings; a sweep without one has none of these figures."""
    search = adaptive.search_of(results)
    if search is None:
        raise NotApplicable("this sweep has no search")
    return search


def cells_of(results: Results) -> pd.DataFrame:
    """Return the cells that the search asked for, some with a value."""
    search_of(results)
    frame = adaptive.suggestions(results)
    if frame.dropna(subset=["value"]).empty:
        raise NotApplicable("no cell of the search has a value yet")
    return frame


def objectives_of(frame: pd.DataFrame) -> list[str]:
    """List the objectives of a search in their order."""
    return list(dict.fromkeys(frame["objective"]))


def counts_text(frame: pd.DataFrame) -> str:
    """Write how many cells and trainings a frame of one or more objectives holds."""
    one = frame[frame["objective"].eq(frame["objective"].iloc[0])]
    n_cells, n_stopped = len(one), int(one["stopped_epoch"].notna().sum())
    n_failed = int(one["value"].isna().sum()) - n_stopped
    stopped = f", {n_stopped} stopped early and not drawn" if n_stopped else ""
    failed = f", {n_failed} without a value" if n_failed else ""
    n = one.loc[one["stopped_epoch"].isna(), "n"]
    return (
        f"{n_cells} cells{stopped}{failed}, {int(n.sum())} trainings, "
        f"{int(n.min())} to {int(n.max())} replicates a cell."
    )


def plot_cells(ax: Axes, x: Any, frame: pd.DataFrame, **kwargs: Any) -> None:
    """Draw cells as points with one standard error; better known ones are larger."""
    style: dict[str, Any] = {"fmt": "none", "ecolor": CELL_COLOR, "elinewidth": 0.7, "alpha": 0.5}
    ax.errorbar(x, frame["value"], yerr=frame["se"].fillna(0), **style)
    sizes = 8 + 5 * frame["n"].to_numpy(float)
    style = {"s": sizes, "color": CELL_COLOR, "ec": "white", "lw": 0.4, "alpha": 0.85}
    ax.scatter(x, frame["value"], **(style | {"zorder": 3} | kwargs))


def set_scale(ax: Axes, which: str, values: pd.Series, *, log: bool) -> None:
    """Scale an axis; a logarithm is labelled with plain numbers, whole numbers with whole ones."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    if log:
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0), numticks=8))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    elif values.astype(float).mod(1).eq(0).all():
        axis.set_major_locator(ticker.MaxNLocator(6, integer=True))


def mark_best(ax: Axes, frame: pd.DataFrame, x: pd.Series) -> None:
    """Ring the cells believed best and show what fresh seeds gave them."""
    best = frame[frame["is_best"].astype(bool)]
    style: dict[str, Any] = {"facecolor": "none", "lw": 1.4, "s": 90, "zorder": 5}
    ax.scatter(x[best.index], best["value"], ec=BEST_COLOR, label="believed best", **style)
    fresh = frame.dropna(subset=["fresh_value"])
    if len(fresh):
        ax.errorbar(
            x[fresh.index],
            fresh["fresh_value"],
            yerr=fresh["fresh_se"].fillna(0),
            fmt="*",
            ms=9,
            color=FRESH_COLOR,
            elinewidth=1,
            zorder=6,
            label="on fresh seeds",
        )
