"""Measure points that any generator made: `python -m study.measure POINTS --truth ring8`.

POINTS are .npy, .npz, .csv, .parquet or .feather files, a point per row; several files, such as
seeds or models, get intervals over files. Without a truth the points can be compared with a
`--reference`, or only counted. Exit status: 0, or 2 if something cannot be measured.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.display.command_parser import CommandParser
from study.display.console import guard_output, make_console, say, say_error
from study.execution.exit_status import ExitStatus
from study.plugins import PluginError, add_option, load_plugins
from study.sweep import say_missing

if TYPE_CHECKING:
    from study.measuring.measure import Measurement


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog="python -m study.measure",
        description="Count the modes of points and, given a truth or a reference, say how close "
        "they are to it, beside generators that learn nothing or everything.",
    )
    parser.add_argument("points", nargs="+", metavar="POINTS",
                        help="files of points: .npy, .npz, .csv, .parquet, .feather")  # fmt: skip
    against = parser.add_mutually_exclusive_group()
    against.add_argument(
        "--truth",
        metavar="NAME|FILE.yaml",
        help="a target, such as ring8, or a sweep file with one mixture",
    )
    against.add_argument("--reference", metavar="POINTS", help="a file of points to compare with")
    parser.add_argument("--seed", type=int, default=0,
                        help="data seed of the truth and of all draws (default: 0)")  # fmt: skip
    parser.add_argument("--n", type=int, default=10_000, metavar="POINTS",
                        help="points that are measured at the most (default: 10000, as in a "
                        "sweep); k* grows with them")  # fmt: skip
    parser.add_argument("--k-max", type=int, default=40, metavar="K",
                        help="largest k of the calibrated protocol (default: 40)")  # fmt: skip
    parser.add_argument("--no-nulls", action="store_true",
                        help="leave the null models out, which take most of the time")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", metavar="DIR", help="write a page and its figures there")
    add_option(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments; None takes the process's.

    Returns
    -------
    int
        The exit status.
    """
    guard_output()
    parser = build_parser()
    options = parser.parse_args(argv)
    for name, low in (("n", 20), ("k_max", 1), ("seed", 0)):
        if getattr(options, name) < low:
            parser.error(f"--{name.replace('_', '-')}: must be at least {low}")
    try:
        # Not at the top: --help and a mistyped option answer without waiting for these.
        from study.config import SweepError
        from study.measuring.files import PointsError

        try:
            load_plugins(options.plugins)
            return _run(options)
        except (SweepError, PointsError, PluginError) as error:
            say_error(f"error: {error}")
            return ExitStatus.USAGE
    except ModuleNotFoundError as error:
        return say_missing(error)
    except MemoryError:
        say_error("error: not enough memory for these points; measure fewer with --n")
        return ExitStatus.USAGE


def _run(options: argparse.Namespace) -> int:
    from study.config import DetectionConfig
    from study.measuring.files import read_points
    from study.measuring.measure import measure_points
    from study.measuring.truths import truth_config

    detection = DetectionConfig(n_samples=options.n, k_max=options.k_max)
    # All are read first: a bad file is refused before minutes of counting.
    clouds = {name: read_points(name) for name in options.points}
    reference = None if options.reference is None else read_points(options.reference)
    truth = None if options.truth is None else truth_config(options.truth)
    dims = {name: cloud.shape[1] for name, cloud in clouds.items()}
    _check_dims(dims)
    measured: list[Measurement] = []
    with _progress(len(clouds), quiet=options.json) as progress:
        for index, (name, cloud) in enumerate(clouds.items()):
            measured.append(
                measure_points(
                    cloud,
                    truth=truth,
                    reference=reference,
                    seed=options.seed,
                    detection=detection,
                    nulls=index == 0 and not options.no_nulls,
                    name=Path(name).name,
                    say=progress,
                )
            )
            progress.finish_file()
    if options.out is not None:
        from study.measuring.page import write_page

        page = write_page(measured, Path(options.out))
    if options.json:
        say(json.dumps(facts(measured)))
    else:
        print_measured(measured)
    if options.out is not None and not options.json:
        say(f"Wrote {page}")
    return ExitStatus.DONE


def _check_dims(dims: dict[str, int]) -> None:
    from study.measuring.files import PointsError

    (first, expected), *others = dims.items()
    for name, dim in others:
        if dim != expected:
            raise PointsError(
                f"{name}: has {dim} columns and {first} has {expected}; measure them one by one"
            )


class _progress:
    """A bar with a step for each part of the work, on a terminal only."""

    # Counting points and control, comparing, four null models, three numbers of points.
    STEPS = 10

    def __init__(self, n_files: int, *, quiet: bool) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._n_files, self._done = n_files, 0
        console = make_console()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console,
            transient=True, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("reading", total=n_files * self.STEPS)

    def __enter__(self) -> _progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, text: str) -> None:
        self._bar.update(self._task, description=text, advance=1)

    def finish_file(self) -> None:
        """Fill the file's share of the bar, whatever was left out."""
        self._done += 1
        self._bar.update(self._task, completed=self._done * self.STEPS)


def facts(measured: Sequence[Measurement]) -> dict[str, Any]:
    """Return everything that was measured, for `--json`; names as in the tables of a sweep.

    Parameters
    ----------
    measured : sequence of Measurement

    Returns
    -------
    dict
        `trials`: a row per file; `nulls`, `growth`, `counts`, `recall`, `components` as in the
        tables of these names; `intervals` over files by column; `notes`.
    """
    from study.measuring.measure import over_files

    first = measured[0]
    found: dict[str, Any] = {
        "trials": [
            {"file": one.name, "n_points": one.n_points, **one.columns} for one in measured
        ],
        "nulls": first.nulls,
        "intervals": over_files(measured) if len(measured) > 1 else {},
        "notes": list(first.notes),
    }
    for table in ("growth", "counts", "recall", "components"):
        found[table] = [
            {"file": one.name, **row} for one in measured for row in getattr(one, table)
        ]
    plain: dict[str, Any] = _plain(found)
    return plain


def _plain(value: Any) -> Any:
    """Turn numpy's numbers into Python's, and what is not finite into null."""
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_measured(measured: Sequence[Measurement]) -> None:
    """Print one table: the points beside the control and the null models; then the notes."""
    from rich.table import Table

    from study.display.text import as_text
    from study.measuring.comparison import compare
    from study.measuring.page import FOOT

    comparison = compare(measured)
    table = Table(box=None, pad_edge=False)
    for index, text in enumerate(comparison.head):
        table.add_column(as_text(text), justify="left" if index == 0 else "right")
    for row in comparison.rows:
        table.add_row(*map(as_text, row))
    console = make_console()
    console.print(table)
    growth = ", ".join(
        f"{row['k']} of {row['n']:,}" for row in measured[0].growth
        if row["protocol"] == "calibrated"
    )  # fmt: skip
    if growth:
        say(f"k*, calibrated, by points counted: {growth}.")
    for note in (*measured[0].notes, FOOT):
        say(note)


if __name__ == "__main__":
    sys.exit(main())
