"""Samples against their control by other counts than BIC's, and how sure a count is.

BIC counts the Gaussians that a density needs, not its modes: one curved cluster needs several. The
maxima of the fitted density (modal EM) and the clusters that ICL separates are counts of other
things, of the same fit; each has its control, counted in the same way.

Where a folder is older than a column that its stored curves decide (ICL, singular BIC,
epsilon-BIC), the column is read off the curves here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.cells import by_cell, interval_row
from analysis.load import Results, remembered
from analysis.statistics.hypotheses import paired_contrasts
from study.detection.criteria import epsilon_bic, free_parameters, singular_bic
from study.results import SOURCES, reading_columns

# What is counted on samples, and the same on the control.
COUNTS = {
    "k_samples_calibrated": "k_data_calibrated",
    "modal_modes_samples": "modal_modes_data",
    "icl_k_samples": "icl_k_data",
    "sbic_k_samples": "sbic_k_data",
    "ebic_k_samples": "ebic_k_data",
}
# Those that the stored curve decides, by source.
READ_OFF = {
    source: tuple(f"{name}_{source}" for name in ("icl_k", "sbic_k", "ebic_k"))
    for source in ("samples", "data")
}
# A search that ends this far above another one has failed (BIC units).
FAILED_GAP = 10.0


def excess_by_cell(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Compare counts of samples with the same counts of the control, paired by data seed.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, count (a key of `COUNTS`), samples and control (means over the pairs),
        the mean difference with its interval, p_value (sign-flip), superiority, dz. Counts that a
        folder lacks on one side have no rows.
    """
    rows: list[dict[str, Any]] = []
    differences = []
    read = _with_curves_read(results)
    for head, group in by_cell(read, ["data_seed", *COUNTS, *COUNTS.values()]):
        for name, control in COUNTS.items():
            pair = group[[name, control, "data_seed"]].dropna()
            if pair.empty:
                continue
            means = {"samples": float(pair[name].mean()), "control": float(pair[control].mean())}
            rows.append(head | {"count": name, "n_trials": len(pair)} | means)
            differences.append((pair[name] - pair[control], pair["data_seed"]))
    if not rows:
        return pd.DataFrame()
    found = paired_contrasts(differences, level=level)
    return pd.DataFrame(
        [
            row
            | interval_row(one.difference, row["n_trials"])
            | {"p_value": one.p_value, "superiority": one.superiority, "dz": one.dz}
            for row, one in zip(rows, found, strict=True)
        ]
    )


@remembered
def _with_curves_read(results: Results) -> Results:
    """Fill what the trials table lacks and the stored curves decide."""
    trials = results.trials.copy()
    for source, names in READ_OFF.items():
        lacking = [name for name in names if trials[name].isna().all()]
        if not lacking:
            continue
        owner = "control_id" if source == "data" else "trial_id"
        found = _read_curves(results, source, _points_of(trials, owner))
        for name in lacking:
            values = trials[owner].map({key: row[name] for key, row in found.items()})
            trials[name] = values.astype(trials[name].dtype)
    return replace(results, trials=trials)


def _points_of(trials: pd.DataFrame, owner: str) -> dict[str, int]:
    """Give the number of counted points of each owner; the original's control is its training."""
    points = trials["detection_n_samples"]
    if owner == "control_id":
        points = points.where(trials["training_points"] != "original", trials["n_samples"])
    return {str(key): int(n) for key, n in zip(trials[owner], points, strict=True)}


def _read_curves(
    results: Results, source: str, n_points: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Choose k by ICL, singular BIC and epsilon-BIC from each owner's last calibrated curve."""
    counts = results.counts
    chosen = (counts["source"] == source) & (counts["protocol"] == "calibrated")
    counts = counts[chosen & counts["owner_id"].isin(list(n_points))]
    last = counts.groupby("owner_id")["epoch"].transform("max")
    counts = counts[last.isna() | (counts["epoch"] == last)].sort_values(["owner_id", "k"])
    found = {}
    for owner, curve in counts.groupby("owner_id", sort=False):
        ks = curve["k"].to_numpy(np.int64)
        log_likelihood, bic, icl = (
            curve[name].to_numpy(float) for name in ("log_likelihood", "bic", "icl")
        )
        n_samples = n_points[str(owner)]
        n_free = free_parameters(log_likelihood, bic, n_samples)
        criteria = (
            icl,
            singular_bic(ks, log_likelihood, n_free, n_samples),
            epsilon_bic(log_likelihood, n_free, n_samples),
        )
        chosen_ks = [int(ks[values.argmin()]) for values in criteria]
        found[str(owner)] = dict(zip(READ_OFF[source], chosen_ks, strict=True))
    return found


def certainty_by_cell(results: Results) -> pd.DataFrame:
    """Describe how sure the calibrated counts of each cell and source are.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, source, n_counts; means of k, set_low, set_high, sbic_k and ebic_k;
        share_sure (the set is k* alone), share_stopped (the search gave up below its limits) and
        share_ties; of samples n_gaps (searches repeated with other seeds), gap (median, BIC
        units), share_failed (above 10) and k_best (mean k* of the best seed). Sources without a
        set have no rows.
    """
    columns = ["control_id", "sample_gap", "k_best_samples"]
    for source in SOURCES:
        columns += [f"k_{source}_calibrated", *reading_columns(source)]
    rows = []
    for head, group in by_cell(results, columns):
        for source in SOURCES:
            # A control is counted once for each mixture, however many trials share it.
            counted = group.drop_duplicates("control_id") if source == "data" else group
            counted = counted.dropna(subset=[f"k_set_low_{source}"])
            if len(counted):
                rows.append(head | {"source": source} | _certainty(counted, source))
    return pd.DataFrame(rows)


def _certainty(counted: pd.DataFrame, source: str) -> dict[str, Any]:
    low, high = counted[f"k_set_low_{source}"], counted[f"k_set_high_{source}"]
    row = {
        "n_counts": len(counted),
        "k": _mean(counted[f"k_{source}_calibrated"]),
        "set_low": _mean(low),
        "set_high": _mean(high),
        "sbic_k": _mean(counted[f"sbic_k_{source}"]),
        "ebic_k": _mean(counted[f"ebic_k_{source}"]),
        "share_sure": _mean(low == high),
        "share_stopped": _mean(counted[f"stopped_{source}"]),
        "share_ties": _mean(counted[f"has_ties_{source}"]),
    }
    gaps = counted["sample_gap"].dropna() if source == "samples" else pd.Series(dtype=float)
    return row | {
        "n_gaps": len(gaps),
        "gap": float(gaps.median()) if len(gaps) else np.nan,
        "share_failed": _mean(gaps > FAILED_GAP),
        "k_best": _mean(counted["k_best_samples"]) if len(gaps) else np.nan,
    }


def _mean(values: pd.Series) -> float:
    known = values.dropna()
    return float(known.astype(float).mean()) if len(known) else np.nan
