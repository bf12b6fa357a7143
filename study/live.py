"""Write `live.html`, a page on a running sweep: `python -m study.live results/NAME`.

No server is needed: the file is replaced every few seconds and the browser reads it again. It only
reads what `study.status` reads, and so it works from anywhere, also on a sweep that was killed.
Exit status: 0, or 2 if the folder cannot be read.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error
from study.display.heartbeat import read_state
from study.display.progress import RunningStack, format_duration
from study.execution.exit_status import ExitStatus
from study.results import WELL_ENDED, printable, read_table
from study.results.folder import ResultsError, ResultsFolder, open_folder, whole_location
from study.status import STALE_S, Status, headline, read_status

if TYPE_CHECKING:
    import pandas as pd

NAME = "live.html"
INTERVAL_S = 10.0
# Of the time between two writes, so much is spent on writing at the most.
BUSY_SHARE = 0.01
# With more trials their squares have no names: the page stays below 300 kB.
MOST_NAMED = 1500
MOST_CELLS = 200
WORDS = {
    "running": "RUNNING",
    "silent": "STALLED",
    "stopped": "STOPPED",
    "unfinished": "STOPPED",
    "unplanned": "STOPPED",
    "complete": "DONE",
}
# One letter per square.
LETTERS = {"done": "d", "stopped": "s", "failed": "f", "diverged": "f", "timeout": "t"}


@dataclass(frozen=True, slots=True)
class Bar:
    """Extra components of samples in one cell so far, with a 95 % t interval over data sets."""

    cell: str
    n_data: int
    mean: float
    low: float
    high: float
    share_done: float


def bars_of(trials: pd.DataFrame, totals: dict[str, int]) -> list[Bar]:
    """Average k* of samples less k* of the control by cell; intervals from two data sets on."""
    from scipy.special import stdtrit

    done = trials[trials["status"] == "done"]
    extra = done["k_samples_calibrated"].astype(float) - done["k_data_calibrated"].astype(float)
    means = extra.groupby([done["cell"], done["data_seed"]], sort=False).mean().dropna()
    n_done = done["cell"].value_counts()
    bars = []
    for cell, own in means.groupby(level=0, sort=False):
        n, mean, half = len(own), float(own.mean()), math.nan
        if n > 1:
            half = float(stdtrit(n - 1, 0.975) * own.std(ddof=1) / math.sqrt(n))
        share = float(n_done[cell]) / max(totals.get(str(cell), 1), 1)
        bars.append(Bar(str(cell), n, mean, mean - half, mean + half, share))
    return bars


def grid_of(
    plan: pd.DataFrame, trials: pd.DataFrame, running: dict[str, float]
) -> list[dict[str, Any]]:
    """List the cells with a letter for each trial: l left, r running, d done, f failed ...

    Parameters
    ----------
    plan, trials : DataFrame
        trial_id, cell; trial_id, status, message, train_s.
    running : dict of str to float
        Share of the work of running trials.
    """
    ended = trials.set_index("trial_id")[["status", "message", "train_s"]]
    rows = plan.join(ended, on="trial_id") if len(plan) else trials
    named = len(rows) <= MOST_NAMED
    found = []
    for cell, own in rows.groupby("cell", sort=False):
        letters, titles = [], []
        for trial_id, status, message, seconds in zip(
            own["trial_id"], own["status"], own["message"], own["train_s"], strict=True
        ):
            known = isinstance(status, str)
            letter = LETTERS.get(status, "f") if known else "r" if trial_id in running else "l"
            letters.append(letter)
            if named:
                titles.append(_title(trial_id, status, message, seconds, running.get(trial_id)))
        found.append({"cell": str(cell), "letters": "".join(letters), "titles": titles})
    return found


def _title(trial_id: str, status: Any, message: Any, seconds: Any, share: float | None) -> str:
    if isinstance(status, str):
        took = f", {float(seconds):.0f} s of training" if seconds == seconds and seconds else ""
        reason = ""
        if status not in WELL_ENDED and isinstance(message, str) and message.strip():
            reason = f": {message.strip().splitlines()[-1][:120]}"
        return f"{trial_id} {status}{took}{reason}"
    return f"{trial_id} running, {share:.0%}" if share is not None else f"{trial_id} left"


def _running(status: Status) -> tuple[list[dict[str, str]], dict[str, float]]:
    """Return what the workers do, in words, and the share of each running trial's work."""
    rows: list[dict[str, str]] = []
    shares: dict[str, float] = {}
    for writer in status.writers:
        for unit in writer.running:
            stack = RunningStack.from_row(unit)
            epoch = f" epoch {stack.epoch}/{stack.n_epochs}" if stack.n_epochs else ""
            counted = f" {stack.n_counted}/{stack.n_trials}" * (stack.phase == "counting")
            rows.append({"label": stack.label, "phase": f"{stack.phase}{counted or epoch}"})
            shares |= dict.fromkeys(map(str, unit.get("trial_ids", ())), stack.fraction)
    return rows, shares


def live_page(folder: ResultsFolder, *, location: str) -> str:
    """Write the page's HTML.

    Parameters
    ----------
    folder : ResultsFolder
    location : str
        As a person would type it, for the commands that the page shows.

    Raises
    ------
    ResultsError
        The folder cannot be read.
    """
    import jinja2

    status = read_status(folder)
    manifest = folder.read_manifest()
    trials, plan = read_table(folder, "trials"), read_table(folder, "plan")
    workers, shares = _running(status)
    totals = {cell: counts["trials"] for cell, counts in status.cells.items()}
    state = read_state(folder) or {}
    rate = state.get("trials_per_minute")
    left = next((w.seconds_left for w in status.writers if w.seconds_left is not None), None)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "display"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    word = WORDS[status.state]
    bars = bars_of(trials, totals)
    return environment.get_template("live.html.j2").render(
        status=status,
        question=str(manifest.get("question", "")),
        word=word,
        says=headline(status),
        written=datetime.now(UTC).isoformat(timespec="seconds"),
        stale_s=STALE_S,
        refresh_s=int(INTERVAL_S),
        grid=grid_of(plan, trials, shares)[:MOST_CELLS],
        n_cells=len(totals),
        bars=bars[:40],
        scale=_scale(bars[:40]),
        workers=workers,
        rate=f"{rate:.1f}" if isinstance(rate, int | float) else "",
        left=format_duration(left) if left is not None else "",
        free_gb=_free_gb(folder),
        location=location,
        report="report.html" if word == "DONE" and _has_report(folder) else "",
    )


def _scale(bars: Sequence[Bar]) -> tuple[float, float]:
    ends = [end for bar in bars for end in (bar.mean, bar.low, bar.high) if math.isfinite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    return (low, high) if high > low else (low, low + 1)


def _free_gb(folder: ResultsFolder) -> float | None:
    if not folder.is_local:
        return None
    try:
        return shutil.disk_usage(folder.path).free / 1e9
    except OSError:
        return None


def _has_report(folder: ResultsFolder) -> bool:
    return folder.is_local and (Path(folder.path) / "report.html").exists()


def write_live(folder: ResultsFolder, *, location: str) -> float:
    """Write the page once; return the seconds of processor time that it took."""
    start = time.thread_time()
    folder.write_bytes(NAME, live_page(folder, location=location).encode())
    return time.thread_time() - start


def pause_s(took_s: float) -> float:
    """Return how long to wait after a write that took so long, so that it costs 1 % at most."""
    return max(INTERVAL_S, took_s / BUSY_SHARE)


@contextlib.contextmanager
def kept_live(location: str) -> Iterator[None]:
    """Keep the page of a sweep written from a thread while the block runs, and once after it.

    A page that cannot be written is left out: nothing depends on it.
    """
    ended = threading.Event()

    def write() -> float:
        with contextlib.suppress(OSError, ResultsError, ValueError, KeyError):
            return write_live(open_folder(location), location=location)
        return 0.0

    def keep() -> None:
        # The folder is made by the run.
        while not ended.wait(pause_s(write())):
            pass

    thread = threading.Thread(target=keep, name="live page", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=INTERVAL_S)
        write()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        The exit status.
    """
    guard_output()
    parser = CommandParser(
        prog="python -m study.live",
        description="Write live.html into a results folder, and again every 10 s until the sweep "
        "has ended. Open it in a browser; no server is needed.",
    )
    parser.add_argument("path", help="results folder, such as results/latent_dims")
    parser.add_argument("--once", action="store_true", help="write it once and exit")
    options = parser.parse_args(argv)
    location = options.path.rstrip("/")
    try:
        folder = open_folder(whole_location(location))
        took_s = write_live(folder, location=location)
        say(f"live page: {location}/{NAME}")
        while not options.once and read_status(folder).state == "running":
            time.sleep(pause_s(took_s))
            took_s = write_live(folder, location=location)
    except (ResultsError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    except KeyboardInterrupt:
        return ExitStatus.DONE
    return ExitStatus.DONE


if __name__ == "__main__":
    sys.exit(main())
