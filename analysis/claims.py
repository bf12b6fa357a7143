"""Numbers in prose that are read from the results' tables: `python -m analysis.claims`.

In a Markdown file a number is written between two comments, which no reader sees::

    <!--= latent_dims/contrasts; latent_dim == 2; estimate; .1f -->9.1<!--/-->

The parts are a table (results/SWEEP/tables/TABLE.csv, else the data of a figure,
results/SWEEP/figures/TABLE.csv, else the one row of results/SWEEP/TABLE.json, such as verify), a
row by pandas' query syntax, a column, and a format. Without
arguments the command writes the numbers anew; with `--check` it writes
nothing and fails when one differs. Where several rows match, `min`, `max`, `mean`, `median`, `sum`
or `count` of the column says what is meant: `min(estimate)`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

FILES = ("README.md", "docs/findings.md", "results/README.md")
_CLAIM = re.compile(r"(?P<head><!--=(?P<query>.*?)-->)(?P<text>.*?)(?P<tail><!--/-->)", re.S)
_OPENING = "<!--="
_COLUMN = re.compile(r"(?P<how>min|max|mean|median|sum|count)\((?P<inner>.+)\)")


class ClaimError(ValueError):
    """A claim that cannot be looked up; the message says where it stands and why."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One number in a text.

    Parameters
    ----------
    place : str
        File and line.
    written, found : str
        What the text says and what the tables say.
    """

    place: str
    written: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether the two agree to the letter."""
        return self.written == self.found


def check_text(text: str, *, name: str, results: Path) -> tuple[str, list[Claim]]:
    """Look every claim of a text up.

    Parameters
    ----------
    text : str
        Markdown.
    name : str
        The file's name, for messages.
    results : Path
        The folder of the results folders.

    Returns
    -------
    text : str
        With the numbers of the tables.
    claims : list of Claim

    Raises
    ------
    ClaimError
        A claim is not well formed, or its table, row or column is not there.
    """
    claims: list[Claim] = []

    def replaced(match: re.Match[str]) -> str:
        place = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        found = _look_up(match["query"], place=place, results=results)
        claims.append(Claim(place, match["text"], found))
        return f"{match['head']}{found}{match['tail']}"

    written = _CLAIM.sub(replaced, text)
    if text.count(_OPENING) != len(claims):
        raise ClaimError(f"{name}: {text.count(_OPENING) - len(claims)} claims have no <!--/-->")
    return written, claims


def _look_up(query: str, *, place: str, results: Path) -> str:
    parts = [part.strip() for part in " ".join(query.split()).split(";")]
    if len(parts) != 4:
        raise ClaimError(f"{place}: must be table; row; column; format; found {query.strip()!r}")
    table, row, column, form = parts
    sweep, _, name = table.partition("/")
    files = (f"tables/{name}.csv", f"figures/{name}.csv", f"{name}.json")
    places = [results / sweep / file for file in files]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise ClaimError(
            f"{place}: {results / sweep} has none of {', '.join(files)}; "
            "run python -m analysis.report first, or study.verify for a certificate"
        )
    try:
        frame = _read(path)
    except ValueError as error:
        raise ClaimError(f"{place}: {path} cannot be read: {error}") from None
    try:
        rows = frame.query(row) if row else frame
    except Exception as error:  # pandas raises many kinds for a wrong query
        raise ClaimError(f"{place}: {row!r} is no row of {path}: {error}") from None
    try:
        return format(_value(rows, column), form)
    except (KeyError, ValueError, TypeError) as error:
        raise ClaimError(f"{place}: {path} where {row!r}: {column}: {error}") from None


@lru_cache
def _read(path: Path) -> pd.DataFrame:
    if path.suffix == ".json":
        return pd.json_normalize(json.loads(path.read_text(encoding="utf-8")))
    return pd.read_csv(path)


def _value(rows: pd.DataFrame, column: str) -> Any:
    match = _COLUMN.fullmatch(column)
    if not len(rows):
        raise ValueError("0 rows match")
    if match is not None:
        value = getattr(rows[match["inner"]], match["how"])()
    elif len(rows) != 1:
        raise ValueError(f"{len(rows)} rows match, one is needed")
    else:
        value = rows[column].iloc[0]
    return value.item() if hasattr(value, "item") else value


def main(argv: Sequence[str] | None = None) -> int:
    """Write the numbers anew, or check them.

    Returns
    -------
    int
        0 if every number is that of the tables; 1 if one differed (`--check`), if one cannot be
        looked up, or if there is none.
    """
    parser = argparse.ArgumentParser(prog="python -m analysis.claims", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one differs")
    parser.add_argument("--root", type=Path, default=Path(), help="the project's folder")
    options = parser.parse_args(argv)
    n_claims, wrong = 0, 0
    for name in FILES:
        path = options.root / name
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        try:
            written, claims = check_text(text, name=name, results=options.root / "results")
        except ClaimError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        n_claims += len(claims)
        for claim in claims:
            if not claim.holds:
                wrong += 1
                print(f"{claim.place}: says {claim.written}, the tables say {claim.found}")
        if written != text and not options.check:
            path.write_text(written, encoding="utf-8")
    if not n_claims:
        print(f"error: no number to look up in {', '.join(FILES)}", file=sys.stderr)
        return 1
    verb = "differ" if options.check else "were written anew"
    print(f"{n_claims} numbers looked up, {wrong} {verb}")
    return 1 if wrong and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
