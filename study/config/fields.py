"""Typed fields of configuration sections: checking one value, and saying what is expected.

A section is a frozen dataclass whose annotations carry the bounds (`Annotated[int, Interval]`).
Pydantic checks values here, at the edge; inside the project the dataclasses are plain.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from study.config.yaml_source import Node, SweepError, show, show_name
from study.plugins import Registry

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the trials table, declared with the field that it shows.

    Parameters
    ----------
    name : str
    type : {"int", "float", "str", "bool"}, optional
        By default that of the field.
    read : callable, optional
        Its value, or None, from the whole section; by default the field's own value.
    of_cell : callable, optional
        Its value, or None, from the whole cell, where other sections decide, too.
    """

    name: str
    type: str = ""
    read: Callable[[Any], Any] | None = None
    of_cell: Callable[[Any], Any] | None = None

    def value(self, found: Any) -> Any:
        """Return a value as the column's type; None stays None."""
        return None if found is None else _TYPES[self.type](found)


class _NotAField:
    """Marks what a section holds but a sweep file does not say."""


NOT_A_FIELD = _NotAField()
# Fields whose values are names that a plug-in may add.
NAMED = ("model.kind", "mixture.kind", "detection.protocols")
NO_BOUNDS = (-math.inf, math.inf)
_TYPES: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "str": str, "bool": bool}
_JSON_TYPES = {"integer": "int", "number": "float", "boolean": "bool", "string": "str"}


@dataclass(frozen=True, slots=True)
class NameIn:
    """The type of a name in a registry, plug-ins included."""

    registry: Registry

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """Accept the names that are known when the type is first used."""
        return core_schema.literal_schema(list(self.registry))


@dataclass(frozen=True, slots=True)
class Field:
    """One field that a sweep file may set.

    Parameters
    ----------
    path : str
        Dotted name, such as "model.latent_dim".
    default : object
    description : str
        Description from the section's docstring.
    sweepable : bool
        Whether it may be an axis.
    adapter : TypeAdapter
        Checks a value.
    expectation : str
        What a right value is, in words.
    columns : tuple of Column
        Of the trials table; their types are set.
    """

    path: str
    default: Any
    description: str
    sweepable: bool
    adapter: TypeAdapter[Any]
    expectation: str
    columns: tuple[Column, ...] = ()

    @property
    def section(self) -> str:
        """The part before the dot."""
        return self.path.partition(".")[0]

    @property
    def leaf(self) -> str:
        """The part after the dot."""
        return self.path.partition(".")[2]

    def column_values(self, section: Any) -> dict[str, Any]:
        """Return the values of its columns, given the section that holds it.

        Those that the whole cell decides are None.
        """
        values = {}
        for column in self.columns:
            found = column.read(section) if column.read else getattr(section, self.leaf)
            values[column.name] = None if column.of_cell else column.value(found)
        return values

    @property
    def is_numeric(self) -> bool:
        """Return whether a single number is a right value, so that generators make sense."""
        return any(kind.get("type") in ("integer", "number") for kind in _kinds(self.schema))

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of a number's range; infinite for what is no number."""
        for kind in _kinds(self.schema):
            if kind.get("type") in ("integer", "number"):
                low = kind.get("minimum", kind.get("exclusiveMinimum", NO_BOUNDS[0]))
                return float(low), float(kind.get("maximum", NO_BOUNDS[1]))
        return NO_BOUNDS

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of a value."""
        return self.adapter.json_schema()

    def check(self, node: Node) -> Any:
        """Return the value as the dataclass holds it.

        Raises
        ------
        SweepError
            If it is of the wrong type or out of bounds; the line is that of the wrong item.
        """
        try:
            return self.adapter.validate_python(_whole(node.plain()))
        except ValidationError as error:
            locations = [item["loc"] for item in error.errors(include_url=False)]
        # Of a union's errors the deepest is the one meant: the wrong item of a list.
        paths = [tuple(step for step in loc if isinstance(step, int)) for loc in locations]
        raise self._error(node, max(paths, key=len)) from None

    def _error(self, node: Node, path: tuple[int, ...]) -> SweepError:
        schema, found = self.schema, node.at(path)
        for step in path:
            lists = [kind for kind in _kinds(schema) if kind.get("type") == "array"]
            schema = lists[0].get("prefixItems", [lists[0].get("items")] * (step + 1))[step]
        name = self.path + "".join(f"[{step}]" for step in path)
        wanted, value = expectation(schema), found.plain()
        hint = (
            did_you_mean(value, re.findall(r"'(\w+)'", wanted)) if isinstance(value, str) else ""
        )
        if self.path in NAMED and not hint:
            hint = "; what a plug-in adds needs --plugin FILE.py"
        return found.error(f"{name}: must be {wanted}; found {show(value)}{hint}")

    def accepts(self, node: Node) -> bool:
        """Return whether `check` would pass."""
        try:
            self.check(node)
        except SweepError:
            return False
        return True


def section_fields(section: str, config: type, *, has_columns: bool = False) -> dict[str, Field]:
    """List the fields of a section's dataclass by dotted name.

    Parameters
    ----------
    section : str
    config : type
        A dataclass with a default for each field and a numpydoc docstring.
    has_columns : bool
        Whether its fields are shown in the trials table; one without a `Column` cannot be swept.
    """
    hints = get_type_hints(config, include_extras=True)
    texts = descriptions(config)
    fields = {}
    for item in dataclasses.fields(config):
        marks = _annotations(hints[item.name])
        if NOT_A_FIELD in marks:
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(hints[item.name], config=_STRICT)
        schema = adapter.json_schema()
        path = f"{section}.{item.name}"
        columns = tuple(_typed(mark, schema) for mark in marks if isinstance(mark, Column))
        fields[path] = Field(
            path=path,
            default=item.default,
            description=texts.get(item.name, ""),
            sweepable=bool(columns) or not has_columns,
            adapter=adapter,
            expectation=expectation(schema),
            columns=columns,
        )
    return fields


def option_fields(name: str, config: type) -> dict[str, Field]:
    """List the options of a generator or mixture family; each has a column, NAME_OPTION.

    Parameters
    ----------
    name : str
        Of the generator or family, which names the section.
    config : type
        A frozen dataclass with a default for each field.
    """
    fields = {}
    for path, field in section_fields(name, config).items():
        columns = field.columns or (_typed(Column(f"{name}_{field.leaf}"), field.schema),)
        fields[path] = dataclasses.replace(field, columns=columns)
    return fields


def _annotations(hint: Any) -> tuple[Any, ...]:
    return get_args(hint)[1:] if get_origin(hint) is Annotated else ()


def _typed(column: Column, schema: Mapping[str, Any]) -> Column:
    found = _JSON_TYPES.get(schema.get("type", ""), "str")
    return column if column.type else dataclasses.replace(column, type=found)


def descriptions(config: type) -> dict[str, str]:
    """Read each parameter's description from a numpydoc docstring, on one line.

    A parameter that a class inherits is described where it is defined.
    """
    texts: dict[str, str] = {}
    for part in reversed(config.__mro__):
        body = (part.__doc__ or "").partition("----------\n")[2]
        names: list[str] = []
        for line in body.splitlines():
            head = re.match(r"    (\w[\w, ]*) : ", line)
            if head:
                names = [name.strip() for name in head[1].split(",")]
                texts.update(dict.fromkeys(names, ""))
            elif names and line.strip():
                texts.update({name: f"{texts[name]} {line.strip()}".strip() for name in names})
    return texts


def expectation(schema: Mapping[str, Any]) -> str:
    """Return in words what a JSON schema accepts.

    Examples
    --------
    >>> expectation({"type": "integer", "minimum": 1, "maximum": 10_000})
    'a whole number from 1 to 10,000'
    >>> expectation({"anyOf": [{"type": "boolean"}, {"const": "density"}]})
    "true or false, or 'density'"
    """
    kinds = _kinds(schema)
    if len(kinds) > 1:
        words = [expectation(kind) for kind in kinds]
        return ", ".join(words[:-1]) + ", or " + words[-1]
    if "const" in schema:
        return f"'{schema['const']}'"
    if "enum" in schema:
        *head, last = (f"'{choice}'" for choice in schema["enum"])
        return (", ".join(head) + " or " if head else "") + last
    if schema.get("type") == "array":
        return _array(schema)
    simple = {"boolean": "true or false", "null": "null", "string": "text"}
    if schema.get("type") in simple:
        return simple[schema["type"]]
    return ("a whole number " if schema["type"] == "integer" else "a number ") + _bounds(schema)


def _kinds(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return schema.get("anyOf", [schema])


def _bounds(schema: Mapping[str, Any]) -> str:
    high = _number(schema["maximum"])
    if "exclusiveMinimum" in schema:
        return f"above {_number(schema['exclusiveMinimum'])}, at most {high}"
    return f"from {_number(schema['minimum'])} to {high}"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _array(schema: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        items = schema["prefixItems"]
        return f"a list of {len(items)}, each {expectation(items[0])}"
    low, high = schema.get("minItems", 0), schema.get("maxItems")
    size = "" if high is None else f" of {low} to {high:,}"
    return f"a list{size}, each {expectation(schema['items'])}"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Suggest the nearest name, or the name with the same leaf, or say nothing."""
    choices = list(names)
    leaf = word.rpartition(".")[2]
    same_leaf = [name for name in choices if name.rpartition(".")[2] == leaf]
    close = difflib.get_close_matches(word[:200], choices, n=1, cutoff=0.6)
    if not close and not same_leaf:
        leaves = {name.rpartition(".")[2]: name for name in choices}
        nearest = difflib.get_close_matches(leaf[:200], list(leaves), n=1, cutoff=0.7)
        close = [leaves[name] for name in nearest]
    best = [*same_leaf[:1], *close][:1]
    return f"; did you mean {best[0]}?" if best else ""


def unknown(node: Node, name: str, names: Iterable[str], *, kind: str = "field") -> SweepError:
    """Build the error for a name that does not exist."""
    listed = list(names)
    hint = did_you_mean(name, listed)
    if kind == "field" and "." in name and not (hint and _has_such_section(name, listed)):
        hint = "; the fields of a plug-in need --plugin FILE.py"
    return node.error(f"{show_name(name)}: no such {kind}{hint}")


def _has_such_section(name: str, names: Iterable[str]) -> bool:
    sections = {other.partition(".")[0] for other in names if "." in other}
    return bool(difflib.get_close_matches(name.partition(".")[0][:200], sections, n=1))


def _whole(value: Any) -> Any:
    """Turn 3.0 into 3, also inside lists: `1e4` is a fine number of points."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, tuple):
        return tuple(_whole(item) for item in value)
    return value
