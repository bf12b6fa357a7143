"""One object for the results of a sweep in Python: `study.open("results/latent_dims")`.

It is a door, not a store: `frames` is what the frames, figures and tables of this package take.
"""

from __future__ import annotations

import difflib
import html
import inspect
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import theme
from analysis.figures.registry import FIGURES, figures_of
from analysis.frames import summary
from analysis.load import Results, load_results
from analysis.page import answer
from analysis.page.headline import headline as verdict_of
from analysis.tables.tables import TABLES, Table, tables_of
from analysis.wording.notes import denominators
from study.results import describe_column, endpoint

# Of the headline, in a notebook.
SHOWN_ROWS = 5
_ENDS = ("_estimate", "_lost_low", "_lost_high", "_low", "_high")
_COUNTED = {"n_data": "data seeds", "n_init": "init seeds"}


def open_results(location: str | Path) -> SweepResults:
    """Open a results folder.

    Parameters
    ----------
    location : path or URI
        The folder of a sweep, such as results/latent_dims.

    Returns
    -------
    SweepResults

    Raises
    ------
    ResultsError
        The folder is absent, damaged, of another schema version, or holds no trial yet.
    """
    return SweepResults(load_results(location))


class SweepResults:
    """The results of a sweep, read once.

    Parameters
    ----------
    frames : Results
        All tables, as the functions of `analysis.frames` take them.
    """

    def __init__(self, frames: Results) -> None:
        self.frames = frames

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.frames.manifest.name

    @property
    def question(self) -> str:
        """What the sweep was to answer."""
        return self.frames.manifest.question

    @property
    def trials(self) -> pd.DataFrame:
        """One row per recorded trial; `describe` says what a column holds."""
        return self.frames.trials

    @cached_property
    def headline(self) -> pd.DataFrame:
        """One row per cell: coverage beside its control, and the primary endpoints.

        `.attrs["units"]` maps columns to units, `.attrs["caption"]` says what the intervals are.
        Raises `NotTabulated` where no trial finished.
        """
        table = self.table("headline")
        frame = table.data.copy()
        frame.attrs = {"units": _units(frame), "caption": table.caption}
        return frame

    @cached_property
    def verdict(self) -> str:
        """The answer in one sentence, as the report's first screen has it."""
        return verdict_of(self.frames).verdict

    @property
    def answer(self) -> list[str]:
        """The answer in sentences, each with its numbers, as the report's page has it."""
        return answer.sentences(self.frames)

    @property
    def figures(self) -> list[str]:
        """Names of the figures that a sweep of this kind can have."""
        return figures_of(self.frames)

    @property
    def tables(self) -> list[str]:
        """Names of the tables that a sweep of this kind can have."""
        return list(tables_of(self.frames))

    def figure(self, name: str, **choices: Any) -> Figure:
        """Draw one of the report's figures.

        Parameters
        ----------
        name : str
            One of `figures`.
        **choices
            What the figure lets one choose, such as `protocol="calibrated"` for coverage.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ValueError
            There is no figure of this name, or what is chosen is not one of its values.
        TypeError
            The figure has no such choice; the message names those that it has.
        NotApplicable
            These results cannot show it; the message says why.
        """
        draw = _named(FIGURES, name, "figure").draw
        known = list(inspect.signature(draw).parameters)[1:]
        strange = sorted(choices.keys() - set(known))
        if strange:
            has = f"it lets one choose {', '.join(known)}" if known else "it has no choices"
            raise TypeError(f"figure {name!r} has no choice {strange[0]!r}; {has}")
        with theme.style():
            drawn = draw(self.frames, **choices)
            drawn.figure.suptitle(drawn.title)
        return drawn.figure

    def table(self, name: str) -> Table:
        """Make one of the report's tables: `.data` has the numbers, `.shown` the text.

        Parameters
        ----------
        name : str
            One of `tables`.

        Raises
        ------
        ValueError
            There is no table of this name.
        NotTabulated
            These results cannot fill it; the message says why.
        """
        return _named(TABLES, name, "table")(self.frames)

    def describe(self, column: str) -> str:
        """Say in one sentence what a column holds, in which unit and between which bounds.

        Parameters
        ----------
        column : str
            Of any table.

        Raises
        ------
        KeyError
            No table has such a column; the message names the nearest one.
        """
        return describe_column(column).sentence(column)

    def __repr__(self) -> str:
        """Return the name, the place and how far the sweep is."""
        return f"<{self.name}: {denominators(self.frames)} {self.frames.location}>"

    def _repr_html_(self) -> str:
        """Return the question, the verdict and the first rows of the headline."""
        lines = (self.question or self.name, self.verdict, denominators(self.frames))
        question, *said = map(html.escape, lines)
        parts = [f"<p><strong>{question}</strong></p>", *(f"<p>{line}</p>" for line in said)]
        if not summary.coverage_by_cell(self.frames).empty:
            shown = self.table("headline").shown
            parts.append(shown.head(SHOWN_ROWS).to_html(index=False, border=0))
            if len(shown) > SHOWN_ROWS:
                parts.append(
                    f"<p>{len(shown) - SHOWN_ROWS} more cells in <code>.headline</code></p>"
                )
        return "\n".join(parts)


def _named(entries: Any, name: str, kind: str) -> Any:
    if name not in entries:
        raise ValueError(f"there is no {kind} {name!r}{_hint(name, entries)}")
    return entries[name]


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _units(frame: pd.DataFrame) -> dict[str, str]:
    """Map the numeric columns of the headline to their units."""
    return {
        str(name): unit
        for name in frame.select_dtypes("number")
        if (unit := _unit(str(name))) is not None
    }


def _unit(column: str) -> str | None:
    if column.endswith("_share_at_ceiling"):
        return "share of trials"
    if column.startswith("n_") and column not in ("n_components", "n_samples"):
        return _COUNTED.get(column, "trials")
    stem = next((column.removesuffix(end) for end in _ENDS if column.endswith(end)), column)
    record = endpoint(stem)
    return record.unit if record else None
