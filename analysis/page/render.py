"""One self-contained page: everything it needs is inside, packed where it is large."""

from __future__ import annotations

import html
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis.load import Manifest, Results
from analysis.page import across, answer
from analysis.page.cells import CellPage, packed
from analysis.tables.tables import Table
from analysis.wording import notes as captions
from study.results import CERTIFICATE, open_folder

_HERE = Path(__file__).parent
# Nobody reads more rows without the script that sorts and filters them, which can unpack them too.
PLAIN_ROWS = 400


@dataclass(frozen=True, slots=True)
class FigureEntry:
    """A figure as the page shows it; without an image when `reason` says why it is left out."""

    name: str
    title: str
    reason: str = ""
    caption: str = ""
    alt: str = ""
    image: str = ""
    width: int = 0


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
    """

    at: str
    manifest: Manifest
    answer: Sequence[str]
    denominators: str
    figures: Sequence[FigureEntry]
    tables: Sequence[TableEntry]
    left_out: Sequence[FigureEntry | TableEntry]
    cells: Sequence[CellPage]
    provenance: Sequence[tuple[str, str]]
    sweep_text: str


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
    return SweepEntry(
        at=at,
        manifest=results.manifest,
        answer=answer.sentences(results),
        denominators=captions.denominators(results),
        figures=[entry for entry in figures if not entry.reason],
        tables=[entry for entry in tables if not entry.reason],
        left_out=[*(f for f in figures if f.reason), *(t for t in tables if t.reason)],
        cells=cells,
        provenance=_provenance(results),
        sweep_text=sweep.to_json(indent=1),
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
    orders = [_sort_keys(table.shown.iloc[:, i]) for i in range(table.shown.shape[1])]
    lines = []
    for index, row in enumerate(table.shown.itertuples(index=False)):
        cells = []
        for column, value in enumerate(row):
            tag = 'th scope="row"' if column == 0 else "td"
            order = orders[column]
            key = f' data-order="{order[index]:g}"' if order is not None else ""
            cells.append(f"<{tag}{key}>{html.escape(str(value))}</{tag[:2]}>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<thead><tr>{head}</tr></thead>", "".join(lines)


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


def render_page(sweeps: Sequence[SweepEntry], together: AcrossEntry | None = None) -> str:
    """Write the page of one or several sweeps.

    Returns
    -------
    str
        HTML that asks nothing of a network. Plotly is in it only when a cell has something to
        draw.
    """
    libraries = {
        "tables-js": _library("itables", "html/dt_bundle.js"),
        "tables-css": _library("itables", "html/dt_bundle.css"),
    }
    if any(cell.has_curves or cell.has_points for sweep in sweeps for cell in sweep.cells):
        libraries["plotly"] = _library("plotly", "package_data/plotly.min.js")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    alone = len(sweeps) == 1
    context: dict[str, Any] = {
        "title": sweeps[0].manifest.name if alone else f"{len(sweeps)} sweeps",
        "description": sweeps[0].manifest.question if alone else _names(sweeps),
        "css": (_HERE / "page.css").read_text(encoding="utf-8"),
        "script": (_HERE / "page.js").read_text(encoding="utf-8"),
    }
    template = environment.get_template("report.html.j2")
    return template.render(sweeps=sweeps, together=together, libraries=libraries, **context)


def _names(sweeps: Sequence[SweepEntry]) -> str:
    return ", ".join(sweep.manifest.name for sweep in sweeps)
