"""One results folder on any pyarrow filesystem: files that are whole or absent, and reading them.

A local file is written under another name, synchronised and renamed; on an object store it is put
at once and its size is checked. A write that fails is repeated, with growing pauses, for as long
as the folder is patient: what a worker computed outlives an outage of the store.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from study.plugins import COLUMN_SETS
from study.results.address import find_secret, shown_address
from study.results.footer import BLANK, KEY, is_sound, seal
from study.results.provenance import timestamp
from study.results.published import is_published, open_published
from study.results.tables import SCHEMA_VERSION, SCHEMAS, to_table, whole_schema

# How long a failing write is repeated: an object store comes back, a full local disk rarely does.
PATIENCE_S = {"local": 20.0, "remote": 600.0}
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
# Files read at once: on an object store each costs a few round trips.
READERS = 16
# A folder of the driver's node, as workers name it that reach it through Ray alone.
MOST_LISTINGS = 5
# Schemes that pyarrow opens.
STORES = ("s3", "gs", "gcs", "hdfs", "viewfs", "file", "abfs", "abfss", "driver")
# No manifest, lock or certificate is larger.
MOST_SMALL_BYTES = 64 * 2**20
_MANIFEST: dict[str, type] = {
    "name": str,
    "question": str,
    "factors": list,
    "sweep": dict,
    "sweep_hash": str,
    "commit": str,
    "n_trials": int,
    "versions": dict,
}
_KINDS = {str: "text", list: "list", dict: "mapping", int: "whole number"}
_PART_ID = re.compile(r"[A-Za-z0-9_.-]{1,80}")

Result = TypeVar("Result")


class ResultsError(ValueError):
    """A results folder that cannot be read or written: absent, damaged, locked or foreign."""


class DamagedFileError(ResultsError):
    """A file of a results folder that is not a whole table.

    Parameters
    ----------
    path : str
        The file.
    reason : str
        What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path}: not a whole table of this version ({reason}); run the sweep again: it sets "
            "the file aside and redoes only what is missing"
        )
        self.path = path


@dataclass(frozen=True, slots=True)
class ResultsFolder:
    """A results folder on any pyarrow filesystem.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    path : str
        The folder inside it, such as "results/latent_dims" or "bucket/latent_dims".
    patience_s : float
        Seconds for which a failing write, or a failing read of an object store, is repeated.
    """

    filesystem: pafs.FileSystem
    path: str
    patience_s: float = 0.0

    @property
    def is_local(self) -> bool:
        """Return whether files are renamed into place (local) or put at once (object stores)."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def patient(self) -> ResultsFolder:
        """Return the folder as a run uses it: failing writes are repeated (`PATIENCE_S`)."""
        given = os.environ.get("STUDY_PATIENCE_S")
        usual = PATIENCE_S["local" if self.is_local else "remote"]
        return replace(self, patience_s=float(given) if given else usual)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write one file so that it is either absent, old or complete, never torn.

        Raises
        ------
        OSError
            It could not be written within the patience.
        """
        target = f"{self.path}/{name}"
        self._repeat(lambda: self._put_once(target, content))

    def _put_once(self, target: str, content: bytes) -> None:
        if not self.is_local:
            with self.filesystem.open_output_stream(target) as stream:
                stream.write(content)
            # A stream that breaks off may leave a shorter object behind.
            size = self.filesystem.get_file_info(target).size
            if size != len(content):
                raise OSError(f"{target}: {size} of {len(content)} bytes arrived")
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
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

    def _repeat(self, action: Callable[[], Result]) -> Result:
        """Repeat an action that fails with an OSError, with growing pauses."""
        give_up_at, pause_s = time.monotonic() + self.patience_s, FIRST_PAUSE_S
        while True:
            try:
                return action()
            except FileNotFoundError:
                raise
            except OSError:
                if time.monotonic() + pause_s > give_up_at:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write one parquet file atomically; its metadata says version and time."""
        sink = pa.BufferOutputStream()
        table = table.replace_schema_metadata(file_metadata())
        pq.write_table(table, sink, **file_encoding(table.schema))
        self.write_bytes(name, seal(sink.getvalue().to_pybytes()))

    def write_part(self, table_name: str, part_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write one stack's rows of one table.

        Raises
        ------
        KeyError
            A row has a column that the table's schema does not know.
        ValueError
            `part_id` is not a plain file name.
        """
        if not _PART_ID.fullmatch(part_id):
            raise ValueError(f"part_id {part_id!r} must be 1 to 80 letters, digits, _, . or -")
        table = to_table(table_name, rows)
        self.write_table(f"{part_folder(table_name)}/{part_id}.parquet", table)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write manifest.json: name, question, factors, the resolved sweep and its hash."""
        text = json.dumps({"schema_version": SCHEMA_VERSION, **manifest}, indent=1)
        self.write_bytes("manifest.json", text.encode())

    def read_manifest(self) -> dict[str, Any]:
        """Read manifest.json.

        Raises
        ------
        ResultsError
            There is none, it is not JSON, or it was written by a newer version.
        """
        path = f"{self.path}/manifest.json"
        try:
            manifest = self.read_object("manifest.json")
        except FileNotFoundError:
            raise ResultsError(
                f"{self.path}: no manifest.json here; expected the folder of a sweep, "
                "such as results/latent_dims"
            ) from None
        except (ValueError, OSError) as error:
            raise ResultsError(f"{path}: cannot be read ({first_line(error)})") from None
        for name, kind in _MANIFEST.items():
            if not isinstance(manifest.get(name, kind()), kind):
                raise ResultsError(f"{path}: cannot be read ({name} is not a {_KINDS[kind]})")
        if not all(isinstance(name, str) for name in manifest.get("factors", [])):
            raise ResultsError(f"{path}: cannot be read (factors are not all text)")
        check_version(path, manifest.get("schema_version"))
        return manifest

    def read_small(self, name: str) -> bytes:
        """Read a small file whole.

        Raises
        ------
        FileNotFoundError
            There is none.
        OSError
            It cannot be read, is not a regular file (a pipe of this name would never end) or has
            more than `MOST_SMALL_BYTES`.
        """
        path = f"{self.path}/{name}"
        info = self.filesystem.get_file_info(path)
        if info.type == pafs.FileType.NotFound:
            raise FileNotFoundError(path)
        if info.type != pafs.FileType.File:
            raise OSError(f"{path} is not a regular file")
        with self.filesystem.open_input_stream(path) as stream:
            content = stream.read(MOST_SMALL_BYTES + 1)
        if len(content) > MOST_SMALL_BYTES:
            raise OSError(f"{path} has more than {MOST_SMALL_BYTES:,} bytes")
        return bytes(content)

    def read_object(self, name: str) -> dict[str, Any]:
        """Read a small file that holds a JSON object.

        Raises
        ------
        OSError
            As `read_small`.
        ValueError
            It holds something else.
        """
        return parse_object(self.read_small(name))

    def list_files(self, folder: str = "", *, recursive: bool = False) -> list[pafs.FileInfo]:
        """List what lies in a folder of this one; nothing if it is not there."""
        place = f"{self.path}/{folder}" if folder else self.path
        selector = pafs.FileSelector(place, allow_not_found=True, recursive=recursive)
        return list(self.filesystem.get_file_info(selector))

    def part_files(self, table_name: str) -> list[str]:
        """List the files that hold a table, compacted first, then parts by name."""
        found = self.list_files(part_folder(table_name))
        compacted = self.filesystem.get_file_info(f"{self.path}/{table_name}.parquet")
        parts = sorted(
            (info for info in found if info.path.endswith(".parquet")), key=lambda info: info.path
        )
        listed = [info for info in (compacted, *parts) if info.type != pafs.FileType.NotFound]
        strange = next((info for info in listed if info.type != pafs.FileType.File), None)
        if strange is not None:
            raise DamagedFileError(strange.path, "it is not a regular file")
        return [info.path for info in listed]

    def read_raw(self, table_name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read every row of a table as written, doubles included, oldest file first.

        Raises
        ------
        ResultsError
            A file is damaged or of a newer version; the message names it and the remedy.
        """
        schema = SCHEMAS[table_name]
        if columns is None:
            tables = self.read_files(table_name, lambda file: read_whole(file, table_name))
        else:
            schema = pa.schema([schema.field(name) for name in columns])
            tables = self.read_files(table_name, lambda file: read_columns(file, schema))
        if tables:
            return pa.concat_tables(tables, promote_options="default")
        # Not `schema.empty_table()`: it imports pandas, for which a dry run need not wait.
        return pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)

    def read_files(
        self, table_name: str, action: Callable[[pq.ParquetFile], Result]
    ) -> list[Result]:
        """Apply `action` to each file of a table, several at once; the oldest file comes first.

        Raises
        ------
        ResultsError
            A file is damaged or of a newer version.
        """
        for _ in range(MOST_LISTINGS):
            paths = self._repeat_read(lambda: self.part_files(table_name))
            with ThreadPoolExecutor(min(READERS, len(paths) or 1)) as pool:
                found = list(pool.map(lambda path: self._read_file(path, action), paths))
            read = [item for item in found if item is not None]
            # A part that vanished was compacted meanwhile: its rows are in the new table.
            if len(read) == len(found):
                read.sort(key=lambda item: item[0])
                return [result for _, result in read]
        raise ResultsError(f"{self.path}: files of {table_name} vanish while they are read")

    def _repeat_read(self, action: Callable[[], Result]) -> Result:
        try:
            return action() if self.is_local else self._repeat(action)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ResultsError(f"{self.path}: cannot be read: {first_line(error)}") from None

    def _read_file(
        self, path: str, action: Callable[[pq.ParquetFile], Result]
    ) -> tuple[tuple[str, bool, str], Result] | None:
        """Open one file; None if it is not there, else its place in the order and the result."""
        try:
            return self._repeat_read(lambda: self._open_file(path, action))
        except FileNotFoundError:
            return None
        except (pa.ArrowException, KeyError) as error:
            raise DamagedFileError(path, first_line(error)) from error

    def _open_file(
        self, path: str, action: Callable[[pq.ParquetFile], Result]
    ) -> tuple[tuple[str, bool, str], Result]:
        try:
            with self.filesystem.open_input_file(path) as source:
                file = pq.ParquetFile(source, page_checksum_verification=True)
                if not is_sound(source, file):
                    raise DamagedFileError(path, "its footer is not the one that was written")
                metadata = file.schema_arrow.metadata or {}
                check_version(path, metadata.get(b"schema_version", b"1"))
                order = (metadata.get(b"written_at", b"").decode(), "/parts/" in path, path)
                return order, action(file)
        except OSError as error:
            # Arrow reports damage and an unreachable store alike; only the latter names a cause.
            if error.errno is None and "AWS Error" not in str(error):
                raise DamagedFileError(path, first_line(error)) from error
            raise
        except UnicodeDecodeError as error:
            raise DamagedFileError(path, first_line(error)) from error


def parse_object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object; ValueError for anything else, however deeply nested."""
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found


def part_folder(table_name: str) -> str:
    """Return the folder of a table's parts."""
    return "weights" if table_name == "weights" else f"parts/{table_name}"


def file_metadata() -> dict[str, str]:
    """Make the metadata of a parquet file: its schema, when it was written, a blank digest."""
    return {"schema_version": str(SCHEMA_VERSION), "written_at": timestamp(), KEY: BLANK}


def file_encoding(schema: pa.Schema) -> dict[str, Any]:
    """Choose how a parquet file is written: checked, and small.

    Bytes of floating-point numbers are sorted by place before they are compressed: their leading
    bytes are alike, and no number comes twice, so that a dictionary only adds to them.
    """
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    return {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": [name for name in schema.names if name not in floats],
        "use_byte_stream_split": floats,
    }


def read_whole(file: pq.ParquetFile, table_name: str) -> pa.Table:
    """Read a file as a table: its schema's columns, and behind them what else is in the file."""
    return fit_columns(file.read(), whole_schema(table_name, file.schema_arrow))


def read_columns(file: pq.ParquetFile, schema: pa.Schema) -> pa.Table:
    """Read a file as a table of this schema: columns that it does not have are null.

    This is the migration of older folders: a version only ever adds columns and tables.
    """
    return fit_columns(file.read(columns=_shared(file, schema)), schema)


def fit_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring a table to a schema: columns are cast, and absent ones filled.

    A configuration column is absent from files that are older than its field, which was then at
    its default; other absent columns are null.
    """
    if table.schema.equals(schema):
        # The usual case; casting a hundred columns takes longer than reading them.
        return table.replace_schema_metadata(schema.metadata)
    arrays = [
        _as_type(table.column(field.name), field.type)
        if field.name in table.column_names
        else _absent_column(field, table.num_rows)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == kind else column.cast(kind)


def _absent_column(field: pa.Field, n_rows: int) -> pa.Array:
    default = COLUMN_SETS["defaults"]().get(field.name)
    if default is None:
        return pa.nulls(n_rows, field.type)
    return pa.repeat(pa.scalar(default, field.type), n_rows)


def _shared(file: pq.ParquetFile, schema: pa.Schema) -> list[str]:
    present = set(file.schema_arrow.names)
    return [name for name in schema.names if name in present]


def check_version(path: str, found: object) -> None:
    """Refuse a schema version that this code does not know.

    Raises
    ------
    ResultsError
        It is newer, or no version at all.
    """
    try:
        version = int(found)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        version = 0
    if version < 1:
        raise DamagedFileError(path, f"schema_version {found!r}")
    if version > SCHEMA_VERSION:
        raise ResultsError(
            f"{path}: schema_version {version}, this code reads 1 to {SCHEMA_VERSION}; "
            "update the code to the one that wrote it"
        )


def first_line(error: BaseException) -> str:
    """Shorten an error to its first line; to its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def check_location(location: str, *, name: str = "results location") -> None:
    """Refuse an address with secrets in it, which would be copied to wherever it is named.

    Parameters
    ----------
    location : str
        A path or URI.
    name : str
        What the message calls it.

    Raises
    ------
    ResultsError
        It may carry a secret; the message does not quote it.
    """
    reason = find_secret(location)
    if reason is not None:
        raise ResultsError(
            f"{name} {shown_address(location)}: {reason}; an address is copied into jobs and "
            "messages, so give credentials by the environment instead, such as AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY"
        )


def open_folder(location: str | Path) -> ResultsFolder:
    """Open a results folder by path or URI (s3://..., gs://...), or a published zip file of one.

    Nothing is created.

    Raises
    ------
    ResultsError
        The URI's scheme is not one that pyarrow can open, or the path is not text.
    """
    text = checked_location(str(location))
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise ResultsError(
            f"results location {text!r}: it is not text in this system's encoding "
            f"({sys.getfilesystemencoding()}); set PYTHONUTF8=1, or rename it"
        )
    if is_published(text):
        try:
            return ResultsFolder(*open_published(text))
        except ValueError as error:
            raise ResultsError(str(error)) from None
    if "://" not in text:
        return ResultsFolder(pafs.LocalFileSystem(), str(Path(text).absolute()))
    try:
        filesystem, path = pafs.FileSystem.from_uri(text)
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(
            f"results location {text!r} cannot be opened: {first_line(error)}"
        ) from None
    return ResultsFolder(filesystem, path.rstrip("/"))


def checked_location(text: str) -> str:
    """Return a place of results as it is.

    Raises
    ------
    ResultsError
        It is empty, may carry a secret, or is an address of a store that lacks a slash and would
        be a local folder.
    """
    check_location(text)
    if not text.strip():
        raise ResultsError("results: must name a folder or an s3:// address; found an empty text")
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() in STORES and not rest.startswith("//"):
        raise ResultsError(
            f"results: {text}: an address begins with {scheme}://; a folder of this name is "
            f"./{text}"
        )
    return text


def join_location(results: str, name: str) -> str:
    """Return the location of a sweep's folder: absolute if local, before the options of a URI."""
    if "://" not in checked_location(results):
        return str(Path(results).absolute() / name)
    place, mark, options = results.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


def whole_location(location: str) -> str:
    """Make a local path absolute: workers have another working folder."""
    is_remote = "://" in checked_location(location)
    return location if is_remote else str(Path(location).absolute())
