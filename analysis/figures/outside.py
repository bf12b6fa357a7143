"""Mass outside the ellipsoids of the true components, over the size of the ellipsoids."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import (
    Drawn,
    NotApplicable,
    ReportFigure,
    cells_to_draw,
    legend_below,
    new_figure,
)
from analysis.frames.outside import outside_by_cell, widened_truths
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import cell_text, ellipsoid_text

# Shares of points below this are drawn at it: 10,000 points do not tell them from none.
SMALLEST_MASS = 1e-4


def draw_outside(results: Results) -> Drawn:
    """Mass of samples outside the ellipsoids of each level, by cell."""
    frame = outside_by_cell(results)
    if frame.empty:
        raise NotApplicable("no finished trial has its mass outside several ellipsoids")
    shown = cells_to_draw(results, frame)
    frame = frame[frame["cell"].isin(shown)]
    dims = sorted(frame["dim"].unique())
    figure = new_figure(theme.FULL_WIDTH, 3.4)
    axes = figure.subplots(1, len(dims), sharey=True, squeeze=False)[0]
    for ax, dim in zip(axes, dims, strict=True):
        part = frame[frame["dim"] == dim]
        truths = widened_truths(int(dim), sorted(part["ellipsoid"].unique()))
        plot_outside(part, truths=truths, colors=theme.level_colors(shown), ax=ax)
        ax.set_title(f"{dim:g} dimensions" if len(dims) > 1 else "")
        ax.label_outer()
    legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "How far outside the mass lies",
        caption(results, frame),
        "Lines of the mass of samples outside the ellipsoids of the true components, falling as "
        f"the ellipsoids grow, for {notes.count(len(shown), 'cell')} and for wider truths.",
        "frames.outside.outside_by_cell(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption the curve over levels."""
    n = notes.span_text(int(frame["n_data"].min()), int(frame["n_data"].max()))
    return (
        "Share of samples outside the ellipsoids that hold the given share of each true "
        f"component, less the same share of true data: mean over {n} data seeds in "
        f"{notes.cells_shown(results, frame)}, with 95 % intervals. Grey: a generator that has "
        "every mode and nothing between them, whose standard deviations are the given multiple "
        "of the true ones. What is outside the largest ellipsoids lies between the components; "
        f"what leaves with the next larger ellipsoid is their flanks. Shares below "
        f"{SMALLEST_MASS:g} are drawn there. Not comparable over dimensions. "
        f"{notes.denominators(results)}"
    )


def plot_outside(
    frame: pd.DataFrame,
    *,
    truths: pd.DataFrame,
    colors: dict[Any, Any],
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw the mass outside over the level, a line for each cell and for each wider truth.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `frames.outside.outside_by_cell`, of one dimension.
    truths : pandas.DataFrame
        From `frames.outside.widened_truths`.
    colors : dict
        Cell to colour.
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    for style, (factor, rows) in zip(("-", "--", ":"), truths.groupby("factor"), strict=True):
        ordered = rows.sort_values("ellipsoid")
        label = f"truth, {factor:g} times as wide"
        places = _places(ordered["ellipsoid"])
        ax.plot(places, _drawn(ordered["mass"]), style, color="0.55", lw=1.0, label=label)
    present = [cell for cell in colors if (frame["cell"] == cell).any()]
    for index, cell in enumerate(present):
        rows = frame[frame["cell"] == cell].sort_values("ellipsoid")
        middle, low, high = (_drawn(rows[name]) for name in ("estimate", "low", "high"))
        look: dict[str, Any] = {"lw": 1.3, "ms": 4, "elinewidth": 0.8, "capsize": 0}
        look |= {"marker": "oD^sv"[index % 5]} | kwargs
        ax.errorbar(
            _places(rows["ellipsoid"]) + 0.04 * (index - (len(present) - 1) / 2),
            middle,
            yerr=np.maximum([middle - low, high - middle], 0.0),
            color=colors[cell],
            label=cell_text(str(cell)),
            **look,
        )
    levels = sorted(truths["ellipsoid"].unique())
    ax.set_xticks(_places(pd.Series(levels)), [ellipsoid_text(level) for level in levels])
    ax.set_yscale("log")
    ax.set_ylim(0.8 * SMALLEST_MASS, 1.0)
    ax.set(xlabel="share of each true component inside", ylabel="mass outside, less true data's")
    return ax


def _places(levels: pd.Series) -> np.ndarray:
    """Return how many nines each level has."""
    return -np.log10(np.maximum(1.0 - levels.to_numpy(float), 1e-16))


def _drawn(masses: pd.Series) -> np.ndarray:
    return np.maximum(masses.to_numpy(float), SMALLEST_MASS)


FIGURE = ReportFigure("outside", draw_outside, kind="design", number="F16", section="robustness")
