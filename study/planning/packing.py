"""Trials to stacks of a size that suits the device, its memory and the workers; pure.

A CPU computes the models of a stack one after the other, so a stack saves the cost of a unit of
work and nothing else: small stacks end evenly. A GPU takes about as long for one model as for a
hundred, and its memory is the limit.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any, Literal

from study.planning.trials import Trial
from study.planning.units import (
    Stack,
    StoredTraining,
    Unit,
    even_lengths,
    is_loadable,
    plan_controls,
    plan_loaded,
    training_gflop,
)
from study.training.memory import bytes_per_model, models_that_fit

LARGEST_ON_CPU = 16
LARGEST_ON_GPU = 1_024
# Costs are in GFLOP of a CPU core's matrix products. Starting and ending a unit takes 0.3 s.
UNIT_GFLOP = 30.0
# Counting and endpoints of one trial cost about as much as this many GFLOP of training.
SCORING_GFLOP = 280.0
SCORING_POINTS = 10_000
# How many times faster a full GPU trains, and how many models take as long as one: by memory
# traffic and kernel launches, not measured.
GPU_SPEEDUP, GPU_MODELS_AT_ONCE = 300.0, 100
# The last stack ends this part of its length later or earlier than planned.
UNCERTAINTY = 0.1
# What models of one stack may differ in, by section (mixture, model, training, detection): each
# trial brings its own points, its own `Member` and its own way of being counted. Whatever is not
# listed here separates stacks, so that a new setting is safe before anyone thinks of it.
CARRIED = (
    {
        "kind",
        "options",
        "n_components",
        "box",
        "variance",
        "alpha",
        "means",
        "variances",
        "weights",
        "training_points",
    },
    set[str](),
    {"learning_rate", "kl_weight"},
    {"sources", "protocols", "n_samples", "k_min", "k_max", "restarts", "seed"},
)
# Above this many models, stacks are filled: balance takes care of itself.
MAX_BALANCED = 20_000


def plan_units(
    trials: Sequence[Trial],
    *,
    n_workers: int,
    recorded: Sequence[Trial] = (),
    recorded_controls: Collection[str] = (),
    stack_size: int | Literal["auto"] = "auto",
    device: str = "cpu",
    memory_bytes: int | None = None,
    n_processes: int = 1,
    stored: Mapping[str, StoredTraining] | None = None,
) -> tuple[Unit, ...]:
    """Plan the work of some trials: control batches first, then stacks, largest work first.

    Parameters
    ----------
    trials : sequence of Trial
        Those that are to run.
    recorded : sequence of Trial
        Finished ones, whose controls are counted too where they are missing.
    n_workers : int
        Units that run at once.
    recorded_controls : collection of str
        Ids of controls that need no counting.
    stack_size : int or "auto"
        Most models of a stack.
    device, memory_bytes, n_processes
        As in `plan_stacks`.
    stored : mapping of training_id to StoredTraining, optional
        Trainings whose weights are loaded.
    """
    max_size = None if stack_size == "auto" else stack_size
    controls = plan_controls(
        [*trials, *recorded],
        n_workers=n_workers,
        n_processes=n_processes,
        recorded=recorded_controls,
    )
    stored = stored or {}
    loaded = [trial for trial in trials if is_loadable(trial, stored)]
    trained = [trial for trial in trials if not is_loadable(trial, stored)]
    stacks = plan_stacks(
        trained,
        n_workers=n_workers,
        max_size=max_size,
        device=device,
        memory_bytes=memory_bytes,
        n_processes=n_processes,
    )
    rescored = plan_loaded(loaded, n_workers=n_workers, n_processes=n_processes, stored=stored)
    return (*controls, *stacks, *rescored)


def plan_stacks(
    trials: Sequence[Trial],
    *,
    n_workers: int,
    max_size: int | None = None,
    device: str = "cpu",
    memory_bytes: int | None = None,
    n_processes: int = 1,
) -> tuple[Stack, ...]:
    """Group trials into stacks of equal shapes that keep all workers busy to the end.

    Of all sizes up to the largest allowed, that one is taken whose stacks, given to workers
    largest first, would end soonest. Stacks of one shape differ by at most one model.

    Parameters
    ----------
    trials : sequence of Trial
    n_workers : int
    max_size : int or None
        Most models of a stack; None takes 16 on a CPU and 1,024 on a GPU.
    device : str
        A torch device.
    memory_bytes : int or None
        Free memory for one stack; None plans without a limit, and a stack that turns out not to
        fit is halved when it runs.
    n_processes : int
        Models that a unit measures at once.

    Returns
    -------
    tuple of Stack
        Largest work first.

    Raises
    ------
    ValueError
        If `n_workers` or `max_size` is below 1.
    """
    on_gpu = device != "cpu"
    largest = max_size or (LARGEST_ON_GPU if on_gpu else LARGEST_ON_CPU)
    if n_workers < 1 or max_size == 0 or largest < 1:
        raise ValueError(f"n_workers and max_size must be at least 1: {n_workers}, {max_size}")
    groups = [
        _group(
            trainings,
            on_gpu=on_gpu,
            n_processes=n_processes,
            largest=_fitting(trainings, largest, memory_bytes),
        )
        for trainings in _same_shape(trials)
    ]
    size = _best_size(groups, n_workers=n_workers, largest=largest)
    stacks = [
        (cost, Stack(trials=tuple(trial for training in part for trial in training)))
        for group in groups
        for part, cost in _split(group, size)
    ]
    return tuple(stack for _, stack in sorted(stacks, key=lambda pair: -pair[0]))


_Training = list[Trial]


@dataclass(slots=True)
class _Group:
    """Trainings of one shape (each a list of the trials that share it) and their cost."""

    trainings: list[_Training]
    per_model: float
    per_stack: float
    largest: int

    def lengths(self, size: int) -> list[int]:
        """Return the models of each stack, if at most `size` may be in one."""
        return even_lengths(len(self.trainings), min(size, self.largest))

    def cost(self, n_models: int) -> float:
        """Return the work of a stack of this many of them."""
        return n_models * self.per_model + self.per_stack


def _same_shape(trials: Sequence[Trial]) -> list[list[_Training]]:
    shapes: dict[tuple[Any, ...], dict[str, _Training]] = {}
    for trial in trials:
        shared = shapes.setdefault(shape_key(trial), {})
        shared.setdefault(trial.training_id, []).append(trial)
    return [list(shared.values()) for shared in shapes.values()]


def _fitting(trainings: Sequence[_Training], largest: int, memory_bytes: int | None) -> int:
    if memory_bytes is None:
        return largest
    first = trainings[0][0]
    if first.model.kind != "vae":
        return largest
    needed = bytes_per_model(
        first.model,
        dim=first.mixture.dim,
        n_samples=first.mixture.n_samples,
        batch_size=first.training.batch_size,
    )
    return min(largest, models_that_fit(needed, memory_bytes))


def _group(trainings: list[_Training], *, on_gpu: bool, n_processes: int, largest: int) -> _Group:
    # Seeds first: a stack then holds many cells on the same data, and pairs complete early.
    trainings.sort(key=lambda group: (group[0].data_seed, group[0].init_seed))
    first = trainings[0][0]
    n_trials = sum(map(len, trainings)) / len(trainings)
    scoring = SCORING_GFLOP * first.detection.n_samples / SCORING_POINTS * n_trials / n_processes
    training, per_stack = training_gflop(first), UNIT_GFLOP
    if on_gpu and first.model.kind == "vae":
        training /= GPU_SPEEDUP
        per_stack += GPU_MODELS_AT_ONCE * training
    return _Group(trainings, training + scoring, per_stack, largest)


def shape_key(trial: Trial) -> tuple[Any, ...]:
    """Return what must be equal within a stack: every setting but those of `CARRIED`."""
    sections = (trial.mixture, trial.model, trial.training, trial.detection)
    return tuple(
        read(section)
        for section, read in zip(sections, _shared_settings(*map(type, sections)), strict=True)
    )


@cache
def _shared_settings(*sections: type) -> tuple[Callable[[Any], Any], ...]:
    """Return for each section a function that reads what one stack shares of it."""
    return tuple(
        attrgetter(*(f.name for f in fields(section) if f.name not in carried))
        for section, carried in zip(sections, CARRIED, strict=True)
    )


def _split(group: _Group, size: int) -> list[tuple[list[_Training], float]]:
    parts = []
    start = 0
    for length in group.lengths(size):
        parts.append((group.trainings[start : start + length], group.cost(length)))
        start += length
    return parts


def _best_size(groups: Sequence[_Group], *, n_workers: int, largest: int) -> int:
    n_models = sum(len(group.trainings) for group in groups)
    if n_models > MAX_BALANCED:
        return largest
    sizes = {*range(1, min(largest, LARGEST_ON_CPU) + 1)}
    sizes |= {max(1, round(largest * i / 16)) for i in range(1, 17)}
    return min(
        sorted(sizes, reverse=True),
        key=lambda size: _makespan(groups, n_workers=n_workers, size=size),
    )


def _makespan(groups: Sequence[_Group], *, n_workers: int, size: int) -> float:
    """Return when the last worker ends, if a free worker takes the largest remaining stack."""
    costs = [group.cost(length) for group in groups for length in group.lengths(size)]
    ends = [0.0] * min(n_workers, len(costs))
    for cost in sorted(costs, reverse=True):
        heapq.heapreplace(ends, ends[0] + cost)
    late = UNCERTAINTY * max(costs, default=0.0) if n_workers > 1 else 0.0
    return max(ends, default=0.0) + late
