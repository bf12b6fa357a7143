"""What the sweep command prints before and after a run: the plan, and coverage by cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from study.config import MixtureConfig, Sweep
from study.display.console import make_console
from study.display.progress import format_duration
from study.display.text import as_text
from study.endpoints.design import ALPHA, fewest_data_seeds, smallest_p
from study.planning.estimate import Estimate
from study.planning.units import Trial, Unit
from study.results import PROTOCOLS, WELL_ENDED, count_columns, printable

if TYPE_CHECKING:
    import pandas as pd

MAX_PLAN_LINES = 40
WIDE_COLUMNS = 100
_COVERAGE_TITLE = "Coverage k/K, mean over done trials (share of counts at the ceiling)"
# Of the KL weight at which a collapsed network becomes stable.
NEAR_COLLAPSE = 0.95
# Trials whose truth is drawn to see whether they are there: a second's work.
MOST_CHECKED = 20_000
SUMMARY_SOURCES = ("data", "means", "samples")
SOURCE_NAMES = {"data": "data (control)"}


def plan_facts(
    sweep: Sweep,
    trials: Sequence[Trial],
    chosen: Sequence[Trial],
    units: Sequence[Unit],
    cost: Estimate,
) -> dict[str, Any]:
    """Return what `print_plan` prints, for `--json`: one object without the cells."""
    return {
        "name": sweep.name,
        "dry_run": True,
        "n_trials": len(trials),
        "n_to_run": len(chosen),
        "n_units": len(units),
        "n_cells": len({trial.cell for trial in trials}),
        "wall_time_s": cost.wall_time_s,
        "disk_mb": cost.disk_mb,
        "basis": cost.basis,
    }


def print_plan(
    sweep: Sweep,
    trials: Sequence[Trial],
    chosen: Sequence[Trial],
    *,
    units: Sequence[Unit],
    n_workers: int,
    cost: Estimate,
) -> None:
    """Print what a run would do: cells, stacks with shapes, cost and what the cost rests on.

    Parameters
    ----------
    sweep : Sweep
    trials, chosen : sequence of Trial
        All planned ones, and those that would run now.
    units : sequence of Unit
        The work units of the chosen ones.
    n_workers : int
    cost : Estimate
    """
    console = make_console()
    console.print(f"{sweep.name}: {sweep.question}", highlight=False, style="bold", markup=False)
    cells = cell_counts(trials, chosen)
    _print_rows(console, ("cell", "trials", "to run"), [(c, *n) for c, n in cells.items()])
    alike = Counter((unit.label, unit.shape) for unit in units)
    rows = [(f"{n} x {label}", shape) for (label, shape), n in alike.items()]
    _print_rows(console, ("units", "each"), rows)
    console.print(
        f"{len(trials)} trials in {len(cells)} cells, {len(chosen)} of them to run now, "
        f"in {len(units)} units on {n_workers} workers.\n"
        f"About {format_duration(cost.wall_time_s)} and {cost.disk_mb:.0f} MB, "
        f"judging by {cost.basis}.\n{''.join(design_notes(sweep, trials))}Nothing was written.",
        highlight=False,
        soft_wrap=True,
    )


def design_notes(sweep: Sweep, trials: Sequence[Trial]) -> list[str]:
    """List what should be known of a design before it runs, a line each.

    Parameters
    ----------
    sweep : Sweep
    trials : sequence of Trial
        All planned ones.
    """
    notes = []
    n_copies = len(set(sweep.cells())) - len({trial.cell for trial in trials})
    if n_copies > 0:
        notes.append(
            f"{n_copies} of the cells asked for "
            f"{'are' if n_copies > 1 else 'is'} another cell in other words, and run once.\n"
        )
    n_data = _shared_data_seeds(trials)
    if 1 < n_data < fewest_data_seeds():
        notes.append(
            f"With {n_data} data seeds no comparison of this design can be significant at "
            f"{ALPHA:.0%}: its smallest possible p is {float(smallest_p(n_data)):.4g}. "
            f"{fewest_data_seeds()} data seeds are the fewest that can; what fewer show can only "
            "be described.\n"
        )
    return [*notes, *collapse_notes(trials)]


def collapse_notes(trials: Sequence[Trial]) -> list[str]:
    """Say which trials have a KL weight at which a network that ignores its latents is stable.

    The threshold is 2 lambda_1 of each trial's own truth (`study.endpoints.bounds`), for a decoder
    of the implied variance; just below it nearly everything is lost, too.

    Parameters
    ----------
    trials : sequence of Trial

    Returns
    -------
    list of str
        Empty if there is none.
    """
    held = [t for t in trials if t.model.kind == "vae" and t.model.decoder_variance == "implied"]
    limits = {trial.trial_id: _collapse_kl_weight(trial) for trial in held[:MOST_CHECKED]}
    over = [trial for trial in held[:MOST_CHECKED]
            if trial.training.kl_weight >= NEAR_COLLAPSE * limits[trial.trial_id]]  # fmt: skip
    if not over:
        return []
    lowest = min(limits[trial.trial_id] for trial in over)
    return [
        f"{len(over)} of {len(limits)} trials have a KL weight near or above 2 lambda_1 of their "
        f"truth (from {lowest:.5g} on), where ignoring the latents is a stable solution: they "
        "answer whether the network collapses, and little else. A smaller training.kl_weight or "
        "model.decoder_variance: learned leaves that region.\n"
    ]


def _collapse_kl_weight(trial: Trial) -> float:
    return _threshold(trial.mixture, trial.data_seed, trial.training.standardize)


@lru_cache(maxsize=10_000)
def _threshold(mixture: MixtureConfig, data_seed: int, standardize: bool) -> float:
    # Not at the top: most of what prints needs neither arrays nor the truth.
    import numpy as np

    from study.data.mixture import draw_mixture
    from study.endpoints.bounds import collapse_kl_weight

    covariance = draw_mixture(mixture, data_seed).covariance()
    if standardize:
        sd = np.sqrt(np.diag(covariance))
        covariance = covariance / np.outer(sd, sd)
    return collapse_kl_weight(np.linalg.eigvalsh(covariance))


def _shared_data_seeds(trials: Sequence[Trial]) -> int:
    """Count the data seeds that two cells share at the most, or that the only cell has."""
    seeds: dict[str, set[int]] = {}
    for trial in trials:
        seeds.setdefault(trial.cell, set()).add(trial.data_seed)
    kinds = Counter(frozenset(found) for found in seeds.values())
    shared = [len(kind) for kind, n in kinds.items() if n > 1 or len(seeds) == 1]
    shared += [len(a & b) for a, b in combinations(kinds, 2)]
    return max(shared, default=0)


def cell_counts(trials: Sequence[Trial], chosen: Sequence[Trial]) -> dict[str, tuple[int, int]]:
    """Count each cell's trials and those that would run now."""
    running = {trial.trial_id for trial in chosen}
    counts: dict[str, tuple[int, int]] = {}
    for trial in trials:
        total, to_run = counts.get(trial.cell, (0, 0))
        counts[trial.cell] = (total + 1, to_run + (trial.trial_id in running))
    return counts


def _print_rows(
    console: Console, header: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    table = Table(*header, box=None, pad_edge=False)
    for row in rows[:MAX_PLAN_LINES]:
        table.add_row(*(str(value) for value in row))
    if len(rows) > MAX_PLAN_LINES:
        table.add_row(f"... and {len(rows) - MAX_PLAN_LINES} more")
    console.print(table)


def coverage_table(trials: pd.DataFrame, *, width: int = 120) -> RenderableType:
    """Tabulate coverage by cell beside its control, with the share of counts at the ceiling.

    Parameters
    ----------
    trials : DataFrame
        Rows of the `trials` table.
    width : int
        Columns of the terminal: below 100 a cell's name stands on a line of its own, whole.

    Returns
    -------
    rich.console.RenderableType
    """
    if width < WIDE_COLUMNS:
        return _coverage_list(trials)
    table = Table(title=_COVERAGE_TITLE)
    table.add_column("cell", overflow="fold")
    table.add_column("done", justify="right")
    table.add_column("source")
    for protocol in PROTOCOLS:
        table.add_column(protocol, justify="right")
    for cell, rows in trials.groupby("cell", sort=False):
        done = rows[rows["status"] == "done"]
        shown = [source for source in SUMMARY_SOURCES if _is_counted(done, source)]
        for line, source in enumerate(shown or [""]):
            name = (as_text(cell), f"{len(done)}/{len(rows)}") if line == 0 else ("", "")
            values = (_coverage_text(done, source, protocol) for protocol in PROTOCOLS)
            table.add_row(*name, SOURCE_NAMES.get(source, source), *(values if source else ()))
        table.add_section()
    return table


def _coverage_list(trials: pd.DataFrame) -> RenderableType:
    parts: list[RenderableType] = [Text(_COVERAGE_TITLE, style="italic")]
    for cell, rows in trials.groupby("cell", sort=False):
        done = rows[rows["status"] == "done"]
        parts.append(Text(f"{as_text(cell).plain}  {len(done)}/{len(rows)} done", style="bold",
                          overflow="fold"))  # fmt: skip
        for source in SUMMARY_SOURCES:
            if _is_counted(done, source):
                said = ", ".join(f"{p} {_coverage_text(done, source, p)}" for p in PROTOCOLS)
                parts.append(
                    Text(f"  {SOURCE_NAMES.get(source, source)}: {said}", overflow="fold")
                )
    return Group(*parts)


def _is_counted(rows: pd.DataFrame, source: str) -> bool:
    names = [count_columns(source, protocol)[0] for protocol in PROTOCOLS]
    return bool(rows[names].notna().any(axis=None))


def _coverage_text(rows: pd.DataFrame, source: str, protocol: str) -> str:
    _, coverage, ceiling = count_columns(source, protocol)
    if not rows[coverage].notna().any():
        return "-"
    return f"{100 * rows[coverage].mean():.0f} % ({100 * rows[ceiling].mean():.0f} %)"


def failure_causes(trials: pd.DataFrame) -> dict[str, int]:
    """Count the trials that failed by status and cause, the last line of their message.

    Parameters
    ----------
    trials : DataFrame
        Rows of the `trials` table.

    Returns
    -------
    dict of str to int
        Most frequent first.
    """
    bad = trials[~trials["status"].isin(WELL_ENDED)]
    causes = [
        f"{status}: {printable(str(message).strip().splitlines()[-1])}"
        for status, message in zip(bad["status"], bad["message"].fillna("no message"), strict=True)
    ]
    return dict(Counter(causes).most_common())
