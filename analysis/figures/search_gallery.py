"""Figures of an adaptive sweep: what was asked, what was found, and how sure that is.

Each builder takes `Results` and returns a `Drawn`, or raises `NotApplicable` with the reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import search_figures, theme
from analysis.figures.layout import Drawn, NotApplicable, legend_below, new_figure
from analysis.frames import adaptive as searched
from analysis.load import Results
from analysis.wording.names import name_of

MAX_SLICES = 6
MAX_CUTS = 3


def _search(results: Results) -> dict[str, Any]:
    search = searched.search_of(results)
    if search is None:
        raise NotApplicable("this sweep has no search")
    return search


def _cells(results: Results) -> pd.DataFrame:
    _search(results)
    frame = searched.suggestions(results)
    if frame.dropna(subset=["value"]).empty:
        raise NotApplicable("no cell of the search has a value yet")
    return frame


def _objectives(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame["objective"]))


def _counts(frame: pd.DataFrame) -> str:
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


_BARS = (
    "Points are means over replicates, corrected for their data seeds; bars are one standard "
    "error from the noise pooled over cells; larger points have more replicates."
)


def draw_search_history(results: Results) -> Drawn:
    """Each cell's mean in the order of asking, and the winner on fresh seeds."""
    frame, level = _cells(results), _search(results).get("level")
    objectives = _objectives(frame)
    figure = new_figure(theme.FULL_WIDTH, 2.9 * len(objectives))
    axes = figure.subplots(len(objectives), 1, squeeze=False, sharex=True)[:, 0]
    for ax, objective in zip(axes, objectives, strict=True):
        part = frame[frame["objective"].eq(objective)]
        search_figures.plot_history(part, level=level, ax=ax)
        ax.set_ylabel(objective if len(objective) < 34 else "objective")
        ax.label_outer()
    legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "What the search asked for",
        f"{_counts(frame)} {_BARS} {_fresh_text(frame)}".strip(),
        "Objective of each cell against the order in which cells were proposed.",
        "searched.suggestions(load_results(PATH))",
    )


def _fresh_text(frame: pd.DataFrame) -> str:
    fresh = frame.dropna(subset=["fresh_value"])
    if fresh.empty:
        return ""
    rows = (
        f"{row['value']:.3g} ± {row['se']:.2g} while searching, {row['fresh_value']:.3g} ± "
        f"{row['fresh_se']:.2g} on {int(row['fresh_n'])} trainings with fresh data seeds"
        for _, row in fresh.iterrows()
    )
    return (
        "The best of many noisy means is too good (the winner's curse), so winners were measured "
        f"again: {'; '.join(rows)}."
    )


def draw_search_slices(results: Results) -> Drawn:
    """The objective against each searched field."""
    frame = _cells(results)
    fields = [f for f in searched.searched_fields(results) if frame[f].nunique() > 1][:MAX_SLICES]
    if not fields:
        raise NotApplicable("no searched field has taken two values")
    objectives = _objectives(frame)
    figure = new_figure(theme.FULL_WIDTH * 1.1, 2.5 * len(objectives) + 0.4)
    axes = figure.subplots(len(objectives), len(fields), squeeze=False, sharey="row")
    for row, objective in zip(axes, objectives, strict=True):
        part = frame[frame["objective"].eq(objective)]
        for ax, field in zip(row, fields, strict=True):
            log = searched.is_log(results, field)
            search_figures.plot_slice(part, x=field, log=log, ax=ax)
            ax.label_outer()
        row[0].set_ylabel(objective if len(objective) < 34 else "objective")
    legend_below(figure, axes[0][0])
    return Drawn(
        figure,
        frame,
        "The objective along each searched field",
        f"{_counts(frame)} {_BARS} All cells are in each panel, whatever their other fields.",
        f"Objective against {', '.join(map(name_of, fields))}.",
        "searched.suggestions(load_results(PATH))",
    )


def draw_search_map(results: Results) -> Drawn:
    """A fitted map over two searched fields; for a boundary, the level and its band."""
    search, frame = _search(results), _cells(results)
    fields = [f for f in searched.numeric_fields(results) if frame[f].nunique() > 1]
    if len(fields) < 2:
        raise NotApplicable("a map needs two searched numbers")
    objective = _objectives(frame)[0]
    part = frame[frame["objective"].eq(objective)].dropna(subset=["value", *fields])
    if len(part) < searched.MIN_CELLS:
        raise NotApplicable(f"a map needs {searched.MIN_CELLS} cells; {len(part)} have a value")
    x, y, *others = fields
    cuts = _cuts(part, others)
    maps = [searched.search_map(results, objective, x=x, y=y, held=held) for held in cuts]
    low, high = min(m.mean.min() for m in maps), max(m.mean.max() for m in maps)
    levels = np.linspace(low, high if high > low else low + 1, 13)
    figure = new_figure(theme.FULL_WIDTH * (1.0 if len(cuts) == 1 else 1.25), 3.2)
    axes = figure.subplots(1, len(cuts), squeeze=False, sharey=True)[0]
    logs = (searched.is_log(results, x), searched.is_log(results, y))
    for ax, found in zip(axes, maps, strict=True):
        filled = search_figures.plot_map(
            found, part, level=search.get("level"), logs=logs, levels=levels, ax=ax
        )
        ax.set_title(", ".join(f"{name_of(k)} = {v:.4g}" for k, v in found.held.items()))
        ax.label_outer()
    figure.colorbar(filled, ax=list(axes), label=objective, shrink=0.9)
    return Drawn(
        figure,
        _map_frame(maps),
        "Map of the search",
        f"{_counts(frame)} {_map_text(search, objective, maps)}",
        f"Contours of {objective} over {name_of(x)} and {name_of(y)}.",
        "searched.search_map(load_results(PATH), OBJECTIVE, x=X, y=Y, held=HELD)",
    )


def _cuts(frame: pd.DataFrame, others: list[str]) -> list[dict[str, float]]:
    """Choose where the other fields are held: three values of the first, medians of the rest."""
    if not others:
        return [{}]
    first, *rest = others
    middle = {name: float(frame[name].median()) for name in rest}
    values = np.unique(np.quantile(frame[first].astype(float), [0.1, 0.5, 0.9], method="nearest"))
    return [{first: float(value), **middle} for value in values[:MAX_CUTS]]


def _map_text(search: dict[str, Any], objective: str, maps: list[searched.SearchMap]) -> str:
    sd = float(np.median([m.sd for m in maps]))
    text = (
        f"Colour: {objective} by a Gaussian process (Matern 3/2) fitted to all cells' means with "
        f"their standard errors; its median standard deviation on the map is {sd:.2g}. Circles: "
        "the cells, larger with more replicates, drawn in every panel."
    )
    if "level" in search:
        text += (
            f" White: where the map is {search['level']:g}; dashed: where it is within 1.96 of "
            "its standard deviations of that."
        )
    return text


def _map_frame(maps: list[searched.SearchMap]) -> pd.DataFrame:
    frames = []
    for found in maps:
        xs, ys = np.meshgrid(found.xs, found.ys)
        columns = {found.x: xs.ravel(), found.y: ys.ravel(), **found.held}
        numbers = {"mean": found.mean.ravel(), "sd": found.sd.ravel()}
        frames.append(pd.DataFrame({**columns, **numbers}))
    return pd.concat(frames, ignore_index=True)


def draw_pareto(results: Results) -> Drawn:
    """Two objectives against each other."""
    frame = _cells(results)
    objectives = _objectives(frame)
    if len(objectives) < 2:
        raise NotApplicable("the search has one objective")
    first, second = (frame[frame["objective"].eq(name)] for name in objectives[:2])
    figure = new_figure(theme.FULL_WIDTH * 0.75, 3.6)
    ax = figure.subplots()
    search_figures.plot_pareto(first, second, ax=ax)
    legend_below(figure, ax)
    return Drawn(
        figure,
        frame,
        "Pareto front",
        f"{_counts(frame)} {_BARS} The front is that of the means: cells within their errors of "
        "it may belong to it.",
        f"{objectives[0]} against {objectives[1]}, the front joined.",
        "searched.suggestions(load_results(PATH))",
    )


def draw_search_importances(results: Results) -> Drawn:
    """Which searched field matters, by evaluator, beside a parameter of noise."""
    objective = _objectives(_cells(results))[0]
    frame = searched.search_importances(results, objective)
    if frame.empty:
        raise NotApplicable(f"importances need {searched.MIN_CELLS} cells with every field")
    figure = new_figure(theme.FULL_WIDTH * 0.8, 1.6 + 0.4 * frame["factor"].nunique())
    ax = figure.subplots()
    search_figures.plot_importances(frame, ax=ax)
    legend_below(figure, ax)
    return Drawn(
        figure,
        frame,
        "Importance of the searched fields",
        f"Of {objective}. fANOVA: share of the variance that a forest explains by the field. "
        "PED-ANOVA: how far the field separates the best tenth of the cells. The noise parameter "
        "was added afterwards: what does not exceed its bar is not told from noise.",
        "Bars of importance by field and evaluator.",
        "searched.search_importances(load_results(PATH), OBJECTIVE)",
    )
