"""The answer to a sweep's question, in sentences made from its summary frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.load import Results
from analysis.page import evidence, verdicts
from analysis.statistics import intervals as stats
from analysis.wording import notes as captions
from analysis.wording.names import name_of


def sentences(results: Results) -> list[str]:
    """Answer in sentences: denominators, the ceiling first, counts with controls, endpoints.

    Returns
    -------
    list of str
        Each a claim with its numbers; where a number cannot be given, why.
    """
    coverage = summary.coverage_by_cell(results)
    if coverage.empty:
        return [captions.denominators(results), "No trial finished, so nothing was measured."]
    found = [captions.denominators(results), *_ceiling(coverage), *_control(results, coverage)]
    found += verdicts.control(results)
    found += _trend(results, summary.endpoints_by_cell(results))
    found += verdicts.differences(results) + evidence.flat_ranges(results)
    found += evidence.lost_modes(results) + evidence.factor_shares(results)
    found += evidence.seed_shares(results) + evidence.seeds_for(results)
    if summary.is_the_original(results):
        found += _replication(results)
    return found


def _ceiling(coverage: pd.DataFrame) -> list[str]:
    """Say how often the original's instrument ran into the end of its range."""
    rows = coverage[(coverage["source"] == "means") & (coverage["protocol"] == "original")]
    counted = int(rows["n_trials"].sum())
    if not counted:
        return []
    n = int(rows["n_at_ceiling"].sum())
    text = (
        f"By the original protocol on decoder means, which is what the original report counted, "
        f"{n} of {counted} trials ({n / counted:.0%}) stop at the largest k tried, 14"
    )
    wide = coverage[(coverage["source"] == "means") & (coverage["protocol"] == "calibrated")]
    if len(wide) and n:
        text += f"; over the wide range the median k* of the same points is {_median(wide)}"
    return [text + "."]


def _median(rows: pd.DataFrame) -> str:
    medians = rows["k_median"].to_numpy(float)
    if np.isinf(medians).all():
        return "at or beyond its end too"
    low, high = medians.min(), medians.max()
    tail = "beyond its end" if np.isinf(high) else f"{high:g}"
    return f"{low:g}" if low == high else f"{low:g} to {tail}, by cell"


def _control(results: Results, coverage: pd.DataFrame) -> list[str]:
    """Say what the instruments find on true data."""
    found = []
    for protocol in ("original", "calibrated"):
        rows = coverage[(coverage["source"] == "data") & (coverage["protocol"] == protocol)]
        if len(rows):
            low, high = rows["estimate"].min(), rows["estimate"].max()
            span = f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
            found.append(f"{span} by the {protocol} protocol")
    lost = len(summary.lost_controls(results))
    tail = f" ({captions.count(lost, 'control')} failed)" if lost else ""
    if not found:
        return [f"The control (true data) was not counted{tail}: no count here has a yardstick."]
    return ["On true data themselves, mean coverage is " + " and ".join(found) + f"{tail}."]


def interval_text(row: Any, *, digits: int = 1) -> str:
    """Write an interval with its kind: "95% BCa bootstrap interval 6.9 to 9.1, 10 data seeds"."""
    low, high, level, kind = row.low, row.high, row.level, stats.KIND_TEXT[row.interval]
    if low != low:
        return kind
    if low == high:
        return "the same in every trial"
    span = f"{low:.{digits}f} to {high:.{digits}f}"
    if level != level:
        return f"{span}, {kind}"
    return f"{level:.0%} {kind} {span}, {row.n_data} data seeds"


def _trend(results: Results, endpoints: pd.DataFrame) -> list[str]:
    """Name the best and the worst cell of each primary endpoint, with their intervals."""
    found = []
    for name, rows in endpoints.dropna(subset=["estimate"]).groupby("endpoint", sort=False):
        if summary.is_measured_alike(str(name), set(results.manifest.factors)):
            rows = rows[rows["cell"] == summary.reference_cell(results)]
        rows = rows.sort_values("estimate")
        first, *_, last = summary.named_rows(rows.iloc[[0, -1]])
        short = name_of(str(name)).split(" (")[0]
        if len(rows) == 1:
            found.append(f"Mean {short}: {first.estimate:.3f} ({interval_text(first, digits=3)}).")
            continue
        bounded = first.low == first.low and last.low == last.low
        verdict = "; their intervals overlap" if bounded and first.high >= last.low else ""
        found.append(
            f"Mean {short} runs from {_bracketed(first)} at {first.cell} to {_bracketed(last)} at "
            f"{last.cell}{verdict}."
        )
    if len(found) and len(endpoints["cell"].unique()) > 1:
        found.append(captions.intervals(endpoints, what="Brackets"))
    return found


def _bracketed(row: Any) -> str:
    """Write an estimate with its interval where it has one."""
    text = f"{row.estimate:.3f}"
    return f"{text} [{row.low:.3f}, {row.high:.3f}]" if row.low == row.low else text


def _replication(results: Results) -> list[str]:
    """Say which of the original's numbers lie within the spread of its replication."""
    rows = summary.report_against_replication(results).dropna(subset=["reported"])
    inside = rows["inside"].astype(bool)
    names = [
        f"{name_of(r.quantity).split(' (')[0]} at epoch {r.epoch}"
        for r in summary.named_rows(rows[~inside])
    ]
    text = f"{int(inside.sum())} of the original's {len(rows)} reported numbers lie within the "
    text += f"range over {captions.count(int(rows['n_trials'].max()), 'init seed')}"
    return [text + ("; outside: " + ", ".join(names) if names else "") + "."]
