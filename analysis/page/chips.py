"""Flags beside the answer: what a reader must know before believing it, each with its evidence.

A chip is "ok", "warn" (it limits what is said) or "bad" (something went wrong). Bad ones are never
inside what is folded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.contrasts import CONTROLLED
from analysis.frames.excess import FAILED_GAP
from analysis.load import Results
from analysis.page.headline import planned_trials
from analysis.statistics.intervals import floats
from analysis.wording import notes
from analysis.wording.names import cell_text
from study.results import CERTIFICATE, count_columns, open_folder

ENOUGH_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Chip:
    """One flag: its text, "ok", "warn" or "bad", the anchor of its evidence, and more words."""

    text: str
    level: str
    anchor: str
    more: str = ""


def chips(results: Results) -> list[Chip]:
    """List a sweep's flags, the bad ones first."""
    found = [
        *_finished(results),
        *_ceilings(results),
        *_controls(results),
        *_power(results),
        *_verified(results),
        *_code(results),
    ]
    order = {"bad": 0, "warn": 1, "ok": 2}
    return sorted(found, key=lambda chip: order[chip.level])


def _finished(results: Results) -> list[Chip]:
    cells = summary.cells(results)
    planned = planned_trials(results)
    done, failed, stopped = (int(cells[n].sum()) for n in ("n_done", "n_failed", "n_stopped"))
    missing = planned - done - failed - stopped
    level = "bad" if missing > 0 else "ok"
    text = f"{done} of {planned} done" + f", {stopped} stopped early by the search" * (stopped > 0)
    found = [Chip(text, level, "cells", f"{missing} trials have not run" if missing > 0 else "")]
    anchor = "table-failures" if failed else "cells"
    return [*found, Chip(f"{failed} failed", "bad" if failed else "ok", anchor)]


def _ceilings(results: Results) -> list[Chip]:
    """Say how many counts ended at the largest k tried, where the answer rests on them."""
    done = summary.done_trials(results.trials)
    found = []
    for source, protocol, what in (
        ("means", "original", "the original's counts stop at their ceiling of 14"),
        ("samples", "calibrated", "counts of samples stop at the ceiling"),
    ):
        flags = done[count_columns(source, protocol)[2]].dropna().astype(bool)
        if len(flags) and flags.any():
            text = f"{flags.mean():.0%} of {what}"
            found.append(Chip(text, "warn", "figure-coverage", f"{flags.sum()} of {len(flags)}"))
    return found


def ill_controls(results: Results) -> pd.DataFrame:
    """List the controls whose search ended far above a fit from the truth, with their cells.

    Returns
    -------
    pandas.DataFrame
        control_id, control_gap (BIC units), cells (text); the largest gap first.
    """
    trials = results.trials.dropna(subset=["control_id"])
    gap = floats(trials["control_gap"])
    bad = trials.assign(control_gap=gap)[gap > FAILED_GAP]
    if bad.empty:
        return pd.DataFrame(columns=["control_id", "control_gap", "cells"])
    rows = bad.groupby("control_id").agg(
        control_gap=("control_gap", "first"),
        cells=("cell", lambda names: "; ".join(map(cell_text, dict.fromkeys(names)))),
    )
    return rows.sort_values("control_gap", ascending=False).reset_index()


def _controls(results: Results) -> list[Chip]:
    trials = results.trials.drop_duplicates("control_id").dropna(subset=["control_id"])
    counted = int(trials["k_data_calibrated"].notna().sum())
    lost = len(summary.lost_controls(results))
    found = (
        [Chip(f"{notes.count(lost, 'control')} failed", "bad", "table-failures")] if lost else []
    )
    if not counted:
        return [*found, Chip("no control was counted", "bad", "answer-full")]
    ill = ill_controls(results)
    if len(ill):
        text = f"{notes.count(len(ill), 'control')} of {counted} ended badly"
        more = f"control_gap up to {ill['control_gap'].max():.1f} BIC units"
        return [
            *found,
            Chip(f"{text} (gap {ill['control_gap'].max():.0f})", "bad", "controls", more),
        ]
    known = floats(trials["control_gap"])
    if not np.isfinite(known).any():
        return [*found, Chip("control not checked", "warn", "controls")]
    text = f"control sound: none of {counted} ended badly"
    return [*found, Chip(text, "ok", "controls", f"control_gap at most {FAILED_GAP:g} BIC units")]


def _power(results: Results) -> list[Chip]:
    cells = summary.cells(results)
    n_data, n_init = int(cells["n_data"].max()), max(int(cells["n_init"].max()), 1)
    done = summary.done_trials(results.trials)
    if n_data < 2:
        return [Chip("one data set: no test, no interval over data sets", "warn", "method")]
    if done[CONTROLLED].isna().all():
        return []
    curve = summary.power_curve(results, CONTROLLED, n_data=[n_data], n_init=[n_init])
    if curve.empty or not np.isfinite(curve["power"].iloc[0]):
        return []
    power, effect = float(curve["power"].iloc[0]), float(curve["effect"].iloc[0])
    text = f"{n_data} data sets see {effect:g} components with power {power:.0%}"
    return [Chip(text, "ok" if power >= ENOUGH_POWER else "warn", "robustness")]


def read_certificate(location: str) -> dict[str, Any] | None:
    """Return what `python -m study.verify` wrote; None where there is none that can be read."""
    try:
        return dict(open_folder(location).read_object(CERTIFICATE))
    except (OSError, ValueError):
        return None


def _verified(results: Results) -> list[Chip]:
    content = read_certificate(results.location)
    if content is None or "n_equal" not in content:
        return [Chip("not verified", "warn", "provenance", "study.verify has not been run")]
    equal, n = int(content["n_equal"]), int(content.get("n_trials", 0))
    level = "ok" if equal == n and n else "bad"
    return [Chip(f"verified {equal} of {n} to the bit", level, "provenance")]


def _code(results: Results) -> list[Chip]:
    dirty = results.trials["dirty"]
    n = int(dirty.fillna(False).astype(bool).sum())
    found = []
    if n:
        found.append(
            Chip(f"{notes.count(n, 'row')} by uncommitted code", "bad", "provenance")
        )  # fmt: skip
    if dirty.isna().any():
        found.append(Chip("code of some rows not recorded", "warn", "provenance"))
    version = results.manifest.versions.get("scoring")
    if version is not None:
        found.append(Chip(f"scoring version {version}", "ok", "provenance"))
    return found
