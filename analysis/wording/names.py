"""What columns, sources, protocols, levels and cells are called for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from study.results import endpoint

SOURCE_NAMES = {
    "data": "true data (control)",
    "means": "decoder means",
    "samples": "samples",
    "codes": "latent codes",
}
PROTOCOL_NAMES = {
    "original": "original protocol (k = 5..14)",
    "calibrated": "calibrated protocol (wide range)",
}
NULL_NAMES = {
    "truth": "the true mixture",
    "gaussian": "one Gaussian",
    "ppca": "probabilistic principal components",
    "kde": "kernel density",
}
COLUMN_NAMES = {
    "latent_dim": "latent dimension q",
    "n_components": "true components K",
    "alpha": "Dirichlet alpha",
    "box_rule": "box",
    "box_half_width": "box half-width",
    "kl_weight": "KL weight beta",
    "n_samples": "training points",
    "learning_rate": "learning rate",
    "data_seed": "data seed",
    "batch_size": "batch size",
    "dim": "data dimension D",
    "hidden": "hidden layers",
    "coverage": "coverage k* / K",
    "detection_n_samples": "points counted n",
    "noise_variance": "noise variance of samples",
    "noise_rule": "noise of samples",
    "sampler": "sampler of latents",
    "sampler_components": "components of the sampler",
}
SHORT_NAMES = {
    "latent_dim": "q",
    "n_components": "K",
    "kl_weight": "beta",
    "box_rule": "box",
    "dim": "D",
    "alpha": "alpha",
    "learning_rate": "rate",
    "box_half_width": "half-width",
    "standardize": "standardized",
    "detection_n_samples": "n counted",
    "noise_variance": "noise",
    "noise_rule": "noise rule",
    "n_samples": "n trained",
}

TRAIT_NAMES = {
    "weight": "weight",
    "separation": "separation (standard deviations)",
    "variance": "variance (squared data units)",
}


def name_of(column: str) -> str:
    """Give a column's name for people, units included."""
    if column in COLUMN_NAMES:
        return COLUMN_NAMES[column]
    record = endpoint(column)
    return record.axis_title if record else column.replace("_", " ")


def short_name(column: str) -> str:
    """Give a column's name without its unit, for ticks and table heads."""
    record = endpoint(column)
    return record.short_title if record else name_of(column).split(" (")[0]


def protocol_name(protocol: str) -> str:
    """Return a protocol's name for people."""
    return PROTOCOL_NAMES.get(protocol, f"protocol {protocol}")


def source_name(source: object) -> str:
    """Give a source's name for people."""
    return SOURCE_NAMES[str(source)]


def level_text(value: Any) -> str:
    """Write a factor's level: 0.1, 2, 128x128."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return f"{value:g}"
    return str(value)


def cell_text(cell: str) -> str:
    """Shorten a cell's label for a legend: "latent_dim=2, dim=3" becomes "q = 2, D = 3"."""
    if "=" not in cell:
        return "all trials"
    parts = []
    for part in cell.split(", "):
        name, equals, level = part.partition("=")
        level = level.removesuffix(".0")
        parts.append(f"{SHORT_NAMES.get(name, name_of(name))} = {level}" if equals else part)
    return ", ".join(parts)


def cell_labels(cells: Sequence[Any]) -> list[str]:
    """Label cells for ticks: what they all share is left out."""
    parts = [cell_text(str(cell)).split(", ") for cell in cells]
    common = set(parts[0]).intersection(*parts) if len(parts) > 1 else set()
    return [", ".join(part for part in own if part not in common) for own in parts]


def ellipsoid_text(level: float) -> str:
    """Write how much of a component an ellipsoid holds.

    Examples
    --------
    >>> [ellipsoid_text(level) for level in (0.9, 0.9999, 1 - 1e-6)]
    ['90 %', '99.99 %', '1 - 1e-6']
    """
    return f"{100 * level:g} %" if level < 0.99995 else f"1 - {1 - level:.0e}".replace("e-0", "e-")
