"""Checks of a configuration that need more than one field.

Each function returns None, or the field to blame and what is wrong with it; `study.config` adds
the file and the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

from study.config.catalogue import idle_fields, options_of
from study.config.cells import Cell
from study.config.sections import (
    GIVEN_FIELDS,
    MAX_SEED,
    RECIPE_FIELDS,
    DetectionConfig,
    MixtureConfig,
    Replicates,
    TrainingConfig,
)
from study.config.yaml_source import show
from study.plugins import GENERATORS, MIXTURES, PROTOCOLS

ORIGINAL_N_SAMPLES = 10_000
WEIGHTS_TOLERANCE = 1e-6

Problem = tuple[str, str] | None


def max_components(n_points: int, dim: int) -> int:
    """Return the most components that the calibrated protocol fits to distinct points.

    A component has a full covariance, for which it needs D + 1 distinct points of its own.

    Examples
    --------
    >>> max_components(10_000, 3), max_components(10_000, 150)
    (2500, 66)
    """
    return n_points // (dim + 1)


def min_points(n_components: int, dim: int) -> int:
    """Return the fewest distinct points for which `max_components` allows a number.

    Examples
    --------
    >>> min_points(20, 3), max_components(min_points(20, 3), 3)
    (80, 20)
    """
    return n_components * (dim + 1)


def cell_problem(cell: Cell, values: Mapping[str, Any], replicates: Replicates) -> Problem:
    """Find what is wrong with a cell whose single fields are right.

    Parameters
    ----------
    cell : Cell
    values : mapping of str to object
        What the file sets for this cell, by dotted name.
    replicates : Replicates

    Returns
    -------
    (str, str) or None
        The field to blame and what is wrong.
    """
    return (
        given_problem(values)
        or mixture_problem(cell.mixture)
        or _replay_problem(cell.mixture, replicates)
        or training_problem(cell.training)
        or detection_problem(cell.detection)
        or options_problem(cell)
        or _count_problem(cell, values)
        or _search_seed_problem(cell.detection, replicates)
    )


def idle_problem(cell: Cell, values: Mapping[str, Any]) -> Problem:
    """Find a field that is set and has no effect on the cell's generator or mixture family.

    Settings of the training may stand beside any generator.
    """
    kind, family = cell.model.kind, cell.mixture.kind
    for name in values:
        section = name.partition(".")[0]
        if name in idle_fields(kind, family) and section != "training":
            of = f"mixture.kind: {family}" if section == "mixture" else f"model.kind: {kind}"
            if section not in ("mixture", "model"):
                of = f"model.kind: {kind} and mixture.kind: {family}"
            return name, f"has no effect on {of}; remove it"
    return None


def options_problem(cell: Cell) -> Problem:
    """Find a combination that the options of a generator or mixture family refuse."""
    for registry, config in ((GENERATORS, cell.model), (MIXTURES, cell.mixture)):
        try:
            options_of(registry[config.kind], config.options)
        except ValueError as error:
            field, _, message = str(error).partition(": ")
            return f"{config.kind}.{field}", message
    return None


def given_problem(values: Mapping[str, Any]) -> Problem:
    """Find a contradiction between a given mixture and what is written beside it."""
    given = [values.get(name) is not None for name in GIVEN_FIELDS]
    if not any(given):
        return None
    if not all(given):
        missing = GIVEN_FIELDS[given.index(False)]
        return missing, "missing; a given mixture has means, variances and weights"
    for name in RECIPE_FIELDS:
        if name in values:
            return name, "has no effect on a given mixture; remove it"
    means, variances, weights = (values[name] for name in GIVEN_FIELDS)
    dim, n_components = len(means[0]), len(means)
    shape = f"{n_components} x {dim}"
    if any(len(row) != dim for row in means):
        return GIVEN_FIELDS[0], "must have rows of equal lengths"
    if len(variances) != n_components or any(len(row) != dim for row in variances):
        return GIVEN_FIELDS[1], f"must have the shape of the means, {shape}"
    if len(weights) != n_components:
        return GIVEN_FIELDS[
            2
        ], f"must have one weight per mean, {n_components}; found {len(weights)}"
    for name, size in (("mixture.n_components", n_components), ("mixture.dim", dim)):
        if values.get(name, size) != size:
            return name, f"must be {size}, as in the given mixture; found {values[name]}"
    return None


@lru_cache
def mixture_problem(mixture: MixtureConfig) -> Problem:
    """Find what is wrong with a mixture whose single fields are right: field and message."""
    low, high = mixture.variance
    if low > high:
        return "mixture.variance", f"must be [low, high] with low <= high; found [{low}, {high}]"
    if mixture.weights is not None and abs(sum(mixture.weights) - 1) > WEIGHTS_TOLERANCE:
        return "mixture.weights", f"must sum to 1; found a sum of {sum(mixture.weights):.9g}"
    if mixture.training_points == "original":
        if mixture.means is None:
            return "mixture.training_points", "original needs the report's mixture; give its means"
        if mixture.n_samples != ORIGINAL_N_SAMPLES:
            bound = f"must be {ORIGINAL_N_SAMPLES:,}, since training_points is original"
            return "mixture.n_samples", f"{bound}; found {mixture.n_samples:,}"
    return None


def _replay_problem(mixture: MixtureConfig, replicates: Replicates) -> Problem:
    n_seeds = len(replicates.seeds("data"))
    if mixture.training_points == "original" and n_seeds != 1:
        bound = "must be one seed, since training_points is original"
        return "replicates.data", f"{bound}; found {n_seeds}"
    return None


def _search_seed_problem(detection: DetectionConfig, replicates: Replicates) -> Problem:
    last = detection.seed + max(replicates.seeds("detection"))
    if last > MAX_SEED:
        bound = f"must stay at most {MAX_SEED} when added to detection.seed"
        return "replicates.detection", f"{bound}; found a sum of {last}"
    return None


@lru_cache
def training_problem(training: TrainingConfig) -> Problem:
    """Find what is wrong with a training whose single fields are right: field and message."""
    points = training.checkpoints
    if isinstance(points, tuple):
        if any(a >= b for a, b in pairwise(points)):
            return "training.checkpoints", f"must increase; found {show(points)}"
        if points[-1] > training.epochs:
            bound = f"must be at most training.epochs = {training.epochs}"
            return "training.checkpoints", f"{bound}; found {points[-1]}"
    return None


@lru_cache
def detection_problem(detection: DetectionConfig) -> Problem:
    """Find what is wrong with a detection whose single fields are right: field and message."""
    n_samples = detection.n_samples
    for name in ("sources", "protocols"):
        values = getattr(detection, name)
        if len(set(values)) < len(values):
            return f"detection.{name}", f"lists a value twice; found {show(values)}"
    if detection.at_checkpoints and not {"means", "samples"} & set(detection.sources):
        bound = "counts means and samples; detection.sources has neither"
        return "detection.at_checkpoints", f"{bound}; found {show(detection.sources)}"
    if detection.k_min > detection.k_max:
        bound = f"must be at most detection.k_max = {detection.k_max}"
        return "detection.k_min", f"{bound}; found {detection.k_min}"
    if detection.k_max > n_samples:
        bound = f"must be at most detection.n_samples = {n_samples}"
        return "detection.k_max", f"{bound}; found {detection.k_max}"
    for name in detection.protocols:
        fewest = PROTOCOLS[name].min_points
        if n_samples < fewest:
            bound = f"must be at least {fewest} for the {name} protocol"
            return "detection.n_samples", f"{bound}; found {n_samples}"
    return None


def _count_problem(cell: Cell, values: Mapping[str, Any]) -> Problem:
    """Blame the field that the file sets for a count that is not possible."""
    message = count_problem(cell.detection, cell.mixture)
    if message is None:
        return None
    needed = "detection.n_samples"
    set_here = (name for name in (needed, "detection.k_min", "mixture.dim") if name in values)
    blamed = next(set_here, needed)
    return blamed, message if blamed == needed else f"{needed} {message}"


@lru_cache
def count_problem(detection: DetectionConfig, mixture: MixtureConfig) -> str | None:
    """Find that the calibrated protocol cannot count so few points: what n_samples must be.

    Codes have as many dimensions as the model uses: whether they can be counted is seen after
    training. One is the least.
    """
    if "calibrated" not in detection.protocols:
        return None
    dim = mixture.dim if set(detection.sources) - {"codes"} else 1
    if max_components(detection.n_samples, dim) >= detection.k_min:
        return None
    wanted = min_points(detection.k_min, dim)
    remedy = "" if detection.k_min == 1 else ", or a lower detection.k_min"
    return (
        f"must be at least {wanted:,} to count {detection.k_min} or more components in {dim} "
        f"dimension{'s' * (dim > 1)} (calibrated protocol){remedy}; "
        f"found {detection.n_samples:,}"
    )
