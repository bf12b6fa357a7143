"""A digest of a parquet file's footer, kept inside it.

Pages carry check sums; the footer, which says where they are and what they mean, has none, and a
flipped bit there can exchange columns without a word. The footer's metadata therefore holds a
place for a digest, which is computed with that place still blank.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

KEY = "footer_sha256"
BLANK = "0" * 64
# Of the metadata that files have besides.
_NAMES = {b"schema_version", b"written_at", b"ARROW:schema", b"pandas"}
# The footer's length and the format's mark end the file.
_TAIL = 8


def seal(content: bytes) -> bytes:
    """Fill in the digest of a file that was written with a blank one."""
    start = _footer_start(len(content), content[-_TAIL:])
    return content[:start] + _sealed(content[start:])


def seal_file(path: Path) -> None:
    """Fill in the digest of a file, in place."""
    with open(path, "r+b") as stream:
        size = stream.seek(0, 2)
        stream.seek(size - _TAIL)
        start = _footer_start(size, stream.read(_TAIL))
        stream.seek(start)
        footer = stream.read()
        stream.seek(start)
        stream.write(_sealed(footer))


def _sealed(footer: bytes) -> bytes:
    assert footer.count(BLANK.encode()) == 1, "a file is sealed once"
    return footer.replace(BLANK.encode(), hashlib.sha256(footer).hexdigest().encode())


def _footer_start(size: int, tail: bytes) -> int:
    return size - _TAIL - int.from_bytes(tail[:4], "little")


def is_sound(source: pa.NativeFile, file: pq.ParquetFile) -> bool:
    """Return whether a footer has the digest it says; files of older versions say none.

    Parameters
    ----------
    source : pyarrow.NativeFile
        The open file.
    file : pyarrow.parquet.ParquetFile
        The same.
    """
    found = file.metadata.metadata or {}
    said = found.get(KEY.encode())
    if said is None:
        # Of an older version, unless names are there that no version writes, or none at all.
        return b"ARROW:schema" in found and found.keys() <= _NAMES
    size = source.size()
    start = _footer_start(size, source.read_at(_TAIL, size - _TAIL))
    footer = source.read_at(size - start, start)
    return hashlib.sha256(footer.replace(said, BLANK.encode())).hexdigest().encode() == said
