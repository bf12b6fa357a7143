"""T3 and T4: where the spread within cells comes from, and what the factors explain."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.load import Results
from analysis.statistics.intervals import KIND_TEXT
from analysis.tables.table import NotTabulated, Table, p_text, quantity_name
from analysis.wording.names import name_of

COUNTS = ("k_samples_calibrated", "k_samples_original", "modal_modes_samples")

SCALES: tuple[Literal["raw", "log"], ...] = ("raw", "log")


def _measured(results: Results) -> list[str]:
    done = summary.done_trials(results.trials)
    return [name for name in (*summary.PRIMARY_ENDPOINTS, *COUNTS) if done[name].notna().any()]


def variance(results: Results) -> Table:
    """Variance components within cells, by seed."""
    frame = summary.variance_components(results, _measured(results))
    if frame.empty:
        raise NotTabulated("no seed was varied within a cell, so there is no spread to split")
    rows = summary.named_rows(frame)
    shown = pd.DataFrame(
        {
            "endpoint": frame["endpoint"].map(quantity_name),
            "component": frame["component"] + " seed",
            "sd": [_sd_text(row) for row in rows],
            "share": ["-" if np.isnan(r.share) else f"{r.share:.0%}" for r in rows],
            "data x init seeds": [f"{r.n_data} x {r.n_init}" for r in rows],
            "cells": frame["n_cells"].astype(str),
            "trials left out": frame["n_dropped"].astype(str),
        }
    )
    text = (
        "Standard deviation within cells [low, high], by the analysis of variance of seeds nested "
        f"in each other, averaged over cells. Brackets: {frame['level'].iloc[0]:.0%} "
        f"{KIND_TEXT['mls']}. 0 (negative): the estimate of the variance is below 0, so the "
        "component is too small to see. Trials left out: those outside the largest complete "
        "block of cells and seeds."
    )
    if "init" not in set(frame["component"]):
        text += " With one init seed, the data seed's component contains the training's."
    if "data" not in set(frame["component"]):
        text += " With one data seed, nothing is known of the spread over data sets."
    return Table("Variance components", text, frame, shown)


def _sd_text(row: object) -> str:
    sd, low, high = (float(getattr(row, name)) for name in ("sd", "low", "high"))
    text = "0 (negative)" if float(row.variance) < 0 else f"{sd:.3g}"  # type: ignore[attr-defined]
    return f"{text} [{np.sqrt(low):.3g}, {np.sqrt(high):.3g}]"


def anova(results: Results) -> Table:
    """Analysis of variance of the primary endpoints and of k*."""
    parts = [
        summary.anova(results, name, scale=scale)
        for name in _measured(results)
        for scale in SCALES
    ]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise NotTabulated("two cells and two data seeds are needed to compare their variances")
    frame = pd.concat(parts, ignore_index=True)
    rows = summary.named_rows(frame)
    shown = pd.DataFrame(
        {
            "endpoint": frame["endpoint"].map(quantity_name),
            "scale": frame["scale"],
            "term": [_term_text(name) for name in frame["term"]],
            "df": frame["df"].astype(str),
            "F": ["-" if not np.isfinite(r.f) else f"{r.f:.3g}" for r in rows],
            "p": frame["p"].map(p_text),
            "eta squared": ["-" if np.isnan(r.eta_sq) else f"{r.eta_sq:.3f}" for r in rows],
            "omega squared": [_omega_text(r) for r in rows],
        }
    )
    dropped = int(frame["n_dropped"].max())
    text = (
        "Balanced factorial with data seeds as random blocks: factors and data seeds are tested "
        "against cells x data seeds, that against the other seeds (init, sample) inside. Eta "
        "squared: share of the sum of squares; omega squared: the same less what noise alone "
        "gives, so below 0 is none. In brackets: 95% jackknife t interval over data seeds, cut at "
        "0 and 1. Shares belong to the grid and to the scale: on the raw scale of a quantity that "
        "varies as its mean they are those of the few cells with the largest means; log: of its "
        "logarithm, where all values are positive."
    )
    levels = ", ".join(dict.fromkeys(text for text in frame["left_out"] if text))
    if levels:
        text += f" Left out, so that the rest is fully crossed: {levels}."
    if dropped:
        text += f" Up to {dropped} trials lie outside the balanced block and are left out."
    return Table("Analysis of variance", text, frame, shown)


def _omega_text(row: Any) -> str:
    if np.isnan(row.omega_sq):
        return "-"
    text = f"{row.omega_sq:.3f}"
    return f"{text} [{row.low:.3f}, {row.high:.3f}]" if np.isfinite(row.low) else text


def _term_text(term: str) -> str:
    return " x ".join(name_of(part) for part in term.split(" x "))
