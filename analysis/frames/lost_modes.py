"""Which modes die: recall of a true component by its weight, separation and variance.

The stored components say which ones each network recalled; what they are like is drawn again from
the recipe and the data seed, and checked against the stored weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.cells import cells, done_trials, interval_row, named_rows
from analysis.frames.contrasts import cells_near
from analysis.frames.reference import reference_cell
from analysis.load import Results, remembered
from analysis.statistics.intervals import mean_intervals
from analysis.statistics.logistic import clustered_logistic
from study.endpoints.traits import recipe_traits

TRAITS = ("weight", "separation", "variance")
_RECIPE = ["n_components", "dim", "box_half_width", "variance_low", "variance_high", "alpha"]
_KEYS = ["cell", "data_seed", "component"]
# With losses in fewer data sets nothing is fitted: each data set would decide alone.
FEWEST_DATA_SETS = 5
MAX_CELLS = 12
N_BINS = 6


def mode_fates(results: Results) -> pd.DataFrame:
    """Say of each true component of each data set in how many networks it was recalled.

    Returns
    -------
    pandas.DataFrame
        cell, data_seed, component, n_networks, n_recalled, weight, separation (standard deviations
        to the nearest component), variance (geometric mean). Eligible components alone: those with
        at least 50 expected points. Empty where mixtures are given, or of another family than the
        recipe, or no component was stored.
    """
    return _mode_fates(results).copy()


@remembered
def _mode_fates(results: Results) -> pd.DataFrame:
    columns = [*_KEYS, "n_networks", "n_recalled", *TRAITS]
    done = done_trials(results.trials)
    # The truth can be drawn again from the recipe alone.
    done = done[(done["box_rule"] != "given") & (done["mixture_kind"] == "box")]
    stored = results.components
    if stored.empty or done.empty:
        return pd.DataFrame(columns=columns)
    stored = stored[stored["eligible"].fillna(False).astype(bool)]
    heads = done.set_index("trial_id")[["cell", "data_seed", *_RECIPE]]
    rows = stored.join(heads, on="trial_id", how="inner").dropna(subset=["recalled"])
    if rows.empty:
        return pd.DataFrame(columns=columns)
    counted = rows.groupby([*_KEYS, *_RECIPE, "weight"], sort=False)["recalled"].agg(
        n_networks="size", n_recalled="sum"
    )
    found = counted.reset_index().astype({"n_recalled": int})
    traits = _traits(found)
    found = found.merge(traits, on=[*_RECIPE, "data_seed", "component"], how="left")
    # What was drawn otherwise than today's code draws has no traits that could be trusted.
    known = np.isclose(found["weight"].astype(float), found["drawn"].astype(float), rtol=1e-9)
    return found.loc[known, columns].reset_index(drop=True)


def _traits(rows: pd.DataFrame) -> pd.DataFrame:
    """Draw the components of every recipe and data seed among some rows."""
    parts = []
    for key in named_rows(rows[[*_RECIPE, "data_seed"]].drop_duplicates()):
        traits = recipe_traits(
            n_components=int(key.n_components),
            dim=int(key.dim),
            half_width=float(key.box_half_width),
            variance=(float(key.variance_low), float(key.variance_high)),
            alpha=float(key.alpha),
            data_seed=int(key.data_seed),
        )
        part = {
            "component": np.arange(len(traits.weight)),
            "drawn": traits.weight,
            "separation": traits.separation,
            "variance": traits.variance,
        }
        parts.append(pd.DataFrame(part).assign(**key._asdict()))
    return pd.concat(parts, ignore_index=True)


def lost_by_cell(results: Results) -> pd.DataFrame:
    """Count the modes that each cell lost.

    Returns
    -------
    pandas.DataFrame
        cell, n_data, n_data_lost (data sets with a lost mode), n_modes (eligible ones over all
        data sets), n_lost (in any network), n_always (in every network of their data set),
        n_asked and n_missed (modes times networks).
    """
    fates = mode_fates(results)
    rows = []
    for cell, group in fates.groupby("cell", sort=False):
        lost = group[group["n_recalled"] < group["n_networks"]]
        rows.append(
            {
                "cell": cell,
                "n_data": group["data_seed"].nunique(),
                "n_data_lost": lost["data_seed"].nunique(),
                "n_modes": len(group),
                "n_lost": len(lost),
                "n_always": int((lost["n_recalled"] == 0).sum()),
                "n_asked": int(group["n_networks"].sum()),
                "n_missed": int((group["n_networks"] - group["n_recalled"]).sum()),
            }
        )
    return pd.DataFrame(rows)


def recall_model(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Model the odds of recall by a component's traits, with a constant for each cell.

    Bias-reduced logistic regression on the logarithms of the traits; data seeds are the clusters.
    Cells that lost nothing say nothing of traits and are left out; of more than 12 those nearest
    the reference cell are kept.

    Parameters
    ----------
    results : Results
    level : float

    Returns
    -------
    pandas.DataFrame
        trait, odds_ratio (of recall, for twice the trait), low, high, p_value, n_data, n_data_lost
        (data sets with a lost mode), n_cells, n_modes, n_missed, n_asked, interval, level. Empty
        where modes were lost in fewer than 5 data sets.
    """
    return _recall_model(results, level).copy()


@remembered
def _recall_model(results: Results, level: float) -> pd.DataFrame:
    rows = _model_rows(results)
    lost = rows[rows["n_recalled"] < rows["n_networks"]]
    if lost["data_seed"].nunique() < FEWEST_DATA_SETS:
        return pd.DataFrame()
    traits = np.log2(rows[list(TRAITS)].to_numpy(np.float64))
    constants = pd.get_dummies(rows["cell"]).to_numpy(np.float64)
    # Centred, so that the constants are those of a middling component.
    x = np.hstack([traits - traits.mean(axis=0), constants])
    fit = clustered_logistic(
        x, rows["n_recalled"], rows["n_networks"], rows["data_seed"], level=level
    )
    n = len(TRAITS)
    estimate, half = fit.coefficients[:n], fit.half_width[:n]
    return pd.DataFrame(
        {
            "trait": TRAITS,
            "odds_ratio": np.exp(estimate),
            "low": np.exp(estimate - half),
            "high": np.exp(estimate + half),
            "p_value": fit.p_value[:n],
            "n_data": fit.n_clusters,
            "n_data_lost": lost["data_seed"].nunique(),
            "n_cells": rows["cell"].nunique(),
            "n_modes": len(rows),
            "n_missed": int((rows["n_networks"] - rows["n_recalled"]).sum()),
            "n_asked": int(rows["n_networks"].sum()),
            "interval": "jackknife",
            "level": level,
        }
    )


def _model_rows(results: Results) -> pd.DataFrame:
    """Take the rows of the cells that lost a mode, at most 12 of them."""
    fates = mode_fates(results)
    fates = fates[np.isfinite(fates["separation"].astype(float))]
    losing = fates[fates["n_recalled"] < fates["n_networks"]]["cell"].unique()
    order = [cell for cell in cells(results)["cell"] if cell in set(losing)]
    if len(order) > MAX_CELLS:
        near = {reference_cell(results), *cells_near(results, reference_cell(results))}
        order.sort(key=lambda cell: cell not in near)
    return fates[fates["cell"].isin(order[:MAX_CELLS])].reset_index(drop=True)


def recall_by_trait(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Average recall over bins of each trait, in the cells of `recall_model`.

    Returns
    -------
    pandas.DataFrame
        trait, value (median of the bin), n_modes, and the estimate's columns: the mean over data
        seeds of the share of networks that recall a mode of this bin.
    """
    rows = _model_rows(results)
    heads: list[dict[str, Any]] = []
    samples = []
    for trait in TRAITS if len(rows) else ():
        bins = pd.qcut(rows[trait], N_BINS, labels=False, duplicates="drop")
        for _, group in rows.groupby(bins, sort=True):
            share = group["n_recalled"] / group["n_networks"]
            heads.append(
                {
                    "trait": trait,
                    "value": float(group[trait].median()),
                    "n_modes": len(group),
                    "n_trials": int(group["n_networks"].sum()),
                }
            )
            samples.append((share, group["data_seed"]))
    limits = mean_intervals(samples, level=level, bounds=[(0.0, 1.0)] * len(samples))
    return pd.DataFrame(
        [
            head | interval_row(limit, head["n_trials"])
            for head, limit in zip(heads, limits, strict=True)
        ]
    )
