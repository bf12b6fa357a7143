"""T6: what a sweep cost, which code made it, and what did not finish."""

from __future__ import annotations

import pandas as pd

from analysis.frames import summary
from analysis.load import Results
from analysis.tables.table import NotTabulated, Table
from analysis.wording import notes as captions
from study.results import WELL_ENDED


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
    counts = summary.cells(results).set_index("cell")[["n_planned", "n_done", *_ends(results)]]
    frame = counts.join(frame).reset_index()
    shown = frame.map(lambda value: f"{value:.3f}" if isinstance(value, float) else value)
    shown["median_s"] = [f"{value:.1f}" for value in frame["median_s"]]
    shown = shown.rename(columns={"total": "total (h)", "median_s": "median trial (s)"})
    ends = ("planned", "done", "stopped", "failed")
    shown = shown.rename(columns={f"n_{name}": name for name in ends})
    return Table(
        "Computing time",
        f"Wall-clock hours of one worker, summed over {captions.count(len(trials), 'trial')}, "
        "failed ones included; the median trial's seconds. A trial trained in a stack counts its "
        "share of the stack.",
        frame,
        shown,
    )


def _ends(results: Results) -> list[str]:
    stopped = results.trials["status"].eq("stopped").any()
    return ["n_stopped", "n_failed"] if stopped else ["n_failed"]


def failures(results: Results) -> Table:
    """Trials and controls that did not finish, by cell, status and reason."""
    bad = ~results.trials["status"].isin(WELL_ENDED)
    lost = results.trials.loc[bad, ["cell", "status", "message"]]
    controls = summary.lost_controls(results).assign(cell="control of a mixture")
    lost = pd.concat([lost, controls[["cell", "status", "message"]]])
    if lost.empty:
        raise NotTabulated("every recorded trial and control finished")
    lost["message"] = lost["message"].fillna("").map(captions.last_line)
    keys = ["cell", "status", "message"]
    frame = lost.groupby(keys, sort=False).size().reset_index(name="trials")
    return Table(
        "Trials that did not finish",
        f"{captions.denominators(results)} They have no endpoints; the coverage table "
        "gives shares over all planned trials too.",
        frame,
        frame.astype(str),
    )


def provenance(results: Results) -> Table:
    """Which code on which machine made the rows."""
    columns = ["commit", "dirty", "python", "torch", "sklearn", "numpy", "device", "cpu"]
    rows = []
    for name in columns:
        for value, n in results.trials[name].astype("string").fillna("?").value_counts().items():
            rows.append({"what": name, "value": str(value), "trials": n})
    for kind in ("data", "init", "sample"):
        seeds = sorted(results.trials[f"{kind}_seed"].dropna().unique())
        text = f"{seeds[0]} to {seeds[-1]} ({len(seeds)})" if seeds else "none"
        rows.append({"what": f"{kind} seeds", "value": text, "trials": len(results.trials)})
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
