"""How far apart two honest computations of a column can be, from what the column is made of.

Code for another kind of processor adds up in another order, and its sums end in other digits. What
becomes of that depends on what is made of the sums: a mean over float32 passes of a network keeps
six digits, a share of points moves by whole points, a count that a search chose by whole numbers.
Training amplifies the digits until only the law of its seeds is left, so what a training moves is
judged by the spread over seeds instead (`study.results.comparison`). The numbers here were
measured, see docs/log.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, unique
from typing import Literal, get_args

# What a step is: a whole number, a share of the true components, a share of the points, or the
# chance in a share of so many points.
Step = Literal["one", "component", "point", "noise"]
Stage = Literal["data", "training", "scoring"]
STAGES: frozenset[str] = frozenset(get_args(Stage))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What steps are parts of.

    Parameters
    ----------
    n_components : int
        True components, K.
    n_points : int
        Points that are counted.
    """

    n_components: int
    n_points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """The tolerance of a column: some steps, a relative and an absolute part, added up.

    Parameters
    ----------
    relative, absolute : float
    n_steps : float
    step : "one", "component", "point" or "noise"
        1, 1 / K, 1 / n or 1 / sqrt(n).
    stage : "data", "training" or "scoring"
        Whose version decides whether rows can be compared at all.
    """

    relative: float = 0.0
    absolute: float = 0.0
    n_steps: float = 0.0
    step: Step = "one"
    stage: Stage = "scoring"

    def tolerance(self, value: float, sizes: Sizes) -> float:
        """Return by how much a number may differ from a recorded value."""
        parts = {
            "one": 1,
            "component": sizes.n_components,
            "point": sizes.n_points,
            "noise": math.sqrt(sizes.n_points),
        }
        return (
            self.absolute
            + self.relative * (abs(value) if math.isfinite(value) else 0.0)
            + self.n_steps / parts[self.step]
        )


@unique
class Made(Enum):
    """What a column is made of."""

    GIVEN = Precision(stage="data")
    """Names and settings."""
    TRUTH = Precision(relative=1e-9, absolute=1e-12, stage="data")
    """Sums over the mixture or its points, in float64."""
    TRAINING = Precision(relative=1e-6, absolute=1e-7, stage="training")
    """What a training records."""
    PASSES = Precision(relative=1e-6, absolute=1e-6)
    """Means over float32 passes of the network."""
    COORDINATE = Precision(relative=1e-4, absolute=1e-3)
    """One coordinate of one point that the network made."""
    DENSITY = Precision(relative=1e-3, absolute=1e-3)
    """Means over densities, some of which are sums of random draws."""
    DRAWS = Precision(relative=0.1, absolute=0.02)
    """How sure those are, which hangs on the worst of them."""
    WORST = Precision(relative=0.5, absolute=1.0)
    """The worst of them."""
    POINT_SHARE = Precision(n_steps=2, step="point", absolute=1e-12)
    """A share of the points that are counted."""
    MASS = Precision(relative=5e-6, absolute=1e-6)
    """Points shared out by posterior probabilities."""
    NEIGHBOURS = Precision(n_steps=5, step="point", relative=1e-4)
    """A share of points by their distances to others."""
    LEARNED = Precision(n_steps=0.5, step="noise")
    """The accuracy of a classifier that is trained on the points."""
    MODE_SHARE = Precision(n_steps=1, step="component", relative=0.05, absolute=1e-12)
    """A whole number as a share of the true components."""
    MODE_WEIGHT = Precision(relative=1e-9, absolute=1e-12)
    """The weight of some of the true components."""
    COUNT = Precision(n_steps=1, relative=0.05)
    """A whole number that a search chose."""
    FOLLOWS = Precision(n_steps=1)
    """Yes or no, and follows from such a number."""
    FLAG = Precision()
    """Yes or no, or a text."""
    FIT = Precision(relative=5e-3, absolute=1e-4)
    """Sums over the mixture at which EM stopped."""
    GAP = Precision(relative=1e-2, absolute=0.5)
    """A difference of two likelihoods at which EM stopped."""
    CURVE = Precision(relative=1e-3, absolute=1e-2)
    """The likelihood of a number of components, which a search may have reached by another way."""
    ENTROPY = Precision(relative=0.03, absolute=1.0)
    """That and how well the components are told apart."""
    CONTRAST = Precision(relative=0.5, absolute=2.0)
    """The error of a difference of two such likelihoods."""
