"""Measure trials from stored weights: what `study.trial` does, without its training."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import numpy as np

from study.fitted import load_fitted
from study.grid import Stack, Trial
from study.rows import Tables, weight_rows
from study.stored import load_states
from study.trial import Report, append_rows, member_of, score_fitted, stack_events

State = Mapping[str, np.ndarray]


def rescore_events(stack: Stack, *, device: str = "cpu") -> Generator[Report, None, Tables]:
    """Measure a stack whose weights are stored, pausing with a report before every trial.

    A training whose weights turn out to be damaged or missing is trained again.

    Parameters
    ----------
    stack : Stack
        With `stored`.
    device : str
        A torch device.

    Yields
    ------
    dict
        As `study.trial.stack_events`.

    Returns
    -------
    dict of str to list of dict
        Rows by table, to the bit those of training and measuring in one go; without `curves`,
        which are carried over as they are (`study.stored.carry_rows`).
    """
    states = load_states(stack.stored)
    tables: Tables = {}
    n_counted = 0
    for trials in stack.trainings:
        state = states.get(trials[0].training_id)
        if state is None or not _fits(trials[0], state):
            rows = yield from stack_events(Stack(trials=trials), device=device)
            _add(tables, rows)
            n_counted += len(trials)
            continue
        for trial in trials:
            yield {"phase": "counting", "n_counted": n_counted, "done": False}
            n_counted += 1
            _add(tables, _rescore(stack, trial, state, device=device))
    for row in tables["trials"]:
        row |= {"stack_id": stack.stack_id, "device": device}
    return tables


def _rescore(stack: Stack, trial: Trial, state: State, *, device: str) -> Tables:
    fitted = load_fitted(trial.model, [member_of(trial)], [state], device)
    tables = score_fitted(trial, fitted, 0)
    stored = next(item for item in stack.stored if item.training_id == trial.training_id)
    tables["trials"][0] |= stored.columns
    if stored.copied:
        tables["weights"] = weight_rows(fitted, 0, trial.training_id)
    return tables


def _fits(trial: Trial, state: State) -> bool:
    """Whether a state is whole and of the trial's shape."""
    try:
        load_fitted(trial.model, [member_of(trial)], [state])
    except (ValueError, KeyError):
        return False
    return True


def _add(tables: Tables, rows: Tables) -> None:
    for name, added in rows.items():
        append_rows(tables, name, added)
