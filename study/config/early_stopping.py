"""Rungs of an adaptive sweep: epochs at which cells without hope are stopped.

Asynchronous successive halving, as Ray Tune's `ASHAScheduler` does it: at a rung a cell goes on if
its objective is among the best 1/factor of those recorded there. The limit is fixed when the cell
is given out and stands in its record, so worker and driver exchange nothing, and a search that
was killed decides alike when it continues.

References
----------
Li et al., "A System for Massively Parallel Hyperparameter Tuning",
https://arxiv.org/abs/1810.05934
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from study.config.objective import Objective
from study.config.sections import DetectionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One rung, as it was when a cell was given out.

    Parameters
    ----------
    epoch : int
        Epochs done.
    limit : float or None
        The worst mean objective that goes on; None: any does.
    """

    epoch: int
    limit: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """The rungs that a stack of one cell's trials has to pass.

    Parameters
    ----------
    objective : Objective
    factor : int
    rungs : tuple of Rung
    """

    objective: Objective
    factor: int
    rungs: tuple[Rung, ...]

    def at(self, epoch: int) -> Rung | None:
        """Return the rung at an epoch, if there is one."""
        return next((rung for rung in self.rungs if rung.epoch == epoch), None)

    def reason(self, rung: Rung, value: float | None, *, n_epochs: int) -> str | None:
        """Return why a cell stops at a rung; None if it continues.

        Parameters
        ----------
        rung : Rung
        value : float or None
            The mean of the objective; without one nothing is known against the cell.
        n_epochs : int
            Epochs of a whole training.
        """
        if not is_beyond(value, rung.limit, sign=self.objective.sign):
            return None
        return (
            f"stopped after {rung.epoch} of {n_epochs} epochs: its cell's mean of "
            f"{self.objective.expression} is {value:.4g}; the best 1/{self.factor} at that rung "
            f"reach {rung.limit:.4g}"
        )


def is_beyond(value: float | None, limit: float | None, *, sign: float) -> bool:
    """Return whether a value is worse than a limit; never if either is unknown.

    Parameters
    ----------
    value, limit : float or None
    sign : float
        1 if low is good, -1 if high is.
    """
    return value is not None and limit is not None and sign * value > sign * limit


def rung_epochs(first: int | None, factor: int, n_epochs: int) -> tuple[int, ...]:
    """List the epochs of the rungs: the first, and each `factor` times the one before.

    Parameters
    ----------
    first : int or None
        None: there are no rungs.
    factor : int
    n_epochs : int
        Epochs of a whole training, whose end is not a rung.

    Examples
    --------
    >>> rung_epochs(10, 3, 100)
    (10, 30, 90)
    """
    epochs = []
    while first is not None and first < n_epochs:
        epochs.append(first)
        first *= factor
    return tuple(epochs)


def rung_limit(values: Sequence[float], *, factor: int, sign: float) -> float | None:
    """Find the worst value that is among the best 1/factor of a rung, its own included.

    Parameters
    ----------
    values : sequence of float
        Those recorded at the rung.
    factor : int
    sign : float
        1 if low is good, -1 if high is.

    Returns
    -------
    float or None
        None while fewer than `factor` are recorded: the first cells go on.

    Examples
    --------
    >>> rung_limit([5.0, 3.0, 4.0, 1.0, 2.0], factor=3, sign=1.0)
    2.0
    """
    if len(values) < factor:
        return None
    n_best = (len(values) + 1) // factor
    return sign * sorted(sign * value for value in values)[n_best - 1]


def mean_value(values: Iterable[float | None]) -> float | None:
    """Average what is known, whatever the order; None if nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def rung_detection(detection: DetectionConfig, columns: Collection[str]) -> DetectionConfig:
    """Leave out the counts that an objective does not use: a rung must be cheap.

    Parameters
    ----------
    detection : DetectionConfig
    columns : collection of str
        Those of the objective.
    """
    # Imported here: it brings pyarrow, and a plan need not wait for that.
    from study.results.endpoints import FIT_ENDPOINTS
    from study.results.tables import (
        GAP_COLUMNS,
        count_columns,
        reading_columns,
        reference_protocol,
    )

    names = frozenset(columns)
    pairs = {
        (source, protocol)
        for source in detection.sources
        for protocol in detection.protocols
        if names & set(count_columns(source, protocol))
        or (protocol == "calibrated" and names & set(reading_columns(source)))
    }
    if names & set(GAP_COLUMNS):
        pairs.add(("samples", "calibrated"))
    if names.intersection(FIT_ENDPOINTS):
        pairs.add(("samples", reference_protocol(detection.protocols)))
    sources, protocols = {source for source, _ in pairs}, {protocol for _, protocol in pairs}
    return replace(
        detection,
        sources=tuple(source for source in detection.sources if source in sources),
        protocols=tuple(protocol for protocol in detection.protocols if protocol in protocols),
        gap_restarts=detection.gap_restarts if names & set(GAP_COLUMNS) else 0,
    )
