"""What an adaptive sweep found, as frames: its cells in the order of asking, importances, a map.

A standard error here is one cell's, from the noise pooled over cells (`se`) or from the cell's own
data seeds (`fresh_se`); no interval of this module is corrected for having searched, which is what
the fresh seeds are for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

from analysis.frames.importance import optuna_importances
from analysis.load import Results
from study.results import read_table
from study.search.boundary import fit_surface

MIN_CELLS = 10  # for importances and maps
MAP_STEPS = 60
NOISE = "noise (floor)"


def search_of(results: Results) -> dict[str, Any] | None:
    """Return the search part of the resolved sweep; None if the sweep searched for nothing."""
    return results.manifest.sweep.get("search")


def suggestions(results: Results) -> pd.DataFrame:
    """List the cells of a search, one row per cell and objective, in the order of asking.

    Returns
    -------
    pandas.DataFrame
        Columns of the `suggestions` table, and one for each searched field under its leaf name
        (NaN where a conditional field is not active). Empty for a sweep without a search.
    """
    if search_of(results) is None:
        return pd.DataFrame()
    frame = read_table(results.location, "suggestions").sort_values(["objective", "suggestion"])
    points = [
        {name.rpartition(".")[2]: _plain(value) for name, value in json.loads(text).items()}
        for text in frame["point"]
    ]
    fields = pd.DataFrame(points, index=frame.index)
    return pd.concat([frame, fields], axis=1).reset_index(drop=True)


def _plain(value: Any) -> Any:
    return "x".join(map(str, value)) if isinstance(value, list) else value


def searched_fields(results: Results) -> list[str]:
    """List the searched fields by leaf name, in the file's order."""
    search = search_of(results)
    return [name.rpartition(".")[2] for name in search["space"]] if search else []


def numeric_fields(results: Results) -> list[str]:
    """List the searched fields that are numbers, with a range or as choices."""
    search = search_of(results) or {"space": {}}
    found = []
    for name, form in search["space"].items():
        ends = next(iter(value for key, value in form.items() if key != "when"))
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in ends):
            found.append(name.rpartition(".")[2])
    return found


def is_log(results: Results, field: str) -> bool:
    """Return whether a field was searched on a logarithmic scale."""
    search = search_of(results) or {"space": {}}
    return any(
        n.rpartition(".")[2] == field and "log" in form for n, form in search["space"].items()
    )


def search_importances(results: Results, objective: str) -> pd.DataFrame:
    """Return which searched fields matter, by two evaluators that ask different questions.

    Parameters
    ----------
    results : Results
    objective : str
        One of the search's expressions.

    Returns
    -------
    pandas.DataFrame
        factor, evaluator ("fANOVA": share of the variance explained; "PED-ANOVA": what separates
        the best tenth), importance, is_dummy (a parameter of pure noise, the floor). Empty below
        10 cells with a value.
    """
    frame = suggestions(results)
    frame = frame[frame["objective"].eq(objective)].dropna(subset=["value"])
    fields = searched_fields(results)
    frame = frame.dropna(subset=fields)  # conditional fields have no importance beside others
    if len(frame) < MIN_CELLS:
        return pd.DataFrame(columns=["factor", "evaluator", "importance", "is_dummy"])
    lowest = frame["direction"].eq("minimize").all()
    trials, space = _parameters(frame, fields)
    evaluators = {
        "fANOVA": FanovaImportanceEvaluator(seed=0),
        "PED-ANOVA": PedAnovaImportanceEvaluator(),
    }
    rows = []
    for name, evaluator in evaluators.items():
        found = optuna_importances(
            trials, space, evaluator, direction="minimize" if lowest else "maximize"
        )
        rows += [
            {"factor": factor, "evaluator": name, "importance": share, "is_dummy": factor == NOISE}
            for factor, share in found.items()
        ]
    return pd.DataFrame(rows)


def _parameters(
    frame: pd.DataFrame, fields: list[str]
) -> tuple[pd.DataFrame, dict[str, optuna.distributions.BaseDistribution]]:
    """List the cells' parameters and value, with a parameter of noise, and the space of them."""
    columns: dict[str, Any] = {NOISE: np.random.default_rng(0).random(len(frame))}
    space: dict[str, optuna.distributions.BaseDistribution] = {
        NOISE: optuna.distributions.FloatDistribution(0.0, 1.0)
    }
    for field in fields:
        values = frame[field]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 1:
            space[field] = optuna.distributions.FloatDistribution(
                float(values.min()), float(values.max()), log=bool(values.min() > 0)
            )
            columns[field] = values.to_numpy(float)
        else:
            columns[field] = [str(value) for value in values]
            space[field] = optuna.distributions.CategoricalDistribution(
                sorted(set(columns[field]))
            )
    return pd.DataFrame(columns | {"value": frame["value"].to_numpy(float)}), space


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMap:
    """A smooth map of an objective over two searched fields, the others held.

    Parameters
    ----------
    x, y : str
        Fields.
    xs, ys : ndarray, shapes (n_x,) and (n_y,)
    mean, sd : ndarray, shape (n_y, n_x)
        Of a Gaussian process fitted to the cells' means with their standard errors.
    held : dict
        The other fields' values.
    """

    x: str
    y: str
    xs: np.ndarray
    ys: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    held: dict[str, Any]


def search_map(
    results: Results, objective: str, *, x: str, y: str, held: dict[str, Any]
) -> SearchMap:
    """Fit the map over all numeric fields and cut it at the held values.

    The surface is the one by which a boundary search chooses its cells, over the same ranges.

    Parameters
    ----------
    results : Results
    objective : str
    x, y : str
        Numeric fields.
    held : dict
        Values of the other numeric fields.
    """
    frame = suggestions(results)
    fields = numeric_fields(results)
    frame = frame[frame["objective"].eq(objective)].dropna(subset=["value", *fields])
    logs = {field: is_log(results, field) for field in fields}
    raw = np.column_stack([_scaled(frame[field], logs[field]) for field in fields])
    ends = np.column_stack([_scaled(_range(results, field), logs[field]) for field in fields])
    low, span = ends[0], ends[1] - ends[0]
    span[span == 0] = 1.0
    values, errors = frame["value"].to_numpy(float), frame["se"].to_numpy(float)
    errors = np.where(np.isfinite(errors), errors, 0.1 * values.std())
    surface = fit_surface((raw - low) / span, values, errors)
    axes = {name: np.linspace(0, 1, MAP_STEPS) for name in (x, y)}
    grid_x, grid_y = np.meshgrid(axes[x], axes[y])
    columns = []
    for i, field in enumerate(fields):
        if field in (x, y):
            columns.append((grid_x if field == x else grid_y).ravel())
        else:
            at = (_scaled(pd.Series([held[field]]), logs[field])[0] - low[i]) / span[i]
            columns.append(np.full(grid_x.size, at))
    mean, sd = surface.predict(np.column_stack(columns))
    edges = [
        _unscaled(low[fields.index(n)] + span[fields.index(n)] * axes[n], logs[n]) for n in (x, y)
    ]
    shape = grid_x.shape
    return SearchMap(
        x=x,
        y=y,
        xs=edges[0],
        ys=edges[1],
        held=held,
        mean=mean.reshape(shape),
        sd=sd.reshape(shape),
    )


def _range(results: Results, field: str) -> pd.Series:
    """Return the ends of the range in which a numeric field was searched."""
    space = (search_of(results) or {"space": {}})["space"]
    form = next(form for name, form in space.items() if name.rpartition(".")[2] == field)
    values = next(value for key, value in form.items() if key != "when")
    return pd.Series([min(values), max(values)], dtype=float)


def _scaled(values: pd.Series, log: bool) -> np.ndarray:
    numbers = values.to_numpy(float)
    return np.log(numbers) if log else numbers


def _unscaled(values: np.ndarray, log: bool) -> np.ndarray:
    return np.exp(values) if log else values
