"""Heat maps of the primary endpoints over two factors."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, new_figure, panels_of
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import level_text, name_of

# Inches that a printed page has room for.
PAGE_HEIGHT = 10.0


def draw_response_surface(results: Results) -> Drawn:
    """Heat maps of the primary endpoints over two factors."""
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if len(factors) < 2:
        raise NotApplicable("a response surface needs two swept factors")
    frame = summary.endpoints_by_cell(results)
    frame = frame.dropna(subset=["estimate"]) if len(frame) else frame
    if frame.empty:
        raise NotApplicable("no finished trial has the primary endpoints")
    x, y = factors[:2]
    n_endpoints = frame["endpoint"].nunique()
    # Three titles, which name endpoint and unit, are all that a row has room for.
    per_row = min(max(1, 15 // frame[x].nunique()), 3)
    height = 0.27 * frame[y].nunique() + 0.95
    # As many panels as a page is high.
    n_panels = min(5, int(PAGE_HEIGHT // height) * per_row // n_endpoints)
    panels = panels_of(results, frame, factors[2:], max(1, n_panels))
    drawn = pd.concat([part for _, part in panels])
    endpoints = list(dict.fromkeys(drawn["endpoint"]))[::-1]
    maps = [(endpoint, title, part) for title, part in panels for endpoint in endpoints]
    n_columns = min(len(maps), per_row)
    n_rows = -(-len(maps) // n_columns)
    figure = new_figure(theme.FULL_WIDTH, n_rows * height)
    axes = np.ravel(figure.subplots(n_rows, n_columns, squeeze=False))
    for ax, (endpoint, title, part) in zip(axes, maps, strict=False):
        rows = drawn[drawn["endpoint"] == endpoint]
        limits = (float(rows["estimate"].min()), float(rows["estimate"].max()))
        # Axes that move together give cells that agree in x and y.
        part = part[part["endpoint"] == endpoint].drop_duplicates([x, y])
        plot_response_surface(part, x=x, y=y, limits=limits, ax=ax)
        where = title.replace("\n", ", ")
        ax.set_title("\n".join(filter(None, [name_of(endpoint), where])), size=8)
    for ax in axes[len(maps) :]:
        ax.remove()
    return Drawn(
        figure,
        drawn,
        "Response surface",
        caption(results, drawn, x=x, y=y),
        f"Heat maps of the primary endpoints over {name_of(x)} and {name_of(y)}, "
        "means and half-widths written in each field.",
        "summary.endpoints_by_cell(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame, *, x: str, y: str) -> str:
    """Caption the response surfaces."""
    total = summary.cells(results)["cell"].nunique()
    n = frame["cell"].nunique()
    few = f" {total - n} of {total} cells are left out" * (n < total)
    few += f", those far from {summary.reference_cell(results)}." * (n < total)
    return (
        f"Mean of each primary endpoint on samples over {name_of(x)} and "
        f"{name_of(y)}; colours span each endpoint's own range. After ±: half the width of "
        f"the interval. {notes.intervals(frame, what='Intervals')}{few} "
        f"{notes.denominators(results)}"
    )


def plot_response_surface(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    limits: tuple[float, float],
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw one endpoint over two factors: colour and text its mean, below it half its interval.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `summary.endpoints_by_cell`, one endpoint, one row for each level of x and y.
    x, y : str
        Factors.
    limits : (float, float)
        Ends of the colour scale, shared by the panels that are compared.
    ax : Axes or None
    **kwargs
        Passed to `seaborn.heatmap`.
    """
    ax = ax or plt.gca()
    means = frame.pivot(index=y, columns=x, values="estimate").iloc[::-1]
    half = ((frame["high"] - frame["low"]) / 2).where(frame["interval"] != "constant")
    halves = frame.assign(half=half).pivot(index=y, columns=x, values="half").iloc[::-1]
    texts = [
        [_surface_text(mean, half) for mean, half in zip(row, other, strict=True)]
        for row, other in zip(means.to_numpy(float), halves.to_numpy(float), strict=True)
    ]
    size = 6.5 if means.shape[1] <= 5 else 5.6
    style: dict[str, Any] = {
        "cmap": theme.SURFACE_MAP,
        "cbar": False,
        "linewidths": 0.6,
        "fmt": "",
    }
    style |= {"vmin": limits[0], "vmax": limits[1], "annot_kws": {"size": size}} | kwargs
    sns.heatmap(means.astype(float), annot=np.array(texts), ax=ax, **style)
    ax.set_xticklabels([level_text(value) for value in means.columns], rotation=0)
    ax.set_yticklabels([level_text(value) for value in means.index], rotation=0)
    ax.set(xlabel=name_of(x), ylabel=name_of(y))
    ax.grid(False)
    return ax


def _surface_text(mean: float, half: float) -> str:
    if not np.isfinite(mean):
        return ""
    return f"{mean:.2f}" if not np.isfinite(half) else f"{mean:.2f}\n±{half:.2f}"


FIGURE = ReportFigure("response_surface", draw_response_surface, kind="design", number="F8")
