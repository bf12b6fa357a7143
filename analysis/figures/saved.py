"""Figures on disk: PNG and SVG with their provenance inside, the drawn numbers as CSV beside."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from analysis.figures.layout import Drawn
from analysis.files import replacing, write_csv
from analysis.load import Results

_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
# What is said of a figure, in the names of PNG text; SVG has its own.
_KEYS = {"Title": "title", "Description": "description", "Source": "source", "Query": "relation"}


class UnexplainedError(ValueError):
    """An image that does not say where it comes from."""


def save_figure(drawn: Drawn, stem: Path, results: Results, *, with_pdf: bool = False) -> Path:
    """Save a figure as PNG and SVG with its provenance inside, and its data as CSV beside.

    The PNG has a palette of 256 colours: no eye tells it from the full one (a point of colour is
    off by less than 0.5 of 255 on average) and it takes little room, here and in the page.

    Parameters
    ----------
    drawn : Drawn
    stem : Path
        The files' path without a suffix.
    results : Results
        Whose sweep, hash and commit are written.
    with_pdf : bool
        A PDF too, for LaTeX.

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
    _save_png(drawn.figure, png, common | {"Query": drawn.query})
    # The layout of the first drawing stays: solving it again takes as long as drawing.
    drawn.figure.set_layout_engine("none")
    # Without a date the same rows give the same file.
    vector: dict[str, Any] = {"Relation": drawn.query, "Date": None}
    with replacing(stem.with_suffix(".svg")) as place:
        drawn.figure.savefig(place, metadata=common | vector)
    if with_pdf:
        facts = {"Title": drawn.title, "Subject": f"{source}; {drawn.query}", "CreationDate": None}
        with replacing(stem.with_suffix(".pdf")) as place:
            drawn.figure.savefig(place, metadata=facts)
    # Far finer than anyone sees, and half as long as what a float can hold.
    write_csv(stem.with_suffix(".csv"), drawn.data, float_format="%.8g")
    return png


def _save_png(figure: Figure, path: Path, text: dict[str, str]) -> None:
    full = io.BytesIO()
    figure.savefig(full, format="png")
    described = PngInfo()
    for name, words in text.items():
        described.add_text(name, words)
    with Image.open(full) as image, replacing(path) as place:
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(place, pnginfo=described, dpi=image.info["dpi"], optimize=True)


def explain(image: str | Path) -> dict[str, str]:
    """Return the texts that a figure's file carries.

    Parameters
    ----------
    image : path
        A PNG or SVG file written by `save_figure`.

    Returns
    -------
    dict
        Title, Description, Source (sweep, hash, commit), Query (the Python that gives its
        numbers), Data (the CSV file beside it, when there is one).

    Raises
    ------
    UnexplainedError
        The file is not a PNG or SVG image, or does not carry these texts.
    """
    path = Path(image)
    if not path.is_file():
        raise UnexplainedError(f"{path}: no such file; expected a PNG or SVG figure of a report")
    try:
        facts = _read_svg(path) if path.suffix == ".svg" else _read_png(path)
    except (OSError, ElementTree.ParseError) as error:
        raise UnexplainedError(f"{path}: not a PNG or SVG image ({error})") from None
    missing = [name for name in _KEYS if name not in facts]
    if missing:
        raise UnexplainedError(
            f"{path}: carries no {missing[0]}, so it was not written by analysis.report"
        )
    data = path.with_suffix(".csv")
    return facts | ({"Data": str(data)} if data.is_file() else {})


def _read_png(path: Path) -> dict[str, str]:
    with Image.open(path) as image:
        image.load()
        text = getattr(image, "text", {})
    return {name: str(text[name]) for name in _KEYS if name in text}


def _read_svg(path: Path) -> dict[str, str]:
    root = ElementTree.parse(path).getroot()
    found = {name: root.find(f".//{_DUBLIN_CORE}{tag}") for name, tag in _KEYS.items()}
    texts = {
        name: "".join(node.itertext()).strip() for name, node in found.items() if node is not None
    }
    return {name: text for name, text in texts.items() if text}
