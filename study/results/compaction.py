"""Merge the parts of each table into one file, a batch of rows at a time.

The new table is written under another name and put in place at once; only then are the parts
removed. Killed at any point it leaves rows at most doubled, and reading drops doubles by key.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.results.folder import ResultsFolder, file_encoding, file_metadata, fit_columns
from study.results.footer import seal_file
from study.results.record import drop_doubles
from study.results.tables import KEYS, SCHEMAS, frame_to_table, pandas_type, whole_schema

# Weights stay in the files of their stacks: they are large and read one stack at a time.
COMPACTED = tuple(name for name in SCHEMAS if name not in ("plan", "suggestions", "weights"))
# Rows held in memory at once; also the size of a row group.
BATCH_ROWS = 65_536


def compact(folder: ResultsFolder, *, may_publish: Callable[[], None] = lambda: None) -> None:
    """Merge the parts of each table into one file, then remove the parts.

    Parameters
    ----------
    folder : ResultsFolder
    may_publish : callable
        Asked before a table is replaced and before parts are removed; raises if the folder is no
        longer ours to write.

    Raises
    ------
    ResultsError
        A file is damaged, or `may_publish` refused.
    OSError
        The merged table cannot be written; the parts are still there.
    """
    for name in COMPACTED:
        parts = [path for path in folder.part_files(name) if "/parts/" in path]
        if not parts:
            continue
        with tempfile.TemporaryDirectory(prefix="study-compact-") as scratch:
            place = f"{folder.path}/{name}.parquet.compact.tmp"
            target = Path(place if folder.is_local else f"{scratch}/{name}.parquet")
            try:
                _merge(folder, name, target)
                may_publish()
                _publish(folder, name, target)
            finally:
                target.unlink(missing_ok=True)
        may_publish()
        for path in parts:
            folder.filesystem.delete_file(path)


def _merge(folder: ResultsFolder, name: str, target: Path) -> None:
    """Write every row of a table, each key once, to a local file."""
    key = KEYS[name][0]
    owners = folder.read_files(name, lambda file: pc.unique(file.read(columns=[key]).column(0)))
    times = Counter(owner for found in owners for owner in found.to_pylist())
    doubled = pa.array([owner for owner, n in times.items() if n > 1], pa.string())
    fields = folder.read_files(name, lambda file: list(file.schema_arrow))
    schema = whole_schema(name, chain.from_iterable(fields)).with_metadata(file_metadata())
    with pq.ParquetWriter(target, schema, **file_encoding(schema)) as writer:
        waiting: list[pa.Table] = []
        n_waiting = 0
        for rows in _undoubled(folder, name, schema, doubled):
            waiting.append(rows.replace_schema_metadata(schema.metadata))
            n_waiting += rows.num_rows
            if n_waiting >= BATCH_ROWS:
                writer.write_table(pa.concat_tables(waiting), BATCH_ROWS)
                waiting, n_waiting = [], 0
        if waiting:
            writer.write_table(pa.concat_tables(waiting), BATCH_ROWS)
    seal_file(target)


def _undoubled(
    folder: ResultsFolder, name: str, schema: pa.Schema, doubled: pa.Array
) -> Iterator[pa.Table]:
    """Yield the rows of owners that occur in one file, then those of the others, sorted out."""
    schema = schema.remove_metadata()
    key = KEYS[name][0]
    kept: list[tuple[str, pa.Table]] = []
    for path in folder.part_files(name):
        with folder.filesystem.open_input_file(path) as source:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            written_at = (file.schema_arrow.metadata or {}).get(b"written_at", b"").decode()
            for batch in file.iter_batches(BATCH_ROWS):
                rows = fit_columns(pa.Table.from_batches([batch]), schema)
                if not len(doubled):
                    yield rows
                    continue
                is_doubled = pc.is_in(rows[key], doubled)
                yield rows.filter(pc.invert(is_doubled))
                kept.append((written_at, rows.filter(is_doubled)))
    if len(doubled):
        ordered = [rows for _, rows in sorted(kept, key=lambda item: item[0])]
        frame = pa.concat_tables(ordered).to_pandas(types_mapper=pandas_type)
        rows = frame_to_table(name, drop_doubles(name, frame), more=schema)
        yield rows.replace_schema_metadata(None)


def _publish(folder: ResultsFolder, name: str, source: Path) -> None:
    if folder.is_local:
        with open(source, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(source, f"{folder.path}/{name}.parquet")
    else:
        folder.write_bytes(f"{name}.parquet", source.read_bytes())
