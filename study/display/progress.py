"""What a person sees while a sweep runs: one live display, plain lines, JSON lines, or nothing.

`SweepProgress` holds the state and knows no terminal; the displays only draw it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from study.display.console import make_console, say
from study.results.tables import WELL_ENDED

# Of the whole work: so much the forecast weighs beside what has been measured.
FORECAST_WEIGHT = 0.1
# Columns of the bar's line that are not the bar.
BESIDE_BAR = 30
SPINNER = "-\\|/"
# What a phase waits for, where its name does not say it.
PHASES = {
    "starting": "starting a worker process",
    "importing": "importing PyTorch and making the data (once per worker)",
    "writing": "writing rows",
}
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
    """Trials of one cell: how many there are, finished, failed; coverage of those measured."""

    total: int = 0
    finished: int = 0
    failed: int = 0
    coverage_sum: float = 0.0
    n_measured: int = 0


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
    trial_ids: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> RunningStack:
        """Rebuild one from what `dataclasses.asdict` made of it; what is missing is unknown."""
        loss = row.get("loss")
        return cls(
            label=str(row.get("label", "")),
            phase=str(row.get("phase", "")),
            loss=None if loss is None else float(loss),
            trial_ids=tuple(map(str, row.get("trial_ids") or ())),
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
    forecast_s : float or None
        Seconds that the run was expected to take.
    """

    name: str
    cells: dict[str, CellCount] = field(default_factory=dict)
    n_trials: int = 0
    n_finished: int = 0
    n_failed: int = 0
    running: dict[int, RunningStack] = field(default_factory=dict)
    started_at: float = field(default_factory=time.monotonic)
    n_finished_before: int = 0
    forecast_s: float | None = None

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

    def measure(self, cell: str, coverage: float) -> None:
        """Add the coverage of a trial's samples to its cell's mean so far."""
        count = self.cells[cell]
        count.coverage_sum += coverage
        count.n_measured += 1

    @property
    def done_share(self) -> float:
        """Share of the sweep's work that is behind it, running stacks by their share."""
        running = sum(stack.fraction * stack.n_trials for stack in list(self.running.values()))
        return min((self.n_finished + running) / max(self.n_trials, 1), 1.0)

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
        """Seconds until the last trial ends; None until a trial of this run has ended.

        The forecast, scaled by the speed measured so far: what has been measured weighs by the
        share of the work that it is.
        """
        rate = self.trials_per_minute
        if not rate or self.n_finished == self.n_finished_before:
            return None
        running = sum(stack.fraction * stack.n_trials for stack in list(self.running.values()))
        left = self.n_trials - self.n_finished - running
        asked = self.n_trials - self.n_finished_before
        measured_s = 60 * asked / rate
        share = 1 - left / asked if asked else 1.0
        if self.forecast_s is None:
            return measured_s * (1 - share)
        weight = share / (share + FORECAST_WEIGHT)
        return (weight * measured_s + (1 - weight) * self.forecast_s) * (1 - share)


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
    return f"{PHASES.get(stack.phase, stack.phase)}{epoch}{loss}"


def _cell_order(progress: SweepProgress) -> list[tuple[str, CellCount]]:
    """List unfinished cells first, so that a long sweep shows where it is."""
    return sorted(progress.cells.items(), key=lambda item: item[1].finished == item[1].total)


def render(progress: SweepProgress, width: int = 80) -> RenderableType:
    """Draw the state for a terminal of so many columns: bar, cells, what runs on the workers.

    Names are never cut: where a line has no room they go on in the next.
    """
    share = progress.done_share
    parts: list[RenderableType] = [
        Text(progress.name, style="bold", overflow="fold"),
        Columns(
            [
                ProgressBar(total=1.0, completed=share, width=max(width - BESIDE_BAR, 10)),
                Text(f"{share:.0%}"),
            ]
        ),
        Text(f"  {status_line(progress)}"),
        Text("cells: finished of planned, coverage of samples so far", style="dim"),
    ]
    ordered = _cell_order(progress)
    parts += [_cell_line(name, count, width) for name, count in ordered[:MAX_CELL_LINES]]
    if len(ordered) > MAX_CELL_LINES:
        parts.append(Text(f"  and {len(ordered) - MAX_CELL_LINES} more cells", style="dim"))
    stacks = list(progress.running.values())
    if stacks:
        parts.append(Text("on the workers:", style="dim"))
    turn = SPINNER[int(time.monotonic() * 4) % len(SPINNER)]
    for stack in stacks:
        line = Text(f"  {turn} ", overflow="fold")
        line.append(stack.label, style="cyan")
        gap = "\n      " if len(stack.label) + 40 > width else "  "
        parts.append(line.append(f"{gap}{_running_text(stack)}"))
    return Group(*parts)


def _cell_line(name: str, count: CellCount, width: int) -> Text:
    """Write a cell's counts behind its name, or below it where the line has no room."""
    line = Text(f"  {name}", overflow="fold")
    said = f"{count.finished}/{count.total}"
    if count.n_measured:
        said += f"  {count.coverage_sum / count.n_measured:.0%} (n = {count.n_measured})"
    line.append(("\n    " if len(name) + len(said) + 16 > width else "  ") + said)
    if count.failed:
        line.append(f"  {count.failed} failed", style="red")
    return line


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
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def _render(self) -> RenderableType:
        return render(self.progress, self._console.width)

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
