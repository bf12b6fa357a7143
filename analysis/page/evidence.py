"""Sentences about differences, their absence, the seeds' shares and how many seeds are needed.

Each is made from a frame and left out, or replaced by what cannot be said, where the design does
not carry it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.power import seeds_needed
from analysis.load import Results
from analysis.statistics.intervals import KIND_TEXT
from analysis.tables.table import quantity_name
from analysis.wording import notes as captions
from analysis.wording.names import SHORT_NAMES, cell_text, level_text, name_of
from study.results import endpoint as endpoint_record

ALPHA, POWER = 0.05, 0.8
QUANTITIES = ("fkl_nats", "spurious_mass", "k_samples_calibrated")
# A curve is searched up to so many data seeds.
MOST_SEEDS = 100


def short_name(endpoint: str) -> str:
    """Name an endpoint inside a sentence."""
    if endpoint == "k_samples_calibrated":
        return "k* of samples (calibrated)"
    return quantity_name(endpoint).split(" (")[0]


def unit_text(endpoint: str) -> str:
    """Return an endpoint's unit as it follows a number in a sentence."""
    record = endpoint_record(endpoint)
    unit = record.unit if record else ""
    return {"components": "component(s)", "nats": "nats"}.get(unit, f"({unit})" if unit else "")


def differences(results: Results) -> list[str]:
    """Say which cells differ from the reference cell in each primary endpoint, after Holm."""
    frame = summary.cell_contrasts(results)
    frame = frame.dropna(subset=["p_holm"]) if len(frame) else frame
    if frame.empty:
        return []
    against = cell_text(str(frame["reference"].iloc[0]))
    n = captions.count(len(frame), "comparison")
    found = []
    for name, rows in frame.groupby("endpoint", sort=False):
        clear = rows[rows["p_holm"] < ALPHA]
        parts = [
            f"{cell_text(r.cell)} ({r.estimate:+.3f} [{r.low:+.3f}, {r.high:+.3f}], "
            f"adjusted p = {r.p_holm:.2g})"
            for r in summary.named_rows(_largest(clear))
        ]
        more = f" and {len(clear) - len(parts)} more" if len(clear) > len(parts) else ""
        verdict = f"differs at {'; '.join(parts)}{more}" if parts else "differs at no cell"
        found.append(f"{short_name(str(name))} {verdict}")
    text = f"Against {against}, by sign-flip tests with Holm's adjustment over the {n} of the "
    text += "primary family: "
    note = captions.intervals(frame, what="Brackets")
    smallest = 2.0 ** (1 - int(frame["n_data"].max())) * len(frame)
    if smallest > ALPHA:
        note += (
            f" With {int(frame['n_data'].max())} data seeds the smallest possible adjusted p is "
            f"{min(smallest, 1):.2g}, so no comparison could have passed."
        )
    return [text + "; ".join(found) + f". {note}"]


def _largest(rows: pd.DataFrame, n: int = 4) -> pd.DataFrame:
    """Keep the rows of the largest differences, in the sweep's order."""
    kept = rows["estimate"].abs().sort_values(ascending=False).index[:n]
    return rows.loc[sorted(kept)]


def flat_ranges(results: Results) -> list[str]:
    """Say over which neighbouring levels nothing changes by more than the margin."""
    found = []
    done = summary.done_trials(results.trials)
    for name in QUANTITIES:
        if done[name].isna().all():
            continue
        frame = summary.equivalence(results, name)
        frame = frame.dropna(subset=["p"]) if len(frame) else frame
        if frame.empty or frame["factor"].nunique() > 1:
            continue
        levels, equal = _levels(frame)
        runs = [run for run in _runs(levels, equal) if len(run) > 1]
        column = str(frame["factor"].iloc[0])
        factor = SHORT_NAMES.get(column, name_of(column))
        margin = f"{frame['margin'].iloc[0]:g} {unit_text(name)}"
        tail = f"(two one-sided t tests at 5%, {int(frame['n_data'].max())} data seeds)"
        if runs:
            spans = " and ".join(
                f"from {factor} = {level_text(run[0])} to {level_text(run[-1])}" for run in runs
            )
            found.append(
                f"Mean {short_name(name)} does not differ by more than {margin} between any two "
                f"of the cells {spans} {tail}."
            )
        else:
            found.append(
                f"No two neighbouring cells are shown to be within {margin} of each other in mean "
                f"{short_name(name)} {tail}; that alone does not show that they differ."
            )
    return found


def _levels(frame: pd.DataFrame) -> tuple[list[Any], set[tuple[Any, Any]]]:
    levels: list[Any] = sorted({*frame["from_level"], *frame["to_level"]})
    rows = frame[frame["equivalent"]]
    return levels, set(zip(rows["from_level"], rows["to_level"], strict=True))


def _runs(levels: list[Any], equal: set[tuple[Any, Any]]) -> list[list[Any]]:
    """Cut ordered levels into the longest runs in which every compared pair is equivalent."""
    runs: list[list[Any]] = []
    for level in levels:
        if runs and all((earlier, level) in equal for earlier in runs[-1]):
            runs[-1].append(level)
        else:
            runs.append([level])
    return runs


def seed_shares(results: Results) -> list[str]:
    """Say how much of the spread within cells each kind of seed carries."""
    names = [n for n in ("fkl_nats", "k_samples_calibrated")
             if summary.done_trials(results.trials)[n].notna().any()]  # fmt: skip
    frame = summary.variance_components(results, names)
    if frame.empty:
        return []
    if "data" not in set(frame["component"]):
        return [
            "One data seed was used: how far another data set of the same kind would differ is "
            "not known from this sweep."
        ]
    parts = []
    for name, rows in frame.groupby("endpoint", sort=False):
        shares = [
            f"{r.component} seeds {r.share:.0%} (sd {r.sd:.2g} [{np.sqrt(r.low):.2g}, "
            f"{np.sqrt(r.high):.2g}])"
            for r in summary.named_rows(rows)
            if np.isfinite(r.share)
        ] or ["nothing: it is the same in every trial of a cell"]
        parts.append(f"of {short_name(str(name))} {', '.join(shares)}")
    text = f"Of the variance within cells, {'; '.join(parts)}."
    level = f"{frame['level'].iloc[0]:.0%}"
    return [f"{text} Brackets: {level} {KIND_TEXT['mls']}."]


def seeds_for(results: Results) -> list[str]:
    """Say what differences this design can see, and how many more seeds would see them."""
    cells = summary.cells(results)
    n_data, n_init = int(cells["n_data"].max()), int(cells["n_init"].max())
    found = []
    for name in ("fkl_nats", "k_samples_calibrated"):
        if n_data < 2 or summary.done_trials(results.trials)[name].isna().all():
            continue
        curve = summary.power_curve(
            results, name, n_data=range(2, MOST_SEEDS + 1), n_init=[n_init]
        )
        if curve.empty:
            continue
        now = summary.named_rows(curve[curve["n_data"] == n_data])
        needed = seeds_needed(curve, n_init=n_init, power=POWER)
        effect = f"{curve['effect'].iloc[0]:g} {unit_text(name)}"
        design = "paired" if curve["design"].iloc[0] == "paired" else "not paired"
        text = f"A difference of {effect} in {short_name(name)} between two cells ({design})"
        if now:
            text += (
                f" is seen by {n_data} x {n_init} seeds with power {now[0].power:.0%} "
                f"({now[0].power_low:.0%} to {now[0].power_high:.0%} over the components' "
                "intervals)"
            )
        found.append(text + _needed_text(needed, n_data) + ".")
    return found


def _needed_text(needed: int | None, n_data: int) -> str:
    if needed is None:
        return f"; {POWER:.0%} takes more than {MOST_SEEDS} data seeds"
    if needed <= n_data:
        return f"; {POWER:.0%} takes {needed} data seeds"
    return f"; {POWER:.0%} takes {needed} data seeds, {needed - n_data} more"
