"""Tune as the executor of units, and what becomes of units whose worker is lost.

Tune keeps no record here: its experiment files go to a temporary folder that is removed, and what
is finished is read from our tables. A unit whose worker process died is not left to Tune: it runs
once more, then in pieces of one trial each, until the trial that kills its process is alone.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from ray import tune

from study.config import ResourcesConfig
from study.display.progress import Display, RunningStack
from study.execution.nodes import ClusterFit
from study.execution.ray_session import watch_processes, worker_log_tail
from study.execution.stopping import Stop
from study.execution.trainable import HUNG_MARK, UnitTrainable
from study.execution.tune_search import UnitSearcher, UnitSource
from study.planning.units import ControlBatch, Stack, Unit
from study.plugins import loaded
from study.results import WELL_ENDED, recorded, write_tables
from study.results.folder import ResultsFolder
from study.trial.rows import MAX_MESSAGE_CHARS, failed_rows

# Runs of a unit whose worker is lost, before it is taken apart or given up.
MOST_RUNS = 2
# How long a unit that was writing its rows may go on after the sweep was asked to stop.
FINISH_WRITING_S = 8.0
# Tune ends its loop within a few seconds of being asked, unless Ray is gone.
TUNE_ENDS_S = 10.0
POLL_S = 0.25
# How Python's own account of a crash starts, and what it ends with.
CRASH_MARK, MODULES_MARK = "Fatal Python error", "\n\nExtension modules:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A unit that is to run, and how often its worker was lost before."""

    unit: Unit
    n_lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LostWorker:
    """A unit whose worker process ended under it.

    Parameters
    ----------
    attempt : Attempt
    cause : str
        Cause, for people.
    hung : bool
        Whether it was ended because it made no progress.
    """

    attempt: Attempt
    cause: str
    hung: bool

    def next_attempts(self) -> tuple[Attempt, ...]:
        """Return what to run instead: the unit again, its pieces, or nothing."""
        n_lost = self.attempt.n_lost + 1
        if n_lost < MOST_RUNS and not self.hung:
            return (Attempt(unit=self.attempt.unit, n_lost=n_lost),)
        pieces = self.attempt.unit.singles()
        return tuple(Attempt(unit=piece) for piece in pieces) if len(pieces) > 1 else ()


class ProgressCallback(tune.Callback):
    """Pass Tune's events to the display and collect units whose worker was lost.

    Tune pickles its callbacks when it starts; the handles stay behind and are not needed there.
    An exception in a callback would turn a finished unit into a failed one, so none leaves.

    Parameters
    ----------
    attempts : sequence of Attempt
    display : Display
    stop : Stop
        Stop request, set when rows cannot be written.
    """

    def __init__(self, attempts: Sequence[Attempt], display: Display, stop: Stop) -> None:
        self._attempts, self._display, self._stop = attempts, display, stop
        self._pids: dict[int, int] = {}
        self.losses: list[LostWorker] = []
        self.writing: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Show the unit as running."""
        self._guard(self._started, trial.config["unit"])

    def on_trial_result(
        self, iteration: int, trials: list, trial: Any, result: dict, **info: Any
    ) -> None:
        """Show the unit's epoch and loss."""
        self._guard(self._reported, trial.config["unit"], result)

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Count the unit's trials."""
        self._guard(self._completed, trial.config["unit"], trial.last_result or {})

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        """Remember the unit as lost: no trial vanishes."""
        self._guard(self._lost, trial.config["unit"], trial)

    def _guard(self, action: Callable[..., None], *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:
            self._display.note(f"display: {type(error).__name__}: {error}")

    def _started(self, index: int) -> None:
        unit = self._attempts[index].unit
        ids = tuple(trial.trial_id for trial in unit.trials)
        self._display.progress.running[index] = RunningStack(unit.label, len(ids), trial_ids=ids)
        self._display.update("start")

    def _reported(self, index: int, result: dict[str, Any]) -> None:
        self._pids[index] = result.get("pid", 0)
        running = self._display.progress.running.get(index)
        if running is None or result.get("done"):
            return
        if result.get("phase") == "writing":
            self.writing.add(index)
        for name in ("phase", "epoch", "n_epochs", "loss", "n_counted"):
            setattr(running, name, result.get(name, getattr(running, name)))
        self._display.update("report")

    def _completed(self, index: int, result: dict[str, Any]) -> None:
        self.writing.discard(index)
        if result.get("unwritten"):
            self._display.progress.running.pop(index, None)
            self._stop.request(f"results cannot be written: {result['unwritten']}", is_error=True)
        elif result.get("statuses") is not None:
            unit = self._attempts[index].unit
            for trial, coverage in zip(unit.trials, result.get("coverage") or (), strict=False):
                if coverage is not None:
                    self._display.progress.measure(trial.cell, coverage)
            show_finished(self._display, index, unit, result["statuses"])

    def _lost(self, index: int, trial: Any) -> None:
        self.writing.discard(index)
        self._display.progress.running.pop(index, None)
        cause, hung = cause_of_death(_error_text(trial), self._pids.get(index, 0))
        self.losses.append(LostWorker(attempt=self._attempts[index], cause=cause, hung=hung))
        self._display.update("report")


def _error_text(trial: Any) -> str:
    """Read what Tune noted about a trial's end; it writes it to its own files only."""
    place = getattr(trial, "error_file", None)
    return Path(place).read_text(errors="replace") if place and Path(place).exists() else ""


def cause_of_death(error: str, pid: int) -> tuple[str, bool]:
    """Return why a worker process ended.

    Parameters
    ----------
    error : str
        What Ray says.
    pid : int
        The process, if it ever reported; 0 if not.

    Returns
    -------
    cause : str
        One or more lines for a person, the last one the cause.
    hung : bool
        Whether its own watchdog ended it.
    """
    log = worker_log_tail(pid) if pid else ""
    who = f"worker process {pid}" if pid else "the worker process"
    if HUNG_MARK in log:
        trace = log[log.rindex(HUNG_MARK) :]
        return f"{trace[-MAX_MESSAGE_CHARS:]}\n{who} made no progress and was ended", True
    if "running low on memory" in error:
        return f"{who} was killed by Ray because the machine ran out of memory", False
    crash = re.search(r"(SIGSEGV|SIGBUS|SIGFPE|SIGILL|SIGABRT)", log)
    if crash or CRASH_MARK in log:
        sign = crash.group(1) if crash else CRASH_MARK
        trace = log[log.rindex(CRASH_MARK) :][:1500] if CRASH_MARK in log else log[-1500:]
        return f"{trace.partition(MODULES_MARK)[0]}\n{who} crashed ({sign})", False
    if "intended_system_exit" in error.lower() or "exit code" in error.lower():
        return f"{error[-1500:]}\n{who} ended by itself", False
    if error and "died" not in error.lower():
        return f"{error[-3000:]}", False
    return f"{who} was killed (SIGKILL, as the system does when memory runs out), or exited", False


def show_finished(display: Display, index: int, unit: Unit, statuses: Sequence[str]) -> None:
    """Count a unit's trials as finished."""
    progress = display.progress
    progress.running.pop(index, None)
    for trial, status in zip(unit.trials, statuses, strict=True):
        progress.finish(trial.cell, failed=status not in WELL_ENDED)
    display.update("finish")


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Where and how units run.

    Parameters
    ----------
    folder, location : ResultsFolder, str
        Where rows go, as the driver sees it and as the workers open it.
    n_workers : int
        Units that run at once.
    resources : ResourcesConfig
        Ray resources of one unit.
    display : Display
    stop : Stop
    scratch : str
        An absolute folder for Tune's own files.
    before : mapping of str to (status, finished_at)
        The trials that were recorded when the run started.
    fit : ClusterFit or None
        How they fit on an existing cluster.
    """

    folder: ResultsFolder
    location: str
    n_workers: int
    resources: ResourcesConfig
    display: Display
    stop: Stop
    scratch: str
    before: Mapping[str, tuple[str, str]]
    fit: ClusterFit | None = None

    def run(self, units: Sequence[Unit]) -> None:
        """Run every unit on the connected Ray; return when all ended or a stop was asked for.

        Parameters
        ----------
        units : sequence of Unit
            Units in the order in which they should start.

        Raises
        ------
        KeyboardInterrupt
            A second Ctrl-C or SIGTERM.
        """
        attempts = tuple(Attempt(unit=unit) for unit in units)
        n_rounds = 0
        while attempts and self.stop.reason is None:
            losses = self._run_round(attempts, name=f"units-{n_rounds}")
            if self.stop.reason is not None:
                return
            attempts = tuple(again for loss in losses for again in self._settle(loss))
            n_rounds += 1

    def run_search(self, source: UnitSource) -> None:
        """Run the units that a source proposes, until it is over or a stop was asked for.

        Parameters
        ----------
        source : UnitSource

        Raises
        ------
        KeyboardInterrupt
            A second Ctrl-C or SIGTERM.
        """
        attempts: list[Attempt] = []
        callback = ProgressCallback(attempts, self.display, self.stop)
        retried: dict[int, Attempt] = {}

        def give(unit: Unit) -> int:
            known = retried.pop(id(unit), None)
            if known is None:
                for trial in unit.trials:
                    self.display.progress.plan(trial.cell, finished=False)
            attempts.append(known or Attempt(unit=unit))
            return len(attempts) - 1

        def settle() -> list[tuple[int, list[Unit]]]:
            settled = []
            while callback.losses:
                loss = callback.losses.pop(0)
                again = self._settle(loss)
                retried.update({id(attempt.unit): attempt for attempt in again})
                settled.append((attempts.index(loss.attempt), [a.unit for a in again]))
            return settled

        searcher = UnitSearcher(source, n_workers=self.n_workers, give=give, settle=settle)
        self._fit(callback, (), name="search", searcher=searcher)
        self._await_writers(attempts, callback.writing)

    def _settle(self, loss: LostWorker) -> tuple[Attempt, ...]:
        """Run a lost unit again, in pieces, or record it as failed if it is alone."""
        loss = replace(loss, attempt=self._without_landed(loss.attempt))
        unit = loss.attempt.unit
        if isinstance(unit, Stack) and not unit.trials:
            return ()
        again = loss.next_attempts()
        if not again:
            tables = failed_rows(unit, _final_message(loss))
            status = "timeout" if loss.hung else "failed"
            for row in tables.get("trials", []):
                row["status"] = status
            write_tables(self.folder, unit.unit_id, tables)
            show_finished(self.display, -1, unit, [status] * len(unit.trials))
        else:
            how = "again" if len(again) == 1 else f"in {len(again)} pieces"
            cause = loss.cause.splitlines()[-1]
            self.display.note(f"{unit.label}: {cause}; it runs {how}")
        return again

    def _without_landed(self, attempt: Attempt) -> Attempt:
        """Leave out the trials whose rows the lost worker had written."""
        unit = attempt.unit
        if isinstance(unit, ControlBatch):
            return attempt
        landed = recorded(self.folder)
        left = []
        for trial in unit.trials:
            end = landed.get(trial.trial_id)
            if end is None or end == self.before.get(trial.trial_id):
                left.append(trial)
            else:
                self.display.progress.finish(trial.cell, failed=end[0] not in WELL_ENDED)
        return replace(attempt, unit=unit.part(left))

    def _run_round(self, attempts: Sequence[Attempt], *, name: str) -> list[LostWorker]:
        callback = ProgressCallback(attempts, self.display, self.stop)
        self._fit(callback, tuple(attempt.unit for attempt in attempts), name=name)
        self._await_writers(attempts, callback.writing)
        return callback.losses

    def _fit(
        self,
        callback: ProgressCallback,
        units: tuple[Unit, ...],
        *,
        name: str,
        searcher: UnitSearcher | None = None,
    ) -> None:
        """Have Tune run some units, or those that a searcher gives it."""
        trainable = tune.with_parameters(
            UnitTrainable,
            units=units,
            plugins=loaded(),
            location=self.location,
            device=self.resources.torch_device,
            n_processes=self.resources.n_processes,
        )
        per_unit = {"cpu": self.resources.n_cpus, "gpu": self.resources.gpus}
        tuner = tune.Tuner(
            tune.with_resources(trainable, per_unit),
            param_space={"unit": tune.grid_search(list(range(len(units))))} if units else {},
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                trial_dirname_creator=_unit_folder,
                search_alg=searcher,
                num_samples=1 if searcher is None else -1,
            ),
            run_config=tune.RunConfig(
                name=name,
                storage_path=self.scratch,
                verbose=0,
                callbacks=[callback],
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        self.stop.install()
        with (
            watch_processes(self._on_death),
            _announcing(self.stop, self.display),
            self.stop.in_tune(),
        ):
            tuner.fit()

    def _on_death(self, process: str) -> None:
        self.stop.request(f"Ray's {process} process ended", is_error=True, ray_died=True)

    def _await_writers(self, attempts: Sequence[Attempt], writing: set[int]) -> None:
        """Let workers that were writing rows when the stop came finish that."""
        if self.stop.reason is None or self.stop.is_error:
            return
        deadline = time.monotonic() + FINISH_WRITING_S
        files = [
            f"{self.folder.path}/parts/trials/{attempts[index].unit.unit_id}.parquet"
            for index in writing
            if attempts[index].unit.trials
        ]
        while files and time.monotonic() < deadline:
            infos = self.folder.filesystem.get_file_info(files)
            files = [info.path for info in infos if info.type == pafs.FileType.NotFound]
            time.sleep(POLL_S)


def _final_message(loss: LostWorker) -> str:
    detail, _, cause = loss.cause.rpartition("\n")
    if loss.hung:
        limit = _timeout_min(loss.attempt.unit)
        return f"{detail}\npassed training.timeout_min = {limit} without a heartbeat: {cause}"
    return f"{detail}\nlost its worker twice: {cause}".strip()


def _timeout_min(unit: Unit) -> float | None:
    return unit.trials[0].training.timeout_min if unit.trials else None


class _announcing:
    """Tell the display, from a thread of its own, that a stop was asked for."""

    def __init__(self, stop: Stop, display: Display) -> None:
        self._stop, self._display = stop, display
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._wait, name="announce-stop", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _wait(self) -> None:
        while not self._ended.wait(POLL_S):
            if self._stop.reason is not None:
                self._display.note(self._message())
                if not self._ended.wait(TUNE_ENDS_S):
                    self._stop.interrupt("Ray does not end")
                    # A call into a Ray whose head is gone does not come back to hear of it.
                    if not self._ended.wait(TUNE_ENDS_S):
                        self._stop.leave()
                return

    def _message(self) -> str:
        if self._stop.is_error:
            return f"{self._stop.reason}. Running stacks are given up, finished ones are kept."
        return (
            f"{self._stop.reason}: stopping. Finished stacks are kept, running ones are given up; "
            "Ctrl-C again stops at once."
        )


def _unit_folder(trial: Any) -> str:
    return f"unit-{trial.config['unit']}"
