"""What an adaptive sweep may vary and wants to know: dimensions, objectives, options.

A point of the space is a mapping from dotted field names to values; conditional dimensions that
are not active in a point are absent from it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from annotated_types import Interval

from study.config.objective import Objective

Goal = Literal["optimum", "boundary"]
Sampler = Literal["tpe", "gp", "cmaes", "nsga2", "qmc", "random", "grid"]
Point = dict[str, Any]

# Spaces of more points are never listed.
MAX_GRID = 100_000
# Suggested numbers keep 4 digits, in narrow ranges more: labels stay readable, and nobody needs
# more of a KL weight.
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """One field of the search space.

    Parameters
    ----------
    name : str
        Dotted field name.
    kind : "float", "int" or "choice"
    low, high : float
        Bounds, both included; not used for choices.
    log : bool
        Search the logarithm.
    choices : tuple
        The values of a choice, in the file's order; numbers are taken as ordered.
    when : tuple of (str, tuple)
        Other fields and the values under which this one is active; all must hold.
    """

    name: str
    kind: Literal["float", "int", "choice"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def n_values(self) -> float:
        """How many values there are; infinite for a float."""
        if self.kind == "choice":
            return len(self.choices)
        return math.inf if self.kind == "float" else int(self.high) - int(self.low) + 1

    @property
    def values(self) -> tuple[Any, ...]:
        """Every value of a choice or a whole number."""
        if self.kind == "choice":
            return self.choices
        return tuple(range(int(self.low), int(self.high) + 1))

    @property
    def is_ordered(self) -> bool:
        """Return whether its values are numbers."""
        return all(
            isinstance(value, int | float) and not isinstance(value, bool)
            for value in self.choices
        )

    def is_active(self, point: Mapping[str, Any]) -> bool:
        """Return whether the conditions on other fields hold."""
        return all(name in point and point[name] in values for name, values in self.when)

    def from_unit(self, position: float) -> Any:
        """Map [0, 1) to a value."""
        if self.kind == "choice":
            return self.choices[min(int(position * len(self.choices)), len(self.choices) - 1)]
        if self.kind == "int" and not self.log:
            return min(int(self.low + position * self.n_values), int(self.high))
        low, high = (
            (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        )
        value = low + position * (high - low)
        return self.tidy(math.exp(value) if self.log else value)

    def to_unit(self, value: Any) -> float:
        """Map a value to [0, 1]; equal steps for choices."""
        if self.kind == "choice":
            return self.choices.index(value) / max(len(self.choices) - 1, 1)
        if self.high == self.low:
            return 0.0
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    def tidy(self, value: Any) -> Any:
        """Round a suggested number to what is written in labels, inside the bounds."""
        if self.kind == "choice":
            return value
        if self.kind == "int":
            return int(min(max(round(value), self.low), self.high))
        return min(max(float(f"{value:.{self._n_digits}g}"), self.low), self.high)

    @property
    def _n_digits(self) -> int:
        """How many digits keep a thousand values and more apart, also in a narrow range."""
        largest = max(abs(self.low), abs(self.high))
        return max(_DIGITS, math.ceil(math.log10(largest / (self.high - self.low))) + 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How an adaptive sweep proceeds.

    Parameters
    ----------
    goal : "optimum" or "boundary"
        "optimum" looks for the best cells; "boundary" maps where the endpoint crosses a level.
    level : float or None
        Level that the endpoint crosses at a boundary.
    sampler : str
        How Optuna proposes cells: "tpe", "gp", "cmaes", "nsga2", "qmc" (quasi-random), "random"
        or "grid". A boundary has its own rule.
    trials : int
        Trainings that may be spent, re-measuring included.
    hours : float or None
        Stop proposing cells when the trainings so far took this many hours, summed over workers.
    seed : int
        Seed for the proposals.
    first_replicates : int
        Replicates that a new cell starts with; contenders get more, up to `replicates`.
    remeasure : int
        Cells that are measured again on fresh seeds at the end, which removes the winner's curse.
    stop_after : int or None
        Epochs after which a new cell without hope is stopped; judged again at each stop_factor
        times as many (asynchronous successive halving). These must be checkpoints. With null no
        cell is stopped.
    stop_factor : int
        A cell goes on if its objective is among the best 1/stop_factor that were measured there.
    """

    goal: Goal = "optimum"
    level: Annotated[float, Interval(ge=-1e9, le=1e9)] | None = None
    sampler: Sampler = "tpe"
    trials: Annotated[int, Interval(ge=1, le=1_000_000)] = 200
    hours: Annotated[float, Interval(gt=0, le=100_000)] | None = None
    seed: Annotated[int, Interval(ge=0, le=2**32 - 1)] = 0
    first_replicates: Annotated[int, Interval(ge=1, le=1000)] = 2
    remeasure: Annotated[int, Interval(ge=0, le=100)] = 1
    stop_after: Annotated[int, Interval(ge=1, le=100_000)] | None = None
    stop_factor: Annotated[int, Interval(ge=2, le=100)] = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """The `search:` part of a sweep file.

    Parameters
    ----------
    space : tuple of Dimension
        Dimensions; conditional ones come after those that they depend on.
    objectives : tuple of Objective
        One objective, several for a Pareto front, or the endpoint of a boundary.
    options : SearchOptions
    """

    space: tuple[Dimension, ...]
    objectives: tuple[Objective, ...]
    options: SearchOptions = SearchOptions()

    def point(self, positions: Sequence[float]) -> Point:
        """Map a point of the unit cube to a point of the space."""
        pairs = zip(self.space, positions, strict=True)
        return self.active({dimension.name: dimension.from_unit(p) for dimension, p in pairs})

    def active(self, values: Mapping[str, Any]) -> Point:
        """Leave out what is not active, given a value for every dimension that may be."""
        point: Point = {}
        for dimension in self.space:
            if dimension.is_active(point):
                point[dimension.name] = values[dimension.name]
        return point

    def completed(self, point: Mapping[str, Any]) -> list[tuple[Dimension, Any]]:
        """List every dimension with its value; the middle of its range if it is not active."""
        return [
            (dimension, point.get(dimension.name, dimension.from_unit(0.5)))
            for dimension in self.space
        ]

    def positions(self, point: Mapping[str, Any]) -> tuple[float, ...]:
        """Map a point of the space to the unit cube; inactive dimensions are at -1."""
        return tuple(
            dimension.to_unit(point[dimension.name]) if dimension.name in point else -1.0
            for dimension in self.space
        )

    @property
    def n_points(self) -> float:
        """How many points the space has; infinite with a float, an upper bound above MAX_GRID."""
        size = math.prod(dimension.n_values for dimension in self.space)
        return size if size > MAX_GRID else len(self.grid())

    def grid(self) -> Sequence[Point]:
        """List every point of a space of choices and whole numbers, in the file's order."""
        return _grid(self.space)


@lru_cache(maxsize=8)
def _grid(space: tuple[Dimension, ...]) -> tuple[Point, ...]:
    """List the points once for all proposals: there may be 100,000."""
    points: dict[tuple[Any, ...], Point] = {}
    for values in itertools.product(*(dimension.values for dimension in space)):
        point: Point = {}
        for dimension, value in zip(space, values, strict=True):
            if dimension.is_active(point):
                point[dimension.name] = value
        points.setdefault(tuple(sorted(point.items(), key=lambda pair: pair[0])), point)
    return tuple(points.values())
