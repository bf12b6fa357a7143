"""Where the time of a trial goes beyond training: each count and each kind of endpoint.

The original's setting (10,000 points, 100 epochs) at latent widths 2, 1 and 8, whose decoder means
and codes have been the expensive ones. CPU seconds of one thread, means over the models of one
stack, which differ in data and initialisation; compilation is left out. Shares are of the trial's
total, and travel between machines.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch

from study.config import DetectionConfig, MixtureConfig, ModelConfig, TrainingConfig
from study.data.data_set import DataSet, draw_data_set
from study.detection.modes import control_gap, detect_modes, modal_em
from study.endpoints.baselines import score_nulls
from study.endpoints.fidelity import neighbor_fidelity, two_sample_accuracy
from study.endpoints.likelihood import log_density
from study.endpoints.matching import match_components, match_points
from study.endpoints.scores import LIKELIHOOD_POINTS
from study.training.fitted import FittedVAE, Member
from study.training.generate import (
    active_codes,
    draw_means,
    draw_samples,
    encode_points,
    heldout_losses,
)
from study.training.train import train

LATENT_DIMS = (2, 1, 8)
N_SAMPLES = 10_000
TRAINING = "training"
SHARED = "control"  # once a mixture, not once a trial

T = TypeVar("T")


class Clock:
    """CPU seconds of one thread by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def __call__(self, name: str, work: Callable[[], T]) -> T:
        started = time.process_time()
        result = work()
        self.seconds[name] += time.process_time() - started
        return result


def measure(
    *, latent_dims: tuple[int, ...] = LATENT_DIMS, n_models: int = 3, n_epochs: int = 100
) -> list[dict[str, Any]]:
    """Train and measure, and say what each part took.

    Parameters
    ----------
    latent_dims : tuple of int
    n_models : int
        Models of each width, with data seeds 0, 1, ...
    n_epochs : int

    Returns
    -------
    list of dict
        name, value, unit, and `ratio`, the share of the trial; all but training is "measuring".
    """
    torch.set_num_threads(1)
    data_sets = [draw_data_set(MixtureConfig(), seed, N_SAMPLES) for seed in range(n_models)]
    _warm_up(data_sets[0])
    rows = []
    for latent_dim in latent_dims:
        seconds = _measure_width(latent_dim, data_sets, n_epochs)
        rows += _rows(f"q={latent_dim}", seconds)
    clock = Clock()
    for seed, data in enumerate(data_sets):
        _measure_control(clock, data, seed)
    shared = {name: value / n_models for name, value in clock.seconds.items()}
    rows += [
        {"name": f"once a mixture, {name}", "value": round(value, 3), "unit": "s"}
        for name, value in shared.items()
    ]
    return rows


def _warm_up(data: DataSet) -> None:
    for points in (data.training[:600], data.training[:600] @ np.ones((3, 9))):
        for protocol in ("original", "calibrated"):
            detect_modes(
                points + np.arange(points.size).reshape(points.shape) % 7,
                protocol=protocol,
                k_max=3,
            )


def _measure_width(latent_dim: int, data_sets: list[DataSet], n_epochs: int) -> dict[str, float]:
    clock = Clock()
    trained = clock(
        TRAINING,
        lambda: train(
            np.stack([data.training for data in data_sets]),
            [Member(data_seed=seed, init_seed=0) for seed in range(len(data_sets))],
            model=ModelConfig(latent_dim=latent_dim),
            training=TrainingConfig(epochs=n_epochs, checkpoints=n_epochs),
        ),
    )
    for index, data in enumerate(data_sets):
        _measure_model(clock, trained.fitted, index, data)
    return {name: value / len(data_sets) for name, value in clock.seconds.items()}


def _measure_model(clock: Clock, fitted: FittedVAE, index: int, data: DataSet) -> None:
    """Do what `study.trial.measure` does with one trained model, part by part."""
    means = clock(
        "draw points", lambda: draw_means(fitted, index, n_samples=N_SAMPLES, sample_seed=0)
    )
    samples = clock("draw points", lambda: draw_samples(fitted, index, means, sample_seed=0))
    codes = clock("draw points", lambda: active_codes(encode_points(fitted, index, data.heldout)))
    counts = {}
    for source, points in (("means", means), ("samples", samples), ("codes", codes)):
        for protocol in ("original", "calibrated"):
            counts[source, protocol] = clock(
                f"count {source} {protocol}",
                lambda points=points, protocol=protocol: detect_modes(points, protocol=protocol),
            )
    chosen = counts["samples", "calibrated"].fitted
    for points in (data.control, samples, means):
        clock("matching to the truth", lambda points=points: match_points(points, data.truth))
    clock("matching to the truth", lambda: match_components(chosen, samples, data.truth))
    clock("neighbours", lambda: neighbor_fidelity(samples, data.control))
    rng = np.random.default_rng(0)
    clock("classifier", lambda: two_sample_accuracy(samples, data.control, rng=rng))
    few = data.heldout[:LIKELIHOOD_POINTS]
    clock("likelihood", lambda: log_density(fitted, index, few))
    clock("held-out losses", lambda: heldout_losses(fitted, index, data.heldout))
    clock("modal EM", lambda: modal_em(chosen))


def _measure_control(clock: Clock, data: DataSet, seed: int) -> None:
    clock("count data original", lambda: detect_modes(data.control, protocol="original"))
    count = clock(
        "count data calibrated", lambda: detect_modes(data.control, protocol="calibrated")
    )
    clock("control gap", lambda: control_gap(data.control, data.truth, count))
    clock("null models", lambda: score_nulls(data, seed, DetectionConfig()))


def _rows(label: str, seconds: dict[str, float]) -> list[dict[str, Any]]:
    total = sum(seconds.values())
    parts = dict(seconds)
    parts["measuring"] = total - seconds[TRAINING]
    parts["total"] = total
    to = {"unit": "s", "ratio_to": "the trial"}
    return [
        {"name": f"{label} {name}", "value": round(value, 3), "ratio": round(value / total, 3)}
        | to
        for name, value in parts.items()
    ]


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print seconds and shares side by side."""
    lines = [
        {"part": row["name"], "seconds": row["value"], "share": row.get("ratio", "")}
        for row in rows
    ]
    print(pd.DataFrame(lines).to_markdown(index=False))


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=3, help="models of each width (default: 3)")
    parser.add_argument("--epochs", type=int, default=100, help="of the training (default: 100)")
    parser.add_argument("--latent-dims", type=int, nargs="+", default=list(LATENT_DIMS))
    options = parser.parse_args(argv)
    rows = measure(
        latent_dims=tuple(options.latent_dims), n_models=options.models, n_epochs=options.epochs
    )
    print_table(rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
