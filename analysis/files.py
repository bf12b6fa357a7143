"""Files that a report writes: whole or as before, and of text that no program obeys."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "@", "+", "-", "\t", "\r")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under another name of its folder, which takes its place at the end.

    Whoever reads the old file meanwhile reads it whole, and an error leaves it.

    Parameters
    ----------
    path : Path

    Yields
    ------
    Path
        Where to write; of the same suffix.

    Raises
    ------
    OSError
        It cannot be written.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8; OSError if it cannot be written."""
    with replacing(path) as place:
        place.write_text(text, encoding="utf-8")


def write_csv(path: Path, frame: pd.DataFrame, *, float_format: str | None = None) -> None:
    """Write a frame as CSV, no cell of which a spreadsheet takes for a formula.

    Parameters
    ----------
    path : Path
    frame : pandas.DataFrame
        Text that would be one gets an apostrophe in front, which a spreadsheet does not show.
    float_format : str, optional
        Such as "%.8g".

    Raises
    ------
    OSError
        It cannot be written.
    """
    texts = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])]
    safe = frame.assign(**{str(name): frame[name].map(_inert) for name in texts})
    with replacing(path) as place:
        safe.to_csv(place, index=False, float_format=float_format)


def _inert(value: object) -> object:
    """Return a cell that is no formula: numbers as text, and a single dash, are none."""
    if not isinstance(value, str) or not value.startswith(_FORMULA) or value == "-":
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
