"""What the fault tests share: a tiny sweep, the command as its own process, and what must hold."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from study.results import finished_ids, read_table
from study.results.folder import ResultsError, open_folder

ROOT = Path(__file__).resolve().parents[2]
HOOKS = Path(__file__).parent / "hooks"
# How often a fault is tried: 200 is the full number, a tenth is for every change.
# A run takes seconds; on a crowded machine, minutes.
PATIENCE_S = 900.0
FAULTS = int(os.environ.get("FAULTS", "20"))
TABLES = ("trials", "controls", "curves", "counts", "components", "recall", "outside", "points")
# When, in which stack and how fast: all else must be equal.
CIRCUMSTANCES = ("stack_id", "train_s", "count_s", "endpoints_s", "finished_at", "dirty")
ALLOWED = re.compile(
    r"manifest\.json|[a-z]+\.parquet|weights/[0-9a-f]{16}\.parquet|runs/[0-9a-f]{16}\.json"
)
TINY = """
name: tiny
question: Is anything lost?
fixed:
  mixture.n_samples: 200
  mixture.n_components: 3
  model.hidden: [8]
  training.epochs: 2
  detection.n_samples: 100
  detection.k_max: 3
  detection.sources: [data, means]
  resources.stack_size: 2
grid:
  model.latent_dim: [1, 2]
replicates: {data: 2, init: 2}
"""


@dataclass
class Bench:
    """A folder with a sweep file, where its command runs as its own process."""

    place: Path
    text: str = TINY
    env: dict[str, str] = field(default_factory=dict)
    n_runs: int = 0

    def __post_init__(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "tiny.yaml").write_text(self.text)
        self.log = self.place / "events.jsonl"
        self.log.touch()

    @property
    def results(self) -> Path:
        return self.place / "results" / "tiny"

    def command(self, *options: str, results: str | None = None) -> list[str]:
        place = results or str(self.place / "results")
        file = str(self.place / "tiny.yaml")
        fixed = ["--results", place, "--workers", "2"]
        return [sys.executable, "-m", "study.sweep", file, *fixed, *options]

    def environment(self) -> dict[str, str]:
        """Say what the hooks read."""
        return {
            "FAULT_LOG": str(self.log),
            "FAULT_RUN": str(self.n_runs),
            "FAULT_ONCE": str(self.place / f"once-{self.n_runs}"),
            **self.env,
        }

    def start(
        self, *options: str, results: str | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Start the command in a process group of its own."""
        self.n_runs += 1
        return subprocess.Popen(
            self.command(*options, results=results),
            env={
                **os.environ,
                "PYTHONPATH": f"{HOOKS}:{ROOT}",
                "OMP_NUM_THREADS": "1",
                **self.environment(),
                **env,
            },
            cwd=self.place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Tests that run in the background of a shell inherit an ignored one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *options: str, **env: str) -> tuple[int, str, str]:
        """Run the command to its end."""
        with self.start(*options, **env) as process:
            try:
                out, err = process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                raise AssertionError(f"the command hangs\n{out}\n{err}") from None
        return process.returncode, out, err

    def finished(self) -> set[str]:
        """List the finished trials; while files are damaged, none is known."""
        try:
            return set(finished_ids(open_folder(self.results)))
        except ResultsError:
            return set()

    def events(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines]

    def recomputed(self, before: Mapping[int, set[str]]) -> set[str]:
        """List trials that were trained though their run could know that they were finished."""
        again: set[str] = set()
        landed: dict[int, set[str]] = {run: set(ids) for run, ids in before.items()}
        for event in sorted(self.events(), key=lambda event: event["at"]):
            known = landed.setdefault(int(event["run"]), set())
            known |= set(event.get("landed", ()))
            again |= known & set(event.get("training", ()))
        return again

    def strays(self) -> list[str]:
        """List the files that a finished sweep should not have."""
        files = [p.relative_to(self.results) for p in self.results.rglob("*") if p.is_file()]
        return [str(file) for file in files if not ALLOWED.fullmatch(str(file))]


def read_all(location: str | Path) -> dict[str, pd.DataFrame]:
    """Read every table without what may differ, in an order of its own."""
    frames = {name: comparable(read_table(location, name)) for name in TABLES}
    weights = open_folder(location).read_raw("weights").to_pandas()
    weights = weights.drop_duplicates(["training_id", "name"]).drop(columns="shape")
    return {**frames, "weights": comparable(weights)}


def comparable(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.drop(columns=[name for name in CIRCUMSTANCES if name in frame])
    keys = [c for c in frame.columns if c.endswith("_id")]
    keys += [c for c in ("source", "protocol", "name") if c in frame]
    keys += [c for c in ("epoch", "k", "index", "component", "threshold") if c in frame]
    return frame.sort_values(keys, kind="stable").reset_index(drop=True)


def assert_equal(found: Mapping[str, pd.DataFrame], wanted: Mapping[str, pd.DataFrame]) -> None:
    for name, frame in wanted.items():
        pd.testing.assert_frame_equal(found[name], frame, obj=name)


def descendants(pid: int) -> dict[int, str]:
    """Map the processes below one to their command lines."""
    found: dict[int, str] = {}
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat[1])
            found[int(entry.name)] = line
    below = {pid}
    grown = True
    while grown:
        more = {child for child, parent in parents.items() if parent in below} - below
        grown = bool(more)
        below |= more
    return {child: found[child] for child in below - {pid}}


def wait_for(condition: Any, *, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)
