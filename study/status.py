"""Report how far a sweep is: `python -m study.status results/NAME`, from anywhere, only reading.

Done, failed and remaining trials are counted in the tables; what is running is what the run itself
last wrote, with its age. Exit status: 0, or 2 if the folder cannot be read.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from study.display.console import guard_output, make_console, say, say_error
from study.display.heartbeat import read_state
from study.display.progress import format_duration
from study.display.text import as_text
from study.execution.exit_status import ExitStatus
from study.results import WELL_ENDED, finished_ids, printable, read_table
from study.results.folder import ResultsError, ResultsFolder, open_folder, whole_location
from study.results.lock import LEASE_S, RENEW_S, read_holder
from study.results.record import drop_doubles

if TYPE_CHECKING:
    import pandas as pd

MAX_CELLS = 40
# What is older than this was not written by a healthy run.
STALE_S = 60.0
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
    writer : str or None
        Who holds the folder.
    silent_s : float or None
        Seconds since its last sign of life.
    running : list of dict
        What it was doing, as of `running_age_s` seconds ago.
    seconds_left : float or None
        By the run's own rate.
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
    writer: str | None
    silent_s: float | None
    running: list[dict[str, Any]]
    running_age_s: float | None
    seconds_left: float | None


def read_status(folder: ResultsFolder) -> Status:
    """Read how far a sweep is.

    Raises
    ------
    ResultsError
        The folder cannot be read.
    """
    name = str(folder.read_manifest().get("name", ""))
    # The writer first: a run that ends meanwhile is then at worst called running once more.
    held, state = read_holder(folder), read_state(folder)
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
    alive, silent_s = _judge(held)
    age_s = _age_s(state)
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
        state=alive or _resting(has_plan=has_plan, n_left=n_left),
        writer=str(held[0]) if held else None,
        silent_s=silent_s,
        running=list(state.get("running", [])) if state else [],
        running_age_s=age_s,
        seconds_left=state.get("seconds_left") if state and alive == "running" else None,
    )


def _resting(*, has_plan: bool, n_left: int) -> str:
    if not has_plan:
        return "unplanned"
    return "unfinished" if n_left else "complete"


def _judge(held: Any) -> tuple[str | None, float | None]:
    if held is None:
        return None, None
    holder, age_s = held
    if holder.is_dead(age_s):
        return "stopped", max(age_s, 0.0)
    return ("silent" if age_s > 3 * RENEW_S else "running"), max(age_s, 0.0)


def _age_s(state: dict[str, Any] | None) -> float | None:
    try:
        written = datetime.fromisoformat(str((state or {})["updated"]))
        return max((datetime.now(UTC) - written).total_seconds(), 0.0)
    except (KeyError, ValueError, TypeError):
        return None


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
    """Return the state of the run as a sentence, which says so where it is not fresh."""
    silent = format_duration(status.silent_s)
    again = "run the same command to continue"
    if status.state == "running":
        left = ""
        if status.seconds_left is not None:
            left = f", about {format_duration(status.seconds_left)} left"
        return f"Running{left}: {status.writer} (last heartbeat {silent} ago)."
    if status.state == "silent":
        return (
            f"No heartbeat for {silent}, so perhaps no longer running: {status.writer}. "
            f"After {format_duration(LEASE_S)} the folder can be taken over: {again}."
        )
    if status.state == "stopped":
        return f"Stopped at most {silent} ago; {again}. It was {status.writer}."
    if status.state == "unfinished":
        return f"Not running, {status.n_left} trials left: {again}."
    if status.state == "unplanned":
        return f"Not running, and plan.parquet holds no plan, so what is left is unknown: {again}."
    return "Complete: every trial has ended."


def render(status: Status) -> RenderableType:
    """Draw the status for a terminal of any width."""
    early = f"{status.n_stopped} stopped early, " * (status.n_stopped > 0)
    total = as_text(
        f"{status.name}: {status.n_done} of {status.n_trials} trials done, {early}"
        f"{status.n_not_done} not done, {status.n_left} left",
        style="bold",
    )
    parts: list[RenderableType] = [total, as_text(headline(status))]
    if status.running and status.state in ("running", "silent", "stopped"):
        parts.append(_running(status))
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


def _running(status: Status) -> RenderableType:
    age_s = status.running_age_s
    fresh = status.state == "running" and age_s is not None and age_s < STALE_S
    when = "" if fresh else f" (as of {format_duration(age_s)} ago; not current)"
    table = Table.grid(padding=(0, 2))
    for unit in status.running:
        phase = str(unit.get("phase", "?"))
        if phase == "counting" and unit.get("n_trials"):
            phase += f" {unit.get('n_counted', 0)}/{unit['n_trials']} trials done"
        elif unit.get("n_epochs"):
            phase += f" epoch {unit.get('epoch')}/{unit['n_epochs']}"
        table.add_row(as_text(f"  {unit.get('label', '?')}", style="cyan"), as_text(phase))
    return Group(Text(f"Running{when}:"), table)


def _cell_table(status: Status) -> Table:
    headings = ["cell", "done", *["stopped"] * (status.n_stopped > 0), "not done", "left"]
    table = Table(*headings, box=None, pad_edge=False)
    # Unfinished cells first.
    ordered = sorted(status.cells.items(), key=lambda item: item[1]["left"] == 0)
    for cell, count in ordered[:MAX_CELLS]:
        done = f"{count['done']}/{count['trials']}"
        stopped = [str(count["stopped"] or "")] if status.n_stopped else []
        table.add_row(
            as_text(cell), done, *stopped, str(count["not_done"] or ""), str(count["left"] or "")
        )
    if len(ordered) > MAX_CELLS:
        table.add_row(f"and {len(ordered) - MAX_CELLS} more cells")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        The exit status.
    """
    guard_output()
    parser = argparse.ArgumentParser(
        prog="python -m study.status",
        description="Report how far a sweep is: trials done, running, failed (with causes) and "
        "left. Only reads.",
    )
    parser.add_argument("path", help="results folder or s3:// URI, such as results/latent_dims")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    options = parser.parse_args(argv)
    try:
        status = read_status(open_folder(whole_location(options.path.rstrip("/"))))
    except (ResultsError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    if options.json:
        say(json.dumps(asdict(status)))
    else:
        make_console().print(render(status), highlight=False, soft_wrap=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
