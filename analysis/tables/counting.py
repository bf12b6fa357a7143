"""Tables of what is counted besides k*, and of how sure a count is."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.frames import summary
from analysis.frames.excess import certainty_by_cell, excess_by_cell
from analysis.load import Results
from analysis.tables.table import (
    NotTabulated,
    Table,
    cell_columns,
    decimal,
    estimate_text,
    p_text,
    share_text,
)
from analysis.wording import notes as captions
from analysis.wording.names import source_name

COUNT_NAMES = {
    "k_samples_calibrated": "Gaussians (BIC)",
    "modal_modes_samples": "maxima of the density (modal EM)",
    "icl_k_samples": "separated clusters (ICL)",
    "sbic_k_samples": "Gaussians (singular BIC)",
    "ebic_k_samples": "Gaussians (epsilon-BIC)",
}


def excess(results: Results) -> Table:
    """Tabulate samples less control by every count."""
    frame = excess_by_cell(results)
    if frame.empty:
        raise NotTabulated("no finished trial has a count of its samples and of its control")
    shown = cell_columns(frame, results.manifest.factors)
    shown["counted"] = frame["count"].map(COUNT_NAMES)
    shown["samples"] = [decimal(value, digits=1) for value in frame["samples"]]
    shown["control"] = [decimal(value, digits=1) for value in frame["control"]]
    shown["samples less control"] = [estimate_text(row, digits=1) for _, row in frame.iterrows()]
    shown["P(> control)"] = [decimal(value) for value in frame["superiority"]]
    shown["p"] = frame["p_value"].map(p_text)
    shown["data seeds"] = frame["n_data"].astype(str)
    has_modes = frame["count"].eq("modal_modes_samples").any()
    missing = "" if has_modes else " This folder holds no maxima of the control."
    return Table(
        "Excess by what is counted",
        "Mean difference [low, high], paired by data seed. "
        f"{captions.intervals(frame, what='Brackets')} BIC counts the Gaussians that the points "
        "pay for, modal EM the local maxima of that mixture's density, ICL clusters that do not "
        "overlap; singular BIC and epsilon-BIC price a parameter a little lower and higher. p: "
        f"two-sided sign-flip test.{missing}",
        frame,
        shown,
    )


def certainty(results: Results) -> Table:
    """Tabulate the sets of k, other criteria, flags and searches from other seeds."""
    frame = certainty_by_cell(results)
    if frame.empty:
        raise NotTabulated("this folder has no sets of k; counts from scoring version 5 on do")
    rows = summary.named_rows(frame)
    shown = cell_columns(frame, results.manifest.factors)
    shown["source"] = frame["source"].map(source_name)
    shown["counts"] = frame["n_counts"].astype(str)
    shown["k* {set}"] = [_set_text(r) for r in rows]
    shown["set of one"] = [share_text(r.share_sure) for r in rows]
    shown["singular BIC"] = [decimal(r.sbic_k, digits=1) for r in rows]
    shown["epsilon-BIC"] = [decimal(r.ebic_k, digits=1) for r in rows]
    shown["gave up"] = [share_text(r.share_stopped) for r in rows]
    shown["ties"] = [share_text(r.share_ties) for r in rows]
    if frame["n_gaps"].any():
        shown["gap to the best seed"] = [_gap_text(r) for r in rows]
        shown["k* of the best seed"] = [decimal(r.k_best, digits=1) for r in rows]
    return Table(
        "How sure the counts are",
        "Means over counts by the calibrated protocol. Set: the smallest and the largest k whose "
        "BIC is not significantly above the lowest (one-sided 99%, from the sampling error of the "
        "difference in log likelihood). Gave up: the search ended below its limits without five "
        "larger k to show. Gap: median of BIC less the best of the other detector seeds, and the "
        "share above 10, where the search has failed.",
        frame,
        shown,
    )


def _set_text(row: Any) -> str:
    text = decimal(row.k, digits=1)
    if not np.isfinite([row.k, row.set_low, row.set_high]).all():
        return text
    return f"{text} {{{row.set_low:.1f} to {row.set_high:.1f}}}"


def _gap_text(row: object) -> str:
    gap, share, n_gaps = (getattr(row, name) for name in ("gap", "share_failed", "n_gaps"))
    return f"{gap:.1f} ({share:.0%} of {n_gaps} above 10)" if n_gaps else "-"
