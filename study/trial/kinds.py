"""Trainings of generators without an engine of their own: one after the other, each by its `fit`.

What a stack of autoencoders records, these record too: losses if `fit` yields them, a status, and
the state that everything is measured from.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.data.data_set import draw_data_set
from study.planning.units import Trial
from study.trial.models import State, train_kind
from study.trial.rows import Row

Report = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindTraining:
    """How the training of one model ended.

    Parameters
    ----------
    status, message : str, str or None
        "done", "diverged" or "timeout".
    losses : tuple of float
        After each epoch; empty if the kind reports none.
    state : dict of str to ndarray
        Empty if it did not end well.
    """

    status: str
    message: str | None
    losses: tuple[float, ...]
    state: State

    def curve_rows(self, trial: Trial) -> list[Row]:
        """Make the rows of `curves`; one without a loss if the kind reports none."""
        return [
            {"trial_id": trial.trial_id, "epoch": epoch, "loss": loss}
            for epoch, loss in enumerate(self.losses or (None,), start=1)
        ]


def fit_events(trial: Trial) -> Generator[Report, None, KindTraining]:
    """Train the model of a trial, pausing with a report after every epoch.

    Parameters
    ----------
    trial : Trial

    Yields
    ------
    dict
        `phase`, `epoch`, `n_epochs`, `loss` and `done`.

    Returns
    -------
    KindTraining

    Raises
    ------
    TypeError
        `fit` returns something else than arrays by name.
    """
    data = draw_data_set(trial.mixture, trial.data_seed, trial.detection.n_samples)
    limit_min = trial.training.timeout_min
    deadline = time.monotonic() + 60 * (limit_min or np.inf)
    found = train_kind(trial, data)
    losses: list[float] = []
    if isinstance(found, Iterator):
        while True:
            try:
                losses.append(float(next(found)))
            except StopIteration as stop:
                found = stop.value
                break
            yield _report(trial, losses)
            if time.monotonic() > deadline:
                message = f"passed training.timeout_min = {limit_min} after {len(losses)} epochs"
                return _ended("timeout", message, losses)
            if not np.isfinite(losses[-1]):
                message = f"NaN or infinity in epoch {len(losses)}"
                return _ended("diverged", message, losses)
    state = _checked_state(trial, found)
    strange = [name for name, values in state.items() if not _is_finite(values)]
    if strange:
        return _ended("diverged", f"NaN or infinity in {', '.join(strange)}", losses)
    return KindTraining(status="done", message=None, losses=tuple(losses), state=state)


def _ended(status: str, message: str, losses: list[float]) -> KindTraining:
    return KindTraining(status=status, message=message, losses=tuple(losses), state={})


def _report(trial: Trial, losses: list[float]) -> Report:
    return {
        "phase": "training",
        "epoch": len(losses),
        "n_epochs": max(trial.training.epochs, len(losses)),
        "loss": losses[-1] if np.isfinite(losses[-1]) else None,
        "done": False,
    }


def _checked_state(trial: Trial, found: Any) -> dict[str, np.ndarray]:
    if not isinstance(found, Mapping) or not found:
        raise TypeError(
            f"{trial.model.kind}.fit: must return a dict of arrays; found {type(found).__name__}"
        )
    state = {str(name): np.asarray(values, order="C") for name, values in found.items()}
    objects = [name for name, values in state.items() if values.dtype.hasobject]
    if objects:
        raise TypeError(f"{trial.model.kind}.fit: {objects[0]} is not an array of plain numbers")
    return state


def _is_finite(values: np.ndarray) -> bool:
    return values.dtype.kind not in "fc" or bool(np.isfinite(values).all())
