"""What one trained model is worth: its counts and endpoints as rows.

A model comes as its state (`study.trial.models`) and is measured on a CPU, wherever it was
trained: a state can be sent to another process, and gives the same numbers there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from study.config import Source
from study.config.early_stopping import rung_detection
from study.data.data_set import DataSet, draw_data_set
from study.data.seeds import numpy_generator
from study.detection.counting import count_possible, reasons_text
from study.detection.modes import ModeCount
from study.detection.seed_gap import seed_gap
from study.endpoints.further import Generated, compute_endpoints
from study.endpoints.scores import (
    LIKELIHOOD_POINTS,
    PointScores,
    score_likelihood,
    score_points,
)
from study.planning.units import Stack, Trial, config_columns
from study.results import GAP_COLUMNS, reference_protocol, timestamp
from study.training.device import is_out_of_memory
from study.training.generate import active_codes
from study.trial.models import Model, State, load_model
from study.trial.readings import count_readings, fit_readings
from study.trial.rows import (
    Row,
    Tables,
    count_rows,
    count_summary,
    current_error,
    failed_rows,
    gallery_rows,
    trial_row,
)


def data_set_of(trial: Trial) -> DataSet:
    """Draw a trial's points."""
    return draw_data_set(trial.mixture, trial.data_seed, trial.detection.n_samples)


def score_state(trial: Trial, state: State) -> Tables:
    """Measure one trained model; if that fails, its row says why.

    Parameters
    ----------
    trial : Trial
    state : mapping of str to ndarray
        Of the trained model.

    Returns
    -------
    dict of str to list of dict
        Rows by table, without what the training itself records.

    Raises
    ------
    MemoryError, torch.OutOfMemoryError
        There may be room when less is in memory.
    """
    try:
        measured = _measure(trial, load_model(trial, state))
        row = trial_row(trial) | measured.columns | {"finished_at": timestamp()}
        return {"trials": [row], **measured.tables}
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return failed_rows(Stack(trials=(trial,)), current_error())


def lost_rows(trial: Trial, *_: object) -> Tables:
    """Make the row of a trial whose measuring ended its process twice."""
    message = "a process that measured it was killed twice, probably because memory ran out"
    return failed_rows(Stack(trials=(trial,)), message)


def measure_brief(trial: Trial, state: State, columns: Sequence[str]) -> tuple[Row, float]:
    """Measure what an objective needs of a model in training.

    Parameters
    ----------
    trial : Trial
    state : mapping of str to ndarray
        Of the model as it is.
    columns : sequence of str
        Of the trials table.

    Returns
    -------
    dict
        Those columns, and some more.
    float
        Seconds that it took.
    """
    started = time.perf_counter()
    brief = replace(trial, detection=rung_detection(trial.detection, columns), gallery=False)
    measured = _measure(brief, load_model(trial, state))
    row = {**config_columns(trial), **measured.columns}
    return row, time.perf_counter() - started


def count_generated(trial: Trial, state: State, epoch: int) -> list[Row]:
    """Count the modes of what a model in training generates.

    Parameters
    ----------
    trial : Trial
    state : mapping of str to ndarray
        Of the model as it is.
    epoch : int

    Returns
    -------
    list of dict
        Rows of `counts`.
    """
    counted: list[Row] = []
    for source, points in load_model(trial, state).generated().items():
        if source in trial.detection.sources:
            for protocol, count in count_possible(points, trial.detection).found.items():
                owner = (trial.trial_id, source, protocol)
                counted += count_rows(*owner, epoch=epoch, count=count)
    return counted


@dataclass(frozen=True, slots=True)
class _Measured:
    columns: Row
    tables: Tables


def _measure(trial: Trial, model: Model) -> _Measured:
    data = data_set_of(trial)
    started = time.perf_counter()
    sets = model.generated()
    codes = model.codes(data.heldout)
    if codes is not None:
        sets["codes"] = codes
    columns: Row = {}
    curves: list[Row] = []
    counts: dict[tuple[Source, str], ModeCount] = {}
    reasons: dict[tuple[Source, str], str] = {}
    for source, points in sets.items():
        if source not in trial.detection.sources:
            continue
        counted_points = active_codes(points) if source == "codes" else points
        possible = count_possible(counted_points, trial.detection)
        reasons |= {(source, protocol): why for protocol, why in possible.reasons.items()}
        for protocol, count in possible.found.items():
            counts[source, protocol] = count
            columns |= count_summary(source, protocol, count, data.truth.n_modes)
            owner = (trial.trial_id, source, protocol)
            curves += count_rows(*owner, epoch=trial.training.epochs, count=count)
            if protocol == "calibrated":
                columns |= count_readings(source, count, len(counted_points))
    if ("samples", "calibrated") in counts:
        again = seed_gap(sets["samples"], counts["samples", "calibrated"], trial.detection)
        if again is not None:
            columns |= dict(zip(GAP_COLUMNS, again, strict=True))
    counted = time.perf_counter()
    of_samples = {name: count for (source, name), count in counts.items() if source == "samples"}
    chosen = of_samples[reference_protocol(of_samples)] if of_samples else None
    scores = score_points(
        sets["samples"],
        truth=data.truth,
        control=data.control,
        rng=numpy_generator("classifier", trial.data_seed, trial.init_seed, trial.sample_seed),
        means=sets.get("means"),
        fitted=chosen.fitted if chosen is not None else None,
    )
    columns |= scores.columns | _likelihood_columns(model, data)
    columns["message"] = reasons_text(reasons)
    columns |= compute_endpoints(
        Generated(
            samples=sets["samples"],
            means=sets.get("means"),
            control=data.control,
            truth=data.truth,
            log_prob=lambda points: model.density(points)[0],
            rng=numpy_generator("endpoint", trial.data_seed, trial.init_seed, trial.sample_seed),
        )
    )
    if chosen is not None:
        columns |= fit_readings("samples", chosen)
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
        "outside": [{**owner, **row} for row in scores.outside],
    }


def _likelihood_columns(model: Model, data: DataSet) -> Row:
    few = data.heldout[:LIKELIHOOD_POINTS]
    log_prob, certainty = model.density(few)
    likelihood = score_likelihood(data.truth, few, model_log_prob=log_prob)
    entropy = score_likelihood(data.truth, data.heldout)["entropy_nats"]
    return {
        **likelihood,
        **certainty,
        "entropy_nats": entropy,
        "eigenvalues": np.linalg.eigvalsh(data.truth.covariance())[::-1].tolist(),
        **model.columns(data.heldout, entropy),
    }
