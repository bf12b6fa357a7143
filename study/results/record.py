"""The tables of a results folder: how they are read, joined and completed.

A results folder holds, for a sweep called NAME::

    results/NAME/manifest.json           what was asked: the resolved sweep, its hash, its factors
    results/NAME/plan.parquet            one row a planned trial: trial_id, control_id, cell
    results/NAME/parts/TABLE/ID.parquet  rows of one stack, written when the stack ends
    results/NAME/TABLE.parquet           the same rows, compacted when the sweep ends
    results/NAME/weights/ID.parquet      trained weights, packed without pickle, never compacted
    results/NAME/runs/ID.json            a run, and which it found before it (`lineage`)
    results/NAME/lock.json               who is writing, while somebody is (`lock`)
    results/NAME/damaged/                files that were not whole, set aside (`repair`)

A stack writes its `trials` part last, so a trial is finished exactly when its row can be read;
rows of the other tables without such a row are left-overs of an interruption and are not read.
Every file appears under its name at once, and rows are keyed (`tables.KEYS`): where a key occurs
twice, the file that was written last holds the row. So nothing that is cut short at any point
loses or doubles a row. Reading takes no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.results.folder import (
    ResultsFolder,
    open_folder,
)
from study.results.tables import (
    CONTROL_FIELDS,
    KEYS,
    pandas_type,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What `study.verify` found.
CERTIFICATE = "verify.json"
_OWNERS = ("trial_id", "owner_id", "control_id")


def drop_doubles(table_name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Keep one row for each key: a finished one before a failed one, then the latest.

    Parameters
    ----------
    table_name : str
        A key of `SCHEMAS`.
    frame : DataFrame
        Rows in the order in which their files were written.
    """
    if table_name in ("trials", "controls"):
        order = frame["status"].eq("done").astype(int)
        frame = (
            frame.assign(_done=order)
            .sort_values(["_done", "finished_at"], kind="stable", ignore_index=True)
            .drop(columns="_done")
        )
    doubled = frame.duplicated(list(KEYS[table_name]), keep="last")
    return _select(frame, ~doubled)


def _select(frame: pd.DataFrame, wanted: pd.Series) -> pd.DataFrame:
    """Keep some rows, numbered anew; all of them, as nearly always, without a copy."""
    return frame if wanted.all() else frame[wanted].reset_index(drop=True)


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """Turn a table that nobody else holds into a frame; its memory is given back on the way."""
    return table.to_pandas(types_mapper=pandas_type, split_blocks=True, self_destruct=True)


def read_table(location: str | Path | ResultsFolder, name: str) -> pd.DataFrame:
    """Read one table of a sweep: the current plan's rows, each once, controls joined on.

    Parameters
    ----------
    location : path, URI or ResultsFolder
        The sweep's folder.
    name : str
        A key of `SCHEMAS`.

    Returns
    -------
    pandas.DataFrame
        Columns as in `SCHEMAS[name]`; nullable integers and booleans. Trials that left the sweep
        file, and rows of trials that did not finish, are not in it.

    Raises
    ------
    ResultsError
        The folder or a file in it cannot be read.
    """
    folder = location if isinstance(location, ResultsFolder) else open_folder(location)
    if name == "trials":
        return _read_trials(folder)
    frame = drop_doubles(name, _to_pandas(folder.read_raw(name)))
    key = KEYS[name][0]
    if key not in _OWNERS or name == "plan":
        return frame
    plan = read_table(folder, "plan")
    known: set[str] = set(plan["control_id"])
    if key != "control_id":
        finished = _read_trials(folder, columns=["trial_id", "status", "finished_at"])
        known |= set(finished["trial_id"])
    return _select(frame, frame[key].isin(known))


def _read_trials(folder: ResultsFolder, columns: list[str] | None = None) -> pd.DataFrame:
    """Read the finished rows of planned trials; cells come from the plan, as does the order."""
    frame = drop_doubles("trials", _to_pandas(folder.read_raw("trials", columns)))
    plan = read_table(folder, "plan")
    frame = plan[["trial_id"]].merge(frame, on="trial_id", how="inner")
    if columns is not None:
        return frame
    frame["cell"] = frame["trial_id"].map(plan.set_index("trial_id")["cell"])
    return _join_controls(frame, folder)


def _join_controls(trials: pd.DataFrame, folder: ResultsFolder) -> pd.DataFrame:
    controls = drop_doubles("controls", _to_pandas(folder.read_raw("controls")))
    controls = controls.set_index("control_id")
    # What plug-ins counted of the control stands in columns of its own.
    heads = ("k_data_", "coverage_data_", "at_ceiling_data_")
    further = [name for name in map(str, controls) if name.startswith(heads)]
    for name in dict.fromkeys((*dict(CONTROL_FIELDS), *further)):
        dtype = trials[name].dtype if name in trials else controls[name].dtype
        trials[name] = trials["control_id"].map(controls[name]).astype(dtype)
    return trials


def finished_ids(folder: ResultsFolder, table_name: str = "trials") -> dict[str, str]:
    """Map the id of every recorded trial (or control) to its status."""
    return {key: status for key, (status, _) in recorded(folder, table_name).items()}


def recorded(folder: ResultsFolder, table_name: str = "trials") -> dict[str, tuple[str, str]]:
    """Map the id of every recorded trial (or control) to its status and when it ended."""
    key = KEYS[table_name][0]
    raw = folder.read_raw(table_name, [key, "status", "finished_at"])
    if not raw.num_rows:
        return {}
    frame = drop_doubles(table_name, raw.to_pandas())
    ends = zip(frame["status"], frame["finished_at"], strict=True)
    return dict(zip(frame[key], ends, strict=True))


def write_tables(
    folder: ResultsFolder, part_id: str, tables: Mapping[str, Iterable[Mapping[str, Any]]]
) -> None:
    """Write one stack's rows of several tables, `trials` and `controls` last.

    The order is what makes a stack atomic: its trials count as finished only when all they need
    is on disk.
    """
    last = ("controls", "trials")
    for name in (*(n for n in tables if n not in last), *(n for n in last if n in tables)):
        rows = list(tables[name])
        if rows:
            folder.write_part(name, part_id, rows)


def read_certificate(location: str | Path | ResultsFolder) -> dict[str, Any] | None:
    """Read what `study.verify` found in a results folder.

    Returns
    -------
    dict or None
        `equal`, `verified_at`, `n_trials`, `n_equal`, `n_numbers`, `tolerance` (None: to the
        bit), `commit`, `cpu` and more; None if there is none, or the file makes no sense.
    """
    folder = location if isinstance(location, ResultsFolder) else open_folder(location)
    try:
        return folder.read_object(CERTIFICATE)
    except (OSError, ValueError):
        return None
