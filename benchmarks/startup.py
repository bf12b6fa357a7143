"""How long the command takes to answer: --help, and the plan of a large sweep."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.history import Measurement, Options

ROOT = Path(__file__).resolve().parents[1]
SWEEP = """
name: large
question: What does a plan of many trials cost?
grid:
  model.latent_dim: {{range: [1, 100, 1]}}
  training.kl_weight: [0.1, 0.2, 0.5, 1.0, 2.0]
replicates: {{data: {n_data}, init: 2}}
"""
TRIALS_PER_SEED = 1_000


def measure(options: Options) -> Iterator[Measurement]:
    """Time fresh processes; the least of several."""
    repeats = 1 if options.quick else options.n_repeats
    yield from _figures("--help", ["--help"], repeats)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for n_trials in (1_000,) if options.quick else (10_000, 100_000):
            path = Path(scratch) / f"large-{n_trials}.yaml"
            path.write_text(SWEEP.format(n_data=n_trials // TRIALS_PER_SEED))
            arguments = [str(path), "--dry-run", "--results", scratch]
            yield from _figures(f"--dry-run of {n_trials:,} trials", arguments, repeats)


def _figures(name: str, arguments: Sequence[str], repeats: int) -> Iterator[Measurement]:
    times = [_time(arguments) for _ in range(repeats)]
    wall_s, cpu_s = (min(column) for column in zip(*times, strict=True))
    yield Measurement(benchmark="startup", name=name, value=wall_s, unit="s")
    yield Measurement(benchmark="startup", name=f"{name}, processor time", value=cpu_s, unit="s")


def _time(arguments: Sequence[str]) -> tuple[float, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    before, started = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "study.sweep", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment,
        cwd=ROOT,
    )
    wall_s, after = time.perf_counter() - started, os.times()
    user_s = after.children_user - before.children_user
    return wall_s, user_s + after.children_system - before.children_system
