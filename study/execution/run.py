"""One run of a sweep: what is left to do, doing it on Ray, and what the tables hold then."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from study.config import ResourcesConfig, Sweep
from study.display.heartbeat import heartbeat
from study.display.plan_and_summary import coverage_table, failure_causes, print_plan
from study.display.progress import Display, SweepProgress, make_display, plan_progress
from study.execution.ray_environment import set_ray_environment
from study.execution.run_options import RunOptions
from study.execution.stopping import EXIT_STOPPED, Stop
from study.planning.estimate import estimate
from study.planning.packing import plan_units
from study.planning.resources import count_workers, local_resources, require_room
from study.planning.units import StoredTraining, Trial, Unit, expand, is_loadable, sweep_manifest
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
from study.results.lock import LOCK_NAME, Lease, LockedError, hold
from study.results.provenance import provenance
from study.results.repair import incomplete_ids, remove_strays, set_damaged_aside
from study.trial.stored import find_stored

if TYPE_CHECKING:
    import pandas as pd

    from study.execution.executor import Executor
    from study.execution.nodes import Fit

# What --retry-failed runs again; a diverged trial would diverge again.
RETRIED = ("failed", "timeout")
EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
# A local Ray that dies is started again this often.
MOST_RAY_STARTS = 3
# A head that starts with us gets so long, if we are to wait for its nodes.
WAIT_FOR_HEAD_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
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
    fit : Fit or None
        How the sweep fits on an existing cluster, once that is joined.
    """

    sweep: Sweep
    trials: tuple[Trial, ...]
    folder: ResultsFolder
    location: str
    options: RunOptions
    n_workers: int
    stop: Stop
    fit: Fit | None = None

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
    def foreign_controls(self) -> frozenset[str]:
        """Controls that other shares count."""
        shard = self.options.shard
        return frozenset() if shard is None else shard.foreign_controls(self.trials)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is left of a job.

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
    """Run what is left of a sweep, or print what would run.

    Parameters
    ----------
    sweep : Sweep
    options : RunOptions
        As `study.sweep.build_parser` makes it.
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
    job = Job(
        sweep=sweep,
        trials=tuple(expand(sweep)),
        folder=open_folder(location),
        location=location,
        options=options,
        n_workers=options.workers or count_workers(sweep.resources),
        stop=stop,
    )
    if options.dry_run:
        return _show_plan(job)
    if options.address is None:
        require_room(sweep.resources)
    name = options.shard.lock_name if options.shard else LOCK_NAME
    with hold(job.folder, on_lost=lambda: stop.interrupt("the lock was lost"), name=name) as lease:
        # Whoever got this far can write here: from now on an outage is waited out.
        return _run_alone(replace(job, folder=job.folder.patient()), lease)


def _show_plan(job: Job) -> int:
    work = _plan_work(job, known=recorded(job.folder))
    finished = read_table(job.folder, "trials") if work.before else None
    cost = estimate(
        work.chosen, n_workers=job.n_workers, resources=job.resources, finished=finished
    )
    print_plan(
        job.sweep, job.trials, work.chosen, units=work.units, n_workers=job.n_workers, cost=cost
    )
    return EXIT_DONE


def _plan_work(job: Job, *, known: Mapping[str, tuple[str, str]]) -> Work:
    """Choose what runs now, given what is recorded and whole."""
    before = {key: end for key, end in known.items() if end[0] not in job.retried}
    own = job.own
    chosen = [trial for trial in own if trial.trial_id not in before][: job.options.limit]
    # A share counts its controls whoever trains their trials.
    others = [] if len(own) == len(job.trials) else job.trials
    stored = _find_stored(job, chosen)
    ended = {
        trial.trial_id: (stored[trial.training_id].status, "")
        for trial in chosen
        if _ended_badly(trial, stored)
    }
    before |= ended
    resources = job.resources
    units = plan_units(
        [trial for trial in chosen if trial.trial_id not in ended],
        n_workers=job.n_workers,
        recorded=[*(trial for trial in own if trial.trial_id in before), *others],
        recorded_controls=_recorded_controls(job.folder, job.retried) | job.foreign_controls,
        stack_size=resources.stack_size,
        device=resources.torch_device,
        memory_bytes=job.fit.stack_memory_bytes if job.fit else _stack_memory_bytes(resources),
        n_processes=resources.n_processes,
        stored=stored,
    )
    return Work(
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


def _find_stored(job: Job, trials: Sequence[Trial]) -> dict[str, StoredTraining]:
    """Find the trainings that need not be repeated: in the results, or where weights are from."""
    if job.options.force or not trials:
        return {}
    found = find_stored(job.location, trials, skip=job.retried)
    trainings, without = found.trainings, found.without_weights
    if job.options.weights_from is not None:
        place = whole_location(job.options.weights_from)
        open_folder(place).read_manifest()
        other = find_stored(place, trials, skip=job.retried, copied=True)
        if not other.trainings and not other.without_weights:
            warn(f"{job.options.weights_from} holds no training of this sweep")
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


def _run_alone(job: Job, lease: Lease) -> int:
    """Do what is left, with the folder to ourselves."""
    repair_folder(job.folder)
    known = recorded(job.folder)
    lost = incomplete_ids(job.folder)
    if lost:
        warn(f"rows of {len(lost)} finished trials are missing; these trials run again")
    whole = {key: end for key, end in known.items() if key not in lost}
    work = _plan_work(job, known={} if job.options.force else whole)
    write_plan(job.folder, job.sweep, job.trials)
    if work.taken_over:
        # It needs pandas, which a plan does without.
        from study.trial.carried import carry_rows

        carry_rows(job.folder, work.taken_over, work.stored)
    if work.units:
        _execute(job, work, known)
    # Other shares may still write parts, which a compaction would not see.
    if job.stop.reason is None and job.options.shard is None:
        tidy(job.folder, lease)
    return finish(job)


def repair_folder(folder: ResultsFolder) -> None:
    """Put a folder right before a run, saying what was wrong."""
    remove_strays(folder)
    for problem in set_damaged_aside(folder):
        warn(f"{problem}; it was moved to damaged/, and what it held runs again")


def warn(message: str) -> None:
    """Say something on stderr."""
    print(f"warning: {message}", file=sys.stderr)


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


def _execute(job: Job, work: Work, known: Mapping[str, tuple[str, str]]) -> None:
    """Run the units on Ray; if a local Ray dies, start another one for what is left.

    Parameters
    ----------
    job : Job
    work : Work
    known : mapping of str to (status, finished_at)
        Every row that was there at the start, those that are to be replaced too.
    """
    display = make_display(_progress(job, work), quiet=job.options.quiet, as_json=job.options.json)
    with display:
        for _ in ray_starts(job, display):
            with on_ray(job, display, known) as executor:
                if executor.fit is not None:
                    # An existing cluster: its room was not known when the work was planned.
                    job = replace(job, n_workers=executor.n_workers, fit=executor.fit)
                    work = _plan_work(job, known=work.before)
                executor.run(work.units)
            if job.stop.ray_died:
                work = _plan_work(job, known=_landed(job, work, known))


def ray_starts(job: Job, display: Display) -> Iterator[int]:
    """Count the starts of Ray: one, and more while a local Ray dies under its work."""
    for start in range(1, MOST_RAY_STARTS + 1):
        yield start
        display.progress.running.clear()
        if not job.stop.ray_died or start == MOST_RAY_STARTS or job.options.address:
            return
        job.stop.forget()


@contextlib.contextmanager
def on_ray(job: Job, display: Display, known: Mapping[str, tuple[str, str]]) -> Iterator[Executor]:
    """Start Ray, or join it, and give what runs units on it.

    Parameters
    ----------
    job : Job
    display : Display
    known : mapping of str to (status, finished_at)
        Every row that was there at the start, those that are to be replaced too.
    """
    address = job.options.address
    set_ray_environment(joins=address is not None)
    # Ray reads its environment when it is imported, and --help must not wait for it.
    from study.execution.executor import Executor
    from study.execution.ray_session import own_folder, ray_session

    how = f"joining Ray at {address}" if address else f"starting Ray with {job.n_workers} workers"
    display.note(f"{job.sweep.name}: {how}")
    with (
        heartbeat(job.folder, display.progress),
        own_folder("study-tune-") as scratch,
        ray_session(
            address,
            n_workers=job.n_workers,
            resources=job.resources,
            dashboard=job.options.dashboard,
            wait_s=WAIT_FOR_HEAD_S if job.options.wait_for_nodes else 0.0,
            say=display.note,
        ),
        _fitted(job, display) as fit,
    ):
        yield Executor(
            folder=job.folder.patient(),
            location=fit.location if fit else job.location,
            n_workers=(job.options.workers or fit.n_slots) if fit else job.n_workers,
            fit=fit,
            resources=fit.resources if fit else job.resources,
            display=display,
            stop=job.stop,
            scratch=str(scratch),
            before=known,
        )


@contextlib.contextmanager
def _fitted(job: Job, display: Display) -> Iterator[Fit | None]:
    """Say how the sweep fits on an existing cluster; None on a Ray of our own."""
    options = job.options
    if options.address is None:
        yield None
        return
    from study.execution.nodes import fit_to_cluster

    with fit_to_cluster(
        job.folder,
        job.sweep.resources,
        location=job.location,
        write_from=options.write_from,
        n_nodes=options.wait_for_nodes or 1,
        say=display.note,
    ) as fit:
        yield fit


def _landed(
    job: Job, work: Work, known: Mapping[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """Map the trials that need not run any more: those from before, and this run's."""
    now = recorded(job.folder)
    new = {key: end for key, end in now.items() if end != known.get(key)}
    return {**work.before, **new}


def _progress(job: Job, work: Work) -> SweepProgress:
    running = {trial.trial_id for trial in work.chosen}
    states = (
        (t.cell, None if t.trial_id in running else work.before.get(t.trial_id, (None,))[0])
        for t in job.trials
    )
    return plan_progress(job.sweep.name, states)


def finish(job: Job, *, n_unasked: int = 0, by_cell: bool = True) -> int:
    """Print what the tables hold now and choose the exit status from them.

    Parameters
    ----------
    job : Job
    n_unasked : int
        Trials that an adaptive sweep was still to ask for.
    by_cell : bool
        Whether to print coverage cell by cell.
    """
    # After a run that broke off, waiting for the store would only delay the message.
    folder = replace(job.folder, patience_s=0.0) if job.stop.is_error else job.folder
    options = job.options
    ended = finished_ids(folder)
    statuses = [ended.get(trial.trial_id) for trial in job.own]
    n_left = statuses.count(None) + n_unasked
    n_bad = sum(status not in (None, *WELL_ENDED) for status in statuses)
    controls = finished_ids(folder, "controls")
    ids = {trial.control_id for trial in job.trials} - job.foreign_controls
    n_controls_failed = sum(controls.get(control_id, "done") != "done" for control_id in ids)
    if n_controls_failed:
        warn(
            f"{n_controls_failed} controls failed, their trials have no k_data_*; "
            "add --retry-failed to count them again"
        )
    if not options.quiet and not options.json:
        trials, path = read_table(folder, "trials"), _shown_path(folder, options)
        _print_summary(trials, path, n_left=n_left, by_cell=by_cell)
    if job.stop.is_error:
        print(f"error: {job.stop.reason}", file=sys.stderr)
        return EXIT_FAILED
    if n_left:
        return EXIT_STOPPED
    return EXIT_FAILED if n_bad or n_controls_failed else EXIT_DONE


def _shown_path(folder: ResultsFolder, options: RunOptions) -> str:
    """Write the folder as a person would type it."""
    if not folder.is_local:
        return f"{options.results.rstrip('/')}/{folder.path.rsplit('/', 1)[-1]}"
    path = Path(folder.path)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _print_summary(trials: pd.DataFrame, path: str, *, n_left: int, by_cell: bool) -> None:
    console = Console()
    n_done = int(trials["status"].eq("done").sum())
    n_stopped = int(trials["status"].eq("stopped").sum())
    early = f"{n_stopped} stopped early, " * (n_stopped > 0)
    n_bad = len(trials) - n_done - n_stopped
    lines = [f"{n_done} trials done, {early}{n_bad} not done, {n_left} left."]
    lines += [f"  {n} x {cause}" for cause, n in failure_causes(trials).items()]
    if n_left:
        lines.append("To continue, run the same command again.")
    elif trials["status"].isin(RETRIED).any():
        lines.append("To run failed trials again, add --retry-failed.")
    if len(trials) and by_cell:
        console.print(coverage_table(trials))
    if len(trials):
        lines.append(f"Next: python -m analysis.report {path}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
