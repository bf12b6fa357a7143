"""Trainings that results hold already: found by id, and their weights read.

A training can be used again if a recorded trial of it ended (done, diverged or out of time), its
curves hold every checkpoint that is asked for, and, if it is done, its weights are in a shard.
Points are drawn again from their seeds, so weights, curves and four columns are all that is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.config import checkpoint_epochs
from study.planning.trials import StoredTraining, Trial
from study.results.folder import READERS, ResultsFolder, open_folder
from study.results.record import drop_doubles
from study.results.tables import SCHEMAS, pandas_type

if TYPE_CHECKING:
    import pandas as pd

ENDED = ("done", "diverged", "timeout")
_COLUMNS = ["train_recon", "train_kl_nats", "train_s", "active_units"]
_READ = ["trial_id", "training_id", "model_kind", "status", "message", "finished_at", *_COLUMNS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Which trainings of some trials are stored.

    Parameters
    ----------
    trainings : dict of training_id to StoredTraining
    without_weights : frozenset of str
        Trainings that are recorded as done but whose weights are not there.
    """

    trainings: dict[str, StoredTraining] = field(default_factory=dict)
    without_weights: frozenset[str] = frozenset()


def find_stored(
    location: str,
    trials: Sequence[Trial],
    *,
    skip: Collection[str] = (),
    copied: bool = False,
) -> Found:
    """Find the trainings of some trials in a results folder.

    Parameters
    ----------
    location : str
        The folder, as workers open it.
    trials : sequence of Trial
        Those that are to run.
    skip : collection of str
        Statuses of trainings that are to be repeated.
    copied : bool
        Whether that is another folder than the one that rows go to.

    Raises
    ------
    ResultsError
        The folder's tables cannot be read.
    """
    folder = open_folder(location)
    wanted = {trial.training_id: trial for trial in trials}
    raw = folder.read_raw("trials", _READ)
    if not raw.num_rows:
        return Found()
    mine = raw.filter(pc.is_in(raw["training_id"], pa.array(list(wanted), pa.string())))
    if not mine.num_rows:
        return Found()
    rows = _ended_rows(mine, skip)
    shards = _shards(folder)
    marks = _marked_epochs(folder, set(rows["trial_id"]))
    trainings: dict[str, StoredTraining] = {}
    without = set()
    for row in rows.to_dict("records"):
        key, status = row["training_id"], row["status"]
        if key in trainings or not _has_curves(wanted[key], status, marks.get(row["trial_id"])):
            continue
        if status == "done" and key not in shards:
            without.add(key)
            continue
        shard = shards[key] if status == "done" else ""
        trainings[key] = _stored(row, location, shard, copied=copied)
    return Found(trainings=trainings, without_weights=frozenset(without - set(trainings)))


def _stored(row: Mapping[Any, Any], location: str, shard: str, *, copied: bool) -> StoredTraining:
    message, is_vae = row["message"], row["model_kind"] == "vae"
    return StoredTraining(
        training_id=row["training_id"],
        trial_id=row["trial_id"],
        status=row["status"],
        # That of a training that is done is about counts, which are made anew.
        message=message if isinstance(message, str) and row["status"] != "done" else None,
        train_s=float(row["train_s"]),
        train_recon=float(row["train_recon"]) if is_vae else None,
        train_kl_nats=float(row["train_kl_nats"]) if is_vae else None,
        active_units=int(row["active_units"]) if is_vae else None,
        location=location,
        shard=shard,
        copied=copied,
    )


def _ended_rows(raw: pa.Table, skip: Collection[str]) -> pd.DataFrame:
    """Keep the rows of ended trainings, done ones first."""
    rows = drop_doubles("trials", raw.to_pandas(types_mapper=pandas_type))
    ended = [status for status in ENDED if status not in skip]
    # A training of an autoencoder that ended before its first checkpoint has no curves to keep.
    has_curves = rows["active_units"].notna() | rows["model_kind"].ne("vae")
    rows = rows[rows["status"].isin(ended) & has_curves]
    return rows.sort_values("status", key=lambda s: s.ne("done"), kind="stable")


def _has_curves(trial: Trial, status: str, marked: tuple[frozenset[int], int] | None) -> bool:
    """Return whether the recorded curves say all that this trial's would."""
    if trial.model.kind != "vae":
        return True
    if marked is None:
        return False
    epochs, n_epochs = marked
    if status == "diverged" and n_epochs == trial.training.epochs:
        return checkpoint_epochs(trial.training) <= epochs
    if status != "done":
        return True
    return n_epochs == trial.training.epochs and checkpoint_epochs(trial.training) <= epochs


def _marked_epochs(
    folder: ResultsFolder, trial_ids: Collection[str]
) -> dict[str, tuple[frozenset[int], int]]:
    """Map trials to the epochs at which a checkpoint was recorded, and the number of epochs."""
    raw = folder.read_raw("curves", ["trial_id", "epoch", "active_units"])
    mine = raw.filter(pc.is_in(raw["trial_id"], pa.array(list(trial_ids), pa.string())))
    frame = mine.to_pandas(types_mapper=pandas_type)
    marked = frame[frame["active_units"].notna()].groupby("trial_id")["epoch"].agg(frozenset)
    lengths = frame.groupby("trial_id")["epoch"].nunique()
    return {
        str(key): (marked.get(key, frozenset()), int(length)) for key, length in lengths.items()
    }


def _shards(folder: ResultsFolder) -> dict[str, str]:
    """Map each training to the newest file that holds its weights; a damaged file holds none."""
    paths = folder.part_files("weights")
    with ThreadPoolExecutor(min(READERS, len(paths) or 1)) as pool:
        listed = list(pool.map(lambda path: _read_shard(folder, path, ["training_id"]), paths))
    found = [
        (written_at, path, rows) for path, (written_at, rows) in zip(paths, listed, strict=True)
    ]
    shards: dict[str, str] = {}
    for _, path, rows in sorted(found, key=lambda item: item[:2]):
        ids = pc.unique(rows["training_id"]).to_pylist()
        shards |= dict.fromkeys(ids, path.rpartition("/")[2])
    return shards


def _read_shard(
    folder: ResultsFolder, path: str, columns: list[str], ids: Sequence[str] | None = None
) -> tuple[str, pa.Table]:
    """Read one file of weights and when it was written; no rows if it is damaged or absent."""
    where = None if ids is None else pc.field("training_id").isin(list(ids))
    try:
        with folder.filesystem.open_input_file(path) as source:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            written_at = (file.schema_arrow.metadata or {}).get(b"written_at", b"").decode()
            rows = file.read(columns=columns)
            return written_at, rows if where is None else rows.filter(where)
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError):
        schema = SCHEMAS["weights"]
        return "", pa.schema([schema.field(name) for name in columns]).empty_table()


def load_states(stored: Sequence[StoredTraining]) -> dict[str, dict[str, np.ndarray]]:
    """Read weights.

    Parameters
    ----------
    stored : sequence of StoredTraining

    Returns
    -------
    dict of training_id to dict of str to ndarray
        As `study.training.fitted.FittedVAE.state` gave them; without those that cannot be read.
    """
    states: dict[str, dict[str, np.ndarray]] = {}
    places: dict[tuple[str, str], list[str]] = {}
    for item in stored:
        places.setdefault((item.location, item.shard), []).append(item.training_id)
    for (location, shard), ids in places.items():
        folder = open_folder(location)
        _, rows = _read_shard(
            folder, f"{folder.path}/weights/{shard}", SCHEMAS["weights"].names, ids
        )
        for row in rows.to_pylist():
            array = _unpack(row)
            if array is not None:
                states.setdefault(row["training_id"], {})[row["name"]] = array
    return states


def _unpack(row: Mapping[str, Any]) -> np.ndarray | None:
    """Rebuild one array; None if its bytes are not what its row says."""
    try:
        # A copy: what comes from a file is read-only, and need not be aligned.
        return np.frombuffer(row["values"], dtype=row["dtype"]).reshape(row["shape"]).copy()
    except (ValueError, TypeError):
        return None
