"""Say how many more data seeds a finished sweep needs: `python -m study.seeds results/NAME`.

For an interval of a given half-width, cell by cell, or for a difference from another cell, and
what the trainings would cost. The spread is that of the rows so far, which is itself uncertain:
with 10 data seeds by about a quarter either way. With `--looks` it also says at which of these
numbers of data seeds a study that looks at its results could have stopped
(`study.search.sequential`).
Only reads. Exit status: 0, or 2 if it cannot answer.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.table import Table

from study.config.fields import did_you_mean
from study.display.command_parser import CommandParser
from study.display.console import guard_output, make_console, say, say_error
from study.display.progress import format_duration
from study.display.text import as_text
from study.execution.exit_status import ExitStatus
from study.plugins import PluginError, add_option, load_plugins
from study.results import printable, read_table
from study.results.endpoints import endpoint
from study.results.folder import ResultsError, open_folder, whole_location
from study.search.sequential import (
    fixed_width_look,
    half_width_of,
    judge_looks,
    seeds_for_difference,
    seeds_for_half_width,
)

if TYPE_CHECKING:
    import pandas as pd

LEVEL, ALPHA = 0.95, 0.05


class QuestionError(ValueError):
    """The rows cannot answer what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one cell still needs.

    Parameters
    ----------
    cell : str
    n_data : int
        Data seeds with a value.
    mean, sd : float
        Over data seeds, of the value or of the difference from the other cell; None with fewer
        than 2.
    half_width : float
        Of the interval of 95 % so far, in the endpoint's unit.
    n_needed : int
        Data seeds for what is asked; None if more than 100,000, or if the spread is unknown.
    n_more : int
    cost_s : float
        Seconds of one processor for those: every seed's trainings and their measuring.
    stop : int
        The first of the looks at which the interval was narrow enough, at a level raised for the
        looking, or the difference was found; None if none was, or none is asked for.
    """

    cell: str
    n_data: int
    mean: float | None
    sd: float | None
    half_width: float | None
    n_needed: int | None
    n_more: int | None
    cost_s: float | None
    stop: int | None = None


def needs(
    trials: pd.DataFrame,
    column: str,
    *,
    half_width: float | None = None,
    difference: float | None = None,
    against: str | None = None,
    power: float = 0.8,
    looks: Sequence[int] = (),
) -> list[Need]:
    """Return what each cell needs for an interval or for a comparison.

    Parameters
    ----------
    trials : pandas.DataFrame
        A sweep's `trials`.
    column : str
        The endpoint or count.
    half_width : float, optional
        Of an interval of 95 %, in the column's unit.
    difference : float, optional
        From the cell `against`, to be found in a share `power` of studies at the level of 5 %.
    against : str, optional
        The first cell by default.
    power : float
    looks : sequence of int
        Ascending numbers of data seeds, from 2.

    Raises
    ------
    QuestionError
        If the column has no values, a number is out of its range, or there is no such cell.
    """
    _check(trials, column, half_width=half_width, difference=difference, power=power)
    _check_looks(looks)
    done = trials[trials["status"].eq("done") & trials[column].notna()]
    values = done.groupby(["cell", "data_seed"])[column].mean().astype(float)
    cells = list(dict.fromkeys(trials["cell"]))
    reference = _reference(cells, against) if difference is not None else None
    found = []
    for cell in cells:
        if cell == reference:
            continue
        of_cell = values.xs(cell, level="cell") if cell in values.index else values.iloc[:0]
        if reference is not None:
            others = values.xs(reference, level="cell")
            of_cell = (of_cell - others).dropna()
        wanted = _wanted(float(of_cell.std()), half_width, difference, power)
        need = _need(cell, of_cell, wanted, cost_s=_seed_cost_s(done, cell))
        found.append(replace(need, stop=_stop(of_cell, looks, half_width)))
    return found


def _stop(values: pd.Series, looks: Sequence[int], half_width: float | None) -> int | None:
    """Return the look at which a study of these seeds could have stopped."""
    if not looks:
        return None
    if half_width is not None:
        narrow = fixed_width_look(values, looks, half_width, level=LEVEL)
        return narrow[0] if narrow else None
    judged = judge_looks(values, looks, alpha=ALPHA)
    return judged[-1].n if judged and judged[-1].is_rejected else None


def _check_looks(looks: Sequence[int]) -> None:
    if looks and (looks[0] < 2 or any(low >= high for low, high in pairwise(looks))):
        shown = " ".join(map(str, looks))
        raise QuestionError(f"--looks: must be ascending, from 2, got {shown}")


def _check(
    trials: pd.DataFrame,
    column: str,
    *,
    half_width: float | None,
    difference: float | None,
    power: float,
) -> None:
    is_number = column in trials and trials[column].dtype.kind in "fiu"
    if not is_number:
        numbers = [str(name) for name in trials if trials[name].dtype.kind in "fiu"]
        raise QuestionError(
            f"--endpoint: {column!r} is not a column of numbers{did_you_mean(column, numbers)}"
        )
    if not (trials["status"].eq("done") & trials[column].notna()).any():
        raise QuestionError(f"--endpoint: {column} has no value in any finished trial")
    for name, value in [("--half-width", half_width), ("--difference", difference)]:
        if value is not None and not (math.isfinite(value) and value > 0.0):
            raise QuestionError(f"{name}: must be above 0, got {value:g}")
    if not 0.0 < power < 1.0:
        raise QuestionError(f"--power: must lie between 0 and 1, got {power:g}")


def _reference(cells: Sequence[str], against: str | None) -> str:
    if against is None:
        return cells[0]
    if against not in cells:
        raise QuestionError(
            f"--against: there is no cell {against!r}{did_you_mean(against, cells)}"
        )
    return against


def _wanted(
    sd: float, half_width: float | None, difference: float | None, power: float
) -> int | None:
    if not math.isfinite(sd):
        return None
    if half_width is not None:
        return seeds_for_half_width(sd, half_width, level=LEVEL)
    assert difference is not None
    return seeds_for_difference(sd, difference, alpha=ALPHA, power=power)


def _need(cell: str, values: pd.Series, wanted: int | None, *, cost_s: float) -> Need:
    n, has_spread = len(values), len(values) > 1
    more = None if wanted is None else max(0, wanted - n)
    sd = float(values.std()) if has_spread else None
    return Need(
        cell=cell,
        n_data=n,
        mean=float(values.mean()) if n else None,
        sd=sd,
        half_width=None if sd is None else half_width_of(sd, n, LEVEL),
        n_needed=wanted,
        n_more=more,
        cost_s=None if more is None else more * cost_s,
    )


def _seed_cost_s(done: pd.DataFrame, cell: str) -> float:
    """Return the seconds of one processor that a data seed of a cell takes."""
    rows = done[done["cell"] == cell]
    if rows.empty:
        return 0.0
    # Trials that count one network several times share its training.
    trainings = rows.drop_duplicates(["data_seed", "init_seed"])
    total = trainings["train_s"].sum() + rows[["count_s", "endpoints_s"]].sum().sum()
    return float(total) / rows["data_seed"].nunique()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        The exit status.
    """
    guard_output()
    options = _parser().parse_args(argv)
    try:
        load_plugins(options.plugins)
        if (options.half_width is None) == (options.difference is None):
            raise QuestionError("give one of --half-width and --difference")
        trials = read_table(open_folder(whole_location(options.path.rstrip("/"))), "trials")
        found = needs(
            trials,
            options.endpoint,
            half_width=options.half_width,
            difference=options.difference,
            against=options.against,
            power=options.power,
            looks=options.looks or (),
        )
    except (ResultsError, PluginError, QuestionError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    if options.json:
        say(json.dumps([asdict(need) for need in found]))
        return 0
    make_console().print(_table(found, options), highlight=False)
    say(_total(found))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m study.seeds",
        description="Say how many more data seeds a finished sweep needs, and what they cost. "
        "Only reads.",
    )
    parser.add_argument("path", help="results folder or s3:// URI, such as results/latent_dims")
    parser.add_argument(
        "--endpoint", default="fkl_nats", help="a column of trials (default: fkl_nats)"
    )
    parser.add_argument(
        "--half-width", type=float, help="wanted of each cell's 95 %% interval, in its unit"
    )
    parser.add_argument(
        "--difference", type=float, help="to be found against another cell, in the unit"
    )
    parser.add_argument("--against", metavar="CELL", help="that cell (default: the first)")
    parser.add_argument(
        "--power", type=float, default=0.8, help="share of studies that find it (default: 0.8)"
    )
    parser.add_argument(
        "--looks", type=int, nargs="+", metavar="N", help="numbers of data seeds to look at"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead")
    add_option(parser)
    return parser


def _table(found: Sequence[Need], options: argparse.Namespace) -> Table:
    record = endpoint(options.endpoint)
    unit = record.unit if record else ""
    asked = "half-width" if options.half_width is not None else "difference"
    wanted = options.half_width if options.half_width is not None else options.difference
    heads = ["seeds", "mean", "sd", "needed", "more", "hours", *["stop"] * bool(options.looks)]
    title = f"{options.endpoint}: {asked} {wanted:g}" + (f" ({unit})" if unit else "")
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    table.add_column("cell", overflow="fold", min_width=12)
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for need in found:
        table.add_row(
            as_text(need.cell),
            str(need.n_data),
            _shown(need.mean) + (f" ± {_shown(need.half_width)}" if need.half_width else ""),
            _shown(need.sd),
            _count(need.n_needed),
            _count(need.n_more),
            "-" if need.cost_s is None else f"{need.cost_s / 3600:.1f}",
            *([_count(need.stop)] if options.looks else []),
        )
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _total(found: Sequence[Need]) -> str:
    known = [need for need in found if need.n_more is not None]
    if not known:
        return "No cell has two data seeds: the spread is unknown."
    most = max(need.n_more or 0 for need in known)
    if most == 0:
        return "All cells have enough data seeds."
    cost = sum(need.cost_s or 0.0 for need in known)
    return (
        f"{most:,} more data seeds are enough for every cell whose spread is known; only where "
        f"they are needed they cost about {format_duration(cost)} of one processor."
    )


if __name__ == "__main__":
    sys.exit(main())
