"""Tables: one numeric frame each, shown as CSV, Markdown, LaTeX (booktabs) and HTML.

The CSV holds every number at full precision; the other three show rounded text with intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import captions, summary, theme
from analysis.load import Results


class NotTabulated(Exception):
    """A table that this sweep cannot fill; the message says why."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Parameters
    ----------
    title, caption : str
    data : pandas.DataFrame
        Numbers at full precision.
    shown : pandas.DataFrame
        The same as text for readers.
    """

    title: str
    caption: str
    data: pd.DataFrame
    shown: pd.DataFrame

    def to_markdown(self) -> str:
        """Write as Markdown with its title and caption."""
        body = self.shown.to_markdown(index=False, disable_numparse=True)
        return f"## {self.title}\n\n{body}\n\n{self.caption}\n"

    def to_latex(self, label: str) -> str:
        """Write as a LaTeX table with booktabs rules; wide ones are scaled to the line."""
        escaped = self.shown.map(_latex_text)
        escaped.columns = [_latex_text(name) for name in self.shown.columns]
        text = str(
            escaped.to_latex(index=False, caption=_latex_text(self.caption), label=f"tab:{label}")
        )
        if len(self.shown.columns) > 7:
            text = text.replace(r"\begin{tabular}", r"\resizebox{\linewidth}{!}{\begin{tabular}")
            text = text.replace(r"\end{tabular}", r"\end{tabular}}")
        return "% needs the packages booktabs and graphicx\n" + text


def _latex_text(text: object) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "%": r"\%",
        "_": r"\_",
        "&": r"\&",
        "#": r"\#",
        "$": r"\$",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
    return "".join(special.get(letter, letter) for letter in str(text))


def estimate_text(row: pd.Series, *, digits: int = 2) -> str:
    """Write an estimate with its interval: "1.82 [1.75, 1.90]"; a dash where there is none."""
    if not np.isfinite(row["estimate"]):
        return "-"
    text = f"{row['estimate']:.{digits}f}"
    if np.isfinite(row["low"]) and row["interval"] != "constant":
        text += f" [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
    return text


def headline(results: Results) -> Table:
    """One row a cell: denominators, ceiling, coverage beside its control, primary endpoints."""
    coverage = summary.coverage_by_cell(results)
    if coverage.empty:
        raise NotTabulated("no trial finished, so there is nothing to estimate")
    endpoints = summary.endpoints_by_cell(results)
    cells = summary.cells(results)
    shown = _cell_columns(cells, results.manifest.factors)
    shown["done / planned"] = [f"{r.n_done} / {r.n_planned}" for r in summary.named_rows(cells)]
    shown["failed"] = cells["n_failed"].astype(str)
    shown["data seeds"] = cells["n_data"].astype(str)
    by_pair = coverage.set_index(["cell", "source", "protocol"])
    pairs = [
        ("means", "original"),
        ("data", "original"),
        ("samples", "calibrated"),
        ("data", "calibrated"),
    ]
    for source, protocol in pairs:
        name = theme.source_name(source).replace("true data (control)", "control")
        keys = [(cell, source, protocol) for cell in cells["cell"]]
        if source != "data":
            shown[f"at ceiling: {name}, {protocol}"] = [_share_text(by_pair, key) for key in keys]
        shown[f"coverage: {name}, {protocol}"] = [_cell_text(by_pair, key) for key in keys]
    by_end = endpoints.set_index(["cell", "endpoint"])
    for name in summary.PRIMARY_ENDPOINTS:
        keys2 = [(cell, name) for cell in cells["cell"]]
        shown[theme.name_of(name).split(" (")[0]] = [_cell_text(by_end, key) for key in keys2]
    brackets = captions.intervals(pd.concat([coverage, endpoints]), what="Brackets")
    return Table(
        "Headline by cell",
        f"Mean [low, high]. {brackets}"
        " Control: the same count on a fresh draw of the true mixture. A coverage with trials at "
        f"the ceiling is a lower bound. {captions.denominators(results)}",
        _wide(cells, coverage, endpoints),
        shown,
    )


def _cell_columns(frame: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    if not factors:
        return pd.DataFrame({"cell": frame["cell"].astype(str)}).reset_index(drop=True)
    columns = {theme.name_of(name): frame[name].map(theme.level_text) for name in factors}
    return pd.DataFrame(columns).reset_index(drop=True)


def _cell_text(frame: pd.DataFrame, key: tuple[str, ...]) -> str:
    return estimate_text(frame.loc[[key]].iloc[0]) if key in frame.index else "-"


def _share_text(frame: pd.DataFrame, key: tuple[str, ...]) -> str:
    if key not in frame.index:
        return "-"
    return f"{frame.loc[[key]]['share_at_ceiling'].iloc[0]:.0%}"


def _wide(cells: pd.DataFrame, coverage: pd.DataFrame, endpoints: pd.DataFrame) -> pd.DataFrame:
    """Put every estimate of a cell in one row, under names like coverage_means_original_low."""
    names = ["estimate", "low", "high", "share_at_ceiling"]
    counts = coverage.pivot(index="cell", columns=["source", "protocol"], values=names)
    counts.columns = [f"coverage_{c[1]}_{c[2]}_{c[0]}" for c in counts.columns.to_list()]
    ends = endpoints.pivot(index="cell", columns="endpoint", values=names[:3])
    ends.columns = [f"{column[1]}_{column[0]}" for column in ends.columns.to_list()]
    return cells.join(counts, on="cell").join(ends, on="cell")


def coverage(results: Results) -> Table:
    """One row for each cell, protocol and source: ceiling first, then coverage."""
    frame = summary.coverage_by_cell(results)
    if frame.empty:
        raise NotTabulated("no trial finished, so no mode was counted")
    shown = _cell_columns(frame, results.manifest.factors)
    shown["protocol"] = frame["protocol"]
    shown["source"] = frame["source"].map(theme.source_name)
    shown["counts"] = frame["n_trials"].astype(str)
    shown["data seeds"] = frame["n_data"].astype(str)
    shown["at ceiling"] = [f"{r.share_at_ceiling:.0%}" for r in summary.named_rows(frame)]
    shown["of all planned"] = [
        f"{r.share_low:.0%}"
        if r.share_low == r.share_high
        else f"{r.share_low:.0%} to {r.share_high:.0%}"
        for r in summary.named_rows(frame)
    ]
    shown["coverage"] = [estimate_text(row) for _, row in frame.iterrows()]
    shown["median k*"] = [
        "above the ceiling" if np.isinf(r.k_median) else f"{r.k_median:g}"
        for r in summary.named_rows(frame)
    ]
    return Table(
        "Coverage by source and protocol",
        f"Coverage: mean k* / K [low, high]. {captions.intervals(frame, what='Brackets')} Of all "
        "planned: the share at the ceiling if none, or all, of the trials without a count were "
        "there. Median: Kaplan-Meier, counts at the ceiling censored.",
        frame,
        shown,
    )


def contrasts(results: Results) -> Table:
    """k* of generated points less k* of the control, paired by data seed."""
    frame = summary.contrasts_by_cell(results)
    if frame.empty:
        raise NotTabulated("no finished trial has both a count and its control")
    shown = _cell_columns(frame, results.manifest.factors)
    shown["protocol"] = frame["protocol"]
    shown["source"] = frame["source"].map(theme.source_name)
    shown["at ceiling"] = [f"{share:.0%}" for share in frame["share_at_ceiling"]]
    shown["k* less control"] = [estimate_text(row, digits=1) for _, row in frame.iterrows()]
    shown["P(> control)"] = [f"{value:.2f}" for value in frame["superiority"]]
    shown["p"] = [_p_text(value) for value in frame["p_value"]]
    shown["p (Holm)"] = [_p_text(value) for value in frame["p_holm"]]
    shown["data seeds"] = frame["n_data"].astype(str)
    return Table(
        "Counts against their control",
        f"Mean difference in components [low, high]. {captions.intervals(frame, what='Brackets')} "
        "p: two-sided sign-flip test over data-seed means (exact up to 15); Holm over the cells "
        "of each source and protocol. P(> control): share of data seeds above their control, "
        "ties half. With counts at the ceiling the difference is a lower bound.",
        frame,
        shown,
    )


def _p_text(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def replication(results: Results) -> Table:
    """The original report's numbers beside the sweep's."""
    if not summary.is_the_original(results):
        raise NotTabulated("this sweep does not train on the original report's own points")
    frame = summary.report_against_replication(results)
    shown = pd.DataFrame(
        {
            "quantity": [_quantity(name) for name in frame["quantity"]],
            "epoch": frame["epoch"].astype(str),
            "report": [
                _number(value, like)
                for value, like in zip(frame["reported"], frame["quantity"], strict=True)
            ],
            "here, mean": [f"{value:.2f}" for value in frame["mean"]],
            "here, range": [f"{r.low:.4g} to {r.high:.4g}" for r in summary.named_rows(frame)],
            "report inside": [{True: "yes", False: "no"}.get(v, "-") for v in frame["inside"]],
        }
    )
    n = captions.count(int(frame["n_trials"].max()), "init seed")
    return Table(
        "The report and its replication",
        f"The original's own mixture and points, {n}. Range: smallest to largest over init seeds; "
        "with one data set there is no interval over data seeds. A dash: not reported. The "
        "report's detector tried k = 5 to 14.",
        frame,
        shown,
    )


def _quantity(column: str) -> str:
    if not column.startswith("k_") or column == "kl_nats":
        return theme.name_of(column)
    source, protocol = column.removeprefix("k_").split("_")
    return f"k*, {theme.source_name(source)}, {protocol} protocol"


def _number(value: float, column: str) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.0f}" if column.startswith("k_") else f"{value:.4f}"


def compute(results: Results) -> Table:
    """Computing time by cell."""
    trials = results.trials
    names = {"train_s": "training (h)", "count_s": "counting (h)", "endpoints_s": "endpoints (h)"}
    present = [name for name in names if trials[name].notna().any()]
    if not present:
        raise NotTabulated("no trial recorded its timings")
    hours = trials.groupby("cell", sort=False)[present].sum() / 3600
    median = trials.groupby("cell", sort=False)[present].median().sum(axis=1)
    frame = hours.rename(columns=names).assign(total=hours.sum(axis=1), median_s=median)
    frame = frame.reset_index()
    shown = frame.map(lambda value: f"{value:.3f}" if isinstance(value, float) else value)
    shown["median_s"] = [f"{value:.1f}" for value in frame["median_s"]]
    shown = shown.rename(columns={"total": "total (h)", "median_s": "median trial (s)"})
    return Table(
        "Computing time",
        f"Wall-clock hours of one worker, summed over {captions.count(len(trials), 'trial')}; the "
        "median trial's seconds. A trial trained in a stack counts its share of the stack.",
        frame,
        shown,
    )


def failures(results: Results) -> Table:
    """Trials and controls that did not finish, by cell, status and reason."""
    lost = results.trials.loc[results.trials["status"] != "done", ["cell", "status", "message"]]
    controls = summary.lost_controls(results).assign(cell="control of a mixture")
    lost = pd.concat([lost, controls[["cell", "status", "message"]]])
    if lost.empty:
        raise NotTabulated("every recorded trial and control finished")
    lost["message"] = lost["message"].fillna("").map(_last_line)
    keys = ["cell", "status", "message"]
    frame = lost.groupby(keys, sort=False).size().reset_index(name="trials")
    return Table(
        "Trials that did not finish",
        f"{captions.denominators(results)} They have no endpoints; the coverage table "
        "gives shares over all planned trials too.",
        frame,
        frame.astype(str),
    )


def _last_line(message: str) -> str:
    """Keep the line of a traceback that says what went wrong; the rows hold all of it."""
    lines = [line for line in str(message).splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def provenance(results: Results) -> Table:
    """Which code on which machine made the rows."""
    columns = ["commit", "dirty", "python", "torch", "sklearn", "numpy", "device", "cpu"]
    rows = []
    for name in columns:
        for value, n in results.trials[name].astype("string").fillna("?").value_counts().items():
            rows.append({"what": name, "value": str(value), "trials": n})
    last = results.trials["finished_at"].dropna()
    rows.append({"what": "sweep hash", "value": results.manifest.sweep_hash, "trials": len(last)})
    if len(last):
        rows.append({"what": "last finished", "value": str(last.max()), "trials": 1})
    frame = pd.DataFrame(rows)
    return Table(
        "Provenance",
        "Versions recorded with each trial; more than one value of a kind means that trials came "
        "from different code or machines.",
        frame,
        frame.astype(str),
    )


TABLES: dict[str, Callable[[Results], Table]] = {
    "headline": headline,
    "coverage": coverage,
    "contrasts": contrasts,
    "replication": replication,
    "failures": failures,
    "compute": compute,
    "provenance": provenance,
}
