"""The original report beside a sweep: its settings, its numbers, the cell that has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.cells import done_trials
from analysis.load import Results, remembered
from study.config import (
    DetectionConfig,
    MixtureConfig,
    TrainingConfig,
    default_columns,
    field_columns,
)
from study.results import PROTOCOLS, count_columns

# What the original report logged for its one network.
REPORTED = {
    ("recon", 10): 2.5483,
    ("recon", 100): 1.8898,
    ("kl_nats", 10): 3.9426,
    ("kl_nats", 100): 3.1580,
}
REPORTED_K = 14
DEFINING_SECTIONS = ("mixture.", "model.", "training.")
# Fields that `is_original_setting` judges by itself, or that may differ.
TOLD_APART = ("mixture.box", "mixture.variance", "mixture.training_points", "training.epochs")


def original_settings() -> dict[str, Any]:
    """Return the trials-table columns that define the original report's network and training."""
    defaults = default_columns()
    return {
        column: defaults[column]
        for field, columns in field_columns().items()
        if field.startswith(DEFINING_SECTIONS) and field not in TOLD_APART
        for column in columns
    }


def measuring_settings() -> dict[str, Any]:
    """Give the trials-table columns of how the report's network is measured by default."""
    detection = DetectionConfig()
    return {
        "detection_n_samples": detection.n_samples,
        "k_min": detection.k_min,
        "k_max": detection.k_max,
        "families": default_columns()["families"],
        "restarts": detection.restarts,
        "detection_seed": detection.seed,
    }


def is_original_setting(trials: pd.DataFrame) -> pd.Series:
    """Mark the trials with the original's mixture law, network and training.

    A given mixture counts only when it is trained on the original's own points.
    """
    matches = pd.Series(True, index=trials.index)
    for name, value in original_settings().items():
        same = (trials[name] == value).fillna(False).astype(bool)
        # A given mixture has no recipe, hence no alpha.
        matches &= same | trials[name].isna() if name == "alpha" else same
    recipe = (trials["box_rule"] == "fixed") & (trials["box_half_width"] == MixtureConfig().box)
    own = trials["training_points"] == "original"
    return matches & (recipe.fillna(False).astype(bool) | own.fillna(False).astype(bool))


def is_the_original(results: Results) -> bool:
    """Whether the whole sweep trains the original's network on the original's own points."""
    trials = results.trials
    own = (trials["training_points"] == "original").fillna(False)
    return bool(own.all() and is_original_setting(trials).all())


@remembered
def reference_cell(results: Results) -> str:
    """Choose the cell that others are compared with: the original's, else the first.

    A shorter training of the original's network stands for it where its 100 epochs are not in the
    sweep, and among these the one that is measured most like the report's 10,000 points. Cells
    without a finished trial are passed over while another has one.
    """
    done = done_trials(results.trials)
    pool = done if len(done) else results.trials
    alike = pool[is_original_setting(pool)]
    as_long = alike[alike["epochs"] == TrainingConfig().epochs]
    preferred = next((found for found in (as_long, alike) if len(found)), pool)
    usual = sum(
        (preferred[name] == value).fillna(False).astype(int)
        for name, value in measuring_settings().items()
    )
    return str(preferred.loc[usual.idxmax(), "cell"])


def report_against_replication(results: Results) -> pd.DataFrame:
    """Set the original report's numbers beside the sweep's spread.

    Returns
    -------
    pandas.DataFrame
        quantity, epoch, reported, mean, low, high (range over the trials), n_trials, inside
        (whether the reported number lies in the range).
    """
    done = done_trials(results.trials)
    curves = results.curves[results.curves["trial_id"].isin(done["trial_id"])]
    rows = []
    for (name, epoch), reported in REPORTED.items():
        values = curves.loc[curves["epoch"] == epoch, name]
        rows.append({"quantity": name, "epoch": epoch} | _spread(values, reported))
    last = int(done["epochs"].max()) if len(done) else 0
    for source in ("means", "data", "samples", "codes"):
        for protocol in PROTOCOLS:
            k, _, _ = count_columns(source, protocol)
            told = REPORTED_K if (source, protocol) == ("means", "original") else float("nan")
            rows.append({"quantity": k, "epoch": last} | _spread(done[k], told))
    return pd.DataFrame(rows).query("n_trials > 0").reset_index(drop=True)


def _spread(values: pd.Series, reported: float) -> dict[str, Any]:
    known = values.dropna().astype(float)
    low, high = (known.min(), known.max()) if len(known) else (np.nan, np.nan)
    return {
        "reported": reported,
        "mean": known.mean() if len(known) else np.nan,
        "low": low,
        "high": high,
        "n_trials": len(known),
        "inside": None if np.isnan(reported) else bool(low <= reported <= high),
    }
