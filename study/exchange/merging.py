"""Several results folders of one sweep made into one, where machines share no disk.

Ids decide. A trial that one folder has done is taken from there; rows that are equal are one row;
of rows with the same id and other numbers the first folder's stay, and the others are kept aside
in `conflicts/`, named in `merge.json` with both commits and processors. What belongs to a trial
(its curves, counts, points) comes from the folder that its row comes from. Weights go by training.

The new folder is made under another name beside its place and renamed at the end, so that a merge
that is killed leaves nothing under its name; the next one clears what it left.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from study.results import ResultsError, ResultsFolder, open_folder, timestamp
from study.results.address import shown_address
from study.results.compaction import compact
from study.results.comparison import CIRCUMSTANCES
from study.results.folder import read_whole
from study.results.lineage import check_lineage, record_run
from study.results.lock import LOCK_NAME, find_living, hold, lock_names
from study.results.record import drop_doubles
from study.results.tables import (
    KEYS,
    frame_to_table,
    pandas_type,
)

if TYPE_CHECKING:
    import pandas as pd

MERGE_RECORD = "merge.json"
CONFLICTS = "conflicts"
# Rows of the others belong to an owner of one of these two.
DECIDED = ("controls", "trials")
_SEARCH_TABLES = ("works", "suggestions", "rungs")
MOST_COLUMNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Which code on which processor made a row, and where it is recorded."""

    folder: str
    commit: str
    cpu: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Two rows of one id with other numbers.

    Parameters
    ----------
    table, id : str
    kept, aside : Made
        The row that the merged folder has, and the one in `conflicts/`.
    columns : tuple of str
        Columns in which they differ, the first few.
    """

    table: str
    id: str
    kept: Made
    aside: Made
    columns: tuple[str, ...]

    def __str__(self) -> str:
        kept, aside = self.kept, self.aside
        return (
            f"{self.table} {self.id}: {', '.join(self.columns)} differ; kept: {kept.folder} "
            f"(commit {kept.commit[:12]}, {kept.cpu}), aside: {aside.folder} "
            f"(commit {aside.commit[:12]}, {aside.cpu})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did.

    Parameters
    ----------
    folder : Path
    n_taken : tuple of int
        Trials taken from each source.
    n_equal : int
        Trials that were recorded more than once, with equal numbers.
    n_planned, n_done : int
    conflicts : tuple of Conflict
    """

    folder: Path
    n_taken: tuple[int, ...]
    n_equal: int
    n_planned: int
    n_done: int
    conflicts: tuple[Conflict, ...]


@dataclass(frozen=True)
class _Source:
    """A folder that is merged, with its rows of trials and controls."""

    folder: ResultsFolder
    shown: str

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return self.folder.read_manifest()

    @cached_property
    def plan(self) -> pd.DataFrame:
        return self.rows("plan")

    @cached_property
    def decided(self) -> dict[str, pd.DataFrame]:
        return {name: self.rows(name).set_index(KEYS[name][0]) for name in DECIDED}

    def rows(self, table: str) -> pd.DataFrame:
        raw = self.folder.read_raw(table)
        return drop_doubles(table, raw.to_pandas(types_mapper=pandas_type))

    def made(self, table: str, key: str) -> Made:
        row = self.decided[table].loc[key]
        return Made(folder=self.shown, commit=str(row["commit"]), cpu=str(row["cpu"]))


@dataclass(frozen=True, kw_only=True)
class _Decision:
    """Whose row is whose: owners by source, those that are equal elsewhere, and conflicts."""

    taken: tuple[set[str], ...]
    equal: tuple[set[str], ...]
    aside: tuple[set[str], ...]
    conflicts: list[Conflict] = field(default_factory=list)


def merge(locations: Sequence[str], target: str | Path) -> Merged:
    """Merge results folders of one sweep into a new one.

    Parameters
    ----------
    locations : sequence of str
        Paths or URIs of two folders or more; of rows that differ the first folder's stay.
    target : path
        The new folder, on this machine; it must not exist.

    Returns
    -------
    Merged

    Raises
    ------
    ResultsError
        There are not two different folders, one cannot be read or is being written, they are not
        of one sweep, or the new folder exists.
    OSError
        The new folder cannot be written.
    """
    place = Path(target).absolute()
    if place.exists():
        raise ResultsError(f"{target}: exists already; a merge makes a new folder")
    sources = _open(locations)
    whole = _covering(sources)
    partial = open_folder(place.with_name(f".{place.name}.merging"))
    with hold(partial):
        _clear(partial)
        merged = _write(sources, whole, partial, place)
    os.rename(partial.path, place)
    return merged


def _open(locations: Sequence[str]) -> list[_Source]:
    sources = []
    for location in locations:
        folder = open_folder(location)
        shown = shown_address(location) if "://" in location else location
        sources.append(_Source(folder, shown.rstrip("/")))
    paths = [(type(s.folder.filesystem), os.path.realpath(s.folder.path)) for s in sources]
    if len(set(paths)) < 2 or len(set(paths)) < len(paths):
        raise ResultsError("merge: name two or more different results folders")
    for source in sources:
        if source.manifest.get("sweep", {}).get("search"):
            raise ResultsError(
                f"{source.shown}: an adaptive sweep chose its trials by the results it had, so "
                "two of them are not parts of one; they can be reported side by side"
            )
        check_lineage(source.folder)
        for name in lock_names(source.folder):
            writer = find_living(source.folder, name)
            if writer is not None:
                raise ResultsError(
                    f"{source.shown}: is being written by {writer}; wait for its end"
                )
    return sources


def _covering(sources: Sequence[_Source]) -> _Source:
    """Find the folder whose plan holds all trials that any of them plans.

    Raises
    ------
    ResultsError
        There is none.
    """
    first, *_ = sources
    names = {source.manifest.get("name") for source in sources}
    if len(names) > 1:
        raise ResultsError(
            f"merge: folders of different sweeps: {', '.join(sorted(map(str, names)))}"
        )
    plans = [set(source.plan["trial_id"]) for source in sources]
    everything = set().union(*plans)
    for source, plan in zip(sources, plans, strict=True):
        if plan == everything:
            return source
    lacking = next(s for s, plan in zip(sources, plans, strict=True) if plan - plans[0])
    raise ResultsError(
        f"merge: no folder plans all {len(everything)} trials ({lacking.shown} has some that "
        f"{first.shown} lacks, and the other way round); write one sweep file with all values and "
        f"seeds, run it with --limit 1 into one of them, and merge again"
    )


def _clear(folder: ResultsFolder) -> None:
    """Remove what a merge that was killed has left; the lock is ours."""
    for path in Path(folder.path).iterdir():
        if path.name != LOCK_NAME:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _write(
    sources: Sequence[_Source], whole: _Source, folder: ResultsFolder, place: Path
) -> Merged:
    decisions = {name: _decide(sources, name) for name in DECIDED}
    conflicts = [one for decision in decisions.values() for one in decision.conflicts]
    for table in KEYS:
        if table not in (*_SEARCH_TABLES, "plan", "weights"):
            _write_rows(sources, table, decisions, folder)
    conflicts += _write_weights(sources, folder)
    folder.write_bytes("manifest.json", whole.folder.read_small("manifest.json"))
    folder.write_table("plan.parquet", frame_to_table("plan", whole.plan))
    trials = decisions["trials"]
    merged = Merged(
        folder=place,
        n_taken=tuple(len(ids) for ids in trials.taken),
        n_equal=len(set().union(*trials.equal)),
        n_planned=len(whole.plan),
        n_done=_count_done(sources, trials, set(whole.plan["trial_id"])),
        conflicts=tuple(conflicts),
    )
    folder.write_bytes(MERGE_RECORD, json.dumps(_record(sources, merged), indent=1).encode())
    record_run(folder)
    compact(folder)
    return merged


def _decide(sources: Sequence[_Source], table: str) -> _Decision:
    """Choose for each id the source that its row comes from: a done one before others."""
    n = len(sources)
    decision = _Decision(
        taken=tuple(set() for _ in range(n)),
        equal=tuple(set() for _ in range(n)),
        aside=tuple(set() for _ in range(n)),
    )
    frames = [source.decided[table] for source in sources]
    owner: dict[str, int] = {}
    for index, frame in enumerate(frames):
        for key, status, ended in zip(
            frame.index, frame["status"], frame["finished_at"], strict=True
        ):
            held = owner.get(key)
            row = None if held is None else frames[held].loc[key]
            if row is None or (
                row["status"] != "done" and (status == "done" or ended > row["finished_at"])
            ):
                owner[key] = index
    for key, index in owner.items():
        decision.taken[index].add(key)
    for later in range(n):
        done = frames[later].index[frames[later]["status"] == "done"]
        for earlier in range(n):
            both = [key for key in done if owner[key] == earlier != later]
            unlike = _unlike(frames[earlier].loc[both], frames[later].loc[both])
            decision.equal[later].update(set(both) - unlike.keys())
            decision.aside[later].update(unlike)
            decision.conflicts.extend(
                Conflict(
                    table=table,
                    id=key,
                    kept=sources[earlier].made(table, key),
                    aside=sources[later].made(table, key),
                    columns=columns,
                )
                for key, columns in unlike.items()
            )
    return decision


def _unlike(left: pd.DataFrame, right: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Map the ids of rows that differ to columns in which they do."""
    names = [name for name in dict.fromkeys((*left, *right)) if name not in CIRCUMSTANCES]
    found: dict[str, list[str]] = {}
    for name in names:
        one, other = (_values(frame, name) for frame in (left, right))
        for key, a, b in zip(left.index, one, other, strict=True):
            if a != b:
                found.setdefault(key, []).append(name)
    return {key: tuple(columns[:MOST_COLUMNS]) for key, columns in found.items()}


def _values(frame: pd.DataFrame, name: str) -> list[Any]:
    """Return a column's values so that equal ones compare equal: missing ones are None."""
    import pandas as pd

    if name not in frame:
        return [None] * len(frame)
    return [
        tuple(value) if hasattr(value, "__len__") and not isinstance(value, str) else
        None if pd.isna(value) else value
        for value in frame[name]
    ]  # fmt: skip


def _write_rows(
    sources: Sequence[_Source],
    table: str,
    decisions: Mapping[str, _Decision],
    folder: ResultsFolder,
) -> None:
    """Write the rows of one table that each source gives, and those that are kept aside."""
    key = KEYS[table][0]
    given: set[str] = set()
    for index, source in enumerate(sources):
        raw = source.folder.read_raw(table)
        frame = drop_doubles(table, raw.to_pandas(types_mapper=pandas_type))
        mine, equal, aside = (
            set().union(*(getattr(decision, part)[index] for decision in decisions.values()))
            for part in ("taken", "equal", "aside")
        )
        # What an equal trial's folder keeps besides, such as its points, comes along.
        wanted = mine if table in DECIDED else mine | (equal - given)
        rows = frame[frame[key].isin(wanted)]
        given |= set(rows[key])
        for place, part in (
            (f"parts/{table}/merged-{index}.parquet", rows),
            (f"{CONFLICTS}/{table}-{index}.parquet", frame[frame[key].isin(aside)]),
        ):
            if len(part):
                folder.write_table(place, frame_to_table(table, part, more=raw.schema))


def _write_weights(sources: Sequence[_Source], folder: ResultsFolder) -> list[Conflict]:
    """Copy weights, each training's once; return those that differ between sources."""
    digests: dict[str, tuple[str, int]] = {}
    conflicts = []
    for index, source in enumerate(sources):
        tables = source.folder.read_files("weights", lambda file: read_whole(file, "weights"))
        for number, table in enumerate(tables):
            new, other = [], []
            for training, digest in _digests(table).items():
                held = digests.setdefault(training, (digest, index))
                if held[1] == index:
                    new.append(training)
                elif held[0] != digest:
                    other.append(training)
                    conflicts.append(_of_weights(sources, training, held[1], index))
            for place, ids in (("weights", new), (f"{CONFLICTS}/weights", other)):
                rows = table.filter(pc.is_in(table["training_id"], pa.array(ids, pa.string())))
                if rows.num_rows:
                    folder.write_table(f"{place}/merged-{index}-{number}.parquet", rows)
    return conflicts


def _digests(table: pa.Table) -> dict[str, str]:
    """Map trainings to a digest of their tensors, in the order of their names."""
    rows = zip(
        *(table[name].to_pylist() for name in ("training_id", "name", "values")), strict=True
    )
    found: dict[str, Any] = {}
    for training, name, values in sorted(rows):
        digest = found.setdefault(training, hashlib.sha256())
        digest.update(f"{name}\0".encode() + values)
    return {training: digest.hexdigest() for training, digest in found.items()}


def _of_weights(sources: Sequence[_Source], training: str, kept: int, aside: int) -> Conflict:
    made = []
    for index in (kept, aside):
        trials = sources[index].decided["trials"]
        keys = trials.index[trials["training_id"] == training]
        made.append(
            sources[index].made("trials", keys[0])
            if len(keys)
            else Made(folder=sources[index].shown, commit="unknown", cpu="unknown")
        )
    return Conflict(table="weights", id=training, kept=made[0], aside=made[1], columns=("values",))


def _count_done(sources: Sequence[_Source], decision: _Decision, planned: set[str]) -> int:
    return sum(
        int((source.decided["trials"].loc[sorted(ids & planned), "status"] == "done").sum())
        for source, ids in zip(sources, decision.taken, strict=True)
    )


def _record(sources: Sequence[_Source], merged: Merged) -> dict[str, Any]:
    return {
        "merged_at": timestamp(),
        "sources": [
            {
                "folder": source.shown,
                "n_trials_taken": n,
                "commits": sorted(map(str, source.decided["trials"]["commit"].unique())),
                "processors": sorted(map(str, source.decided["trials"]["cpu"].unique())),
            }
            for source, n in zip(sources, merged.n_taken, strict=True)
        ],
        "n_equal": merged.n_equal,
        "conflicts": [asdict(conflict) for conflict in merged.conflicts],
    }
