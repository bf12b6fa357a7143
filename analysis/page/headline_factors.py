"""The answer of a sweep over one factor, or over several: see `analysis.page.headline`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.contrasts import CONTROLLED
from analysis.frames.count_contrasts import count_contrasts, less_control
from analysis.load import Results
from analysis.page.answered import (
    CONTROL_LINE,
    Chart,
    Headline,
    Mark,
    Number,
    extra_marks,
    extra_number,
    extras,
    place,
)
from analysis.page.evidence import runs_of_equal
from analysis.wording import notes
from analysis.wording.names import SHORT_NAMES, cell_text, level_text, name_of
from study.endpoints.design import ALPHA, smallest_p

MOST_WORDS = 30
# Of the levels of one factor, so many are named in the sentence.
MOST_LEVELS = 5
_GOES_AWAY = re.compile(r"\b(go(es)? away|vanish(es)?|disappears?)\b")


def _in_order(frame: pd.DataFrame, factor: str) -> pd.DataFrame:
    numeric = pd.api.types.is_numeric_dtype(frame[factor])
    return frame.sort_values(factor, kind="stable") if numeric else frame


def of_one_factor(results: Results) -> Headline:
    factor = summary.independent_factors(summary.cells(results), results.manifest.factors)[0]
    frame = _in_order(extras(results), factor)
    reference = summary.reference_cell(results)
    short = SHORT_NAMES.get(factor, name_of(factor).split(" (")[0])
    levels = [level_text(level) for level in frame[factor]]
    named = _levels_text(results, frame, factor, short)
    verdict = _word(results, frame, short) + ": samples take " + named + "."
    rows = summary.named_rows(frame)
    main = next((one for one in rows if one.cell == reference), rows[0])
    far = max(rows, key=lambda one: abs(one.estimate - main.estimate))
    numbers = (main,) if far is main else (main, far)
    return Headline(
        verdict=verdict,
        numbers=tuple(extra_number(results, one) for one in numbers),
        chart=Chart(
            kind="dots", marks=extra_marks(frame, levels, main.cell), below=name_of(factor),
            axis="extra components of samples", line=0.0, line_text=CONTROL_LINE, signed=True,
        ),
    )  # fmt: skip


def _word(results: Results, frame: pd.DataFrame, short: str) -> str:
    """Choose the word of one factor, with what it says."""
    tests = count_contrasts(results)
    last = summary.named_rows(frame)[-1]
    if _GOES_AWAY.search(results.manifest.question.lower()):
        if last.p_adjusted < ALPHA:
            return "No, they stay" if last.estimate > 0 else "Yes, they go"
        return "Not decided"
    if tests.empty:
        return "Not decided, one cell alone was counted"
    if (tests["p_adjusted"] < ALPHA).any():
        return f"Yes, {short} changes the count"
    pairs = summary.equivalence(less_control(results), CONTROLLED)
    if len(pairs) and pairs["equivalent"].all():
        return f"No, the count agrees within {pairs['margin'].iloc[0]:g} at every {short}"
    n = int(tests["n_data"].max())
    if smallest_p(n) > ALPHA:
        return f"Not decided ({notes.count(n, 'data set')} cannot reach {ALPHA:.0%})"
    return "Not decided"


def _levels_text(results: Results, frame: pd.DataFrame, factor: str, short: str) -> str:
    """Name the extra components at the levels; levels that agree are one run."""
    rows = summary.named_rows(frame)
    pairs = summary.equivalence(less_control(results), CONTROLLED)
    levels = list(frame[factor])
    equal = set()
    if len(pairs):
        same = pairs[pairs["equivalent"]]
        equal = set(zip(same["from_level"], same["to_level"], strict=True))
    by_level = dict(zip(levels, rows, strict=True))
    runs = [[by_level[level] for level in run] for run in runs_of_equal(levels, equal)]
    kept = _telling(runs, summary.reference_cell(results))
    parts = []
    for index, run in enumerate(kept):
        low, high = run[0], run[-1]
        values = [f"{one.estimate:+.1f}" for one in (low, high)]
        amount = values[0] if values[0] == values[1] else " to ".join(values)
        first = getattr(low, factor)
        where = level_text(first)
        if len(run) > 1:
            where += f" to {level_text(getattr(high, factor))}"
        noun, name = ("components against true data ", f"{short} = ") if not index else ("", "")
        parts.append(f"{amount} {noun}at {name}{where}")
    return ", ".join(parts)


def _telling(runs: list[list[Any]], reference: str) -> list[list[Any]]:
    """Choose the runs to name: the ends, the extremes and the reference's, in their order."""
    if len(runs) <= MOST_LEVELS:
        return runs
    means = [float(np.mean([one.estimate for one in run])) for run in runs]
    own = next((i for i, run in enumerate(runs) if any(r.cell == reference for r in run)), 0)
    kept = {0, len(runs) - 1, own, int(np.argmin(means)), int(np.argmax(means))}
    return [runs[index] for index in sorted(kept)]


def of_factors(results: Results) -> Headline:
    """Say which factor carries most of the variance of the extra components."""
    frame = summary.anova(less_control(results), CONTROLLED, scale="raw")
    seeds = ("data seed", "other seeds", "cells x data seed")
    terms = frame[~frame["term"].isin(seeds)] if len(frame) else frame
    rows = extras(results)
    if terms.empty:
        return _of_many_cells(results, rows)
    terms = terms.sort_values("omega_sq", ascending=False)
    first = terms[~terms["term"].str.contains(" x ")].iloc[0]
    column = str(first["term"])
    short = SHORT_NAMES.get(column, name_of(column).split(" (")[0])
    means = rows.groupby(column, sort=True)["estimate"].mean()
    span = ", ".join(
        f"{means[level]:+.1f} at {short + ' = ' if index == 0 else ''}{level_text(level)}"
        for index, level in enumerate([means.index[0], means.index[-1]])
    )
    n = int(first["n_data"])
    amount = f"{first['omega_sq']:.0%}"
    share = f"{short} carries the largest share of the variance of extra components ({amount})"
    tests = count_contrasts(results)
    if smallest_p(n) > ALPHA:
        head = f"Not decided ({notes.count(n, 'data set')} cannot reach {ALPHA:.0%})"
    else:
        head = "Yes" if (tests["p_adjusted"] < ALPHA).any() else "Not decided"
    marks = tuple(
        Mark(
            label=_term_text(r.term), value=max(float(r.omega_sq), 0.0), low=float(r.low),
            high=float(r.high), is_main=r.term == column,
            hover=f"{_term_text(r.term)}: {r.omega_sq:.1%} of the variance",
        )
        for r in summary.named_rows(terms.head(7))
    )  # fmt: skip
    number = Number(
        text=f"{first['omega_sq']:.0%}",
        what=f"of the variance of extra components goes with {short}",
        interval=f"95% jackknife t interval {first['low']:.0%} to {first['high']:.0%}, "
        f"{notes.count(n, 'data set')}",
        control="share of this grid; extra: k* of samples less that of true data",
    )
    chart = Chart(
        kind="bars", marks=marks, axis="share of the variance of extra components", percent=True
    )
    return Headline(verdict=f"{head}: {share}: {span}.", numbers=(number,), chart=chart)


def _term_text(term: str) -> str:
    return " x ".join(SHORT_NAMES.get(part, name_of(part)) for part in term.split(" x "))


def _of_many_cells(results: Results, extra: pd.DataFrame) -> Headline:
    """Name the extremes where no analysis of variance can be made."""
    rows = summary.named_rows(extra.sort_values("estimate"))
    low, high = rows[0], rows[-1]
    tests = count_contrasts(results)
    yes = len(tests) > 0 and bool((tests["p_adjusted"] < ALPHA).any())
    verdict = f"{'Yes' if yes else 'Not decided'}: samples take {low.estimate:+.1f} components"
    if len(rows) > 1:
        verdict += f"{place(low.cell)}, {high.estimate:+.1f}{place(high.cell)}"
    main = summary.reference_cell(results)
    own = next((one for one in rows if one.cell == main), rows[-1])
    marks = extra_marks(extra.head(20), [cell_text(c) for c in extra["cell"].head(20)], main)
    chart = Chart(
        kind="bars", marks=marks, axis="extra components of samples", line=0.0,
        line_text=CONTROL_LINE, signed=True,
    )  # fmt: skip
    return Headline(
        verdict=shortened(verdict) + ".", numbers=(extra_number(results, own),), chart=chart
    )


def shortened(text: str, n: int = MOST_WORDS) -> str:
    """Cut a sentence to so many words."""
    words = text.split()
    return text if len(words) <= n else " ".join(words[: n - 1]) + " ..."
