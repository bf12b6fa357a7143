"""Anybody's table of trials, checked: which column is the cluster and which are the factors.

A row is one measurement. Rows of one cluster depend on each other (they share a data set, a
machine, a person); cells are the combinations of the factors' levels, in the order of the table.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# Names of the columns inside, whatever they are called outside.
CELL, CLUSTER, PAIR, VALUE, CAPPED = "cell", "cluster", "pair", "value", "capped"


class TableError(ValueError):
    """A table, or what was said of it, that cannot be compared; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a table.

    Parameters
    ----------
    cluster : str
        The column whose equal values make one cluster.
    factors : tuple of str
        Columns whose levels make the cells.
    endpoint : str
        The numeric column that is compared.
    pair : str or None
        A column that, with the cluster, says which rows of two cells belong together.
    ceiling : str, float or None
        The largest value that could be found: a column, or one number for all.
    reference : str or None
        The cell that all others are compared with, as "a=1, b=2"; None: the first.
    margin : float or None
        The smallest difference of interest, in the endpoint's unit.
    effect : float or None
        The difference whose power is given, in the endpoint's unit; None: twice the margin, or
        half a standard deviation between rows of a cell where there is none.
    unit : str
        The endpoint's unit, for the page.
    level : float
        Of every interval.
    """

    cluster: str
    factors: tuple[str, ...]
    endpoint: str
    pair: str | None = None
    ceiling: str | float | None = None
    reference: str | None = None
    margin: float | None = None
    effect: float | None = None
    unit: str = ""
    level: float = 0.95

    def __post_init__(self) -> None:
        if not 0.5 <= self.level < 1:
            raise TableError(f"level must be at least 0.5 and below 1, not {self.level}")
        for name in ("margin", "effect"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                unit = self.unit or "the endpoint's unit"
                raise TableError(f"{name} must be above 0, in {unit}, not {value}")
        if not self.factors:
            raise TableError("factors must name at least one column; found none")
        named = [self.cluster, *self.factors, self.endpoint, *([self.pair] if self.pair else [])]
        doubled = sorted({name for name in named if named.count(name) > 1})
        if doubled:
            raise TableError(f"column {doubled[0]!r} is named twice, for two things")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The rows of a table under names of our own.

    Parameters
    ----------
    frame : pandas.DataFrame
        cell, the factors, cluster, pair, value (float), capped (whether the value is at its
        ceiling).
    cells : tuple of str
        In the table's order, the reference first.
    n_missing : int
        Rows without a value, which are left out.
    """

    frame: pd.DataFrame
    cells: tuple[str, ...]
    n_missing: int


def read_frame(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """Read a table from a .csv or .parquet file; a frame is taken as it is.

    Raises
    ------
    TableError
        There is no such file, it is of another kind, or it cannot be read.
    """
    if isinstance(source, pd.DataFrame):
        return source
    path = Path(source)
    if path.suffix not in (".csv", ".parquet"):
        raise TableError(
            f"{path}: must be a .csv or .parquet file, not {path.suffix or 'a folder'}"
        )
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        # Of pandas and of Arrow alike.
        raise TableError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None


def checked_rows(table: pd.DataFrame, asked: Asked) -> Rows:
    """Check every column that is named and give the rows under our own names.

    Raises
    ------
    TableError
        A column is missing or of another kind, a pair occurs twice, a value is above its ceiling,
        or there are not two clusters.
    """
    for name in (asked.cluster, *asked.factors, asked.endpoint, asked.pair):
        if name is not None:
            _require_column(table, name)
    value = _numbers(table, asked.endpoint)
    rows = pd.DataFrame({CLUSTER: _labels(table, asked.cluster), VALUE: value})
    rows[CELL] = _cells(table, asked.factors)
    rows[PAIR] = _labels(table, asked.pair) if asked.pair else ""
    rows[CAPPED] = _capped(table, asked, value)
    known = rows[rows[VALUE].notna()].reset_index(drop=True)
    if known.empty:
        raise TableError(f"{asked.endpoint}: no row has a value")
    if known[CLUSTER].nunique() < 2:
        raise TableError(
            f"{asked.cluster}: found one cluster, {known[CLUSTER].iloc[0]!r}; intervals need two "
            "or more, such as several data sets"
        )
    if asked.pair:
        _require_single(known, asked)
    return Rows(known, _order(known, asked), int(value.isna().sum()))


def _require_column(table: pd.DataFrame, name: str) -> None:
    columns = [str(column) for column in table]
    if columns.count(name) == 1:
        return
    if name in columns:
        raise TableError(f"column {name!r} occurs {columns.count(name)} times")
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(columns[:20])}"
    raise TableError(f"the table has no column {name!r}{hint}")


def _numbers(table: pd.DataFrame, name: str) -> pd.Series:
    column = table[name]
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        found = next((value for value in column if not isinstance(value, int | float)), column[0])
        raise TableError(f"{name}: must be numbers; found {found!r:.60}")
    values = column.astype("Float64").astype(float).reset_index(drop=True)
    if np.isinf(values).any():
        raise TableError(
            f"{name}: row {int(np.isinf(values).argmax())} is infinite; leave it empty"
        )
    return values


def _labels(table: pd.DataFrame, name: str) -> pd.Series:
    column = table[name].reset_index(drop=True)
    if column.isna().any():
        raise TableError(f"{name}: row {int(column.isna().argmax())} has no value")
    return column


def _cells(table: pd.DataFrame, factors: Sequence[str]) -> pd.Series:
    columns = [_labels(table, name) for name in factors]
    words = (
        ", ".join(f"{name}={_level(value)}" for name, value in zip(factors, values, strict=True))
        for values in zip(*columns, strict=True)
    )
    return pd.Series(list(words), dtype=object)


def _level(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _capped(table: pd.DataFrame, asked: Asked, value: pd.Series) -> pd.Series:
    if asked.ceiling is None:
        return pd.Series(False, index=value.index)
    if isinstance(asked.ceiling, str):
        _require_column(table, asked.ceiling)
        ceiling = _numbers(table, asked.ceiling)
    else:
        ceiling = pd.Series(float(asked.ceiling), index=value.index)
    above = value > ceiling
    if above.any():
        row = int(above.argmax())
        raise TableError(
            f"{asked.endpoint}: row {row} has {value[row]:g}, above its ceiling {ceiling[row]:g}; "
            "are both of the same unit?"
        )
    return value >= ceiling


def _require_single(rows: pd.DataFrame, asked: Asked) -> None:
    doubled = rows.duplicated([CELL, CLUSTER, PAIR])
    if doubled.any():
        row = rows[doubled].iloc[0]
        raise TableError(
            f"{row[CELL]}: {asked.cluster} {row[CLUSTER]!r} and {asked.pair} {row[PAIR]!r} occur "
            "twice; a pair is one row in each cell"
        )


def _order(rows: pd.DataFrame, asked: Asked) -> tuple[str, ...]:
    cells = list(dict.fromkeys(rows[CELL]))
    if asked.reference is None:
        return tuple(cells)
    if asked.reference not in cells:
        near = difflib.get_close_matches(asked.reference, cells, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the cells are {'; '.join(cells[:10])}"
        raise TableError(f"reference: there is no cell {asked.reference!r}; {hint}")
    cells.remove(asked.reference)
    return (asked.reference, *cells)
