"""The answer of an adaptive sweep: see `analysis.page.headline`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.frames.adaptive import search_of, suggestions
from analysis.load import Results
from analysis.page.answered import Chart, Headline, Mark, Number, control_text
from analysis.wording import notes
from analysis.wording.names import cell_text


def of_search(results: Results) -> Headline:
    """Name the winner with its value on fresh seeds, or the front, or the boundary's cells."""
    frame = suggestions(results).dropna(subset=["value"])
    search = search_of(results) or {}
    if frame.empty:
        return Headline(
            verdict="Not decided: no cell of the search has a value yet.", numbers=(), chart=None
        )
    objectives = list(dict.fromkeys(frame["objective"]))
    one = frame[frame["objective"] == objectives[0]]
    n = one["cell"].nunique()
    if search.get("goal") == "boundary":
        verdict = (
            f"Not decided by one cell: {n} cells surround the boundary of {objectives[0]} = "
            f"{search.get('level')}; the map shows it."
        )
        return Headline(verdict=verdict, numbers=(), chart=_search_chart(one, ""))
    best = one[one["is_best"].astype(bool)]
    if best.empty:
        return Headline(
            verdict=f"Not decided: of {n} cells none is the best yet.", numbers=(),
            chart=_search_chart(one, ""),
        )  # fmt: skip
    lead = summary.named_rows(best)[0]
    if len(objectives) > 1:
        verdict = (
            f"The winners are the {notes.count(len(best), 'cell')} of the Pareto front of "
            f"{len(objectives)} objectives, such as {cell_text(lead.cell)}."
        )
    else:
        fresh = "; not yet measured on fresh seeds"
        if np.isfinite(lead.fresh_value):
            fresh = f", on fresh seeds {_value(lead.fresh_value, lead.fresh_se)}"
        verdict = (
            f"The winner is {cell_text(lead.cell)}: {objectives[0]} is "
            f"{_value(lead.value, lead.se)}{fresh}."
        )
    fresh_known = bool(np.isfinite(lead.fresh_value))
    number = Number(
        text=f"{lead.fresh_value if fresh_known else lead.value:.3g}",
        what=f"{objectives[0]} at {cell_text(lead.cell)}",
        interval=f"standard error {lead.fresh_se if fresh_known else lead.se:.2g}, "
        + (
            f"{notes.count(int(lead.fresh_n), 'fresh training')}"
            if fresh_known
            else f"{notes.count(int(lead.n), 'training')} that also chose it"
        ),
        control=control_text(results, lead.cell),
    )
    return Headline(verdict=verdict, numbers=(number,), chart=_search_chart(one, lead.cell))


def _value(mean: float, error: float) -> str:
    return f"{mean:.3g} ± {error:.2g}" if np.isfinite(error) else f"{mean:.3g}"


def _search_chart(frame: pd.DataFrame, main: str, n: int = 8) -> Chart:
    """Draw the best cells, the best first."""
    lowest = frame["direction"].eq("minimize").all()
    rows = summary.named_rows(frame.sort_values("value", ascending=bool(lowest)).head(n))
    marks = tuple(
        Mark(
            label=cell_text(r.cell), value=float(r.value), low=float(r.value - r.se),
            high=float(r.value + r.se), cell=str(r.cell), is_main=r.cell == main,
            hover=f"{cell_text(r.cell)}: {_value(r.value, r.se)} (mean ± standard error), "
            f"{notes.count(int(r.n), 'training')}",
        )
        for r in rows
    )  # fmt: skip
    objective = str(frame["objective"].iloc[0])
    which = "lowest" if lowest else "highest"
    text = f"{objective}, mean ± standard error; the {len(rows)} {which} of {len(frame)} cells"
    return Chart(kind="bars", marks=marks, axis=text, digits=2)
