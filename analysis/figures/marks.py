"""Marks that several figures draw: intervals, importances, tick labels that do not collide."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.figures import theme
from analysis.wording.names import name_of, source_name

FloatArray = NDArray[np.float64]
LETTERS_PER_INCH = 14


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


def plot_importances(frame: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw each factor's importance by every evaluator; the dummy's line is the noise floor.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.importances` or `adaptive.search_importances`; intervals (low, high) where
        there are any.
    ax : Axes or None
    **kwargs
        Passed to `Axes.barh`.
    """
    ax = ax or plt.gca()
    evaluators = [name for name in theme.EVALUATOR_COLORS if (frame["evaluator"] == name).any()]
    order = frame.groupby("factor", sort=False)["is_dummy"].first().astype(bool)
    factors = [*order.index[~order], *order.index[order]]
    height = 0.8 / len(evaluators)
    for index, name in enumerate(evaluators):
        rows = frame[frame["evaluator"] == name].drop_duplicates("factor").set_index("factor")
        rows = rows.reindex(factors)
        places = np.arange(len(factors))[::-1] - (index - (len(evaluators) - 1) / 2) * height
        value = rows["importance"].to_numpy(float)
        intervals: dict[str, Any] = {}
        if "low" in rows:
            below = np.nan_to_num(value - rows["low"].to_numpy(float)).clip(min=0)
            above = np.nan_to_num(rows["high"].to_numpy(float) - value).clip(min=0)
            intervals = {"xerr": [below, above]}
        style: dict[str, Any] = {"color": theme.EVALUATOR_COLORS[name], "height": 0.9 * height}
        style |= {"label": name, "hatch": ["", "///", "..."][index], "edgecolor": "white"}
        style |= {"error_kw": {"lw": 0.9, "capsize": 2, "ecolor": "#555555"}} | intervals | kwargs
        # Seen as zero, a negative estimate of a share is still written in the table.
        ax.barh(places, value.clip(min=0), **style)
    names = [name_of(str(name)) for name in factors]
    ax.set_yticks(np.arange(len(factors))[::-1], names)
    ax.set_xlim(left=0)
    ax.set_xlabel("importance (share)")
    ax.grid(False, axis="y")
    return ax
