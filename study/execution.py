"""Ray on the driver's side: a cluster that is ours alone, and Tune as the executor of units.

Tune keeps no record here: its experiment files go to a temporary folder that is removed, and what
is finished is read from our tables.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray._private.worker
from ray import tune

from study.config import ResourcesConfig
from study.grid import Unit
from study.progress import Display, RunningStack
from study.results import ResultsFolder, write_tables
from study.rows import failed_rows
from study.trainable import UnitTrainable

LOST_WORKER = "the worker process died twice while it ran this stack (killed, or out of memory)"


@contextlib.contextmanager
def ray_session(address: str | None, *, n_workers: int, gpus: float) -> Iterator[None]:
    """Start a local Ray of our own, or join the one at `address`, and leave it clean.

    Parameters
    ----------
    address : str or None
        None starts a local cluster in a temporary folder that is removed at the end.
    n_workers : int
        Processors that the local cluster offers.
    gpus : float
        GPUs a unit wants; the local cluster offers those that Ray finds only if this is not 0.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address is not None:
        with _silent_raylet():
            ray.init(address=address, **quiet)
            try:
                yield
            finally:
                ray.shutdown()
        return
    # Unix socket paths are limited to 107 bytes, so the folder's name is short.
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp" if os.path.isdir("/tmp") else None)
    try:
        with _silent_raylet():
            resources: dict[str, Any] = {} if gpus else {"num_gpus": 0}
            ray.init(
                address="local",
                num_cpus=n_workers,
                include_dashboard=False,
                _temp_dir=folder,
                **resources,
                **quiet,
            )
            try:
                yield
            finally:
                ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _silent_raylet() -> Iterator[None]:
    """Keep the raylet's own lines off stdout; Ray has no public switch for them."""
    printer = getattr(ray._private.worker, "print_to_stdstream", None)
    if printer is not None:
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        if printer is not None:
            ray._private.worker.print_to_stdstream = printer


class ProgressCallback(tune.Callback):
    """Pass Tune's events to the display and record units whose worker was lost.

    Tune pickles its callbacks when it starts; the handles stay behind and are not needed there.
    An exception in a callback would turn a finished unit into a failed one, so none leaves.
    """

    def __init__(self, units: Sequence[Unit], display: Display, folder: ResultsFolder) -> None:
        self._units, self._display, self._folder = units, display, folder

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Show the unit as running."""
        index = trial.config["unit"]
        self._guard(self._started, index, self._units[index])

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        """Show the unit's epoch and loss."""
        self._guard(self._reported, trial.config["unit"], result)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Count the unit's trials."""
        statuses = (trial.last_result or {}).get("statuses")
        if statuses is not None:
            self._guard(self._finished, trial.config["unit"], statuses)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Record the unit's trials as failed: no trial vanishes."""
        self._guard(self._lost, trial.config["unit"])

    def _guard(self, action: Callable[..., None], *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:
            self._display.note(f"display: {type(error).__name__}: {error}")

    def _started(self, index: int, unit: Unit) -> None:
        self._display.progress.running[index] = RunningStack(unit.label, len(unit.trials))
        self._display.update("start")

    def _reported(self, index: int, result: dict[str, Any]) -> None:
        running = self._display.progress.running.get(index)
        if running is None or result.get("done"):
            return
        for name in ("phase", "epoch", "n_epochs", "loss", "n_counted"):
            setattr(running, name, result.get(name, getattr(running, name)))
        self._display.update("report")

    def _finished(self, index: int, statuses: Sequence[str]) -> None:
        progress = self._display.progress
        progress.running.pop(index, None)
        for trial, status in zip(self._units[index].trials, statuses, strict=True):
            progress.finish(trial.cell, failed=status != "done")
        self._display.update("finish")

    def _lost(self, index: int) -> None:
        unit = self._units[index]
        write_tables(self._folder, unit.unit_id, failed_rows(unit, LOST_WORKER))
        self._finished(index, ["failed"] * len(unit.trials))


def execute(
    units: Sequence[Unit],
    *,
    folder: ResultsFolder,
    location: str,
    resources: ResourcesConfig,
    display: Display,
    scratch: str,
) -> None:
    """Run every unit on the connected Ray; return when all ended or it was asked to stop.

    Ctrl-C and SIGTERM return early and without an error, so what is done is read from the tables.

    Parameters
    ----------
    units : sequence of Unit
        In the order in which they should start.
    folder, location : ResultsFolder, str
        Where rows go, as the driver sees it and as the workers open it.
    resources : ResourcesConfig
        Ray resources of one unit.
    display : Display
    scratch : str
        An absolute folder for Tune's own files.
    """
    trainable = tune.with_parameters(
        UnitTrainable, units=tuple(units), location=location, device=device_name(resources)
    )
    per_unit = {"cpu": resources.cpus, "gpu": resources.gpus}
    tuner = tune.Tuner(
        tune.with_resources(trainable, per_unit),
        param_space={"unit": tune.grid_search(list(range(len(units))))},
        tune_config=tune.TuneConfig(reuse_actors=True, trial_dirname_creator=_unit_folder),
        run_config=tune.RunConfig(
            name="units",
            storage_path=scratch,
            verbose=0,
            callbacks=[ProgressCallback(units, display, folder)],
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with _graceful_signals():
        tuner.fit()


def _unit_folder(trial: Any) -> str:
    return f"unit-{trial.config['unit']}"


def device_name(resources: ResourcesConfig) -> str:
    """Say the torch device of a unit: CUDA when it has a GPU, unless the sweep names one."""
    if resources.device != "auto":
        return resources.device
    return "cuda" if resources.gpus > 0 else "cpu"


@contextlib.contextmanager
def _graceful_signals() -> Iterator[None]:
    """Treat SIGTERM as one Ctrl-C, and restore both handlers afterwards.

    Tune installs its own SIGINT handler inside `fit` and never takes it away.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
