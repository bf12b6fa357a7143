"""Write a sweep's figures, tables and report page: `python -m analysis.report results/NAME`."""

from __future__ import annotations

import argparse
import base64
import difflib
import html
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from analysis import answer, captions, theme
from analysis.gallery import FIGURES, Drawn, NotApplicable
from analysis.load import Results, load_results
from analysis.tables import TABLES, NotTabulated, Table
from study.results import ResultsError

Say = Callable[[str], None]
# Shows a figure of a text block's width at the page's width.
PIXELS_PER_INCH = 132


class UnknownNameError(ValueError):
    """A name that is neither a figure nor a table."""


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
    """A table as the page shows it; without rows when `reason` says why it is left out."""

    name: str
    title: str
    reason: str = ""
    caption: str = ""
    body: str = ""


def write_report(
    path: str | Path,
    *,
    out: str | Path | None = None,
    only: Sequence[str] = (),
    say: Say = lambda line: None,
) -> Path:
    """Write figures and tables of a sweep and, unless only some are asked for, its page.

    Parameters
    ----------
    path : path
        The results folder.
    out : path or None
        Where figures/, tables/ and report.html go; None: into the results folder.
    only : sequence of str
        Names of figures and tables; empty: all of them, and the page.
    say : callable
        Receives one line of progress at a time.

    Returns
    -------
    Path
        The page, or the folder when there is no page.

    Raises
    ------
    ResultsError
        The folder cannot be read or holds no trial.
    UnknownNameError
        A name in `only` is neither a figure nor a table.
    """
    unknown = [name for name in only if name not in FIGURES and name not in TABLES]
    if unknown:
        raise UnknownNameError(_unknown_name(unknown[0]))
    results = load_results(path)
    folder = Path(out) if out is not None else Path(path)
    wanted = set(only) or {*FIGURES, *TABLES}
    tables = [_write_table(name, results, folder) for name in TABLES if name in wanted]
    say(f"{sum(not entry.reason for entry in tables)} tables written")
    entries = []
    chosen = [name for name in FIGURES if name in wanted]
    for index, name in enumerate(chosen, start=1):
        start = time.perf_counter()
        entry = _write_figure(name, results, folder)
        entries.append(entry)
        what = f"left out: {entry.reason}" if entry.reason else "drawn"
        say(f"figure {index}/{len(chosen)} {name} {what} ({time.perf_counter() - start:.1f} s)")
    if only:
        return folder
    page = folder / "report.html"
    page.write_text(_page(results, entries, tables), encoding="utf-8")
    return page


def _unknown_name(name: str) -> str:
    known = [*FIGURES, *TABLES]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return f"--only: {name!r} is not a figure or table; {hint}"


def _write_figure(name: str, results: Results, folder: Path) -> FigureEntry:
    with theme.style():
        try:
            drawn = FIGURES[name](results)
        except NotApplicable as reason:
            return FigureEntry(name, name.replace("_", " ").capitalize(), reason=str(reason))
        image = save_figure(drawn, folder / "figures" / name, results)
    data = base64.b64encode(image.read_bytes()).decode()
    return FigureEntry(
        name,
        drawn.title,
        caption=drawn.caption,
        alt=drawn.alt,
        image=data,
        width=round(drawn.figure.get_figwidth() * PIXELS_PER_INCH),
    )


def save_figure(drawn: Drawn, stem: Path, results: Results) -> Path:
    """Save a figure as PNG and SVG with its provenance inside, and its data as CSV beside.

    Returns
    -------
    Path
        The PNG file.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    manifest = results.manifest
    source = f"sweep {manifest.name}, hash {manifest.sweep_hash}, commit {manifest.commit}"
    common = {"Title": drawn.title, "Description": drawn.caption, "Source": source}
    png = stem.with_suffix(".png")
    drawn.figure.savefig(png, metadata=common | {"Query": drawn.query})
    # The layout of the first drawing stays: solving it again takes as long as drawing.
    drawn.figure.set_layout_engine("none")
    # Without a date the same rows give the same file.
    vector: dict[str, Any] = {"Relation": drawn.query, "Date": None}
    drawn.figure.savefig(stem.with_suffix(".svg"), metadata=common | vector)
    drawn.data.to_csv(stem.with_suffix(".csv"), index=False)
    return png


def _write_table(name: str, results: Results, folder: Path) -> TableEntry:
    try:
        table = TABLES[name](results)
    except NotTabulated as reason:
        return TableEntry(name, name.capitalize(), reason=str(reason))
    stem = folder / "tables" / name
    stem.parent.mkdir(parents=True, exist_ok=True)
    table.data.to_csv(stem.with_suffix(".csv"), index=False)
    stem.with_suffix(".md").write_text(table.to_markdown(), encoding="utf-8")
    stem.with_suffix(".tex").write_text(table.to_latex(name), encoding="utf-8")
    return TableEntry(name, table.title, caption=table.caption, body=_table_html(table))


def _table_html(table: Table) -> str:
    """Write the rows with row headings, so that a screen reader can name each number."""
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in table.shown)
    lines = []
    for row in table.shown.itertuples(index=False):
        first, *rest = (html.escape(str(value)) for value in row)
        cells = "".join(f"<td>{value}</td>" for value in rest)
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    return f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"


def _page(results: Results, figures: list[FigureEntry], tables: list[TableEntry]) -> str:
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    sweep = pd.Series(dict(results.manifest.sweep), dtype=object)
    return environment.get_template("report.html.j2").render(
        manifest=results.manifest,
        answer=answer.sentences(results),
        denominators=captions.denominators(results),
        figures=[entry for entry in figures if not entry.reason],
        tables=[entry for entry in tables if not entry.reason],
        left_out=[*(f for f in figures if f.reason), *(t for t in tables if t.reason)],
        sweep_text=sweep.to_json(indent=1),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.report",
        description="Write figures (PNG, SVG), tables (CSV, Markdown, LaTeX) and report.html.",
    )
    parser.add_argument("path", help="results folder of a sweep, such as results/latent_dims")
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help="only these figures and tables, comma-separated; the page is then left as it is. "
        f"Figures: {', '.join(FIGURES)}. Tables: {', '.join(TABLES)}",
    )
    parser.add_argument("--out", metavar="DIR", help="folder to write to (default: PATH itself)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        0, or 2 when the folder or a name is wrong; one line on stderr then says what.
    """
    arguments = _parser().parse_args(argv)
    only = [name.strip() for name in arguments.only.split(",") if name.strip()]
    try:
        written = write_report(
            arguments.path,
            out=arguments.out,
            only=only,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except (ResultsError, UnknownNameError, OSError) as error:
        print(f"analysis.report: {error}", file=sys.stderr)
        return 2
    print(f"report: {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
