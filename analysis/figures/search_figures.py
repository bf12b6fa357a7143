"""Drawing an adaptive sweep: history, slices, a map, the Pareto front, importances.

Each function takes a frame that already holds every number, and one Axes.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.frames.adaptive import SearchMap
from analysis.wording.names import name_of

CELL_COLOR = "#0072b2"
BEST_COLOR = "#d55e00"
FRESH_COLOR = "#009e73"
EVALUATOR_COLORS = {"fANOVA": "#0072b2", "PED-ANOVA": "#e69f00"}


def _plot_cells(ax: Axes, x: Any, frame: pd.DataFrame, **kwargs: Any) -> None:
    """Draw cells as points with one standard error; better known ones are larger."""
    style: dict[str, Any] = {"fmt": "none", "ecolor": CELL_COLOR, "elinewidth": 0.7, "alpha": 0.5}
    ax.errorbar(x, frame["value"], yerr=frame["se"].fillna(0), **style)
    sizes = 8 + 5 * frame["n"].to_numpy(float)
    style = {"s": sizes, "color": CELL_COLOR, "ec": "white", "lw": 0.4, "alpha": 0.85}
    ax.scatter(x, frame["value"], **(style | {"zorder": 3} | kwargs))


def _set_scale(ax: Axes, which: str, values: pd.Series, *, log: bool) -> None:
    """Scale an axis; a logarithm is labelled with plain numbers, whole numbers with whole ones."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    if log:
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0), numticks=8))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    elif values.astype(float).mod(1).eq(0).all():
        axis.set_major_locator(ticker.MaxNLocator(6, integer=True))


def plot_history(
    frame: pd.DataFrame, *, level: float | None = None, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw each cell's mean in the order of asking.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `searched.suggestions`, one objective.
    level : float or None
        Of a boundary, marked.
    ax : Axes or None
    **kwargs
        To the points.
    """
    ax = ax or plt.gca()
    known = frame.dropna(subset=["value"])
    _plot_cells(ax, known["suggestion"], known, label="cell (mean ± SE)", **kwargs)
    if level is not None:
        ax.axhline(level, color=theme.CEILING_COLOR, ls="--", lw=1, label=f"level {level:g}")
    else:
        lowest = known["direction"].eq("minimize").all()
        best = known["value"].cummin() if lowest else known["value"].cummax()
        ax.step(
            known["suggestion"],
            best,
            where="post",
            color=theme.NEUTRAL,
            lw=1,
            label="best mean so far",
        )
        mark_best(ax, known, known["suggestion"])
    ax.set_xlabel("cell, in the order of asking")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    return ax


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


def plot_slice(
    frame: pd.DataFrame, *, x: str, log: bool = False, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw the cells' means against one searched field, whatever the others are.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `searched.suggestions`, one objective.
    x : str
        Field.
    log : bool
        Whether it was searched on a logarithmic scale.
    ax : Axes or None
    **kwargs
        To the points.
    """
    ax = ax or plt.gca()
    known = frame.dropna(subset=["value", x])
    if pd.api.types.is_numeric_dtype(known[x]):
        positions = known[x].astype(float)
        _set_scale(ax, "x", positions, log=log)
    else:
        levels = list(dict.fromkeys(known[x].astype(str)))
        positions = known[x].astype(str).map(levels.index).astype(float)
        ax.set_xticks(range(len(levels)), levels)
        ax.set_xlim(-0.5, len(levels) - 0.5)
    _plot_cells(ax, positions, known, **kwargs)
    mark_best(ax, known, positions)
    ax.set_xlabel(name_of(x))
    return ax


def plot_map(
    found: SearchMap,
    frame: pd.DataFrame,
    *,
    level: float | None = None,
    logs: tuple[bool, bool] = (False, False),
    ax: Axes | None = None,
    **kwargs: Any,
) -> Any:
    """Draw the fitted map, the cells under it, and for a boundary the level with its band.

    Parameters
    ----------
    found : SearchMap
    frame : pandas.DataFrame
        The cells to mark.
    level : float or None
        Of a boundary.
    logs : (bool, bool)
        Whether x and y are logarithmic.
    ax : Axes or None
    **kwargs
        To the filled contours.

    Returns
    -------
    The filled contours, for a colour bar.
    """
    ax = ax or plt.gca()
    shades: dict[str, Any] = {"levels": 12, "cmap": "cividis"} | kwargs
    filled = ax.contourf(found.xs, found.ys, found.mean, **shades)
    if level is not None:
        ax.contour(found.xs, found.ys, found.mean, levels=[level], colors="white", linewidths=2)
        for sign in (-1.96, 1.96):
            ax.contour(
                found.xs,
                found.ys,
                found.mean + sign * found.sd,
                levels=[level],
                colors="white",
                linewidths=0.9,
                linestyles="--",
            )
    style: dict[str, Any] = {
        "s": 10 + 4 * frame["n"].to_numpy(float),
        "fc": "none",
        "ec": "black",
        "lw": 0.7,
    }
    ax.scatter(frame[found.x].astype(float), frame[found.y].astype(float), **style)
    for which, name, log in zip("xy", (found.x, found.y), logs, strict=True):
        _set_scale(ax, which, frame[name], log=log)
    ax.set_xlabel(name_of(found.x))
    ax.set_ylabel(name_of(found.y))
    return filled


def plot_pareto(
    first: pd.DataFrame, second: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw two objectives against each other; the front is ringed and joined.

    Parameters
    ----------
    first, second : pandas.DataFrame
        From `searched.suggestions`, one objective each.
    ax : Axes or None
    **kwargs
        To the points.
    """
    ax = ax or plt.gca()
    both = first.merge(second, on="suggestion", suffixes=("_x", "_y"))
    both = both.dropna(subset=["value_x", "value_y"])
    ax.errorbar(
        both["value_x"],
        both["value_y"],
        xerr=both["se_x"].fillna(0),
        yerr=both["se_y"].fillna(0),
        fmt="none",
        ecolor=CELL_COLOR,
        elinewidth=0.6,
        alpha=0.4,
    )
    style: dict[str, Any] = {
        "s": 8 + 5 * both["n_x"].to_numpy(float),
        "color": CELL_COLOR,
        "ec": "white",
    }
    ax.scatter(
        both["value_x"],
        both["value_y"],
        **(style | {"lw": 0.4, "zorder": 3} | kwargs),
        label="cell (mean ± SE)",
    )
    front = both[both["is_best_x"].astype(bool)].sort_values("value_x")
    ax.plot(
        front["value_x"],
        front["value_y"],
        "o-",
        color=BEST_COLOR,
        mfc="none",
        ms=9,
        lw=1,
        label="no cell is better in both",
        zorder=4,
    )
    for name, setter in (("x", ax.set_xlabel), ("y", ax.set_ylabel)):
        setter(f"{both[f'objective_{name}'].iloc[0]} ({both[f'direction_{name}'].iloc[0]})")
    return ax


def plot_importances(frame: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw importances as bars, an evaluator each; the noise parameter's bar is the floor.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `searched.search_importances`.
    ax : Axes or None
    **kwargs
        To the bars.
    """
    ax = ax or plt.gca()
    order = frame.groupby("factor")["importance"].max().sort_values().index
    evaluators = list(dict.fromkeys(frame["evaluator"]))
    height = 0.8 / len(evaluators)
    for i, evaluator in enumerate(evaluators):
        part = frame[frame["evaluator"].eq(evaluator)].set_index("factor")["importance"]
        at = np.arange(len(order)) + (i - (len(evaluators) - 1) / 2) * height
        style = {"height": height, "color": EVALUATOR_COLORS[evaluator], "label": evaluator}
        ax.barh(at, part.reindex(order).fillna(0), **(style | kwargs))
    ax.set_yticks(range(len(order)), [name_of(name) for name in order])
    ax.set_xlabel("importance (share)")
    return ax
