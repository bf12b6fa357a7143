"""All fields that a sweep file may set, the columns that show them, and which ones apply.

Generators and mixture families bring options of their own: each is a field of a section of that
name, with a column NAME_OPTION, which only the trials of that kind have.
"""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import Any

from study.config.fields import NO_BOUNDS, Column, Field, option_fields, section_fields
from study.config.sections import (
    SECTIONS,
    SHAPE_FIELDS,
    TRIAL_SECTIONS,
    Replicates,
)
from study.plugins import GENERATORS, MIXTURES, until_plugins_change

# Fields that every generator and every mixture family has.
_COMMON_FIELDS = ("model.kind", "mixture.kind", "mixture.n_samples", "training.timeout_min")
# Fields of the detection that only the autoencoder has a use for.
_OF_NETWORKS = (
    "detection.noise_variance",
    "detection.sampler",
    "detection.sampler_components",
    "detection.at_checkpoints",
)


@until_plugins_change
def all_fields() -> dict[str, Field]:
    """List the fields of every section by dotted name, those of plug-ins included."""
    listed: dict[str, Field] = {}
    for section, config in SECTIONS.items():
        listed |= section_fields(section, config, has_columns=True)
    for registry in (GENERATORS, MIXTURES):
        for name in registry:
            listed |= _option_fields(registry[name], name)
    return listed


def _option_fields(entry: Any, name: str) -> dict[str, Field]:
    options = getattr(entry, "Options", None)
    return {} if options is None else option_fields(name, options)


@until_plugins_change
def trial_sections() -> tuple[str, ...]:
    """List the sections that decide a trial's numbers, those of plug-ins included."""
    found = dict.fromkeys(field.section for field in all_fields().values())
    return tuple(name for name in found if name != "resources")


@until_plugins_change
def field_columns() -> dict[str, tuple[str, ...]]:
    """Map each field that has columns of the trials table to their names."""
    return {
        path: tuple(column.name for column in field.columns)
        for path, field in all_fields().items()
        if field.columns
    }


@until_plugins_change
def config_columns() -> dict[str, str]:
    """Map each column that every trial has to its type; options of kinds are not among them."""
    columns = chain.from_iterable(
        field.columns for field in all_fields().values() if field.section in TRIAL_SECTIONS
    )
    return {column.name: column.type for column in columns}


@until_plugins_change
def option_columns() -> dict[str, str]:
    """Map each column of an option of a generator or mixture family to its type."""
    columns = chain.from_iterable(
        field.columns for field in all_fields().values() if field.section not in SECTIONS
    )
    return {column.name: column.type for column in columns}


@until_plugins_change
def column_descriptions() -> dict[str, tuple[str, tuple[float, float]]]:
    """Map each column of a field to what it holds, and the bounds of its values."""
    found = {}
    for path, field in all_fields().items():
        for column in field.columns:
            text = f"{path}: {field.description}".rstrip(".")
            found[column.name] = (text, field.bounds if column.type != "str" else NO_BOUNDS)
    return found


@cache
def replicate_fields() -> dict[str, Field]:
    """List the fields of `replicates:`."""
    return section_fields("replicates", Replicates)


@until_plugins_change
def idle_fields(kind: str, family: str) -> frozenset[str]:
    """List the fields that have no effect on a generator and mixture family of these kinds.

    Parameters
    ----------
    kind, family : str
        Values of model.kind and mixture.kind.
    """
    generator, mixtures = GENERATORS[kind], MIXTURES[family]
    read = {*_COMMON_FIELDS, *(f"training.{name}" for name in generator.reads)}
    read |= {f"mixture.{name}" for name in mixtures.reads}
    sections = {"detection", "resources", kind, family}
    sections |= {"model", "training"} if kind == "vae" else set()
    sections |= {"mixture"} if family == "box" else set()
    return frozenset(
        path
        for path, field in all_fields().items()
        if path not in read
        and (field.section not in sections or (kind != "vae" and path in _OF_NETWORKS))
    )


def options_of(entry: Any, values: tuple[tuple[str, Any], ...]) -> Any:
    """Make the options of a generator or mixture family; None if it has none.

    Parameters
    ----------
    entry : object
        Of a registry.
    values : tuple of (str, value)
        Those that differ from the defaults.
    """
    options = getattr(entry, "Options", None)
    return None if options is None else options(**dict(values))


@until_plugins_change
def section_columns(section: str, config: Any, kind: str, family: str) -> dict[str, Any]:
    """Return the columns of one section; None where a field does not apply.

    Parameters
    ----------
    section : str
    config : object
        Its dataclass.
    kind, family : str
        Values of model.kind and mixture.kind.
    """
    idle = idle_fields(kind, family)
    columns: dict[str, Any] = {}
    for path, field in all_fields().items():
        if field.section != section:
            continue
        if path in idle and path not in SHAPE_FIELDS:
            columns |= dict.fromkeys(column.name for column in field.columns)
        else:
            columns |= field.column_values(config)
    return columns


@until_plugins_change
def columns_of_cell(kind: str, family: str) -> tuple[Column, ...]:
    """List the columns that a whole cell of these kinds decides."""
    idle = idle_fields(kind, family)
    fields = (field for path, field in all_fields().items() if path not in idle)
    return tuple(c for field in fields for c in field.columns if c.of_cell is not None)


@until_plugins_change
def option_values(name: str, values: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """Return the columns of the options of a generator or mixture family.

    Parameters
    ----------
    name : str
    values : tuple of (str, value)
        Those that differ from the defaults.
    """
    fields = [field for field in all_fields().values() if field.section == name]
    if not fields:
        return {}
    registry = GENERATORS if name in GENERATORS else MIXTURES
    options = options_of(registry[name], values)
    columns: dict[str, Any] = {}
    for field in fields:
        columns |= field.column_values(options)
    return columns
