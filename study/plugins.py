"""What a sweep can name, and the files that add to it: registries and plug-ins.

A plug-in is one Python file, named on the command line (`--plugin FILE.py`) or installed as an
entry point of the group `mode_study.plugins`; a sweep file alone never imports code. The file
registers what it adds::

    from study.plugins import MIXTURES

    @MIXTURES.register("ring")
    class Ring: ...

Ids hold a digest of the file's text (`Registry.digest`), so that a changed plug-in is another
generator, family, protocol or endpoint. Its text goes to the workers as it is: a plug-in may
import installed packages, but no neighbour of its own. docs/extending.md has a recipe for each
registry.

Nothing of this project is imported here. What is built in is listed by the place that defines it
and loaded when it is first asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

GROUP = "mode_study.plugins"
# Words of a sweep file that no plug-in may take as a name.
_SECTIONS = ("mixture", "model", "training", "detection", "resources", "replicates", "search")
_PARTS = ("name", "question", "fixed", "grid", "zip", "blocks", "exclude", "label")
RESERVED = frozenset((*_SECTIONS, *_PARTS))
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_DIGITS = 16
_REMEMBERED = 100_000

Added = TypeVar("Added")
Function = TypeVar("Function", bound=Callable[..., Any])


class PluginError(ValueError):
    """A plug-in that cannot be loaded or is missing; the message names it and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A loaded plug-in.

    Parameters
    ----------
    name : str
        The file's name without its ending, or the entry point's name.
    digest : str
        Of its source, 16 hex digits.
    source : str or None
        The file's text, which is sent to workers; None for an installed one.
    """

    name: str
    digest: str
    source: str | None


@dataclass(frozen=True, slots=True)
class _Entry:
    value: Any
    plugin: str
    digest: str


class Registry(Mapping[str, Any]):
    """Objects of one kind by name: built-in ones first, then those of plug-ins.

    Parameters
    ----------
    kind : str
        What they are, for people.
    builtin : mapping of str to str
        The module and attribute of each, such as "study.training.kinds.em:EM".
    needs : tuple of str
        Attributes that a plug-in's object must have.
    """

    def __init__(
        self, kind: str, builtin: Mapping[str, str], *, needs: tuple[str, ...] = ()
    ) -> None:
        self.kind, self.builtin = kind, dict(builtin)
        self._needs = needs
        self._added: dict[str, _Entry] = {}
        _REGISTRIES.append(self)

    def register(self, name: str) -> Callable[[Added], Added]:
        """Add what follows under a name; a class is added as an instance of it.

        Parameters
        ----------
        name : str
            Lower-case letters, digits and underscores; it may stand in sweep files and columns.

        Raises
        ------
        PluginError
            The name is taken, the object lacks a method, or no plug-in is being loaded.
        """

        def add(value: Added) -> Added:
            self._add(name, value() if inspect.isclass(value) else value)
            return value

        return add

    def _add(self, name: str, value: Any) -> None:
        if not _LOADING:
            raise PluginError(f"{self.kind} {name!r}: only a plug-in adds it; load the file with "
                              "--plugin FILE.py or study.plugins.load_plugins")  # fmt: skip
        if not _NAME.fullmatch(name) or name in RESERVED:
            raise PluginError(
                f"{self.kind} {name!r}: the name must be lower-case letters, digits and "
                "underscores, and not a word of sweep files"
            )
        if any(name in registry for registry in _REGISTRIES):
            raise PluginError(f"{self.kind} {name!r}: the name is taken; choose another one")
        if getattr(value, "name", name) != name:
            raise PluginError(f"{self.kind} {name!r}: its record calls it {value.name!r}")
        missing = [need for need in self._needs if not hasattr(value, need)]
        if missing:
            raise PluginError(
                f"{self.kind} {name!r}: lacks {', '.join(missing)}; derive it from the class that "
                "docs/extending.md names"
            )
        plugin = _LOADING[-1]
        self._added[name] = _Entry(value, plugin.name, plugin.digest)

    def digest(self, name: str) -> str:
        """Return the digest of the plug-in that added a name; empty if it is built in."""
        return self._added[name].digest if name in self._added else ""

    def plugin(self, name: str) -> str | None:
        """Return the name of the plug-in that added a name; None if it is built in."""
        return self._added[name].plugin if name in self._added else None

    @property
    def added(self) -> tuple[str, ...]:
        """Names that plug-ins have added, in the order in which they were loaded."""
        return tuple(self._added)

    @property
    def has_added(self) -> bool:
        """Whether a plug-in has added anything."""
        return bool(self._added)

    def forget(self, plugin: str) -> None:
        """Remove what a plug-in has added."""
        self._added = {k: entry for k, entry in self._added.items() if entry.plugin != plugin}

    def __getitem__(self, name: str) -> Any:
        if name in self._added:
            return self._added[name].value
        module, _, attribute = self.builtin[name].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or name in self._added

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[str]:
        return iter((*self.builtin, *self._added))

    def __len__(self) -> int:
        return len(self.builtin) + len(self._added)


_REGISTRIES: list[Registry] = []
_LOADED: dict[str, Plugin] = {}
_LOADING: list[Plugin] = []
_CACHES: list[Callable[[], None]] = []

# A kind of model (`study.training.generators.Generator`).
GENERATORS = Registry(
    "generator",
    {
        "vae": "study.training.generators:VAE",
        "em": "study.training.kinds.em:EM",
        "truth": "study.training.kinds.truth:TRUTH",
        "gaussian": "study.training.kinds.gaussian:GAUSSIAN",
        "ppca": "study.training.kinds.ppca:PPCA",
        "kde": "study.training.kinds.kde:KDE",
        "exact_score": "study.training.kinds.exact_score:EXACT_SCORE",
        "diffusion": "study.training.kinds.diffusion:DIFFUSION",
        "flow_matching": "study.training.kinds.flow_matching:FLOW_MATCHING",
        "gan": "study.training.kinds.gan:GAN",
        "flow": "study.training.kinds.flow:FLOW",
    },
    needs=("fit", "sample", "reads"),
)
# A family of true mixtures (`study.data.families.MixtureFamily`).
MIXTURES = Registry(
    "mixture family",
    {
        "box": "study.data.families:BOX",
        "ring": "study.data.shapes:RING",
        "circle": "study.data.shapes:CIRCLE",
        "lattice": "study.data.shapes:LATTICE",
        "line": "study.data.shapes:LINE",
        "spirals": "study.data.shapes:SPIRALS",
        "moons": "study.data.shapes:MOONS",
        "rings": "study.data.shapes:RINGS",
        "checkerboard": "study.data.shapes:CHECKERBOARD",
    },
    needs=("draw", "reads", "shape"),
)
# A way of counting modes (`study.detection.protocols.CountingProtocol`).
PROTOCOLS = Registry(
    "protocol",
    {
        "original": "study.detection.protocols:ORIGINAL",
        "calibrated": "study.detection.protocols:CALIBRATED",
    },
    needs=("count", "range", "min_points"),
)
# A number that every trial has (`study.results.Endpoint` with `compute`); the built-in ones are
# records of `study.results.endpoints`, computed where their inputs are.
ENDPOINTS = Registry("endpoint", {}, needs=("name", "title", "unit", "better", "compute"))
# What the tables of the record ask of the packages above it: columns by name, and their types.
COLUMN_SETS = Registry(
    "set of columns",
    {
        "config": "study.config.catalogue:config_columns",
        "options": "study.config.catalogue:option_columns",
        "defaults": "study.config.cells:absent_columns",
        "descriptions": "study.config.catalogue:column_descriptions",
    },
)


def until_plugins_change(function: Function) -> Function:
    """Remember what a function without side effects returns, until a plug-in is loaded."""
    remembered = lru_cache(maxsize=_REMEMBERED)(function)
    _CACHES.append(remembered.cache_clear)
    return remembered  # type: ignore[return-value]  # called as the function is


def loaded() -> tuple[Plugin, ...]:
    """List the plug-ins that are loaded, in order."""
    return tuple(_LOADED.values())


def load_plugins(paths: Sequence[str | Path] = ()) -> tuple[Plugin, ...]:
    """Load the installed plug-ins, and those of some files.

    Parameters
    ----------
    paths : sequence of path
        Python files. A file that is loaded again replaces what it added before.

    Returns
    -------
    tuple of Plugin
        All that are loaded now.

    Raises
    ------
    PluginError
        One cannot be read or does not run; the message names file and line.
    """
    _load_installed()
    for path in map(Path, paths):
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PluginError(f"--plugin {path}: cannot be read: {error}") from None
        if path.suffix != ".py" or not path.stem.isidentifier():
            raise PluginError(f"--plugin {path}: must be a Python file, such as ring.py")
        _load(Plugin(name=path.stem, digest=_digest(source), source=source))
    return loaded()


def install(plugins: Sequence[Plugin]) -> None:
    """Load in this process what another one has loaded.

    Parameters
    ----------
    plugins : sequence of Plugin
        As `loaded` returns there.

    Raises
    ------
    PluginError
        An installed plug-in is not installed here, or is another version of it.
    """
    if any(plugin.source is None for plugin in plugins):
        _load_installed()
    for plugin in plugins:
        here = _LOADED.get(plugin.name)
        if here == plugin:
            continue
        if plugin.source is None:
            how = "is not installed" if here is None else "is another version"
            raise PluginError(f"plug-in {plugin.name} ({plugin.digest}) {how} on this machine")
        _load(plugin)


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a command the option that names plug-ins."""
    parser.add_argument(
        "--plugin",
        dest="plugins",
        metavar="FILE.py",
        action="append",
        default=[],
        help="load what this file adds: generators, mixture families, protocols, endpoints, "
        "figures (repeatable; see docs/extending.md)",
    )


def require(recorded: Mapping[str, str], *, place: str) -> None:
    """Make sure that what a results folder was made with is loaded.

    Parameters
    ----------
    recorded : mapping of str to str
        Digest by plug-in, as the folder's manifest has them.
    place : str
        The folder, for the message.

    Raises
    ------
    PluginError
        One is missing. Another version of it is a change like any other: ids say so.
    """
    for name, digest in recorded.items():
        if name not in _LOADED:
            raise PluginError(
                f"{place}: was made with the plug-in {name} ({digest}), which is not loaded; add "
                f"--plugin {name}.py, with the path of that file"
            )


def unload(name: str) -> None:
    """Forget a plug-in and what it has added."""
    _LOADED.pop(name, None)
    sys.modules.pop(_module_name(name), None)
    for registry in _REGISTRIES:
        registry.forget(name)
    _forget_remembered()


def _forget_remembered() -> None:
    for clear in _CACHES:
        clear()


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:_DIGITS]


def _module_name(name: str) -> str:
    return f"study_plugin_{name}"


def _load(plugin: Plugin) -> None:
    if _LOADED.get(plugin.name) == plugin:
        return
    unload(plugin.name)
    assert plugin.source is not None, "an installed plug-in is imported"
    place = f"<plug-in {plugin.name}.py>"
    # Tracebacks show its lines on workers too, which do not have the file.
    linecache.cache[place] = (len(plugin.source), None, plugin.source.splitlines(True), place)
    module = ModuleType(_module_name(plugin.name))
    # Dataclasses look up their module to read annotations.
    sys.modules[module.__name__] = module
    text = plugin.source
    _run(plugin, lambda: exec(compile(text, place, "exec"), module.__dict__))


def _run(plugin: Plugin, action: Callable[[], object]) -> None:
    _LOADING.append(plugin)
    try:
        action()
    except Exception as error:
        unload(plugin.name)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
                 if frame.filename == f"<plug-in {plugin.name}.py>"]  # fmt: skip
        where = f", line {lines[-1]}" if lines else ""
        what = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        raise PluginError(f"plug-in {plugin.name}{where}: {what}") from error
    finally:
        _LOADING.pop()
    _LOADED[plugin.name] = plugin
    _forget_remembered()


def _load_installed() -> None:
    # Imported here: --help need not wait for it.
    from importlib.metadata import entry_points

    for point in entry_points(group=GROUP):
        if point.name in _LOADED:
            continue
        spec = importlib.util.find_spec(point.module)
        if spec is None or spec.origin is None:
            raise PluginError(f"plug-in {point.name}: {point.module} cannot be imported")
        digest = _digest(Path(spec.origin).read_text(encoding="utf-8"))
        plugin = Plugin(name=point.name, digest=digest, source=None)
        _run(plugin, point.load)
