"""The `search:` part of a sweep file, read from nodes and checked against typed fields."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, Literal

from study.config.blocks import ScopeReader
from study.config.cells import Cell, Sweep, make_cell
from study.config.checks import cell_problem
from study.config.early_stopping import rung_epochs
from study.config.fields import Field, section_fields, unknown
from study.config.measured import is_known_at_rungs, why_unmeasured
from study.config.objective import Objective, check_expression
from study.config.search_space import MAX_GRID, Dimension, SearchConfig, SearchOptions
from study.config.sections import TrainingConfig, checkpoint_epochs
from study.config.yaml_source import Node, show
from study.plugins import until_plugins_change

MAX_CORNERS = 4096
_RANGES = ("uniform", "log")
_PARTS = ("space", "objective", "direction", "objectives", "endpoint")


@cache
def search_fields() -> dict[str, Field]:
    """List the options of `search:` by dotted name."""
    return section_fields("search", SearchOptions)


def read_search(node: Node, reader: ScopeReader) -> SearchConfig:
    """Read the `search:` part.

    Parameters
    ----------
    node : Node
    reader : ScopeReader
        Knows the fields that may be searched.

    Returns
    -------
    SearchConfig

    Raises
    ------
    SweepError
        A part is missing, unknown or wrong, or parts contradict each other.
    """
    if not node.is_mapping or "space" not in node.value:
        found = show(node.plain())
        raise node.error(f"search: must have a space and an objective; found {found}")
    parts: dict[str, Node] = node.value
    listed = search_fields()
    values = {}
    for key, child in parts.items():
        name = f"search.{key}"
        if key not in _PARTS and name not in listed:
            raise unknown(child, name, [*listed, *(f"search.{part}" for part in _PARTS)])
        if name in listed:
            values[key] = listed[name].check(child)
    options = SearchOptions(**values)
    space = _space(parts["space"], reader)
    objectives = _objectives(node, options)
    config = SearchConfig(space=space, objectives=objectives, options=options)
    _check(node, config)
    return config


def _space(node: Node, reader: ScopeReader) -> tuple[Dimension, ...]:
    dimensions: list[Dimension] = []
    for name, entry in reader.flat(node, what="search.space").items():
        field = reader.field(name, entry)
        if not field.sweepable:
            raise entry.error(f"{name}: cannot be searched; set it under fixed")
        dimensions.append(_dimension(field, entry, dimensions))
    return tuple(dimensions)


def _dimension(field: Field, node: Node, earlier: list[Dimension]) -> Dimension:
    if node.is_list:
        return _choice(field, node, when=())
    if not node.is_mapping:
        raise node.error(
            f"{field.path}: must be a list of choices or {{log: [low, high]}}; "
            f"found {show(node.plain())}"
        )
    parts: dict[str, Node] = dict(node.value)
    when = _conditions(parts.pop("when"), earlier) if "when" in parts else ()
    if len(parts) != 1 or next(iter(parts)) not in (*_RANGES, "choice"):
        raise node.error(
            f"{field.path}: must have one of choice, {', '.join(_RANGES)} "
            f"(and when); found {show(node.plain())}"
        )
    key, bounds = next(iter(parts.items()))
    if key == "choice":
        return _choice(field, bounds, when=when)
    low, high = _ends(field, bounds, key)
    kind: Literal["float", "int"] = "int" if _is_whole(field) else "float"
    return Dimension(name=field.path, kind=kind, low=low, high=high, log=key == "log", when=when)


def _is_whole(field: Field) -> bool:
    return field.schema.get("type") == "integer"


def _ends(field: Field, bounds: Node, key: str) -> tuple[float, float]:
    if not field.is_numeric:
        raise bounds.error(f"{field.path}: is not a number; use a list of choices")
    if not bounds.is_list or len(bounds.value) != 2:
        raise bounds.error(
            f"{field.path}: {key} must be [low, high]; found {show(bounds.plain())}"
        )
    low, high = (field.check(end) for end in bounds.value)
    numbers = all(
        isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high)
    )
    if not numbers or low >= high:
        raise bounds.error(f"{field.path}: low must be below high; found {show(bounds.plain())}")
    if key == "log" and low <= 0:
        raise bounds.error(f"{field.path}: {key} needs low above 0; found {show(low)}")
    return float(low), float(high)


def _choice(field: Field, node: Node, *, when: tuple[Any, ...]) -> Dimension:
    if not node.is_list or len(node.value) < 1:
        raise node.error(f"{field.path}: choice must list values; found {show(node.plain())}")
    choices = tuple(field.check(item) for item in node.value)
    for i, value in enumerate(choices):
        if value in choices[:i]:
            raise node.error(f"{field.path}: {show(value)} is listed twice")
    return Dimension(name=field.path, kind="choice", choices=choices, when=when)


def _conditions(node: Node, earlier: list[Dimension]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    known = {dimension.name: dimension for dimension in earlier}
    if not node.is_mapping or not node.value:
        raise node.error(f"when: must name fields and values; found {show(node.plain())}")
    conditions = []
    for name, entry in node.value.items():
        if name not in known:
            listed = ", ".join(known) or "none"
            raise entry.error(
                f"when: {name} must be listed in search.space before this field ({listed})"
            )
        dimension = known[name]
        if dimension.kind == "float":
            raise entry.error(f"when: {name} must be a choice or a whole number")
        values = entry.plain() if entry.is_list else (entry.plain(),)
        for value in values:
            if value not in dimension.values:
                raise entry.error(f"when: {name} is never {show(value)}")
        conditions.append((name, tuple(values)))
    return tuple(conditions)


def _objectives(node: Node, options: SearchOptions) -> tuple[Objective, ...]:
    parts: Mapping[str, Node] = node.value
    wanted = "endpoint" if options.goal == "boundary" else "objective"
    given = [key for key in ("objective", "objectives", "endpoint") if key in parts]
    if len(given) != 1 or (given[0] == "endpoint") != (wanted == "endpoint"):
        named = "endpoint and level" if wanted == "endpoint" else "objective, or objectives"
        found = ", ".join(given) or "none"
        raise node.error(f"search: a search for the {options.goal} needs {named}; found {found}")
    entry = parts[given[0]]
    if given[0] != "objectives":
        direction = parts.get("direction")
        return (_objective(entry, direction, what=given[0]),)
    if "direction" in parts:
        raise parts["direction"].error("search.direction: belongs to each of the objectives")
    if not entry.is_mapping or len(entry.value) < 2:
        form = "{mode_recall: maximize, spurious_mass: minimize}"
        raise entry.error(
            f"search.objectives: must be two or more, such as {form}; found {show(entry.plain())}"
        )
    return tuple(
        _objective(Node(key, child.place), child, what="objectives")
        for key, child in entry.value.items()
    )


def _objective(node: Node, direction: Node | None, *, what: str) -> Objective:
    if direction is not None and direction.value not in ("minimize", "maximize"):
        found = show(direction.plain())
        raise direction.error(f"search: must be minimize or maximize; found {found}")
    if not isinstance(node.value, str):
        raise node.error(f"search.{what}: must be text; found {show(node.plain())}")
    try:
        check_expression(node.value, _numeric_columns())
    except ValueError as error:
        raise node.error(f"search.{what}: {error}") from None
    maximized = direction is not None and direction.value == "maximize"
    return Objective(expression=node.value, direction="maximize" if maximized else "minimize")


def check_search(node: Node, sweep: Sweep) -> None:
    """Check a search against the rest of its sweep: the budget, and cells at the space's ends.

    Raises
    ------
    SweepError
        The budget is too small for one cell and the re-measuring, an end of the space cannot
        be run as a cell, an objective's column is not measured, or cells are to be stopped where
        nothing is measured.
    """
    config = sweep.search
    assert config is not None
    if sweep.replicates.seeds("detection") != (0,):
        raise node.error(
            "replicates.detection: a search counts with one detector seed; set detection.seed"
        )
    options, n_per_cell = config.options, sweep.replicates.n_per_cell
    first = min(options.first_replicates, n_per_cell)
    reserved = 0 if options.goal == "boundary" else options.remeasure * n_per_cell
    if options.trials < first + reserved:
        raise node.error(
            f"search.trials: must be at least {first + reserved}, {first} for a first cell and "
            f"{reserved} to measure the winners again; found {options.trials}"
        )
    fixed = dict(sweep.blocks[0].fixed)
    _check_measured(node, config, make_cell(fixed))
    if options.stop_after is not None:
        _check_rungs(node.value["stop_after"], config, make_cell(fixed).training)
    ends = [_ends_of(dimension) for dimension in config.space]
    for corner in itertools.islice(itertools.product(*ends), MAX_CORNERS):
        values = {**fixed, **config.point(corner)}
        problem = cell_problem(make_cell(values), values, sweep.replicates)
        if problem is not None:
            name, message = problem
            raise node.error(f"search.space: {name}: {message}")


def _ends_of(dimension: Dimension) -> list[float]:
    """List positions in the unit interval: the ends of a range, every choice."""
    if dimension.kind != "choice":
        return [0.0, 1.0 - 1e-9]
    return [(i + 0.5) / len(dimension.choices) for i in range(len(dimension.choices))]


def _check_measured(node: Node, config: SearchConfig, cell: Cell) -> None:
    """Check that every column of the objectives is measured; sources and protocols are fixed."""
    given = next(key for key in ("objective", "objectives", "endpoint") if key in node.value)
    for name in dict.fromkeys(name for entry in config.objectives for name in entry.columns):
        reason = why_unmeasured(name, cell)
        if reason is not None:
            raise node.value[given].error(f"search.{given}: {name} is not measured: {reason}")


def _check_rungs(node: Node, config: SearchConfig, training: TrainingConfig) -> None:
    options, n_epochs = config.options, training.epochs
    if any(dimension.name == "training.epochs" for dimension in config.space):
        raise node.error("search.stop_after: needs training.epochs under fixed, not in the space")
    rungs = rung_epochs(options.stop_after, options.stop_factor, n_epochs)
    if not rungs:
        raise node.error(
            f"search.stop_after: must be below training.epochs = {n_epochs}; "
            f"found {options.stop_after}"
        )
    missing = [epoch for epoch in rungs if epoch not in checkpoint_epochs(training)]
    if missing:
        raise node.error(
            f"search.stop_after: {', '.join(map(str, missing))} must be checkpoints; "
            f"training.checkpoints: {min(rungs)} makes them so"
        )


def resolve_search(config: SearchConfig) -> dict[str, Any]:
    """Write a search out as JSON-able values that form its part of a sweep file again."""
    form: dict[str, Any] = {"space": {d.name: _resolve_dimension(d) for d in config.space}}
    objectives = config.objectives
    options = {key: value for key, value in asdict(config.options).items() if value is not None}
    if config.options.stop_after is None:
        options.pop("stop_factor")
    if config.options.goal == "boundary":
        options.pop("sampler")
        form["endpoint"] = objectives[0].expression
    elif len(objectives) == 1:
        form |= {"objective": objectives[0].expression, "direction": objectives[0].direction}
    else:
        form["objectives"] = {entry.expression: entry.direction for entry in objectives}
    return form | options


def _resolve_dimension(dimension: Dimension) -> dict[str, Any]:
    when = {name: list(values) for name, values in dimension.when}
    if dimension.kind == "choice":
        choices = [list(v) if isinstance(v, tuple) else v for v in dimension.choices]
        form: dict[str, Any] = {"choice": choices}
    else:
        form = {"log" if dimension.log else "uniform": [dimension.low, dimension.high]}
    return form | ({"when": when} if when else {})


@until_plugins_change
def _numeric_columns() -> tuple[str, ...]:
    # Imported here: it brings pyarrow, and most sweep files search for nothing.
    from study.results.tables import SCHEMAS

    numeric = ("int64", "double", "bool")
    return tuple(field.name for field in SCHEMAS["trials"] if str(field.type) in numeric)


def _check(node: Node, config: SearchConfig) -> None:
    options, parts = config.options, node.value
    if options.goal == "boundary" and options.level is None:
        raise node.error("search.level: missing; a boundary is where the endpoint has this level")
    if options.goal == "optimum" and options.level is not None:
        raise parts["level"].error("search.level: belongs to goal: boundary")
    _check_stopping(parts, config)
    if options.goal == "boundary" and "sampler" in parts:
        raise parts["sampler"].error("search.sampler: a boundary has its own rule; remove it")
    if options.goal == "boundary" and any(dimension.when for dimension in config.space):
        raise parts["space"].error(
            "search.space: a boundary needs every field in every cell; remove when"
        )
    sampler = options.sampler
    if len(config.objectives) > 1 and sampler in ("cmaes",):
        raise parts["sampler"].error(f"search.sampler: {sampler} takes one objective")
    floats = [dimension.name for dimension in config.space if dimension.kind == "float"]
    if sampler == "grid" and floats:
        raise parts["sampler"].error(f"search.sampler: grid needs choices; {floats[0]} has none")
    size = math.prod(dimension.n_values for dimension in config.space)
    if sampler == "grid" and size > MAX_GRID:
        raise parts["space"].error(f"search.space: has {size:,.0f} points; at most {MAX_GRID:,}")
    if sampler == "cmaes":
        _check_numeric(parts["sampler"], config.space)


def _check_numeric(node: Node, space: Sequence[Dimension]) -> None:
    """Check that CMA-ES, which draws from a normal distribution, can have this space."""
    others = [dimension for dimension in space if not dimension.is_ordered]
    if others:
        values = ", ".join(map(show, others[0].choices))
        raise node.error(
            f"search.sampler: cmaes needs numbers; {others[0].name} has {values}; tpe takes them"
        )
    if len(space) < 2:
        raise node.error(
            f"search.sampler: cmaes needs two or more fields; found {space[0].name} alone; "
            "tpe and gp take one"
        )


def _check_stopping(parts: Mapping[str, Node], config: SearchConfig) -> None:
    options = config.options
    if options.stop_after is None:
        if "stop_factor" in parts:
            raise parts["stop_factor"].error(
                "search.stop_factor: has no effect without stop_after"
            )
        return
    if options.goal == "boundary":
        raise parts["stop_after"].error("search.stop_after: a boundary has no hopeless cells")
    if len(config.objectives) > 1:
        raise parts["stop_after"].error("search.stop_after: takes one objective")
    for name in config.objectives[0].columns:
        if not is_known_at_rungs(name):
            raise parts["stop_after"].error(
                f"search.stop_after: {name} is not known before a training ends"
            )
