"""A finished trial again: trained and measured from its configuration, or counted from weights.

Each is done by a process of its own, with the code that made the rows where that is possible.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from study.planning.units import Stack, StoredTraining, Trial, plan_controls
from study.plugins import install, loaded
from study.results.processor import CODE_SETTINGS
from study.results.tables import to_table

if TYPE_CHECKING:
    import pyarrow as pa


def run_again(trial: Trial) -> dict[str, pa.Table]:
    """Train and measure one trial and count its control, in this process."""
    import torch

    from study.trial.stack import run_stack

    torch.set_num_threads(1)
    return _with_control(trial, run_stack(Stack(trials=(trial,))))


def count_again(trial: Trial, stored: StoredTraining) -> dict[str, pa.Table]:
    """Measure one trial from its stored weights and count its control, in this process.

    Raises
    ------
    ValueError
        The weights cannot be read.
    """
    import torch

    from study.trial.measure import score_state
    from study.trial.stored import load_states

    torch.set_num_threads(1)
    state = load_states([stored]).get(trial.training_id)
    if state is None:
        raise ValueError(f"the weights of training {trial.training_id} cannot be read")
    rows = score_state(trial, state)
    for row in rows["trials"]:
        row.setdefault("status", "done")
    return _with_control(trial, rows)


def _with_control(trial: Trial, rows: dict[str, list]) -> dict[str, pa.Table]:
    from study.trial.stack import run_controls

    tables = {name: list(each) for name, each in rows.items()}
    for batch in plan_controls([trial], n_workers=1):
        for name, more in run_controls(batch).items():
            tables.setdefault(name, []).extend(more)
    return {name: to_table(name, each) for name, each in tables.items()}


def in_own_process(
    trial: Trial, stored: StoredTraining | None, settings: Mapping[str, str] | None
) -> dict[str, pa.Table]:
    """Run or, with stored weights, count a trial again in a process of its own.

    Parameters
    ----------
    trial : Trial
    stored : StoredTraining or None
    settings : mapping of str to str or None
        What chooses the code (`study.results.processor`); None: as it is here.
    """
    context = multiprocessing.get_context("spawn")
    with (
        _code_of(settings),
        ProcessPoolExecutor(
            1, mp_context=context, initializer=install, initargs=(loaded(),)
        ) as pool,
    ):
        if stored is None:
            return pool.submit(run_again, trial).result()
        return pool.submit(count_again, trial, stored).result()


@contextmanager
def _code_of(settings: Mapping[str, str] | None) -> Iterator[None]:
    """Let processes that start now run other code."""
    if settings is None:
        yield
        return
    before = {name: os.environ.get(name) for name in CODE_SETTINGS}
    try:
        for name, value in {**dict.fromkeys(CODE_SETTINGS), **settings}.items():
            _set(name, value)
        yield
    finally:
        for name, value in before.items():
            _set(name, value)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
