"""Count every trial of a results folder again: `python -m study.rescore results/NAME`.

The networks are loaded, not trained. `--set detection.k_max=60` counts under other settings;
without it, what a newer version of the scoring counts otherwise is counted again. The folder's
plan then holds the new trials; the old rows stay in its tables, hidden, and the sweep file's own
command brings them back. Exit status as `study.sweep`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from study.display.command_parser import CommandParser
from study.display.console import guard_output, say_error
from study.execution.exit_status import ExitStatus
from study.execution.ray_environment import SessionError, known_address
from study.execution.run_options import RunOptions
from study.execution.stopping import Stop, stop_on_signals
from study.plugins import PluginError, add_option, load_plugins, require
from study.sweep import say_missing, say_stopped

# What may be set: nothing that a network's training depends on.
SETTABLE = ("detection.", "replicates.sample", "replicates.detection")


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog="python -m study.rescore",
        description="Count every trial of a results folder again from its stored weights.",
    )
    parser.add_argument("path", help="results folder or s3:// URI, such as results/latent_dims")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="change a detection field, such as detection.k_max=60, replicates.sample or "
        "replicates.detection (repeatable)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be counted, write nothing"
    )
    parser.add_argument(
        "--address",
        help="an existing Ray cluster: auto or HOST:PORT (default: $RAY_ADDRESS, else a local "
        "one)",
    )
    add_option(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="number of units to run at once")
    screen = parser.add_mutually_exclusive_group()
    screen.add_argument("--quiet", action="store_true", help="print nothing but errors")
    screen.add_argument("--json", action="store_true", help="print one JSON object per line")
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
    path = options.path.rstrip("/")
    try:
        run_options = RunOptions(
            results=path.rpartition("/")[0] or ".",
            dry_run=options.dry_run,
            address=options.address,
            workers=options.workers,
            quiet=options.quiet,
            json=options.json,
        )
    except ValueError as error:
        parser.error(str(error))
    for text in options.overrides:
        if not text.strip().startswith(SETTABLE):
            parser.error(
                f"--set {text}: only detection fields, replicates.sample and "
                "replicates.detection can change without training; for others run study.sweep"
            )
    # Not at the top: --help and a mistyped option answer without waiting for these.
    from study.config import SweepError
    from study.results import ResultsError

    with stop_on_signals() as stop:
        try:
            run_options = replace(run_options, address=known_address(options.address))
            load_plugins(options.plugins)
            return _rescore(path, options.overrides, run_options, stop)
        except ModuleNotFoundError as error:
            return say_missing(error)
        except (SweepError, ResultsError, SessionError, PluginError) as error:
            say_error(f"error: {error}")
            return ExitStatus.USAGE
        except KeyboardInterrupt:
            return say_stopped(stop)


def _rescore(path: str, overrides: Sequence[str], run_options: RunOptions, stop: Stop) -> int:
    from study.config import read_resolved
    from study.execution.run import run
    from study.planning.units import Trial, expand
    from study.results import ResultsError, recorded
    from study.results.folder import open_folder, whole_location
    from study.trial.stored import find_stored

    location = whole_location(path)
    folder = open_folder(location)
    manifest = folder.read_manifest()
    require(manifest.get("plugins", {}), place=path)
    sweep = read_resolved(manifest.get("sweep", {}), overrides, place=f"{path}/manifest.json")
    known = recorded(folder)
    left: list[Trial] = [trial for trial in expand(sweep) if trial.trial_id not in known]
    found = find_stored(location, left)
    if left and not found.trainings:
        reason = (
            "it holds no weights (weights/ is not kept under version control)"
            if found.without_weights
            else "it records none of these trainings (other versions of data or training)"
        )
        raise ResultsError(
            f"{path}: cannot be counted again without training: {reason}; "
            "run the sweep file with study.sweep, which trains"
        )
    return run(sweep, run_options, stop, location=location)


if __name__ == "__main__":
    sys.exit(main())
