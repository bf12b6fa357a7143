"""Blocks of a sweep: fixed values and axes, read from nodes and checked against typed fields.

A scope is what a file says at one level (the top, or one entry of `blocks:`); a block is a scope
merged with the top level, ready to be enumerated. Nothing here knows what the fields mean.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.config.fields import Field, unknown
from study.config.yaml_source import Node, SweepError, show

MAX_VALUES = 10_000
_PARTS = ("name", "question", "fixed", "grid", "zip", "blocks", "exclude", "replicates")
_GENERATORS = {
    "linspace": "[first, last, how many]",
    "logspace": "[first, last, how many], both ends above 0",
    "range": "[first, last, step]",
}
# Generated values keep 12 digits, so that logspace gives 0.1 and not 0.10000000000000002.
_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Fields that move together (one, unless zipped) and the values they take.

    Parameters
    ----------
    names : tuple of str
        Dotted field names.
    rows : tuple of tuple
        One row a step, one value a name.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A sub-grid: the product of its axes over its fixed values.

    Parameters
    ----------
    label : str
        Name shown to people; empty if the file gives none.
    fixed : tuple of (str, value)
        Fields that the file sets, by dotted name.
    axes : tuple of Axis
    """

    label: str = ""
    fixed: tuple[tuple[str, Any], ...] = ()
    axes: tuple[Axis, ...] = ()

    @property
    def n_cells(self) -> int:
        """Combinations of the axes, before exclusions."""
        return math.prod(len(axis.rows) for axis in self.axes)

    @property
    def swept(self) -> tuple[str, ...]:
        """Names of the swept fields, in the file's order."""
        return tuple(name for axis in self.axes for name in axis.names)

    def points(self) -> Iterator[dict[str, Any]]:
        """Iterate over the cells, first axis slowest: what the block sets, by field name."""
        fixed, names = dict(self.fixed), self.swept
        for rows in itertools.product(*(axis.rows for axis in self.axes)):
            yield {**fixed, **dict(zip(names, itertools.chain(*rows), strict=True))}


@dataclass(slots=True)
class Scope:
    """What one level of a file says: checked values and the places they were written."""

    label: str = ""
    fixed: dict[str, Any] = field(default_factory=dict)
    axes: list[Axis] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    @property
    def swept(self) -> set[str]:
        """Names of the swept fields."""
        return {name for axis in self.axes for name in axis.names}

    def pin(self, name: str) -> None:
        """Forget an axis' field; a zipped axis keeps its other fields."""
        kept = []
        for axis in self.axes:
            keep = [i for i, other in enumerate(axis.names) if other != name]
            rows = dict.fromkeys(tuple(row[i] for i in keep) for row in axis.rows)
            if keep:
                kept.append(Axis(names=tuple(axis.names[i] for i in keep), rows=tuple(rows)))
        self.axes = kept

    def block(self, top: Scope | None = None) -> Block:
        """Merge with the top level: its axes come first, its fixed values give way to ours.

        Raises
        ------
        SweepError
            If a field is swept at both levels, or swept at one and fixed at the other.
        """
        top = top or Scope()
        for name in [*self.swept, *self.fixed]:
            clash = name in top.swept or (name in top.fixed and name in self.swept)
            if clash:
                line = top.places[name].rpartition(":")[2]
                raise SweepError(
                    f"{self.places[name]}: {name}: already set at the top level (line {line}); "
                    "a swept field may be set in one place only"
                )
        return Block(
            label=self.label,
            fixed=tuple({**top.fixed, **self.fixed}.items()),
            axes=(*top.axes, *self.axes),
        )


class ScopeReader:
    """Reads scopes against a catalogue of fields.

    Parameters
    ----------
    fields : mapping of str to Field
        Fields by dotted name; the first part of a name is the section.
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = fields
        self.sections = tuple(dict.fromkeys(entry.section for entry in fields.values()))

    def field(self, name: str, node: Node) -> Field:
        """Look a field up.

        Raises
        ------
        SweepError
            If there is none of that name; the message names the nearest one.
        """
        if name in self.sections:
            raise node.error(f"{name}: must be a section of fields; found {show(node.plain())}")
        if name in _PARTS:
            raise node.error(f"{name}: is not a field; it belongs at the top level of the file")
        if name not in self.fields:
            raise unknown(node, name, self.fields)
        return self.fields[name]

    def read(self, node: Node) -> Scope:
        """Read `fixed`, the sections, `grid` and `zip` of one level."""
        scope = Scope()
        parts: dict[str, Node] = node.value
        for key in ("fixed", *self.sections):
            if key not in parts:
                continue
            prefix = "" if key == "fixed" else f"{key}."
            for name, entry in self.flat(parts[key], prefix=prefix, what=key).items():
                self._claim(scope, name, entry)
                scope.fixed[name] = self.fields[name].check(entry)
        if "grid" in parts:
            for name, entry in self.flat(parts["grid"], what="grid").items():
                self._claim(scope, name, entry)
                scope.axes.append(Axis(names=(name,), rows=self.rows(name, entry)))
        if "zip" in parts:
            groups = parts["zip"].value if parts["zip"].is_list else (parts["zip"],)
            scope.axes += [self._zipped(scope, group) for group in groups]
        return scope

    def flat(self, node: Node, *, prefix: str = "", what: str) -> dict[str, Node]:
        """List a mapping's entries by dotted name; sections may be nested or dotted.

        Raises
        ------
        SweepError
            If it is not a mapping, is empty, names an unknown field, or names one twice.
        """
        if not node.is_mapping or not node.value:
            found = "nothing" if node.value in ({}, ()) else show(node.plain())
            raise node.error(f"{what}: must list fields and their values; found {found}")
        entries: dict[str, Node] = {}
        for key, child in node.value.items():
            if not prefix and key in self.sections and child.is_mapping:
                inner = self.flat(child, prefix=f"{key}.", what=f"{what}.{key}")
            else:
                self.field(prefix + key, child)
                inner = {prefix + key: child}
            for name in inner.keys() & entries.keys():
                raise inner[name].error(f"{name}: given twice")
            entries.update(inner)
        return entries

    def values(self, name: str, node: Node) -> tuple[Any, ...]:
        """Read the values of a swept field: a list, or a generator.

        Raises
        ------
        SweepError
            If the field cannot be swept, or a value is wrong.
        """
        entry = self.field(name, node)
        if not entry.sweepable:
            raise node.error(f"{name}: cannot be swept; set it under fixed")
        if node.is_mapping:
            items = generate(entry, node)
        elif node.is_list:
            items = node.value
        else:
            raise node.error(f"{name}: must be a list of values; found {show(node.value)}")
        if not 1 <= len(items) <= MAX_VALUES:
            raise node.error(f"{name}: must have 1 to {MAX_VALUES:,} values; found {len(items):,}")
        return tuple(entry.check(item) for item in items)

    def rows(self, name: str, node: Node) -> tuple[tuple[Any, ...], ...]:
        """Read the rows of an axis of one field.

        Raises
        ------
        SweepError
            As `values`, or if a value is listed twice.
        """
        rows = tuple((value,) for value in self.values(name, node))
        _refuse_duplicates(rows, name=name, node=node)
        return rows

    def _zipped(self, scope: Scope, node: Node) -> Axis:
        entries = self.flat(node, what="zip")
        columns = {}
        for name, entry in entries.items():
            self._claim(scope, name, entry)
            columns[name] = self.values(name, entry)
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise node.error(f"zip: fields must have the same number of values; found {listed}")
        rows = tuple(zip(*columns.values(), strict=True))
        _refuse_duplicates(rows, name="zip", node=node)
        return Axis(names=tuple(columns), rows=rows)

    def _claim(self, scope: Scope, name: str, node: Node) -> None:
        if name in scope.places:
            line = scope.places[name].rpartition(":")[2]
            once = f"a field is fixed, or swept in one place (see line {line})"
            raise node.error(f"{name}: given twice: {once}")
        scope.places[name] = node.place


def generate(entry: Field, node: Node) -> tuple[Node, ...]:
    """Make the values of `{linspace: [a, b, n]}`, `{logspace: ...}` or `{range: [a, b, step]}`.

    Both ends are values; `range` includes the last one if the steps reach it.

    Raises
    ------
    SweepError
        If the field is not a number, or the arguments make no sense.
    """
    name = entry.path
    kinds = list(node.value)
    if len(kinds) != 1 or kinds[0] not in _GENERATORS:
        known = ", ".join(_GENERATORS)
        raise node.error(f"{name}: must be a list of values, or one of {known}; found a section")
    kind, argument = kinds[0], node.value[kinds[0]]
    if not entry.is_numeric:
        raise node.error(f"{name}: {kind} makes numbers; this field must be {entry.expectation}")
    numbers = argument.plain()
    if not (argument.is_list and len(numbers) == 3 and all(map(_is_number, numbers))):
        wanted = f"{kind}: must be {_GENERATORS[kind]}"
        raise argument.error(f"{name}: {wanted}; found {show(numbers)}")
    first, last, third = numbers
    makers = {"linspace": _linspace, "logspace": _logspace, "range": _range}
    try:
        values = makers[kind](first, last, third)
    except ValueError as error:
        raise argument.error(f"{name}: {kind}: {error}; found {show(numbers)}") from None
    return tuple(Node(value, argument.place) for value in values)


def _linspace(first: float, last: float, n: float) -> list[float]:
    _check_count(n)
    steps = int(n) - 1
    return [_rounded(first + (last - first) * i / steps) for i in range(steps)] + [float(last)]


def _logspace(first: float, last: float, n: float) -> list[float]:
    _check_count(n)
    if min(first, last) <= 0:
        raise ValueError("both ends must be above 0")
    low, high, steps = math.log(first), math.log(last), int(n) - 1
    inner = [_rounded(math.exp(low + (high - low) * i / steps)) for i in range(1, steps)]
    return [float(first), *inner, float(last)]


def _range(first: float, last: float, step: float) -> list[float]:
    if step == 0 or (last - first) * step < 0:
        raise ValueError("the step must lead from the first value to the last")
    # A last value that is missed by rounding alone still belongs to the range.
    steps = (last - first) / step * (1 + 1e-12)
    if steps >= MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")
    return [_rounded(first + step * i) for i in range(int(steps) + 1)]


def _check_count(n: float) -> None:
    if n != int(n) or not 2 <= n <= MAX_VALUES:
        raise ValueError(f"how many must be a whole number from 2 to {MAX_VALUES:,}")


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _refuse_duplicates(rows: Sequence[tuple[Any, ...]], *, name: str, node: Node) -> None:
    seen = set()
    for row in rows:
        if row in seen:
            value = row[0] if len(row) == 1 else row
            raise node.error(f"{name}: {show(value)} is listed twice")
        seen.add(row)
