"""Compare the cells of anybody's table: `python -m analysis.compare TABLE --cluster COL ...`.

The intervals, tests, variance components and power of the reports, for a .csv or .parquet file of
any origin, on one page. Exit status: 0, or 2 when the table or a column is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.comparison.comparison import compare
from analysis.comparison.page import to_html, to_markdown
from analysis.comparison.table import TableError
from analysis.files import write_text
from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error
from study.results import printable

__all__ = ["TableError", "compare", "main"]

_WRITERS = {".html": to_html, ".md": to_markdown}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog="python -m analysis.compare",
        description="Compare the cells of a table: intervals by cluster, step-down max-T, "
        "equivalence, values at a ceiling, variance components, power and clusters needed.",
    )
    parser.add_argument("table", help=".csv or .parquet file, one row per measurement")
    parser.add_argument(
        "--cluster", required=True, metavar="COL", help="rows of equal value depend on each other"
    )
    parser.add_argument(
        "--factors", required=True, metavar="COLS", help="columns that make the cells, by commas"
    )
    parser.add_argument("--endpoint", required=True, metavar="COL", help="the numbers compared")
    parser.add_argument(
        "--pair", metavar="COL", help="with the cluster, which rows of two cells belong together"
    )
    parser.add_argument(
        "--ceiling", metavar="COL", help="largest value that could be found: a column or a number"
    )
    parser.add_argument(
        "--reference", metavar="CELL", help='such as "a=1, b=2" (default: the first cell)'
    )
    parser.add_argument(
        "--margin", type=float, help="smallest difference of interest, in the endpoint's unit"
    )
    parser.add_argument(
        "--effect", type=float, help="difference whose power is given (default: twice the margin)"
    )
    parser.add_argument("--unit", default="", help="the endpoint's unit, for the page")
    parser.add_argument("--level", type=float, default=0.95, help="of intervals (default: 0.95)")
    parser.add_argument(
        "--out", metavar="FILE", help="write the page there, .html or .md (default: print it)"
    )
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
    out = Path(options.out) if options.out else None
    if out is not None and out.suffix not in _WRITERS:
        parser.error(f"--out must end in .html or .md, not {out.name!r}")
    try:
        found = compare(
            options.table,
            cluster=options.cluster,
            factors=[name.strip() for name in options.factors.split(",") if name.strip()],
            endpoint=options.endpoint,
            pair=options.pair,
            ceiling=_number_or_name(options.ceiling),
            reference=options.reference,
            margin=options.margin,
            effect=options.effect,
            unit=options.unit,
            level=options.level,
        )
        if out is None:
            say(printable(to_markdown(found)), end="")
            return 0
        write_text(out, _WRITERS[out.suffix](found))
    except (TableError, OSError) as error:
        say_error(f"analysis.compare: {printable(error)}")
        return 2
    say(f"comparison: {out}")
    return 0


def _number_or_name(text: str | None) -> str | float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


if __name__ == "__main__":
    sys.exit(main())
