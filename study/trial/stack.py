"""One stack from points to rows: the one place where the steps of a trial meet.

`run_stack` needs no Ray and no files: call it in a debugger or a notebook. `stack_events` is the
same work as a generator, which pauses at every checkpoint of the training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from study.config.early_stopping import mean_value
from study.data.data_set import draw_data_set
from study.detection.counting import count_possible, reasons_text
from study.detection.modes import control_gap
from study.endpoints.baselines import score_nulls
from study.planning.units import Control, ControlBatch, Stack, Trial
from study.results import timestamp
from study.results.tables import REFERENCE_PROTOCOL
from study.training.fitted import FittedVAE
from study.training.train import Checkpoint, TrainedStack, train_checkpoints
from study.trial.kinds import fit_events
from study.trial.measure import (
    count_generated,
    data_set_of,
    lost_rows,
    measure_brief,
    score_state,
)
from study.trial.models import State, member_of
from study.trial.processes import map_in_processes, start_processes
from study.trial.readings import count_readings, fit_readings
from study.trial.rows import (
    Row,
    Tables,
    append_tables,
    control_row,
    count_rows,
    count_summary,
    curve_rows,
    trial_row,
    weight_rows,
)

Report = dict[str, Any]


def run_stack(stack: Stack, *, device: str = "cpu", n_processes: int = 1) -> Tables:
    """Train and measure a stack.

    Parameters
    ----------
    stack : Stack
    device : str
        A torch device, for the training.
    n_processes : int
        Models that are measured at once, each by a process of its own; 1 takes none but this one.

    Returns
    -------
    dict of str to list of dict
        Rows by table, as in `study.results.SCHEMAS`.

    Raises
    ------
    ValueError
        The stack's configuration cannot be trained or measured.
    """
    events = stack_events(stack, device=device, n_processes=n_processes)
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def stack_events(
    stack: Stack, *, device: str = "cpu", n_processes: int = 1
) -> Generator[Report, None, Tables]:
    """Train and measure a stack, pausing with a report at every checkpoint.

    Parameters
    ----------
    stack, device, n_processes
        As in `run_stack`.

    Yields
    ------
    dict
        `phase`, `done`; while training `epoch`, `n_epochs` and `loss` (mean over the models that
        have not diverged); while counting `n_counted` trials.

    Returns
    -------
    dict of str to list of dict
        Rows by table.
    """
    start_processes(n_processes, module=score_state.__module__)
    if stack.trials[0].model.kind != "vae":
        return (yield from _kind_events(stack, device=device, n_processes=n_processes))
    trainings = stack.trainings
    leads = [trials[0] for trials in trainings]
    tables: Tables = {}
    started = time.perf_counter()
    counting_s = 0.0
    stopped: str | None = None
    steps = train_checkpoints(
        np.stack([data_set_of(trial).training for trial in leads]),
        [member_of(trial) for trial in leads],
        model=leads[0].model,
        training=leads[0].training,
        device=device,
    )
    while True:
        try:
            checkpoint, fitted = steps.send(True if stopped else None)
        except StopIteration as stop:
            trained: TrainedStack = stop.value
            break
        yield _report(checkpoint, leads[0])
        counted_at = time.perf_counter()
        _count_checkpoint(stack, checkpoint, fitted, tables, n_processes)
        stopped = _stop_at_rung(stack, checkpoint, fitted, tables, n_processes)
        counting_s += time.perf_counter() - counted_at
    train_s = (time.perf_counter() - started - counting_s) / len(trainings)
    models = [
        _Trained(
            trials=trials,
            ending=tuple(_status(trial, trained, index, stopped) for trial in trials),
            columns=_training_columns(trained, index),
            curves=partial(curve_rows, trained=trained, index=index),
            state=partial(trained.fitted.state, index),
            train_s=train_s,
        )
        for index, trials in enumerate(trainings)
    ]
    rows = yield from _measure_events(stack, models, device=device, n_processes=n_processes)
    append_tables(tables, rows)
    return tables


def _kind_events(
    stack: Stack, *, device: str, n_processes: int
) -> Generator[Report, None, Tables]:
    """Train and measure a stack of generators that have no engine of their own."""
    models = []
    for trials in stack.trainings:
        started = time.perf_counter()
        done = yield from fit_events(trials[0])
        models.append(
            _Trained(
                trials=trials,
                ending=((done.status, done.message),) * len(trials),
                columns={},
                curves=done.curve_rows,
                state=partial(getattr, done, "state"),
                train_s=time.perf_counter() - started,
            )
        )
    return (yield from _measure_events(stack, models, device=device, n_processes=n_processes))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    """One training that ended: its trials, how it ended for each, and what it leaves."""

    trials: tuple[Trial, ...]
    ending: tuple[tuple[str, str | None], ...]
    columns: Row
    curves: Callable[[Trial], list[Row]]
    state: Callable[[], State]
    train_s: float


def _measure_events(
    stack: Stack, models: Sequence[_Trained], *, device: str, n_processes: int
) -> Generator[Report, None, Tables]:
    """Measure the models of a stack that trained to the end, and make all its rows."""
    pairs = [
        (model, trial, status, message)
        for model in models
        for trial, (status, message) in zip(model.trials, model.ending, strict=True)
    ]
    measured = map_in_processes(
        score_state,
        ((trial, model.state()) for model, trial, status, _ in pairs if status == "done"),
        n_processes=n_processes,
        lost=lost_rows,
    )
    tables: Tables = {}
    with_weights: set[str] = set()
    for n_counted, (model, trial, status, message) in enumerate(pairs):
        yield {"phase": "counting", "n_counted": n_counted, "done": False}
        scored = next(measured) if status == "done" else {"trials": [trial_row(trial)]}
        (row,) = scored["trials"]
        if row.get("status") != "failed":
            row |= model.columns | {"status": status}
            row["message"] = message or row.get("message")
            row.setdefault("finished_at", timestamp())
            scored["curves"] = model.curves(trial)
            # Weights of a training that did not end well would hide those of one that did.
            if status == "done" and trial.training_id not in with_weights:
                with_weights.add(trial.training_id)
                scored["weights"] = weight_rows(model.state(), trial.training_id)
        row |= {"stack_id": stack.stack_id, "train_s": model.train_s, "device": device}
        append_tables(tables, scored)
    return tables


def _report(checkpoint: Checkpoint, lead: Trial) -> Report:
    losses = checkpoint.recon + lead.training.kl_weight * checkpoint.kl_nats
    finite = losses[np.isfinite(losses)]
    return {
        "phase": "training",
        "epoch": checkpoint.epoch,
        "n_epochs": lead.training.epochs,
        "loss": float(finite.mean()) if finite.size else None,
        "done": False,
    }


def _states(
    stack: Stack, checkpoint: Checkpoint, fitted: FittedVAE
) -> Iterator[tuple[int, Trial, State | None]]:
    """List trials with the place and the state of their model; None if it has diverged."""
    for index, trials in enumerate(stack.trainings):
        state = fitted.state(index) if np.isfinite(checkpoint.recon[index]) else None
        for trial in trials:
            yield index, trial, state


def _count_checkpoint(
    stack: Stack,
    checkpoint: Checkpoint,
    fitted: FittedVAE,
    tables: Tables,
    n_processes: int,
) -> None:
    """Count means and samples while training, if asked; the last epoch is counted later."""
    lead = stack.trials[0]
    if not lead.detection.at_checkpoints or checkpoint.epoch == lead.training.epochs:
        return
    arguments = (
        (trial, state, checkpoint.epoch)
        for _, trial, state in _states(stack, checkpoint, fitted)
        if state is not None
    )
    for rows in map_in_processes(count_generated, arguments, n_processes=n_processes):
        append_tables(tables, {"counts": rows})


def _stop_at_rung(
    stack: Stack,
    checkpoint: Checkpoint,
    fitted: FittedVAE,
    tables: Tables,
    n_processes: int,
) -> str | None:
    """Measure the objective if this is a rung; say why the stack stops here, None to go on."""
    halving = stack.halving
    rung = None if halving is None else halving.at(checkpoint.epoch)
    if halving is None or rung is None:
        return None
    models = list(_states(stack, checkpoint, fitted))
    columns = halving.objective.columns
    measured = map_in_processes(
        measure_brief,
        ((trial, state, columns) for _, trial, state in models if state is not None),
        n_processes=n_processes,
    )
    values: list[float | None] = []
    for index, trial, state in models:
        value, measure_s = None, 0.0
        if state is not None:
            row, measure_s = next(measured)
            row |= {
                "train_recon": checkpoint.recon[index],
                "train_kl_nats": checkpoint.kl_nats[index],
                "active_units": checkpoint.active_units[index],
            }
            value = halving.objective.evaluate(row)
        values.append(value)
        rung_row = {
            "trial_id": trial.trial_id,
            "epoch": rung.epoch,
            "objective": halving.objective.expression,
            "value": value,
            "measure_s": measure_s,
        }
        append_tables(tables, {"rungs": [rung_row]})
    n_epochs = stack.trials[0].training.epochs
    return halving.reason(rung, mean_value(values), n_epochs=n_epochs)


def _training_columns(trained: TrainedStack, index: int) -> Row:
    """Return how a model's training ended."""
    return {
        "train_recon": trained.train_recon[index, trained.n_epochs_done - 1],
        "train_kl_nats": trained.train_kl_nats[index, trained.n_epochs_done - 1],
        # A training that diverges before its first checkpoint has none.
        "active_units": (
            int(trained.checkpoints[-1].active_units[index]) if trained.checkpoints else None
        ),
    }


def _status(
    trial: Trial, trained: TrainedStack, index: int, stopped: str | None
) -> tuple[str, str | None]:
    diverged = int(trained.diverged_epoch[index])
    if diverged:
        return "diverged", f"NaN or infinity in epoch {diverged} of {trial.training.epochs}"
    if stopped:
        return "stopped", stopped
    if trained.timed_out:
        limit = trial.training.timeout_min
        done = f"{trained.n_epochs_done} of {trial.training.epochs} epochs"
        return "timeout", f"passed training.timeout_min = {limit} after {done}"
    return "done", None


def run_controls(batch: ControlBatch) -> Tables:
    """Count the controls of a batch: fresh draws of the truth.

    With the original's own training points the control is those points: the report's claim is
    about them.

    Parameters
    ----------
    batch : ControlBatch

    Returns
    -------
    dict of str to list of dict
        Rows of `controls`, `counts` and `nulls`.
    """
    tables: Tables = {}
    for control in batch.controls:
        append_tables(tables, _count_control(control))
    return tables


def _count_control(control: Control) -> Tables:
    started = time.perf_counter()
    detection = control.detection
    data = draw_data_set(control.mixture, control.data_seed, detection.n_samples)
    original = control.mixture.training_points == "original"
    points = data.training if original else data.control
    row = control_row(control)
    curves: list[Row] = []
    possible = count_possible(points, detection)
    for protocol, count in possible.found.items():
        row |= count_summary("data", protocol, count, data.truth.n_modes)
        curves += count_rows(control.control_id, "data", protocol, epoch=0, count=count)
        if protocol == REFERENCE_PROTOCOL:
            if data.truth.groups is None:
                row["control_gap"] = control_gap(points, data.truth, count)
            row["n_repairs"] = count.n_repairs
            row |= count_readings("data", count, len(points))
    chosen = possible.found.get("calibrated") or possible.found.get("original")
    row |= fit_readings("data", chosen) if chosen is not None else {}
    why = reasons_text({("data", protocol): text for protocol, text in possible.reasons.items()})
    row |= {"status": "done", "message": why, "count_s": time.perf_counter() - started}
    owner = {"control_id": control.control_id}
    nulls = [owner | null for null in score_nulls(data, control.data_seed, detection)]
    row["finished_at"] = timestamp()
    return {"counts": curves, "controls": [row], "nulls": nulls}
