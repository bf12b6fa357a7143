"""What trials take over from stored trainings: curves, and rows of those that ended badly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from study.config import checkpoint_epochs
from study.planning.trials import StoredTraining, Trial
from study.results import timestamp
from study.results.folder import ResultsFolder, open_folder
from study.results.record import drop_doubles
from study.results.tables import frame_to_table, pandas_type
from study.trial.rows import trial_row


def carry_rows(
    folder: ResultsFolder, trials: Sequence[Trial], stored: Mapping[str, StoredTraining]
) -> None:
    """Write what trials take over from stored trainings: curves, and the rows of ended ones.

    The rows of a training that diverged or ran out of time are all there is of its trials. Curves
    of a trial without a row are not read, so this may be cut short at any point and repeated.

    Parameters
    ----------
    folder : ResultsFolder
        Where they go.
    trials : sequence of Trial
        Trials whose training is in `stored`.
    stored : mapping of training_id to StoredTraining
    """
    places: dict[str, list[Trial]] = {}
    for trial in trials:
        places.setdefault(stored[trial.training_id].location, []).append(trial)
    for location, group in places.items():
        digest = hashlib.sha256("".join(trial.trial_id for trial in group).encode())
        part = f"carried-{digest.hexdigest()[:16]}"
        curves = _carried_curves(open_folder(location), group, stored)
        folder.write_table(f"parts/curves/{part}.parquet", curves)
        rows = [
            trial_row(trial) | found.columns | {"device": "cpu", "finished_at": timestamp()}
            for trial in group
            if (found := stored[trial.training_id]).status != "done"
        ]
        if rows:
            folder.write_part("trials", part, rows)


def _carried_curves(
    source: ResultsFolder, trials: Sequence[Trial], stored: Mapping[str, StoredTraining]
) -> pa.Table:
    """Copy the curves of earlier trials under the ids of new ones."""
    origins = [stored[trial.training_id].trial_id for trial in trials]
    raw = source.read_raw("curves")
    mine = raw.filter(pc.is_in(raw["trial_id"], pa.array(list(set(origins)), pa.string())))
    frame = drop_doubles("curves", mine.to_pandas(types_mapper=pandas_type))
    groups = dict(list(frame.groupby("trial_id", sort=False)))
    parts = []
    for trial, origin in zip(trials, origins, strict=True):
        rows = groups[origin].assign(trial_id=trial.trial_id)
        unmarked = ~rows["epoch"].isin(checkpoint_epochs(trial.training))
        rows.loc[unmarked, "active_units"] = pd.NA
        rows["kl_per_latent"] = rows["kl_per_latent"].mask(unmarked, None)
        parts.append(rows)
    return frame_to_table("curves", pd.concat(parts))
