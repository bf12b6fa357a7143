"""One run of a sweep: what remains to be done, doing it on Ray, and what the tables then hold."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from study.config import ResourcesConfig, Sweep
from study.display.console import make_console, say, say_error
from study.display.heartbeat import heartbeat, state_name
from study.display.plan_and_summary import (
    coverage_table,
    failure_causes,
    plan_facts,
    print_plan,
)
from study.display.progress import (
    Display,
    SweepProgress,
    format_duration,
    make_display,
    plan_progress,
)
from study.execution.exit_status import ExitStatus
from study.execution.ray_environment import set_ray_environment
from study.execution.run_options import RunOptions
from study.execution.stopping import Stop
from study.planning.estimate import estimate
from study.planning.packing import plan_units
from study.planning.resources import count_workers, local_resources, require_room
from study.planning.units import StoredTraining, Trial, Unit, expand, is_loadable, sweep_manifest
from study.plugins import require
from study.results import (
    WELL_ENDED,
    ResultsError,
    ResultsFolder,
    finished_ids,
    open_folder,
    read_table,
    recorded,
    to_table,
)
from study.results.compaction import compact
from study.results.folder import first_line, join_location, whole_location
from study.results.lineage import check_lineage, record_run
from study.results.lock import LEASE_S, LOCK_NAME, Holder, Lease, LockedError, hold
from study.results.provenance import provenance
from study.results.repair import incomplete_ids, remove_strays, set_damaged_aside
from study.training.compiled_cache import cache_warning
from study.trial.stored import find_stored

if TYPE_CHECKING:
    import pandas as pd

    from study.execution.executor import Executor
    from study.execution.nodes import ClusterFit

# What --retry-failed runs again; a diverged trial would diverge again.
RETRIED = ("failed", "timeout")
# A local Ray that dies is started again this often.
MOST_RAY_STARTS = 3
# A head that starts with us gets so long, if we are to wait for its nodes.
WAIT_FOR_HEAD_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """One run of the command.

    Parameters
    ----------
    sweep : Sweep
    trials : tuple of Trial
        All planned ones.
    folder, location : ResultsFolder, str
        The results, opened and as workers open them.
    options : RunOptions
    n_workers : int
        Units that run at once.
    stop : Stop
    fit : ClusterFit or None
        How the sweep fits on an existing cluster, once that is joined.
    started_at : float
        By the monotonic clock, seconds.
    """

    sweep: Sweep
    trials: tuple[Trial, ...]
    folder: ResultsFolder
    location: str
    options: RunOptions
    n_workers: int
    stop: Stop
    fit: ClusterFit | None = None
    started_at: float = field(default_factory=time.monotonic)

    @property
    def resources(self) -> ResourcesConfig:
        """What one unit may use, on this machine or the joined cluster."""
        return self.fit.resources if self.fit else local_resources(self.sweep.resources)

    @property
    def retried(self) -> tuple[str, ...]:
        """Statuses that run again."""
        return RETRIED if self.options.retry_failed else ()

    @property
    def own(self) -> list[Trial]:
        """The trials of this run's share; all of them if it has none."""
        shard = self.options.shard
        return list(self.trials) if shard is None else shard.trials(self.trials)

    @property
    def lock_name(self) -> str:
        """The file that says who runs this, the whole sweep or a share of it."""
        return self.options.shard.lock_name if self.options.shard else LOCK_NAME

    @property
    def foreign_controls(self) -> frozenset[str]:
        """Controls that other shares count."""
        shard = self.options.shard
        return frozenset() if shard is None else shard.foreign_controls(self.trials)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWork:
    """What is left to do in one run.

    Parameters
    ----------
    before : mapping of str to (status, finished_at)
        Recorded trials that need not run; empty if all are to run again.
    chosen : tuple of Trial
        Those to run now.
    units : tuple of Unit
        The same as work units, and controls.
    stored : mapping of training_id to StoredTraining
        Trainings that are not repeated.
    taken_over : tuple of Trial
        Trials of those trainings: their curves are carried over, and if the training did not end
        well, their rows too.
    """

    before: Mapping[str, tuple[str, str]]
    chosen: tuple[Trial, ...]
    units: tuple[Unit, ...]
    stored: Mapping[str, StoredTraining]
    taken_over: tuple[Trial, ...]


def run(sweep: Sweep, options: RunOptions, stop: Stop, *, location: str | None = None) -> int:
    """Run the rest of a sweep, or print what would run.

    Parameters
    ----------
    sweep : Sweep
    options : RunOptions
        Options of the run.
    stop : Stop
        Told when a signal asks to stop.
    location : str or None
        The results folder; None: the one of the sweep's name.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    SweepError, ResultsError
        The sweep cannot be run, or its results folder cannot be read or written, or is locked.
    KeyboardInterrupt
        A signal asked to stop at once.
    """
    location = location or join_location(options.results, sweep.name)
    current = SweepRun(
        sweep=sweep,
        trials=tuple(expand(sweep)),
        folder=open_folder(location),
        location=location,
        options=options,
        n_workers=options.workers or count_workers(sweep.resources),
        stop=stop,
    )
    require_plugins(current.folder, location)
    if options.dry_run:
        return _show_plan(current)
    if options.address is None:
        require_room(sweep.resources)
    with hold(
        current.folder,
        on_lost=lambda: stop.interrupt("the lock was lost"),
        name=current.lock_name,
        on_wait=say_watching,
    ) as lease:
        # Whoever got this far can write here: from now on an outage is waited out.
        return _run_alone(replace(current, folder=current.folder.patient()), lease)


def require_plugins(folder: ResultsFolder, location: str) -> None:
    """Make sure that the plug-ins of an existing folder are loaded.

    Raises
    ------
    PluginError
        One is not; the message names it.
    """
    try:
        recorded_plugins = folder.read_manifest().get("plugins", {})
    except ResultsError:
        return
    require(recorded_plugins, place=location)


def _show_plan(current: SweepRun) -> int:
    work = _plan_work(current, known=recorded(current.folder))
    finished = read_table(current.folder, "trials") if work.before else None
    cost = estimate(
        work.chosen,
        n_workers=current.n_workers,
        resources=current.resources,
        finished=finished,
    )
    if current.options.json:
        say(json.dumps(plan_facts(current.sweep, current.trials, work.chosen, work.units, cost)))
        return ExitStatus.DONE
    print_plan(
        current.sweep,
        current.trials,
        work.chosen,
        units=work.units,
        n_workers=current.n_workers,
        cost=cost,
    )
    return ExitStatus.DONE


def _plan_work(current: SweepRun, *, known: Mapping[str, tuple[str, str]]) -> PlannedWork:
    """Choose what runs now, given what is recorded and whole."""
    before = {key: end for key, end in known.items() if end[0] not in current.retried}
    own = current.own
    chosen = [trial for trial in own if trial.trial_id not in before][: current.options.limit]
    # A share counts its controls whoever trains their trials.
    others = [] if len(own) == len(current.trials) else current.trials
    stored = _find_stored(current, chosen)
    ended = {
        trial.trial_id: (stored[trial.training_id].status, "")
        for trial in chosen
        if _ended_badly(trial, stored)
    }
    before |= ended
    resources = current.resources
    units = plan_units(
        [trial for trial in chosen if trial.trial_id not in ended],
        n_workers=current.n_workers,
        recorded=[*(trial for trial in own if trial.trial_id in before), *others],
        recorded_controls=_recorded_controls(current.folder, current.retried)
        | current.foreign_controls,
        stack_size=resources.stack_size,
        device=resources.torch_device,
        memory_bytes=current.fit.stack_memory_bytes
        if current.fit
        else _stack_memory_bytes(resources),
        n_processes=resources.n_processes,
        stored=stored,
    )
    return PlannedWork(
        before=before,
        chosen=tuple(trial for trial in chosen if trial.trial_id not in ended),
        units=units,
        stored=stored,
        taken_over=tuple(
            trial for trial in chosen if trial.trial_id in ended or is_loadable(trial, stored)
        ),
    )


def _ended_badly(trial: Trial, stored: Mapping[str, StoredTraining]) -> bool:
    found = stored.get(trial.training_id)
    return found is not None and found.status != "done" and not trial.detection.at_checkpoints


def _find_stored(current: SweepRun, trials: Sequence[Trial]) -> dict[str, StoredTraining]:
    """Find the trainings that need not be repeated: in the results, or where weights are from."""
    if current.options.force or not trials:
        return {}
    found = find_stored(current.location, trials, skip=current.retried)
    trainings, without = found.trainings, found.without_weights
    if current.options.weights_from is not None:
        place = whole_location(current.options.weights_from)
        open_folder(place).read_manifest()
        other = find_stored(place, trials, skip=current.retried, copied=True)
        if not other.trainings and not other.without_weights:
            warn(f"{current.options.weights_from} holds no training of this sweep")
        trainings = {**other.trainings, **trainings}
        without |= other.without_weights
    without -= trainings.keys()
    if without:
        warn(
            f"{len(without)} of the trainings are recorded as done, but their weights are not "
            "there (weights/ is not kept under version control): they run again"
        )
    return trainings


def _stack_memory_bytes(resources: ResourcesConfig) -> int | None:
    if resources.torch_device == "cpu":
        return None
    # Only a GPU's plan needs PyTorch, which takes seconds to import.
    from study.training.device import stack_memory_bytes

    return stack_memory_bytes(resources)


def _run_alone(current: SweepRun, lease: Lease) -> int:
    """Do the rest, with the folder to ourselves."""
    repair_folder(current.folder)
    known = recorded(current.folder)
    lost = incomplete_ids(current.folder)
    if lost:
        warn(f"rows of {len(lost)} finished trials are missing; these trials run again")
    whole = {key: end for key, end in known.items() if key not in lost}
    work = _plan_work(current, known={} if current.options.force else whole)
    write_plan(current.folder, current.sweep, current.trials)
    if work.taken_over:
        # It needs pandas, which a plan does without.
        from study.trial.carried import carry_rows

        carry_rows(current.folder, work.taken_over, work.stored)
    if work.units:
        _execute(current, work, known)
    # Other shares may still write parts, which a compaction would not see.
    if current.stop.reason is None and current.options.shard is None:
        tidy(current.folder, lease)
    return finish(current)


def repair_folder(folder: ResultsFolder) -> None:
    """Put a folder right before a run, saying what was wrong."""
    check_lineage(folder)
    remove_strays(folder)
    for problem in set_damaged_aside(folder):
        warn(f"{problem}; it was moved to damaged/, and what it held runs again")


def warn(message: str) -> None:
    """Print a message on stderr."""
    say_error(f"warning: {message}")


def say_watching(holder: Holder) -> None:
    """Print that a lock from elsewhere is watched first."""
    warn(
        f"this folder is locked by {holder}; watching for a heartbeat, for at most {LEASE_S:.0f} s"
    )


def tidy(folder: ResultsFolder, lease: Lease) -> None:
    """Compact the tables; what cannot be compacted is complete all the same."""
    try:
        compact(folder, may_publish=lease.check)
        # No worker of ours is left, so young temporary files are strays too.
        remove_strays(folder, age_s=0.0)
    except LockedError:
        raise
    except (OSError, ResultsError) as error:
        warn(f"tables were not compacted ({first_line(error)}); they are complete in parts/")


def _recorded_controls(folder: ResultsFolder, retry: Sequence[str]) -> frozenset[str]:
    recorded = finished_ids(folder, "controls")
    return frozenset(key for key, status in recorded.items() if status not in retry)


def write_plan(folder: ResultsFolder, sweep: Sweep, trials: Sequence[Trial]) -> None:
    """Record what was asked, before anything runs."""
    try:
        folder.write_manifest({**sweep_manifest(sweep, trials), "commit": provenance()["commit"]})
        rows = [
            {"trial_id": t.trial_id, "control_id": t.control_id, "cell": t.cell} for t in trials
        ]
        folder.write_table("plan.parquet", to_table("plan", rows))
    except OSError as error:
        raise ResultsError(f"{folder.path}: cannot write results here: {error}") from None


def _execute(current: SweepRun, work: PlannedWork, known: Mapping[str, tuple[str, str]]) -> None:
    """Run the units on Ray; if a local Ray dies, start another one for the rest.

    Parameters
    ----------
    current : SweepRun
    work : PlannedWork
    known : mapping of str to (status, finished_at)
        Every row that was there at the start, those that are to be replaced too.
    """
    display = make_display(
        _progress(current, work), quiet=current.options.quiet, as_json=current.options.json
    )
    with display:
        for _ in ray_starts(current, display):
            with on_ray(current, display, known) as executor:
                if executor.fit is not None:
                    # An existing cluster: its room was not known when the work was planned.
                    current = replace(current, n_workers=executor.n_workers, fit=executor.fit)
                    work = _plan_work(current, known=work.before)
                executor.run(work.units)
            if current.stop.ray_died:
                work = _plan_work(current, known=_landed(current, work, known))


def ray_starts(current: SweepRun, display: Display) -> Iterator[int]:
    """Count the starts of Ray: one, and more while a local Ray dies under its work."""
    for start in range(1, MOST_RAY_STARTS + 1):
        yield start
        display.progress.running.clear()
        if not current.stop.ray_died or start == MOST_RAY_STARTS or current.options.address:
            return
        current.stop.forget()


@contextlib.contextmanager
def on_ray(
    current: SweepRun, display: Display, known: Mapping[str, tuple[str, str]]
) -> Iterator[Executor]:
    """Start Ray, or join it, and give what runs units on it.

    Parameters
    ----------
    current : SweepRun
    display : Display
    known : mapping of str to (status, finished_at)
        Every row that was there at the start, those that are to be replaced too.
    """
    address = current.options.address
    set_ray_environment(joins=address is not None)
    # Ray reads its environment when it is imported, and --help must not wait for it. An extension
    # module that is cut short while it is imported may end the process.
    with current.stop.completed():
        from study.execution.compile_ahead import compiling_ahead
        from study.execution.executor import Executor
        from study.execution.ray_session import own_folder, ray_session

    record_run(current.folder, share=str(current.options.shard) if current.options.shard else None)

    how = (
        f"joining Ray at {address}"
        if address
        else f"starting Ray with {current.n_workers} workers"
    )
    display.note(f"{current.sweep.name}: {how}")
    if address is None and (problem := cache_warning()):
        warn(problem)
    with (
        heartbeat(current.folder, display.progress, state_name(current.lock_name)),
        own_folder("study-tune-", current.stop.completed) as scratch,
        compiling_ahead() if address is None else contextlib.nullcontext(),
        ray_session(
            address,
            n_workers=current.n_workers,
            resources=current.resources,
            dashboard=current.options.dashboard,
            wait_s=WAIT_FOR_HEAD_S if current.options.wait_for_nodes else 0.0,
            say=display.note,
            completed=current.stop.completed,
        ),
        _fitted(current, display) as fit,
    ):
        yield Executor(
            folder=current.folder.patient(),
            location=fit.location if fit else current.location,
            n_workers=(current.options.workers or fit.n_slots) if fit else current.n_workers,
            fit=fit,
            resources=fit.resources if fit else current.resources,
            display=display,
            stop=current.stop,
            scratch=str(scratch),
            before=known,
        )


@contextlib.contextmanager
def _fitted(current: SweepRun, display: Display) -> Iterator[ClusterFit | None]:
    """Return how the sweep fits on an existing cluster; None on a Ray of our own."""
    options = current.options
    if options.address is None:
        yield None
        return
    from study.execution.nodes import fit_to_cluster

    with fit_to_cluster(
        current.folder,
        current.sweep.resources,
        location=current.location,
        write_from=options.write_from,
        n_nodes=options.wait_for_nodes or 1,
        say=display.note,
    ) as fit:
        yield fit


def _landed(
    current: SweepRun, work: PlannedWork, known: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """Map the trials that need not run any more: those from before, and this run's."""
    now = recorded(current.folder)
    new = {key: end for key, end in now.items() if end != known.get(key)}
    return {**work.before, **new}


def _progress(current: SweepRun, work: PlannedWork) -> SweepProgress:
    running = {trial.trial_id for trial in work.chosen}
    states = (
        (t.cell, None if t.trial_id in running else work.before.get(t.trial_id, (None,))[0])
        for t in current.own
    )
    progress = plan_progress(current.sweep.name, states)
    cost = estimate(work.chosen, n_workers=current.n_workers, resources=current.resources)
    progress.forecast_s = cost.wall_time_s or None
    return progress


def finish(current: SweepRun, *, n_unasked: int = 0, by_cell: bool = True) -> int:
    """Print what the tables hold now and choose the exit status from them.

    Parameters
    ----------
    current : SweepRun
    n_unasked : int
        Trials that an adaptive sweep was still to ask for.
    by_cell : bool
        Whether to print coverage cell by cell.
    """
    # After a run that broke off, waiting for the store would only delay the message.
    folder = replace(current.folder, patience_s=0.0) if current.stop.is_error else current.folder
    options = current.options
    ended = finished_ids(folder)
    statuses = [ended.get(trial.trial_id) for trial in current.own]
    n_left = statuses.count(None) + n_unasked
    n_bad = sum(status not in (None, *WELL_ENDED) for status in statuses)
    controls = finished_ids(folder, "controls")
    ids = {trial.control_id for trial in current.trials} - current.foreign_controls
    n_controls_failed = sum(controls.get(control_id, "done") != "done" for control_id in ids)
    if n_controls_failed:
        warn(
            f"{n_controls_failed} controls failed, their trials have no k_data_*; "
            "add --retry-failed to count them again"
        )
    if not options.quiet and not options.json:
        trials = read_table(folder, "trials")
        _print_summary(
            trials,
            _shown_path(folder, options),
            n_left=n_left,
            by_cell=by_cell,
            elapsed_s=time.monotonic() - current.started_at,
        )
    if current.stop.is_error:
        say_error(f"error: {current.stop.reason}")
        return ExitStatus.FAILED
    if n_left:
        return ExitStatus.STOPPED
    return ExitStatus.FAILED if n_bad or n_controls_failed else ExitStatus.DONE


def _shown_path(folder: ResultsFolder, options: RunOptions) -> str:
    """Write the folder as a person would type it."""
    if not folder.is_local:
        return f"{options.results.rstrip('/')}/{folder.path.rsplit('/', 1)[-1]}"
    path = Path(folder.path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def own_python() -> str:
    """Write this interpreter as it can be typed in the same shell and folder."""
    path, here = Path(sys.executable), Path.cwd()
    if path.is_relative_to(here):
        return str(path.relative_to(here))
    found = shutil.which("python")
    return "python" if found and Path(found) == path else str(path)


def _print_summary(
    trials: pd.DataFrame,
    path: str,
    *,
    n_left: int,
    by_cell: bool,
    elapsed_s: float,
) -> None:
    console = make_console()
    n_done = int(trials["status"].eq("done").sum())
    n_stopped = int(trials["status"].eq("stopped").sum())
    early = f"{n_stopped} stopped early, " * (n_stopped > 0)
    n_bad = len(trials) - n_done - n_stopped
    # It needs SciPy, which a plan does without.
    from study.display.verdict import verdict_line

    verdict = verdict_line(trials) if by_cell else ""
    lines = [verdict] if verdict else []
    time_s = format_duration(elapsed_s)
    done = f"{n_done} trial{'s' * (n_done != 1)} done"
    lines.append(f"{done}, {early}{n_bad} failed, {n_left} left in {time_s}.")
    lines += [f"  {n} x {cause}" for cause, n in failure_causes(trials).items()]
    if n_left:
        lines.append("To continue, run the same command again.")
    elif trials["status"].isin(RETRIED).any():
        lines.append("To run failed trials again, add --retry-failed.")
    if len(trials) and by_cell:
        console.print(coverage_table(trials, width=console.width))
    if len(trials):
        command = [own_python(), "-m", "analysis.report", path]
        if "://" in path:
            command += ["--out", f"reports/{path.partition('?')[0].rpartition('/')[2]}"]
        lines.append(f"Next: {shlex.join(command)}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
