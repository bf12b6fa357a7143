"""Adaptive sweeps against stored answers: the same search without trainings.

A search can be tried on a table of an earlier grid, or on a function with known truth, in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from study.search import Search, Seeds
from study.search_space import Point, SearchConfig
from study.sections import Replicates
from study.trials import FIELD_COLUMNS

Answer = Callable[[Point, Seeds], Mapping[str, Any] | None]
SEED_COLUMNS = ["data_seed", "init_seed", "sample_seed"]


def replay(config: SearchConfig, replicates: Replicates, answer: Answer) -> Search:
    """Run a search to its end, one work at a time.

    Parameters
    ----------
    config : SearchConfig
    replicates : Replicates
        Seeds of a cell.
    answer : callable
        Takes a point and (data, init, sample) seeds, returns the columns of that trial's row or
        None for a trial that failed.

    Returns
    -------
    Search
        In its final state: `best`, `estimates`, `surface`, `suggestions`.
    """
    search = Search(config, replicates)
    while (work := search.next_work()) is not None:
        search.finish(work, {seeds: answer(work.point, seeds) for seeds in work.seeds})
    return search


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
        names = FIELD_COLUMNS.get(dimension.name, ())
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
