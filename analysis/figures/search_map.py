"""A fitted map over two searched fields; for a boundary, the level and its band."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, new_figure
from analysis.figures.search_marks import (
    cells_of,
    counts_text,
    objectives_of,
    search_of,
    set_scale,
)
from analysis.frames import adaptive
from analysis.frames.adaptive import SearchMap
from analysis.load import Results
from analysis.wording.names import name_of

MAX_CUTS = 3


def draw_search_map(results: Results) -> Drawn:
    """A fitted map over two searched fields; for a boundary, the level and its band."""
    search, frame = search_of(results), cells_of(results)
    fields = [f for f in adaptive.numeric_fields(results) if frame[f].nunique() > 1]
    if len(fields) < 2:
        raise NotApplicable("a map needs two searched numbers")
    objective = objectives_of(frame)[0]
    part = frame[frame["objective"].eq(objective)].dropna(subset=["value", *fields])
    if len(part) < adaptive.MIN_CELLS:
        raise NotApplicable(f"a map needs {adaptive.MIN_CELLS} cells; {len(part)} have a value")
    x, y, *others = fields
    cuts = _cuts(part, others)
    maps = [adaptive.search_map(results, objective, x=x, y=y, held=held) for held in cuts]
    low, high = min(m.mean.min() for m in maps), max(m.mean.max() for m in maps)
    levels = np.linspace(low, high if high > low else low + 1, 13)
    figure = new_figure(theme.FULL_WIDTH * (1.0 if len(cuts) == 1 else 1.25), 3.2)
    axes = figure.subplots(1, len(cuts), squeeze=False, sharey=True)[0]
    logs = (adaptive.is_log(results, x), adaptive.is_log(results, y))
    for ax, found in zip(axes, maps, strict=True):
        filled = plot_map(found, part, level=search.get("level"), logs=logs, levels=levels, ax=ax)
        ax.set_title(", ".join(f"{name_of(k)} = {v:.4g}" for k, v in found.held.items()))
        ax.label_outer()
    figure.colorbar(filled, ax=list(axes), label=objective, shrink=0.9)
    return Drawn(
        figure,
        _map_frame(maps),
        "Map of the search",
        f"{counts_text(frame)} {_map_text(search, objective, maps)}",
        f"Contours of {objective} over {name_of(x)} and {name_of(y)}.",
        "adaptive.search_map(load_results(PATH), OBJECTIVE, x=X, y=Y, held=HELD)",
    )


def _cuts(frame: pd.DataFrame, others: list[str]) -> list[dict[str, float]]:
    """Choose where the other fields are held: three values of the first, medians of the rest."""
    if not others:
        return [{}]
    first, *rest = others
    middle = {name: float(frame[name].median()) for name in rest}
    values = np.unique(np.quantile(frame[first].astype(float), [0.1, 0.5, 0.9], method="nearest"))
    return [{first: float(value), **middle} for value in values[:MAX_CUTS]]


def _map_text(search: dict[str, Any], objective: str, maps: list[SearchMap]) -> str:
    sd = float(np.median([m.sd for m in maps]))
    text = (
        f"Colour: {objective} by a Gaussian process (Matern 5/2) fitted to all cells' means with "
        f"their standard errors; its median standard deviation on the map is {sd:.2g}. Circles: "
        "the cells, larger with more replicates, drawn in every panel."
    )
    if "level" in search:
        text += (
            f" White: where the map is {search['level']:g}; dashed: where it is within 1.96 of "
            "its standard deviations of that."
        )
    return text


def _map_frame(maps: list[SearchMap]) -> pd.DataFrame:
    frames = []
    for found in maps:
        xs, ys = np.meshgrid(found.xs, found.ys)
        columns = {found.x: xs.ravel(), found.y: ys.ravel(), **found.held}
        numbers = {"mean": found.mean.ravel(), "sd": found.sd.ravel()}
        frames.append(pd.DataFrame({**columns, **numbers}))
    return pd.concat(frames, ignore_index=True)


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
        Level of a boundary.
    logs : (bool, bool)
        Whether x and y are logarithmic.
    ax : Axes or None
    **kwargs
        Passed to the filled contours.

    Returns
    -------
    The filled contours, for a colour bar.
    """
    ax = ax or plt.gca()
    shades: dict[str, Any] = {"levels": 12, "cmap": theme.SURFACE_MAP} | kwargs
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
        set_scale(ax, which, frame[name], log=log)
    ax.set_xlabel(name_of(found.x))
    ax.set_ylabel(name_of(found.y))
    return filled


FIGURE = ReportFigure("search_map", draw_search_map, kind="search", section="search")
