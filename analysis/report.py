"""Write figures, tables and the page of sweeps: `python -m analysis.report results/NAME`."""

from __future__ import annotations

import argparse
import base64
import difflib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from analysis.figures import theme
from analysis.figures.registry import FIGURES, NotApplicable, figure_numbers, figures_of
from analysis.figures.saved import UnexplainedError, explain, save_figure
from analysis.files import write_csv, write_text
from analysis.load import Results, load_results
from analysis.page.cells import CellPage, cell_pages
from analysis.page.index import CARD, card_of, read_cards, render_index
from analysis.page.kept_points import keep_gallery
from analysis.page.latex import render_latex
from analysis.page.render import (
    AcrossEntry,
    FigureEntry,
    SweepEntry,
    TableEntry,
    across_entry,
    render_page,
    sweep_entry,
    table_entry,
)
from analysis.tables import tables
from analysis.tables.tables import TABLES, NotTabulated, tables_of
from analysis.wording.notes import denominators
from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error
from study.plugins import PluginError, add_option, load_plugins
from study.results import ResultsError, printable

Say = Callable[[str], None]
FORMATS = ("html", "latex")
# Shows a figure of a text block's width at the page's width.
PIXELS_PER_INCH = 132
PAGE_COLORS = 96


class UnknownNameError(ValueError):
    """A name that is neither a figure, a table nor a format."""


def write_report(
    path: str | Path,
    *,
    out: str | Path | None = None,
    only: Sequence[str] = (),
    formats: Sequence[str] = ("html",),
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
        Names or numbers (F3, T2) of figures and tables; empty: all of them, and the page.
    formats : sequence of str
        Of the document: "html", "latex" (report.tex, with each figure as PDF too).
    say : callable
        Receives one line of progress at a time.

    Returns
    -------
    Path
        The page (the LaTeX document without "html"), or the folder when there is neither.

    Raises
    ------
    ResultsError
        The folder cannot be read or holds no trial.
    UnknownNameError
        A name in `only` or `formats` is not known.
    """
    wanted = _wanted(only, formats)
    folder = _writable(_target(path, out))
    results = load_results(path)
    entry = _write_sweep(results, folder, wanted, formats=formats, say=say)
    return folder if only else _write_documents([entry], folder, [folder], formats)


def write_joint_report(
    paths: Sequence[str | Path],
    *,
    out: str | Path | None = None,
    only: Sequence[str] = (),
    formats: Sequence[str] = ("html",),
    say: Say = lambda line: None,
) -> Path:
    """Write the figures and tables of several sweeps and one page over them all.

    Parameters
    ----------
    paths : sequence of paths
        Results folders of different names.
    out : path or None
        The page's folder; figures and tables then go to OUT/NAME. None: figures and tables stay
        with their sweep, the page goes to the folder that holds the first.
    only, formats, say
        As in `write_report`.

    Returns
    -------
    Path
        The page, or its folder when there is none.
    """
    wanted = _wanted(only, formats)
    names = [_name_of(path) for path in paths]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UnknownNameError(f"two of the sweeps are both named {doubled[0]!r}; rename a folder")
    folders = [
        _writable(_target(path, Path(out) / name if out else None))
        for name, path in zip(names, paths, strict=True)
    ]
    page_folder = _writable(Path(out) if out else Path(paths[0]).resolve().parent)
    # All are read first: a bad folder is refused before minutes of drawing.
    loaded = [load_results(path) for path in paths]
    entries = []
    for name, results, folder in zip(names, loaded, folders, strict=True):
        say(f"{name}:")
        entry = _write_sweep(results, folder, wanted, formats=formats, say=say)
        base = f"{os.path.relpath(folder, page_folder)}/".replace(os.sep, "/")
        entries.append(replace(entry, at=f"{name}-", base=base))
    if only:
        return page_folder
    together = across_entry(dict(zip(names, loaded, strict=True)))
    return _write_documents(entries, page_folder, folders, formats, together=together)


def _target(path: str | Path, out: str | Path | None) -> Path:
    """Return the local folder that is written to.

    Raises
    ------
    ResultsError
        The results are in a store, and nothing says where figures and page go.
    """
    if out is not None:
        return Path(out)
    if Path(path).suffix == ".zip" and Path(path).is_file():
        # Not NAME itself: the results may lie beside their published file.
        return Path(path).with_name(f"{Path(path).stem}-report")
    if "://" in str(path):
        raise ResultsError(
            f"{path}: not on this machine; say where figures and page go, such as "
            f"--out reports/{_name_of(path)}"
        )
    return Path(path)


def _name_of(path: str | Path) -> str:
    """Return the last part of a path or URI, without a URI's options."""
    if "://" in str(path):
        return str(path).partition("?")[0].rstrip("/").rpartition("/")[2]
    return Path(path).resolve().name


def _writable(folder: Path) -> Path:
    """Check that a folder can be written before minutes of drawing; nothing is left in it.

    Raises
    ------
    ResultsError
        It cannot be made or written.
    """
    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=existing):
            return folder
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot be written ({error.strerror or error}); --out DIR writes elsewhere"
        ) from None


def _wanted(only: Sequence[str], formats: Sequence[str]) -> set[str]:
    """Turn names and numbers into names.

    Raises
    ------
    UnknownNameError
        One is not known.
    """
    strange = [name for name in formats if name not in FORMATS]
    if strange:
        raise UnknownNameError(f"--format: {strange[0]!r} is not one of {', '.join(FORMATS)}")
    wanted: set[str] = set()
    for name in only:
        names = _numbers().get(name.upper(), (name,))
        if any(one not in FIGURES and one not in TABLES for one in names):
            raise UnknownNameError(_unknown_name(name))
        wanted |= set(names)
    return wanted or {*FIGURES, *TABLES}


def _numbers() -> dict[str, tuple[str, ...]]:
    """Map F1, T2 ... to the names of what they number."""
    return {number: (name,) for number, name in figure_numbers().items()} | tables.NUMBERS


def _unknown_name(name: str) -> str:
    known = [*FIGURES, *TABLES, *_numbers()]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return f"--only: {name!r} is not a figure or table; {hint}"


def _write_sweep(
    results: Results, folder: Path, wanted: set[str], *, formats: Sequence[str], say: Say
) -> SweepEntry:
    suited = {*tables_of(results), *figures_of(results)} & wanted
    shown = [_write_table(name, results, folder) for name in TABLES if name in suited]
    say(f"{sum(not entry.reason for entry in shown)} tables written")
    entries = []
    chosen = [name for name in FIGURES if name in suited]
    for index, name in enumerate(chosen, start=1):
        start = time.perf_counter()
        entry = _write_figure(name, results, folder, with_pdf="latex" in formats)
        entries.append(entry)
        what = f"left out: {entry.reason}" if entry.reason else "drawn"
        say(f"figure {index}/{len(chosen)} {name} {what} ({time.perf_counter() - start:.1f} s)")
    cells: list[CellPage] = []
    if wanted == {*FIGURES, *TABLES}:
        start = time.perf_counter()
        cells = cell_pages(results)
        # With --out nothing is written into the results: they may be another's.
        if "://" not in results.location and folder.resolve() == results.path.resolve():
            keep_gallery(results)
        say(f"{len(cells)} cells described ({time.perf_counter() - start:.1f} s)")
    sweep = sweep_entry(results, entries, shown, cells)
    if cells:
        write_csv(folder / "explore.csv", sweep.explored.frame)
        card = json.dumps(card_of(results, sweep), indent=1, ensure_ascii=False)
        write_text(folder / CARD, card + "\n")
    return sweep


def _write_documents(
    entries: Sequence[SweepEntry],
    folder: Path,
    folders: Sequence[Path],
    formats: Sequence[str],
    *,
    together: AcrossEntry | None = None,
) -> Path:
    """Write the page, and a LaTeX document beside each sweep's figures."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if "html" in formats:
        written.append(folder / "report.html")
        write_text(written[-1], render_page(entries, together))
    if "latex" in formats:
        for entry, own in zip(entries, folders, strict=True):
            written.append(own / "report.tex")
            write_text(written[-1], render_latex(entry))
    return written[0]


def _write_figure(name: str, results: Results, folder: Path, *, with_pdf: bool) -> FigureEntry:
    stem = folder / "figures" / name
    with theme.style():
        try:
            drawn = FIGURES[name].draw(results)
        except NotApplicable as reason:
            # A picture of older rows would pretend to belong to these.
            _remove(stem, ("png", "svg", "csv", "pdf"))
            return FigureEntry(name, name.replace("_", " ").capitalize(), reason=str(reason))
        image = save_figure(drawn, stem, results, with_pdf=with_pdf)
    data = base64.b64encode(_page_image(image)).decode()
    return FigureEntry(
        name,
        drawn.title,
        # The page says once, above, how many trials finished.
        caption=drawn.caption.replace(denominators(results), "").strip(),
        alt=drawn.alt,
        image=data,
        kind="webp",
        width=round(drawn.figure.get_figwidth() * PIXELS_PER_INCH),
        height=round(drawn.figure.get_figheight() * PIXELS_PER_INCH),
        section=FIGURES[name].section,
        query=drawn.query,
    )


def _page_image(png: Path) -> bytes:
    """Pack a figure for the page: a third smaller, of fewer colours than the file beside it."""
    packed = io.BytesIO()
    with Image.open(png) as image:
        few = image.convert("RGB").quantize(PAGE_COLORS, dither=Image.Dither.NONE)
        few.convert("RGB").save(packed, "WEBP", lossless=True, quality=60, method=3)
    return packed.getvalue()


def _write_table(name: str, results: Results, folder: Path) -> TableEntry:
    stem = folder / "tables" / name
    try:
        table = TABLES[name](results)
    except NotTabulated as reason:
        _remove(stem, ("csv", "md", "tex"))
        return TableEntry(name, name.capitalize(), reason=str(reason))
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_csv(stem.with_suffix(".csv"), table.data)
    write_text(stem.with_suffix(".md"), table.to_markdown())
    write_text(stem.with_suffix(".tex"), table.to_latex(name))
    return table_entry(name, table)


def _remove(stem: Path, kinds: Sequence[str]) -> None:
    for kind in kinds:
        stem.with_suffix(f".{kind}").unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m analysis.report",
        description="Write figures (PNG, SVG), tables (CSV, Markdown, LaTeX) and report.html "
        "for a results folder.",
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="results folder of a sweep, such as results/latent_dims, or a published zip file of "
        "one; for several, one page over all is written to the folder that holds the first",
    )
    numbers = ", ".join(f"{number} {'/'.join(names)}" for number, names in _numbers().items())
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help="write only these figures and tables, separated by commas, and leave the page as "
        "it is. "
        f"Figures: {', '.join(FIGURES)}. Tables: {', '.join(TABLES)}. Or numbers: {numbers}",
    )
    parser.add_argument(
        "--format",
        default="html",
        metavar="FORMATS",
        help="html (default), latex (report.tex, and each figure as PDF), or both: html,latex",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="folder to write to (default: PATH itself; needed for s3://...)",
    )
    parser.add_argument(
        "--index",
        metavar="DIR",
        help="write DIR/index.html, a card for each sweep of the folder DIR that has a report, "
        "and exit",
    )
    parser.add_argument(
        "--why", metavar="FIGURE", help="print where a PNG or SVG figure comes from, and exit"
    )
    add_option(parser)
    return parser


def _print_why(image: str) -> int:
    try:
        facts = explain(image)
    except UnexplainedError as error:
        say_error(f"analysis.report: {printable(error)}")
        return 2
    for name, text in facts.items():
        say(f"{name}: {text}")
    return 0


def _write_index(folder: Path) -> int:
    if not folder.is_dir():
        say_error(f"analysis.report: --index {folder}: no such folder; results is usual")
        return 2
    cards = read_cards(folder)
    try:
        write_text(folder / "index.html", render_index(cards))
    except OSError as error:
        say_error(f"analysis.report: {printable(error)}")
        return 2
    say(f"index of {len(cards)} sweeps: {folder / 'index.html'}")
    return 0


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        0, or 2 when a folder or a name is wrong; one line on stderr then says what.
    """
    guard_output()
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.why:
        return _print_why(arguments.why)
    if arguments.index:
        return _write_index(Path(arguments.index))
    if not arguments.paths:
        parser.error("name a results folder, such as results/latent_dims")
    options: dict[str, Any] = {
        "out": arguments.out,
        "only": _split(arguments.only),
        "formats": _split(arguments.format) or ["html"],
        "say": say_error,
    }
    try:
        load_plugins(arguments.plugins)
        if len(arguments.paths) == 1:
            written = write_report(arguments.paths[0], **options)
        else:
            written = write_joint_report(arguments.paths, **options)
    except (ResultsError, UnknownNameError, PluginError, OSError) as error:
        say_error(f"analysis.report: {printable(error)}")
        return 2
    say(f"report: {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
