"""Recorded rows against rows that were computed again, number by number, at one of three levels.

To the bit: every value is the same. Counted again: within what a column is made of
(`study.results.precision`). Trained again: what a training moves is judged by the spread over
training seeds (`study.results.spread`), everything else as when counted again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from study.results.materials import made_of
from study.results.precision import STAGES, Made, Sizes
from study.results.spread import LENGTH, UNTRAINED, Spread, lengths
from study.results.tables import KEYS, PROVENANCE_FIELDS

if TYPE_CHECKING:
    import pandas as pd

# What two runs of a trial may differ in; `cell` is named by the whole sweep.
CIRCUMSTANCES = {"stack_id", "train_s", "count_s", "endpoints_s", "cell"}
CIRCUMSTANCES |= {name for name, _ in PROVENANCE_FIELDS}
# Kept by `results/NAME/weights` and the gallery, which need not be there.
OPTIONAL = ("points", "weights", "nulls")


class Level(StrEnum):
    """How a trial is compared with its rows."""

    BIT = "to the bit"
    COUNTED = "counted again"
    TRAINED = "trained again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One number that is not what was recorded, and by how much it might have differed."""

    table: str
    row: str
    column: str
    recorded: str
    found: str
    allowed: float


@dataclass(slots=True)
class Deviation:
    """How far the numbers of one column were from those that were recorded.

    Parameters
    ----------
    n, n_unequal : int
        Numbers compared, and those that were not equal to the bit.
    largest : float
        The largest difference.
    of_tolerance : float
        The largest share of its tolerance that a difference took; above 1 it is too large.
    """

    n: int = 0
    n_unequal: int = 0
    largest: float = 0.0
    of_tolerance: float = 0.0

    def add(self, difference: float, tolerance: float) -> None:
        """Take in a difference that is not zero."""
        self.n_unequal += 1
        if math.isfinite(difference):
            self.largest = max(self.largest, difference)
        if tolerance > 0 and math.isfinite(difference):
            self.of_tolerance = max(self.of_tolerance, difference / tolerance)

    def join(self, other: Deviation) -> Deviation:
        """Return that of the numbers of both."""
        return Deviation(
            n=self.n + other.n,
            n_unequal=self.n_unequal + other.n_unequal,
            largest=max(self.largest, other.largest),
            of_tolerance=max(self.of_tolerance, other.of_tolerance),
        )


@dataclass(slots=True)
class Comparison:
    """What comparing the rows of a trial gave.

    Parameters
    ----------
    differences : list of Difference
    columns : dict of str to Deviation
        By "TABLE.COLUMN".
    shifts : dict of str to float
        By column of `trials`: the change, in standard deviations over training seeds.
    """

    differences: list[Difference] = field(default_factory=list)
    columns: dict[str, Deviation] = field(default_factory=dict)
    shifts: dict[str, float] = field(default_factory=dict)

    @property
    def n_numbers(self) -> int:
        """Values compared."""
        return sum(deviation.n for deviation in self.columns.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """By how much the numbers of one trial may differ.

    Parameters
    ----------
    level : Level
    sizes : Sizes
    spread : Spread or None
        Over training seeds, for trials that were trained again.
    stages : frozenset of str
        Stages whose version is the one that made the rows; columns of others are not compared.
    ignore_absent : bool
        Accept a value that is not recorded: an older schema had no place for it.
    """

    level: Level
    sizes: Sizes
    spread: Spread | None = None
    stages: frozenset[str] = STAGES
    ignore_absent: bool = False

    def skips(self, table: str) -> bool:
        """Return whether a table's numbers mean nothing one by one at this level."""
        if self.level is Level.BIT:
            return False
        return table == "weights" or (table == "points" and self.level is Level.TRAINED)

    def tolerance(self, table: str, column: str, key: tuple[Any, ...], value: Any) -> float | None:
        """Return by how much a number may differ; None if it is not compared.

        Parameters
        ----------
        table, column : str
        key : tuple
            Of the row; the first part is whose row it is.
        value : object
            What was recorded.
        """
        made = made_of(table, column)
        if made.value.stage not in self.stages:
            return None
        if self.level is Level.BIT:
            return 0.0
        if self.level is Level.COUNTED and made.value.stage == "training":
            return None
        size = float(value) if isinstance(value, int | float) else 0.0
        least = made.value.tolerance(size, self.sizes)
        if not self.is_moved(table, key, made):
            return least
        if self.spread is None or made in (Made.FLAG, Made.GIVEN):
            return None
        seeds = self.spread.tolerance(table, column, key)
        return None if seeds is None else max(seeds, least)

    def is_moved(self, table: str, key: tuple[Any, ...], made: Made) -> bool:
        """Return whether a number is judged by the spread over training seeds."""
        is_trained = made.value.stage != "data" and table not in UNTRAINED
        of_control = table.startswith("counts") and key[1] == "data"
        return self.level is Level.TRAINED and is_trained and not of_control

    def may_lack(self, table: str, column: str, key: tuple[Any, ...]) -> bool:
        """Return whether a number may be there in one training and missing in another."""
        moved = self.is_moved(table, key, made_of(table, column))
        return moved and self.spread is not None and self.spread.is_missing(table, column, key)


def compare_tables(
    recorded: Mapping[str, pd.DataFrame], found: Mapping[str, pd.DataFrame], judge: Judge
) -> Comparison:
    """Compare the rows of one trial and its control.

    Parameters
    ----------
    recorded, found : mapping of str to DataFrame
        By table, each sorted by its key.
    judge : Judge
    """
    result = Comparison()
    for name, frame in found.items():
        if judge.skips(name) or (name in OPTIONAL and recorded[name].empty):
            continue
        for table, key, old, new in _parts(name, recorded[name], frame, judge):
            _compare_part(result, judge, table, key, old, new)
    return result


def _parts(
    name: str, recorded: pd.DataFrame, found: pd.DataFrame, judge: Judge
) -> Iterator[tuple[str, list[str], pd.DataFrame, pd.DataFrame]]:
    """List what is compared of a table: how long its curves are, and the rows that both have."""
    key = list(KEYS[name])
    if recorded[key].equals(found[key]):
        yield name, key, recorded, found
        return
    if judge.level is Level.BIT or len(key) == 1:
        # A row that one of them lacks is missing in every column.
        yield name, key, *_aligned(key, recorded, found)
        return
    group = key[:-1]
    counted = [lengths(name, frame) for frame in (recorded, found)]
    old, new = _aligned(group, *counted)
    yield f"{name}.{LENGTH}", group, old.fillna(0), new.fillna(0)
    shared = recorded[key].merge(found[key])
    yield name, key, recorded.merge(shared, on=key), found.merge(shared, on=key)


def _aligned(
    key: list[str], first: pd.DataFrame, second: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give both frames the rows of either."""
    indexed = [frame.set_index(key) for frame in (first, second)]
    every = indexed[0].index.union(indexed[1].index)
    one, other = (frame.reindex(every).reset_index() for frame in indexed)
    return one, other


def _compare_part(
    result: Comparison,
    judge: Judge,
    table: str,
    key: list[str],
    recorded: pd.DataFrame,
    found: pd.DataFrame,
) -> None:
    skipped = CIRCUMSTANCES.union(key)
    keys = list(recorded[key].itertuples(index=False, name=None))
    for column in map(str, recorded):
        if column not in found or column in skipped:
            continue
        for where, old, new in zip(keys, recorded[column], found[column], strict=True):
            if judge.ignore_absent and _is_absent(old):
                continue
            tolerance = judge.tolerance(table, column, where, old)
            if tolerance is not None:
                _compare_value(result, judge, (table, column, where), (old, new), tolerance)


def _compare_value(
    result: Comparison,
    judge: Judge,
    place: tuple[str, str, tuple[Any, ...]],
    values: tuple[Any, Any],
    tolerance: float,
) -> None:
    table, column, where = place
    deviation = result.columns.setdefault(f"{table}.{column}", Deviation())
    deviation.n += 1
    difference = _distance(*values)
    if judge.level is Level.TRAINED and judge.spread is not None and table == "trials":
        _note_shift(result, judge.spread, place, values)
    if difference == 0:
        return
    deviation.add(difference, tolerance)
    if difference <= tolerance or (math.isnan(difference) and judge.may_lack(*place)):
        return
    old, new = values
    result.differences.append(
        Difference(
            table=table,
            row=" ".join(map(str, where)),
            column=column,
            recorded=_show(old),
            found=_show(new),
            allowed=tolerance,
        )
    )


def _note_shift(
    result: Comparison,
    spread: Spread,
    place: tuple[str, str, tuple[Any, ...]],
    values: tuple[Any, Any],
) -> None:
    deviation = spread.deviation(*place)
    if deviation and not any(map(_is_absent, values)):
        result.shifts[place[1]] = (float(values[1]) - float(values[0])) / deviation


def _distance(old: Any, new: Any) -> float:
    """Return how far apart two values are: 0 if they are the same, infinite or NaN if unlike.

    NaN says that one is missing.
    """
    if _is_absent(old) or _is_absent(new):
        return 0.0 if _is_absent(old) and _is_absent(new) else math.nan
    if isinstance(old, str | bytes) or isinstance(new, str | bytes):
        return 0.0 if old == new else math.inf
    if hasattr(old, "__len__"):
        if len(old) != len(new):
            return math.inf
        parts = [_distance(a, b) for a, b in zip(old, new, strict=True)]
        return math.nan if any(map(math.isnan, parts)) else max(parts, default=0.0)
    return 0.0 if old == new else abs(float(old) - float(new))


def _is_absent(value: Any) -> bool:
    import pandas as pd

    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _show(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)[:80]


def equivalence(comparisons: Sequence[Comparison]) -> dict[str, str]:
    """Judge for each column of `trials` whether training again leaves its mean where it was.

    Parameters
    ----------
    comparisons : sequence of Comparison
        One for each trial that was trained again.

    Returns
    -------
    dict of str to str
        "equivalent": the 90 % interval of the mean change is within one standard deviation over
        training seeds (two one-sided tests at 5 %). "moved": it is outside. "undecided" otherwise.
    """
    from scipy.stats import t

    found: dict[str, str] = {}
    for column in dict.fromkeys(name for each in comparisons for name in each.shifts):
        shifts = [each.shifts[column] for each in comparisons if column in each.shifts]
        n = len(shifts)
        mean = statistics.fmean(shifts)
        if n < 2:
            found[column] = "undecided"
            continue
        half = float(t.ppf(0.95, n - 1)) * statistics.stdev(shifts) / math.sqrt(n)
        is_within, is_outside = abs(mean) + half < 1, abs(mean) - half > 1
        found[column] = "equivalent" if is_within else "moved" if is_outside else "undecided"
    return found
