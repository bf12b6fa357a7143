"""The resolved form of a sweep: every field written out, as it goes next to the results."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import product
from typing import Any

from study.config.blocks import Block
from study.config.catalogue import all_fields, idle_fields
from study.config.cells import Sweep
from study.config.search_reader import resolve_search
from study.config.sections import GIVEN_FIELDS, RECIPE_FIELDS, SHAPE_FIELDS


def resolve(sweep: Sweep) -> dict[str, Any]:
    """Write a sweep out with every field, as JSON-able values that form a sweep file again.

    Returns
    -------
    dict
        Loading it gives the same trials, whatever the defaults are by then.
    """
    blocks = [_resolve_block(sweep, block) for block in sweep.blocks]
    first = blocks[0]["fixed"]
    common = {
        name: value
        for name, value in first.items()
        if all(name in block["fixed"] and block["fixed"][name] == value for block in blocks)
    }
    form: dict[str, Any] = {"name": sweep.name, "question": sweep.question, "fixed": common}
    if len(blocks) == 1:
        form |= {key: value for key, value in blocks[0].items() if key != "fixed"}
    else:
        form["blocks"] = [_without(block, common) for block in blocks]
    if sweep.exclude:
        form["exclude"] = [
            {name: _listed(values if len(values) > 1 else values[0]) for name, values in entry}
            for entry in sweep.exclude
        ]
    form["replicates"] = _listed(asdict(sweep.replicates))
    form["resources"] = asdict(sweep.resources)
    if sweep.search is not None:
        form["search"] = resolve_search(sweep.search)
        for name in form["search"]["space"]:
            form["fixed"].pop(name, None)
    return form


def sweep_hash(sweep: Sweep) -> str:
    """Hash what decides a sweep's trials: not its name, question, labels or resources."""
    form = resolve(sweep)
    for key in ("name", "question", "resources", "label"):
        form.pop(key, None)
    for block in form.get("blocks", []):
        block.pop("label", None)
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()[:16]


def _resolve_block(sweep: Sweep, block: Block) -> dict[str, Any]:
    held, swept = dict(block.fixed), set(block.swept)
    given = held.get(GIVEN_FIELDS[0]) is not None
    idle = {*RECIPE_FIELDS, *SHAPE_FIELDS} if given else {*GIVEN_FIELDS}
    kinds, families = (
        _values_in(block, name) if sweep.search is None else values_of(sweep, name)
        for name in ("model.kind", "mixture.kind")
    )
    idle |= frozenset.intersection(*(idle_fields(*pair) for pair in product(kinds, families)))
    fixed = {
        name: _listed(held.get(name, field.default))
        for name, field in all_fields().items()
        if field.section != "resources" and name not in swept and name not in idle
    }
    form: dict[str, Any] = {"label": block.label} if block.label else {}
    form["fixed"] = fixed
    # Reading puts grid axes before zipped ones; zips of one field keep an order that differs.
    is_zipped = [len(axis.names) > 1 for axis in block.axes]
    n_grid = is_zipped.count(False) if is_zipped == sorted(is_zipped) else 0
    grid = block.axes[:n_grid]
    zipped = block.axes[n_grid:]
    if grid:
        form["grid"] = {axis.names[0]: [_listed(row[0]) for row in axis.rows] for axis in grid}
    if zipped:
        form["zip"] = [
            dict(zip(axis.names, map(_listed, zip(*axis.rows, strict=True)), strict=True))
            for axis in zipped
        ]
    return form


def values_of(sweep: Sweep, name: str) -> set[Any]:
    """Return the values that a field takes in a sweep.

    Parameters
    ----------
    sweep : Sweep
    name : str
        A dotted name.
    """
    values = set().union(*(_values_in(block, name) for block in sweep.blocks))
    for dimension in sweep.search.space if sweep.search is not None else ():
        if dimension.name == name:
            values |= set(dimension.choices)
    return values


def _values_in(block: Block, name: str) -> set[Any]:
    for axis in block.axes:
        if name in axis.names:
            return {row[axis.names.index(name)] for row in axis.rows}
    return {dict(block.fixed).get(name, all_fields()[name].default)}


def _without(block: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in block["fixed"].items() if name not in common}
    others = {key: value for key, value in block.items() if key != "fixed"}
    if not own and not others.keys() - {"label"}:
        # A block must say something: repeating one common field is harmless.
        own = dict(list(common.items())[:1])
    return {**others, "fixed": own} if own else others


def _listed(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_listed(item) for item in value]
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value
