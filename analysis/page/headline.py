"""The answer in one sentence, one number and one chart, by a rule from the frames.

What is asked is read off the design: an adaptive sweep asks which cell is best, the original's own
data what they give again, one swept factor whether it changes the count, several which of them
moves it, and a single cell with seeds of several kinds whence its spread comes.

"Yes" needs an adjusted p below 5 % in the family of the cells' extra components (k* of samples
less that of their control); "No" needs every two cells to agree within the margin by two one-sided
tests. Everything else is "Not decided", and a sweep that still runs is too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.adaptive import search_of
from analysis.frames.contrasts import CONTROLLED
from analysis.load import Results
from analysis.page.answered import (
    CONTROL_LINE,
    Chart,
    Headline,
    Mark,
    Number,
    control_text,
    extra_marks,
    extra_number,
    extras,
    interval_of,
    place,
)
from analysis.page.headline_factors import of_factors, of_one_factor
from analysis.page.headline_search import of_search
from analysis.wording import notes
from analysis.wording.names import cell_text, name_of
from study.endpoints.design import ALPHA, smallest_p
from study.results import count_columns


def headline(results: Results) -> Headline:
    """Answer a sweep's question."""
    cells = summary.cells(results)
    done = int(cells["n_done"].sum()) if len(cells) else 0
    if not done:
        return Headline(verdict="Not decided: no trial has finished.", numbers=(), chart=None)
    found = _rule_of(results)(results)
    missing = planned_trials(results) - int(cells[["n_done", "n_stopped", "n_failed"]].sum().sum())
    if missing > 0:
        verdict = f"Not decided: {done} of {planned_trials(results)} planned trials have finished."
        return Headline(verdict=verdict, numbers=found.numbers, chart=found.chart)
    return found


def planned_trials(results: Results) -> int:
    """Count the planned trials, those of cells without a row among them."""
    return max(len(results.plan), int(summary.cells(results)["n_planned"].sum()))


def _rule_of(results: Results) -> Callable[[Results], Headline]:
    if search_of(results) is not None:
        return of_search
    if summary.is_the_original(results):
        return _of_original
    frame = extras(results)
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if frame.empty or not len(factors):
        return _of_seeds if several_seeds(results) and len(frame) else _of_one_cell
    return of_one_factor if len(factors) == 1 and len(frame) > 1 else of_factors


def several_seeds(results: Results) -> bool:
    found = summary.variance_components(results, [CONTROLLED])
    return len(found) > 1


def _of_one_cell(results: Results) -> Headline:
    """Say whether samples take other counts than true data, or that nothing says so."""
    frame = extras(results)
    if frame.empty:
        return _of_endpoints(results)
    row = summary.named_rows(frame)[0]
    n = int(row.n_data)
    amount = f"{abs(row.estimate):.1f} components {'more' if row.estimate > 0 else 'fewer'}"
    if row.p_value < ALPHA:
        verdict = f"Yes: samples take {amount} than true data."
    elif n < 2 or smallest_p(n) > ALPHA:
        verdict = (
            f"Not decided: samples take {amount} than true data, but "
            f"{notes.count(n, 'data set')} cannot reach {ALPHA:.0%}."
        )
    else:
        verdict = f"Not decided: samples take {amount} than true data (p = {row.p_value:.2g})."
    marks = extra_marks(frame, [cell_text(c) for c in frame["cell"]], str(row.cell))
    return Headline(
        verdict=verdict,
        numbers=(extra_number(results, row),),
        chart=Chart(
            kind="dots", marks=marks, axis="extra components of samples", line=0.0,
            line_text=CONTROL_LINE, signed=True,
        ),
    )  # fmt: skip


def _of_endpoints(results: Results) -> Headline:
    """Fall back on forward KL where no count has a control."""
    frame = summary.endpoints_by_cell(results).dropna(subset=["estimate"])
    verdict = "Not decided: no count of samples has a control."
    if frame.empty:
        return Headline(verdict=verdict, numbers=(), chart=None)
    frame = frame[frame["endpoint"] == frame["endpoint"].iloc[0]].head(20)
    name = name_of(str(frame["endpoint"].iloc[0]))
    reference = summary.reference_cell(results)
    marks = tuple(
        Mark(
            label=cell_text(r.cell), value=float(r.estimate), low=float(r.low),
            high=float(r.high), cell=str(r.cell), is_main=r.cell == reference,
            hover=f"{cell_text(r.cell)}: {r.estimate:.3f}, {interval_of(r, digits=3)}",
        )
        for r in summary.named_rows(frame)
    )  # fmt: skip
    rows = summary.named_rows(frame)
    row = next((one for one in rows if one.cell == reference), rows[0])
    number = Number(
        text=f"{row.estimate:.3f}", what=name + place(row.cell), interval=interval_of(row)
    )
    chart = Chart(kind="bars" if len(marks) > 8 else "dots", marks=marks, axis=name, digits=2)
    return Headline(verdict=verdict, numbers=(number,), chart=chart)


def _of_seeds(results: Results) -> Headline:
    """Say which seed the spread of the count comes from."""
    frame = summary.variance_components(results, [CONTROLLED]).sort_values(
        "share", ascending=False
    )
    rows = summary.named_rows(frame)
    parts = [f"{r.component} seeds {r.share:.0%}" for r in rows]
    first = rows[0]
    verdict = (
        f"Mostly from the {first.component} seeds: of the variance of the count of samples "
        f"{', '.join(parts)}."
    )
    marks = tuple(
        Mark(
            label=f"{r.component} seeds", value=float(r.share), is_main=r is first,
            hover=f"{r.component} seeds: {r.share:.1%} of the variance, sd {r.sd:.2f}",
        )
        for r in rows
    )  # fmt: skip
    number = Number(
        text=f"{first.share:.0%}",
        what=f"of the variance of k* of samples is between {first.component} seeds",
        interval=f"sd {first.sd:.1f} [{np.sqrt(max(first.low, 0)):.1f}, "
        f"{np.sqrt(max(first.high, 0)):.1f}], {first.level:.0%} interval, "
        f"{notes.count(int(first.n_data), 'data set')}",
        control=control_text(results, summary.reference_cell(results)),
    )
    chart = Chart(
        kind="bars", marks=marks, axis="share of the variance of k* of samples", percent=True
    )
    return Headline(verdict=verdict, numbers=(number,), chart=chart)


_OWN = (
    ("means", "original"), ("data", "original"), ("samples", "calibrated"), ("data", "calibrated"),
)  # fmt: skip


def _of_original(results: Results) -> Headline:
    """Say whether the original's count comes again, and what else the same points give."""
    done = summary.done_trials(results.trials)
    k, _, flag = count_columns("means", "original")
    compared = summary.named_rows(summary.report_against_replication(results))
    own = next((row for row in compared if row.quantity == k), None)
    if own is None:
        return _of_one_cell(results)
    reported = int(own.reported)
    n = int(done[flag].fillna(False).astype(bool).sum())
    word = "Yes, the report's" if own.inside else "No, not the report's"
    verdict = (
        f"{word} {reported}: {n} of {len(done)} networks end at the protocol's largest k, "
        f"14; true data give {_mean_k(done, 'data', 'original')}."
    )
    marks = []
    for source, protocol in _OWN:
        column = count_columns(source, protocol)[0]
        values = done.drop_duplicates("control_id") if source == "data" else done
        known = values[column].dropna().astype(float)
        if known.empty:
            continue
        name = {"means": "decoder means", "data": "true data"}.get(source, source)
        marks.append(
            Mark(
                label=f"{name}, {protocol}", value=float(known.mean()), low=float(known.min()),
                high=float(known.max()), is_main=source == "means",
                hover=f"{name}, {protocol} protocol: mean {known.mean():.1f}, {known.min():g} to "
                f"{known.max():g} in {notes.count(len(known), 'count')}",
            )
        )  # fmt: skip
    true_k = float(done["n_components"].iloc[0])
    number = Number(
        text=f"{own.mean:.1f}",
        what=f"modes detected on decoder means; the report: {reported}",
        interval=f"range over {notes.count(int(own.n_trials), 'network')} {own.low:g} to "
        f"{own.high:g}; one data set, so no interval",
        control=control_text(results, summary.reference_cell(results)),
    )
    chart = Chart(
        kind="dots", marks=tuple(marks), axis="detected modes k* (mean and range)", line=true_k,
        line_text=f"true components: {true_k:g}",
    )  # fmt: skip
    return Headline(verdict=verdict, numbers=(number,), chart=chart)


def _mean_k(done: pd.DataFrame, source: str, protocol: str) -> str:
    values = done[count_columns(source, protocol)[0]].dropna().astype(float)
    return f"{values.mean():.1f}".removesuffix(".0") if len(values) else "no count"
