"""Verdicts: what a test says of one difference, and the sentence that says no more than that.

"Differs" needs the adjusted p of the whole primary family; "agrees" needs two one-sided tests
within a margin that is named; everything else is open, which is neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.equivalence import margin_of
from analysis.load import Results
from analysis.statistics.hypotheses import equivalence_test
from analysis.tables.table import quantity_name
from analysis.wording import notes as captions
from analysis.wording.names import cell_text
from study.endpoints.design import ALPHA, smallest_p
from study.results import endpoint as endpoint_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of one difference.

    Parameters
    ----------
    word : str
        "differs", "agrees" (within the margin) or "open".
    endpoint, cell, against : str
        What was measured, where, and beside what: a cell or "control".
    estimate, low, high : float
        Mean difference and its simultaneous interval; NaN where the design gives none.
    p : float
        Adjusted over the primary family.
    p_skewed : float
        The same without the assumption that nothing would make the differences symmetric.
    margin, p_margin : float
        Of the two one-sided tests.
    n_above, n_below, n_data : int
        Data sets above and below zero, and all of them.
    """

    word: Literal["differs", "agrees", "open"]
    endpoint: str
    cell: str
    against: str
    estimate: float
    low: float
    high: float
    p: float
    p_skewed: float
    margin: float
    p_margin: float
    n_above: int
    n_below: int
    n_data: int

    @property
    def numbers(self) -> str:
        """The difference with its interval, and the test that the word rests on."""
        if self.n_above == self.n_below == 0:
            return f"equal in each of {captions.count(self.n_data, 'data set')}"
        digits = 1 if self.endpoint.startswith("k_") else 3
        text = f"{self.estimate:+.{digits}f}"
        if np.isfinite(self.low) and self.low < self.high:
            text += f" [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"
        if self.word == "agrees":
            text += f", {p_equals(self.p_margin)} for a larger one"
        else:
            text += f", adjusted {p_equals(self.p)}"
        if self.word == "differs" and self.p_skewed >= ALPHA:
            text += f", {self.p_skewed:.2g} if the differences may be skewed"
        side = "above" if self.n_above >= self.n_below else "below"
        text += f", {max(self.n_above, self.n_below)} of {self.n_data} data sets {side}"
        small = self.word == "differs" and self.p_margin < ALPHA
        return f"{text}, by less than {self.margin:g}" if small else text


def p_equals(p: float) -> str:
    """Write a p-value in a sentence."""
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def verdicts(results: Results) -> list[Verdict]:
    """Judge every comparison of the primary family."""
    # The frame has the comparisons' order.
    rows = summary.named_rows(summary.primary_family(results))
    found = []
    for test, row in zip(summary.primary_comparisons(results), rows, strict=True):
        means = pd.Series(test.differences).groupby(test.seeds).mean().dropna()
        margin = margin_of(test.endpoint)
        within = equivalence_test(test.differences, test.seeds, margin=margin)
        agrees = within.n_clusters > 1 and within.p_value < ALPHA
        word: Literal["differs", "agrees", "open"] = "agrees" if agrees else "open"
        if row.p_adjusted < ALPHA:
            word = "differs"
        found.append(
            Verdict(
                word=word,
                endpoint=test.endpoint,
                cell=test.cell,
                against=test.reference,
                estimate=within.difference,
                low=float(row.low_all),
                high=float(row.high_all),
                p=float(row.p_adjusted),
                p_skewed=float(row.p_skewed),
                margin=margin,
                p_margin=within.p_value,
                n_above=int((means > 0).sum()),
                n_below=int((means < 0).sum()),
                n_data=len(means),
            )
        )
    return found


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
    """Say which cells differ from the reference cell in each primary endpoint, and which agree."""
    judged = [one for one in verdicts(results) if one.n_data > 1]
    cells = [one for one in judged if one.against != "control"]
    if not cells:
        return []
    head = (
        f"Against {cell_text(cells[0].against)}, the primary family of "
        f"{captions.count(len(judged), 'test')} judged together (step-down max-T by joint sign "
        "flips of the data sets):"
    )
    names = dict.fromkeys(one.endpoint for one in cells)
    parts = [_endpoint_text([one for one in cells if one.endpoint == name]) for name in names]
    return [head + _note(cells), *parts]


def _endpoint_text(tests: Sequence[Verdict]) -> str:
    """Say of one endpoint where it differs, where it agrees and where neither is shown."""
    by_word = {
        word: [one for one in tests if one.word == word] for word in ("differs", "agrees", "open")
    }
    parts = []
    if by_word["differs"]:
        parts.append("differs at " + _listed(by_word["differs"]))
    if by_word["agrees"]:
        unit = unit_text(tests[0].endpoint)
        parts.append(f"agrees within {tests[0].margin:g} {unit} at {_listed(by_word['agrees'])}")
    if by_word["open"]:
        where = "; ".join(cell_text(one.cell) for one in by_word["open"][:4])
        more = len(by_word["open"]) - 4
        where += f" and {more} more" if more > 0 else ""
        parts.append(f"is shown neither to differ nor to agree at {where}")
    name = short_name(tests[0].endpoint)
    return f"{name[0].upper()}{name[1:]} {'; it '.join(parts)}."


def _listed(tests: Sequence[Verdict], n: int = 4) -> str:
    """Name the largest differences, in the sweep's order."""
    largest = sorted(tests, key=lambda one: -abs(one.estimate))[:n]
    shown = [one for one in tests if one in largest]
    more = f" and {len(tests) - len(shown)} more" if len(tests) > len(shown) else ""
    return "; ".join(f"{cell_text(one.cell)} ({one.numbers})" for one in shown) + more


def _note(tests: Sequence[Verdict]) -> str:
    text = ""
    if any(np.isfinite(one.low) for one in tests):
        text = " brackets are 95% intervals that hold for the whole family at once."
    n = max(one.n_data for one in tests)
    if smallest_p(n) > ALPHA:
        text += (
            f" with {n} data sets the smallest possible p is {float(smallest_p(n)):.2g}, so no "
            "comparison could have passed; this design can only be described."
        )
    return text


def control(results: Results) -> list[str]:
    """Say whether samples of the reference cell need other counts than their control."""
    found = []
    for one in verdicts(results):
        if one.against != "control":
            continue
        where = f" in the cell {one.cell}" if "=" in one.cell else ""
        if one.word == "differs":
            more = "more" if one.estimate > 0 else "fewer"
            text = (
                f"Samples{where} take {abs(one.estimate):.1f} components {more} than their control"
            )
        elif one.word == "agrees":
            text = (
                f"Samples{where} take as many components as their control, to within "
                f"{one.margin:g}"
            )
        else:
            text = (
                f"It is open whether samples{where} take more or fewer components than their "
                "control"
            )
        numbers = one.numbers if one.n_data > 1 else f"{one.estimate:+.1f}, one data set, no test"
        found.append(f"{text} ({numbers}){_ceiling_text(results, one.cell)}.")
    return found


def _ceiling_text(results: Results, cell: str) -> str:
    done = summary.done_trials(results.trials)
    flags = done.loc[done["cell"] == cell, "at_ceiling_samples_calibrated"].dropna()
    share = float(flags.astype(float).mean()) if len(flags) else 0.0
    return f"; {share:.0%} of the counts are at the ceiling" if share > 0 else ""
