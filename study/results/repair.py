"""Put a folder right before a run: stray and damaged files, and trials that lost their rows.

What is whole stays where it is. A file that cannot be read is moved to `damaged/`, never deleted;
the trials whose rows it held are then no longer complete and run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.results.folder import DamagedFileError, ResultsFolder
from study.results.record import finished_ids
from study.results.tables import SCHEMAS

DAMAGED = "damaged"
# A temporary file that is younger may belong to a worker of a run that is just dying.
STRAY_AGE_S = 60.0
# Every finished trial has rows in these; the others depend on the sweep or are not kept for ever.
EXPECTED = ("curves", "components", "recall")


def remove_strays(folder: ResultsFolder, *, age_s: float = STRAY_AGE_S) -> None:
    """Remove temporary files that a killed process left behind.

    Parameters
    ----------
    folder : ResultsFolder
    age_s : float
        Only older ones.
    """
    if not folder.is_local:
        return
    for info in folder.list_files(recursive=True):
        if info.path.endswith(".tmp") and time.time() - info.mtime.timestamp() > age_s:
            folder.filesystem.delete_file(info.path)


def set_damaged_aside(folder: ResultsFolder) -> list[str]:
    """Move files that are not whole tables to `damaged/`.

    Returns
    -------
    list of str
        What was wrong, one line per file.

    Raises
    ------
    ResultsError
        A file is of a newer version, or cannot be read at all.
    """
    problems = []
    for name in SCHEMAS:
        # Weights are large: their files are opened, not read through.
        check = _check_footer if name == "weights" or not folder.is_local else _check_pages
        while (problem := _first_damaged(folder, name, check)) is not None:
            _move_aside(folder, problem.path)
            problems.append(str(problem).partition("; run")[0])
    return problems


def _first_damaged(
    folder: ResultsFolder, name: str, check: Callable[[pq.ParquetFile], None]
) -> DamagedFileError | None:
    try:
        folder.read_files(name, check)
    except DamagedFileError as error:
        return error
    return None


def _check_footer(file: pq.ParquetFile) -> None:
    """Opening it was the check."""


def _check_pages(file: pq.ParquetFile) -> None:
    """Read every page, whose check sum is compared on the way."""
    for index in range(file.num_row_groups):
        file.read_row_group(index)


def _move_aside(folder: ResultsFolder, path: str) -> None:
    inside = path.removeprefix(f"{folder.path}/").replace("/", "-")
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    folder.filesystem.create_dir(f"{folder.path}/{DAMAGED}", recursive=True)
    folder.filesystem.move(path, f"{folder.path}/{DAMAGED}/{stamp}-{time.time_ns()}-{inside}")


def incomplete_ids(folder: ResultsFolder) -> frozenset[str]:
    """List the finished trials some of whose rows are missing.

    A part was deleted, or set aside. A table that is not there at all, and of which no file was
    set aside, was left out on purpose (large ones are not kept under version control).

    Returns
    -------
    frozenset of str
        Trial ids.
    """
    done = {key for key, status in finished_ids(folder).items() if status == "done"}
    if not done:
        return frozenset()
    aside = [info.base_name for info in folder.list_files(DAMAGED)]
    missing: set[str] = set()
    for name in EXPECTED:
        found = folder.read_files(
            name, lambda file: pc.unique(file.read(columns=["trial_id"]).column(0)).to_pylist()
        )
        was_aside = any(f"-{name}" in file for file in aside)
        if not found and not was_aside and not folder.list_files("parts/trials"):
            continue
        missing |= done - {trial_id for ids in found for trial_id in ids}
    return frozenset(missing)
