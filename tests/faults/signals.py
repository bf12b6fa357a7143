"""Ask runs to stop at given moments and look at what is left: `python -m tests.faults.signals`.

Each run has a temporary folder of its own, so that every folder and process that it leaves is
seen. Its trainings never end. The table goes to standard output, a row per run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tests.faults.harness import Bench, wait_for

HANGS = {"FAULT_POISON": json.dumps({"0": "hang", "1": "hang"})}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Processes that have been told to end are given this long to be gone.
GONE_S = 0.5
STEADY = "steady"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What became of one run.

    Parameters
    ----------
    at : float or str
        Seconds from the start of the process to the signal, or "steady": while it trains.
    signal : str
    status : int
        Of the process; negative: the signal that ended it.
    took_s : float
        From the signal to the end.
    processes, folders, locks : int
        What it left.
    tracebacks : int
        Printed by it.
    later_rays : int
        Clusters that it started after the signal.
    """

    at: float | str
    signal: str
    status: int
    took_s: float
    processes: int
    folders: int
    locks: int
    tracebacks: int
    later_rays: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing was left, and nothing happened that should not."""
        left = self.processes + self.folders + self.locks + self.tracebacks + self.later_rays
        return left == 0 and self.status in self.allowed

    @property
    def allowed(self) -> tuple[int, ...]:
        """The statuses that are documented: 130, or the signal's own while Python starts."""
        own = -signal.Signals[self.signal]
        is_early = self.at != STEADY and float(self.at) < 2.0
        return (130, own) if is_early else (130,)


def processes_in(place: Path) -> list[int]:
    """List the processes whose environment or command line names a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            texts = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if os.fsencode(place) in texts and not is_zombie:
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def stop_at(place: Path, at: float | str, number: int) -> Ending:
    """Run the command, ask it to stop once and look at what is left.

    Parameters
    ----------
    place : Path
        An empty folder for the sweep and its results.
    at : float or str
        As in `Ending`.
    number : int
        The signal.
    """
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="stop-", dir="/tmp") as short:
        scratch = Path(short)
        bench = Bench(place, env={**HANGS, "TMPDIR": short, "RAY_TMPDIR": short})
        started_at = time.monotonic()
        with bench.start() as process:
            try:
                _wait_until(bench, at, started_at)
                known = set(scratch.glob("ray-*"))
                process.send_signal(number)
                asked_at = time.monotonic()
                later = _watch(process, scratch, asked_at)
                took_s = time.monotonic() - asked_at
                out, err = process.communicate(timeout=120)
            finally:
                # Also where a check above failed: nothing of this run outlives it.
                process.kill()
        time.sleep(GONE_S)
        left = processes_in(scratch)
        folders = [path for path in scratch.iterdir() if path.is_dir()]
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
    return Ending(
        at=at,
        signal=signal.Signals(number).name,
        status=process.returncode,
        took_s=round(took_s, 1),
        processes=len(left),
        folders=len(folders),
        locks=len(list(bench.results.glob("lock*"))),
        tracebacks=(out + err).count("Traceback"),
        later_rays=len(later - known),
    )


def _wait_until(bench: Bench, at: float | str, started_at: float) -> None:
    if isinstance(at, str):
        hangs = lambda: any(event.get("training") for event in bench.events())  # noqa: E731
        wait_for(hangs, timeout_s=240, what="a training")
        time.sleep(0.5)
    else:
        time.sleep(max(0.0, started_at + at - time.monotonic()))


def _watch(process: subprocess.Popen[str], scratch: Path, asked_at: float) -> set[Path]:
    """Wait for the end; return the folders of Ray that were there after the signal."""
    seen: set[Path] = set()
    while process.poll() is None and time.monotonic() < asked_at + 90:
        time.sleep(0.05)
        # One that is being made when the signal comes is not a later one.
        if time.monotonic() > asked_at + 0.5:
            seen |= set(scratch.glob("ray-*"))
    return seen


def endings(moments: Sequence[float | str], numbers: Sequence[int]) -> Iterator[Ending]:
    """Stop one run at each moment, with the signals in turn."""
    for index, at in enumerate(moments):
        with tempfile.TemporaryDirectory(prefix="stopped-") as place:
            yield stop_at(Path(place), at, numbers[index % len(numbers)])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", type=float, default=12.0, help="of the start, in seconds")
    parser.add_argument("--step", type=float, default=0.2, help="between moments, in seconds")
    parser.add_argument("--steady", type=int, default=20, help="runs that are stopped in training")
    options = parser.parse_args()
    n = round(options.until / options.step)
    moments = [round(options.step * (i + 1), 2) for i in range(n)] + [STEADY] * options.steady
    names = [field.name for field in fields(Ending)]
    print("| " + " | ".join([*names, "clean"]) + " |")
    for ending in endings(moments, SIGNALS):
        values = [*(getattr(ending, name) for name in names), ending.is_clean]
        print("| " + " | ".join(map(str, values)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
