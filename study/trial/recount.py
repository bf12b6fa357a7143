"""Measure trials from stored weights: what `study.trial.stack` does, without its training."""

from __future__ import annotations

from collections.abc import Generator

from study.planning.units import Stack, Trial
from study.trial.measure import lost_rows, score_state
from study.trial.models import State, load_model
from study.trial.processes import map_in_processes
from study.trial.rows import Tables, append_tables, weight_rows
from study.trial.stack import Report, stack_events
from study.trial.stored import load_states


def rescore_events(
    stack: Stack, *, device: str = "cpu", n_processes: int = 1
) -> Generator[Report, None, Tables]:
    """Measure a stack whose weights are stored, pausing with a report before every trial.

    A training whose weights turn out to be damaged or missing is trained again.

    Parameters
    ----------
    stack : Stack
        A stack with `stored` trainings.
    device : str
        A torch device, for what is trained again.
    n_processes : int
        As in `study.trial.stack.run_stack`.

    Yields
    ------
    dict
        As `study.trial.stack.stack_events`.

    Returns
    -------
    dict of str to list of dict
        Rows by table, to the bit those of training and measuring in one go; without `curves`,
        which are carried over as they are (`study.trial.stored.carry_rows`).
    """
    found = load_states(stack.stored)
    states = {
        trials[0].training_id: state
        for trials in stack.trainings
        if (state := found.get(trials[0].training_id)) is not None and _fits(trials[0], state)
    }
    stored = {item.training_id: item for item in stack.stored}
    to_copy = {item.training_id for item in stack.stored if item.copied}
    measured = map_in_processes(
        score_state,
        (
            (trial, states[trial.training_id])
            for trials in stack.trainings
            for trial in trials
            if trial.training_id in states
        ),
        n_processes=n_processes,
        lost=lost_rows,
    )
    tables: Tables = {}
    n_counted = 0
    for trials in stack.trainings:
        training_id = trials[0].training_id
        if training_id not in states:
            again = Stack(trials=trials)
            rows = yield from stack_events(again, device=device, n_processes=n_processes)
            append_tables(tables, rows)
            n_counted += len(trials)
            continue
        for _ in trials:
            yield {"phase": "counting", "n_counted": n_counted, "done": False}
            n_counted += 1
            rows = next(measured)
            (row,) = rows["trials"]
            if row.get("status") != "failed":
                row |= stored[training_id].columns
                if training_id in to_copy:
                    to_copy.remove(training_id)
                    rows["weights"] = weight_rows(states[training_id], training_id)
            append_tables(tables, rows)
    for row in tables["trials"]:
        row |= {"stack_id": stack.stack_id, "device": device}
    return tables


def _fits(trial: Trial, state: State) -> bool:
    """Return whether a state is whole and of the trial's shape."""
    try:
        load_model(trial, state)
    except (ValueError, KeyError):
        return False
    return True
