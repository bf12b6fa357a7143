"""Whether a results folder is one folder, or two that were copied into one another.

Two copies that went on apart and were put together by `cp -r` have lost rows: of two compacted
tables of one name a single one is left. Each run therefore leaves `runs/ID.json`, which lists the
runs it found there. Runs of a whole sweep take turns in a folder, so of two of them one has found
the other; where neither has, they ran in different folders. Shares may run side by side.
"""

from __future__ import annotations

import json
import secrets
from itertools import pairwise
from typing import Any

from study.results.folder import ResultsError, ResultsFolder, first_line

RUNS = "runs"


def record_run(folder: ResultsFolder, *, share: str | None = None) -> None:
    """Leave the mark of a run that is about to write rows.

    Parameters
    ----------
    folder : ResultsFolder
    share : str or None
        Its share of the sweep, such as "2/4"; None if it runs all of it.

    Raises
    ------
    ResultsError
        It cannot be written.
    """
    mark = {"found": sorted(_read_marks(folder)), "share": share}
    try:
        folder.write_bytes(f"{RUNS}/{secrets.token_hex(8)}.json", json.dumps(mark).encode())
    except OSError as error:
        raise ResultsError(
            f"{folder.path}: cannot write results here: {first_line(error)}"
        ) from None


def check_lineage(folder: ResultsFolder) -> None:
    """Refuse a folder into which another one was copied.

    Raises
    ------
    ResultsError
        Two runs of the whole sweep did not know of each other; the message names both.
    """
    marks = _read_marks(folder)
    whole = {run: found for run, (found, share) in marks.items() if share is None}
    # In their order each one has found all before it, so neighbours suffice.
    ordered = sorted(whole, key=lambda run: len(whole[run] & whole.keys()))
    for earlier, later in pairwise(ordered):
        if earlier not in whole[later]:
            raise ResultsError(
                f"{folder.path}: two results folders were copied into this one: neither of the "
                f"runs {earlier} and {later} found the other, and rows of one are lost. Take both "
                "folders from where they were made, and run or report them apart. If rows may "
                f"be missing, delete one of {RUNS}/{earlier}.json and {RUNS}/{later}.json, and "
                "run the sweep again"
            )


def _read_marks(folder: ResultsFolder) -> dict[str, tuple[set[str], Any]]:
    """Read which runs each run found; marks that make no sense are left out."""
    marks = {}
    for info in folder.list_files(RUNS):
        name = info.base_name.removesuffix(".json")
        if name == info.base_name:
            continue
        try:
            raw = folder.read_object(f"{RUNS}/{info.base_name}")
            marks[name] = ({str(run) for run in raw["found"]}, raw.get("share"))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return marks
