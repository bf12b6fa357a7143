"""What a report costs: the whole command on ten thousand synthetic trials."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.history import Measurement, Options
from tests.analysis.synthetic import build_many, build_results

ROOT = Path(__file__).resolve().parents[1]
# Its own process writes its peak of memory; the resource module would count this one's too.
SCRIPT = """
import sys
from analysis.report import main
status = main([sys.argv[1]])
lines = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")))
sys.exit(status)
"""


def measure(options: Options) -> Iterator[Measurement]:
    """Time the command, reading, statistics, figures, tables and page."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        place = build_results(folder / "few") if options.quick else build_many(folder)
        n_trials = 150 if options.quick else 9_900
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(place)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
        )
        wall_s = time.perf_counter() - started
        peak_mb = float(done.stdout.strip().splitlines()[-1])
        page_mb = (place / "report.html").stat().st_size / 1e6
    name = f"report of {n_trials:,} trials"
    figures = ((name, wall_s, "s"), (f"{name}, memory", peak_mb, "MB"))
    for title, value, unit in (*figures, (f"{name}, page", page_mb, "MB")):
        yield Measurement(benchmark="report", name=title, value=value, unit=unit)
