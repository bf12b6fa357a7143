"""Cells and sweeps: what is run, and the configurations of one combination of the factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from study.config.blocks import Block
from study.config.catalogue import (
    all_fields,
    columns_of_cell,
    idle_fields,
    option_values,
    options_of,
    section_columns,
)
from study.config.search_space import SearchConfig
from study.config.sections import (
    SECTIONS,
    TRIAL_SECTIONS,
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    Replicates,
    ResourcesConfig,
    TrainingConfig,
)
from study.plugins import MIXTURES, until_plugins_change


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination of the swept factors: the four sections that decide a trial's numbers."""

    mixture: MixtureConfig
    model: ModelConfig
    training: TrainingConfig
    detection: DetectionConfig

    def get(self, name: str) -> Any:
        """Look a field up by dotted name; None for an option of another kind."""
        section, _, leaf = name.partition(".")
        if section in TRIAL_SECTIONS:
            return getattr(getattr(self, section), leaf)
        for config in (self.model, self.mixture):
            if config.kind == section:
                return dict(config.options).get(leaf, all_fields()[name].default)
        return None

    @property
    def columns(self) -> dict[str, Any]:
        """Its columns of the trials table; None where a field does not apply."""
        kinds = self.model.kind, self.mixture.kind
        columns: dict[str, Any] = {}
        for section in TRIAL_SECTIONS:
            columns |= section_columns(section, getattr(self, section), *kinds)
        for column in columns_of_cell(*kinds):
            if column.of_cell is not None:
                columns[column.name] = column.value(column.of_cell(self))
        for config in (self.mixture, self.model):
            columns |= option_values(config.kind, config.options)
        return columns


# One exclusion: field names and the values that it excludes, all of which must match.
Exclusion = tuple[tuple[str, tuple[Any, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A checked sweep file.

    Parameters
    ----------
    name : str
        Name of the sweep and of its results folder.
    question : str
        What the sweep should answer.
    blocks : tuple of Block
        Sub-grids whose union is run.
    exclude : tuple of Exclusion
        Cells that are not run.
    replicates : Replicates
    resources : ResourcesConfig
    search : SearchConfig or None
        What an adaptive sweep varies and looks for; its cells are proposed as it goes.
    """

    name: str
    question: str = ""
    blocks: tuple[Block, ...] = (Block(),)
    exclude: tuple[Exclusion, ...] = ()
    replicates: Replicates = field(default_factory=Replicates)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    search: SearchConfig | None = None

    def cells(self) -> Iterator[Cell]:
        """Iterate over the cells that are run, block by block; equal cells may come twice.

        An adaptive sweep has none before it runs.
        """
        if self.search is not None:
            return
        for block in self.blocks:
            for values in block.points():
                cell = make_cell(values)
                if not any(is_excluded(cell, exclusion) for exclusion in self.exclude):
                    yield cell


def make_cell(values: Mapping[str, Any]) -> Cell:
    """Build the configurations of a cell from what is set, by dotted name.

    What has no effect on the cell's generator or mixture family is left at its default, so that
    cells that differ in nothing else are equal.
    """
    kind, family = values.get("model.kind", "vae"), values.get("mixture.kind", "box")
    idle = idle_fields(kind, family)
    parts: dict[str, list[tuple[str, Any]]] = {section: [] for section in TRIAL_SECTIONS}
    options: dict[str, list[tuple[str, Any]]] = {kind: [], family: []}
    for path, value in values.items():
        section, _, leaf = path.partition(".")
        if path in idle:
            continue
        if section in parts:
            parts[section].append((leaf, value))
        elif section in options and value != all_fields()[path].default:
            options[section].append((leaf, value))
    if options[kind]:
        parts["model"].append(("options", tuple(sorted(options[kind]))))
    if options[family]:
        parts["mixture"].append(("options", tuple(sorted(options[family]))))
    return Cell(**{name: _make_section(name, tuple(held)) for name, held in parts.items()})


@until_plugins_change
def _make_section(section: str, values: tuple[tuple[str, Any], ...]) -> Any:
    named = dict(values)
    if named.get("means") is not None:
        named |= {"n_components": len(named["means"]), "dim": len(named["means"][0])}
    config = SECTIONS[section](**named)
    if section == "mixture" and config.kind != "box":
        family = MIXTURES[config.kind]
        n_components, dim = family.shape(config, options_of(family, config.options))
        config = replace(config, n_components=n_components, dim=dim)
    return config


@until_plugins_change
def default_columns() -> dict[str, Any]:
    """Return the configuration columns of a cell that sets nothing."""
    return make_cell({}).columns


@until_plugins_change
def absent_columns() -> dict[str, Any]:
    """Return what a field's column would hold in rows that are older than the field.

    A column that several sections decide is not among them.
    """
    derived = {column.name for column in columns_of_cell("vae", "box")}
    return {name: value for name, value in default_columns().items() if name not in derived}


def is_excluded(cell: Cell, exclusion: Exclusion) -> bool:
    """Return whether an exclusion matches a cell."""
    return all(cell.get(name) in values for name, values in exclusion)
