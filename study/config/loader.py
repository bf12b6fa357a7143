"""The sweep file: `load_sweep` is the only reader of YAML, and refuses what cannot be run.

Every mistake is one line that names file, line, field, bound and the value found. The
configuration dataclasses live in `study.config.sections`; import them from here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.config.blocks import Axis, Block, Scope, ScopeReader
from study.config.catalogue import all_fields, replicate_fields, trial_sections
from study.config.cells import Cell, Exclusion, Sweep, is_excluded, make_cell
from study.config.checks import cell_problem, idle_problem
from study.config.fields import unknown
from study.config.search_reader import check_search, read_search, search_fields
from study.config.search_space import SearchConfig
from study.config.sections import Replicates, ResourcesConfig
from study.config.yaml_source import Node, SweepError, parse_yaml, read_yaml, show, show_name

MAX_TRIALS = 1_000_000
MAX_QUESTION = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_BLOCK_KEYS = ("label", "fixed", "grid", "zip")
_TOP_KEYS = (
    *("name", "question", "fixed", "grid", "zip", "blocks", "exclude", "replicates", "search"),
    "resources",
)


def load_sweep(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Sweep:
    """Read and check a sweep file, or the same as a mapping.

    Parameters
    ----------
    source : str, Path or mapping
        A file, or what a file would say.
    overrides : sequence of str
        "field=value" each, with a dotted field name and the value as YAML. A value fixes the
        field wherever the file fixes or sweeps it; a list of values, or a generator, sweeps it.
        `name`, `question` and `replicates.data` (`init`, `sample`, `detection`) can be set too.

    Returns
    -------
    Sweep

    Raises
    ------
    SweepError
        With one line that says what is wrong, where, and what would be right.

    Examples
    --------
    >>> sweep = load_sweep("sweeps/quickstart.yaml", ["training.epochs=5", "replicates.data=1"])
    >>> next(sweep.cells()).training.epochs
    5
    >>> sweep = load_sweep({"name": "mini", "grid": {"model.latent_dim": [1, 3]}})
    >>> [cell.model.latent_dim for cell in sweep.cells()]
    [1, 3]
    """
    if isinstance(source, Mapping):
        return read_resolved(source, overrides, place="sweep")
    root = read_yaml(source)
    if not root.is_mapping:
        found = "an empty file" if root.value is None else show(root.plain())
        raise root.error(f"a sweep file is a list of fields such as name and grid; found {found}")
    settings = [_parse_override(text) for text in overrides]
    return _Loader(Node(root.value, str(source)), settings).load()


def read_resolved(
    form: Mapping[str, Any], overrides: Sequence[str] = (), *, place: str = "manifest.json"
) -> Sweep:
    """Read the resolved form of a sweep, as a results folder's manifest holds it.

    Parameters
    ----------
    form : mapping
        As `resolve` returns.
    overrides : sequence of str
        As in `load_sweep`.
    place : str
        Where the form is from, for messages.

    Raises
    ------
    SweepError
        As in `load_sweep`.
    """
    try:
        text = json.dumps(form, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise SweepError(f"{place}: {error}") from None
    root = parse_yaml(text, place=place, numbered=False)
    if not root.is_mapping:
        raise root.error("holds no sweep")
    return _Loader(root, [_parse_override(text) for text in overrides]).load()


def _plain(value: Any) -> Any:
    """Return what JSON has for a number or array of numpy, a range or a path."""
    if isinstance(value, range):
        return list(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r:.80} is a {type(value).__name__}, which no sweep file can say")


def _parse_override(text: str) -> tuple[str, Node]:
    name, equals, value = text.partition("=")
    place = f"--set {show_name(text)}"
    if not equals or not name.strip():
        raise SweepError(f"{place}: must be field=value, such as training.epochs=50")
    return name.strip(), parse_yaml(value, place=place, numbered=False)


class _Loader:
    """Reads one file; holds what every step needs."""

    def __init__(self, root: Node, settings: Sequence[tuple[str, Node]]) -> None:
        self.parts: dict[str, Node] = dict(root.value)
        self.root = root
        self.settings = settings
        self.reader = ScopeReader(all_fields())

    def load(self) -> Sweep:
        for key, node in self.parts.items():
            self._check_key(key, node)
        scopes = self._read_scopes()
        field_settings = [pair for pair in self.settings if not self._set_part(*pair)]
        for name, node in field_settings:
            override(self.reader, scopes, name=name, node=node)
        top, *rest = scopes
        blocks = tuple(scope.block(top) for scope in rest) if rest else (top.block(),)
        sweep = Sweep(
            name=self._name(),
            question=self._question(),
            blocks=tuple(_without_resources(block) for block in blocks),
            exclude=self._exclusions(),
            replicates=self._replicates(),
            resources=_resources(top),
            search=self._search(scopes),
        )
        checked = _Checker(self.root, sweep, rest or [top], top).check(
            tolerant=bool(self.settings)
        )
        if sweep.search is not None:
            check_search(self.parts["search"], sweep)
        return checked

    def _check_key(self, key: str, node: Node) -> None:
        if key in self.reader.fields:
            raise node.error(f"{key}: belongs under fixed, or as a list of values under grid")
        known = (*_TOP_KEYS, *trial_sections())
        if key not in known:
            raise unknown(node, key, [*known, *self.reader.fields])

    def _set_part(self, name: str, node: Node) -> bool:
        if name in ("name", "question"):
            self.parts[name] = node
            return True
        if name in search_fields():
            held = self.parts.get("search")
            if held is None or not held.is_mapping:
                raise node.error(f"{name}: this sweep has no search")
            leaf = name.partition(".")[2]
            self.parts["search"] = Node({**held.value, leaf: node}, held.place)
            return True
        if name in replicate_fields():
            held = self.parts.get("replicates")
            old = held.value if held is not None and held.is_mapping else {}
            self.parts["replicates"] = Node({**old, name.partition(".")[2]: node}, node.place)
            return True
        return False

    def _read_scopes(self) -> list[Scope]:
        scopes = [self.reader.read(Node(self.parts, self.root.place))]
        if "blocks" not in self.parts:
            return scopes
        node = self.parts["blocks"]
        if not node.is_list or not node.value:
            raise node.error(f"blocks: must be a list of blocks; found {show(node.plain())}")
        for entry in node.value:
            if not entry.is_mapping or not entry.value:
                raise entry.error("blocks: each block needs fixed, grid or zip")
            for key, child in entry.value.items():
                if key == "resources":
                    raise child.error("resources: belong to the whole sweep, not to a block")
                if key not in (keys := (*_BLOCK_KEYS, *trial_sections())):
                    raise unknown(child, key, keys, kind="part of a block")
            scope = self.reader.read(entry)
            held = next((name for name in scope.fixed if name.startswith("resources.")), None)
            if held is not None:
                raise SweepError(f"{scope.places[held]}: {held}: belongs to the whole sweep")
            scope.label = _text(entry.value.get("label"), name="label")
            scopes.append(scope)
        return scopes

    def _search(self, scopes: Sequence[Scope]) -> SearchConfig | None:
        if "search" not in self.parts:
            return None
        node = self.parts["search"]
        if len(scopes) > 1 or scopes[0].axes or "exclude" in self.parts:
            raise node.error(
                "search: proposes the cells itself; remove grid, zip, blocks and exclude"
            )
        config = read_search(node, self.reader)
        for dimension in config.space:
            if dimension.name in scopes[0].fixed:
                line = scopes[0].places[dimension.name].rpartition(":")[2]
                raise node.error(f"search.space: {dimension.name} is fixed in line {line}")
        return config

    def _name(self) -> str:
        if "name" not in self.parts:
            raise self.root.error("name: missing; it names the folder of the results")
        node = self.parts["name"]
        if not isinstance(node.value, str) or not _NAME.fullmatch(node.value):
            wanted = "1 to 64 letters, digits, _ or -, starting with a letter or digit"
            quotes = "; put it in quotes" if isinstance(node.value, int | float) else ""
            raise node.error(f"name: must be text of {wanted}; found {show(node.plain())}{quotes}")
        return node.value

    def _question(self) -> str:
        return _text(self.parts.get("question"), name="question")

    def _exclusions(self) -> tuple[Exclusion, ...]:
        if "exclude" not in self.parts:
            return ()
        node = self.parts["exclude"]
        if not node.is_list or not node.value:
            raise node.error(f"exclude: must be a list of matches; found {show(node.plain())}")
        return tuple(self._exclusion(entry) for entry in node.value)

    def _exclusion(self, node: Node) -> Exclusion:
        pairs = []
        for name, entry in self.reader.flat(node, what="exclude").items():
            field = self.reader.fields[name]
            if field.section == "resources":
                raise entry.error(f"{name}: is the same for the whole sweep; it excludes nothing")
            if entry.is_list and entry.value and not field.accepts(entry):
                pairs.append((name, tuple(field.check(item) for item in entry.value)))
            else:
                pairs.append((name, (field.check(entry),)))
        return tuple(pairs)

    def _replicates(self) -> Replicates:
        if "replicates" not in self.parts:
            return Replicates()
        node, listed = self.parts["replicates"], replicate_fields()
        if not node.is_mapping or not node.value:
            wanted = "{data: 10, init: 3, sample: 1}"
            raise node.error(f"replicates: must be like {wanted}; found {show(node.plain())}")
        values = {}
        for key, child in node.value.items():
            name = f"replicates.{key}"
            if name not in listed:
                raise unknown(child, name, listed)
            values[key] = listed[name].check(child)
            if isinstance(values[key], tuple) and len(set(values[key])) < len(values[key]):
                raise child.error(f"{name}: lists a seed twice; found {show(values[key])}")
        return Replicates(**values)


def _text(node: Node | None, *, name: str) -> str:
    if node is None:
        return ""
    if not isinstance(node.value, str):
        raise node.error(f"{name}: must be text; found {show(node.plain())}")
    text = " ".join(node.value.split())
    if len(text) > MAX_QUESTION or not text.isprintable():
        raise node.error(f"{name}: must be printable text of at most {MAX_QUESTION:,} characters")
    return text


def _resources(top: Scope) -> ResourcesConfig:
    prefix = "resources."
    named = {
        name.removeprefix(prefix): value
        for name, value in top.fixed.items()
        if name.startswith(prefix)
    }
    return ResourcesConfig(**named)


def _without_resources(block: Block) -> Block:
    kept = tuple(pair for pair in block.fixed if not pair[0].startswith("resources."))
    return replace(block, fixed=kept)


def override(reader: ScopeReader, scopes: Sequence[Scope], *, name: str, node: Node) -> None:
    """Set a field in every scope: to a value, or to the values of an axis.

    Raises
    ------
    SweepError
        If the field does not exist, the value is wrong, or a zipped field is given several.
    """
    field = reader.field(name, node)
    holders = [scope for scope in scopes if name in scope.swept]
    if field.accepts(node) or not field.sweepable or not (node.is_list or node.is_mapping):
        value = field.check(node)
        for scope in scopes:
            scope.pin(name)
            scope.fixed.pop(name, None)
        scopes[0].fixed[name] = value
        scopes[0].places[name] = node.place
        return
    axis = Axis(names=(name,), rows=reader.rows(name, node))
    for scope in scopes:
        scope.fixed.pop(name, None)
    for scope in holders or scopes[:1]:
        if any(name in held.names and len(held.names) > 1 for held in scope.axes):
            raise node.error(
                f"{name}: is zipped with other fields; it can be set to one value only"
            )
        at = next((i for i, held in enumerate(scope.axes) if name in held.names), len(scope.axes))
        scope.axes[at : at + 1] = [axis]
        scope.places[name] = node.place


class _Checker:
    """Checks that need more than one field: cell by cell, after exclusions."""

    def __init__(self, root: Node, sweep: Sweep, scopes: Sequence[Scope], top: Scope) -> None:
        self.root, self.sweep, self.scopes, self.top = root, sweep, scopes, top

    def check(self, *, tolerant: bool) -> Sweep:
        """Return the sweep; `tolerant` drops exclusions that match nothing."""
        sweep = self.sweep
        n_trials = sum(block.n_cells for block in sweep.blocks) * sweep.replicates.n_per_cell
        if n_trials > MAX_TRIALS:
            raise self.root.error(f"has {n_trials:,} trials; at most {MAX_TRIALS:,} are possible")
        matched = [False] * len(sweep.exclude)
        n_kept = 0
        for block, scope in zip(sweep.blocks, self.scopes, strict=True):
            for values in block.points():
                cell = make_cell(values)
                hits = [is_excluded(cell, exclusion) for exclusion in sweep.exclude]
                matched = [old or hit for old, hit in zip(matched, hits, strict=True)]
                if not any(hits):
                    n_kept += 1
                    self._check_cell(cell, values, scope)
        unmatched = [i for i, hit in enumerate(matched) if not hit]
        if unmatched and not tolerant:
            names = ", ".join(f"{name}" for name, _ in sweep.exclude[unmatched[0]])
            place = self._exclude_place(unmatched[0])
            raise place.error(f"exclude: matches no cell ({names}); remove or correct it")
        if not n_kept:
            raise self._exclude_place(0).error("exclude: leaves no cell to run")
        kept = tuple(entry for i, entry in enumerate(sweep.exclude) if matched[i])
        return replace(sweep, exclude=kept)

    def _exclude_place(self, index: int) -> Node:
        return self.root.value["exclude"].value[index]

    def _check_cell(self, cell: Cell, values: dict[str, Any], scope: Scope) -> None:
        problem = cell_problem(cell, values, self.sweep.replicates)
        if problem is None and not {"model.kind", "mixture.kind"} & (scope.swept | self.top.swept):
            problem = idle_problem(cell, values)
        if problem is not None:
            name, message = problem
            raise SweepError(f"{self._place(name, scope)}: {name}: {message}")

    def _place(self, name: str, scope: Scope) -> str:
        if name.startswith("replicates.") and "replicates" in self.root.value:
            return str(self.root.value["replicates"].place)
        section = name.partition(".")[0]
        places = {**self.top.places, **scope.places}
        near = [place for other, place in places.items() if other.startswith(f"{section}.")]
        return places.get(name) or (near[0] if near else self.root.place)
