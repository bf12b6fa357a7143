"""Read a results folder into frames.

`study.results` owns names, units and file layout; this module adds what an analysis needs: one
object for a whole sweep, and one clear error when there is nothing to analyse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from study.results import ResultsError, check_lineage, config_fields, open_folder, read_table

_SEEDS = ("data_seed", "init_seed", "sample_seed")
# How a column of its own is said, which is not what it is.
_RULES = ("box_rule", "noise_rule")
_TRIAL_TABLES = ("curves", "components", "recall", "outside", "points")

Settings = ParamSpec("Settings")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What was asked of a sweep.

    Parameters
    ----------
    name, question : str
    factors : tuple of str
        Columns of the trials table that the sweep varies; seeds are not among them.
    sweep : mapping
        The resolved sweep file.
    sweep_hash, commit : str
    n_trials : int
        Planned trials.
    versions : mapping
        Of each stage's code (data, training, scoring) when the sweep was planned.
    """

    name: str
    question: str
    factors: tuple[str, ...]
    sweep: Mapping[str, Any]
    sweep_hash: str
    commit: str
    n_trials: int
    versions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Results:
    """All tables of the sweep at `location`, a path or URI.

    `plan` has a row for each planned trial, finished or not. `infinite` counts, by column, values
    of trials that were infinite and are missing here.

    Two objects are equal only if they are the same one, and what is `remembered` of one goes when
    it does.
    Tables that were not kept (point galleries stay out of version control) are empty frames.
    `copies` names the cells that are left out because another one is the same, and that one.
    """

    location: str
    manifest: Manifest
    plan: pd.DataFrame
    trials: pd.DataFrame
    controls: pd.DataFrame
    curves: pd.DataFrame
    counts: pd.DataFrame
    components: pd.DataFrame
    recall: pd.DataFrame
    outside: pd.DataFrame
    points: pd.DataFrame
    nulls: pd.DataFrame
    infinite: Mapping[str, int] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    # What functions found out about these tables; `remembered` fills it.
    memory: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)

    @property
    def path(self) -> Path:
        """The folder, where it is a local one."""
        return Path(self.location)


def remembered(
    function: Callable[Concatenate[Results, Settings], Found],
) -> Callable[Concatenate[Results, Settings], Found]:
    """Let a function of results and hashable settings do its work once for each of them.

    Callers get the same object every time: it is not to be altered.
    """

    @wraps(function)
    def look_up(results: Results, *args: Settings.args, **kwargs: Settings.kwargs) -> Found:
        key = (look_up, args, tuple(sorted(kwargs.items())))
        if key not in results.memory:
            results.memory[key] = function(results, *args, **kwargs)
        found: Found = results.memory[key]
        return found

    return look_up


def load_manifest(path: str | Path) -> Manifest:
    """Read what a sweep asked.

    Raises
    ------
    ResultsError
        There is no manifest, or it has another schema version.
    """
    folder = open_folder(path)
    check_lineage(folder)
    raw = folder.read_manifest()
    return Manifest(
        name=str(raw.get("name", Path(path).name)),
        question=str(raw.get("question", "")),
        factors=tuple(raw.get("factors", ())),
        sweep=raw.get("sweep", {}),
        sweep_hash=str(raw.get("sweep_hash", "")),
        commit=str(raw.get("commit", "")),
        n_trials=int(raw.get("n_trials", 0)),
        versions=raw.get("versions", {}),
    )


def load_trials(path: str | Path) -> pd.DataFrame:
    """Read one row for each recorded trial, its mixture's control joined on.

    Parameters
    ----------
    path : path or URI
        The sweep's folder, such as results/latent_dims.

    Returns
    -------
    pandas.DataFrame
        Columns of `study.results.SCHEMAS["trials"]` and `k_id` (`identifiable_k`); failed and
        diverged trials included.

    Raises
    ------
    ResultsError
        The folder is absent, damaged, of another schema version, or holds no trial yet.
    """
    load_manifest(path)
    trials = read_table(path, "trials")
    if trials.empty:
        raise ResultsError(
            f"{path}: no trial is recorded here; run python -m study.sweep with its sweep file"
        )
    return trials.assign(k_id=identifiable_k(trials))


def without_infinities(trials: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Make infinite values missing: they have neither a mean nor a place on an axis.

    Returns
    -------
    pandas.DataFrame
        The trials.
    dict of str to int
        How many values each column lost.
    """
    names = [name for name in trials if trials[name].dtype.kind == "f"]
    bad = trials[names].isin([np.inf, -np.inf])
    counts = {str(name): int(n) for name, n in bad.sum().items() if n}
    kept = {name: trials[name].mask(bad[name]) for name in counts}
    return trials.assign(**kept), counts


def identifiable_k(trials: pd.DataFrame) -> pd.Series:
    """Give the number of components that BIC can tell apart in each trial's data set.

    It is where BIC is smallest over the detector's search on true data and EM started at the
    truth: the search's k where it found a fit at least as good (`control_gap` <= 0), else the
    true K. Missing where the control was not counted.

    Parameters
    ----------
    trials : pandas.DataFrame
        With the columns k_data_calibrated, control_gap and n_components.
    """
    found = trials["k_data_calibrated"].where(trials["control_gap"] <= 0, trials["n_components"])
    known = trials["k_data_calibrated"].notna() & trials["control_gap"].notna()
    return found.where(known)


def load_controls(path: str | Path) -> pd.DataFrame:
    """Read the counts of true data: one row for each mixture and way of counting."""
    return read_table(path, "controls")


def load_curves(path: str | Path) -> pd.DataFrame:
    """Read the training curves: one row for each trial and epoch."""
    return read_table(path, "curves")


def load_counts(path: str | Path) -> pd.DataFrame:
    """Read every likelihood and BIC: one row for each owner, source, protocol, epoch and k."""
    return read_table(path, "counts")


def load_components(path: str | Path) -> pd.DataFrame:
    """Read what became of each true component: one row for each trial and component."""
    return read_table(path, "components")


def load_recall(path: str | Path) -> pd.DataFrame:
    """Read the recall curves: one row for each trial, source and threshold."""
    return read_table(path, "recall")


def load_outside(path: str | Path) -> pd.DataFrame:
    """Read the shares outside the truth's ellipsoids: one row per trial, source and level.

    Rows of trials that were scored before version 5 have none.
    """
    return read_table(path, "outside")


def load_points(path: str | Path) -> pd.DataFrame:
    """Read the point galleries, or else the thinned one; empty when neither was kept."""
    points = read_table(path, "points")
    return points if len(points) else read_table(path, "gallery")


def load_nulls(path: str | Path) -> pd.DataFrame:
    """Read how models without a network score: one row for each control and null model."""
    return read_table(path, "nulls")


def load_results(path: str | Path) -> Results:
    """Read a whole sweep.

    Raises
    ------
    ResultsError
        As `load_trials`; or a factor of the manifest is not a column of the trials.
    """
    manifest = load_manifest(path)
    trials, infinite = without_infinities(load_trials(path))
    unknown = [name for name in manifest.factors if name not in trials]
    if unknown:
        raise ResultsError(f"{path}: manifest.json names factors {unknown} that no trial has")
    whole = Results(
        location=str(path),
        manifest=manifest,
        plan=read_table(path, "plan"),
        trials=trials,
        controls=load_controls(path),
        curves=load_curves(path),
        counts=load_counts(path),
        components=load_components(path),
        recall=load_recall(path),
        outside=load_outside(path),
        points=load_points(path),
        nulls=load_nulls(path),
        infinite=infinite,
    )
    return without_copies(whole)


def without_copies(results: Results) -> Results:
    """Leave out cells that are another cell in other words: the same trials, trained twice.

    A box of 10 and a box by the rule "density" are one mixture at 10 components; without hidden
    layers there is no activation; a batch is not larger than the data; and noise may be given as
    the model implies it. Of equal cells the one with most finished trials is kept, the first of
    several.
    """
    copies = _copies(results.trials)
    if not copies:
        return results
    trials = results.trials[~results.trials["cell"].isin(copies)].reset_index(drop=True)
    plan = results.plan[~results.plan["cell"].isin(copies)].reset_index(drop=True)
    controls = {*trials["control_id"].dropna(), *plan["control_id"].dropna()}
    owners = {*trials["trial_id"], *controls}
    kept: dict[str, Any] = {
        name: frame[frame["trial_id"].isin(owners)].reset_index(drop=True)
        for name in _TRIAL_TABLES
        if len(frame := getattr(results, name))
    }
    for name, key in (("counts", "owner_id"), ("controls", "control_id"), ("nulls", "control_id")):
        frame = getattr(results, name)
        if len(frame):
            kept[name] = frame[frame[key].isin(owners)].reset_index(drop=True)
    return replace(results, trials=trials, plan=plan, copies=copies, **kept)


def _copies(trials: pd.DataFrame) -> dict[str, str]:
    """Map each cell that is the same as another to the one that is kept."""
    heads = trials.drop_duplicates("cell")
    # A given mixture is in no column: its cells are told apart by their names.
    heads = heads[heads["box_rule"] != "given"]
    names = [name for name, _ in config_fields() if name not in (*_SEEDS, *_RULES)]
    alike = heads[names].assign(
        activation=heads["activation"].where(heads["hidden"] != "linear", "none"),
        batch_size=heads[["batch_size", "n_samples"]].min(axis=1),
    )
    n_done = trials[trials["status"] == "done"]["cell"].value_counts()
    copies: dict[str, str] = {}
    for _, rows in heads.groupby([alike[name] for name in names], sort=False, dropna=False):
        if len(rows) > 1 and rows["cell"].nunique() == len(rows) and _is_reworded(rows):
            ranked = sorted(rows["cell"], key=lambda cell: -int(n_done.get(cell, 0)))
            copies |= dict.fromkeys(ranked[1:], ranked[0])
    return copies


def _is_reworded(rows: pd.DataFrame) -> bool:
    """Whether cells of equal columns differ in how these are said, and not in what has none."""
    return not rows.duplicated([*_RULES, "activation", "batch_size"]).any()
