"""Rows of the tables, made from what a trial computed; column names as in `study.results`."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from study.config import Source
from study.planning.units import Control, ControlBatch, Trial, Unit, config_columns
from study.results import count_columns, timestamp
from study.results.provenance import provenance

if TYPE_CHECKING:
    from study.data.data_set import DataSet
    from study.detection.modes import ModeCount
    from study.training.train import TrainedStack

Row = dict[str, Any]
Tables = dict[str, list[Row]]

GALLERY_POINTS = 1_000
GALLERY_AXES = 4
MAX_MESSAGE_CHARS = 4_000


def current_error() -> str:
    """Return the end of the traceback of the exception that is being handled."""
    return traceback.format_exc()[-MAX_MESSAGE_CHARS:]


def append_tables(tables: Tables, more: Tables) -> None:
    """Add rows to those of the same tables."""
    for name, rows in more.items():
        tables.setdefault(name, []).extend(rows)


def trial_row(trial: Trial) -> Row:
    """Start a row of `trials`: ids, configuration and provenance."""
    return {
        "trial_id": trial.trial_id,
        "training_id": trial.training_id,
        "data_id": trial.data_id,
        "control_id": trial.control_id,
        "cell": trial.cell,
        **config_columns(trial),
        **provenance(),
    }


def control_row(control: Control) -> Row:
    """Start a row of `controls`: ids and provenance."""
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
        return {"controls": [control_row(control) | ending for control in unit.controls]}
    ending["stack_id"] = unit.stack_id
    return {"trials": [trial_row(trial) | ending for trial in unit.trials]}


def count_summary(source: Source, protocol: str, count: ModeCount, n_components: int) -> Row:
    """Make the columns of one count: k*, coverage and the ceiling flag."""
    names = count_columns(source, protocol)
    return dict(zip(names, (count.k, count.k / n_components, count.at_ceiling), strict=True))


def count_rows(
    owner_id: str, source: Source, protocol: str, *, epoch: int, count: ModeCount
) -> list[Row]:
    """Make the rows of `counts` of one count: the whole curve, a row a k."""
    columns = (
        count.ks,
        count.log_likelihood,
        count.bic,
        count.icl,
        count.contrast_errors,
        count.converged,
    )
    return [
        {
            "owner_id": owner_id,
            "source": source,
            "protocol": protocol,
            "epoch": epoch,
            "k": int(k),
            "log_likelihood": log_likelihood,
            "bic": bic,
            "icl": icl,
            "contrast_error": contrast_error,
            "converged": bool(converged),
            "selected": int(k) == count.k,
            "at_ceiling": count.at_ceiling,
            "family": count.family,
        }
        for k, log_likelihood, bic, icl, contrast_error, converged in zip(*columns, strict=True)
    ]


def curve_rows(trial: Trial, trained: TrainedStack, index: int) -> list[Row]:
    """Make the rows of `curves` of one model; with a learned variance the loss is not theirs."""
    marks = {checkpoint.epoch: checkpoint for checkpoint in trained.checkpoints}
    weight = trial.training.kl_weight if trial.model.decoder_variance == "implied" else None
    rows = []
    for epoch in range(1, trained.n_epochs_done + 1):
        recon = trained.train_recon[index, epoch - 1]
        kl_nats = trained.train_kl_nats[index, epoch - 1]
        row: Row = {
            "trial_id": trial.trial_id,
            "epoch": epoch,
            "recon": recon,
            "kl_nats": kl_nats,
            "loss": None if weight is None else recon + weight * kl_nats,
        }
        if epoch in marks:
            row["active_units"] = int(marks[epoch].active_units[index])
            row["kl_per_latent"] = marks[epoch].kl_per_latent[index].tolist()
        rows.append(row)
    return rows


def gallery_rows(trial: Trial, sets: Mapping[Source, np.ndarray], data: DataSet) -> list[Row]:
    """Make the rows of `points`: the first points of each source, with their true component."""
    rows: list[Row] = []
    for source, points in sets.items():
        few = points[:GALLERY_POINTS]
        # A code is coloured by the component of the point that was encoded.
        located = data.heldout[:GALLERY_POINTS] if source == "codes" else few
        component = data.truth.by_mode(data.truth.posterior(located)).argmax(axis=1)
        axes = [f"x{axis}" for axis in range(min(few.shape[1], GALLERY_AXES))]
        for i, point in enumerate(few):
            row: Row = {"trial_id": trial.trial_id, "source": source, "index": i}
            row["component"] = int(component[i])
            rows.append(row | dict(zip(axes, point.tolist(), strict=False)))
    return rows


def weight_rows(state: Mapping[str, np.ndarray], training_id: str) -> list[Row]:
    """Make the rows of `weights` of one model: packed arrays, no pickle."""
    return [
        {
            "training_id": training_id,
            "name": name,
            "shape": list(values.shape),
            "dtype": str(values.dtype),
            "values": values.tobytes(),
        }
        for name, values in state.items()
    ]
