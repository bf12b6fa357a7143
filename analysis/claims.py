"""Texts whose numbers are looked up in the results' tables: `python -m analysis.claims`.

README.md, docs/findings.md and results/README.md are rendered from Jinja templates (`TEXTS`) and
committed. In a template a number is an expression::

    {{ table("latent_dims/contrasts", latent_dim=2, source="samples").estimate | f1 }}

`table` names a table of a sweep (results/SWEEP/tables/NAME.csv, otherwise the data of a figure,
results/SWEEP/figures/NAME.csv, otherwise the single row of results/SWEEP/NAME.json, such as
verify) and the rows: a column equals a value or is `above`, `below`, `at_least` or `at_most` one.
After the dot comes a column. A format (`FORMATS`) turns one number into text; where several rows
match, `min`, `max`, `mean`, `median`, `sum` or `count` makes one number of them first::

    {{ table("kl_weights/collapse", ratio=above(1)).kl_nats | max | f3 }}

Loops and macros are those of Jinja. Nothing else is there: templates are rendered in a sandbox
that knows no attribute but a column, no call but these, and no arithmetic, so that every number
that is formatted is one that a table holds. `--check` writes nothing and fails when a committed
text is not what its template gives.
"""

from __future__ import annotations

import json
import operator
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error

TEXTS = {
    "docs/README.md.j2": "README.md",
    "docs/findings.md.j2": "docs/findings.md",
    "results/README.md.j2": "results/README.md",
}
FORMATS = {"d": "d", "f0": ".0f", "f1": ".1f", "f2": ".2f", "f3": ".3f", "percent": ".0%"}
_REDUCTIONS = ("min", "max", "mean", "median", "sum", "count")
_TABLE = re.compile(r"(?P<sweep>[\w-]+)/(?P<name>[\w-]+)", re.ASCII)


class ClaimError(ValueError):
    """A text that cannot be rendered; the message says which line of its template and why."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A condition on a column: `holds(column, value)`."""

    holds: Callable[[Any, Any], Any]
    value: Any


_BOUNDS = {
    "above": partial(Bound, operator.gt),
    "below": partial(Bound, operator.lt),
    "at_least": partial(Bound, operator.ge),
    "at_most": partial(Bound, operator.le),
}


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one column in the rows that match, or one number made of them."""

    place: str
    values: pd.Series

    def only(self) -> Any:
        """Return the single value as a Python scalar; ClaimError if there is not exactly one."""
        if len(self.values) != 1:
            raise ClaimError(f"{self.place}: {len(self.values)} rows match, one is needed")
        value = self.values.iloc[0]
        return value.item() if hasattr(value, "item") else value

    def reduced(self, how: str) -> Column:
        """Return one number for all rows; ClaimError if there are none."""
        if not len(self.values):
            raise ClaimError(f"{self.place}: 0 rows match")
        try:
            value = getattr(self.values, how)()
        except TypeError as error:
            raise ClaimError(f"{self.place}: {how}: {error}") from None
        return Column(self.place, pd.Series([value]))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table that match."""

    place: str
    frame: pd.DataFrame

    def column(self, name: str) -> Column:
        """Return a column; ClaimError if the table has no such column."""
        if name not in self.frame.columns:
            known = ", ".join(map(str, self.frame.columns))
            raise ClaimError(f"{self.place}: has no column {name!r}; its columns are {known}")
        return Column(f"{self.place}: {name}", self.frame[name])


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of all sweeps, each read once.

    Parameters
    ----------
    results : Path
        The folder that holds the results folders.
    """

    results: Path
    _frames: dict[Path, pd.DataFrame] = field(default_factory=dict)

    def rows(self, table: str, /, **conditions: Any) -> Rows:
        """Return the rows of a table that match.

        Parameters
        ----------
        table : str
            `SWEEP/NAME`.
        **conditions : Any
            A value or a `Bound` for each column that restricts the rows.

        Raises
        ------
        ClaimError
            If there is no such table or column, or a column cannot be compared with the value.
        """
        path = self._path(table)
        if path not in self._frames:
            self._frames[path] = _read(path)
        rows = Rows(f"{path}", self._frames[path])
        for name, wanted in conditions.items():
            column = rows.column(name)
            try:
                bound = wanted if isinstance(wanted, Bound) else Bound(operator.eq, wanted)
                matches = bound.holds(column.values, bound.value)
            except TypeError as error:
                raise ClaimError(f"{column.place}: {error}") from None
            rows = Rows(rows.place, rows.frame[matches])
        shown = ", ".join(f"{name}={_shown(value)}" for name, value in conditions.items())
        return Rows(f"{path} where {shown}" if shown else f"{path}", rows.frame)

    def _path(self, table: str) -> Path:
        match = _TABLE.fullmatch(table)
        if match is None:
            raise ClaimError(f"a table is named SWEEP/NAME; found {table!r}")
        name, folder = match["name"], self.results / match["sweep"]
        files = (f"tables/{name}.csv", f"figures/{name}.csv", f"{name}.json")
        path = next((folder / file for file in files if (folder / file).is_file()), None)
        if path is None:
            raise ClaimError(
                f"{folder} has none of {', '.join(files)}; "
                "run python -m analysis.report first, or study.verify for a certificate"
            )
        return path


def _shown(value: Any) -> str:
    if isinstance(value, Bound):
        name = next(name for name, bound in _BOUNDS.items() if bound.args[0] is value.holds)
        return f"{name}({value.value!r})"
    return repr(value)


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".json":
            return pd.json_normalize(json.loads(path.read_text(encoding="utf-8")))
        return pd.read_csv(path)
    except ValueError as error:
        raise ClaimError(f"{path} cannot be read: {error}") from None


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja that can look numbers up and nothing else.

    Parameters
    ----------
    results : Path
        The folder that holds the results folders.
    """

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self, results: Path) -> None:
        super().__init__(
            undefined=StrictUndefined,
            finalize=self._finalized,
            keep_trailing_newline=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.n_numbers = 0
        self.filters = {name: partial(self._reduced, how=name) for name in _REDUCTIONS}
        self.filters |= {name: partial(self._formatted, form=f) for name, f in FORMATS.items()}
        self.tests = {}
        self.globals = {**_BOUNDS, "table": Tables(results).rows}

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a column of rows; there is no other attribute."""
        if isinstance(obj, Rows):
            return obj.column(attribute)
        raise SecurityError(f"only the rows of a table have columns; found .{attribute}")

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Refuse: a template has nothing to take items of."""
        raise SecurityError(f"a column is written after a dot; found [{argument!r}]")

    def is_safe_callable(self, obj: Any) -> bool:
        """Return whether this is a function of a template's own or one of the few given."""
        return isinstance(obj, Macro) or any(obj is known for known in self.globals.values())

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse: a text computes nothing, its tables do."""
        raise SecurityError(f"a text computes nothing; found {operator}")

    def _formatted(self, column: Any, form: str) -> str:
        if not isinstance(column, Column):
            raise ClaimError(f"a format takes a column of a table; found {column!r}")
        try:
            text = format(column.only(), form)
        except (ValueError, TypeError) as error:
            raise ClaimError(f"{column.place}: {error}") from None
        self.n_numbers += 1
        return text

    def _reduced(self, column: Any, how: str) -> Column:
        if not isinstance(column, Column):
            raise ClaimError(f"{how} takes a column of a table; found {column!r}")
        return column.reduced(how)

    def _finalized(self, value: Any) -> Any:
        if isinstance(value, Rows | Column):
            raise ClaimError(f"{value.place}: needs a format: {', '.join(self.filters)}")
        return value


def render(source: str, *, name: str, results: Path) -> tuple[str, int]:
    """Render a text.

    Parameters
    ----------
    source : str
        The template.
    name : str
        The template's file name, for messages.
    results : Path
        The folder that holds the results folders.

    Returns
    -------
    text : str
        Markdown.
    n_numbers : int
        How many numbers were looked up.

    Raises
    ------
    ClaimError
        If the template is malformed, uses what the sandbox does not offer, or names a table,
        row or column that does not exist.
    """
    sandbox = _Sandbox(results)
    try:
        code = sandbox.compile(source, name=name, filename=name)
        template = sandbox.template_class.from_code(sandbox, code, sandbox.make_globals(None))
        return template.render(), sandbox.n_numbers
    except TemplateSyntaxError as error:
        raise ClaimError(f"{name}:{error.lineno}: {error.message}") from None
    except (ClaimError, TemplateError, TypeError) as error:
        raise ClaimError(f"{name}:{_line(error, name)}: {error}") from None


def _line(error: Exception, name: str) -> int | None:
    places = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == name
    ]
    return places[-1] if places else None


def _differences(name: str, source: str, committed: str, text: str) -> list[str]:
    """Return one line for each line of a committed text that its template does not give."""
    old, new = committed.splitlines(), text.splitlines()
    length = max(len(old), len(new))
    pairs = zip(old + [""] * (length - len(old)), new + [""] * (length - len(new)), strict=True)
    return [
        f"{name}:{line}: says {was!r}, {source} gives {now!r}"
        for line, (was, now) in enumerate(pairs, start=1)
        if was != now
    ] or [f"{name}: its line ends differ from those of {source}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Render the texts, or check that those committed are what the templates give.

    Returns
    -------
    int
        0 if every text is (or was) rendered; 1 if one differs (`--check`), if one cannot be
        rendered, or if no number was looked up.
    """
    guard_output()
    parser = CommandParser(
        prog="python -m analysis.claims",
        description="Render README.md, docs/findings.md and results/README.md from their "
        "templates, whose numbers are looked up in the tables of results/.",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail if a committed text is not what its template gives",
    )
    parser.add_argument("--root", type=Path, default=Path(), help="the project's folder")
    options = parser.parse_args(argv)
    n_numbers, n_stale = 0, 0
    for source, target in TEXTS.items():
        template, path = options.root / source, options.root / target
        if not template.is_file():
            continue
        try:
            text, n_here = render(
                template.read_text(encoding="utf-8"), name=source, results=options.root / "results"
            )
        except ClaimError as error:
            say_error(f"error: {error}")
            return 1
        n_numbers += n_here
        committed = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text == committed:
            continue
        n_stale += 1
        if options.check:
            say("\n".join(_differences(target, source, committed, text)))
        else:
            path.write_text(text, encoding="utf-8")
    if not n_numbers:
        say_error(f"error: no number to look up in {', '.join(TEXTS)}")
        return 1
    verb = "differ: edit the template, then run make claims" if options.check else "written anew"
    say(f"{n_numbers} numbers looked up, {n_stale} of {len(TEXTS)} texts {verb}")
    return 1 if n_stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
