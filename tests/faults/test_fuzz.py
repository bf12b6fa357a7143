"""Mutated sweep files and tables: a clear error or a correct answer, nothing else."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.config import Sweep, SweepError, load_sweep
from study.results.folder import join_location, open_folder
from tests.faults.harness import FAULTS, ROOT, TINY

N_SWEEP_FILES = 100 * FAULTS
N_TABLES = 10 * FAULTS
SLOW_S = 20.0
# What YAML, numbers and paths can be bad with.
TOKENS = (
    "!!python/object/apply:os.system [id]", "&a", "*a", "<<: *a", "{", "[", "]", ":", "- ", "\t",
    "...", "---", "%YAML 9.9", "null", "~", ".nan", ".inf", "-0", "1e999", "9" * 60, "0x10",
    "1_000", "yes", "../../escape", "/etc/passwd", "\x00", "\ufeff", "\u202e", "é", "name:",
    "2026-01-01", "? ", "| ", "> ", '"', "'", "#", "{linspace: {start: 0, stop: 1, num: 5}}",
    "{range: [1, 1000000000]}", "name: ../x", "name: CON", "name: .", "blocks:", "zip:",
)  # fmt: skip
TABLES = ("plan", "trials", "curves", "counts", "components", "controls")
pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(3600)]


def mutate_text(rng: random.Random, content: bytes) -> bytes:
    """Change a text in one to four places."""
    for _ in range(rng.randint(1, 4)):
        content = mutate_once(rng, content)
    return content


def mutate_once(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    lines = content.split(b"\n")
    line = rng.randrange(len(lines))
    kind = rng.randrange(7)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    if kind == 2:
        return content[:at] + rng.choice(TOKENS).encode() + content[at:]
    if kind == 3:
        lines[line] = lines[rng.randrange(len(lines))]
    elif kind == 4:
        del lines[line]
    elif kind == 5:
        lines[line] = rng.choice((b" ", b"  ", b"\t")) + lines[line]
    else:
        key, colon, _ = lines[line].partition(b":")
        lines[line] = key + colon + b" " + rng.choice(TOKENS).encode()
    return b"\n".join(lines)


def test_mutated_sweep_files(tmp_path: Path) -> None:
    rng = random.Random(7)
    sources = [path.read_bytes() for path in sorted((ROOT / "sweeps").glob("*.yaml"))]
    sources.append(TINY.encode())
    file = tmp_path / "mutated.yaml"
    n_accepted = 0
    for index in range(N_SWEEP_FILES):
        content = mutate_text(rng, rng.choice(sources))
        file.write_bytes(content)
        started = time.monotonic()
        outcome = load(file)
        if isinstance(outcome, SweepError):
            assert re.fullmatch(r"[^\n]+", str(outcome)), content
        else:
            assert isinstance(outcome, Sweep), (index, outcome, content)
            n_accepted += 1
            place = Path(join_location(str(tmp_path / "results"), outcome.name))
            assert place.resolve().parent == (tmp_path / "results").resolve(), content
            assert re.fullmatch(r"[A-Za-z0-9][\w-]*", outcome.name), content
        assert time.monotonic() - started < SLOW_S, content
    assert [path.name for path in tmp_path.iterdir()] == ["mutated.yaml"]
    assert 0 < n_accepted < N_SWEEP_FILES
    print(f"{N_SWEEP_FILES} sweep files, {n_accepted} of them accepted")


def load(file: Path) -> Sweep | BaseException:
    try:
        return load_sweep(file)
    except BaseException as error:
        return error


READER = """
import sys, resource
from pathlib import Path
import pandas as pd
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
from study.results import ResultsError, read_table
whole, *mutants = sys.argv[1:]
wanted = {}
for place in mutants:
    name = Path(place).name.split("-")[0]
    if name not in wanted:
        wanted[name] = read_table(whole, name)
    try:
        found = read_table(place, name)
        pd.testing.assert_frame_equal(found, wanted[name])
        print("equal", place, flush=True)
    except ResultsError as error:
        print("refused" if chr(10) not in str(error) else "LINES", place, flush=True)
    except AssertionError as error:
        print("WRONG", place, str(error).splitlines()[0], flush=True)
    except BaseException as error:
        print("RAISED", place, type(error).__name__, repr(error)[:200], flush=True)
"""


def mutate_bytes(rng: random.Random, content: bytes) -> bytes:
    """Cut, flip or exchange bytes, in the footer as often as in the rest."""
    kind = rng.randrange(4)
    if kind == 0:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    footer = int.from_bytes(content[-8:-4], "little") + 8
    low = 0 if kind == 1 else len(content) - footer
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(low, len(content))
        changed[at] = changed[at] ^ (1 << rng.randrange(8)) if kind < 3 else rng.randrange(256)
    return bytes(changed)


def test_mutated_tables(tmp_path: Path) -> None:
    rng = random.Random(11)
    whole = tmp_path / "whole"
    write_whole(whole)
    places = []
    for index in range(N_TABLES):
        name = rng.choice(TABLES)
        place = tmp_path / f"{name}-{index}"
        place.mkdir()
        for file in whole.glob("*.parquet"):
            if file.stem == name:
                (place / file.name).write_bytes(mutate_bytes(rng, file.read_bytes()))
            else:
                os.symlink(file, place / file.name)
        places.append(str(place))
    outcomes = read_in_processes(whole, places)
    bad = {place: text for place, text in outcomes.items() if text not in ("equal", "refused")}
    assert bad == {}
    n_refused = sum(text == "refused" for text in outcomes.values())
    print(f"{N_TABLES} tables: {n_refused} refused, the others read as before")


def write_whole(folder: Path) -> None:
    """Copy results that are kept, written as this version writes: with check sums."""
    shutil.copytree(ROOT / "results" / "original", folder, ignore=shutil.ignore_patterns("fig*"))
    opened = open_folder(folder)
    for file in folder.glob("*.parquet"):
        opened.write_table(file.name, opened.read_raw(file.stem))


def read_in_processes(whole: Path, places: list[str]) -> dict[str, str]:
    """Read each place in a process that may die; what it was reading then is to blame."""
    outcomes: dict[str, str] = {}
    left = list(places)
    while left:
        batch = left[:200]
        command = [sys.executable, "-c", READER, str(whole), *batch]
        output = ""
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
            output = done.stdout
        except subprocess.TimeoutExpired as expired:
            output = (expired.stdout or b"").decode()
        for line in output.splitlines():
            outcome, place, *rest = line.split(" ", 2)
            outcomes[place] = " ".join((outcome, *rest))
        dead = next((place for place in batch if place not in outcomes), None)
        if dead is not None:
            outcomes[dead] = "died or hung"
        left = [place for place in left if place not in outcomes]
    return outcomes
