"""Sentences about differences, their absence, the seeds' shares and how many seeds are needed.

Each is made from a frame and left out, or replaced by what cannot be said, where the design does
not carry it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.lost_modes import lost_by_cell
from analysis.frames.power import seeds_needed
from analysis.load import Results
from analysis.page.verdicts import p_equals, short_name, unit_text
from analysis.statistics.intervals import KIND_TEXT
from analysis.wording import notes as captions
from analysis.wording.names import SHORT_NAMES, cell_text, level_text, name_of
from study.results import PRIMARY_ENDPOINTS

POWER = 0.8
SHOWN = ("fkl_nats", "spurious_mass", "k_samples_calibrated")
# A curve is searched up to so many data seeds.
MOST_SEEDS = 100


def flat_ranges(results: Results) -> list[str]:
    """Say over which neighbouring levels means agree within the margin, and by what test."""
    found = []
    done = summary.done_trials(results.trials)
    for name in SHOWN:
        if done[name].isna().all():
            continue
        frame = summary.equivalence(results, name)
        frame = frame.dropna(subset=["p"]) if len(frame) else frame
        if frame.empty or frame["factor"].nunique() > 1:
            continue
        levels, equal = _levels(frame)
        runs = [run for run in runs_of_equal(levels, equal) if len(run) > 1]
        margin = f"{frame['margin'].iloc[0]:g} {unit_text(name)}"
        n = captions.count(int(frame["n_data"].max()), "data set")
        if runs:
            spans = " and ".join(_run_text(frame, run) for run in runs)
            found.append(
                f"Mean {short_name(name)} agrees to within {margin} between any two of the cells "
                f"{spans}, by two one-sided t tests at 5% over {n}; a smaller difference is not "
                "excluded."
            )
        else:
            found.append(
                f"No two neighbouring cells are shown to be within {margin} of each other in mean "
                f"{short_name(name)} by two one-sided t tests at 5% over {n}; that alone does "
                "not show that they differ."
            )
    return found


def _run_text(frame: pd.DataFrame, run: list[Any]) -> str:
    """Name a run of levels with its largest difference and its weakest test."""
    column = str(frame["factor"].iloc[0])
    factor = SHORT_NAMES.get(column, name_of(column))
    rows = frame[frame["from_level"].isin(run) & frame["to_level"].isin(run)]
    largest = max(summary.named_rows(rows), key=lambda row: abs(row.difference))
    digits = 1 if largest.margin >= 1 else 3
    span = f"{largest.low90:+.{digits}f}, {largest.high90:+.{digits}f}"
    return (
        f"from {factor} = {level_text(run[0])} to {level_text(run[-1])} (largest "
        f"difference {largest.difference:+.{digits}f}, 90% t interval [{span}], "
        f"{p_equals(float(rows['p'].max()))} at the most)"
    )


def _levels(frame: pd.DataFrame) -> tuple[list[Any], set[tuple[Any, Any]]]:
    levels: list[Any] = sorted({*frame["from_level"], *frame["to_level"]})
    rows = frame[frame["equivalent"]]
    return levels, set(zip(rows["from_level"], rows["to_level"], strict=True))


def runs_of_equal(levels: list[Any], equal: set[tuple[Any, Any]]) -> list[list[Any]]:
    """Cut ordered levels into the longest runs in which every compared pair is equivalent."""
    runs: list[list[Any]] = []
    for level in levels:
        if runs and all((earlier, level) in equal for earlier in runs[-1]):
            runs[-1].append(level)
        else:
            runs.append([level])
    return runs


def factor_shares(results: Results) -> list[str]:
    """Say how the factors of a grid share the variance of the forward KL, on both scales.

    A share is of this grid: a factor that is varied more widely takes more of it.
    """
    parts = []
    for scale, quantity in (("log", "the logarithm of forward KL"), ("raw", "forward KL itself")):
        frame = summary.anova(results, "fkl_nats", scale=scale)  # type: ignore[arg-type]
        terms = frame[~frame["term"].isin(["data seed", "other seeds", "cells x data seed"])]
        if frame.empty or len(terms) < 3:
            continue
        largest = terms.sort_values("omega_sq", ascending=False).head(4)
        named = [
            f"{_factor_names(r.term)} {max(r.omega_sq, 0):.0%} [{r.low:.0%}, {r.high:.0%}]"
            for r in summary.named_rows(largest)
        ]
        parts.append(f"of {quantity} {', '.join(named)}")
    if not parts:
        return []
    frame = summary.anova(results, "fkl_nats")
    n = captions.count(int(frame["n_data"].iloc[0]), "data set")
    return [
        f"Over this grid ({_grid_text(results)}), of the variance {'; '.join(parts)} (omega "
        f"squared, the largest terms, with 95% jackknife t intervals over {n}). The shares belong "
        "to the ranges of the grid and to the scale."
    ]


def _factor_names(term: str) -> str:
    return " x ".join(SHORT_NAMES.get(part, name_of(part)) for part in term.split(" x "))


def _grid_text(results: Results) -> str:
    """Write each factor with the ends of its range, or its levels."""
    cells = summary.cells(results)
    parts = []
    for name in summary.independent_factors(cells, results.manifest.factors):
        levels = list(dict.fromkeys(cells[name]))
        if pd.api.types.is_numeric_dtype(cells[name]):
            text = f"{level_text(min(levels))} to {level_text(max(levels))}"
        else:
            text = " or ".join(level_text(level) for level in levels)
        parts.append(f"{SHORT_NAMES.get(name, name_of(name))} {text}")
    return ", ".join(parts)


def lost_modes(results: Results) -> list[str]:
    """Say where true modes were lost, in how many data sets, and whether in every network."""
    frame = lost_by_cell(results)
    if frame.empty:
        return []
    losing = frame[frame["n_lost"] > 0]
    asked = int(frame["n_asked"].sum())
    if losing.empty:
        return [
            f"Each of {captions.count(int(frame['n_modes'].sum()), 'eligible mode')} was recalled "
            f"in each of its networks ({asked} of {asked})."
        ]
    most = losing.sort_values("n_missed", ascending=False, kind="stable").head(4)
    parts = [
        f"{r.n_missed} of {r.n_asked} at {cell_text(r.cell)} (in {r.n_data_lost} of {r.n_data} "
        f"data sets; {r.n_always} of {captions.count(r.n_lost, 'mode')} in each of their networks)"
        for r in summary.named_rows(most)
    ]
    more = len(losing) - len(parts)
    tail = f" and in {captions.count(more, 'further cell')}" if more else ""
    return [
        "Eligible modes that networks did not recall, of modes times networks: "
        f"{'; '.join(parts)}{tail}."
    ]


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
                f"intervals) as the only comparison{_family_power(results, name, n_data, n_init)}"
            )
        found.append(text + _needed_text(needed, n_data) + ".")
    return found


def _family_power(results: Results, endpoint: str, n_data: int, n_init: int) -> str:
    """Give the power of a primary endpoint's test within its family."""
    alpha = summary.family_alpha(results)
    if endpoint not in PRIMARY_ENDPOINTS or np.isnan(alpha):
        return ""
    curve = summary.power_curve(results, endpoint, n_data=[n_data], n_init=[n_init], alpha=alpha)
    n_tests = len(summary.primary_family(results))
    return f", {curve['power'].iloc[0]:.0%} within the primary family of {n_tests}"


def _needed_text(needed: int | None, n_data: int) -> str:
    if needed is None:
        return f"; {POWER:.0%} takes more than {MOST_SEEDS} data seeds"
    if needed <= n_data:
        return f"; {POWER:.0%} takes {needed} data seeds"
    return f"; {POWER:.0%} takes {needed} data seeds, {needed - n_data} more"
