"""What the fitted components of a count are: true ones, further fragments of them, or neither."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.load import Results

# In the order in which they are stacked; together they are k*.
PARTS = ("one each", "fragments", "bridges", "light")
PART_NAMES = {
    "one each": "one for each true component found",
    "fragments": "further fragments of them",
    "bridges": "outside the 99 % ellipsoids",
    "light": "lighter than 0.5 %",
}


def composition_by_trial(results: Results) -> pd.DataFrame:
    """Split each trial's calibrated k* of samples into its parts.

    A component counts by the share of its points that is of high quality, as a first or further
    fragment, and by the rest as one outside. In rows without these sums it is all the one or all
    the other, as more or less than half of its points are.

    Returns
    -------
    pandas.DataFrame
        trial_id, cell, data_seed, n_components, k, one each, fragments, bridges, light; trials
        whose fitted components were matched to the truth.
    """
    done = summary.done_trials(results.trials)
    fitted = results.components.dropna(subset=["fragments"])
    counts = pd.DataFrame(
        {"found": (fitted["fragments"] > 0).astype(int), "total": fitted["fragments"]}
    )
    pieces = counts.groupby(fitted["trial_id"]).sum()
    keys = ["trial_id", "cell", "data_seed", "n_components", "k_samples_calibrated", "bridges"]
    frame = done[keys].join(pieces, on="trial_id", how="inner").dropna()
    frame = frame.rename(columns={"k_samples_calibrated": "k", "found": "one each"})
    frame["fragments"] = frame["total"] - frame["one each"]
    frame["light"] = frame["k"] - frame["total"] - frame["bridges"]
    if not has_cut(results):
        frame["fragments"] = done.loc[frame.index, "fragment_sum"]
        frame["bridges"] = done.loc[frame.index, "bridge_sum"]
        whole = frame["k"] - frame["light"]
        frame["one each"] = whole - frame["fragments"] - frame["bridges"]
    numbers = ["n_components", "k", *PARTS]
    frame[numbers] = frame[numbers].astype(float)
    return frame.drop(columns="total").reset_index(drop=True)


def has_cut(results: Results) -> bool:
    """Whether the parts hang on a cut at half of a component's points: rows before version 5."""
    done = summary.done_trials(results.trials)
    matched = done[done["trial_id"].isin(results.components["trial_id"])]
    return bool(matched["bridge_sum"].isna().any())


def composition_by_cell(results: Results) -> pd.DataFrame:
    """Average the parts of k* within data seeds, then over them.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, n_components, k, one each, fragments, bridges, light (means), n_trials,
        n_data. Cells keep the sweep's order.
    """
    trials = composition_by_trial(results)
    if trials.empty:
        return trials
    numbers = ["n_components", "k", *PARTS]
    inside = trials.groupby(["cell", "data_seed"], sort=False)[numbers].mean()
    frame = inside.groupby("cell", sort=False).mean()
    frame["n_data"] = inside.groupby("cell", sort=False).size()
    frame["n_trials"] = trials.groupby("cell", sort=False).size()
    cells = summary.cells(results)[["cell", *results.manifest.factors]]
    factors = cells.loc[:, [name for name in cells if name not in frame.columns]]
    return factors.merge(frame.reset_index(), on="cell", how="inner")


def has_light(frame: pd.DataFrame) -> bool:
    """Whether any cell has components too light to be matched."""
    return bool(np.any(frame["light"] > 0.05))
