"""An adaptive sweep in its results folder: proposals are recorded, run, and answered by rows.

A work is written to the `works` table before it runs. After any interruption the search is rebuilt
from that table and the trials' rows: what was asked for and did not finish runs first, and nothing
is asked twice.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from study.config.cells import Sweep, make_cell
from study.config.early_stopping import Halving, Rung, mean_value, rung_epochs
from study.planning.trials import Trial, point_trials
from study.planning.units import Stack, Unit, plan_controls
from study.results import finished_ids, read_table
from study.results.folder import ResultsError, ResultsFolder
from study.results.provenance import timestamp
from study.results.record import drop_doubles
from study.results.tables import CONTROL_FIELDS, WELL_ENDED, to_table
from study.search.race import cluster_mean
from study.search.state import Search, Seeds, Work

if TYPE_CHECKING:
    from study.search.optuna_copy import DatabaseCopy

Row = dict[str, Any]
# Works between two summaries while the search runs.
SUMMARY_EVERY = 10
_TIMES = ("train_s", "count_s", "endpoints_s")
_STATE = ("status", "finished_at")
_OWN = ("trial_id", "control_id", *_STATE, *_TIMES)


class Adaptive:
    """The state of an adaptive sweep and what it has on disk.

    Parameters
    ----------
    sweep : Sweep
        An adaptive sweep.
    folder : ResultsFolder
    retried : collection of str
        Statuses of recorded trials that are to run again.
    lost : collection of str
        Ids of recorded trials that lost rows and run again.
    limit : int or None
        Most trials to start.
    database : DatabaseCopy or None
        Where a copy goes beside the one in the folder.

    Raises
    ------
    ResultsError
        The folder cannot be read, or holds the works of another search.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: ResultsFolder,
        *,
        retried: Collection[str] = (),
        lost: Collection[str] = (),
        limit: int | None = None,
        database: DatabaseCopy | None = None,
    ) -> None:
        assert sweep.search is not None
        self.sweep, self.folder = sweep, folder
        self.search = Search(sweep.search, sweep.replicates, rungs=_rung_epochs(sweep))
        self.trials: list[Trial] = []
        self._retried, self._lost = frozenset(retried), frozenset(lost)
        self._n_left = float("inf") if limit is None else limit
        self._queue: deque[Unit] = deque()
        self._n_answered = 0
        self._database = database
        # Units that a running work still waits for.
        self._waiting: dict[int, set[str]] = {}
        self._controls = {
            key for key, status in finished_ids(folder, "controls").items() if status == "done"
        }
        self._rebuild()

    @property
    def is_over(self) -> bool:
        """Return whether nothing was left to propose or wait for when last asked for a unit."""
        if self._n_left <= 0:
            return True
        return not self._queue and not self.search.running

    @property
    def open_trials(self) -> list[Trial]:
        """Trials that were asked for and wait for a worker."""
        return [trial for unit in self._queue for trial in unit.trials]

    @property
    def is_complete(self) -> bool:
        """Return whether the record holds the whole search."""
        return self.n_unasked == 0 and not self._queue

    @property
    def n_unasked(self) -> int:
        """Trials that the search would still ask for next; 0 once its budget is spent."""
        if self.search.running:
            return 0
        work = copy.deepcopy(self.search).next_work()
        return 0 if work is None else len(work.seeds)

    def next_unit(self) -> Unit | None:
        """Return the next unit to run; None when nothing should start now.

        Raises
        ------
        OSError
            The proposal cannot be recorded; it is not run then.
        """
        if self._n_left <= 0:
            return None
        if not self._queue:
            work = self.search.next_work()
            if work is None:
                return None
            self._record(work, self._enqueue(work, {}))
        unit = self._queue.popleft()
        self._n_left -= len(unit.trials)
        return unit

    def finish(self, unit: Unit) -> None:
        """Take note that a unit's rows have landed, and answer its work when all have."""
        for number, units in list(self._waiting.items()):
            if unit.unit_id in units:
                units.discard(unit.unit_id)
                if not units:
                    del self._waiting[number]
                    self._answer(self.search.running[number], self._rows(), self._at_rungs())
                    self._n_answered += 1
                    if self._n_answered % SUMMARY_EVERY == 0:
                        # A view for onlookers: a full disk shows up where rows are written.
                        with contextlib.suppress(OSError):
                            self.write_summary()

    def _enqueue(self, work: Work, ended: Mapping[str, str]) -> tuple[Trial, ...]:
        """Queue a work's units: controls that nobody has counted yet, and one stack."""
        trials = self._trials(work)
        left = tuple(trial for trial in trials if self._is_left(trial, ended))
        controls = plan_controls(trials, n_workers=1, recorded=self._controls)
        self._controls |= {c.control_id for batch in controls for c in batch.controls}
        # Some trials alone would be judged by another mean than the cell's.
        halving = self._halving(work) if len(left) == len(trials) else None
        units: tuple[Unit, ...] = (*controls, Stack(trials=left, halving=halving))
        self._queue.extend(units)
        self._waiting[work.work] = {unit.unit_id for unit in units}
        self.trials += trials
        return trials

    def _halving(self, work: Work) -> Halving | None:
        if not work.rungs:
            return None
        config = self.search.config
        return Halving(
            objective=config.objectives[0], factor=config.options.stop_factor, rungs=work.rungs
        )

    def _is_left(self, trial: Trial, ended: Mapping[str, str]) -> bool:
        return ended.get(trial.trial_id) in (None, *self._retried)

    def _trials(self, work: Work) -> tuple[Trial, ...]:
        gallery = work.purpose == "explore"
        return point_trials(self.sweep, work.point, work.seeds, gallery=gallery)

    def _record(self, work: Work, trials: tuple[Trial, ...]) -> None:
        row = {
            "work": work.work,
            "suggestion": work.suggestion,
            "purpose": work.purpose,
            "cell": trials[0].cell,
            "point": json.dumps(work.point),
            "seeds": [list(seeds) for seeds in work.seeds],
            "trial_ids": [trial.trial_id for trial in trials],
            "asked_at": timestamp(),
            "rungs": json.dumps([[rung.epoch, rung.limit] for rung in work.rungs]),
        }
        self.folder.write_part("works", f"{work.work:06d}", [row])
        self.write_plan()

    def write_plan(self) -> None:
        """Record the trials asked for so far as the plan."""
        rows = [
            {"trial_id": t.trial_id, "control_id": t.control_id, "cell": t.cell}
            for t in self.trials
        ]
        self.folder.write_table("plan.parquet", to_table("plan", rows))

    def write_summary(self) -> None:
        """Write what is known of each cell: the `suggestions` table, and Optuna's copy of it.

        Raises
        ------
        OSError
            The files cannot be written.
        """
        best = set(self.search.best())
        rows = [
            row | {"is_best": row["suggestion"] in best}
            for index in range(len(self.search.config.objectives))
            for row in self._cells(index)
        ]
        self.folder.write_table("suggestions.parquet", to_table("suggestions", rows))
        if self.folder.is_local:
            # Only here: Optuna's storage layer takes half a second to import.
            from study.search.optuna_copy import JOURNAL, write_journal

            write_journal(self.search, Path(self.folder.path) / JOURNAL, name=self.sweep.name)
        if self._database is not None:
            self._database.write(self.search)

    def _cells(self, index: int) -> list[Row]:
        objective = self.search.config.objectives[index]
        known = self.search.estimates(index)
        rows = []
        for suggestion in self.search.suggestions:
            i = suggestion.number
            (trial,) = point_trials(self.sweep, suggestion.point, [(0, 0, 0)], gallery=False)
            # A mean on fresh seeds stands alone: the spread of the data sets is part of its error.
            fresh = {seeds: values[index] for seeds, values in suggestion.fresh.items()}
            fresh_value, fresh_se, fresh_n = cluster_mean(fresh)
            row = {
                "suggestion": i,
                "objective": objective.expression,
                "direction": objective.direction,
                "cell": trial.cell,
                "point": json.dumps(suggestion.point),
                "value": objective.sign * known.mean[i],
                "se": known.se[i],
                "n": int(known.n[i]),
                "fresh_value": fresh_value,
                "fresh_se": fresh_se,
                "fresh_n": fresh_n,
            }
            if suggestion.is_stopped:
                epoch = max(suggestion.rungs, default=None)
                row |= {
                    "stopped_epoch": epoch,
                    "stopped_value": None if epoch is None else suggestion.rungs[epoch],
                }
            numbers = {k: v for k, v in row.items() if isinstance(v, float)}
            rows.append(row | {k: None for k, v in numbers.items() if not np.isfinite(v)})
        return rows

    def _answer(
        self, work: Work, rows: Mapping[str, Row], at_rungs: Mapping[str, Sequence[Row]]
    ) -> None:
        trials = self._trials(work)
        found = [rows.get(trial.trial_id) for trial in trials]
        measured = [row for trial in trials for row in at_rungs.get(trial.trial_id, ())]
        means = {
            rung.epoch: mean_value(r["value"] for r in measured if r["epoch"] == rung.epoch)
            for rung in work.rungs
        }
        worker_s = sum(map(_worker_s, found)) + sum(row["measure_s"] for row in measured)
        self.search.finish(
            work,
            {
                seeds: row if row is not None and row["status"] == "done" else None
                for seeds, row in zip(work.seeds, found, strict=True)
            },
            worker_s,
            rungs={epoch: mean for epoch, mean in means.items() if mean is not None},
            is_stopped=any(row is not None and row["status"] == "stopped" for row in found),
        )

    def _rows(self) -> dict[str, Row]:
        """Read what the objectives need of the trials that are done or stopped, by id."""
        assert self.sweep.search is not None
        used = {name for entry in self.sweep.search.objectives for name in entry.columns}
        of_controls = [name for name, _ in CONTROL_FIELDS if name in used]
        own = [*dict.fromkeys([*_OWN, *sorted(used - set(of_controls))])]
        trials = drop_doubles("trials", self.folder.read_raw("trials", own).to_pandas())
        trials = trials[trials["status"].isin(WELL_ENDED)]
        if of_controls:
            raw = self.folder.read_raw("controls", ["control_id", *_STATE, *of_controls])
            controls = drop_doubles("controls", raw.to_pandas())
            trials = trials.merge(controls.drop(columns=list(_STATE)), on="control_id", how="left")
        return {row["trial_id"]: row for row in _records(_plain(trials))}

    def _at_rungs(self) -> dict[str, list[Row]]:
        """Read what this objective was at rungs, by trial."""
        if not self.search.rungs:
            return {}
        frame = drop_doubles("rungs", self.folder.read_raw("rungs").to_pandas())
        mine = frame["objective"].eq(self.search.config.objectives[0].expression)
        rows: dict[str, list[Row]] = {}
        for row in _records(_plain(frame[mine])):
            rows.setdefault(row["trial_id"], []).append(row)
        return rows

    def _rebuild(self) -> None:
        """Bring the search to where its record left it."""
        rows = _records(read_table(self.folder, "works"))
        works = sorted((_work(row) for row in rows), key=lambda work: work.work)
        ended = {k: v for k, v in finished_ids(self.folder).items() if k not in self._lost}
        recorded = {int(row["work"]): list(row["trial_ids"]) for row in rows}
        finished = []
        for work in works:
            trials = self._trials(work)
            if [trial.trial_id for trial in trials] != recorded[work.work]:
                raise ResultsError(
                    f"{self.folder.path}: holds a search with other settings, or of another "
                    "version of the code; give this one a different name"
                )
            self.search.start(work)
            if any(self._is_left(trial, ended) for trial in trials):
                self._enqueue(work, ended)
            else:
                finished.append(work)
                self.trials += trials
        if works:
            self.write_plan()
        if finished:
            known, at_rungs = self._rows(), self._at_rungs()
            for work in finished:
                self._answer(work, known, at_rungs)


def _records(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(object).where(frame.notna(), None)


def _rung_epochs(sweep: Sweep) -> tuple[int, ...]:
    assert sweep.search is not None
    options = sweep.search.options
    training = make_cell(dict(sweep.blocks[0].fixed)).training
    return rung_epochs(options.stop_after, options.stop_factor, training.epochs)


def _work(row: Mapping[str, Any]) -> Work:
    point = {name: _frozen(value) for name, value in json.loads(row["point"]).items()}
    return Work(
        work=int(row["work"]),
        suggestion=int(row["suggestion"]),
        point=point,
        seeds=tuple(_seeds(seeds) for seeds in row["seeds"]),
        purpose=row["purpose"],
        rungs=_rungs(row["rungs"]),
    )


def _rungs(text: Any) -> tuple[Rung, ...]:
    # Records made before there were rungs hold null, which pandas may read as NaN.
    listed = json.loads(text) if isinstance(text, str) else []
    return tuple(Rung(epoch=epoch, limit=limit) for epoch, limit in listed)


def _seeds(values: Any) -> Seeds:
    data, init, sample = map(int, values)
    return data, init, sample


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _worker_s(row: Mapping[str, Any] | None) -> float:
    if row is None:
        return 0.0
    return sum(float(row[name] or 0.0) for name in _TIMES)
