"""Where the levels of a swept factor stand on an axis."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.figures import theme
from analysis.wording.names import level_text

FloatArray = NDArray[np.float64]


class FactorAxis:
    """Places the levels of a factor on an axis: numbers to scale, anything else evenly.

    Parameters
    ----------
    levels : pandas.Series
        The factor's values, repeats allowed.
    """

    def __init__(self, levels: pd.Series) -> None:
        numeric = pd.api.types.is_numeric_dtype(levels) and not pd.api.types.is_bool_dtype(levels)
        self.is_numeric = bool(numeric)
        self.levels = sorted(levels.unique()) if numeric else list(levels.unique())
        self.is_log = theme.is_log_scaled(levels)
        plain = [float(level) if numeric else float(i) for i, level in enumerate(self.levels)]
        places = np.log10(plain) if self.is_log else plain
        self.places = dict(zip(self.levels, places, strict=True))
        steps = np.diff(sorted(self.places.values()))
        self.step = float(steps.min()) if len(steps) else 1.0
        # With few levels a sideways shift need not grow with their distance.
        self.nudge = min(self.step, float(np.ptp(places)) / 5) if len(steps) else 0.5

    def __call__(self, values: pd.Series, *, shift: float = 0.0) -> FloatArray:
        """Place values, moved sideways by `shift` small steps."""
        place = np.array([self.places[value] for value in values], dtype=np.float64)
        place += 0.18 * shift * self.nudge
        return 10**place if self.is_log else place

    def widened(
        self, values: pd.Series, *heights: pd.Series
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Sort by place; a single level is stretched to a stub so that a band shows."""
        order = np.argsort(self(values))
        columns = [height.to_numpy(float)[order] for height in heights]
        if len(order) > 1:
            return self(values)[order], columns
        ends = [self(values, shift=-2)[0], self(values, shift=2)[0]]
        return np.array(ends), [np.repeat(column, 2) for column in columns]


def set_factor_axis(ax: Axes, levels: pd.Series) -> FactorAxis:
    """Prepare the x axis for a factor: scale, ticks at its levels, room at both ends."""
    axis = FactorAxis(levels)
    places = axis(pd.Series(axis.levels, dtype=object))
    edge = 0.5 * axis.step
    if axis.is_log:
        ax.set_xscale("log")
        ax.set_xlim(places.min() / 10**edge, places.max() * 10**edge)
    else:
        ax.set_xlim(places.min() - edge, places.max() + edge)
    shown = slice(None, None, 1 + len(places) // 11)
    ax.set_xticks(places[shown], [level_text(level) for level in axis.levels[shown]])
    ax.set_xticks([], minor=True)
    return axis
