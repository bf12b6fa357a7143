"""The Ray Tune adapter: one Tune trial is one work unit, a stack of trainings or some controls.

A worker's process is reused from unit to unit. An exception that left `step` would cost Tune that
worker's slot for as long as a new process takes to start, so none does: a stack that fails is
taken apart and its trials run one at a time, and the one that fails again becomes a row. A stack
that does not fit into memory is halved until it does.

The driver names this module too, and trains nothing: torch and what needs it are imported by the
first unit, which spares a sweep's start about three seconds of processor time.
"""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from ray import tune

from study.execution.driver_writer import open_location
from study.planning.units import ControlBatch, Stack, Unit
from study.plugins import Plugin, install
from study.results import write_tables
from study.results.folder import ResultsFolder, first_line
from study.trial.processes import map_in_processes
from study.trial.rows import Tables, append_tables, current_error, failed_rows

# A unit without a sign of life for training.timeout_min and this is ended with its process.
HANG_GRACE_S = 60.0
# How Python's own watchdog begins its last words.
HUNG_MARK = "Timeout ("
_STANDARD_ERROR = 2


class UnitTrainable(tune.Trainable):
    """Run one work unit; each step is one checkpoint of the training, the last writes the rows."""

    def setup(  # type: ignore[override]  # Tune passes what `with_parameters` was given
        self,
        config: dict[str, Any],
        units: tuple[Unit, ...],
        plugins: tuple[Plugin, ...],
        location: str,
        device: str,
        n_processes: int,
    ) -> None:
        """Take the worker's share of the sweep: all units, where rows go, what it may use.

        Units name generators and families; what is behind the names is loaded here.
        """
        install(plugins)
        import torch

        # One thread each: workers are the parallelism, and sums keep their order.
        torch.set_num_threads(1)
        self._units = units
        self._folder = open_location(location).patient()
        self._use: dict[str, Any] = {"device": device, "n_processes": n_processes}
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another unit in the same process."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        # An adaptive sweep's units are not known beforehand: each comes with its own settings.
        payload = config.get("payload")
        unit = self._units[config["unit"]] if payload is None else payload.unit
        self._events = unit_events(unit, folder=self._folder, **self._use)
        self._limit_s = _hang_limit_s(unit)
        self._phase: str | None = None

    def step(self) -> dict[str, Any]:
        """Go on to the unit's next report."""
        # Writing may wait for a store to come back; that is no hang.
        with _watchdog(None if self._phase == "writing" else self._limit_s):
            report = next(self._events)
        self._phase = report.get("phase")
        return report


def _hang_limit_s(unit: Unit) -> float | None:
    limits = [trial.training.timeout_min for trial in unit.trials]
    limit_min = limits[0] if limits else None
    return None if limit_min is None else 60 * limit_min + HANG_GRACE_S


@contextlib.contextmanager
def _watchdog(limit_s: float | None) -> Iterator[None]:
    """End this process, stack traces first, if what is inside takes longer.

    The watchdog is a thread of C: it also ends code that never gives Python a turn.
    """
    if limit_s is None:
        yield
        return
    faulthandler.dump_traceback_later(limit_s, exit=True, file=_STANDARD_ERROR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def stack_events(
    stack: Stack, *, device: str, n_processes: int
) -> Generator[dict[str, Any], None, Tables]:
    """Train and measure a stack, or load and measure it (`study.trial.stack`, `recount`)."""
    if stack.stored:
        from study.trial.recount import rescore_events

        return rescore_events(stack, device=device, n_processes=n_processes)
    from study.trial.stack import stack_events

    return stack_events(stack, device=device, n_processes=n_processes)


def run_controls(batch: ControlBatch) -> Tables:
    """Count a batch of controls: `study.trial.stack.run_controls`."""
    from study.trial.stack import run_controls

    return run_controls(batch)


def unit_events(
    unit: Unit, *, folder: ResultsFolder, device: str, n_processes: int = 1
) -> Iterator[dict[str, Any]]:
    """Run one unit, write its rows, and yield what Tune is told.

    Parameters
    ----------
    unit : Stack or ControlBatch
    folder : ResultsFolder
        Where the rows go.
    device : str
        A torch device, for training.
    n_processes : int
        Models or controls that are measured at once.

    Yields
    ------
    dict
        Reports with `phase`, `epoch` and mean losses; the last one has `done` and `statuses`, or
        `unwritten` with the reason why the rows could not be written.
    """
    # At once, so that the driver knows the process.
    yield {"phase": "starting", "done": False}
    yield from _compile_reports()
    yield {"phase": "importing", "done": False}
    try:
        if isinstance(unit, ControlBatch):
            yield from _control_reports(unit, folder=folder, n_processes=n_processes)
        else:
            yield from _stack_reports(unit, folder=folder, device=device, n_processes=n_processes)
    except OSError as error:
        # Of the writing alone: what the work itself raises has become a row.
        yield {"phase": "finished", "done": True, "unwritten": first_line(error)}


def _compile_reports() -> Iterator[dict[str, Any]]:
    """Say so where the first count waits for a compiler."""
    from study.detection.compiling import compile_detection, is_detection_compiled

    if not is_detection_compiled():
        yield {"phase": "compiling, once per machine", "done": False}
        compile_detection()


def _control_reports(
    batch: ControlBatch, *, folder: ResultsFolder, n_processes: int
) -> Iterator[dict[str, Any]]:
    tables: Tables = {"counts": [], "controls": []}
    counted = map_in_processes(
        _control_rows,
        ((ControlBatch(controls=(control,)),) for control in batch.controls),
        n_processes=n_processes,
        lost=lambda single: failed_rows(single, "a process that counted it was killed twice"),
    )
    for _ in batch.controls:
        yield {"phase": "counting", "done": False}
        append_tables(tables, next(counted))
    yield {"phase": "writing", "done": False}
    write_tables(folder, batch.unit_id, tables)
    yield {"phase": "finished", "done": True, "statuses": []}


def _control_rows(single: ControlBatch) -> Tables:
    try:
        return run_controls(single)
    except Exception:
        return failed_rows(single, current_error())


def _stack_reports(stack: Stack, *, folder: ResultsFolder, **use: Any) -> Iterator[dict[str, Any]]:
    tables: Tables | None = None
    parts: tuple[Stack, ...] = ()
    try:
        tables = yield from stack_events(stack, **use)
    except Exception as error:
        message = current_error()
        parts = _parts(stack, error)
    # Here, not above: the error keeps what the failed stack had in memory.
    if len(parts) > 1:
        yield from _part_reports(parts, folder=folder, **use)
        return
    if tables is None:
        tables = failed_rows(stack, message)
    yield {"phase": "writing", "done": False}
    write_tables(folder, stack.unit_id, tables)
    statuses = [row["status"] for row in tables["trials"]]
    # For the screen alone: the mean so far, before anybody reads the rows.
    coverage = [row.get("coverage_samples_calibrated") for row in tables["trials"]]
    yield {"phase": "finished", "done": True, "statuses": statuses, "coverage": coverage}


def _parts(stack: Stack, error: Exception) -> tuple[Stack, ...]:
    """Return what to run instead: halves of a stack that does not fit, or its trials alone."""
    from study.training.device import is_out_of_memory

    if is_out_of_memory(error) and stack.n_models > 1:
        return stack.halves()
    return stack.singles()


def _part_reports(
    parts: Sequence[Stack], *, folder: ResultsFolder, **use: Any
) -> Iterator[dict[str, Any]]:
    statuses: list[str] = []
    coverage: list[float | None] = []
    for part in parts:
        for report in _stack_reports(part, folder=folder, **use):
            if not report["done"]:
                yield report
                continue
            statuses += report["statuses"]
            coverage += report["coverage"]
            # Passed on too: it ends the writing, which is not watched.
            yield report | {"phase": "written", "done": False}
    yield {"phase": "finished", "done": True, "statuses": statuses, "coverage": coverage}
