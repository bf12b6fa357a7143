"""Run the benchmarks, print their tables and add the figures to benchmarks/history.csv.

    python -m benchmarks                      all of them, about an hour on two quiet cores
    python -m benchmarks --only scheduling    one (repeatable)
    python -m benchmarks --only peers --trials 4 --epochs 2    a small comparison
    python -m benchmarks --write-docs         no run; fill the tables of docs/performance.md

`peers` continues where it stopped: a pair that this commit has in the history is not run again.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import history, page
from benchmarks.history import Measurement, Options

BENCHMARKS = {
    "startup": "benchmarks.startup",
    "equality": "benchmarks.equality",
    "training": "benchmarks.training",
    "scoring": "benchmarks.scoring",
    "scheduling": "benchmarks.scheduling",
    "scaling": "benchmarks.scaling",
    "report": "benchmarks.report",
    "gpu": "benchmarks.gpu",
    "peers": "benchmarks.peers.comparison",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments; None takes the process's.

    Returns
    -------
    int
        0, or 1 if a benchmark failed; the others run all the same.
    """
    given = parse_arguments(argv)
    if given.write_docs:
        page.write_page(history.read())
        return 0
    options = Options(quick=given.quick, n_trials=given.trials, n_epochs=given.epochs)
    failed = [name for name in given.only or BENCHMARKS if not _run(name, options)]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="repeatable")
    parser.add_argument(
        "--trials", type=int, default=24, help="of peers and scaling (default: 24)"
    )
    parser.add_argument("--epochs", type=int, default=100, help="of each trial (default: 100)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the smallest run of each; the figures mean nothing and are not recorded",
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="fill the tables of docs/performance.md"
    )
    return parser.parse_args(argv)


def _run(name: str, options: Options) -> bool:
    """Run one benchmark; each figure is printed and recorded as soon as it is there."""
    place = history.circumstances()
    print(f"\n{name} (load {place.load:g})", flush=True)
    try:
        for row in measurements(name, options):
            ratio = "" if row.ratio is None else f"   ratio {row.ratio:.3g}"
            value = "" if row.value is None else f"{row.value:10.4g} {row.unit}"
            print(f"  {row.name:72s} {value}{ratio}", flush=True)
            if not options.quick:
                history.append(place, [row])
    except (RuntimeError, OSError, ImportError) as error:
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        return False
    return True


def measurements(name: str, options: Options) -> Iterator[Measurement]:
    """Run a benchmark that yields its figures, or one that returns plain rows."""
    module = importlib.import_module(BENCHMARKS[name])
    if name == "training":
        yield from _plain(name, module.rows(quick=options.quick))
    elif name == "scoring":
        small: dict[str, Any] = {"latent_dims": (2,), "n_models": 1, "n_epochs": 2}
        yield from _plain(name, module.measure(**small if options.quick else {}))
    else:
        yield from module.measure(options)


def _plain(benchmark: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Measurement]:
    for row in rows:
        to = f" (ratio: to {row['ratio_to']})" if row.get("ratio_to") else ""
        yield Measurement(
            benchmark=benchmark,
            name=row["name"] + to,
            value=float(row["value"]),
            unit=row["unit"],
            ratio=row["ratio"] if to else None,
        )


if __name__ == "__main__":
    sys.exit(main())
