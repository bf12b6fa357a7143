"""Trainings a second on a GPU by stack size, with the share of its memory-traffic limit.

And whole trials a second: trained on the GPU and measured by the machine's processors.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from benchmarks.history import Measurement, Options
from study.config import (
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    ResourcesConfig,
    TrainingConfig,
)
from study.planning.resources import local_resources
from study.planning.units import Stack, Trial, n_weights

SIZES = (1, 64, 256, 1_024, 4_096)
N_POINTS, DIM, N_EPOCHS = 10_000, 3, 100
WHOLE_TRIALS = 256
# The first epochs run the steps as they are and record them as a graph.
WARM_EPOCHS = 3
# A step reads and writes weights and Adam's two moments and reads the gradient: seven transfers.
ADAM_TRANSFERS = 7


def measure(options: Options) -> Iterator[Measurement]:
    """Train each size for a few epochs after some to warm up; rates are for 100 epochs."""
    import torch

    if not torch.cuda.is_available():
        yield Measurement(benchmark="gpu", name="not run: no GPU", value=None, unit="")
        return
    bandwidth = _bandwidth()
    yield Measurement(
        benchmark="gpu", name="memory bandwidth, by copying", value=bandwidth / 1e9, unit="GB/s"
    )
    first = None
    for n_models in SIZES[:2] if options.quick else SIZES:
        rate = _trainings_per_s(n_models)
        first = first or rate
        figures = {"benchmark": "gpu", "value": rate, "unit": "trainings/s"}
        name = f"stack of {n_models} (ratio: to a stack of 1)"
        yield Measurement(name=name, ratio=rate / first, **figures)
        share = rate * _bytes_per_training() / bandwidth
        yield Measurement(
            benchmark="gpu",
            name=f"stack of {n_models}: share of the memory-traffic limit",
            value=100 * share,
            unit="%",
        )
    n_trials = 4 if options.quick else WHOLE_TRIALS
    n_processes = local_resources(ResourcesConfig(gpus=1)).n_processes
    yield Measurement(
        benchmark="gpu",
        name=f"whole trials, {n_trials} as one stack, measured by {n_processes} processes",
        value=whole_trials_per_s(n_trials, device="cuda", n_processes=n_processes),
        unit="trials/s",
    )


def whole_trials_per_s(
    n_trials: int, *, device: str, n_processes: int, n_epochs: int = N_EPOCHS
) -> float:
    """Train and measure one stack of the original's trials, from points to rows.

    Parameters
    ----------
    n_trials : int
        Init seeds of one mixture; its control is not counted.
    device : str
        A torch device.
    n_processes : int
        Trials that are measured at once.
    n_epochs : int
    """
    from study.trial.stack import run_stack

    shared = {
        "mixture": MixtureConfig(),
        "model": ModelConfig(),
        "training": TrainingConfig(epochs=n_epochs),
        "detection": DetectionConfig(),
    }
    trials = tuple(Trial(**shared, init_seed=i) for i in range(n_trials))
    started = time.perf_counter()
    tables = run_stack(Stack(trials=trials), device=device, n_processes=n_processes)
    assert len(tables["trials"]) == n_trials
    return n_trials / (time.perf_counter() - started)


def _bandwidth() -> float:
    import torch

    source = torch.zeros(2**28, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(10):
        target.copy_(source)
    torch.cuda.synchronize()
    return 10 * 2 * source.nbytes / (time.perf_counter() - started)


def _bytes_per_training() -> float:
    """Count what a training must move at least: Adam's state each step, activations twice."""
    training, model = TrainingConfig(), ModelConfig()
    steps = N_EPOCHS * -(-N_POINTS // training.batch_size)
    widths = 2 * (sum(model.hidden) + model.latent_dim) + DIM
    activations = 4 * widths * training.batch_size
    return 4.0 * steps * (ADAM_TRANSFERS * n_weights(model, DIM) + activations)


def _trainings_per_s(n_models: int) -> float:
    import torch

    from study.training.fitted import Member
    from study.training.train import train_checkpoints

    points = np.random.default_rng(0).normal(size=(1, N_POINTS, DIM))
    points = np.ascontiguousarray(np.broadcast_to(points, (n_models, N_POINTS, DIM)))
    members = [
        Member(data_seed=0, init_seed=i, kl_weight=1.0, learning_rate=1e-3, standardize=False)
        for i in range(n_models)
    ]
    training = TrainingConfig(epochs=WARM_EPOCHS + 5, checkpoints=1)
    ends = []
    for _ in train_checkpoints(
        points, members, model=ModelConfig(), training=training, device="cuda"
    ):
        torch.cuda.synchronize()
        ends.append(time.perf_counter())
    epochs = ends[WARM_EPOCHS - 1 :]
    return n_models / (N_EPOCHS * (epochs[-1] - epochs[0]) / (len(epochs) - 1))
