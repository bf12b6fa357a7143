"""T5 and T7: what a metric says of models without a network, and what theory says of any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.load import Results
from analysis.statistics import intervals as stats
from analysis.tables.table import NotTabulated, Table, estimate_text
from analysis.wording import notes as captions
from analysis.wording.names import NULL_NAMES, cell_text, name_of

NULL_COLUMNS = ("k_original", "k_calibrated", "mode_recall", "spurious_mass", "tv", "fkl_nats",
                "prdc_density", "prdc_coverage", "c2st")  # fmt: skip
LITERATURE_COLUMNS = ("modes_captured", "hq_3sd", "rkl_captured", "rkl_nearest", "emc",
                      "rke_modes")  # fmt: skip
TRIAL_COLUMNS = {"k_original": "k_samples_original", "k_calibrated": "k_samples_calibrated"}


def nulls(results: Results) -> Table:
    """Every metric on samples of models without a network, beside the sweep's reference cell."""
    return _beside_nulls(
        results,
        NULL_COLUMNS,
        title="Null models and controls",
        caption="Mean over data seeds [low, high] of each metric on as many points as a trial's "
        "samples. {} A metric that does not tell the single Gaussian from the true mixture says "
        "nothing of a network either.",
    )


def literature(results: Results) -> Table:
    """The literature's counts of modes, for the null models and the sweep's reference cell."""
    return _beside_nulls(
        results,
        LITERATURE_COLUMNS,
        title="Numbers of the literature",
        caption="Mean over data seeds [low, high] over the first 2,500 samples. {} A mode is "
        "captured by one sample within 3 sd of it. The row of one Gaussian says what such a count "
        "is worth: where it is near that of a network, only the share within 3 sd tells them "
        "apart. RKE counts a wide cloud as many modes; the truth's row is its control.",
    )


def _beside_nulls(results: Results, columns: Sequence[str], *, title: str, caption: str) -> Table:
    if results.nulls.empty:
        raise NotTabulated("this folder has no null models; sweeps from version 2 on have them")
    if results.nulls[list(columns)].isna().all(axis=None):
        raise NotTabulated("the null models of this folder were not measured this way; rescore it")
    seeds = results.controls.set_index("control_id")["data_seed"]
    rows = results.nulls.join(seeds, on="control_id")
    groups = [
        (NULL_NAMES.get(str(name), str(name)), group)
        for name, group in rows.groupby("null", sort=False)
    ]
    done = summary.done_trials(results.trials)
    # A trial's samples are what a null model's draw stands beside.
    done = done.assign(**{name: done[column] for name, column in TRIAL_COLUMNS.items()})
    cell = summary.reference_cell(results)
    groups.append((f"VAE, {cell_text(cell)}", done[done["cell"] == cell]))
    groups.append(("VAEs without an active unit", done[done["active_units"] == 0]))
    samples = [(label, name, group) for label, group in groups if len(group) for name in columns]
    intervals = stats.mean_intervals([(g[name], g["data_seed"]) for _, name, g in samples])
    frame = pd.DataFrame(
        [
            {"model": label, "metric": name}
            | summary.interval_row(interval, int(group[name].notna().sum()))
            for (label, name, group), interval in zip(samples, intervals, strict=True)
        ]
    )
    text = frame.assign(text=[estimate_text(row) for _, row in frame.iterrows()])
    shown = text.pivot(index="model", columns="metric", values="text")
    shown = shown.loc[list(dict.fromkeys(frame["model"])), list(columns)]
    heads = {name: name_of(name).split(" (")[0] for name in columns}
    heads |= {"k_original": "k*, original", "k_calibrated": "k*, calibrated"}
    shown = shown.rename(columns=heads).reset_index()
    brackets = captions.intervals(frame, what="Brackets")
    return Table(title, caption.format(brackets), frame, shown)


def _checks(done: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """List each inequality with its slack: below 0 is a violation."""
    beta = done["kl_weight"].astype(float)
    return [
        (
            "loss >= floor - 0.05 beta (no model beats the entropy of the data)",
            done["loss"] - done["loss_floor"] + 0.05 * beta,
        ),
        (
            "KL >= Shannon lower bound - 0.02 nats (rate at this distortion)",
            done["kl_nats"] - done["rate_bound_nats"] + 0.02,
        ),
        ("forward KL >= -0.05 nats", done["fkl_nats"] + 0.05),
        (
            "share of true data of high density within 0.99 +- 0.01",
            0.01 - (done["hq_control"] - 0.99).abs(),
        ),
    ]


def theory(results: Results) -> Table:
    """Count the trials that break an inequality which holds for every model."""
    done = summary.done_trials(results.trials)
    rows = []
    for name, slack in _checks(done):
        known = slack.dropna().astype(float)
        if known.empty:
            continue
        broken = known[known < 0]
        rows.append(
            {
                "check": name,
                "trials": len(known),
                "violations": len(broken),
                "smallest_slack": float(known.min()),
                "broken_by": ", ".join(done.loc[broken.index, "trial_id"].head(20)),
            }
        )
    if not rows:
        raise NotTabulated("no finished trial has the endpoints that theory bounds")
    frame = pd.DataFrame(rows)
    shown = frame.astype({"trials": str, "violations": str})
    shown["smallest_slack"] = [f"{value:.3f}" for value in frame["smallest_slack"]]
    shown["broken_by"] = np.where(frame["violations"] > 0, frame["broken_by"], "-")
    shown.columns = pd.Index(["check", "trials", "violations", "smallest slack", "broken by"])
    total = int(frame["violations"].sum())
    verdict = (
        "No trial breaks one."
        if not total
        else f"{total} breaks: each is a fault to be explained."
    )
    return Table(
        "Theory checks",
        f"Inequalities that hold for every encoder and decoder, on held-out points. {verdict} "
        "Slack: how far the nearest trial is from breaking it, in the check's units. "
        f"{captions.denominators(results)}",
        frame,
        shown,
    )
