"""The tables of docs/performance.md, from the history alone: no figure there is typed by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.history import latest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- benchmark: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_PROCESSORS = re.compile(r"(<!-- processors -->\n).*?(<!-- end -->)", re.DOTALL)
# The ratios shown for each processor: benchmark, how the row's name begins, how it is labelled.
HEADLINES = (
    ("peers", "naive Ray Tune", "time relative to this project: naive Ray Tune"),
    ("peers", "joblib", "time relative to this project: joblib"),
    ("peers", "Optuna", "time relative to this project: Optuna, n_jobs=2"),
    ("peers", "Hydra", "time relative to this project: Hydra, joblib launcher"),
    ("training", "compiled, model after model, stack of 4", "training, share of the floor"),
    ("scoring", "q=1 measuring", "measuring, share of the trial, q = 1"),
    ("scoring", "q=2 measuring", "measuring, share of the trial, q = 2"),
    ("scoring", "q=8 measuring", "measuring, share of the trial, q = 8"),
    ("scaling", "2 workers", "two workers, times as fast as one"),
)


def write_page(rows: Sequence[Mapping[str, str]], path: Path = PAGE) -> None:
    """Replace the text between the markers of each benchmark with its latest table."""
    text = path.read_text(encoding="utf-8")
    filled = _BLOCK.sub(lambda found: found[1] + table(rows, found[2]) + "\n" + found[3], text)
    filled = _PROCESSORS.sub(lambda found: found[1] + by_processor(rows) + "\n" + found[2], filled)
    path.write_text(filled, encoding="utf-8")


def by_processor(rows: Sequence[Mapping[str, str]]) -> str:
    """Write the latest ratios of each processor as a Markdown table, empty where none was taken.

    Examples
    --------
    >>> row = {"benchmark": "scaling", "name": "2 workers, 24 trials", "cpu": "A", "ratio": "1.8"}
    >>> print(by_processor([row]))
    | | A |
    | --- | ---: |
    | two workers, times as fast as one | 1.8 |
    """
    processors = sorted({row["cpu"] for row in rows})
    lines = [f"| | {' | '.join(processors)} |", "| --- |" + " ---: |" * len(processors)]
    for benchmark, start, title in HEADLINES:
        found = {
            row["cpu"]: _short(row["ratio"])
            for row in rows
            if row["benchmark"] == benchmark and row["name"].startswith(start) and row["ratio"]
        }
        if found:
            cells = [found.get(processor, "") for processor in processors]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


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
