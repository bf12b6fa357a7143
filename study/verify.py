"""Do random finished trials again and compare them: `python -m study.verify results/NAME`.

Each trial is done again from its configuration, in a process of its own; no recorded number is
used. There are three levels, and each has its own words. On the same kind of processor with the
same versions every number must be the same to the bit. Elsewhere, networks are counted again from
their stored weights, within what each column is made of; or they are trained again, and what a
training moves must lie within the spread of training seeds. The outcome is written to
`results/NAME/verify.json`. Exit status: 0 equal, 1 different, 2 nothing could be compared.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from study.display.command_parser import CommandParser
from study.display.console import guard_output, make_console, say_error
from study.display.text import as_text
from study.exchange.crate import require_whole
from study.execution.exit_status import ExitStatus
from study.planning.units import stage_versions
from study.plugins import PluginError, add_option, load_plugins
from study.results import printable, timestamp
from study.results.comparison import Comparison, Deviation, Difference, Level, equivalence
from study.results.folder import ResultsError, ResultsFolder, first_line, whole_location
from study.results.precision import STAGES
from study.results.processor import Processor, cpu_model
from study.results.provenance import provenance
from study.results.record import CERTIFICATE
from study.sweep import say_missing
from study.trial.again import in_own_process
from study.trial.recorded import Recorded, Task, count_numbers

if TYPE_CHECKING:
    import pyarrow as pa

# What must agree for equality to the bit, besides the processor.
SAME = ("torch", "numpy", "sklearn", "python")
LEVELS = {"bit": Level.BIT, "counted": Level.COUNTED, "trained": Level.TRAINED}
MOST_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What doing one trial again gave.

    Parameters
    ----------
    trial_id, cell : str
        As they are recorded.
    seeds : tuple of int
        Data, init and sample seed.
    recorded_commit : str
        Of the code that made the row.
    result : str
        "equal", "different" or "failed".
    level : Level
    why : str
        Why no stricter one, or how it failed.
    n_numbers, n_differences : int
    differences : tuple of Difference
        The first few.
    """

    trial_id: str
    cell: str
    seeds: tuple[int, int, int]
    recorded_commit: str
    result: str
    level: Level
    why: str
    n_numbers: int = 0
    n_differences: int = 0
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a trial is compared.

    Parameters
    ----------
    level : Level
    why : str
        Why no stricter one; empty if there is none.
    settings : mapping of str to str or None
        What chooses the code that runs it again; None: as it is here.
    is_guess : bool
        Whether its rows do not name a kind of processor, so that equal bits count and unequal
        ones do not.
    """

    level: Level
    why: str = ""
    settings: Mapping[str, str] | None = None
    is_guess: bool = False


def plan_comparison(task: Task, asked: Level | None) -> Plan:
    """Choose the strictest level at which a trial can be compared here, or the one asked for.

    Parameters
    ----------
    task : Task
    asked : Level or None
    """
    theirs, here = Processor.parse(str(task.row["cpu"])), Processor.parse(cpu_model())
    made_by = {**provenance(), "device": "cpu"}
    other = [
        f"{name} {task.row[name]} (here: {made_by[name]})"
        for name in (*SAME, "device")
        if task.row[name] != made_by[name]
    ]
    if theirs.kind and not theirs.is_like(here):
        other.append(f"processor {theirs.vendor} {theirs.kind} (here: {here.vendor} {here.kind})")
    same_code = theirs.is_like(here) and theirs.settings == here.settings
    settings = dict(theirs.settings) if theirs.is_like(here) and not same_code else None
    if asked is Level.BIT or (asked is None and not other and theirs.kind):
        return Plan(level=Level.BIT, why=", ".join(other), settings=settings)
    unnamed = "" if theirs.kind else f"its rows do not name the kind of {theirs.vendor} processor"
    why = ", ".join([*other, *filter(None, [unnamed])])
    if asked is not None:
        return Plan(level=asked, why="asked for")
    if not other:
        return Plan(level=Level.TRAINED, why=why, is_guess=True)
    return Plan(level=Level.TRAINED if task.stored is None else Level.COUNTED, why=why)


@dataclass(slots=True)
class Verification:
    """What doing some trials again gave.

    Parameters
    ----------
    verdicts : list of Verdict
    comparisons : list of Comparison
    """

    verdicts: list[Verdict] = field(default_factory=list)
    trained: list[Comparison] = field(default_factory=list)
    columns: dict[str, Deviation] = field(default_factory=dict)

    @property
    def n_equal(self) -> int:
        """Trials without a difference."""
        return sum(verdict.result == "equal" for verdict in self.verdicts)

    def add(self, verdict: Verdict, comparison: Comparison) -> None:
        """Take in one trial."""
        self.verdicts.append(verdict)
        if verdict.level is Level.TRAINED:
            self.trained.append(comparison)
        for name, deviation in comparison.columns.items():
            self.columns[name] = self.columns.get(name, Deviation()).join(deviation)


def verify(
    recorded: Recorded, tasks: Sequence[Task], console: Console, *, level: Level | None
) -> Verification:
    """Do trials again, one process each, and compare them with what is recorded.

    Parameters
    ----------
    recorded : Recorded
    tasks : sequence of Task
    console : Console
    level : Level or None
        The level that was asked for.
    """
    done: list[tuple[Task, Plan, dict[str, pa.Table]]] = []
    result = Verification()
    for index, task in enumerate(tasks, start=1):
        plan = plan_comparison(task, level)
        console.print(as_text(f"trial {index} of {len(tasks)}: {task.row['cell']} ..."))
        stored = task.stored if plan.level is Level.COUNTED else None
        try:
            done.append((task, plan, in_own_process(task.trial, stored, plan.settings)))
        except ModuleNotFoundError:
            raise  # Nothing can be run again here.
        except Exception as error:
            why = f"{type(error).__name__}: {error}"[:500]
            result.add(_verdict(task, plan.level, why, None), Comparison())
    spread = recorded.spread(n_numbers=count_numbers([found for _, _, found in done]))
    for task, plan, found in done:
        reached, why, comparison = _compare(recorded, task, plan, found, spread)
        result.add(_verdict(task, reached, why, comparison), comparison)
    return result


def _compare(
    recorded: Recorded, task: Task, plan: Plan, found: Mapping[str, pa.Table], spread: Any
) -> tuple[Level, str, Comparison]:
    if plan.is_guess:
        comparison = recorded.compare(task, found, Level.BIT, None)
        if not comparison.differences:
            return Level.BIT, plan.why, comparison
    comparison = recorded.compare(task, found, plan.level, spread)
    return plan.level, plan.why, comparison


def _verdict(task: Task, level: Level, why: str, comparison: Comparison | None) -> Verdict:
    unlike = () if comparison is None else comparison.differences
    scored = "" if task.stages == STAGES else "the training alone, since scoring has changed"
    return Verdict(
        trial_id=str(task.row["trial_id"]),
        cell=str(task.row["cell"]),
        seeds=(task.trial.data_seed, task.trial.init_seed, task.trial.sample_seed),
        recorded_commit=str(task.row["commit"]),
        result="failed" if comparison is None else "different" if unlike else "equal",
        level=level,
        why="; ".join(filter(None, [scored, why])),
        n_numbers=0 if comparison is None else comparison.n_numbers,
        n_differences=len(unlike),
        differences=tuple(unlike[:MOST_LISTED]),
    )


def certificate(name: str, found: Verification, *, seed: int) -> dict[str, Any]:
    """Return the certificate of a verification of the results of this name."""
    changes = equivalence(found.trained)
    moved = sorted(column for column, word in changes.items() if word == "moved")
    levels = Counter(str(verdict.level) for verdict in found.verdicts)
    return {
        "results": name,
        "verified_at": timestamp(),
        "equal": found.n_equal == len(found.verdicts) and not moved,
        "n_trials": len(found.verdicts),
        "n_equal": found.n_equal,
        "n_numbers": sum(verdict.n_numbers for verdict in found.verdicts),
        "level": ", ".join(levels),
        "seed": seed,
        "stages": stage_versions(),
        **provenance(),
        "changes": changes,
        "columns": {name: asdict(each) for name, each in sorted(found.columns.items())},
        "trials": [asdict(verdict) for verdict in found.verdicts],
    }


def _print_verdicts(outcome: Mapping[str, Any], found: Verification, console: Console) -> None:
    table = Table("cell", "seeds", "numbers", "result", "compared", box=None, pad_edge=False)
    for verdict in found.verdicts:
        seeds = " ".join(map(str, verdict.seeds))
        result = verdict.result
        if verdict.n_differences:
            result += f" ({verdict.n_differences})"
        compared = f"{verdict.level}: {verdict.why}" if verdict.why else str(verdict.level)
        words = (verdict.cell, seeds, str(verdict.n_numbers), result, compared)
        table.add_row(*map(as_text, words))
    console.print(table)
    for verdict in found.verdicts:
        for item in verdict.differences[:3]:
            line = (
                f"  {verdict.trial_id} {item.table}.{item.column} {item.row}: "
                f"recorded {item.recorded}, now {item.found}, allowed ±{item.allowed:.2g}"
            )
            console.print(as_text(line), soft_wrap=True)
    if outcome["changes"]:
        console.print(as_text(_say_changes(outcome["changes"])), soft_wrap=True)


def _say_changes(changes: Mapping[str, str]) -> str:
    """Say for how many columns training again left the mean where it was."""
    counted = Counter(changes.values())
    text = (
        f"trained again: the means of {counted['equivalent']} of {len(changes)} columns are "
        "equivalent, within one standard deviation of the training seeds"
    )
    if counted["undecided"]:
        text += f"; {counted['undecided']} are undecided (a larger -n decides them)"
    moved = [column for column, word in changes.items() if word == "moved"]
    return text + (f"; moved: {', '.join(moved)}" if moved else "")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog="python -m study.verify",
        description="Do random finished trials again and compare every number.",
    )
    parser.add_argument(
        "path", nargs="?", help="results folder or s3:// URI, such as results/latent_dims"
    )
    parser.add_argument(
        "--from",
        dest="published",
        metavar="FILE.zip",
        help="a published file in place of a folder; its checksums are compared first",
    )
    parser.add_argument(
        "-n", type=int, default=5, metavar="N", help="number of trials to do again (default: 5)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed for choosing the trials (default: 0)"
    )
    parser.add_argument(
        "--level",
        choices=LEVELS,
        help="bit: trained again, every number the same to the bit; counted: counted again from "
        "stored weights, within what a column is made of; trained: trained again, within the "
        "spread of training seeds (default: the strictest that this machine can be held to)",
    )
    add_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        The exit status.
    """
    guard_output()
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.n < 1:
        parser.error(f"-n must be at least 1, not {options.n}")
    if (options.path is None) == (options.published is None):
        parser.error("name a results folder, or a published file with --from")
    options.path = options.path or options.published
    console = make_console()
    level = LEVELS.get(options.level)
    try:
        load_plugins(options.plugins)
        if options.published is not None:
            require_whole(options.published)
        recorded = Recorded(whole_location(options.path.rstrip("/")), options.path)
        tasks = recorded.choose(options.n, seed=options.seed, level=level)
        if any(task.stages != STAGES for task in tasks):
            console.print(as_text(_say_versions(recorded)), soft_wrap=True)
        found = verify(recorded, tasks, console, level=level)
        outcome = certificate(PurePath(options.path).name, found, seed=options.seed)
    except ModuleNotFoundError as error:
        return say_missing(error)
    except (ResultsError, PluginError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    _print_verdicts(outcome, found, console)
    where = _write_certificate(
        recorded.folder, outcome, f"{options.path.rstrip('/')}/{CERTIFICATE}"
    )
    summary = f"{outcome['n_equal']} of {len(tasks)} trials equal ({outcome['level']})"
    console.print(as_text(f"{summary}, {outcome['n_numbers']:,} numbers; {where}"), soft_wrap=True)
    return ExitStatus.DONE if outcome["equal"] else ExitStatus.FAILED


def _say_versions(recorded: Recorded) -> str:
    return (
        f"its rows were made by other stage versions: {recorded.other_versions}; what the stages "
        "that are unchanged made is compared: settings, the truth, the training and its curves"
    )


def _write_certificate(folder: ResultsFolder, outcome: Mapping[str, Any], place: str) -> str:
    """Write the certificate, and say where; what was found does not depend on it."""
    try:
        folder.write_bytes(CERTIFICATE, json.dumps(outcome, indent=1).encode())
    except OSError as error:
        return f"not written down, since {place} cannot be written ({first_line(error)})"
    return f"written to {place}"


if __name__ == "__main__":
    sys.exit(main())
