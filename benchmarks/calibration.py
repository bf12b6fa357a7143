"""Measure how often the statistics are right, on simulated sweeps, and print the tables.

Rows are appended to benchmarks/calibration_rows.csv as they are measured; a run that was
interrupted continues where it stopped. Rows carry a fingerprint of the statistics' code and are
measured again when it changes.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import simulated
from benchmarks.simulated import LAWS

ROWS = Path(__file__).with_name("calibration_rows.csv")
ANALYSIS = Path(__file__).parents[1] / "analysis"
SOURCES = (
    *(
        f"statistics/{name}.py"
        for name in ("intervals", "hypotheses", "families", "censored", "balanced")
    ),
    "frames/power.py",
)
KEY = ["group", "what", "law", "n_data"]
N_DATA = (5, 8, 10, 20)
# Standard deviations of a difference.
EFFECT = 1.2
METHODS = ("ours", "t", "plain BCa", "row bootstrap")


@dataclass(frozen=True, slots=True)
class Case:
    """One figure to measure.

    Parameters
    ----------
    group, what, law : str
        Its table, its row.
    n_data : int
        Its column.
    measure : callable
        Gives it; takes n, the number of experiments.
    fewer : int
        Experiments are divided by this where one of them is slow.
    """

    group: str
    what: str
    law: str
    n_data: int
    measure: Callable[..., float]
    fewer: int = 1


def cases() -> Iterator[Case]:
    """List every case, each group in the order of its table."""
    for name, law in LAWS.items():
        for d in N_DATA:
            for method in METHODS:
                measure = partial(simulated.interval_coverage, law, d, method)
                yield Case("intervals", method, name, d, measure)
    for d in N_DATA:
        yield from _test_cases(d)
    for d in N_DATA:
        yield from _spread_cases(d)
    for d in N_DATA[1:]:
        yield from _family_cases(d)


def _test_cases(d: int) -> Iterator[Case]:
    for name in ("forward KL", "count, 30 % at the ceiling"):
        flip = partial(simulated.sign_flip_level, LAWS[name], d)
        yield Case("tests", "sign-flip, no difference", name, d, flip)
    discoveries = partial(simulated.false_discoveries, d)
    yield Case("tests", "Benjamini-Hochberg, false share", "normal", d, discoveries, 4)
    for name, margin in (("forward KL", 0.05), ("count", 1.0)):
        for what, true in (("TOST, difference at the margin", margin), ("TOST, none", 0.0)):
            rate = partial(
                simulated.equivalence_rate, LAWS[name], d, margin=margin, difference=true
            )
            yield Case("tests", what, name, d, rate)
        level = partial(simulated.anova_level, LAWS[name], d)
        yield Case("tests", "F test of 5 cells, no difference", name, d, level, 2)


# What stands in a table of families, by the name that `simulated.family_rates` gives it.
_FAMILY = {
    "max-T, anything false": "max-T, false",
    "bootstrap max-T, anything false": "bootstrap max-T, false",
    "Holm, anything false": "Holm, false",
    "not adjusted, anything false": "not adjusted, false",
    "all intervals hold": "covered",
    "all intervals by bootstrap hold": "covered by the bootstrap",
}


def _family_cases(d: int) -> Iterator[Case]:
    for kind, is_exchangeable in (("cells alike", True), ("differences", False)):
        for law in simulated.FAMILY_LAWS:
            for what, name in _FAMILY.items():
                rate = partial(_family, law, d, is_exchangeable, 0.0, name)
                yield Case("families", what, f"{kind}: {law}", d, rate)
    for law in ("normal", "exponential"):
        for method in ("max-T, found", "bootstrap max-T, found", "Holm, found", "predicted"):
            rate = partial(_family, law, d, True, EFFECT, method)
            yield Case("family power", method, f"cells alike: {law}", d, rate)


def _family(
    law: str, n_data: int, is_exchangeable: bool, effect: float, name: str, *, n: int
) -> float:
    rates = simulated.family_rates(
        law, n_data, n=n, is_exchangeable=is_exchangeable, effect=effect
    )
    return float(rates[name])


def _spread_cases(d: int) -> Iterator[Case]:
    figures = ("ratio_data", "ratio_init", "coverage_data", "coverage_init", "bootstrap_data")
    for name in ("forward KL", "count", "skewed over data seeds"):
        for cells in (1, 5):
            for what in figures:
                measure = partial(_component, name, d, cells, what)
                label = f"{what}, {cells} cell{'s' * (cells > 1)}"
                yield Case("components", label, name, d, measure, 2)
    name = "count, 30 % at the ceiling"
    for k in (15, 17):
        coverage = partial(simulated.survival_coverage, LAWS[name], d, k=k)
        yield Case("survival", f"P(k* > {k})", name, d, coverage, 4)
    for index, what in enumerate(("predicted", "simulated")):
        power = partial(_power, d, index)
        yield Case("power", f"2 components, {what}", "count", d, power)


def _power(n_data: int, index: int, *, n: int) -> float:
    return simulated.power_error(LAWS["count"], n_data, effect=2.0, n=n)[index]


_LAST: dict[tuple[str, int, int, int], dict[str, float]] = {}


def _component(name: str, n_data: int, n_cells: int, what: str, *, n: int) -> float:
    """Give one of the five figures of a design; all are measured at once."""
    key = (name, n_data, n_cells, n)
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = simulated.component_errors(LAWS[name], n_data, n=n, n_cells=n_cells)
    return _LAST[key][what]


def fingerprint() -> str:
    """Hash the code that the figures are about, without its comments and docstrings."""
    digest = hashlib.sha256()
    for path in [*(ANALYSIS / name for name in SOURCES), Path(simulated.__file__)]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
                ast.get_docstring(node) is not None
            ):
                node.body = node.body[1:]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:12]


def measure(path: Path, *, n: int, groups: Sequence[str]) -> pd.DataFrame:
    """Measure the cases that the file does not hold yet, and return all rows."""
    code, columns = fingerprint(), [*KEY, "value", "n", "code"]
    rows = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)
    rows = rows[(rows["code"] == code) & (rows["n"] == n)]
    known = set(rows[KEY].itertuples(index=False, name=None))
    rows.to_csv(path, index=False)
    for case in cases():
        key = (case.group, case.what, case.law, case.n_data)
        if case.group not in groups or key in known:
            continue
        value = round(case.measure(n=max(n // case.fewer, 1)), 5)
        row = pd.DataFrame([[*key, value, n, code]], columns=columns)
        row.to_csv(path, mode="a", header=False, index=False)
    return pd.read_csv(path)


def tables(rows: pd.DataFrame) -> str:
    """Write a Markdown table for each group, the data seeds as columns."""
    parts = []
    for group, part in rows.groupby("group", sort=False):
        wide = part.pivot_table("value", index=["law", "what"], columns="n_data", sort=False)
        text = wide.map(lambda share: f"{100 * share:.1f}").astype(object)
        ratios = wide.index.get_level_values("what").str.startswith("ratio")
        text[ratios] = wide[ratios].map("{:.3f}".format)
        text.columns = pd.Index([f"{n} data seeds" for n in text.columns])
        table = text.reset_index().to_markdown(index=False, disable_numparse=True)
        parts.append(f"### {group}\n\n{table}")
    n = int(rows["n"].iloc[0])
    error = 100 * np.sqrt(0.95 * 0.05 / n)
    text = (
        f"In percent. Each figure rests on {n} experiments (standard error {error:.1f} points at "
    )
    text += "95); half as many for components and the F test, a quarter for Holm, "
    text += "Benjamini-Hochberg and survival."
    return "\n\n".join([*parts, text + "\n"])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, then print the tables."""
    groups = ["intervals", "tests", "families", "family power", "components", "survival", "power"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=4000, help="a case (default: 4000)")
    parser.add_argument("--groups", nargs="+", default=groups, choices=groups)
    parser.add_argument("--rows", type=Path, default=ROWS, help="where rows are kept")
    options = parser.parse_args(argv)
    print(tables(measure(options.rows, n=options.experiments, groups=options.groups)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
