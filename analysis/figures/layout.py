"""What every figure's builder shares: what a figure is, and how panels and cells are chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from analysis.frames import summary
from analysis.load import Results
from analysis.wording.names import level_text, name_of, source_name

MAX_LINES = 10
# Inches that a row of a legend below takes.
LEGEND_ROW = 0.17
MAX_PANELS = 8
# Narrower panels have no room for text at the points.
MAX_LABELLED_PANELS = 3


class NotApplicable(Exception):
    """A figure that this sweep cannot show; the message says why."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished figure.

    Parameters
    ----------
    figure : Figure
    data : pandas.DataFrame
        The numbers drawn.
    title, caption, alt : str
        Heading, caption, and a description for readers who cannot see the picture.
    query : str
        The Python that gives `data`.
    """

    figure: Figure
    data: pd.DataFrame
    title: str
    caption: str
    alt: str
    query: str


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A figure of the report: what a file of this folder, or a plug-in, hands to the registry.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and underscores; names the files and is what `--only` takes.
    draw : callable
        Takes `Results` and returns a `Drawn`, or raises `NotApplicable` with the reason that the
        report prints in its place. Keywords with defaults are what it lets a caller choose.
    kind : "any", "design" or "search"
        The sweeps that it is for. "design": of designed cells alone, since averages over cells
        that a search chose by their results are not effects. "search": of adaptive sweeps alone.
    number : str
        The study's own number of it, such as F3, which `--only` takes too; may be empty.
    section : "endpoints", "robustness", "theory" or "search"
        The part of the page that it stands in.
    """

    name: str
    draw: Callable[..., Drawn]
    kind: Literal["any", "design", "search"] = "any"
    number: str = ""
    section: Literal["endpoints", "robustness", "theory", "search"] = "theory"


def new_figure(width: float, height: float) -> Figure:
    """Make a figure, inches, that finds room for its labels itself."""
    return Figure(figsize=(width, height), layout="constrained")


def thinned(levels: list[Any], n: int = MAX_LINES) -> list[Any]:
    """Keep at most n levels, evenly, both ends among them."""
    if len(levels) <= n:
        return levels
    index = np.unique(np.linspace(0, len(levels) - 1, n).round().astype(int))
    return [levels[i] for i in index]


def cells_to_draw(results: Results, frame: pd.DataFrame) -> list[str]:
    """Choose the cells whose lines fit one panel.

    When there are too many: those that differ from the reference cell in the main factor alone.
    """
    drawable = set(frame["cell"])
    present = [cell for cell in summary.cells(results)["cell"] if cell in drawable]
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if len(present) > MAX_LINES and len(factors) > 1:
        table = summary.cells(results).set_index("cell")
        same = _as_in_reference(results, table, factors[1:])
        present = [cell for cell in present if same[cell]]
    return thinned(present)


def _as_in_reference(results: Results, frame: pd.DataFrame, factors: list[str]) -> pd.Series:
    """Mark the rows whose levels of some factors are those of the reference cell."""
    levels = summary.cells(results).set_index("cell")[factors].astype(str)
    own = levels.loc[summary.reference_cell(results)]
    return (frame[factors].astype(str) == own).all(axis=1)


def near_groups(
    results: Results, frame: pd.DataFrame, factors: list[str], n: int
) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Split a frame by factors into at most n parts: their levels, and the rows.

    When there are too many: those that differ from the reference cell in the first factor alone,
    its own among them.
    """
    groups = list(frame.groupby(factors, sort=False, dropna=False))
    if len(groups) <= n:
        return groups
    near = frame[_as_in_reference(results, frame, factors[1:])]
    groups = list(near.groupby(factors, sort=False, dropna=False)) or groups
    own = [bool(_as_in_reference(results, rows, factors).all()) for _, rows in groups]
    kept = thinned(list(range(len(groups))), n)
    if True in own and own.index(True) not in kept:
        kept[0] = own.index(True)
    return [groups[index] for index in sorted(kept)]


def panels_of(
    results: Results, frame: pd.DataFrame, factors: list[str], n: int = MAX_PANELS
) -> list[tuple[str, pd.DataFrame]]:
    """Split a frame by the factors that are not on the x axis; at most n parts, with titles."""
    if not factors:
        return [("", frame)]
    panels = []
    for levels, part in near_groups(results, frame, factors, n):
        named = zip(factors, levels, strict=True)
        title = "\n".join(f"{name_of(n)} = {level_text(v)}" for n, v in named)
        panels.append((title, part))
    return panels


def limits_of(points: pd.DataFrame, columns: list[str]) -> list[tuple[float, float]]:
    """Return common limits with equal spans, so that distances compare across axes."""
    low = points[columns].min().to_numpy(float)
    high = points[columns].max().to_numpy(float)
    middle, half = (low + high) / 2, 0.53 * float((high - low).max())
    return [(float(m - half), float(m + half)) for m in middle]


def legend_below(figure: Figure, ax: Any, title: str | None = None) -> None:
    """Put the legend of one panel below them all; rows beyond the first make the figure taller."""
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    widest = max((len(label) for label in unique), default=1)
    columns = max(1, min(len(unique), int(100 / (widest + 8))))
    n_rows = math.ceil(len(unique) / columns) + (title is not None)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * max(n_rows - 1, 0))
    figure.legend(
        list(unique.values()), list(unique), loc="outside lower center", ncols=columns, title=title
    )


def settle_labels(ax: Axes, texts: Sequence[Annotation]) -> None:
    """Move labels to where they cover neither each other nor another mark, inside their axes.

    Parameters
    ----------
    ax : Axes
        Of a figure that is otherwise complete: its layout is solved here.
    texts : sequence of Annotation
        Labels at offsets in points from their marks.
    """
    figure = ax.get_figure(root=True)
    if figure is None or not texts:
        return
    figure.draw_without_rendering()
    inside = ax.get_window_extent()
    marks = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in
             (ax.transData.transform(text.xy) for text in texts)]  # fmt: skip
    placed: list[Bbox] = []
    for index, text in enumerate(texts):
        taken = [*placed, *(mark for n, mark in enumerate(marks) if n != index)]
        for x, y, across, up in _AROUND:
            text.set_position((x, y))
            text.set(ha=across, va=up)
            box = text.get_window_extent()
            is_free = not any(box.overlaps(other) for other in taken)
            if is_free and inside.contains(*box.min) and inside.contains(*box.max):
                break
        placed.append(text.get_window_extent())


# Offsets in points and how the text lies there: below first, then farther and farther around.
_AROUND: tuple[tuple[float, float, Any, Any], ...] = tuple(
    place
    for far in (6.0, 14.0, 24.0, 36.0)
    for place in (
        (0.0, -far, "center", "top"),
        (far, 0.0, "left", "center"),
        (-far, 0.0, "right", "center"),
        (0.0, far, "center", "bottom"),
        (far, -far, "left", "top"),
        (-far, -far, "right", "top"),
    )
)


def listed(sources: list[str]) -> str:
    """Return the names of sources in a sentence."""
    names = [source_name(name) for name in sources]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def true_k_of(results: Results, cell: str) -> float:
    """Return the number of true components of a cell."""
    trials = results.trials
    return float(trials.loc[trials["cell"] == cell, "n_components"].iloc[0])


def varies(results: Results, endpoint: str) -> bool:
    """Return whether the finished trials have more than one value of an endpoint."""
    done = summary.done_trials(results.trials)
    return endpoint in done and done[endpoint].nunique() > 1
