"""Marks that several figures draw: intervals, and tick labels that do not collide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.figures import theme
from analysis.wording.names import source_name

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
