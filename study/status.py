"""Report how far a sweep is: `python -m study.status results/NAME`, from anywhere, only reading.

Done, failed and remaining trials are counted in the tables; what is running is what the run itself
last wrote, with its age. Exit status: 0, or 2 if the folder cannot be read.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from study.display.command_parser import CommandParser
from study.display.console import guard_output, make_console, say, say_error
from study.display.progress import format_duration
from study.display.text import as_text
from study.display.writers import Writer, read_writers
from study.execution.exit_status import ExitStatus
from study.plugins import PluginError, add_option, load_plugins
from study.results import WELL_ENDED, finished_ids, printable, read_table
from study.results.folder import ResultsError, ResultsFolder, open_folder, whole_location
from study.results.lineage import check_lineage
from study.results.lock import LEASE_S
from study.results.record import drop_doubles

if TYPE_CHECKING:
    import pandas as pd

MAX_CELLS = 40
# What is older than this was not written by a healthy run.
STALE_S = 60.0
_LIVELINESS = ("running", "silent", "stopped")
_AGAIN = "run the same command to continue"
_ENDED = ("trial_id", "status", "message", "finished_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Trials that ended alike: their status, the cause in a line, and one whole message."""

    status: str
    cause: str
    n_trials: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a sweep is.

    Parameters
    ----------
    name : str
    n_trials, n_done, n_stopped, n_not_done, n_left : int
        `n_stopped` were stopped early by a search; `n_not_done` ended otherwise: failed, diverged
        or out of time.
    cells : dict of str to dict
        Counts of each cell.
    causes : list of Cause
        Most frequent first.
    n_controls_missing, n_controls_failed : int
    state : str
        "running", "silent" (a writer that gave no sign of life), "stopped" (one that died),
        "unfinished" (nobody writes, trials are left), "unplanned" (nobody writes, and no plan
        says what is left) or "complete".
    writers : list of Writer
        Who holds the folder: one run, or one for each share that is under way.
    """

    name: str
    n_trials: int
    n_done: int
    n_stopped: int
    n_not_done: int
    n_left: int
    cells: dict[str, dict[str, int]]
    causes: list[Cause]
    n_controls_missing: int
    n_controls_failed: int
    state: str
    writers: list[Writer]


def read_status(folder: ResultsFolder) -> Status:
    """Read how far a sweep is.

    Raises
    ------
    ResultsError
        The folder cannot be read.
    """
    check_lineage(folder)
    name = str(folder.read_manifest().get("name", ""))
    # The writer first: a run that ends meanwhile is then at worst called running once more.
    writers = read_writers(folder)
    plan = read_table(folder, "plan")
    raw = folder.read_raw("trials", [*plan.columns, "status", "message", "finished_at"])
    rows = drop_doubles("trials", raw.to_pandas())
    has_plan = not plan.empty
    trials = plan.merge(rows[[*_ENDED]], on="trial_id", how="left") if has_plan else rows
    controls = finished_ids(folder, "controls")
    ended = trials[trials["status"].notna()]
    wanted = set(ended.loc[ended["status"] == "done", "control_id"])
    n_done = int(trials["status"].eq("done").sum())
    n_stopped = int(trials["status"].eq("stopped").sum())
    n_left = int(trials["status"].isna().sum())
    return Status(
        name=name,
        n_trials=len(trials),
        n_done=n_done,
        n_stopped=n_stopped,
        n_not_done=len(trials) - n_done - n_stopped - n_left,
        n_left=n_left,
        cells=_cells(trials),
        causes=_causes(ended[~ended["status"].isin(WELL_ENDED)]),
        n_controls_missing=len(wanted - set(controls)),
        n_controls_failed=sum(controls.get(key, "done") != "done" for key in wanted),
        state=_foremost(writers) or _resting(has_plan=has_plan, n_left=n_left),
        writers=writers,
    )


def _resting(*, has_plan: bool, n_left: int) -> str:
    if not has_plan:
        return "unplanned"
    return "unfinished" if n_left else "complete"


def _foremost(writers: Sequence[Writer]) -> str | None:
    """Return the state of the liveliest writer; None if there is none."""
    states = {writer.state for writer in writers}
    return next((state for state in _LIVELINESS if state in states), None)


def _cells(trials: pd.DataFrame) -> dict[str, dict[str, int]]:
    counts = {}
    for cell, rows in trials.groupby("cell", sort=False):
        done, left = int(rows["status"].eq("done").sum()), int(rows["status"].isna().sum())
        stopped = int(rows["status"].eq("stopped").sum())
        counts[str(cell)] = {
            "trials": len(rows),
            "done": done,
            "stopped": stopped,
            "not_done": len(rows) - done - stopped - left,
            "left": left,
        }
    return counts


def _causes(bad: pd.DataFrame) -> list[Cause]:
    """Group trials by status and the last line of the message, numbers left out."""
    groups: dict[tuple[str, str], list[str]] = {}
    for status, message in zip(bad["status"], bad["message"].fillna("no message"), strict=True):
        text = str(message).strip() or "no message"
        signature = re.sub(r"0x[0-9a-f]+|\d+", "#", text.splitlines()[-1])
        groups.setdefault((str(status), signature), []).append(text)
    found = [
        Cause(
            status=status,
            cause=messages[0].splitlines()[-1],
            n_trials=len(messages),
            message=messages[0],
        )
        for (status, _), messages in groups.items()
    ]
    return sorted(found, key=lambda cause: -cause.n_trials)


def headline(status: Status) -> str:
    """Return the state of the sweep as sentences, one for each writer if there is one."""
    if status.writers:
        return "\n".join(map(_writer_line, status.writers))
    if status.state == "unfinished":
        return f"Not running, {status.n_left} trials left: {_AGAIN}."
    if status.state == "unplanned":
        unknown = "plan.parquet holds no plan, so what is left is unknown"
        return f"Not running, and {unknown}: {_AGAIN}."
    return "Complete: every trial has ended."


def _writer_line(writer: Writer) -> str:
    share = f"Share {writer.share}: " if writer.share else ""
    silent = "" if writer.silent_s is None else f" {format_duration(writer.silent_s)} ago"
    if writer.state == "running":
        left = ""
        if writer.seconds_left is not None:
            left = f", about {format_duration(writer.seconds_left)} left"
        return f"{share}Running{left}: {writer.holder}."
    if writer.state == "silent":
        return (
            f"{share}No heartbeat while it was watched, so perhaps no longer running: "
            f"{writer.holder}. A run watches it for {format_duration(LEASE_S)} and then takes "
            f"over: {_AGAIN}."
        )
    last = f" Its last heartbeat was{silent}." if silent else ""
    return f"{share}Stopped; {_AGAIN}. It was {writer.holder}.{last}"


def render(status: Status) -> RenderableType:
    """Draw the status for a terminal of any width."""
    early = f"{status.n_stopped} stopped early, " * (status.n_stopped > 0)
    total = as_text(
        f"{status.name}: {status.n_done} of {status.n_trials} trials done, {early}"
        f"{status.n_not_done} failed, {status.n_left} left",
        style="bold",
    )
    parts: list[RenderableType] = [total, as_text(headline(status))]
    parts += [_running(writer) for writer in status.writers if writer.running]
    parts.append(_cell_table(status))
    for cause in status.causes:
        parts.append(as_text(f"{cause.n_trials} x {cause.status}: {cause.cause}", style="red"))
        if cause.message != cause.cause:
            parts.append(as_text("  " + cause.message.replace("\n", "\n  "), style="dim"))
    n_missing, n_failed = status.n_controls_missing, status.n_controls_failed
    if n_missing or n_failed:
        parts.append(Text(f"Controls of done trials: {n_missing} missing, {n_failed} failed."))
    if status.causes and status.state == "complete":
        parts.append(
            Text("To run failed trials again, add --retry-failed to the sweep's command.")
        )
    return Group(*parts)


def _running(writer: Writer) -> RenderableType:
    age_s = writer.running_age_s
    fresh = writer.state == "running" and age_s is not None and age_s < STALE_S
    when = "" if fresh else f" (as of {format_duration(age_s)} ago; not current)"
    table = Table.grid(padding=(0, 2))
    for unit in writer.running:
        phase = str(unit.get("phase", "?"))
        if phase == "counting" and unit.get("n_trials"):
            phase += f" {unit.get('n_counted', 0)}/{unit['n_trials']} trials done"
        elif unit.get("n_epochs"):
            phase += f" epoch {unit.get('epoch')}/{unit['n_epochs']}"
        table.add_row(as_text(f"  {unit.get('label', '?')}", style="cyan"), as_text(phase))
    share = f" in share {writer.share}" if writer.share else ""
    return Group(Text(f"Running{share}{when}:"), table)


def _cell_table(status: Status) -> Table:
    headings = ["cell", "done", *["stopped"] * (status.n_stopped > 0), "failed", "left"]
    table = Table(*headings, box=None, pad_edge=False)
    # Unfinished cells first.
    ordered = sorted(status.cells.items(), key=lambda item: item[1]["left"] == 0)
    table.columns[0].overflow = "fold"
    for cell, count in ordered[:MAX_CELLS]:
        done = f"{count['done']}/{count['trials']}"
        stopped = [str(count["stopped"] or "")] if status.n_stopped else []
        table.add_row(
            as_text(cell), done, *stopped, str(count["not_done"] or ""), str(count["left"] or "")
        )
    if len(ordered) > MAX_CELLS:
        table.add_row(f"and {len(ordered) - MAX_CELLS} more cells")
    return table


def _sweeps_in(path: str) -> list[Path]:
    """List the results folders directly below a local folder that is not one itself."""
    place = Path(path)
    if "://" in path or (place / "manifest.json").exists():
        return []
    return sorted(one.parent for one in place.glob("*/manifest.json"))


def _list_sweeps(places: Sequence[Path], *, as_json: bool) -> int:
    """Print one line per sweep; a folder that cannot be read says so in its line."""
    rows: list[dict[str, Any]] = []
    for place in places:
        row: dict[str, Any] = {"sweep": place.name}
        try:
            status = read_status(open_folder(str(place)))
        except (ResultsError, OSError) as error:
            rows.append(row | {"state": "unreadable", "message": printable(error)})
            continue
        rows.append(
            row
            | {"state": status.state, "done": status.n_done, "trials": status.n_trials}
            | {"failed": status.n_not_done, "left": status.n_left, "age_s": _age_s(place)}
        )
    if as_json:
        say(json.dumps(rows))
        return ExitStatus.DONE
    table = Table("sweep", "state", "done", "failed", "left", "changed", box=None, pad_edge=False)
    table.columns[0].overflow = "fold"
    for row in rows:
        done = f"{row['done']}/{row['trials']}" if "done" in row else row["message"]
        changed = f"{format_duration(row['age_s'])} ago" if "age_s" in row else ""
        counts = (str(row.get(name, "") or "") for name in ("failed", "left"))
        table.add_row(as_text(row["sweep"]), row["state"], as_text(done), *counts, changed)
    make_console().print(table)
    return ExitStatus.DONE


def _age_s(place: Path) -> float:
    newest = max((path.stat().st_mtime for path in place.glob("*.parquet")), default=time.time())
    return max(time.time() - newest, 0.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        The exit status.
    """
    guard_output()
    parser = CommandParser(
        prog="python -m study.status",
        description="Report how far a sweep is: trials done, running, failed (with causes) and "
        "left. Only reads.",
    )
    parser.add_argument(
        "path",
        nargs="?",
        default="results",
        help="results folder or s3:// URI, such as results/latent_dims; a folder of such folders "
        "(default: results) lists them all",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    add_option(parser)
    options = parser.parse_args(argv)
    try:
        load_plugins(options.plugins)
        found = _sweeps_in(options.path)
        if found:
            return _list_sweeps(found, as_json=options.json)
        status = read_status(open_folder(whole_location(options.path.rstrip("/"))))
    except (ResultsError, PluginError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    if options.json:
        say(json.dumps(asdict(status)))
    else:
        make_console().print(render(status), highlight=False, soft_wrap=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
