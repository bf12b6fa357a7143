"""Merge results folders of one sweep: `python -m study.merge A B --to results/NAME`.

Exit status: 0 merged, 1 merged with conflicts (rows of one id with other numbers, kept aside), 2
when nothing could be merged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error
from study.execution.exit_status import ExitStatus
from study.results import ResultsError, printable

MOST_LISTED = 10


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog="python -m study.merge",
        description="Make one results folder of several, for machines that share no disk. Of rows "
        "with the same id and other numbers the first folder's stay; the others are kept aside.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="results folders or s3:// URIs")
    parser.add_argument(
        "--to", required=True, metavar="DIR", help="the new folder, such as results/latent_dims"
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
    options = build_parser().parse_args(argv)
    # Not at the top: --help need not wait for Arrow.
    from study.exchange.merging import CONFLICTS, MERGE_RECORD, merge

    try:
        merged = merge(options.paths, options.to)
    except (ResultsError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    for path, n in zip(options.paths, merged.n_taken, strict=True):
        say(f"{printable(path)}: {n} trials")
    again = f" {merged.n_equal} were recorded more than once, equally." * (merged.n_equal > 0)
    say(f"{options.to}: {merged.n_done} of {merged.n_planned} planned trials done.{again}")
    for conflict in merged.conflicts[:MOST_LISTED]:
        say_error(f"conflict: {conflict}")
    if merged.conflicts:
        say_error(
            f"{len(merged.conflicts)} conflicts: {options.to}/{MERGE_RECORD} lists them, and "
            f"{options.to}/{CONFLICTS}/ has the rows that were not taken"
        )
    return ExitStatus.FAILED if merged.conflicts else ExitStatus.DONE


if __name__ == "__main__":
    sys.exit(main())
