"""One stack from points to rows: the one place where the steps of a trial meet.

`run_stack` needs no Ray and no files: call it in a debugger or a notebook. `stack_events` is the
same work as a generator, which pauses at every checkpoint of the training.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from study.config import Protocol, Source
from study.coverage import (
    LIKELIHOOD_POINTS,
    PointScores,
    score_bounds,
    score_likelihood,
    score_points,
)
from study.data_set import DataSet, draw_data_set
from study.fitted import FittedVAE, Member
from study.generate import (
    active_codes,
    draw_means,
    draw_samples,
    encode_points,
    heldout_losses,
    importance_log_prob,
)
from study.grid import Control, ControlBatch, Stack, Trial, config_columns
from study.modes import ModeCount, control_gap, count_modes, modal_em
from study.nulls import score_nulls
from study.results import timestamp
from study.rows import (
    Row,
    Tables,
    control_row,
    count_rows,
    count_summary,
    curve_rows,
    gallery_rows,
    trial_row,
    weight_rows,
)
from study.rungs import mean_value, rung_detection
from study.seeds import numpy_generator
from study.train import Checkpoint, TrainedStack, train_checkpoints

Report = dict[str, Any]
FloatArray = np.ndarray


def run_stack(stack: Stack, *, device: str = "cpu") -> Tables:
    """Train and measure a stack.

    Parameters
    ----------
    stack : Stack
    device : str
        A torch device.

    Returns
    -------
    dict of str to list of dict
        Rows by table, as in `study.results.SCHEMAS`.

    Raises
    ------
    ValueError
        The stack's configuration cannot be trained or measured.
    """
    events = stack_events(stack, device=device)
    while True:
        try:
            next(events)
        except StopIteration as stop:
            return stop.value


def stack_events(stack: Stack, *, device: str = "cpu") -> Generator[Report, None, Tables]:
    """Train and measure a stack, pausing with a report at every checkpoint.

    Parameters
    ----------
    stack, device
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
    trainings = stack.trainings
    leads = [trials[0] for trials in trainings]
    tables: Tables = {}
    started = time.perf_counter()
    counting_s = 0.0
    stopped: str | None = None
    steps = train_checkpoints(
        np.stack([_data_set(trial).training for trial in leads]),
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
        _count_checkpoint(stack, checkpoint, fitted, tables)
        stopped = _stop_at_rung(stack, checkpoint, fitted, tables)
        counting_s += time.perf_counter() - counted_at
    train_s = (time.perf_counter() - started - counting_s) / len(trainings)
    n_counted = 0
    for index, trials in enumerate(trainings):
        # Weights of a training that did not end well would hide those of one that did.
        if _status(trials[0], trained, index, stopped)[0] == "done":
            append_rows(
                tables, "weights", weight_rows(trained.fitted, index, trials[0].training_id)
            )
        for trial in trials:
            yield {"phase": "counting", "n_counted": n_counted, "done": False}
            n_counted += 1
            scored = _score_trial(trial, trained, index, stopped)
            scored["trials"][0] |= {"stack_id": stack.stack_id, "train_s": train_s}
            for name, added in scored.items():
                append_rows(tables, name, added)
    for row in tables["trials"]:
        row["device"] = device
    return tables


def _data_set(trial: Trial) -> DataSet:
    return draw_data_set(trial.mixture, trial.data_seed, trial.detection.n_samples)


def member_of(trial: Trial) -> Member:
    """Say what of a trial belongs to its model of a stack."""
    return Member(
        data_seed=trial.data_seed,
        init_seed=trial.init_seed,
        kl_weight=trial.training.kl_weight,
        learning_rate=trial.training.learning_rate,
        standardize=trial.training.standardize,
    )


def append_rows(tables: Tables, name: str, rows: Sequence[Row]) -> None:
    """Add rows to one of several tables."""
    tables.setdefault(name, []).extend(rows)


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


def _count_checkpoint(
    stack: Stack, checkpoint: Checkpoint, fitted: FittedVAE, tables: Tables
) -> None:
    """Count means and samples while training, if asked; the last epoch is counted later."""
    lead = stack.trials[0]
    if not lead.detection.at_checkpoints or checkpoint.epoch == lead.training.epochs:
        return
    for index, trials in enumerate(stack.trainings):
        if not np.isfinite(checkpoint.recon[index]):
            continue
        for trial in trials:
            sets = _generated(trial, fitted, index)
            for source, points in sets.items():
                if source in trial.detection.sources:
                    for protocol, count in count_modes(points, trial.detection).items():
                        owner = (trial.trial_id, source, protocol)
                        rows = count_rows(*owner, epoch=checkpoint.epoch, count=count)
                        append_rows(tables, "counts", rows)


def _stop_at_rung(
    stack: Stack, checkpoint: Checkpoint, fitted: FittedVAE, tables: Tables
) -> str | None:
    """Measure the objective if this is a rung; say why the stack stops here, None to go on."""
    halving = stack.halving
    rung = None if halving is None else halving.at(checkpoint.epoch)
    if halving is None or rung is None:
        return None
    values: list[float | None] = []
    for index, trials in enumerate(stack.trainings):
        for trial in trials:
            started = time.perf_counter()
            row = _rung_row(trial, checkpoint, fitted, index, halving.objective.columns)
            values.append(None if row is None else halving.objective.evaluate(row))
            found = {
                "trial_id": trial.trial_id,
                "epoch": rung.epoch,
                "objective": halving.objective.expression,
                "value": values[-1],
                "measure_s": time.perf_counter() - started,
            }
            append_rows(tables, "rungs", [found])
    n_epochs = stack.trials[0].training.epochs
    return halving.reason(rung, mean_value(values), n_epochs=n_epochs)


def _rung_row(
    trial: Trial, checkpoint: Checkpoint, fitted: FittedVAE, index: int, columns: Sequence[str]
) -> Row | None:
    """Measure what an objective needs of a model in training; None if it has diverged."""
    if not np.isfinite(checkpoint.recon[index]):
        return None
    brief = replace(trial, detection=rung_detection(trial.detection, columns), gallery=False)
    return {
        **config_columns(trial),
        **_measure(brief, fitted, index, _data_set(trial)).columns,
        "train_recon": checkpoint.recon[index],
        "train_kl_nats": checkpoint.kl_nats[index],
        "active_units": checkpoint.active_units[index],
    }


def _generated(trial: Trial, fitted: FittedVAE, index: int) -> dict[Source, FloatArray]:
    """Draw decoder means and samples of one model; the samples are those means with noise."""
    n_samples, seed = trial.detection.n_samples, trial.sample_seed
    means = draw_means(fitted, index, n_samples=n_samples, sample_seed=seed)
    return {"means": means, "samples": draw_samples(fitted, index, means, sample_seed=seed)}


def _score_trial(trial: Trial, trained: TrainedStack, index: int, stopped: str | None) -> Tables:
    """Make every row of one trial from a trained stack."""
    status, message = _status(trial, trained, index, stopped)
    training = {
        "train_recon": trained.train_recon[index, trained.n_epochs_done - 1],
        "train_kl_nats": trained.train_kl_nats[index, trained.n_epochs_done - 1],
        # A training that diverges before its first checkpoint has none.
        "active_units": (
            int(trained.checkpoints[-1].active_units[index]) if trained.checkpoints else None
        ),
        "status": status,
        "message": message,
    }
    curves = curve_rows(trial, trained, index)
    if status != "done":
        row = trial_row(trial) | training | {"finished_at": timestamp()}
        return {"trials": [row], "curves": curves}
    scored = score_fitted(trial, trained.fitted, index)
    scored["trials"][0] |= training
    return {**scored, "curves": curves}


def score_fitted(trial: Trial, fitted: FittedVAE, index: int) -> Tables:
    """Measure one trained model.

    Parameters
    ----------
    trial : Trial
    fitted : FittedVAE
    index : int
        Position in the stack.

    Returns
    -------
    dict of str to list of dict
        Rows by table, without what the training itself records.
    """
    scored = _measure(trial, fitted, index, _data_set(trial))
    row = trial_row(trial) | scored.columns | {"finished_at": timestamp()}
    return {"trials": [row], **scored.tables}


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


@dataclass(frozen=True, slots=True)
class _Measured:
    columns: Row
    tables: Tables


def _measure(trial: Trial, fitted: FittedVAE, index: int, data: DataSet) -> _Measured:
    started = time.perf_counter()
    sets: dict[Source, FloatArray] = _generated(trial, fitted, index)
    sets["codes"] = encode_points(fitted, index, data.heldout)
    columns: Row = {}
    curves: list[Row] = []
    counts: dict[tuple[Source, Protocol], ModeCount] = {}
    for source, points in sets.items():
        if source not in trial.detection.sources:
            continue
        counted_points = active_codes(points) if source == "codes" else points
        for protocol, count in count_modes(counted_points, trial.detection).items():
            counts[source, protocol] = count
            columns |= count_summary(source, protocol, count, data.truth.n_components)
            owner = (trial.trial_id, source, protocol)
            curves += count_rows(*owner, epoch=trial.training.epochs, count=count)
    counted = time.perf_counter()
    chosen = counts.get(("samples", "calibrated")) or counts.get(("samples", "original"))
    scores = score_points(
        sets["samples"],
        truth=data.truth,
        control=data.control,
        rng=numpy_generator("classifier", trial.data_seed, trial.init_seed, trial.sample_seed),
        means=sets["means"],
        fitted=chosen.fitted if chosen is not None else None,
    )
    columns |= scores.columns | _likelihood_columns(trial, fitted, index, data)
    if chosen is not None:
        columns["modal_modes_samples"] = len(modal_em(chosen.fitted))
        columns["icl_k_samples"] = int(chosen.ks[chosen.icl.argmin()])
    columns["count_s"] = counted - started
    columns["endpoints_s"] = time.perf_counter() - counted
    sets["data"] = data.heldout
    tables = {"counts": curves, **_score_tables(trial, scores)}
    if trial.gallery:
        tables["points"] = gallery_rows(trial, sets, data)
    return _Measured(columns, tables)


def _score_tables(trial: Trial, scores: PointScores) -> Tables:
    owner = {"trial_id": trial.trial_id}
    return {
        "components": [{**owner, **row} for row in scores.components],
        "recall": [{**owner, **row} for row in scores.recall],
    }


def _likelihood_columns(trial: Trial, fitted: FittedVAE, index: int, data: DataSet) -> Row:
    recon, kl_nats, loss = heldout_losses(fitted, index, data.heldout)
    few = data.heldout[:LIKELIHOOD_POINTS]
    likelihood = score_likelihood(
        data.truth, few, model_log_prob=importance_log_prob(fitted, index, few)
    )
    # Floor and rate bound hold for the same points that the losses are averaged over.
    entropy = score_likelihood(data.truth, data.heldout)["entropy_nats"]
    bounds = score_bounds(
        recon,
        entropy_nats=entropy,
        kl_weight=trial.training.kl_weight,
        dim=trial.mixture.dim,
        decoder_variance=trial.model.decoder_variance,
        scale=fitted.scale[index],
    )
    return {
        **likelihood,
        **bounds,
        "entropy_nats": entropy,
        "eigenvalues": np.linalg.eigvalsh(data.truth.covariance())[::-1].tolist(),
        "recon": recon,
        "kl_nats": kl_nats,
        "loss": loss,
        "decoder_variance": float(fitted.decoder_variance[index]),
    }


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
        for name, rows in _count_control(control).items():
            append_rows(tables, name, rows)
    return tables


def _count_control(control: Control) -> Tables:
    started = time.perf_counter()
    detection = control.detection
    data = draw_data_set(control.mixture, control.data_seed, detection.n_samples)
    original = control.mixture.training_points == "original"
    points = data.training if original else data.control
    row = control_row(control)
    curves: list[Row] = []
    for protocol, count in count_modes(points, detection).items():
        row |= count_summary("data", protocol, count, data.truth.n_components)
        curves += count_rows(control.control_id, "data", protocol, epoch=0, count=count)
        if protocol == "calibrated":
            row["control_gap"] = control_gap(points, data.truth, count)
            row["n_repairs"] = count.n_repairs
    row |= {"status": "done", "count_s": time.perf_counter() - started}
    owner = {"control_id": control.control_id}
    nulls = [owner | null for null in score_nulls(data, control.data_seed, detection)]
    row["finished_at"] = timestamp()
    return {"counts": curves, "controls": [row], "nulls": nulls}
