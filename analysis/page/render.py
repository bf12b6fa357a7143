"""One self-contained page: everything it needs is inside, packed where it is large."""

from __future__ import annotations

import base64
import html
import importlib.resources
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import markupsafe
import pandas as pd

from analysis.frames import summary
from analysis.frames.cells import named_rows
from analysis.load import Manifest, Results
from analysis.page import across, answer
from analysis.page.answered import Headline
from analysis.page.cell_table import CellRow, cell_heads, cell_rows
from analysis.page.cells import CellPage
from analysis.page.chips import Chip, chips, ill_controls
from analysis.page.explore import Explored, explored
from analysis.page.headline import headline, planned_trials
from analysis.page.hero import hero_svg
from analysis.page.packing import packed
from analysis.tables.tables import Table
from analysis.wording import notes as captions
from analysis.wording.glossary import GLOSSARY, with_terms
from analysis.wording.names import cell_text
from study.results import CERTIFICATE, open_folder

_HERE = Path(__file__).parent
# Nobody reads more rows without the script that sorts and filters them, which can unpack them too.
PLAIN_ROWS = 400
SECTIONS = ("endpoints", "robustness", "theory", "search")


def first_sentence(text: str) -> tuple[str, str]:
    """Cut a text behind its first sentence."""
    found = re.match(r"(.+?[^.\d][.](?=\s+[A-Z0-9]|$))\s*(.*)", text, flags=re.S)
    return (found[1], found[2]) if found else (text, "")


@dataclass(frozen=True, slots=True)
class FigureEntry:
    """A figure as the page shows it; without an image when `reason` says why it is left out."""

    name: str
    title: str
    reason: str = ""
    caption: str = ""
    alt: str = ""
    image: str = ""
    kind: str = "png"
    width: int = 0
    height: int = 0
    section: str = "theory"
    query: str = ""

    @property
    def seen(self) -> str:
        """The caption's first sentence; `read` has the others."""
        return first_sentence(self.caption)[0]

    @property
    def read(self) -> str:
        """How to read the figure."""
        return first_sentence(self.caption)[1]


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A table as the page shows it; empty when `reason` says why it is left out.

    `body` is its HTML; that of more than `PLAIN_ROWS` rows is packed, in `rows`.
    """

    name: str
    title: str
    reason: str = ""
    caption: str = ""
    body: str = ""
    rows: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepEntry:
    """One sweep on the page.

    Parameters
    ----------
    at : str
        What its anchors start with: empty when it is alone on the page.
    base : str
        Where its files lie, seen from the page: empty or a relative path with a slash behind.
    running : str
        What has not run yet; empty when all has.
    """

    at: str
    manifest: Manifest
    headline: Headline
    hero: str
    chips: Sequence[Chip]
    explored: Explored
    cell_heads: Sequence[str]
    cell_rows: Sequence[CellRow]
    ill_controls: Sequence[Any]
    answer: Sequence[str]
    denominators: str
    figures: Sequence[FigureEntry]
    tables: Sequence[TableEntry]
    left_out: Sequence[FigureEntry | TableEntry]
    cells: Sequence[CellPage]
    provenance: Sequence[tuple[str, str]]
    sweep_text: str
    base: str = ""
    running: str = ""

    @property
    def lead_figure(self) -> str:
        """The one figure that stands open."""
        first = self.figures_in("endpoints")
        names = [figure.name for _, figure in first]
        return "endpoints" if "endpoints" in names else names[0] if names else ""

    def evidence_of(self, chip: Chip) -> str:
        """Return the anchor of a chip's evidence, or the answer's where the page lacks it."""
        kind, _, name = chip.anchor.partition("-")
        there = {
            "figure": {figure.name for figure in self.figures},
            "table": {table.name for table in self.tables},
        }.get(kind)
        if chip.anchor == "method" or (chip.anchor == "controls" and not self.ill_controls):
            return "method"  # which the sweeps of a page share
        return self.at + (chip.anchor if there is None or name in there else "answer-full")

    def figures_in(self, section: str) -> list[tuple[int, FigureEntry]]:
        """List the figures of a part of the page with their numbers."""
        numbered = enumerate(self.figures, start=1)
        return [(number, figure) for number, figure in numbered if figure.section == section]


@dataclass(frozen=True, slots=True)
class AcrossEntry:
    """What a page over several sweeps says of them together."""

    sentences: Sequence[str]
    table: TableEntry | None


def across_entry(sweeps: Mapping[str, Results]) -> AcrossEntry:
    """Gather what the page says of several sweeps together."""
    table = across.table(sweeps)
    entry = None if table is None else table_entry("across", table)
    return AcrossEntry(across.sentences(sweeps), entry)


def sweep_entry(
    results: Results,
    figures: Sequence[FigureEntry],
    tables: Sequence[TableEntry],
    cells: Sequence[CellPage],
    *,
    at: str = "",
) -> SweepEntry:
    """Gather what the page shows of one sweep."""
    sweep = pd.Series(dict(results.manifest.sweep), dtype=object)
    answered = headline(results)
    return SweepEntry(
        at=at,
        manifest=results.manifest,
        headline=answered,
        hero=hero_svg(answered.chart),
        chips=chips(results),
        explored=explored(results),
        cell_heads=cell_heads(),
        cell_rows=cell_rows(results),
        ill_controls=named_rows(ill_controls(results)),
        answer=answer.sentences(results),
        denominators=captions.denominators(results),
        figures=sorted((entry for entry in figures if not entry.reason), key=_page_order),
        tables=[entry for entry in tables if not entry.reason],
        left_out=[*(f for f in figures if f.reason), *(t for t in tables if t.reason)],
        cells=cells,
        provenance=_provenance(results),
        sweep_text=sweep.to_json(indent=1),
        running=_running(results),
    )


def _page_order(figure: FigureEntry) -> tuple[int, bool]:
    """Order figures as the page has them, the primary endpoints first, so that numbers rise."""
    return SECTIONS.index(figure.section), figure.name != "endpoints"


def _running(results: Results) -> str:
    cells = summary.cells(results)
    ended = int(cells[["n_done", "n_stopped", "n_failed"]].sum().sum())
    planned = planned_trials(results)
    if ended >= planned:
        return ""
    return (
        f"{planned - ended} of {planned} planned trials have not run. Every number here is "
        "provisional: do not quote it."
    )


def _provenance(results: Results) -> list[tuple[str, str]]:
    manifest, trials = results.manifest, results.trials
    found = [("sweep hash", manifest.sweep_hash), ("planned at commit", manifest.commit)]
    commits = trials["commit"].dropna().unique()
    found.append(("rows made by commit", ", ".join(map(str, commits)) or "not recorded"))
    if trials["dirty"].fillna(False).astype(bool).any():
        found.append(("warning", "some rows were made by code that was not committed"))
    if trials["dirty"].isna().any():
        found.append(("warning", "some rows do not say whether their code was committed"))
    found.append(("verification", certificate(results.location)))
    return found


def certificate(location: str | Path) -> str:
    """Say what `python -m study.verify` found when it last recomputed trials of a folder.

    Parameters
    ----------
    location : path or URI
    """
    try:
        content = open_folder(location).read_object(CERTIFICATE)
    except FileNotFoundError:
        return "none yet; python -m study.verify recomputes some trials and compares"
    except (OSError, ValueError) as error:
        return f"{CERTIFICATE} cannot be read ({str(error).partition(chr(10))[0]})"
    plain = {name: value for name, value in content.items() if not isinstance(value, (dict, list))}
    counted = {name: len(value) for name, value in content.items() if isinstance(value, list)}
    return "; ".join(
        f"{name.replace('_', ' ')}: {_certified(value)}"
        for name, value in (plain | counted).items()
    )


def _certified(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return str(value)


def table_entry(name: str, table: Table) -> TableEntry:
    """Turn a table into what the page shows."""
    head, rows = _table_html(table)
    if len(table.shown) <= PLAIN_ROWS:
        return TableEntry(name, table.title, caption=table.caption, body=_with_rows(head, rows))
    caption = f"{table.caption} {len(table.shown)} rows, which show only where scripts run."
    return TableEntry(
        name, table.title, caption=caption, body=_with_rows(head, ""), rows=packed(rows)
    )


def _with_rows(head: str, rows: str) -> str:
    return f"{head}<tbody>{rows}</tbody>"


def _table_html(table: Table) -> tuple[str, str]:
    """Write head and rows with row headings, so that a screen reader can name each number.

    Cells that start with a number are sorted by it: "1.82 [1.75, 1.90]" is 1.82.
    """
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in table.shown)
    cells = _cells_of_rows(table)
    orders = [_sort_keys(table.shown.iloc[:, i]) for i in range(table.shown.shape[1])]
    lines = []
    for index, row in enumerate(table.shown.itertuples(index=False)):
        parts = []
        own = cells[index] if cells else ""
        for column, value in enumerate(row):
            tag = 'th scope="row"' if column == 0 else "td"
            order = orders[column]
            key = f' data-order="{order[index]:g}"' if order is not None else ""
            if own and column == 0:
                # The filter finds a cell by the name that it has everywhere.
                name = cell_text(own)
                found = f"{value} {name} {name.replace(' ', '')}"
                key += f' data-search="{html.escape(found, quote=True)}"'
            parts.append(f"<{tag}{key}>{html.escape(str(value))}</{tag[:2]}>")
        mark = f' data-cell="{html.escape(own, quote=True)}"' if own else ""
        lines.append(f"<tr{mark}>{''.join(parts)}</tr>")
    return f"<thead><tr>{head}</tr></thead>", "".join(lines)


def _cells_of_rows(table: Table) -> list[str]:
    """Return the cell of each row, where the rows are of cells."""
    if "cell" not in table.data or len(table.data) != len(table.shown):
        return []
    return table.data["cell"].astype(str).tolist()


def _sort_keys(column: pd.Series) -> list[float] | None:
    """Give the leading number of each text, when every text has one or is a dash."""
    texts = column.astype(str)
    number = texts.str.extract(r"^(?:< )?(-?\d+(?:\.\d+)?(?:e-?\d+)?)(?=$|[%\s\[])")[0]
    known = number.notna()
    if not known.any() or not (known | texts.isin(["-", "above the ceiling"])).all():
        return None
    blank = texts.map({"above the ceiling": 1e300}).fillna(-1e300)
    return number.astype(float).where(known, blank).tolist()


@cache
def _library(package: str, path: str) -> str:
    return packed(importlib.resources.files(package).joinpath(path).read_bytes())


@cache
def _plotly() -> str:
    """Return the part of plotly.js that draws lines, points and 3-D: a third of the whole."""
    content = (_HERE / "vendor" / "plotly-gl3d.min.js.gz").read_bytes()
    return base64.b64encode(content).decode()


def render_page(sweeps: Sequence[SweepEntry], together: AcrossEntry | None = None) -> str:
    """Write the page of one or several sweeps.

    Returns
    -------
    str
        HTML that asks nothing of a network.
    """
    libraries = {
        "tables-js": _library("itables", "html/dt_bundle.js"),
        "tables-css": _library("itables", "html/dt_bundle.css"),
    }
    if any(sweep.cells for sweep in sweeps):
        libraries["plotly"] = _plotly()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["terms"] = lambda text: markupsafe.Markup(with_terms(text))
    alone = len(sweeps) == 1
    context: dict[str, Any] = {
        "title": sweeps[0].manifest.name if alone else f"{len(sweeps)} sweeps",
        "description": sweeps[0].manifest.question if alone else _names(sweeps),
        "css": (_HERE / "page.css").read_text(encoding="utf-8"),
        "script": (_HERE / "page.js").read_text(encoding="utf-8"),
        "explore_script": (_HERE / "explore.js").read_text(encoding="utf-8"),
        "glossary": GLOSSARY.items(),
    }
    template = environment.get_template("report.html.j2")
    return template.render(sweeps=sweeps, together=together, libraries=libraries, **context)


def _names(sweeps: Sequence[SweepEntry]) -> str:
    return ", ".join(sweep.manifest.name for sweep in sweeps)
