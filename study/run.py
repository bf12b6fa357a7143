"""One run of a sweep: what is left to do, doing it on Ray, and what the tables hold then."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from study.compaction import compact
from study.config import ResourcesConfig, Sweep, SweepError
from study.estimate import estimate
from study.grid import Trial, Unit, expand, plan_units, sweep_manifest
from study.progress import make_display, plan_progress
from study.results import (
    ResultsError,
    ResultsFolder,
    finished_ids,
    open_folder,
    provenance,
    read_table,
    to_table,
)
from study.screens import coverage_table, failure_causes, print_plan

if TYPE_CHECKING:
    import pandas as pd

# What --retry-failed runs again; a diverged trial would diverge again.
RETRIED = ("failed", "timeout")
EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_STOPPED = 0, 1, 2, 130


def run(sweep: Sweep, options: argparse.Namespace) -> int:
    """Run what is left of a sweep, or print what would run.

    Parameters
    ----------
    sweep : Sweep
    options : argparse.Namespace
        As `study.sweep.build_parser` makes it.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SweepError, ResultsError
        The sweep cannot be run, or its results folder cannot be read or written.
    """
    if sweep.search is not None:
        raise SweepError("search: adaptive sweeps can be replayed (study.replay), not yet run")
    trials = expand(sweep)
    location = _location(options.results, sweep.name)
    folder = open_folder(location)
    recorded = finished_ids(folder)
    retry = RETRIED if options.retry_failed else ()
    left = [trial for trial in trials if recorded.get(trial.trial_id) in (None, *retry)]
    chosen = left[: options.limit]
    n_workers = options.workers or _processors(sweep.resources)
    units = plan_units(
        chosen,
        n_workers=n_workers,
        recorded=[trial for trial in trials if trial.trial_id in recorded],
        recorded_controls=_recorded_controls(folder, retry),
        stack_size=sweep.resources.stack_size,
    )
    if options.dry_run:
        finished = read_table(folder, "trials") if recorded else None
        cost = estimate(chosen, n_workers=n_workers, finished=finished)
        print_plan(sweep, trials, chosen, units=units, n_workers=n_workers, cost=cost)
        return EXIT_DONE
    _write_plan(folder, sweep, trials)
    if units:
        _execute(sweep, trials, units, folder, location, options, recorded, n_workers)
    compact(folder)
    return _finish(sweep, trials, folder, options)


def _location(results: str, name: str) -> str:
    """Say where a sweep's folder is, absolute if local: workers have another working folder."""
    if "://" in results:
        return f"{results.rstrip('/')}/{name}"
    return str(Path(results).absolute() / name)


def _processors(resources: ResourcesConfig) -> int:
    """Count the units that fit on this machine's processors at once."""
    available = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    return max(int((available or 1) // max(resources.cpus, 0.01)), 1)


def _recorded_controls(folder: ResultsFolder, retry: Sequence[str]) -> frozenset[str]:
    recorded = finished_ids(folder, "controls")
    return frozenset(key for key, status in recorded.items() if status not in retry)


def _write_plan(folder: ResultsFolder, sweep: Sweep, trials: Sequence[Trial]) -> None:
    """Record what was asked, before anything runs."""
    try:
        folder.write_manifest({**sweep_manifest(sweep, trials), "commit": provenance()["commit"]})
        rows = [
            {"trial_id": t.trial_id, "control_id": t.control_id, "cell": t.cell} for t in trials
        ]
        folder.write_table("plan.parquet", to_table("plan", rows))
    except OSError as error:
        raise ResultsError(f"{folder.path}: cannot write results here: {error}") from None


def _execute(
    sweep: Sweep,
    trials: Sequence[Trial],
    units: Sequence[Unit],
    folder: ResultsFolder,
    location: str,
    options: argparse.Namespace,
    recorded: Mapping[str, str],
    n_workers: int,
) -> None:
    _set_ray_environment()
    # Ray reads its environment when it is imported, and --help must not wait for it.
    from study.execution import execute, ray_session

    running = {trial.trial_id for unit in units for trial in unit.trials}
    states = (
        (t.cell, None if t.trial_id in running else recorded.get(t.trial_id)) for t in trials
    )
    display = make_display(
        plan_progress(sweep.name, states), quiet=options.quiet, as_json=options.json
    )
    with tempfile.TemporaryDirectory(prefix="study-tune-") as scratch, display:
        display.note(f"{sweep.name}: starting Ray with {n_workers} workers")
        with ray_session(options.address, n_workers=n_workers, gpus=sweep.resources.gpus):
            execute(
                units,
                folder=folder,
                location=location,
                resources=sweep.resources,
                display=display,
                scratch=scratch,
            )


def _set_ray_environment() -> None:
    """Choose Ray's settings before it is imported: silent, no files, token authentication."""
    settings = {
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _finish(
    sweep: Sweep, trials: Sequence[Trial], folder: ResultsFolder, options: argparse.Namespace
) -> int:
    """Print what the tables hold now and choose the exit status from them."""
    recorded = finished_ids(folder)
    statuses = [recorded.get(trial.trial_id) for trial in trials]
    n_left = statuses.count(None)
    n_bad = sum(status not in (None, "done") for status in statuses)
    controls = finished_ids(folder, "controls")
    ids = {trial.control_id for trial in trials}
    n_controls_failed = sum(controls.get(control_id, "done") != "done" for control_id in ids)
    if n_controls_failed:
        print(
            f"warning: {n_controls_failed} controls failed, their trials have no k_data_*; "
            "add --retry-failed to count them again",
            file=sys.stderr,
        )
    if not options.quiet and not options.json:
        _print_summary(read_table(folder, "trials"), _shown_path(folder, options), n_left=n_left)
    if n_left and options.limit is None:
        return EXIT_STOPPED
    return EXIT_FAILED if n_bad or n_controls_failed else EXIT_DONE


def _shown_path(folder: ResultsFolder, options: argparse.Namespace) -> str:
    """Write the folder as a person would type it."""
    if not folder.is_local:
        return f"{options.results.rstrip('/')}/{folder.path.rsplit('/', 1)[-1]}"
    path = Path(folder.path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _print_summary(trials: pd.DataFrame, path: str, *, n_left: int) -> None:
    console = Console()
    n_done = int(trials["status"].eq("done").sum())
    lines = [f"{n_done} trials done, {len(trials) - n_done} not done, {n_left} left."]
    lines += [f"  {n} x {cause}" for cause, n in failure_causes(trials).items()]
    if n_left:
        lines.append("To continue, run the same command again.")
    elif trials["status"].isin(RETRIED).any():
        lines.append("To run failed trials again, add --retry-failed.")
    if len(trials):
        console.print(coverage_table(trials))
        lines.append(f"Next: python -m analysis.report {path}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
