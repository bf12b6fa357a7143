"""The tables of a report: counts and endpoints by cell here, the others beside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.adaptive import search_of, suggestions
from analysis.frames.contrasts import CONTROLLED
from analysis.frames.count_contrasts import count_contrasts
from analysis.load import Results
from analysis.tables.checks import literature, nulls, theory
from analysis.tables.counting import certainty, excess
from analysis.tables.lost_modes import lost_modes, recall_odds
from analysis.tables.outside import outside
from analysis.tables.provenance import compute, failures, provenance
from analysis.tables.table import (
    NotTabulated,
    Table,
    cell_columns,
    decimal,
    estimate_text,
    latex_text,
    p_text,
    quantity_name,
    with_limits,
)
from analysis.tables.variance import anova, variance
from analysis.wording import notes as captions
from analysis.wording.names import cell_text, name_of, source_name

__all__ = ["NUMBERS", "TABLES", "NotTabulated", "Table", "latex_text", "tables_of"]


def headline(results: Results) -> Table:
    """One row a cell: denominators, ceiling, coverage beside its control, primary endpoints."""
    coverage = summary.coverage_by_cell(results)
    if coverage.empty:
        raise NotTabulated("no trial finished, so there is nothing to estimate")
    endpoints = summary.endpoints_by_cell(results)
    cells = summary.cells(results)
    shown = cell_columns(cells, results.manifest.factors)
    shown["done / planned"] = [f"{r.n_done} / {r.n_planned}" for r in summary.named_rows(cells)]
    shown["failed"] = cells["n_failed"].astype(str)
    shown["data seeds"] = cells["n_data"].astype(str)
    by_pair = _keyed(coverage, ["cell", "source", "protocol"])
    pairs = [
        ("means", "original"),
        ("data", "original"),
        ("samples", "calibrated"),
        ("data", "calibrated"),
    ]
    for source, protocol in pairs:
        name = source_name(source).replace("true data (control)", "control")
        keys = [(cell, source, protocol) for cell in cells["cell"]]
        if source != "data":
            shown[f"at ceiling: {name}, {protocol}"] = [_share_text(by_pair, key) for key in keys]
        shown[f"coverage: {name}, {protocol}"] = [_cell_text(by_pair, key) for key in keys]
    by_end = _keyed(endpoints, ["cell", "endpoint"])
    for name in summary.PRIMARY_ENDPOINTS:
        keys2 = [(cell, name) for cell in cells["cell"]]
        short = name_of(name).split(" (")[0]
        marks = captions.density_marks(results) if name == "fkl_nats" else {}
        shown[short] = [_cell_text(by_end, key) + marks.get(key[0], "") for key in keys2]
        if (cells["n_done"] < cells["n_planned"]).any():
            shown[f"{short}, all planned"] = [_lost_text(by_end, key) for key in keys2]
    brackets = captions.intervals(pd.concat([coverage, endpoints]), what="Brackets")
    return Table(
        "Headline by cell",
        f"Mean [low, high]. {brackets}"
        " Control: the same count on a fresh draw of the true mixture. A coverage with trials at "
        "the ceiling is a lower bound. All planned (shown where trials were lost): the mean if "
        "those without a value were all at one end of what it can be. "
        f"{captions.density_note(results, marked=True)}{captions.recall_note(results)}"
        f"{captions.denominators(results)}",
        _wide(cells, coverage, endpoints),
        shown,
    )


Rows = Mapping[Hashable, Mapping[str, Any]]


def _keyed(frame: pd.DataFrame, keys: list[str]) -> Rows:
    """Give a frame's rows by their keys; looking ten thousand up in an index takes long."""
    rows: Rows = frame.set_index(keys).to_dict("index")  # type: ignore[assignment]
    return rows


def _cell_text(rows: Rows, key: tuple[str, ...]) -> str:
    return estimate_text(rows[key]) if key in rows else "-"


def _lost_text(rows: Rows, key: tuple[str, ...]) -> str:
    """Give the range of a mean over all planned trials, whatever became of the lost ones."""
    if key not in rows:
        return "-"
    low, high = (float(rows[key][name]) for name in ("lost_low", "lost_high"))
    if low == high:
        return f"{low:.2f}"
    return f"{low:.2f} to {high:.2f}" if np.isfinite(high) else f"at least {low:.2f}"


def _share_text(rows: Rows, key: tuple[str, ...]) -> str:
    return f"{rows[key]['share_at_ceiling']:.0%}" if key in rows else "-"


def _wide(cells: pd.DataFrame, coverage: pd.DataFrame, endpoints: pd.DataFrame) -> pd.DataFrame:
    """Put every estimate of a cell in one row, under names like coverage_means_original_low."""
    names = ["estimate", "low", "high", "share_at_ceiling"]
    bounds = [*names[:3], "lost_low", "lost_high"]
    counts = coverage.pivot(index="cell", columns=["source", "protocol"], values=names)
    counts.columns = [f"coverage_{c[1]}_{c[2]}_{c[0]}" for c in counts.columns.to_list()]
    ends = endpoints.pivot(index="cell", columns="endpoint", values=bounds)
    ends.columns = [f"{column[1]}_{column[0]}" for column in ends.columns.to_list()]
    return cells.join(counts, on="cell").join(ends, on="cell")


def coverage(results: Results) -> Table:
    """One row for each cell, protocol and source: ceiling first, then coverage."""
    frame = summary.coverage_by_cell(results)
    if frame.empty:
        raise NotTabulated("no trial finished, so no mode was counted")
    shown = cell_columns(frame, results.manifest.factors)
    shown["protocol"] = frame["protocol"]
    shown["source"] = frame["source"].map(source_name)
    shown["counts"] = frame["n_trials"].astype(str)
    shown["data seeds"] = frame["n_data"].astype(str)
    shown["at ceiling"] = [f"{r.share_at_ceiling:.0%}" for r in summary.named_rows(frame)]
    shown["of all planned"] = [
        f"{r.share_low:.0%}"
        if r.share_low == r.share_high
        else f"{r.share_low:.0%} to {r.share_high:.0%}"
        for r in summary.named_rows(frame)
    ]
    shown["coverage"] = [estimate_text(row) for _, row in frame.iterrows()]
    shown["median k*"] = [
        "above the ceiling" if np.isinf(r.k_median) else f"{r.k_median:g}"
        for r in summary.named_rows(frame)
    ]
    return Table(
        "Coverage by source and protocol",
        f"Coverage: mean k* / K [low, high]. {captions.intervals(frame, what='Brackets')} Of all "
        "planned: the share at the ceiling if none, or all, of the trials without a count were "
        "there. Median: Kaplan-Meier, counts at the ceiling censored.",
        frame,
        shown,
    )


def contrasts(results: Results) -> Table:
    """k* of generated points less k* of the control, paired by data seed."""
    frame = summary.contrasts_by_cell(results)
    if frame.empty:
        raise NotTabulated("no finished trial has both a count and its control")
    shown = cell_columns(frame, results.manifest.factors)
    shown["protocol"] = frame["protocol"]
    shown["source"] = frame["source"].map(source_name)
    shown["at ceiling"] = [f"{share:.0%}" for share in frame["share_at_ceiling"]]
    shown["k* less control"] = [estimate_text(row, digits=1) for _, row in frame.iterrows()]
    shown["P(> control)"] = [decimal(value) for value in frame["superiority"]]
    shown["all at once"] = [_family_text(row, digits=1) for row in summary.named_rows(frame)]
    shown["p"] = [p_text(value) for value in frame["p_value"]]
    shown["p (family)"] = [p_text(value) for value in frame["p_adjusted"]]
    shown["p (family, skew)"] = [p_text(value) for value in frame["p_skewed"]]
    shown["data seeds"] = frame["n_data"].astype(str)
    return Table(
        "Counts against their control",
        f"Mean difference in components [low, high]. {captions.intervals(frame, what='Brackets')} "
        f"{captions.FAMILY} Family: the cells of each source and protocol. P(> control): share of "
        "data seeds above their control, ties half. With counts at the ceiling the difference is "
        "a lower bound.",
        frame,
        shown,
    )


def replication(results: Results) -> Table:
    """The original report's numbers beside the sweep's."""
    if not summary.is_the_original(results):
        raise NotTabulated("this sweep does not train on the original report's own points")
    frame = summary.report_against_replication(results)
    shown = pd.DataFrame(
        {
            "quantity": [quantity_name(name) for name in frame["quantity"]],
            "epoch": frame["epoch"].astype(str),
            "report": [
                _number(value, like)
                for value, like in zip(frame["reported"], frame["quantity"], strict=True)
            ],
            "here, mean": [f"{value:.2f}" for value in frame["mean"]],
            "here, range": [f"{r.low:.4g} to {r.high:.4g}" for r in summary.named_rows(frame)],
            "report inside": [{True: "yes", False: "no"}.get(v, "-") for v in frame["inside"]],
        }
    )
    n = captions.count(int(frame["n_trials"].max()), "init seed")
    return Table(
        "The report and its replication",
        f"The original's own mixture and points, {n}. Range: smallest to largest over init seeds; "
        "with one data set there is no interval over data seeds. A dash: not reported. The "
        "report's detector tried k = 5 to 14.",
        frame,
        shown,
    )


def _number(value: float, column: str) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.0f}" if column.startswith("k_") else f"{value:.4f}"


def _family_text(row: Any, *, digits: int) -> str:
    """Write a simultaneous interval; a dash outside the family."""
    if not np.isfinite(row.low_all):
        return "-"
    return f"[{row.low_all:.{digits}f}, {row.high_all:.{digits}f}]"


def differences(results: Results) -> Table:
    """Every cell against the reference cell on common seeds: the primary endpoints."""
    frame = summary.cell_contrasts(results)
    counts = count_contrasts(results)
    if len(counts):
        frame = pd.concat([frame, counts], ignore_index=True)
    if frame.empty:
        raise NotTabulated("one cell finished, so there is no other to compare it with")
    shown = cell_columns(frame, results.manifest.factors)
    shown["endpoint"] = [
        "k* of samples less control" if name == CONTROLLED else name_of(name).split(" (")[0]
        for name in frame["endpoint"]
    ]
    shown["difference"] = [estimate_text(row, digits=3) for _, row in frame.iterrows()]
    shown["P(> reference)"] = [decimal(value) for value in frame["superiority"]]
    shown["dz"] = [decimal(value) for value in frame["dz"]]
    shown["all at once"] = [_family_text(row, digits=3) for row in summary.named_rows(frame)]
    shown["above / below"] = [f"{r.n_above} / {r.n_below}" for r in summary.named_rows(frame)]
    shown["p"] = [p_text(value) for value in frame["p_value"]]
    shown["p (signs)"] = [p_text(value) for value in frame["p_sign"]]
    shown["p (family)"] = [p_text(value) for value in frame["p_adjusted"]]
    shown["p (family, skew)"] = [p_text(value) for value in frame["p_skewed"]]
    shown["p (FDR)"] = [p_text(value) for value in frame["p_bh"]]
    shown["data seeds"] = frame["n_data"].astype(str)
    return Table(
        "Primary endpoints against the reference cell",
        f"Mean difference from {cell_text(frame['reference'].iloc[0])} [low, high], paired "
        f"by data and init seed. {captions.intervals(frame, what='Brackets')} {captions.FAMILY} "
        "Family: the cells that differ from the reference in one factor, and the reference's k* "
        "against its control; an endpoint is left out where it does not depend on what differs. "
        "The rows of k*, each cell's count less its control's, are a family of their own. "
        "FDR: Benjamini-Hochberg over the other rows. Above / below: data seeds by the sign of "
        "their difference; p (signs): two-sided sign test, which holds for every law. "
        "P(> reference): share of data seeds above, ties half. dz: mean over standard "
        "deviation of the data seeds' differences. Failed trials are in no pair; the headline's "
        "'all planned' gives their range. "
        f"{captions.density_note(results)}{captions.recall_note(results)}"
        f"{captions.denominators(results)}",
        frame,
        shown,
    )


def equivalence(results: Results) -> Table:
    """Cells that differ by less than a margin: forward KL, mass outside, and k* of samples."""
    endpoints = ["fkl_nats", "spurious_mass", "k_samples_calibrated"]
    done = summary.done_trials(results.trials)
    parts = [
        summary.equivalence(results, name).assign(endpoint=name)
        for name in endpoints
        if done[name].notna().any()
    ]
    parts = [part for part in parts if len(part) and (part["n_data"] > 1).any()]
    if not parts:
        raise NotTabulated("two cells and two data seeds are needed to claim no difference")
    frame = pd.concat(parts, ignore_index=True)
    shown = pd.DataFrame(
        {
            "endpoint": frame["endpoint"].map(quantity_name),
            "from": frame["cell"].map(cell_text),
            "to": frame["other"].map(cell_text),
            "difference": [
                with_limits(r.difference, r.low90, r.high90, digits=3)
                for r in summary.named_rows(frame)
            ],
            "margin": frame["margin"].map("{:g}".format),
            "p": frame["p"].map(p_text),
            "equivalent": [
                "-" if np.isnan(r.p) else "yes" if r.equivalent else "no"
                for r in summary.named_rows(frame)
            ],
            "data seeds": frame["n_data"].astype(str),
        }
    )
    return Table(
        "Which cells do not differ",
        "Mean difference [90% t interval over data seeds], paired by data and init seed. p: two "
        "one-sided t tests (TOST) that the difference is within the margin; equivalent: p < 0.05, "
        "which is the interval within the margin. 'No' is not a proof of a difference. "
        f"{captions.density_note(results)}".rstrip(),
        frame,
        shown,
    )


def search(results: Results) -> Table:
    """List the cells of an adaptive sweep, the best first, and what fresh seeds say of winners."""
    frame = suggestions(results)
    if frame.empty:
        raise NotTabulated("this sweep has no search")
    if frame.dropna(subset=["value"]).empty:
        raise NotTabulated("no cell of the search has a value yet")
    sign = np.where(frame["direction"].eq("minimize"), 1.0, -1.0)
    frame = frame.assign(order=sign * frame["value"]).sort_values(
        ["objective", "is_best", "order"], ascending=[True, False, True]
    )
    shown = pd.DataFrame(
        {
            "cell": frame["cell"].map(cell_text),
            "objective": frame["objective"],
            "mean ± SE": [_found_text(r) for r in summary.named_rows(frame)],
            "trainings": frame["n"].astype(str),
            "on fresh seeds": [
                _mean_text(r.fresh_value, r.fresh_se) for r in summary.named_rows(frame)
            ],
            "best": np.where(frame["is_best"].astype(bool), "yes", ""),
        }
    )
    return Table(
        "Cells of the search",
        "Means over replicates, corrected for their data seeds, with the standard error from the "
        "noise pooled over cells; best: the lowest mean plus error, or the Pareto front. On fresh "
        "seeds: the winners measured again on data sets that had no part in choosing them."
        + _stopped_text(frame),
        frame.drop(columns="order"),
        shown,
    )


def _found_text(row: Any) -> str:
    if pd.isna(row.stopped_epoch):
        return _mean_text(row.value, row.se)
    return f"stopped after {row.stopped_epoch} epochs at {row.stopped_value:.3g}"


def _stopped_text(frame: pd.DataFrame) -> str:
    n_stopped = int(frame["stopped_epoch"].notna().sum())
    if not n_stopped:
        return ""
    return (
        f" {captions.count(n_stopped, 'cell')} had no hope and stopped early, for a value that is "
        "not an end point's: no mean, figure or map holds them."
    )


def _mean_text(value: float, error: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.3g} ± {error:.2g}" if np.isfinite(error) else f"{value:.3g}"


def tables_of(results: Results) -> list[str]:
    """List the tables that a sweep of this kind can have, designed or adaptive."""
    others = SEARCH_TABLES if search_of(results) is None else DESIGN_TABLES
    return [name for name in TABLES if name not in others]


TABLES: dict[str, Callable[[Results], Table]] = {
    "headline": headline,
    "differences": differences,
    "coverage": coverage,
    "contrasts": contrasts,
    "excess": excess,
    "certainty": certainty,
    "equivalence": equivalence,
    "outside": outside,
    "replication": replication,
    "variance": variance,
    "anova": anova,
    "lost_modes": lost_modes,
    "recall_odds": recall_odds,
    "nulls": nulls,
    "literature": literature,
    "search": search,
    "theory": theory,
    "failures": failures,
    "compute": compute,
    "provenance": provenance,
}
# Of adaptive sweeps alone, and of designed cells alone (see `analysis.figures.registry`).
SEARCH_TABLES = ("search",)
DESIGN_TABLES = (
    "headline",
    "differences",
    "coverage",
    "contrasts",
    "excess",
    "certainty",
    "equivalence",
    "outside",
    "variance",
    "anova",
    "lost_modes",
    "recall_odds",
)
# The study's own numbering; some numbers are several tables.
NUMBERS: dict[str, tuple[str, ...]] = {
    "T1": ("replication",),
    "T2": (
        *("headline", "differences", "contrasts", "coverage"),
        *("excess", "certainty", "equivalence", "outside"),
    ),
    "T3": ("variance",),
    "T4": ("anova",),
    "T5": ("nulls", "literature"),
    "T6": ("compute", "provenance", "failures"),
    "T7": ("theory",),
    "T8": ("lost_modes", "recall_odds"),
}
