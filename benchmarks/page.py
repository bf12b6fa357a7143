"""The tables of docs/performance.md, from the history alone: no figure there is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.history import latest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- benchmark: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def write_page(rows: Sequence[Mapping[str, str]], path: Path = PAGE) -> None:
    """Replace what stands between the markers of each benchmark by its latest table."""
    text = path.read_text(encoding="utf-8")
    filled = _BLOCK.sub(lambda found: found[1] + table(rows, found[2]) + "\n" + found[3], text)
    path.write_text(filled, encoding="utf-8")


def table(rows: Sequence[Mapping[str, str]], benchmark: str) -> str:
    """Write a benchmark's latest rows as a Markdown table, with when and where it ran.

    Examples
    --------
    >>> table([], "peers")
    'Not run yet: `python -m benchmarks --only peers`.'
    """
    shown = latest([dict(row) for row in rows], benchmark)
    if not shown:
        return f"Not run yet: `python -m benchmarks --only {benchmark}`."
    lines = ["| | value | unit | ratio |", "| --- | ---: | --- | ---: |"]
    lines += [
        f"| {r['name']} | {_short(r['value'])} | {r['unit']} | {_short(r['ratio'])} |"
        for r in shown
    ]
    last = shown[-1]
    state = ", with uncommitted changes" if last["dirty"] == "True" else ""
    loads = sorted(float(row["load"]) for row in shown)
    lines += [
        "",
        f"{last['date'][:10]}, commit {last['commit']}{state}; {last['cpu']}, {last['cores']} "
        f"cores, load {loads[0]:g} to {loads[-1]:g} when it began.",
    ]
    return "\n".join(lines)


def _short(value: str) -> str:
    return f"{float(value):.3g}" if value and abs(float(value)) < 1000 else value
