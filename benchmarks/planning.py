"""What planning a sweep costs its driver, without Ray: `python -m benchmarks.planning`.

Each size runs in a process of its own: expanding the sweep, cutting it into units, writing
plan.parquet, reading it again, and what one share of many plans. CPU seconds and peak memory.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

SWEEP = """
name: scale
grid:
  model.latent_dim: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
  training.kl_weight: [0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
replicates: {data: %d, init: 10}
"""
TRIALS_A_SEED = 1000


def measure(n_trials: int, n_workers: int) -> dict[str, float]:
    """Plan one sweep in this process.

    Parameters
    ----------
    n_trials : int
        A multiple of 1,000.
    n_workers : int
        Units that run at once.
    """
    from pathlib import Path

    from study.config import load_sweep
    from study.execution.run import write_plan
    from study.planning.packing import plan_units
    from study.planning.units import expand
    from study.results import open_folder, read_table

    seconds: dict[str, float] = {}
    start_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "scale.yaml"
        file.write_text(SWEEP % (n_trials // TRIALS_A_SEED))
        begun = time.process_time()
        sweep = load_sweep(file)
        trials = expand(sweep)
        seconds["expand_s"] = time.process_time() - begun
        begun = time.process_time()
        units = plan_units(trials, n_workers=n_workers)
        seconds["units_s"] = time.process_time() - begun
        folder = open_folder(f"{scratch}/results")
        begun = time.process_time()
        write_plan(folder, sweep, trials)
        seconds["write_plan_s"] = time.process_time() - begun
        size_mb = (Path(folder.path) / "plan.parquet").stat().st_size / 1e6
        begun = time.process_time()
        read_table(folder, "plan")
        seconds["read_plan_s"] = time.process_time() - begun
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = {"n_trials": len(trials), "n_units": len(units), "plan_mb": size_mb}
    return {**counts, **seconds, "peak_mb": peak_mb, "above_start_mb": peak_mb - start_mb}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--one", type=int, help="measure one size in this process, as JSON")
    options = parser.parse_args(argv)
    if options.one is not None:
        print(json.dumps(measure(options.one, options.workers)))
        return 0
    rows = []
    for size in options.sizes:
        command = [sys.executable, "-m", "benchmarks.planning", "--one", str(size)]
        done = subprocess.run(
            [*command, "--workers", str(options.workers)], capture_output=True, text=True
        )
        if done.returncode:
            print(f"{size}: ended with {done.returncode}: {done.stderr[-300:]}")
            continue
        rows.append(json.loads(done.stdout))
        print("  ".join(f"{key} {value:,.4g}" for key, value in rows[-1].items()), flush=True)
    for key in ("expand_s", "units_s", "write_plan_s", "read_plan_s", "above_start_mb"):
        if len(rows) > 1 and rows[0][key] > 0:
            ratio = math.log(rows[-1]["n_trials"] / rows[0]["n_trials"])
            print(f"{key}: n^{math.log(rows[-1][key] / rows[0][key]) / ratio:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
