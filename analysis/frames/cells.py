"""Cells, their trials and seeds: what every frame starts from. Cells keep the sweep's order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from analysis.load import Results, remembered
from analysis.statistics import intervals as stats
from study.results import PROTOCOLS, SOURCES, count_columns


def columns_of_counts() -> list[str]:
    """List what a count needs: its columns, its seeds and its range."""
    counts = (name for s in SOURCES for p in PROTOCOLS for name in count_columns(s, p))
    return ["control_id", "data_seed", "n_components", "k_min", "k_max", "k_id", *counts]


def named_rows(frame: pd.DataFrame) -> list[Any]:
    """List a frame's rows as named tuples; a place to say once that columns have no types."""
    return list(frame.itertuples(index=False))


def done_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Keep the trials that were trained and measured to the end."""
    return trials[trials["status"] == "done"]


def cells(results: Results) -> pd.DataFrame:
    """Count each cell's trials, finished or not.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, n_planned, n_done, n_stopped (by a search, early), n_failed (diverged,
        timed out, failed), n_missing (planned, not yet run), n_data and n_init (seeds among the
        finished). A cell is stopped for a bad early value: its trials are in no estimate, which
        they would bias, and in no bound for lost ones.
    """
    return _cells(results).copy()


@remembered
def _cells(results: Results) -> pd.DataFrame:
    trials, factors = results.trials, list(results.manifest.factors)
    planned = results.plan["cell"].value_counts()
    rows = []
    for cell, group in trials.groupby("cell", sort=False):
        done = done_trials(group)
        n_planned = int(planned.get(cell, len(group)))
        n_stopped = int(group["status"].eq("stopped").sum())
        rows.append(
            {"cell": cell}
            | {name: group[name].iloc[0] for name in factors}
            | {
                "n_planned": n_planned,
                "n_done": len(done),
                "n_stopped": n_stopped,
                "n_failed": len(group) - len(done) - n_stopped,
                "n_missing": n_planned - len(group),
                "n_data": done["data_seed"].nunique(),
                "n_init": done["init_seed"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def owed_trials(results: Results) -> pd.Series:
    """Count the trials of each cell that should have a value: the planned less the stopped."""
    frame = cells(results).set_index("cell")
    return frame["n_planned"] - frame["n_stopped"]


def lost_controls(results: Results) -> pd.DataFrame:
    """List the mixtures whose control was not counted: control_id, status, message."""
    lost = results.controls[results.controls["status"] != "done"]
    return lost[["control_id", "status", "message"]].reset_index(drop=True)


def independent_factors(cell_frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """Order the factors for drawing: the x axis first, then those that split panels.

    x is the numeric factor with the most levels. A factor that another one already determines
    (axes that move together, a rule and the number it implies) is left out.
    """
    levels = {name: cell_frame[name].nunique() for name in factors}
    numeric = [name for name in factors if pd.api.types.is_numeric_dtype(cell_frame[name])]
    numeric = [name for name in numeric if not pd.api.types.is_bool_dtype(cell_frame[name])]
    ranked = sorted(factors, key=lambda name: (name not in numeric, -levels[name]))
    kept: list[str] = []
    for name in ranked:
        determined = kept and cell_frame.groupby(kept)[name].nunique().max() <= 1
        if levels[name] > 1 and not determined:
            kept.append(name)
    return kept


def interval_row(interval: stats.Interval, n_trials: int) -> dict[str, Any]:
    row = asdict(interval)
    row["n_data"] = row.pop("n_clusters")
    row["interval"] = row.pop("kind")
    return row | {"n_trials": n_trials}


def by_cell(
    results: Results, columns: Sequence[str] | None = None
) -> Iterable[tuple[dict[str, Any], pd.DataFrame]]:
    """Split the finished trials; cutting a hundred columns takes longer than what uses a few."""
    factors = list(results.manifest.factors)
    done = done_trials(results.trials)
    if columns is not None:
        done = done[list(dict.fromkeys(["cell", *factors, *columns]))]
    for cell, group in done.groupby("cell", sort=False):
        yield {"cell": cell} | {name: group[name].iloc[0] for name in factors}, group


def counted_pairs(trials: pd.DataFrame) -> list[tuple[str, str]]:
    """List the (source, protocol) pairs that at least one trial counted."""
    pairs = [(source, protocol) for protocol in PROTOCOLS for source in SOURCES]
    return [pair for pair in pairs if trials[count_columns(*pair)[0]].notna().any()]
