"""One stack from points to rows: the one place where the steps of a trial meet.

`run_stack` needs no Ray and no files: call it in a debugger or a notebook. `stack_events` is the
same work as a generator, which pauses at every checkpoint of the training.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from study.config import DetectionConfig, MixtureConfig, Protocol, Source
from study.coverage import PointScores, score_bounds, score_likelihood, score_points
from study.fitted import FittedVAE, Member
from study.generate import (
    draw_means,
    draw_samples,
    encode_points,
    heldout_losses,
    importance_log_prob,
)
from study.grid import Control, ControlBatch, Stack, Trial, Unit, config_columns
from study.mixture import TrueMixture, draw_mixture, draw_training_points
from study.modes import ModeCount, control_gap, detect_modes, modal_em
from study.results import count_columns, provenance, timestamp
from study.seeds import numpy_generator
from study.train import Checkpoint, TrainedStack, train_checkpoints

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Report = dict[str, Any]
FloatArray = np.ndarray

GALLERY_POINTS = 1_000
GALLERY_AXES = 4
# Held-out points of the likelihood: enough for a standard error of 0.03 nats.
LIKELIHOOD_POINTS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """What the data seed decides: the truth and the point sets drawn from it.

    Parameters
    ----------
    truth : TrueMixture
    training : ndarray of shape (n_samples, dim)
    heldout, control : ndarray of shape (detection n_samples, dim)
        Two more draws of the truth, one for losses and codes, one to compare samples with.
    """

    truth: TrueMixture
    training: FloatArray
    heldout: FloatArray
    control: FloatArray


@lru_cache(maxsize=32)
def draw_data_set(mixture: MixtureConfig, data_seed: int, n_heldout: int) -> DataSet:
    """Draw everything that a data seed decides.

    Parameters
    ----------
    mixture : MixtureConfig
    data_seed : int
    n_heldout : int
        Size of the held-out and the control draw.

    Returns
    -------
    DataSet
        Shared between callers: do not write into its arrays.
    """
    truth = draw_mixture(mixture, data_seed)
    training, _ = draw_training_points(mixture, truth, data_seed)
    heldout, _ = truth.sample(n_heldout, numpy_generator("heldout", data_seed))
    control, _ = truth.sample(n_heldout, numpy_generator("control", data_seed))
    return DataSet(truth=truth, training=training, heldout=heldout, control=control)


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
        `phase`, `epoch`, `n_epochs`, `loss` (mean over the models that have not diverged), `done`.

    Returns
    -------
    dict of str to list of dict
        Rows by table.
    """
    trainings = stack.trainings
    leads = [trials[0] for trials in trainings]
    data_sets = [_data_set(trial) for trial in leads]
    tables: Tables = {}
    started = time.perf_counter()
    counting_s = 0.0
    steps = train_checkpoints(
        np.stack([data.training for data in data_sets]),
        [_member(trial) for trial in leads],
        model=leads[0].model,
        training=leads[0].training,
        device=device,
    )
    while True:
        try:
            checkpoint, fitted = next(steps)
        except StopIteration as stop:
            trained: TrainedStack = stop.value
            break
        yield _report(checkpoint, leads[0])
        counted_at = time.perf_counter()
        _count_checkpoint(stack, checkpoint, fitted, tables)
        counting_s += time.perf_counter() - counted_at
    train_s = (time.perf_counter() - started - counting_s) / len(trainings)
    for index, trials in enumerate(trainings):
        _append(tables, "weights", _weight_rows(trained.fitted, index, trials[0].training_id))
        for trial in trials:
            yield {"phase": f"counting {index + 1} of {len(trainings)}", "done": False}
            rows = _score_trial(trial, trained, index, data_sets[index])
            rows["trials"][0] |= {"stack_id": stack.stack_id, "train_s": train_s}
            for name, added in rows.items():
                _append(tables, name, added)
    for row in tables["trials"]:
        row["device"] = device
    return tables


def _data_set(trial: Trial) -> DataSet:
    return draw_data_set(trial.mixture, trial.data_seed, trial.detection.n_samples)


def _member(trial: Trial) -> Member:
    return Member(
        data_seed=trial.data_seed,
        init_seed=trial.init_seed,
        kl_weight=trial.training.kl_weight,
        learning_rate=trial.training.learning_rate,
        standardize=trial.training.standardize,
    )


def _append(tables: Tables, name: str, rows: Sequence[Row]) -> None:
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
                    for protocol, count in _count(points, trial.detection).items():
                        rows = _count_rows(trial.trial_id, source, protocol, count)
                        _append(tables, "counts", [{**r, "epoch": checkpoint.epoch} for r in rows])


def _generated(trial: Trial, fitted: FittedVAE, index: int) -> dict[Source, FloatArray]:
    """Draw decoder means and samples of one model; the samples are those means with noise."""
    n_samples, seed = trial.detection.n_samples, trial.sample_seed
    means = draw_means(fitted, index, n_samples=n_samples, sample_seed=seed)
    return {"means": means, "samples": draw_samples(fitted, index, means, sample_seed=seed)}


def _count(points: FloatArray, detection: DetectionConfig) -> dict[Protocol, ModeCount]:
    return {
        protocol: detect_modes(
            points,
            protocol=protocol,
            k_min=detection.k_min,
            k_max=detection.k_max,
            restarts=detection.restarts,
            seed=detection.seed,
        )
        for protocol in detection.protocols
    }


def _score_trial(trial: Trial, trained: TrainedStack, index: int, data: DataSet) -> Tables:
    """Make every row of one trial from a trained stack."""
    row = {
        "trial_id": trial.trial_id,
        "training_id": trial.training_id,
        "data_id": trial.data_id,
        "control_id": trial.control_id,
        "cell": trial.cell,
        **config_columns(trial),
        "train_recon": trained.train_recon[index, trained.n_epochs_done - 1],
        "train_kl_nats": trained.train_kl_nats[index, trained.n_epochs_done - 1],
        "active_units": int(trained.checkpoints[-1].active_units[index]),
        **provenance(),
    }
    curves = _curve_rows(trial, trained, index)
    status, message = _status(trial, trained, index)
    row |= {"status": status, "message": message, "finished_at": timestamp()}
    if status != "done":
        return {"trials": [row], "curves": curves}
    scored = _measure(trial, trained.fitted, index, data)
    row |= scored.columns
    row["finished_at"] = timestamp()
    return {"trials": [row], "curves": curves, **scored.tables}


def _status(trial: Trial, trained: TrainedStack, index: int) -> tuple[str, str | None]:
    diverged = int(trained.diverged_epoch[index])
    if diverged:
        return "diverged", f"NaN or infinity in epoch {diverged} of {trial.training.epochs}"
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
    count_rows: list[Row] = []
    counts: dict[tuple[Source, Protocol], ModeCount] = {}
    for source, points in sets.items():
        if source not in trial.detection.sources:
            continue
        for protocol, count in _count(points, trial.detection).items():
            counts[source, protocol] = count
            columns |= _count_columns(source, protocol, count, data.truth.n_components)
            rows = _count_rows(trial.trial_id, source, protocol, count)
            count_rows += [{**row, "epoch": trial.training.epochs} for row in rows]
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
    tables = {"counts": count_rows, **_score_tables(trial, scores)}
    if trial.gallery:
        tables["points"] = _gallery_rows(trial, sets, data)
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
        "recon": recon,
        "kl_nats": kl_nats,
        "loss": loss,
        "decoder_variance": float(fitted.decoder_variance[index]),
    }


def _count_columns(source: Source, protocol: Protocol, count: ModeCount, n_components: int) -> Row:
    names = count_columns(source, protocol)
    return dict(zip(names, (count.k, count.k / n_components, count.at_ceiling), strict=True))


def _count_rows(
    owner_id: str, source: Source, protocol: Protocol, count: ModeCount
) -> Iterator[Row]:
    """Yield the whole curve, one row a k."""
    columns = (count.ks, count.log_likelihood, count.bic, count.icl, count.converged)
    for k, log_likelihood, bic, icl, converged in zip(*columns, strict=True):
        yield {
            "owner_id": owner_id,
            "source": source,
            "protocol": protocol,
            "k": int(k),
            "log_likelihood": log_likelihood,
            "bic": bic,
            "icl": icl,
            "converged": bool(converged),
            "selected": int(k) == count.k,
            "at_ceiling": count.at_ceiling,
        }


def _curve_rows(trial: Trial, trained: TrainedStack, index: int) -> list[Row]:
    marks = {checkpoint.epoch: checkpoint for checkpoint in trained.checkpoints}
    rows = []
    for epoch in range(1, trained.n_epochs_done + 1):
        recon = trained.train_recon[index, epoch - 1]
        kl_nats = trained.train_kl_nats[index, epoch - 1]
        row: Row = {
            "trial_id": trial.trial_id,
            "epoch": epoch,
            "recon": recon,
            "kl_nats": kl_nats,
            "loss": recon + trial.training.kl_weight * kl_nats,
        }
        if epoch in marks:
            row["active_units"] = int(marks[epoch].active_units[index])
            row["kl_per_latent"] = marks[epoch].kl_per_latent[index].tolist()
        rows.append(row)
    return rows


def _gallery_rows(trial: Trial, sets: Mapping[Source, FloatArray], data: DataSet) -> list[Row]:
    rows: list[Row] = []
    for source, points in sets.items():
        few = points[:GALLERY_POINTS]
        # A code is coloured by the component of the point that was encoded.
        located = data.heldout[:GALLERY_POINTS] if source == "codes" else few
        component = data.truth.posterior(located).argmax(axis=1)
        axes = {f"x{axis}": few[:, axis] for axis in range(min(few.shape[1], GALLERY_AXES))}
        for i in range(len(few)):
            rows.append(
                {
                    "trial_id": trial.trial_id,
                    "source": source,
                    "index": i,
                    "component": int(component[i]),
                    **{name: float(values[i]) for name, values in axes.items()},
                }
            )
    return rows


def _weight_rows(fitted: FittedVAE, index: int, training_id: str) -> list[Row]:
    return [
        {
            "training_id": training_id,
            "name": name,
            "shape": list(values.shape),
            "dtype": str(values.dtype),
            "values": values.tobytes(),
        }
        for name, values in fitted.state(index).items()
    ]


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
        Rows of `controls` and `counts`.
    """
    tables: Tables = {"counts": [], "controls": []}
    for control in batch.controls:
        rows, row = _count_control(control)
        tables["counts"] += rows
        tables["controls"].append(row)
    return tables


def _count_control(control: Control) -> tuple[list[Row], Row]:
    started = time.perf_counter()
    detection = control.detection
    data = draw_data_set(control.mixture, control.data_seed, detection.n_samples)
    original = control.mixture.training_points == "original"
    points = data.training if original else data.control
    row = _control_row(control)
    count_rows: list[Row] = []
    for protocol, count in _count(points, detection).items():
        row |= _count_columns("data", protocol, count, data.truth.n_components)
        rows = _count_rows(control.control_id, "data", protocol, count)
        count_rows += [{**r, "epoch": 0} for r in rows]
        if protocol == "calibrated":
            row["control_gap"] = control_gap(points, data.truth, count)
            row["n_repairs"] = count.n_repairs
    row |= {"status": "done", "count_s": time.perf_counter() - started}
    return count_rows, row | {"finished_at": timestamp()}


def _control_row(control: Control) -> Row:
    return {
        "control_id": control.control_id,
        "data_id": control.data_id,
        "n_components": control.mixture.n_components,
        "data_seed": control.data_seed,
        "device": "cpu",
        **provenance(),
    }


def failed_rows(unit: Unit, message: str) -> Tables:
    """Make the rows of a unit that could not be run: no trial vanishes.

    Parameters
    ----------
    unit : Stack or ControlBatch
    message : str
        What went wrong, for a person: a traceback or a sentence.

    Returns
    -------
    dict of str to list of dict
        Rows of `trials` or `controls` with status "failed".
    """
    ending = {"status": "failed", "message": message, "finished_at": timestamp()}
    if isinstance(unit, ControlBatch):
        return {"controls": [{**_control_row(control), **ending} for control in unit.controls]}
    rows = [
        {
            "trial_id": trial.trial_id,
            "training_id": trial.training_id,
            "data_id": trial.data_id,
            "control_id": trial.control_id,
            "stack_id": unit.stack_id,
            "cell": trial.cell,
            **config_columns(trial),
            **provenance(),
            **ending,
        }
        for trial in unit.trials
    ]
    return {"trials": rows}
