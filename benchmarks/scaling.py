"""One worker against two on the same sweep, in turns: how much faster, and the same numbers?"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks.history import Measurement, Options
from benchmarks.peers.comparison import run_ours

# What depends on the run; everything else must be equal to the bit.
CIRCUMSTANCES = {"stack_id", "train_s", "count_s", "endpoints_s", "finished_at"}


def measure(options: Options) -> Iterator[Measurement]:
    """Compare the medians of a few turns."""
    n_trials, n_epochs = (2, 1) if options.quick else (options.n_trials, options.n_epochs)
    turns = 1 if options.quick else 2
    walls: dict[int, list[float]] = {1: [], 2: []}
    rows: dict[int, list[dict[str, Any]]] = {}
    for _ in range(turns):
        for n_workers in walls:
            wall_s, rows[n_workers] = run_ours(n_trials, n_epochs, n_workers=n_workers)
            walls[n_workers].append(wall_s)
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
    n_different = sum(
        repr(_numbers(one)) != repr(_numbers(two))
        for one, two in zip(rows[1], rows[2], strict=True)
    )
    yield Measurement(
        benchmark="scaling",
        name="trials with a number that differs in any bit",
        value=float(n_different),
        unit=f"of {n_trials}",
    )


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in CIRCUMSTANCES}
