"""Run a sweep file: `python -m study.sweep sweeps/latent_dims.yaml`, or `study.run_sweep(...)`.

The same command again continues: what the results folder records is skipped. Exit status: 0 when
every planned trial is done, 1 when some failed or the run broke off, 2 when it could not start
(bad input, results that cannot be written, another writer), 130 when stopped before the end.
"""

from __future__ import annotations

import os
import signal

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Before anything is loaded there is nothing to put in order: no traceback of an import.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import contextlib
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.display.command_parser import CommandParser
from study.display.console import guard_output, say_error
from study.execution.exit_status import ExitStatus
from study.execution.ray_environment import SessionError, check_dashboard, known_address
from study.execution.run_options import RunOptions
from study.execution.stopping import Stop, stop_on_signals
from study.planning.shard import Shard
from study.plugins import GENERATORS, PluginError, add_option, load_plugins, require

if TYPE_CHECKING:
    from analysis.opened import SweepResults
    from study.config import Sweep


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(
        prog="python -m study.sweep",
        description="Train and measure every trial of a sweep file on Ray; run again to continue.",
    )
    parser.add_argument("file", type=Path, help="sweep file, such as sweeps/latent_dims.yaml")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="fix a field for this run, such as training.epochs=20 (repeatable)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would run, write nothing"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="shrink the sweep to about a minute (NAME-smoke)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="start at most N trials")
    parser.add_argument(
        "--retry-failed", action="store_true", help="run failed and timed-out trials again"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="run every trial again even if it is recorded; old rows stay until new ones replace "
        "them, and a done row is only replaced by a done row",
    )
    parser.add_argument(
        "--weights-from",
        metavar="FOLDER",
        help="results folder whose trained networks are copied and measured instead of being "
        "trained again, such as results/latent_dims",
    )
    parser.add_argument(
        "--results",
        default="results",
        metavar="DIR",
        help="folder or s3:// URI that holds results folders (default: results)",
    )
    parser.add_argument(
        "--address",
        help="an existing Ray cluster: auto or HOST:PORT (default: $RAY_ADDRESS, otherwise a "
        "local one for this run)",
    )
    parser.add_argument(
        "--wait-for-nodes",
        type=int,
        metavar="N",
        help="wait until the existing cluster has N nodes (default: use it as it is)",
    )
    parser.add_argument(
        "--write-from",
        choices=("auto", "nodes", "driver"),
        default="auto",
        help="who writes rows on an existing cluster: its nodes, or the node of this process "
        "(default: the nodes, if they all see the results folder)",
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="run the I-th of N shares of the sweep; other shares may run at the same time",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="stacks to run at once on this machine (default: as many as its CPUs allow)",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="keep live.html in the results folder, a page on the run that needs no server",
    )
    parser.add_argument(
        "--dashboard",
        action="store_true",
        help="start Ray's dashboard, for this machine only (needs ray[default])",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="also copy an adaptive sweep to this Optuna database, such as sqlite:///x.db or "
        "postgresql://me:${DB_PASSWORD}@host/x (${NAME} is read from the environment)",
    )
    add_option(parser)
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
    try:
        run_options = _run_options(options)
    except ValueError as error:
        parser.error(str(error))
    with stop_on_signals() as stop:
        try:
            # Not at the top: --help and a mistyped option answer without waiting for these. An
            # extension module whose import is cut short leaves other errors than an interrupt.
            with stop.completed():
                from study.config import SweepError, load_sweep, shrink
                from study.execution.run import ResultsError, run
                from study.execution.search_run import run_search
        except KeyboardInterrupt:
            return say_stopped(stop)
        except ModuleNotFoundError as error:
            return say_missing(error)
        try:
            if options.dashboard:
                check_dashboard()
            run_options = replace(run_options, address=known_address(options.address))
            load_plugins(options.plugins)
            try:
                sweep = load_sweep(options.file, overrides=tuple(options.overrides))
            except SweepError:
                require_recorded_plugins(options.file, options.results)
                raise
            if not options.dry_run:
                require_packages(sweep)
            if options.storage and sweep.search is None:
                raise SweepError("--storage: only an adaptive sweep (search:) has a copy there")
            if options.smoke:
                sweep = shrink(sweep)
            with _live_page(options, sweep.name):
                return (run if sweep.search is None else run_search)(sweep, run_options, stop)
        except ModuleNotFoundError as error:
            return say_missing(error)
        except (SweepError, ResultsError, SessionError, PluginError) as error:
            say_error(f"error: {error}")
            return ExitStatus.USAGE
        except KeyboardInterrupt:
            return say_stopped(stop)


def _live_page(options: argparse.Namespace, name: str) -> contextlib.AbstractContextManager[None]:
    """Keep the page of the run written, if it is asked for and something runs."""
    if not options.live or options.dry_run:
        return contextlib.nullcontext()
    from study.live import kept_live
    from study.results.folder import join_location

    return kept_live(join_location(options.results, name))


def run_sweep(
    sweep: str | Path | Mapping[str, Any],
    *,
    results: str | Path = "results",
    overrides: Sequence[str] = (),
    plugins: Sequence[str | Path] = (),
    quiet: bool = True,
    **options: Any,
) -> SweepResults:
    """Run a sweep, or the rest of it, and open its results.

    Parameters
    ----------
    sweep : str, Path or mapping
        A sweep file, or what it would say: {"name": "mini", "grid": {"model.latent_dim": [1, 3]}}.
    results : str or Path
        Folder or URI that holds results folders.
    overrides : sequence of str
        "field=value" each, as `--set` takes them.
    plugins : sequence of path
        Plug-ins to load, as `--plugin` takes them.
    quiet : bool
        Print nothing but errors; False shows the progress.
    **options
        Further fields of `RunOptions`, such as `workers=2` or `retry_failed=True`.

    Returns
    -------
    SweepResults
        Of the whole folder. Trials that failed are rows with a status and a message.

    Raises
    ------
    SweepError, ResultsError, PluginError
        It could not start, or no trial was recorded; all are ValueError, with one line.
    TypeError
        There is no such option.
    RuntimeError
        Ray cannot be started, or the run broke off; what was finished is kept, and the same call
        continues.
    KeyboardInterrupt
        It was stopped; what was finished is kept, and the same call continues.
    """
    import study
    from study.config import load_sweep
    from study.execution.run import run
    from study.execution.search_run import run_search
    from study.results import join_location

    strange = sorted(options.keys() - {field.name for field in fields(RunOptions)})
    if strange:
        raise TypeError(
            f"run_sweep() has no option {strange[0]!r}; see study.execution.run_options"
        )
    given = RunOptions(results=str(results), quiet=quiet, **options)
    load_plugins(plugins)
    loaded = load_sweep(sweep, overrides=tuple(overrides))
    if not given.dry_run:
        require_packages(loaded)
    with stop_on_signals() as stop:
        given = replace(given, address=known_address(given.address))
        (run if loaded.search is None else run_search)(loaded, given, stop)
    if stop.is_error:
        raise RuntimeError(f"{loaded.name}: {stop.reason}; the same call continues")
    if stop.reason is not None:
        raise KeyboardInterrupt(f"{loaded.name}: {stop.reason}; the same call continues")
    return study.open(join_location(str(results), loaded.name))


def _run_options(options: argparse.Namespace) -> RunOptions:
    given = {field.name: getattr(options, field.name) for field in fields(RunOptions)}
    if options.shard is not None:
        try:
            given["shard"] = Shard.parse(options.shard)
        except ValueError as error:
            raise ValueError(f"--shard: {error}") from None
    return RunOptions(**given)


def say_missing(error: ModuleNotFoundError) -> int:
    """Print which package this Python lacks and how to install it; return the exit status."""
    # An error that came from another process has lost its name.
    name = error.name or str(error)
    say_error(
        f"error: {name} is not installed in {sys.executable} on {socket.gethostname()}; install "
        "the project with the packages that run sweeps (pip install -c constraints.txt "
        "'.[sweep]'), or name another Python (submit: --python, --pip)"
    )
    return ExitStatus.USAGE


def require_packages(sweep: Sweep) -> None:
    """Refuse a sweep whose generators need packages that are not installed here.

    Raises
    ------
    SweepError
        Naming the first one.
    """
    from study.config import SweepError
    from study.config.resolved import values_of

    for kind in sorted(values_of(sweep, "model.kind")):
        generator = GENERATORS[kind]
        for package in generator.packages:
            if find_spec(package) is None:
                name = f".[{generator.extra}]" if generator.extra else package
                raise SweepError(
                    f"model.kind: {kind} needs {package}, which is not installed in "
                    f"{sys.executable}; pip install -c constraints.txt '{name}'"
                )


def require_recorded_plugins(file: Path, results: str) -> None:
    """Blame a missing plug-in, if the sweep's folder was made with one, for a file's error.

    Raises
    ------
    PluginError
        One is missing.
    """
    from study.config.yaml_source import SweepError, read_yaml
    from study.results import ResultsError, join_location, open_folder

    try:
        name = read_yaml(file).plain()["name"]
        manifest = open_folder(join_location(results, str(name))).read_manifest()
    except (SweepError, ResultsError, KeyError, TypeError):
        return
    require(manifest.get("plugins", {}), place=f"{results}/{name}")


def say_stopped(stop: Stop) -> int:
    """Print that the run was ended at once and how to continue; return the exit status."""
    say_error(
        f"{stop.reason or 'Ctrl-C'}: stopped at once. What was finished is kept.\n"
        "To continue, run the same command again."
    )
    return ExitStatus.STOPPED


if __name__ == "__main__":
    sys.exit(main())
