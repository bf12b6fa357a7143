"""Trials a minute of this project and of each peer, the whole command from start to end.

Each peer runs right after this project does, so both see the same machine. A pair that is in the
history for this commit and size is not run again. This project measures every trial's endpoints
on top of the peers' work.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import history
from benchmarks.history import Measurement, Options

PEERS = {
    "ray_tune": "naive Ray Tune",
    "joblib_loop": "joblib",
    "optuna_study": "Optuna, n_jobs=2",
    "hydra_app": "Hydra, joblib launcher",
}
NEEDS = {"hydra_app": "hydra_plugins.hydra_joblib_launcher"}
N_WORKERS = 2
ROOT = Path(__file__).resolve().parents[2]


def measure(options: Options) -> Iterator[Measurement]:
    """Run each peer beside this project."""
    n_trials, n_epochs = (2, 1) if options.quick else (options.n_trials, options.n_epochs)
    size = f"{n_trials} trials of {n_epochs} epochs"
    done = [] if options.quick else _done_names()
    for module, title in PEERS.items():
        name = f"{title}: {size}"
        if name in done:
            continue
        if module in NEEDS and not _is_installed(NEEDS[module]):
            yield Measurement(
                benchmark="peers", name=f"{name}: not run, needs '.[bench]'", value=None, unit=""
            )
            continue
        ours, _ = run_ours(n_trials, n_epochs)
        theirs = run_peer(module, n_trials, n_epochs)
        figures = {"benchmark": "peers", "unit": "trials/min"}
        yield Measurement(
            name=f"this project, before {name}", value=60 * n_trials / ours, **figures
        )
        # Last, since its presence means that the pair is complete.
        yield Measurement(name=name, value=60 * n_trials / theirs, ratio=theirs / ours, **figures)


def _done_names() -> set[str]:
    here = history.circumstances()
    return {
        row["name"]
        for row in history.read()
        if row["commit"] == here.commit and not here.dirty and row["dirty"] == "False"
    }


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def run_ours(
    n_trials: int, n_epochs: int, *, n_workers: int = N_WORKERS
) -> tuple[float, list[dict[str, Any]]]:
    """Run the sweep; return its wall time in seconds and its trials' rows, by id.

    Raises
    ------
    RuntimeError
        It failed, or trials are missing.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as results:
        arguments = [
            *("study.sweep", str(Path(__file__).with_name("sweep.yaml")), "--quiet"),
            *("--workers", str(n_workers), "--results", results, "--limit", str(n_trials)),
            *("--set", f"training.epochs={n_epochs}"),
            *("--set", f"replicates.data={(n_trials + 1) // 2}"),
        ]
        wall_s, _ = _timed(arguments, results)
        table = pq.read_table(Path(results) / "peers" / "trials.parquet")
        if table.num_rows != n_trials:
            raise RuntimeError(f"this project: {table.num_rows} of {n_trials} trials have a row")
        return wall_s, table.sort_by("trial_id").to_pylist()


def run_peer(module: str, n_trials: int, n_epochs: int) -> float:
    """Run one peer's command and return its wall time in seconds.

    Raises
    ------
    RuntimeError
        It failed, or did not print a count for each trial.
    """
    # Ray's socket paths are limited to 107 bytes, so the folder's name is short.
    scratch = tempfile.mkdtemp(prefix="peer-", dir="/tmp" if os.path.isdir("/tmp") else None)
    try:
        arguments = [
            *(f"benchmarks.peers.{module}", "--workers", str(N_WORKERS), "--scratch", scratch),
            *("--trials", str(n_trials), "--epochs", str(n_epochs)),
        ]
        wall_s, output = _timed(arguments, scratch)
        counts = json.loads(output.strip().splitlines()[-1])["counts"]
        if len(counts) != n_trials:
            raise RuntimeError(f"{module}: {len(counts)} of {n_trials} trials have a count")
        return wall_s
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _timed(arguments: Sequence[str], scratch: str) -> tuple[float, str]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RAY_TMPDIR": scratch,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(ROOT),
    }
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    wall_s = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{arguments[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return wall_s, done.stdout
