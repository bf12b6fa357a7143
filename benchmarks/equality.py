"""Bit for bit: the trained weights of trials in stacks of 1, 3 and 16, for several shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.history import Measurement, Options
from study.config import DetectionConfig, MixtureConfig, ModelConfig, TrainingConfig
from study.planning.trials import Trial
from study.planning.units import Stack

N_MODELS = 16
STACK_SIZES = (1, 3, 16)
# Points, batch, hidden widths, latent width: with and without a last short batch.
SHAPES = ((512, 128, (128, 128), 2), (500, 128, (64,), 1), (300, 77, (32, 16), 3))


def measure(options: Options) -> Iterator[Measurement]:
    """Count the arrays that differ from those of stacks of one."""
    import torch

    torch.set_num_threads(1)
    n_models = 4 if options.quick else N_MODELS
    for shape in SHAPES[:1] if options.quick else SHAPES:
        trials = make_trials(shape, n_models)
        rows = {size: _weights(trials, size) for size in STACK_SIZES}
        n_different = sum(
            not np.array_equal(rows[1][key], rows[size][key])
            for size in STACK_SIZES[1:]
            for key in rows[1]
        )
        n_points, batch, hidden, latent_dim = shape
        widths = "-".join(map(str, (*hidden, latent_dim)))
        yield Measurement(
            benchmark="equality",
            name=f"stacks of 1, 3, 16; {widths}, {n_points} points in batches of {batch}: "
            "arrays that differ in any bit",
            value=float(n_different),
            unit=f"of {len(rows[1]) * (len(STACK_SIZES) - 1)}",
        )


def make_trials(shape: tuple[int, int, tuple[int, ...], int], n_models: int) -> list[Trial]:
    """Make trials of one shape that differ in seeds and KL weights."""
    n_points, batch_size, hidden, latent_dim = shape
    return [
        Trial(
            mixture=MixtureConfig(n_samples=n_points),
            model=ModelConfig(hidden=hidden, latent_dim=latent_dim),
            training=TrainingConfig(epochs=3, batch_size=batch_size, kl_weight=0.5 + i % 3),
            detection=DetectionConfig(),
            data_seed=i // 2,
            init_seed=i % 2,
        )
        for i in range(n_models)
    ]


def _weights(trials: Sequence[Trial], size: int) -> dict[tuple[str, str], np.ndarray]:
    from study.trial.rows import weight_rows

    found = {}
    for start in range(0, len(trials), size):
        stack = Stack(trials=tuple(trials[start : start + size]))
        fitted = _train(stack)
        for index, group in enumerate(stack.trainings):
            for row in weight_rows(fitted.state(index), group[0].training_id):
                values = np.frombuffer(row["values"], dtype=np.uint8)
                found[row["training_id"], row["name"]] = values
    return found


def _train(stack: Stack) -> Any:
    from study.data.data_set import draw_data_set
    from study.training.train import train_checkpoints
    from study.trial.models import member_of

    leads = [group[0] for group in stack.trainings]
    points = [draw_data_set(lead.mixture, lead.data_seed, 100).training for lead in leads]
    members = [member_of(lead) for lead in leads]
    steps = train_checkpoints(
        np.stack(points), members, model=leads[0].model, training=leads[0].training
    )
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value.fitted
