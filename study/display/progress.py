"""What a person sees while a sweep runs: one live display, plain lines, JSON lines, or nothing.

`SweepProgress` holds the state and knows no terminal; the displays only draw it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.display.console import make_console, say
from study.results.tables import WELL_ENDED

# Share of a stack's work that training is, for the time left; counting is the rest.
TRAINING_SHARE = 0.4
MAX_CELL_LINES = 12
# Seconds between plain lines, when a stack has ended and when nothing has.
PLAIN_INTERVAL_S = 15.0
QUIET_INTERVAL_S = 60.0
# Seconds between JSON lines that only say how far running stacks are.
REPORT_INTERVAL_S = 0.5


@dataclass(slots=True)
class CellCount:
    """Trials of one cell: how many there are, finished, and not done."""

    total: int = 0
    finished: int = 0
    failed: int = 0


@dataclass(slots=True)
class RunningStack:
    """One stack on a worker, as last reported."""

    label: str
    n_trials: int
    phase: str = "starting"
    epoch: int = 0
    n_epochs: int = 0
    loss: float | None = None
    n_counted: int = 0

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> RunningStack:
        """Rebuild one from what `dataclasses.asdict` made of it; what is missing is unknown."""
        loss = row.get("loss")
        return cls(
            label=str(row.get("label", "")),
            phase=str(row.get("phase", "")),
            loss=None if loss is None else float(loss),
            **{
                name: int(row.get(name, 0))
                for name in ("n_trials", "epoch", "n_epochs", "n_counted")
            },
        )

    @property
    def fraction(self) -> float:
        """Share of the stack's work that is behind it, 0 to 1."""
        trained = self.epoch / self.n_epochs if self.n_epochs else 0.0
        counted = self.n_counted / self.n_trials if self.n_trials else 0.0
        return TRAINING_SHARE * trained + (1 - TRAINING_SHARE) * counted


@dataclass(slots=True)
class SweepProgress:
    """The state of a running sweep.

    Parameters
    ----------
    name : str
        The sweep's.
    cells : dict of str to CellCount
    n_trials, n_finished, n_failed : int
        Over the whole sweep; trials of earlier runs count as finished.
    running : dict of int to RunningStack
        Running units by index.
    """

    name: str
    cells: dict[str, CellCount] = field(default_factory=dict)
    n_trials: int = 0
    n_finished: int = 0
    n_failed: int = 0
    running: dict[int, RunningStack] = field(default_factory=dict)
    started_at: float = field(default_factory=time.monotonic)
    n_finished_before: int = 0

    def plan(self, cell: str, *, finished: bool, failed: bool = False) -> None:
        """Add one planned trial, perhaps finished by an earlier run."""
        count = self.cells.setdefault(cell, CellCount())
        count.total += 1
        self.n_trials += 1
        if finished:
            self.finish(cell, failed=failed)
            self.n_finished_before += 1

    def finish(self, cell: str, *, failed: bool) -> None:
        """Count one trial as finished."""
        count = self.cells[cell]
        count.finished += 1
        count.failed += failed
        self.n_finished += 1
        self.n_failed += failed

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run started."""
        return time.monotonic() - self.started_at

    @property
    def trials_per_minute(self) -> float | None:
        """Throughput of this run, running stacks counted by their share; None before the first."""
        done = self.n_finished - self.n_finished_before
        done_share = done + sum(stack.fraction * stack.n_trials for stack in self.running.values())
        return 60 * done_share / self.elapsed_s if done_share > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the last trial ends at the throughput so far; None before the first."""
        rate = self.trials_per_minute
        if not rate:
            return None
        running = sum(stack.fraction * stack.n_trials for stack in self.running.values())
        return 60 * (self.n_trials - self.n_finished - running) / rate


class Display(Protocol):
    """What the executor tells, and when."""

    progress: SweepProgress

    def __enter__(self) -> Display: ...
    def __exit__(self, *error: object) -> None: ...
    def update(self, event: str) -> None:
        """Draw the changed state; `event` is one of start, report, finish, note."""

    def note(self, message: str) -> None:
        """Print a message that stays on the screen."""


def format_duration(seconds: float | None) -> str:
    """Write seconds as 45 s, 3 min 20 s or 2 h 05 min; "?" for None.

    Examples
    --------
    >>> format_duration(200)
    '3 min 20 s'
    """
    if seconds is None:
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def status_line(progress: SweepProgress) -> str:
    """Write the whole state in one line."""
    rate = progress.trials_per_minute
    parts = [f"{progress.n_finished}/{progress.n_trials} trials"]
    if rate:
        parts += [f"{rate:.1f}/min", f"about {format_duration(progress.seconds_left)} left"]
    parts.append(f"{format_duration(progress.elapsed_s)} so far")
    if progress.n_failed:
        parts.insert(1, f"{progress.n_failed} failed")
    return ", ".join(parts)


def _running_text(stack: RunningStack) -> str:
    if stack.phase == "counting" and stack.n_trials:
        return f"counting modes of {stack.n_counted + 1}/{stack.n_trials}"
    loss = "" if stack.loss is None else f", loss {stack.loss:.3f}"
    epoch = f" epoch {stack.epoch}/{stack.n_epochs}" if stack.n_epochs else ""
    return f"{stack.phase}{epoch}{loss}"


def _cell_order(progress: SweepProgress) -> list[tuple[str, CellCount]]:
    """List unfinished cells first, so that a long sweep shows where it is."""
    return sorted(progress.cells.items(), key=lambda item: item[1].finished == item[1].total)


def render(progress: SweepProgress) -> RenderableType:
    """Draw the state for a terminal: overall bar, cells, running stacks."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text(progress.name, style="bold"),
        ProgressBar(total=max(progress.n_trials, 1), completed=progress.n_finished, width=20),
    )
    # On a line of its own it fits a terminal of 80 columns.
    state = Text(f"  {status_line(progress)}")
    cells = Table.grid(padding=(0, 2))
    ordered = _cell_order(progress)
    for name, count in ordered[:MAX_CELL_LINES]:
        failed = Text(f"{count.failed} failed", style="red") if count.failed else Text("")
        cells.add_row(Text(f"  {name}"), Text(f"{count.finished}/{count.total}"), failed)
    if len(ordered) > MAX_CELL_LINES:
        cells.add_row(Text(f"  and {len(ordered) - MAX_CELL_LINES} more cells", style="dim"))
    stacks = Table.grid(padding=(0, 2))
    for stack in progress.running.values():
        stacks.add_row(Text(f"  {stack.label}", style="cyan"), Text(_running_text(stack)))
    return Group(bar, state, cells, stacks)


class QuietDisplay:
    """Draw nothing; notes are dropped."""

    def __init__(self, progress: SweepProgress) -> None:
        self.progress = progress

    def __enter__(self) -> QuietDisplay:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def update(self, event: str) -> None:
        """Draw nothing."""

    def note(self, message: str) -> None:
        """Print nothing."""


class LiveDisplay(QuietDisplay):
    """Redraw one block of a terminal in place."""

    def __init__(self, progress: SweepProgress, console: Console) -> None:
        super().__init__(progress)
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def _render(self) -> RenderableType:
        return render(self.progress)

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def note(self, message: str) -> None:
        """Print one line above the block."""
        self._live.console.print(message, highlight=False, markup=False)


class PlainDisplay(QuietDisplay):
    """Print a line now and then, for logs and pipes."""

    def __init__(self, progress: SweepProgress, console: Console) -> None:
        super().__init__(progress)
        self._console = console
        self._last_s = time.monotonic()

    def update(self, event: str) -> None:
        """Print the status line now and then, and always at the end."""
        interval = PLAIN_INTERVAL_S if event == "finish" else QUIET_INTERVAL_S
        complete = event == "finish" and self.progress.n_finished == self.progress.n_trials
        if time.monotonic() - self._last_s < interval and not complete:
            return
        self._last_s = time.monotonic()
        self.note(f"{self.progress.name}: {status_line(self.progress)}")

    def note(self, message: str) -> None:
        """Print one line."""
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)


class JsonDisplay(QuietDisplay):
    """Print one JSON object a line for each event, for other programs."""

    _last_s = 0.0

    def update(self, event: str) -> None:
        """Print the state as JSON; reports of a thousand workers are thinned out."""
        if event == "report" and time.monotonic() - self._last_s < REPORT_INTERVAL_S:
            return
        self._last_s = time.monotonic()
        self._print(event, {"running": [asdict(one) for one in self.progress.running.values()]})

    def note(self, message: str) -> None:
        """Print a note as JSON."""
        self._print("note", {"message": message})

    def _print(self, event: str, extra: Mapping[str, Any]) -> None:
        state = {
            "event": event,
            "sweep": self.progress.name,
            "n_trials": self.progress.n_trials,
            "n_finished": self.progress.n_finished,
            "n_failed": self.progress.n_failed,
            "elapsed_s": round(self.progress.elapsed_s, 1),
            **extra,
        }
        say(json.dumps(state))


def make_display(progress: SweepProgress, *, quiet: bool, as_json: bool) -> Display:
    """Choose the display: none, JSON lines, live on a terminal, plain lines otherwise."""
    console = make_console()
    if quiet:
        return QuietDisplay(progress)
    if as_json:
        return JsonDisplay(progress)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(progress, console)
    return PlainDisplay(progress, console)


def plan_progress(name: str, cells: Iterable[tuple[str, str | None]]) -> SweepProgress:
    """Make the state of a sweep about to run.

    Parameters
    ----------
    name : str
        The sweep's.
    cells : iterable of (cell, status)
        One for each planned trial; status None if it is not recorded yet.

    Returns
    -------
    SweepProgress
    """
    progress = SweepProgress(name)
    for cell, status in cells:
        progress.plan(cell, finished=status is not None, failed=status not in (None, *WELL_ENDED))
    return progress
