"""Finished trials of a results folder: chosen at random, and compared with a second run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.config import SweepError, read_resolved
from study.planning.units import StoredTraining, Trial, expand, stage_versions
from study.plugins import require
from study.results import read_table
from study.results.comparison import Comparison, Judge, Level, compare_tables
from study.results.folder import ResultsError, ResultsFolder, open_folder
from study.results.precision import STAGES, Sizes
from study.results.record import drop_doubles
from study.results.spread import Spread
from study.results.tables import KEYS, SCHEMA_VERSION, pandas_type
from study.trial.stored import find_stored

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What is left of a training whose points were counted by another version.
OF_TRAINING = ("trials", "curves", "weights")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A finished trial that is to be done again.

    Parameters
    ----------
    trial : Trial
    row : mapping of str to object
        Its recorded row of `trials`.
    stages : frozenset of str
        Stages whose version made the row; numbers of others cannot be compared.
    stored : StoredTraining or None
        Its weights, if they are there and can be counted again.
    """

    trial: Trial
    row: Mapping[Any, Any]
    stages: frozenset[str]
    stored: StoredTraining | None


class Recorded:
    """What a results folder holds of the trials of its sweep.

    Parameters
    ----------
    location : str
        The folder, as workers open it.
    name : str
        What messages call it.

    Raises
    ------
    ResultsError
        None of its trials can be done again by this code; the message says why.
    """

    def __init__(self, location: str, name: str) -> None:
        self.folder: ResultsFolder = open_folder(location)
        self._location, self._name = location, name
        manifest = self.folder.read_manifest()
        require(manifest.get("plugins", {}), place=name)
        try:
            sweep = read_resolved(manifest.get("sweep", {}), place=f"{name}/manifest.json")
        except SweepError as error:
            raise ResultsError(f"{error}; this code cannot run that sweep again") from None
        if sweep.search is not None:
            raise ResultsError(f"{name}: trials of an adaptive sweep cannot be verified yet")
        rows = read_table(self.folder, "trials")
        self.done = rows[rows["status"] == "done"]
        if self.done.empty:
            raise ResultsError(f"{name}: no trial is finished yet")
        self.other_versions = _other_versions(manifest)
        self._trials = expand(sweep)

    def choose(self, n_trials: int, *, seed: int, level: Level | None = None) -> list[Task]:
        """Choose finished trials at random.

        Parameters
        ----------
        n_trials : int
            At most.
        seed : int
        level : Level or None
            The level that was asked for.

        Raises
        ------
        ResultsError
            None can be done again by this code at this level; the message says why.
        """
        rows = {row["trial_id"]: row for row in self.done.to_dict("records")}
        found = [(trial, trial.trial_id) for trial in self._trials if trial.trial_id in rows]
        stages = STAGES
        if not found:
            found, stages = self._with_known_trainings(), STAGES - {"scoring"}
        if not found or (level is Level.COUNTED and stages != STAGES):
            raise ResultsError(
                f"{self._name}: its rows were made by other stage versions: {self.other_versions}"
                "; check out the commit that made them to verify them, or run the sweep again"
            )
        stored: dict[str, StoredTraining] = {}
        if level is not Level.TRAINED and stages == STAGES:
            stored = find_stored(self._location, [trial for trial, _ in found]).trainings
            stored = {key: item for key, item in stored.items() if item.shard}
        if level is Level.COUNTED:
            found = [pair for pair in found if pair[0].training_id in stored]
            if not found:
                raise ResultsError(
                    f"{self._name}: no weights are stored here (weights/ is not under version "
                    "control), so no trial can be counted again; --level trained trains them"
                )
        return [
            Task(trial=trial, row=rows[key], stages=stages, stored=stored.get(trial.training_id))
            for trial, key in random.Random(seed).sample(found, min(n_trials, len(found)))
        ]

    def _with_known_trainings(self) -> list[tuple[Trial, str]]:
        """List trials whose training this code would make alike, each with a row of it."""
        scored = dict(zip(self.done["training_id"], self.done["trial_id"], strict=True))
        first = {trial.training_id: trial for trial in reversed(self._trials)}
        return [(trial, scored[key]) for key, trial in first.items() if key in scored]

    def spread(self, *, n_numbers: int) -> Spread:
        """Return the spread of these results over training seeds.

        Parameters
        ----------
        n_numbers : int
            Numbers that are compared in all.
        """
        owners = self.done.set_index("trial_id")[["cell", "data_seed"]]
        return Spread(lambda name: read_table(self.folder, name), owners, n_numbers=n_numbers)

    def compare(
        self, task: Task, found: Mapping[str, pa.Table], level: Level, spread: Spread | None
    ) -> Comparison:
        """Compare what was recorded of a trial and its control with what doing it again gave.

        Parameters
        ----------
        task : Task
        found : mapping of str to Table
            As `study.trial.again` returns it.
        level : Level
        spread : Spread or None
            Needed for trials that were trained again.
        """
        is_whole = task.stages == STAGES
        names = [name for name in found if is_whole or name in OF_TRAINING]
        again = {name: _frame(name, found[name]) for name in names}
        for frame in again.values():
            if not is_whole and "trial_id" in frame:
                frame["trial_id"] = task.row["trial_id"]
        judge = Judge(
            level=level,
            sizes=Sizes(
                n_components=int(task.row["n_components"]),
                n_points=int(task.trial.detection.n_samples),
            ),
            spread=spread,
            stages=task.stages,
            ignore_absent=not is_whole or task.row["schema_version"] < SCHEMA_VERSION,
        )
        return compare_tables({name: self._rows(name, task) for name in names}, again, judge)

    def _rows(self, name: str, task: Task) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.compute as pc

        key = KEYS[name][0]
        ids = {
            "trial_id": [task.row["trial_id"]],
            "training_id": [task.trial.training_id],
            "control_id": [task.trial.control_id],
            "owner_id": [task.row["trial_id"], task.trial.control_id],
        }
        raw = self.folder.read_raw(name)
        return _frame(name, raw.filter(pc.is_in(raw[key], pa.array(ids[key], pa.string()))))


def _other_versions(manifest: Mapping[str, Any]) -> str:
    """Name the stages whose version is not this code's; empty if there is none."""
    then = manifest.get("versions", {})
    return ", ".join(
        f"{stage} {then.get(stage, 'unknown')} (this code: {version})"
        for stage, version in stage_versions().items()
        if then.get(stage) != version
    )


def _frame(name: str, table: pa.Table) -> pd.DataFrame:
    frame = drop_doubles(name, table.to_pandas(types_mapper=pandas_type))
    return frame.sort_values(list(KEYS[name]), ignore_index=True)


def count_numbers(tables: Sequence[Mapping[str, pa.Table]]) -> int:
    """Count the numbers of some tables."""
    return sum(table.num_rows * table.num_columns for each in tables for table in each.values())
