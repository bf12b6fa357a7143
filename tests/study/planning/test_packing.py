"""Stacks: what may share one, and sizes that suit workers, device and memory."""

from __future__ import annotations

from dataclasses import field, fields, make_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config import DetectionConfig, MixtureConfig, ModelConfig, TrainingConfig
from study.planning.packing import CARRIED, plan_stacks, plan_units, shape_key
from study.planning.units import ControlBatch, Stack, Trial
from study.training.fitted import Member


def make_trial(**changes: Any) -> Trial:
    """Make a trial from the defaults; sections are given as dicts."""
    sections = {
        "mixture": MixtureConfig,
        "model": ModelConfig,
        "training": TrainingConfig,
        "detection": DetectionConfig,
    }
    seeds = {name: value for name, value in changes.items() if name not in sections}
    parts = {name: config(**changes.get(name, {})) for name, config in sections.items()}
    return Trial(**parts, **seeds)


def make_trials(n_init: int, *latent_dims: int, n_sample: int = 1) -> list[Trial]:
    return [
        make_trial(model={"latent_dim": q}, init_seed=i, sample_seed=s)
        for q in latent_dims or (2,)
        for i in range(n_init)
        for s in range(n_sample)
    ]


@pytest.mark.parametrize(
    ("n_trials", "n_workers", "max_size", "sizes"),
    [
        (12, 2, None, [2] * 6),
        (1, 8, None, [1]),
        (5, 8, None, [1] * 5),
        (24, 2, None, [3] * 8),
        (64, 2, None, [4] * 16),
        (640, 2, None, [14] * 42 + [13] * 4),
        (12, 2, 1, [1] * 12),
        (100, 1, 64, [50, 50]),
    ],
)
def test_stack_sizes(n_trials: int, n_workers: int, max_size: int, sizes: list[int]) -> None:
    stacks = plan_stacks(make_trials(n_trials), n_workers=n_workers, max_size=max_size)
    assert [stack.n_models for stack in stacks] == sizes


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    n_workers=st.integers(1, 9),
    max_size=st.integers(1, 40),
)
def test_stacks_partition_the_trials(counts: list[int], n_workers: int, max_size: int) -> None:
    trials = [
        make_trial(model={"latent_dim": q + 1}, training={"kl_weight": 1.0 + i})
        for q, count in enumerate(counts)
        for i in range(count)
    ]
    stacks = plan_stacks(trials, n_workers=n_workers, max_size=max_size)
    planned = [trial.trial_id for stack in stacks for trial in stack.trials]
    assert sorted(planned) == sorted(trial.trial_id for trial in trials)
    by_shape: dict[Any, list[int]] = {}
    for stack in stacks:
        (shape,) = {shape_key(trial) for trial in stack.trials}
        by_shape.setdefault(shape, []).append(stack.n_models)
    for sizes in by_shape.values():
        assert max(sizes) <= max_size
        assert max(sizes) - min(sizes) <= 1


def test_every_worker_gets_work() -> None:
    for n_trials, n_workers in [(12, 2), (30, 4), (150, 7)]:
        assert len(plan_stacks(make_trials(n_trials), n_workers=n_workers)) >= n_workers


def test_largest_work_comes_first() -> None:
    trials = [make_trial(training={"epochs": n}, init_seed=i) for n in (5, 500) for i in range(3)]
    stacks = plan_stacks(trials, n_workers=2)
    assert [stack.trials[0].training.epochs for stack in stacks] == sorted(
        (stack.trials[0].training.epochs for stack in stacks), reverse=True
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"mixture": {"dim": 2}},
        {"mixture": {"n_samples": 500}},
        {"model": {"latent_dim": 3}},
        {"model": {"decoder_variance": "learned"}},
        {"training": {"epochs": 5}},
        {"training": {"standardize": True}},
        {"training": {"checkpoints": 5}},
    ],
)
def test_what_separates_stacks(changes: dict[str, Any]) -> None:
    pair = [make_trial(), make_trial(**changes)]
    assert len(plan_stacks(pair, n_workers=1)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"training": {"kl_weight": 3.0, "learning_rate": 0.01}},
        {"mixture": {"n_components": 5, "alpha": 5.0}},
        {"detection": {"k_max": 20}},
        {"data_seed": 4, "sample_seed": 2},
    ],
)
def test_what_shares_a_stack(changes: dict[str, Any]) -> None:
    pair = [make_trial(), make_trial(**changes)]
    assert len(plan_stacks(pair, n_workers=1)) == 1


def test_trials_of_one_training_stay_together() -> None:
    trials = make_trials(6, n_sample=3)
    stacks = plan_stacks(trials[::-1], n_workers=1, max_size=2)
    assert [(stack.n_models, len(stack.trials)) for stack in stacks] == [(2, 6)] * 3
    assert all(len(group) == 3 for stack in stacks for group in stack.trainings)
    singles = stacks[0].singles()
    assert tuple(trial for single in singles for trial in single.trials) == stacks[0].trials


def test_plan_depends_on_the_trials_alone() -> None:
    trials = make_trials(20, 1, 2, 3)
    assert plan_units(trials, n_workers=3) == plan_units(list(trials), n_workers=3)
    one, two = Stack(trials=tuple(trials[:2])), Stack(trials=tuple(trials[1:3]))
    assert one.stack_id != two.stack_id
    assert one.stack_id == Stack(trials=tuple(make_trials(2, 1))).stack_id


def test_wrong_plan_arguments() -> None:
    for arguments in ({"n_workers": 0}, {"n_workers": 1, "max_size": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            plan_stacks(make_trials(1), **arguments)
    assert plan_units([], n_workers=2) == ()


@pytest.mark.parametrize(("n_trials", "n_workers"), [(12, 2), (200, 4), (3000, 2)])
def test_gpu_stacks_are_larger_and_feed_every_worker(n_trials: int, n_workers: int) -> None:
    trials = make_trials(n_trials)
    stacks = plan_stacks(trials, n_workers=n_workers, device="cuda")
    assert len(stacks) >= n_workers
    assert max(stack.n_models for stack in stacks) <= 1_024
    on_cpu = plan_stacks(trials, n_workers=n_workers)
    assert len(stacks) <= len(on_cpu)


def test_units_that_measure_many_models_at_once_are_larger() -> None:
    trials = [make_trial(data_seed=i) for i in range(3000)]
    one, many = (plan_units(trials, n_workers=2, device="cuda", n_processes=n) for n in (1, 16))
    for kind in (ControlBatch, Stack):
        assert sum(isinstance(unit, kind) for unit in many) < sum(
            isinstance(unit, kind) for unit in one
        )
    assert sum(len(unit.trials) for unit in many) == 3000


def test_memory_limits_a_stack() -> None:
    trials = make_trials(100)
    (whole,) = plan_stacks(trials, n_workers=1, device="cuda", memory_bytes=10**10)
    assert whole.n_models == 100
    stacks = plan_stacks(trials, n_workers=1, device="cuda", memory_bytes=40 * 10**6)
    assert 1 < max(stack.n_models for stack in stacks) < 40
    tiny = plan_stacks(trials, n_workers=1, device="cuda", memory_bytes=1)
    assert [stack.n_models for stack in tiny] == [1] * 100


def test_short_trials_share_larger_stacks() -> None:
    """Starting a unit costs more than what they compute."""
    short = [
        make_trial(training={"epochs": 1}, detection={"n_samples": 500}, init_seed=i)
        for i in range(64)
    ]
    sizes = [
        max(s.n_models for s in plan_stacks(trials, n_workers=2))
        for trials in (short, make_trials(64))
    ]
    assert sizes[0] > sizes[1]


def test_halves_keep_trainings_whole() -> None:
    stack = Stack(trials=tuple(make_trials(5, n_sample=2)))
    halves = stack.halves()
    assert [half.n_models for half in halves] == [3, 2]
    assert tuple(trial for half in halves for trial in half.trials) == stack.trials
    assert halves[0].halves()[1].halves() == (halves[0].halves()[1],)


@pytest.mark.parametrize("section", ["mixture", "model", "training", "detection"])
def test_a_new_setting_separates_stacks(section: str) -> None:
    """A field that nobody has listed is not taken as equal."""
    trial = make_trial()
    present = getattr(trial, section)
    grown = make_dataclass(
        "Grown",
        [("weight_decay", float, field(default=0.0))],
        bases=(type(present),),
        frozen=True,
        kw_only=True,
    )
    known = {f.name: getattr(present, f.name) for f in fields(present)}
    pair = [
        replace(trial, **{section: grown(**known, weight_decay=value)}) for value in (0.0, 0.1)
    ]
    assert len(plan_stacks(pair, n_workers=1)) == 2


def test_what_models_carry_is_read_per_model() -> None:
    """What a stack may mix belongs to a `Member`, to the points or to the counting."""
    mixture, model, training, detection = CARRIED
    assert training <= {f.name for f in fields(Member)}
    assert not model
    assert not mixture & {"dim", "n_samples"}
    assert "at_checkpoints" not in detection
    for names, section in zip(CARRIED, ("mixture", "model", "training", "detection"), strict=True):
        assert names <= {f.name for f in fields(getattr(make_trial(), section))}
