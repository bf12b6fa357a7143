"""Run random finished trials again and compare: `python -m study.verify results/NAME`.

Each trial is trained and measured from its configuration alone, as a stack of one, in a process of
its own; no recorded row is used. On the same kind of processor with the same versions every number
must be equal bit for bit, elsewhere within `TOLERANCE`. The outcome is written to
`results/NAME/verify.json`. Exit status: 0 equal, 1 different, 2 nothing could be compared.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from study.config import SweepError, read_resolved
from study.display.console import guard_output, make_console, say_error
from study.display.text import as_text
from study.exchange.crate import require_whole
from study.execution.exit_status import ExitStatus
from study.planning.units import Stack, Trial, expand, plan_controls, stage_versions
from study.plugins import PluginError, add_option, install, load_plugins, loaded, require
from study.results import finished_ids, printable, timestamp
from study.results.folder import (
    ResultsError,
    ResultsFolder,
    first_line,
    open_folder,
    whole_location,
)
from study.results.provenance import provenance
from study.results.record import CERTIFICATE, drop_doubles
from study.results.tables import (
    KEYS,
    PROVENANCE_FIELDS,
    SCHEMA_VERSION,
    pandas_type,
    to_table,
)
from study.sweep import say_missing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What two runs of a trial may differ in; `cell` is named by the whole sweep.
CIRCUMSTANCES = {"stack_id", "train_s", "count_s", "endpoints_s", "cell"}
CIRCUMSTANCES |= {name for name, _ in PROVENANCE_FIELDS}
# What must agree for equality to the bit.
SAME = ("cpu", "torch", "numpy", "sklearn", "python", "device")
# Elsewhere float32 sums end in other digits, which a training amplifies.
TOLERANCE = {"relative": 0.05, "absolute": 0.05, "whole_numbers": 2}
# Coordinates and weights are only comparable to the bit.
BIT_ONLY = ("points", "weights")
# Kept by `results/NAME/weights` and the gallery, which need not be there.
OPTIONAL = ("points", "weights", "nulls")
MOST_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One number that is not what was recorded."""

    table: str
    row: str
    column: str
    recorded: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What running one trial again gave.

    Parameters
    ----------
    trial_id, cell : str
    seeds : tuple of int
        Data, init and sample seed.
    recorded_commit : str
        Of the code that made the row.
    result : str
        "equal", "different" or "failed".
    compared : str
        "to the bit", or "within tolerance" and why.
    n_numbers, n_differences : int
    differences : tuple of Difference
        The first few.
    """

    trial_id: str
    cell: str
    seeds: tuple[int, int, int]
    recorded_commit: str
    result: str
    compared: str
    n_numbers: int
    n_differences: int
    differences: tuple[Difference, ...]


def run_again(trial: Trial) -> dict[str, pa.Table]:
    """Train and measure one trial and count its control, in this process."""
    import torch

    from study.trial.stack import run_controls, run_stack

    torch.set_num_threads(1)
    tables = run_stack(Stack(trials=(trial,)))
    for batch in plan_controls([trial], n_workers=1):
        for name, rows in run_controls(batch).items():
            tables.setdefault(name, []).extend(rows)
    return {name: to_table(name, rows) for name, rows in tables.items()}


def choose(folder: ResultsFolder, name: str, *, n_trials: int, seed: int) -> list[Trial]:
    """Choose finished trials of a results folder at random.

    Raises
    ------
    ResultsError
        None can be run again by this code; the message says why.
    """
    manifest = folder.read_manifest()
    require(manifest.get("plugins", {}), place=name)
    try:
        sweep = read_resolved(manifest.get("sweep", {}), place=f"{name}/manifest.json")
    except SweepError as error:
        raise ResultsError(f"{error}; this code cannot run that sweep again") from None
    if sweep.search is not None:
        raise ResultsError(f"{name}: trials of an adaptive sweep cannot be verified yet")
    ended = finished_ids(folder)
    done = [trial for trial in expand(sweep) if ended.get(trial.trial_id) == "done"]
    if not done:
        raise ResultsError(_why_none(folder, name, manifest, n_done=len(ended)))
    return random.Random(seed).sample(done, min(n_trials, len(done)))


def _why_none(
    folder: ResultsFolder, name: str, manifest: Mapping[str, Any], *, n_done: int
) -> str:
    if not n_done:
        return f"{name}: no trial is finished yet"
    now = stage_versions()
    then = manifest.get("versions", {})
    older = [
        f"{stage} {then.get(stage, 'unknown')} (this code: {version})"
        for stage, version in now.items()
        if then.get(stage) != version
    ]
    commit = str(manifest.get("commit", "unknown"))[:12]
    return (
        f"{name}: its rows were made by other stage versions: {', '.join(older) or 'unknown'}; "
        f"check out commit {commit} to verify them, or run the sweep again"
    )


def compare_trial(folder: ResultsFolder, trial: Trial, found: Mapping[str, pa.Table]) -> Verdict:
    """Compare what was recorded of a trial and its control with what running it again gave.

    Parameters
    ----------
    folder : ResultsFolder
    trial : Trial
    found : mapping of str to Table
        As `run_again` returns.
    """
    keys = {"control_id": trial.control_id, "training_id": trial.training_id}
    recorded = {name: _recorded_rows(folder, name, trial, keys) for name in found}
    row = recorded["trials"].iloc[0]
    here = {**provenance(), "device": found["trials"]["device"][0].as_py()}
    other = [name for name in SAME if row[name] != here[name]]
    n_numbers, differences = 0, []
    for name, table in found.items():
        if (name in BIT_ONLY and other) or (name in OPTIONAL and not len(recorded[name])):
            continue
        is_old = row["schema_version"] < SCHEMA_VERSION
        n, unlike = compare_rows(
            name, recorded[name], _frame(name, table), exactly=not other, ignore_absent=is_old
        )
        n_numbers += n
        differences += unlike
    return Verdict(
        trial_id=trial.trial_id,
        cell=trial.cell,
        seeds=(trial.data_seed, trial.init_seed, trial.sample_seed),
        recorded_commit=str(row["commit"]),
        result="different" if differences else "equal",
        compared=f"within tolerance: other {', '.join(other)}" if other else "to the bit",
        n_numbers=n_numbers,
        n_differences=len(differences),
        differences=tuple(differences[:MOST_LISTED]),
    )


def _recorded_rows(
    folder: ResultsFolder, name: str, trial: Trial, keys: Mapping[str, str]
) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.compute as pc

    key = KEYS[name][0]
    owners = [trial.trial_id, keys["control_id"]] if key == "owner_id" else [keys.get(key, "")]
    if key == "trial_id":
        owners = [trial.trial_id]
    raw = folder.read_raw(name)
    return _frame(name, raw.filter(pc.is_in(raw[key], pa.array(owners, pa.string()))))


def _frame(name: str, table: pa.Table) -> pd.DataFrame:
    frame = drop_doubles(name, table.to_pandas(types_mapper=pandas_type))
    return frame.sort_values(list(KEYS[name]), ignore_index=True)


def compare_rows(
    name: str,
    recorded: pd.DataFrame,
    found: pd.DataFrame,
    *,
    exactly: bool,
    ignore_absent: bool = False,
) -> tuple[int, list[Difference]]:
    """Compare the rows of one table.

    Parameters
    ----------
    name : str
        A key of `SCHEMAS`.
    recorded, found : DataFrame
        Sorted by the table's key.
    exactly : bool
        To the bit; otherwise within `TOLERANCE`.
    ignore_absent : bool
        Accept a value that is not recorded: an older schema had no place for it.

    Returns
    -------
    n_numbers : int
        Values compared.
    differences : list of Difference
    """
    key = list(KEYS[name])
    n_numbers, unlike = 0, []
    if not recorded[key].equals(found[key]):
        unlike = _compare_lengths(name, recorded, found, exactly=exactly)
        if exactly:
            return 0, unlike
        shared = recorded[key].merge(found[key])
        recorded, found = recorded.merge(shared, on=key), found.merge(shared, on=key)
    columns = [
        c for c in map(str, recorded) if c in found and c not in CIRCUMSTANCES and c not in key
    ]
    for column in columns:
        pairs = zip(recorded[column], found[column], strict=True)
        for index, (old, new) in enumerate(pairs):
            if ignore_absent and _is_absent(old):
                continue
            n_numbers += 1
            if not _is_same(old, new, exactly=exactly):
                where = " ".join(str(recorded[part].iloc[index]) for part in key)
                unlike.append(
                    Difference(
                        table=name, row=where, column=column, recorded=_show(old), found=_show(new)
                    )
                )
    return n_numbers, unlike


def _compare_lengths(
    name: str, recorded: pd.DataFrame, found: pd.DataFrame, *, exactly: bool
) -> list[Difference]:
    """Return which groups of rows, equal in all but the last part of the key, differ in length.

    A curve ends where it no longer rises: within tolerance it may be as much longer or shorter as
    the number that it chooses may be larger or smaller.
    """
    *group, last = KEYS[name]
    if exactly or not group:
        counts = f"{len(recorded)} rows", f"{len(found)} rows"
        return [Difference(table=name, row="all", column="", recorded=counts[0], found=counts[1])]
    rows = recorded[[*group, last]].merge(
        found[[*group, last]], how="outer", indicator="where", validate="one_to_one"
    )
    unlike = []
    for values, part in rows.groupby(group, dropna=False):
        n_old, n_new = (
            int((part["where"] != other).sum()) for other in ("right_only", "left_only")
        )
        if int((part["where"] != "both").sum()) > TOLERANCE["whole_numbers"]:
            where = " ".join(map(str, values))
            counts = f"{n_old} rows", f"{n_new} rows"
            unlike.append(
                Difference(table=name, row=where, column="", recorded=counts[0], found=counts[1])
            )
    return unlike


def _show(value: Any) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)[:80]


def _is_absent(value: Any) -> bool:
    import pandas as pd

    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _is_same(old: Any, new: Any, *, exactly: bool) -> bool:
    if _is_absent(old) or _is_absent(new):
        return _is_absent(old) and _is_absent(new)
    if hasattr(old, "__len__") and not isinstance(old, str | bytes):
        return len(old) == len(new) and all(
            _is_same(a, b, exactly=exactly) for a, b in zip(old, new, strict=True)
        )
    if exactly or isinstance(old, str | bytes):
        return bool(old == new)
    if isinstance(old, int | float) or hasattr(old, "item"):
        if float(old).is_integer() and float(new).is_integer():
            return bool(abs(float(old) - float(new)) <= TOLERANCE["whole_numbers"])
        return math.isclose(old, new, rel_tol=TOLERANCE["relative"], abs_tol=TOLERANCE["absolute"])
    return bool(old == new)


def verify(folder: ResultsFolder, trials: Sequence[Trial], console: Console) -> list[Verdict]:
    """Run trials again, one process each, and compare them with what is recorded."""
    verdicts = []
    context = multiprocessing.get_context("spawn")
    for index, trial in enumerate(trials, start=1):
        console.print(as_text(f"trial {index} of {len(trials)}: {trial.cell} ..."))
        with ProcessPoolExecutor(
            1, mp_context=context, initializer=install, initargs=(loaded(),)
        ) as pool:
            try:
                found = pool.submit(run_again, trial).result()
            except ModuleNotFoundError:
                raise  # Nothing can be run again here.
            except Exception as error:
                verdicts.append(_failed(trial, error))
                continue
        verdicts.append(compare_trial(folder, trial, found))
    return verdicts


def _failed(trial: Trial, error: Exception) -> Verdict:
    return Verdict(
        trial_id=trial.trial_id,
        cell=trial.cell,
        seeds=(trial.data_seed, trial.init_seed, trial.sample_seed),
        recorded_commit="",
        result="failed",
        compared=f"{type(error).__name__}: {error}"[:500],
        n_numbers=0,
        n_differences=0,
        differences=(),
    )


def certificate(name: str, verdicts: Sequence[Verdict], *, seed: int) -> dict[str, Any]:
    """Return the certificate of a verification of the results of this name."""
    is_exact = all(verdict.compared == "to the bit" for verdict in verdicts)
    return {
        "results": name,
        "verified_at": timestamp(),
        "equal": all(verdict.result == "equal" for verdict in verdicts),
        "n_trials": len(verdicts),
        "n_equal": sum(verdict.result == "equal" for verdict in verdicts),
        "n_numbers": sum(verdict.n_numbers for verdict in verdicts),
        "tolerance": None if is_exact else TOLERANCE,
        "seed": seed,
        "stages": stage_versions(),
        **provenance(),
        "trials": [asdict(verdict) for verdict in verdicts],
    }


def _print_verdicts(verdicts: Sequence[Verdict], console: Console) -> None:
    table = Table("cell", "seeds", "numbers", "result", "compared", box=None, pad_edge=False)
    for verdict in verdicts:
        seeds = " ".join(map(str, verdict.seeds))
        result = verdict.result
        if verdict.n_differences:
            result += f" ({verdict.n_differences})"
        words = (verdict.cell, seeds, str(verdict.n_numbers), result, verdict.compared)
        table.add_row(*map(as_text, words))
    console.print(table)
    for verdict in verdicts:
        for item in verdict.differences[:3]:
            line = (
                f"  {verdict.trial_id} {item.table}.{item.column} {item.row}: "
                f"recorded {item.recorded}, now {item.found}"
            )
            console.print(as_text(line), soft_wrap=True)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m study.verify",
        description="Run random finished trials again from scratch and compare every number.",
    )
    parser.add_argument(
        "path", nargs="?", help="results folder or s3:// URI, such as results/latent_dims"
    )
    parser.add_argument(
        "--from",
        dest="published",
        metavar="FILE.zip",
        help="a published file in place of a folder; its checksums are compared first",
    )
    parser.add_argument(
        "-n", type=int, default=5, metavar="N", help="number of trials to run again (default: 5)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed for choosing the trials (default: 0)"
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
    parser = build_parser()
    options = parser.parse_args(argv)
    if options.n < 1:
        parser.error(f"-n must be at least 1, not {options.n}")
    if (options.path is None) == (options.published is None):
        parser.error("name a results folder, or a published file with --from")
    options.path = options.path or options.published
    console = make_console()
    try:
        load_plugins(options.plugins)
        if options.published is not None:
            require_whole(options.published)
        folder = open_folder(whole_location(options.path.rstrip("/")))
        trials = choose(folder, options.path, n_trials=options.n, seed=options.seed)
        verdicts = verify(folder, trials, console)
        outcome = certificate(PurePath(options.path).name, verdicts, seed=options.seed)
    except ModuleNotFoundError as error:
        return say_missing(error)
    except (ResultsError, PluginError, OSError) as error:
        say_error(f"error: {printable(error)}")
        return ExitStatus.USAGE
    _print_verdicts(verdicts, console)
    where = _write_certificate(folder, outcome, f"{options.path.rstrip('/')}/{CERTIFICATE}")
    summary = f"{outcome['n_equal']} of {len(verdicts)} trials equal, {outcome['n_numbers']:,}"
    console.print(as_text(f"{summary} numbers; {where}"), soft_wrap=True)
    return ExitStatus.DONE if outcome["equal"] else ExitStatus.FAILED


def _write_certificate(folder: ResultsFolder, outcome: Mapping[str, Any], place: str) -> str:
    """Write the certificate, and say where; what was found does not depend on it."""
    try:
        folder.write_bytes(CERTIFICATE, json.dumps(outcome, indent=1).encode())
    except OSError as error:
        return f"not written down, since {place} cannot be written ({first_line(error)})"
    return f"written to {place}"


if __name__ == "__main__":
    sys.exit(main())
