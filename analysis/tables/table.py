"""A table: one numeric frame, shown as CSV, Markdown, LaTeX (booktabs) and HTML.

The CSV holds every number at full precision; the other three show rounded text with intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.wording.names import level_text, name_of, source_name


class NotTabulated(Exception):
    """A table that this sweep cannot fill; the message says why."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Parameters
    ----------
    title, caption : str
    data : pandas.DataFrame
        Numbers at full precision.
    shown : pandas.DataFrame
        The same as text for readers.
    """

    title: str
    caption: str
    data: pd.DataFrame
    shown: pd.DataFrame

    def to_markdown(self) -> str:
        """Write as Markdown with its title and caption."""
        body = self.shown.to_markdown(index=False, disable_numparse=True)
        return f"## {self.title}\n\n{body}\n\n{self.caption}\n"

    def to_latex(self, label: str) -> str:
        """Write as a LaTeX table with booktabs rules; wide ones are scaled to the line."""
        escaped = self.shown.map(latex_text)
        escaped.columns = [latex_text(name) for name in self.shown.columns]
        text = str(
            escaped.to_latex(index=False, caption=latex_text(self.caption), label=f"tab:{label}")
        )
        if len(self.shown.columns) > 7:
            text = text.replace(r"\begin{tabular}", r"\resizebox{\linewidth}{!}{\begin{tabular}")
            text = text.replace(r"\end{tabular}", r"\end{tabular}}")
        return "% needs the packages booktabs and graphicx\n" + text


def latex_text(text: object) -> str:
    """Escape what LaTeX would take as a command."""
    special = {
        "\\": r"\textbackslash{}",
        "%": r"\%",
        "_": r"\_",
        "&": r"\&",
        "#": r"\#",
        "$": r"\$",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
    return "".join(special.get(letter, letter) for letter in str(text))


def decimal(value: float, *, digits: int = 2) -> str:
    """Write a number; a dash where there is none."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def share_text(value: float) -> str:
    """Write a share as a percentage; a dash where there is none."""
    return f"{value:.0%}" if np.isfinite(value) else "-"


def estimate_text(row: pd.Series | Mapping[str, Any], *, digits: int = 2) -> str:
    """Write an estimate with its interval: "1.82 [1.75, 1.90]"; a dash where there is none."""
    if row["interval"] == "constant":
        return decimal(row["estimate"], digits=digits)
    return with_limits(row["estimate"], row["low"], row["high"], digits=digits)


def with_limits(estimate: float, low: float, high: float, *, digits: int) -> str:
    """Write an estimate with its limits where it has them; a dash where there is none."""
    text = decimal(estimate, digits=digits)
    if not np.isfinite([estimate, low, high]).all():
        return text
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def cell_columns(frame: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """Show the factors of a frame's rows, or the cell where nothing is swept."""
    if not factors:
        return pd.DataFrame({"cell": frame["cell"].astype(str)}).reset_index(drop=True)
    columns = {name_of(name): frame[name].map(level_text) for name in factors}
    return pd.DataFrame(columns).reset_index(drop=True)


def p_text(value: float) -> str:
    """Write a p-value; a dash where there is none."""
    if not np.isfinite(value):
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def quantity_name(column: str) -> str:
    """Name a column of the trials table for people, counts as k* with source and protocol."""
    if column in ("modal_modes_samples", "modal_modes_data"):
        kind = "samples" if column.endswith("samples") else "the control"
        return f"density modes of {kind} (modal EM)"
    if not column.startswith("k_") or column == "k_id":
        return name_of(column)
    source, protocol = column.removeprefix("k_").split("_")
    return f"k*, {source_name(source)}, {protocol} protocol"
