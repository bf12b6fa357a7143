"""One worker against two on the same sweep, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.history import Measurement, Options
from benchmarks.peers.comparison import run_ours


def measure(options: Options) -> Iterator[Measurement]:
    """Compare the medians of a few turns."""
    n_trials, n_epochs = (2, 1) if options.quick else (options.n_trials, options.n_epochs)
    turns = 1 if options.quick else 2
    walls: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(turns):
        for n_workers in walls:
            walls[n_workers].append(run_ours(n_trials, n_epochs, n_workers=n_workers))
    one_s, two_s = (statistics.median(walls[n_workers]) for n_workers in (1, 2))
    size = f"{n_trials} trials of {n_epochs} epochs"
    figures = {"benchmark": "scaling", "unit": "trials/min"}
    yield Measurement(name=f"1 worker, {size}", value=60 * n_trials / one_s, **figures)
    yield Measurement(
        name=f"2 workers, {size} (ratio: to 1)",
        value=60 * n_trials / two_s,
        ratio=one_s / two_s,
        **figures,
    )
