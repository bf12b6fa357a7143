"""Text of a sweep file to plain values that remember their place, and nothing else.

The YAML accepted here is the JSON-like core: mappings with text keys, lists and scalars. Tags
(which can construct objects), aliases (which can explode) and several documents are refused.
Scalars follow YAML 1.2, as editors do: `1e-3` is a number and `on` is text, where PyYAML's own
YAML 1.1 rules say the opposite.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1_000_000
MAX_DEPTH = 24
# PyYAML itself takes ten seconds for a megabyte.
MOST_SLOW_CHARS = 100_000
_MAX_SHOWN = 60
# Longer whole numbers are read as floats: no field needs them, and int() refuses 4,301 digits.
_MAX_INT_DIGITS = 30
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*)\Z", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?((\.[0-9]+|[0-9][0-9_]*\.[0-9_]*)([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)\Z",
    re.ASCII,
)
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class SweepError(ValueError):
    """A sweep file that cannot be run: one line with file, line, field, bound and value."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the place it was written.

    Parameters
    ----------
    value : scalar, tuple of Node or dict of str to Node
    place : str
        Such as "sweeps/x.yaml:12".
    """

    value: Any
    place: str

    @property
    def is_mapping(self) -> bool:
        """Return whether the value is a mapping."""
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        """Return whether the value is a list."""
        return isinstance(self.value, tuple)

    def plain(self) -> Any:
        """Return the value without places; lists become tuples."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, tuple):
            return tuple(child.plain() for child in self.value)
        return self.value

    def at(self, location: tuple[Any, ...]) -> Node:
        """Return the innermost node on a path of keys and indices, as far as the path exists."""
        node = self
        for step in location:
            try:
                node = node.value[step]
            except (LookupError, TypeError):
                break
        return node

    def error(self, message: str) -> SweepError:
        """Build the error that names this place."""
        return SweepError(f"{self.place}: {message}")


def show(value: object) -> str:
    """Write a value for an error message: one short line, whatever the value is."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    if isinstance(value, tuple):
        if any(isinstance(item, dict) for item in value):
            return "a list of sections"
        text = "[" + ", ".join(show(item) for item in value[:8]) + "]" * (len(value) <= 8)
    elif isinstance(value, dict):
        return "a section"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def show_name(name: str) -> str:
    """Write a key for an error message: bare if it is short and printable."""
    return name if name.isprintable() and 0 < len(name) <= _MAX_SHOWN else show(name)


def read_yaml(path: str | Path) -> Node:
    """Read a sweep file.

    Raises
    ------
    SweepError
        If the file is missing, too large, not UTF-8, not YAML, or uses tags, aliases, duplicate
        keys or more than one document.
    """
    place = str(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SweepError(f"{place}: no such file{_near(place)}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SweepError(f"{place}: cannot be read: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise SweepError(f"{place}: a sweep file may have at most {MAX_BYTES:,} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SweepError(f"{place}:{line}: not UTF-8 text") from None
    return parse_yaml(text, place=place)


def _near(place: object) -> str:
    """Name the file of sweeps/ that was perhaps meant."""
    meant = Path("sweeps") / f"{Path(str(place)).stem}.yaml"
    return f"; did you mean {meant}?" if meant.is_file() else ""


def parse_yaml(text: str, *, place: str, numbered: bool = True) -> Node:
    """Turn YAML text into a node; `place` opens every message, with line numbers if `numbered`.

    Raises
    ------
    SweepError
        As `read_yaml`.
    """
    builder = _Builder(place, numbered=numbered)
    try:
        for event in yaml.parse(text, Loader=_loader(text)):
            builder.feed(event)
    except SweepError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = builder.place_of(mark) if mark is not None else place
        raise SweepError(f"{where}: not valid YAML: {_one_line(error.problem)}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        where = f"{place}:{line}" if numbered else place
        raise SweepError(f"{where}: character #x{error.character:04x} is not allowed") from None
    except (yaml.YAMLError, ValueError, OverflowError, IndexError) as error:
        # PyYAML's scanner lets int() and chr() errors of odd escapes and directives through.
        raise SweepError(f"{builder.last_place}: not valid YAML: {_one_line(error)}") from None
    return builder.root if builder.root is not None else Node(None, place)


def _loader(text: str) -> Any:
    """Choose how a text is split: a long one by libyaml, whose words for mistakes are others."""
    is_long = len(text) > MOST_SLOW_CHARS
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader) if is_long else yaml.SafeLoader


class _Builder:
    """Builds nodes from PyYAML's event stream, without recursion and without constructors."""

    def __init__(self, place: str, *, numbered: bool) -> None:
        self.root: Node | None = None
        self.last_place = place
        self._place = place
        self._numbered = numbered
        self._open: list[_Collection] = []

    def place_of(self, mark: Any) -> str:
        return f"{self._place}:{mark.line + 1}" if self._numbered else self._place

    def feed(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent | yaml.DocumentEndEvent):
            return
        place = self.last_place = self.place_of(event.start_mark)
        if isinstance(event, yaml.DocumentStartEvent):
            if self.root is not None:
                raise SweepError(
                    f"{place}: a second document starts here; a file holds a single sweep"
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            closed = self._open.pop()
            self._add(closed.node())
        elif isinstance(event, yaml.AliasEvent):
            raise SweepError(f"{place}: aliases (*{event.anchor}) are not supported: repeat it")
        else:
            self._open_or_add(event, place)

    def _open_or_add(self, event: Any, place: str) -> None:
        if event.tag not in (None, "!"):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise SweepError(f"{place}: tags ({show_name(tag)}) are not supported")
        if isinstance(event, yaml.ScalarEvent):
            plain = event.style is None
            if not event.value.isascii() and not _encodable(event.value):
                raise SweepError(f"{place}: not Unicode text: {show(event.value)}")
            key_wanted = bool(self._open) and self._open[-1].wants_key
            value = event.value if key_wanted or not plain else resolve_scalar(event.value)
            self._add(Node(value, place))
            return
        if self._open and self._open[-1].wants_key:
            raise SweepError(f"{place}: a key must be text, found a list or a section")
        if len(self._open) >= MAX_DEPTH:
            raise SweepError(f"{place}: nested more than {MAX_DEPTH} deep")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        # A collection is blamed on the line of its key, not on that of its first item.
        held = self._open[-1].key_place if self._open else None
        self._open.append(_Collection(held or place, is_mapping=is_mapping))

    def _add(self, node: Node) -> None:
        if self._open:
            self._open[-1].add(node)
        else:
            self.root = node


class _Collection:
    """A list or mapping that is still open."""

    def __init__(self, place: str, *, is_mapping: bool) -> None:
        self._place = place
        self._is_mapping = is_mapping
        self._items: list[Node] = []
        self._pairs: dict[str, Node] = {}
        self._places: dict[str, str] = {}
        self._key: Node | None = None

    @property
    def wants_key(self) -> bool:
        return self._is_mapping and self._key is None

    @property
    def key_place(self) -> str | None:
        return self._key.place if self._key is not None else None

    def add(self, node: Node) -> None:
        if not self._is_mapping:
            self._items.append(node)
        elif self._key is None:
            if node.value in self._pairs:
                first = self._places[node.value].rpartition(":")[2]
                raise node.error(f"{show_name(node.value)}: given twice (first on line {first})")
            self._key = node
        else:
            self._pairs[self._key.value] = node
            self._places[self._key.value] = self._key.place
            self._key = None

    def node(self) -> Node:
        return Node(self._pairs if self._is_mapping else tuple(self._items), self._place)


def resolve_scalar(text: str) -> Any:
    """Read an unquoted scalar by the YAML 1.2 core rules.

    Examples
    --------
    >>> [resolve_scalar(text) for text in ("1e-3", "10_000", "on", "true", "~", "010")]
    [0.001, 10000, 'on', True, None, '010']
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text) if len(text) <= _MAX_INT_DIGITS else float(text.replace("_", ""))
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    if _SPECIAL.match(text):
        return float(text.replace(".", "").lower())
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())[:200]
