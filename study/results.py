"""The record of a sweep: table schemas, atomic writes, reading, provenance.

A results folder holds, for a sweep called NAME::

    results/NAME/manifest.json           what was asked: the resolved sweep, its hash, its factors
    results/NAME/plan.parquet            one row a planned trial: trial_id, control_id, cell
    results/NAME/parts/TABLE/ID.parquet  rows of one stack, written when the stack ends
    results/NAME/TABLE.parquet           the same rows, compacted when the sweep ends
    results/NAME/weights/ID.parquet      trained weights, packed without pickle, never compacted

A stack writes its `trials` part last, so a trial is finished exactly when its row can be read;
rows of the other tables without such a row are left-overs of an interruption and are not read.
Every file appears under its name at once (a rename locally, a single put on an object store), and
rows are keyed (`study.tables.KEYS`), so a compaction that is cut short at any point neither loses
nor doubles.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from study.tables import (
    CONFIG_FIELDS,
    CONTROL_FIELDS,
    ENDPOINTS,
    KEYS,
    PROTOCOLS,
    SCHEMA_VERSION,
    SCHEMAS,
    SOURCES,
    STATUSES,
    count_columns,
    frame_to_table,
    pandas_type,
    to_table,
)

__all__ = [
    "CONFIG_FIELDS",
    "ENDPOINTS",
    "KEYS",
    "PROTOCOLS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SOURCES",
    "STATUSES",
    "ResultsError",
    "ResultsFolder",
    "count_columns",
    "finished_ids",
    "open_folder",
    "provenance",
    "read_table",
    "timestamp",
    "to_table",
    "write_tables",
]

# Weights stay in the files of their stacks: they are large and read one stack at a time.
_COMPACTED = tuple(name for name in SCHEMAS if name not in ("plan", "weights"))


class ResultsError(ValueError):
    """A results folder that cannot be read: absent, empty, damaged or of a foreign schema."""


@dataclass(frozen=True, slots=True)
class ResultsFolder:
    """A results folder on any pyarrow filesystem.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    path : str
        The folder inside it, such as "results/latent_dims" or "bucket/latent_dims".
    """

    filesystem: pafs.FileSystem
    path: str

    @property
    def is_local(self) -> bool:
        """Whether files are renamed into place (local) or put at once (object stores)."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write one file so that it is either absent, old or complete, never torn."""
        target = f"{self.path}/{name}"
        self.filesystem.create_dir(os.path.dirname(target), recursive=True)
        if not self.is_local:
            with self.filesystem.open_output_stream(target) as stream:
                stream.write(content)
            return
        temporary = f"{target}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write one parquet file atomically; its metadata says schema version and table."""
        sink = pa.BufferOutputStream()
        table = table.replace_schema_metadata({"schema_version": str(SCHEMA_VERSION)})
        pq.write_table(table, sink, compression="zstd")
        self.write_bytes(name, sink.getvalue().to_pybytes())

    def write_part(self, table_name: str, part_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one stack's rows of one table.

        Raises
        ------
        KeyError
            A row has a column that the table's schema does not know.
        """
        folder = "weights" if table_name == "weights" else f"parts/{table_name}"
        self.write_table(f"{folder}/{part_id}.parquet", to_table(table_name, rows))

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write manifest.json: name, question, factors, the resolved sweep and its hash."""
        text = json.dumps({"schema_version": SCHEMA_VERSION, **manifest}, indent=1)
        self.write_bytes("manifest.json", text.encode())

    def read_manifest(self) -> dict[str, Any]:
        """Read manifest.json.

        Raises
        ------
        ResultsError
            There is none, it is not JSON, or it has another schema version.
        """
        path = f"{self.path}/manifest.json"
        try:
            with self.filesystem.open_input_stream(path) as stream:
                manifest = json.loads(stream.read())
        except FileNotFoundError:
            raise ResultsError(
                f"{self.path}: no manifest.json here; expected the folder of a sweep, "
                "such as results/latent_dims"
            ) from None
        except (ValueError, OSError) as error:
            raise ResultsError(f"{path}: cannot be read ({error})") from None
        if manifest.get("schema_version") != SCHEMA_VERSION:
            raise ResultsError(
                f"{path}: schema_version {manifest.get('schema_version')}, "
                f"this code reads {SCHEMA_VERSION}"
            )
        return dict(manifest)

    def part_files(self, table_name: str) -> list[str]:
        """List the files that hold a table, compacted first, then parts by name."""
        folder = "weights" if table_name == "weights" else f"parts/{table_name}"
        found = self.filesystem.get_file_info(
            pafs.FileSelector(f"{self.path}/{folder}", allow_not_found=True)
        )
        parts = sorted(info.path for info in found if info.path.endswith(".parquet"))
        compacted = f"{self.path}/{table_name}.parquet"
        if self.filesystem.get_file_info(compacted).type == pafs.FileType.File:
            return [compacted, *parts]
        return parts

    def read_raw(self, table_name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read every row of a table as written, doubles included.

        Raises
        ------
        ResultsError
            A file is damaged or has another schema; the message names it and the remedy.
        """
        schema = SCHEMAS[table_name]
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        tables = [self._read_file(path, schema) for path in self.part_files(table_name)]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def _read_file(self, path: str, schema: pa.Schema) -> pa.Table:
        try:
            with self.filesystem.open_input_file(path) as source:
                file = pq.ParquetFile(source)
                found = (file.schema_arrow.metadata or {}).get(b"schema_version")
                if found is not None and int(found) != SCHEMA_VERSION:
                    raise ResultsError(
                        f"{path}: schema_version {int(found)}, this code reads {SCHEMA_VERSION}"
                    )
                return file.read(columns=schema.names).select(schema.names).cast(schema)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise ResultsError(
                f"{path}: not a whole table of this version ({str(error).splitlines()[0]}); "
                "delete it and run the sweep again: it redoes only what is missing"
            ) from error

    def compact(self) -> None:
        """Merge the parts of each table into one file, then remove the parts.

        Killed at any point it leaves rows at most doubled, and reading drops doubles by key.
        """
        for name in _COMPACTED:
            files = self.part_files(name)
            parts = [path for path in files if "/parts/" in path]
            if not parts:
                continue
            frame = _drop_doubles(name, self.read_raw(name).to_pandas(types_mapper=pandas_type))
            self.write_table(f"{name}.parquet", frame_to_table(name, frame))
            for path in parts:
                self.filesystem.delete_file(path)


def open_folder(location: str | Path) -> ResultsFolder:
    """Open a results folder by path or URI (s3://..., gs://...); nothing is created.

    Raises
    ------
    ResultsError
        The URI's scheme is not one that pyarrow can open.
    """
    text = str(location)
    if "://" not in text:
        return ResultsFolder(pafs.LocalFileSystem(), str(Path(text).absolute()))
    try:
        filesystem, path = pafs.FileSystem.from_uri(text)
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(f"results location {text!r} cannot be opened: {error}") from None
    return ResultsFolder(filesystem, path.rstrip("/"))


def _drop_doubles(table_name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Keep one row for each key: a finished one before a failed one, then the latest."""
    if table_name in ("trials", "controls"):
        order = frame["status"].eq("done").astype(int)
        frame = (
            frame.assign(_done=order)
            .sort_values(["_done", "finished_at"], kind="stable")
            .drop(columns="_done")
        )
    return frame.drop_duplicates(list(KEYS[table_name]), keep="last").reset_index(drop=True)


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
    frame = _drop_doubles(name, folder.read_raw(name).to_pandas(types_mapper=pandas_type))
    key = KEYS[name][0]
    if key not in ("trial_id", "owner_id", "control_id") or name == "plan":
        return frame
    plan = read_table(folder, "plan")
    known: set[str] = set(plan["control_id"])
    if key != "control_id":
        finished = _read_trials(folder, columns=["trial_id", "status", "finished_at"])
        known |= set(finished["trial_id"])
    return frame[frame[key].isin(known)].reset_index(drop=True)


def _read_trials(folder: ResultsFolder, columns: list[str] | None = None) -> pd.DataFrame:
    """Read the finished rows of planned trials; cells come from the plan, as does the order."""
    raw = folder.read_raw("trials", columns).to_pandas(types_mapper=pandas_type)
    frame = _drop_doubles("trials", raw)
    plan = read_table(folder, "plan")
    frame = plan[["trial_id"]].merge(frame, on="trial_id", how="inner")
    if columns is not None:
        return frame
    frame["cell"] = frame["trial_id"].map(plan.set_index("trial_id")["cell"])
    return _join_controls(frame, folder)


def _join_controls(trials: pd.DataFrame, folder: ResultsFolder) -> pd.DataFrame:
    controls = _drop_doubles(
        "controls", folder.read_raw("controls").to_pandas(types_mapper=pandas_type)
    ).set_index("control_id")
    for name, _ in CONTROL_FIELDS:
        trials[name] = trials["control_id"].map(controls[name]).astype(trials[name].dtype)
    return trials


def finished_ids(folder: ResultsFolder, table_name: str = "trials") -> dict[str, str]:
    """Map the id of every recorded trial (or control) to its status."""
    key = KEYS[table_name][0]
    raw = folder.read_raw(table_name, [key, "status", "finished_at"])
    frame = _drop_doubles(table_name, raw.to_pandas())
    return dict(zip(frame[key], frame["status"], strict=True))


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


@cache
def provenance() -> dict[str, Any]:
    """Say which code on which machine makes a row: commit, versions, processor."""
    root = Path(__file__).resolve().parent.parent
    commit = os.environ.get("STUDY_COMMIT") or _git(root, "rev-parse", "HEAD")
    return {
        "commit": commit or "unknown",
        # Of the code that makes numbers: a changed note or figure changes no row.
        "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no", "study")),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "sklearn": importlib.metadata.version("scikit-learn"),
        "numpy": importlib.metadata.version("numpy"),
        "cpu": _cpu_model(),
        "schema_version": SCHEMA_VERSION,
    }


def timestamp() -> str:
    """Give the time now, UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat()


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    lines = [line for line in text.splitlines() if line.startswith("model name")]
    return lines[0].split(":", 1)[1].strip() if lines else platform.machine()
