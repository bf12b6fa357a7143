"""Sweep to trials to work units, without side effects: what will run, and as which programs.

A stack is a set of trainings of equal tensor shapes, trained together; weights of the loss,
learning rates, seeds and mixtures may differ inside. Trials that differ only in how they are
measured share a training and stay in one stack; if its weights are stored, they form a stack that
loads them. A control batch counts the data of a few mixtures.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from study.config import DetectionConfig, MixtureConfig, ModelConfig, Sweep, resolve, sweep_hash
from study.config.catalogue import options_of
from study.config.early_stopping import Halving
from study.config.resolved import values_of
from study.planning.trials import (
    DATA_VERSION,
    SCORING_VERSION,
    TRAINING_VERSION,
    StoredTraining,
    Trial,
    config_columns,
    expand,
    factors,
    show_value,
)
from study.plugins import ENDPOINTS, GENERATORS, MIXTURES, PROTOCOLS, loaded

__all__ = [
    "Control",
    "ControlBatch",
    "Stack",
    "StoredTraining",
    "Trial",
    "Unit",
    "config_columns",
    "expand",
    "factors",
    "n_weights",
    "plan_controls",
    "plan_loaded",
    "sweep_manifest",
    "training_gflop",
]

CONTROLS_PER_BATCH = 8
# Trials of stored weights share nothing but the reading of their file.
LOADED_PER_STACK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Trials whose trainings run as one program.

    Parameters
    ----------
    trials : tuple of Trial
        Trials that share a training are neighbours.
    stored : tuple of StoredTraining
        Where the weights are, if they are loaded instead of trained.
    halving : Halving or None
        Rungs at which the stack, one cell of a search, may be stopped.
    """

    trials: tuple[Trial, ...]
    stored: tuple[StoredTraining, ...] = ()
    halving: Halving | None = None

    @property
    def stack_id(self) -> str:
        """Identity: a hash of the trials' ids."""
        return _hash_ids("stack", [trial.trial_id for trial in self.trials])

    @property
    def unit_id(self) -> str:
        """Name of the unit's files."""
        return self.stack_id

    @property
    def trainings(self) -> tuple[tuple[Trial, ...], ...]:
        """The trials of each training: one entry a model of the stack."""
        groups: dict[str, list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault(trial.training_id, []).append(trial)
        return tuple(tuple(group) for group in groups.values())

    @property
    def n_models(self) -> int:
        """Models that are trained."""
        return len(self.trainings)

    @property
    def label(self) -> str:
        """The factors' values in this stack, for people."""
        columns = [name for name, _ in self.trials[0].factors]
        parts = []
        for i, name in enumerate(columns):
            values = list(dict.fromkeys(trial.factors[i][1] for trial in self.trials))
            if all(isinstance(value, int | float) for value in values):
                values.sort()
            ends = dict.fromkeys((values[0], values[-1]))
            parts.append(f"{name}={'..'.join(map(show_value, ends))}")
        return ", ".join(parts) or self.trials[0].cell

    @property
    def shape(self) -> str:
        """The tensor shapes, for people."""
        first = self.trials[0]
        if self.stored:
            return (
                f"{len(self.trials)} trial{'s' * (len(self.trials) > 1)} of stored weights, "
                f"{first.detection.n_samples:,} points each"
            )
        mixture, model, training = first.mixture, first.model, first.training
        if model.kind != "vae":
            return f"{self.n_models} of kind {model.kind}, {mixture.n_samples:,} points"
        widths, n_models = [mixture.dim, *model.hidden, model.latent_dim], self.n_models
        return (
            f"{n_models} model{'s' * (n_models > 1)}, "
            f"{'-'.join(map(str, widths))} {model.activation}, "
            f"{mixture.n_samples:,} points, {training.epochs} epochs of {training.batch_size}"
        )

    def part(self, trials: Sequence[Trial]) -> Stack:
        """Take some of the trials; fewer than all pass no rungs, which are for a cell's mean."""
        kept = tuple(trials)
        return replace(self, trials=kept, halving=self.halving if kept == self.trials else None)

    def singles(self) -> tuple[Stack, ...]:
        """Take the stack apart: one stack per trial, in order."""
        return tuple(self.part((trial,)) for trial in self.trials)

    def halves(self) -> tuple[Stack, ...]:
        """Cut the stack in two by its trainings; a single training is not cut."""
        trainings = self.trainings
        middle = (len(trainings) + 1) // 2
        parts = (trainings[:middle], trainings[middle:])
        return tuple(
            self.part(tuple(itertools.chain.from_iterable(part))) for part in parts if part
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """The count of a fresh draw of one mixture, which all its trials share.

    Parameters
    ----------
    mixture : MixtureConfig
    detection : DetectionConfig
    data_seed : int
    data_id, control_id : str
        Those of the trials.
    """

    mixture: MixtureConfig
    detection: DetectionConfig
    data_seed: int
    data_id: str
    control_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlBatch:
    """A few controls, counted as one unit."""

    controls: tuple[Control, ...]

    @property
    def unit_id(self) -> str:
        """Name of the unit's files."""
        return _hash_ids("controls", [control.control_id for control in self.controls])

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Return no trials: a control is not a trial."""
        return ()

    def singles(self) -> tuple[ControlBatch, ...]:
        """Take the batch apart: one batch a control, in order."""
        return tuple(ControlBatch(controls=(control,)) for control in self.controls)

    @property
    def label(self) -> str:
        """What is counted, for people."""
        n_controls = len(self.controls)
        return f"control of {n_controls} mixture{'s' * (n_controls > 1)}"

    @property
    def shape(self) -> str:
        """The sizes, for people."""
        first = self.controls[0]
        return f"{first.detection.n_samples:,} points of {first.mixture.dim} coordinates"


Unit = Stack | ControlBatch


def _hash_ids(kind: str, ids: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([kind, *ids]).encode()).hexdigest()[:16]


def n_weights(model: ModelConfig, dim: int) -> int:
    """Count the numbers that are stored of a model: of an autoencoder, its parameters."""
    if model.kind != "vae":
        generator = GENERATORS[model.kind]
        return int(generator.n_weights(options_of(generator, model.options), dim))
    inward = [dim, *model.hidden]
    outward = [model.latent_dim, *reversed(model.hidden), dim]
    layers = [*itertools.pairwise(inward), (inward[-1], 2 * model.latent_dim)]
    layers += itertools.pairwise(outward)
    return sum((n_in + 1) * n_out for n_in, n_out in layers)


def training_gflop(trial: Trial) -> float:
    """Count the matrix-product GFLOP of one training: forward and twice that backward."""
    mixture, model = trial.mixture, trial.model
    if model.kind != "vae":
        generator = GENERATORS[model.kind]
        options = options_of(generator, model.options)
        return float(generator.gflop(options, trial.training, mixture.dim, mixture.n_samples))
    per_point = 6 * n_weights(trial.model, trial.mixture.dim)
    return per_point * trial.mixture.n_samples * trial.training.epochs / 1e9


def is_loadable(trial: Trial, stored: Mapping[str, StoredTraining]) -> bool:
    """Return whether a trial can be measured from stored weights.

    One that counts while it trains cannot.
    """
    found = stored.get(trial.training_id)
    return found is not None and found.shard != "" and not trial.detection.at_checkpoints


def plan_loaded(
    trials: Sequence[Trial],
    *,
    n_workers: int,
    stored: Mapping[str, StoredTraining],
    n_processes: int = 1,
) -> tuple[Stack, ...]:
    """Group trials whose weights are stored: few to a stack, those of one shard together.

    Parameters
    ----------
    trials : sequence of Trial
    n_workers : int
    stored : mapping of training_id to StoredTraining
    n_processes : int
        Trials that a unit measures at once.

    Returns
    -------
    tuple of Stack
        Most points to count first.
    """
    if not trials:
        return ()
    # Where the trainings lie, and the trials of each together; most work first.
    listed = sorted(
        trials,
        key=lambda t: (-t.detection.n_samples, stored[t.training_id].shard, t.training_id),
    )
    size = min(LOADED_PER_STACK * n_processes, math.ceil(len(listed) / n_workers))
    stacks = []
    start = 0
    for length in even_lengths(len(listed), size):
        part = tuple(listed[start : start + length])
        ids = dict.fromkeys(trial.training_id for trial in part)
        stacks.append(Stack(trials=part, stored=tuple(stored[key] for key in ids)))
        start += length
    return tuple(stacks)


def plan_controls(
    trials: Sequence[Trial],
    *,
    n_workers: int,
    recorded: Collection[str] = (),
    n_processes: int = 1,
) -> tuple[ControlBatch, ...]:
    """Group the controls of some trials: each mixture and detection setting once.

    Parameters
    ----------
    trials : sequence of Trial
        Those that do not count "data" need no control.
    n_workers : int
    recorded : collection of str
        Ids of controls that need no counting.
    n_processes : int
        Controls that a unit counts at once.
    """
    controls: dict[str, Control] = {}
    for trial in trials:
        control_id = trial.control_id
        if control_id in controls or control_id in recorded or not _is_counted(trial):
            continue
        controls[control_id] = Control(
            mixture=trial.mixture,
            detection=trial.detection,
            data_seed=trial.data_seed,
            data_id=trial.data_id,
            control_id=control_id,
        )
    if not controls:
        return ()
    listed = list(controls.values())
    size = min(CONTROLS_PER_BATCH * n_processes, math.ceil(len(listed) / n_workers))
    batches = []
    start = 0
    for length in even_lengths(len(listed), size):
        batches.append(ControlBatch(controls=tuple(listed[start : start + length])))
        start += length
    return tuple(batches)


def even_lengths(n_items: int, size: int) -> list[int]:
    """Cut this many items into the fewest parts of at most `size`, as equal as can be."""
    n_parts = math.ceil(n_items / size)
    short, n_longer = divmod(n_items, n_parts)
    return [short + (i < n_longer) for i in range(n_parts)]


def _is_counted(trial: Trial) -> bool:
    return "data" in trial.detection.sources


def sweep_manifest(sweep: Sweep, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return what a results folder records of its sweep, JSON-able."""
    return {
        "name": sweep.name,
        "question": sweep.question,
        "factors": list(factors(sweep)),
        "sweep": resolve(sweep),
        "sweep_hash": sweep_hash(sweep),
        "n_trials": len(trials),
        "versions": stage_versions(),
        "plugins": plugins_of(sweep),
    }


def plugins_of(sweep: Sweep) -> dict[str, str]:
    """Map the plug-ins that a sweep's ids depend on to the digests of their source."""
    used = {
        *((MIXTURES, name) for name in values_of(sweep, "mixture.kind")),
        *((GENERATORS, name) for name in values_of(sweep, "model.kind")),
        *((PROTOCOLS, name) for part in values_of(sweep, "detection.protocols") for name in part),
        *((ENDPOINTS, name) for name in ENDPOINTS),
    }
    names = {registry.plugin(name) for registry, name in used}
    return {plugin.name: plugin.digest for plugin in loaded() if plugin.name in names}


def stage_versions() -> dict[str, int]:
    """Return the version of each stage in this code."""
    return {"data": DATA_VERSION, "training": TRAINING_VERSION, "scoring": SCORING_VERSION}
