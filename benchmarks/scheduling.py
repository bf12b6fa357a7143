"""What a unit of work costs beyond its work: no-op stacks through the real executor.

The stacks pass through everything that a sweep's stacks do (Ray Tune, the worker's trainable, one
file of rows, the live display, compaction) but train and measure nothing.
"""

from __future__ import annotations

import io
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console

from benchmarks.history import Measurement, Options
from study.config import ResourcesConfig
from study.config.sections import DetectionConfig, MixtureConfig, ModelConfig, TrainingConfig
from study.display.progress import LiveDisplay, plan_progress
from study.execution.ray_environment import set_ray_environment
from study.execution.stopping import Stop
from study.planning.trials import Trial
from study.planning.units import Stack
from study.results import finished_ids, open_folder, to_table
from study.results.compaction import compact
from study.results.provenance import timestamp

SIZES = (100, 500, 2_000)
STACK_SIZE = 16
N_WORKERS = 2


class TimedDisplay(LiveDisplay):
    """The live display, drawing to memory, with the time at which each unit ended."""

    def __init__(self, stacks: list[Stack]) -> None:
        cells = ((trial.cell, None) for stack in stacks for trial in stack.trials)
        console = Console(file=io.StringIO(), force_terminal=True)
        super().__init__(plan_progress("no-op", cells), console)
        self.ended_at: list[float] = []
        self.processor_s: list[float] = []

    def update(self, event: str) -> None:
        """Note the time; what is drawn is drawn by the display's own thread."""
        super().update(event)
        if event == "finish":
            self.ended_at.append(time.perf_counter())
            self.processor_s.append(time.process_time())


def no_op_stacks(n_stacks: int, *, n_models: int) -> list[Stack]:
    """Make stacks of trials of ten cells."""
    sections = {
        "mixture": MixtureConfig(),
        "model": ModelConfig(),
        "training": TrainingConfig(),
        "detection": DetectionConfig(sources=("means",)),
    }
    trials = [
        Trial(**sections, data_seed=i // 100, init_seed=i % 100, cell=f"cell={i % 10}")
        for i in range(n_stacks * n_models)
    ]
    starts = range(0, len(trials), n_models)
    return [Stack(trials=tuple(trials[i : i + n_models])) for i in starts]


def no_op_events(stack: Stack, **_: Any) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Stand in for training and measuring: one report, one row a trial."""
    from study.trial.rows import trial_row

    yield {"phase": "training", "epoch": 1, "n_epochs": 1, "loss": 0.0, "done": False}
    made = {"status": "done", "stack_id": stack.stack_id, "finished_at": timestamp()}
    return {"trials": [{**trial_row(trial), **made} for trial in stack.trials]}


def measure(options: Options) -> Iterator[Measurement]:
    """Run stacks of one at several counts, then full stacks."""
    sizes = (8, 16) if options.quick else SIZES
    for n_stacks in sizes:
        yield from _measured(n_stacks, n_models=1)
    yield from _measured(sizes[0], n_models=STACK_SIZE)


def _measured(n_stacks: int, *, n_models: int) -> Iterator[Measurement]:
    stacks = no_op_stacks(n_stacks, n_models=n_models)
    timing = run_stacks(stacks)
    named = f"{n_stacks} stacks of {n_models}"

    def figure(name: str, value: float, unit: str, ratio: float | None = None) -> Measurement:
        title = f"{named}: {name}"
        return Measurement(benchmark="scheduling", name=title, value=value, unit=unit, ratio=ratio)

    ends = timing["ended_at"]
    quarter = max(len(ends) // 4, 2)
    first = (ends[quarter - 1] - ends[0]) / (quarter - 1)
    last = (ends[-1] - ends[-quarter]) / (quarter - 1)
    yield figure(
        "a stack, from the first end to the last", (ends[-1] - ends[0]) / (len(ends) - 1), "s"
    )
    yield figure("a stack, first quarter", first, "s")
    yield figure("a stack, last quarter (ratio: to the first)", last, "s", last / first)
    used = timing["processor_s"]
    first = (used[quarter - 1] - used[0]) / (quarter - 1)
    last = (used[-1] - used[-quarter]) / (quarter - 1)
    yield figure("driver's processor time a stack, first quarter", first, "s")
    yield figure("the same, last quarter (ratio: to the first)", last, "s", last / first)
    yield figure("all in all, a trial", timing["total_s"] / (n_stacks * n_models), "s")
    yield figure("until the first end", ends[0] - timing["started_at"], "s")
    yield figure("compaction", timing["compaction_s"], "s")
    yield figure("driver's memory grew by", timing["grown_mb"], "MB")
    yield figure("files that Tune wrote", timing["n_files"], "")


def run_stacks(stacks: list[Stack]) -> dict[str, Any]:
    """Run no-op stacks on a Ray of our own; return times and the driver's memory growth.

    Raises
    ------
    RuntimeError
        A trial's row is missing afterwards.
    """
    # Ray reads its environment when it is imported.
    set_ray_environment()
    from benchmarks.no_op_unit import NoOpUnit
    from study.execution.executor import Executor
    from study.execution.ray_session import own_folder, ray_session

    with own_folder("bench-") as scratch:
        location = str(scratch / "results")
        folder = open_folder(location)
        ids = [trial.trial_id for stack in stacks for trial in stack.trials]
        rows = [{"trial_id": name, "control_id": "none", "cell": "all"} for name in ids]
        folder.write_table("plan.parquet", to_table("plan", rows))
        display = TimedDisplay(stacks)
        executor = Executor(
            folder=folder,
            location=location,
            n_workers=N_WORKERS,
            resources=ResourcesConfig(),
            display=display,
            stop=Stop(),
            scratch=str(scratch),
            before={},
        )
        session = ray_session(None, n_workers=N_WORKERS, resources=ResourcesConfig())
        with display, session, mock.patch("study.execution.executor.UnitTrainable", NoOpUnit):
            before, started = _memory_mb(), time.perf_counter()
            executor.run(stacks)
            total_s, grown_mb = time.perf_counter() - started, _memory_mb() - before
        n_files = sum(path.is_file() for path in scratch.glob("units-*/**/*"))
        started_compaction = time.perf_counter()
        compact(folder)
        compaction_s = time.perf_counter() - started_compaction
        if set(finished_ids(folder)) != set(ids):
            raise RuntimeError(f"{len(finished_ids(folder))} of {len(ids)} rows were written")
    return {
        "started_at": started,
        "ended_at": display.ended_at,
        "processor_s": display.processor_s,
        "n_files": float(n_files),
        "total_s": total_s,
        "compaction_s": compaction_s,
        "grown_mb": grown_mb,
    }


def _memory_mb() -> float:
    """Read this process's resident memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
