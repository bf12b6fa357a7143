"""Adaptive sweeps against stored answers: the same search without trainings.

A search can be tried on a table of an earlier grid, or on a function with known truth, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from study.config.catalogue import field_columns
from study.config.early_stopping import is_beyond, mean_value, rung_epochs
from study.config.search_space import Point, SearchConfig
from study.config.sections import Replicates
from study.search.state import Search, Seeds, Work

Answer = Callable[[Point, Seeds], Mapping[str, Any] | None]
RungAnswer = Callable[[Point, Seeds, int], Mapping[str, Any] | None]
SEED_COLUMNS = ["data_seed", "init_seed", "sample_seed"]


def replay(
    config: SearchConfig,
    replicates: Replicates,
    answer: Answer,
    *,
    at_rung: RungAnswer | None = None,
    n_epochs: int = 100,
    n_workers: int = 1,
    order: int = 0,
) -> Search:
    """Run a search to its end.

    Parameters
    ----------
    config : SearchConfig
    replicates : Replicates
        Seeds of a cell.
    answer : callable
        Takes a point and (data, init, sample) seeds, returns the columns of that trial's row or
        None for a trial that failed.
    at_rung : callable, optional
        Takes an epoch too, returns the columns as they are then; needed with `stop_after`.
    n_epochs : int
        Epochs of a whole training; rungs come before its end.
    n_workers : int
        Works that run at once: the next one is chosen without their answers.
    order : int
        Seeds the order in which works that run at once finish.

    Returns
    -------
    Search
        In its final state: `best`, `estimates`, `surface`, `suggestions`.

    Raises
    ------
    ValueError
        Cells are to be stopped early and `at_rung` is missing, or there is no worker.
    """
    options = config.options
    rungs = rung_epochs(options.stop_after, options.stop_factor, n_epochs)
    if rungs and at_rung is None:
        raise ValueError("search.stop_after needs at_rung, which answers for an epoch")
    if n_workers < 1:
        raise ValueError(f"n_workers: must be at least 1, got {n_workers}")
    search = Search(config, replicates, rungs=rungs)
    rng = np.random.default_rng(order)
    while True:
        while len(search.running) < n_workers and search.next_work() is not None:
            pass
        if not search.running:
            return search
        work = list(search.running.values())[rng.integers(len(search.running))]
        means, is_stopped = ({}, False) if at_rung is None else _climb(config, work, at_rung)
        answers = {s: None if is_stopped else answer(work.point, s) for s in work.seeds}
        search.finish(work, answers, rungs=means, is_stopped=is_stopped)


def _climb(config: SearchConfig, work: Work, at_rung: RungAnswer) -> tuple[dict[int, float], bool]:
    """Return a cell's means up to the rung at which it stops, and whether it stops."""
    objective, means = config.objectives[0], {}
    for rung in work.rungs:
        rows = [at_rung(work.point, seeds, rung.epoch) for seeds in work.seeds]
        mean = mean_value(None if row is None else objective.evaluate(row) for row in rows)
        if mean is not None:
            means[rung.epoch] = mean
        if is_beyond(mean, rung.limit, sign=objective.sign):
            return means, True
    return means, False


def table_answer(trials: pd.DataFrame, config: SearchConfig) -> Answer:
    """Answer from the trials of a sweep that crossed the space's values.

    Parameters
    ----------
    trials : DataFrame
        Rows of a trials table.
    config : SearchConfig
        Its space must be of choices that the table holds.

    Returns
    -------
    callable
        For `replay`. Raises KeyError for a point or seed that the table does not hold.

    Raises
    ------
    ValueError
        A field of the space has no single column in the table.
    """
    columns = []
    for dimension in config.space:
        names = field_columns().get(dimension.name, ())
        if len(names) != 1:
            raise ValueError(f"{dimension.name}: has no single column in the trials table")
        columns.append(names[0])
    done = trials[trials["status"].eq("done")]
    keys = zip(*(trials[name] for name in [*columns, *SEED_COLUMNS]), strict=True)
    rows: dict[tuple[Any, ...], dict[str, Any] | None] = dict.fromkeys(keys)
    rows |= {
        tuple(row[name] for name in [*columns, *SEED_COLUMNS]): row
        for row in done.astype(object).where(done.notna(), None).to_dict("records")
    }
    fields = [dimension.name for dimension in config.space]
    return lambda point, seeds: rows[(*(point[name] for name in fields), *seeds)]
