"""One run of an adaptive sweep: cells are proposed while it runs, and the best are printed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.table import Table

from study.config import Sweep, SweepError, resolve
from study.display.console import make_console, say
from study.display.progress import make_display, plan_progress
from study.display.text import as_text
from study.execution.exit_status import ExitStatus
from study.execution.run import (
    SweepRun,
    finish,
    on_ray,
    ray_starts,
    repair_folder,
    require_plugins,
    say_watching,
    tidy,
    warn,
    write_plan,
)
from study.execution.run_options import RunOptions
from study.execution.stopping import Stop
from study.planning.resources import count_workers, require_room
from study.results import read_table, recorded
from study.results.folder import join_location, open_folder
from study.results.lock import Lease, hold
from study.results.repair import incomplete_ids

if TYPE_CHECKING:
    from study.search.adaptive_sweep import Adaptive
    from study.search.optuna_copy import DatabaseCopy

MAX_BEST = 8


def run_search(sweep: Sweep, options: RunOptions, stop: Stop) -> int:
    """Run an adaptive sweep to the end of its budget, or print what it would do.

    Parameters
    ----------
    sweep : Sweep
        An adaptive sweep.
    options : RunOptions
        Options of the run.
    stop : Stop
        Told when a signal asks to stop.

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
    if options.force:
        raise SweepError(
            "--force: an adaptive sweep continues from its record; give it a new name"
        )
    if options.shard:
        raise SweepError("--shard: an adaptive sweep decides as it goes and cannot be cut")
    location = join_location(options.results, sweep.name)
    current = SweepRun(
        sweep=sweep,
        trials=(),
        folder=open_folder(location),
        location=location,
        options=options,
        n_workers=options.workers or count_workers(sweep.resources),
        stop=stop,
    )
    require_plugins(current.folder, location)
    if options.dry_run:
        n_recorded = len(recorded(current.folder))
        if options.json:
            say(json.dumps(_search_facts(sweep, n_recorded=n_recorded)))
        else:
            _print_search(sweep, n_recorded=n_recorded)
        return ExitStatus.DONE
    if options.address is None:
        require_room(sweep.resources)
    database = _open_database(current)
    with hold(
        current.folder,
        on_lost=lambda: stop.interrupt("the lock was lost"),
        on_wait=say_watching,
    ) as lease:
        return _run_alone(current, lease, database)


def _open_database(current: SweepRun) -> DatabaseCopy | None:
    if current.options.storage is None:
        return None
    # Not at the top: Optuna's storage layer takes half a second to import.
    from study.search.optuna_copy import DatabaseCopy

    return DatabaseCopy(current.options.storage, name=current.sweep.name, warn=warn)


def _run_alone(current: SweepRun, lease: Lease, database: DatabaseCopy | None) -> int:
    repair_folder(current.folder)
    adaptive = _open(current, database)
    write_plan(current.folder, current.sweep, adaptive.trials)
    if not adaptive.is_complete:
        adaptive = _execute(current, adaptive, database)
    adaptive.write_summary()
    if current.stop.reason is None:
        tidy(current.folder, lease)
    if not current.options.quiet and not current.options.json:
        _print_best(current)
    done = replace(current, trials=tuple(adaptive.trials))
    return finish(done, n_unasked=adaptive.n_unasked, by_cell=False)


def _open(current: SweepRun, database: DatabaseCopy | None) -> Adaptive:
    # Not at the top: Optuna takes a second to import.
    from study.search.adaptive_sweep import Adaptive

    return Adaptive(
        current.sweep,
        current.folder,
        retried=current.retried,
        lost=incomplete_ids(current.folder),
        limit=current.options.limit,
        database=database,
    )


def _execute(current: SweepRun, adaptive: Adaptive, database: DatabaseCopy | None) -> Adaptive:
    known = recorded(current.folder)
    waiting = {trial.trial_id for trial in adaptive.open_trials}
    states = (
        (t.cell, None if t.trial_id in waiting else known.get(t.trial_id, ("done",))[0])
        for t in adaptive.trials
        if t.trial_id not in waiting  # those are planned when they are given out
    )
    display = make_display(
        plan_progress(current.sweep.name, states),
        quiet=current.options.quiet,
        as_json=current.options.json,
    )
    with display:
        for start in ray_starts(current, display):
            if start > 1:
                adaptive = _open(current, database)
            with on_ray(current, display, known) as executor:
                executor.run_search(adaptive)
    return adaptive


def _search_facts(sweep: Sweep, *, n_recorded: int) -> dict[str, Any]:
    """Return what `_print_search` prints, for `--json`."""
    assert sweep.search is not None
    return {
        "name": sweep.name,
        "dry_run": True,
        "search": resolve(sweep)["search"],
        "n_recorded": n_recorded,
    }


def _print_search(sweep: Sweep, *, n_recorded: int) -> None:
    """Print what a search would do: its space, what it looks for, its budget."""
    assert sweep.search is not None
    search, console = sweep.search, make_console()
    console.print(f"{sweep.name}: {sweep.question}", highlight=False, style="bold", markup=False)
    table = Table("searched field", "values", box=None, pad_edge=False)
    for dimension in search.space:
        if dimension.kind == "choice":
            values = ", ".join(map(str, dimension.choices))
        else:
            scale = " (log)" if dimension.log else ""
            values = f"{dimension.low:g} to {dimension.high:g}{scale}"
        table.add_row(dimension.name, values)
    console.print(table)
    options = search.options
    if options.goal == "boundary":
        aim = f"the boundary {search.objectives[0].expression} = {options.level:g}"
    else:
        aim = ", ".join(f"{entry.direction} {entry.expression}" for entry in search.objectives)
    per_cell = sweep.replicates.n_per_cell
    console.print(
        f"{aim}, by {options.sampler if options.goal == 'optimum' else 'a Gaussian process'}.\n"
        f"At most {options.trials} trials, {n_recorded} of them recorded; "
        f"{min(options.first_replicates, per_cell)} to {per_cell} for each cell.\n"
        "Nothing was written.",
        highlight=False,
        soft_wrap=True,
    )


def _print_best(current: SweepRun) -> None:
    """Print the cells believed best, with standard errors and what fresh seeds say."""
    cells = read_table(current.folder, "suggestions")
    best = cells[cells["is_best"].fillna(False)]
    console = make_console()
    assert current.sweep.search is not None
    if current.sweep.search.options.goal == "boundary":
        console.print("The map of the boundary is in the report.", highlight=False)
        return
    if best.empty:
        objectives = ", ".join(entry.expression for entry in current.sweep.search.objectives)
        console.print(as_text(f"No cell has a value of {objectives}, so none is the best."))
        return
    table = Table("best cell", "objective", "mean", "on fresh seeds", box=None, pad_edge=False)
    for _, row in best.head(MAX_BEST).iterrows():
        table.add_row(
            as_text(row["cell"]),
            as_text(row["objective"]),
            _with_error(row["value"], row["se"], row["n"]),
            _with_error(row["fresh_value"], row["fresh_se"], row["fresh_n"]),
        )
    console.print(table)


def _with_error(value: float, error: float, n: int) -> str:
    if value != value:
        return "-"
    spread = f" ± {error:.2g}" if error == error else ""
    return f"{value:.4g}{spread} (n = {n})"
