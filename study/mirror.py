"""A copy of an adaptive sweep in Optuna's storage, for `optuna-dashboard` and Optuna's own plots.

The copy is written, never read: our tables are the record. It is written anew each time, because
Optuna cannot change the value of a finished trial and racing does.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend

from study.search import Search
from study.search_space import Dimension

JOURNAL = "optuna.journal"


def build_study(search: Search, *, name: str, storage: Any = None) -> optuna.Study:
    """Put a search into an Optuna study.

    Parameters
    ----------
    search : Search
    name : str
        Of the study.
    storage : optuna storage, URL or None
        None keeps it in memory. A study of this name that is there already is replaced.

    Returns
    -------
    optuna.Study
        A trial a cell: its value is the mean over replicates, signed as the objective says; user
        attributes hold the number of replicates and the standard error.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if storage is not None and name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)
    objectives = search.config.objectives
    study = optuna.create_study(
        study_name=name, storage=storage, directions=[entry.direction for entry in objectives]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([entry.expression for entry in objectives])
    if search.suggestions:
        study.add_trials(_trials(search))
    return study


def _trials(search: Search) -> list[optuna.trial.FrozenTrial]:
    estimates = [search.estimates(i) for i in range(len(search.config.objectives))]
    signs = [entry.sign for entry in search.config.objectives]
    means = np.stack([e.mean * sign for e, sign in zip(estimates, signs, strict=True)], axis=1)
    busy = {work.suggestion for work in search.running.values()}
    trials = []
    for suggestion in search.suggestions:
        i = suggestion.number
        active = [d for d in search.config.space if d.name in suggestion.point]
        is_known = bool(np.isfinite(means[i]).all())
        state = optuna.trial.TrialState
        trials.append(
            optuna.trial.create_trial(
                params={d.name: shown(d, suggestion.point[d.name]) for d in active},
                distributions={d.name: distribution(d) for d in active},
                values=means[i].tolist() if is_known else None,
                state=state.COMPLETE if is_known else state.RUNNING if i in busy else state.FAIL,
                user_attrs={
                    "replicates": int(estimates[0].n[i]),
                    "standard_errors": [_finite(e.se[i]) for e in estimates],
                    "measured_again": suggestion.remeasured,
                },
            )
        )
    return trials


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def shown(dimension: Dimension, value: Any) -> Any:
    """Turn a value into what Optuna shows: numbers, or text."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return value if numeric else str(value)


def distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    """Describe a dimension to Optuna as people read it: choices by their values."""
    if dimension.kind == "choice":
        choices = [shown(dimension, value) for value in dimension.choices]
        return optuna.distributions.CategoricalDistribution(choices)
    if dimension.kind == "int":
        low, high = int(dimension.low), int(dimension.high)
        return optuna.distributions.IntDistribution(low, high, log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def write_journal(search: Search, path: Path, *, name: str) -> None:
    """Write a search as a journal file that `optuna-dashboard FILE` opens; replaced at once.

    Parameters
    ----------
    search : Search
    path : Path
    name : str
        Of the study.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="optuna-", dir=path.parent) as scratch:
        place = Path(scratch) / path.name
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(place)))
        build_study(search, name=name, storage=storage)
        os.replace(place, path)
