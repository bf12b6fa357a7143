"""What can be said of a cloud of points before any mixture is fitted to it.

Symbols: n points in D dimensions, d of which they vary in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from study.config.checks import max_components
from study.detection.cloud import FloatArray
from study.detection.whitening import Whitening, find_whitening

# A share of repeated points, and of repeated numbers along an axis, that no density explains:
# random numbers of 32 bits repeat more seldom.
REPEATED_POINTS = 0.01
REPEATED_NUMBERS = 0.2
# Decimals of whitened coordinates that count in sorting: rounding decides none.
SORTED_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Sight:
    """A cloud in its own units and in a canonical order, and what was seen of it.

    Parameters
    ----------
    white : ndarray, shape (n, d)
        The points in whitened coordinates, in an order that depends on nothing but their places.
    whitening : Whitening
    n_distinct : int
        Points without their copies.
    repeated : float
        Share of points that are copies.
    gridded : tuple of int
        Axes along which the points lie on few values.
    """

    white: FloatArray
    whitening: Whitening
    n_distinct: int
    repeated: float
    gridded: tuple[int, ...]

    @property
    def dim(self) -> int:
        """Number of directions that the points vary in."""
        return self.white.shape[1]

    @property
    def k_cap(self) -> int:
        """Most components that have d + 1 distinct points each; 1 if there is no extent."""
        return max_components(self.n_distinct, self.dim) if self.dim else 1

    @property
    def has_ties(self) -> bool:
        """Whether points are repeated, or rounded along an axis."""
        return self.repeated > REPEATED_POINTS or bool(self.gridded)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a count should know, in whole sentences."""
        notes = []
        n_samples, dim = len(self.white), self.dim + self.whitening.n_null
        if self.whitening.n_null:
            notes.append(
                f"The points vary in {self.dim} of {dim} directions only; densities and prices "
                "are of those."
            )
        if self.repeated > REPEATED_POINTS:
            notes.append(
                f"{n_samples - self.n_distinct} of {n_samples} points repeat others: the count "
                "may follow the repetitions."
            )
        if self.gridded:
            axes = ", ".join(str(axis) for axis in self.gridded)
            notes.append(
                f"The points are rounded along axis {axes}: no component narrower than the "
                "rounding means anything."
            )
        return tuple(notes)


def inspect(points: FloatArray) -> Sight:
    """Look at a cloud: its units, its repetitions, and an order for its points.

    Parameters
    ----------
    points : ndarray, shape (n, D)
        Finite.

    Returns
    -------
    Sight
    """
    ordered = points[np.lexsort(points.T)]
    n_distinct = 1 + int((ordered[1:] != ordered[:-1]).any(axis=1).sum())
    whitening = find_whitening(ordered)
    white = whitening.to_white(ordered)
    # Sorted by whitened coordinates the order is that of A x + b, too.
    white = white[np.lexsort(white.round(SORTED_DECIMALS).T)] if white.size else white
    distinct = np.array([len(np.unique(column)) for column in ordered.T])
    gridded = (distinct > 1) & (distinct < (1.0 - REPEATED_NUMBERS) * n_distinct)
    return Sight(
        white=white,
        whitening=whitening,
        n_distinct=n_distinct,
        repeated=1.0 - n_distinct / len(points),
        gridded=tuple(np.flatnonzero(gridded).tolist()),
    )
