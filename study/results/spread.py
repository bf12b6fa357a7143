"""How much the numbers of a sweep differ over its training seeds.

With s the standard deviation over the training seeds of one cell and data set, two trainings that
share nothing but their law differ by less than t s sqrt(2), where t is Student's quantile that all
numbers of a verification together exceed in one case of a hundred. A sweep with one training seed
has no such spread: then the data sets of a cell stand for it, which differ by more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from study.results.tables import KEYS

if TYPE_CHECKING:
    import pandas as pd

# Tables that no training moves.
UNTRAINED = ("controls", "nulls")
LENGTH = "length"
# In how many verifications, of trainings that follow the recorded law, one number is blamed.
FALSE_ALARMS = 0.01
# Fewer degrees of freedom than this in a cell: all cells are taken together.
ENOUGH = 4


@dataclass(frozen=True, slots=True)
class _Pool:
    """Of one table without one trial: pooled variances, their freedom, and what is missing.

    Each is a frame with a row per cell and rest of the key and a column per column.
    """

    variance: pd.DataFrame
    freedom: pd.DataFrame
    missing: pd.DataFrame


class Spread:
    """Standard deviations over the training seeds of a sweep's cells and data sets.

    A trial's own rows are left out of the spread that it is judged by.

    Parameters
    ----------
    read : callable
        Takes the name of a table and returns its rows as a frame.
    owners : DataFrame
        Indexed by trial_id, with columns `cell` and `data_seed`.
    n_numbers : int
        How many numbers are compared in all.
    """

    def __init__(
        self, read: Callable[[str], pd.DataFrame], owners: pd.DataFrame, *, n_numbers: int
    ) -> None:
        self._read, self._owners, self._n_numbers = read, owners, max(n_numbers, 1)
        self._frames: dict[str, pd.DataFrame] = {}
        self._pools: dict[tuple[str, str], _Pool] = {}

    def tolerance(self, table: str, column: str, key: tuple[Any, ...]) -> float | None:
        """Return by how much a number of another training may differ; None if unknown."""
        found = self._find(table, column, key)
        if found is None:
            return None
        from scipy.stats import t

        variance, freedom = found
        quantile = float(t.isf(FALSE_ALARMS / self._n_numbers / 2, freedom))
        return quantile * float(np.sqrt(2 * variance))

    def deviation(self, table: str, column: str, key: tuple[Any, ...]) -> float | None:
        """Return the standard deviation of a number over training seeds; None if unknown."""
        found = self._find(table, column, key)
        return None if found is None else float(np.sqrt(found[0]))

    def is_missing(self, table: str, column: str, key: tuple[Any, ...]) -> bool:
        """Return whether the number is missing in another trial of the cell."""
        pool = self._pool(table, key[0])
        place = self._place(key)
        if column not in pool.missing or place not in pool.missing.index:
            return False
        return bool(pool.missing.at[place, column])

    def _find(self, table: str, column: str, key: tuple[Any, ...]) -> tuple[float, float] | None:
        """Return a number's variance and its degrees of freedom; None if unknown."""
        pool, place = self._pool(table, key[0]), self._place(key)
        if column not in pool.freedom or place not in pool.freedom.index:
            return None
        freedom = _number(pool.freedom, place, column)
        return (_number(pool.variance, place, column), freedom) if freedom > 0 else None

    def _place(self, key: tuple[Any, ...]) -> Any:
        """Return where a row's numbers are in a pool: the cell and the rest of the key."""
        cell = self._owners["cell"].get(key[0])
        return (cell, *key[1:]) if len(key) > 1 else cell

    def _pool(self, table: str, owner: str) -> _Pool:
        if (table, owner) not in self._pools:
            frame = self._frame(table)
            rest = [str(name) for name in frame.index.names[3:]]
            self._pools[table, owner] = _pooled(frame.drop(index=owner, level="owner"), rest)
        return self._pools[table, owner]

    def _frame(self, table: str) -> pd.DataFrame:
        """Return the numbers of a table, indexed by owner, cell, data seed and rest of the key."""
        if table not in self._frames:
            name, _, part = table.partition(".")
            rows = self._read(name)
            key = list(KEYS[name])
            if part:
                rows, key = lengths(name, rows), key[:-1]
            rows = rows[rows[key[0]].isin(self._owners.index)]
            numbers = rows.drop(columns=key).select_dtypes("number").astype("float64")
            index = {"owner": rows[key[0]], "cell": rows[key[0]].map(self._owners["cell"])}
            index["data"] = rows[key[0]].map(self._owners["data_seed"])
            # A copy: pandas warns of frames to which many columns were added one by one.
            keyed = numbers.copy().assign(**index, **{name: rows[name] for name in key[1:]})
            self._frames[table] = keyed.set_index([*index, *key[1:]]).sort_index()
        return self._frames[table]


def _number(frame: pd.DataFrame, place: Any, column: str) -> float:
    return float(frame[column].loc[place])


def _pooled(frame: pd.DataFrame, rest: list[str]) -> _Pool:
    squares, freedom = _within(frame, ["cell", "data", *rest])
    if not freedom.to_numpy().any():
        squares, freedom = _within(frame, ["cell", *rest])
    by_cell = ["cell", *rest]
    squares, freedom = (part.groupby(by_cell).sum() for part in (squares, freedom))
    whole = [
        part.groupby(rest).transform("sum") if rest else part * 0 + part.sum()
        for part in (squares, freedom)
    ]
    is_enough = freedom >= ENOUGH
    squares, freedom = squares.where(is_enough, whole[0]), freedom.where(is_enough, whole[1])
    groups = frame.groupby(by_cell)
    missing = groups.count().lt(groups.size(), axis=0)
    return _Pool(variance=squares / freedom.where(freedom > 0), freedom=freedom, missing=missing)


def _within(frame: pd.DataFrame, groups: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return sums of squares within groups, and their degrees of freedom."""
    found = frame.groupby(groups)
    freedom = (found.count() - 1).clip(lower=0)
    return (found.var() * freedom).fillna(0.0), freedom


def lengths(table: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of each curve of a table: those that differ in the last part of the key."""
    group = list(KEYS[table])[:-1]
    return rows.groupby(group, dropna=False).size().rename(LENGTH).reset_index()
