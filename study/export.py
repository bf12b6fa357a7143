"""Write results for another tool: `python -m study.export results/NAME --to mlflow`.

A run for each trial, with its configuration, endpoints and curves, tagged with its cell and seeds;
offline, into a folder of this machine. Exit status: 0 written, 2 when it could not be.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import PurePath

from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error
from study.execution.exit_status import ExitStatus
from study.plugins import PluginError, add_option, load_plugins
from study.results import ResultsError, printable

# Not the writers' own list: --help need not wait for Arrow.
KINDS = ("csv", "mlflow", "wandb", "trackio", "tensorboard")
_LOOK = {
    "mlflow": "mlflow ui --backend-store-uri sqlite:///{place}/mlflow.db",
    "wandb": "wandb sync {place}/wandb/offline-run-*  (sends them to its server)",
    "trackio": "TRACKIO_DIR={place} trackio show",
    "tensorboard": "tensorboard --logdir {place}",
}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog="python -m study.export",
        description="Write results for another tool: one run per trial, offline.",
    )
    parser.add_argument("path", help="results folder or s3:// URI, such as results/latent_dims")
    parser.add_argument("--to", required=True, choices=KINDS, help="the tool")
    parser.add_argument("--out", metavar="DIR", help="a new folder (default: exports/NAME/TOOL)")
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
    name = PurePath(options.path.partition("?")[0].rstrip("/")).name
    place = options.out or f"exports/{name}/{options.to}"
    from study.exchange.tracking import export

    try:
        load_plugins(options.plugins)
        n = export(options.path.rstrip("/"), options.to, place)
    except ModuleNotFoundError as error:
        say_error(
            f"error: {error.name} is not installed; pip install -c constraints.txt "
            f"'.[{options.to}]' brings it"
        )
        return ExitStatus.USAGE
    except (ResultsError, PluginError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    say(f"{n} trials: {place}")
    if options.to in _LOOK:
        say(f"Look: {_LOOK[options.to].format(place=place)}")
    return ExitStatus.DONE


if __name__ == "__main__":
    sys.exit(main())
