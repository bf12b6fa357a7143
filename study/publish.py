"""Publish results as one file: `python -m study.publish results/NAME --to FILE.zip`.

The zip describes itself (RO-Crate, Croissant, data package, checksums, certificate) and can be
read by `study.open`, `analysis.report` and `study.verify --from`. Nothing is sent anywhere. Exit
status: 0 written, 2 when it could not be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error
from study.execution.exit_status import ExitStatus
from study.plugins import PluginError, add_option, load_plugins
from study.results import ResultsError, printable


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog="python -m study.publish",
        description="Write a results folder as one zip file that others' tools can read.",
    )
    parser.add_argument("path", help="results folder or s3:// URI, such as results/latent_dims")
    parser.add_argument("--to", required=True, metavar="FILE.zip", help="the file to write")
    parser.add_argument(
        "--licence",
        default="",
        metavar="NAME",
        help="SPDX name or address, such as CC-BY-4.0 (default: says that none is stated)",
    )
    parser.add_argument(
        "--author", dest="authors", action="append", default=[], help="a name (repeatable)"
    )
    parser.add_argument(
        "--weights", action="store_true", help="with the trained weights, about 140 kB per trial"
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
    options = build_parser().parse_args(argv)
    # Not at the top: --help need not wait for Arrow.
    from study.exchange.crate import publish

    try:
        load_plugins(options.plugins)
        parts = publish(
            options.path.rstrip("/"),
            options.to,
            licence=options.licence,
            authors=options.authors,
            with_weights=options.weights,
        )
    except (ResultsError, PluginError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    n_rows = {part.table: part.n_rows for part in parts if part.table}
    size_mb = sum(len(part.content) for part in parts) / 1e6
    say(f"{options.to}: {n_rows['trials']} trials, {len(n_rows)} tables, {size_mb:.1f} MB")
    if not any(part.path == "codecheck.yml" for part in parts):
        say(f"No certificate: run python -m study.verify {options.path} first to have one.")
    if not options.licence:
        say("No licence is stated; --licence NAME says what others may do with it.")
    return ExitStatus.DONE


if __name__ == "__main__":
    sys.exit(main())
