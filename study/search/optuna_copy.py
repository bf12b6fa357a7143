"""A copy of an adaptive sweep in Optuna's storage, for `optuna-dashboard` and Optuna's own plots.

The copy is written, never read: our tables are the record. It is written anew each time, because
Optuna cannot change the value of a finished trial and racing does. One copy is a journal file in
the results folder; another may go to a database (`study.sweep --storage`).
"""

from __future__ import annotations

import os
import string
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend

from study.config import SweepError
from study.config.search_space import Dimension
from study.results.address import shown_address, without_secrets
from study.results.folder import first_line
from study.search.state import Search

JOURNAL = "optuna.journal"
# Marks a study as ours, which may be replaced.
COPY_MARK = "copy of an adaptive sweep"
CONNECT_S = 10


def build_study(search: Search, *, name: str, storage: Any = None) -> optuna.Study:
    """Put a search into an Optuna study.

    Parameters
    ----------
    search : Search
    name : str
        Name of the study.
    storage : optuna storage, URL or None
        None keeps it in memory. A study of this name that is there already is replaced.

    Returns
    -------
    optuna.Study
        A trial a cell: its value is the mean over replicates, signed as the objective says; user
        attributes hold the number of replicates and the standard error. Values at rungs are its
        intermediate values, and a cell that was stopped there is pruned.
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
    study.set_user_attr(COPY_MARK, True)
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
        unknown = state.RUNNING if i in busy else state.FAIL
        if suggestion.is_stopped:
            unknown = state.PRUNED
        trials.append(
            optuna.trial.create_trial(
                params={d.name: shown(d, suggestion.point[d.name]) for d in active},
                distributions={d.name: distribution(d) for d in active},
                values=means[i].tolist() if is_known else None,
                state=state.COMPLETE if is_known else unknown,
                intermediate_values=dict(suggestion.rungs),
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
        Name of the study.

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


class DatabaseCopy:
    """A copy of a search in a database; what goes wrong with it never harms the search.

    Parameters
    ----------
    url : str
        Of the database, as SQLAlchemy reads it; `${NAME}` stands for a variable of the
        environment, so that a password need not be written down.
    name : str
        Name of the study.
    warn : callable
        Told once if the copy cannot be written; it is not tried again until the next run.

    Raises
    ------
    SweepError
        A variable is not set, the database cannot be opened, or it holds another study of this
        name.
    """

    def __init__(self, url: str, *, name: str, warn: Callable[[str], None]) -> None:
        self._shown = shown_address(url)
        self._name, self._warn, self._failed = name, warn, False
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._url = string.Template(url).substitute(os.environ)
        except (KeyError, ValueError) as error:
            raise SweepError(f"--storage: {self._shown}: {error} is not set") from None
        try:
            self._storage = optuna.storages.RDBStorage(self._url, engine_kwargs=_engine(self._url))
            found = {s.study_name: s for s in optuna.get_all_study_summaries(self._storage)}
        except Exception as error:  # of whatever driver the database has
            raise SweepError(f"--storage: {self._shown}: {self._cause(error)}") from None
        if name in found and COPY_MARK not in found[name].user_attrs:
            raise SweepError(
                f"--storage: {self._shown} holds a study {name} that is not a copy of an adaptive "
                "sweep; give this one a different name"
            )

    def write(self, search: Search) -> None:
        """Replace the copy; the first failure is said, and ends the copying for this run."""
        if self._failed:
            return
        try:
            build_study(search, name=self._name, storage=self._storage)
        except Exception as error:  # of whatever driver the database has
            self._failed = True
            self._warn(
                f"--storage: {self._shown}: {self._cause(error)}; the search continues without "
                "this copy, which the same command writes again"
            )

    def _cause(self, error: Exception) -> str:
        return without_secrets(first_line(error), self._url)[:300]


def _engine(url: str) -> dict[str, Any]:
    """Bound the wait for a server that does not answer."""
    if url.startswith(("postgresql", "mysql")):
        return {"connect_args": {"connect_timeout": CONNECT_S}}
    return {}
