"""Where the spread within a cell comes from: data, init, sample and detector seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.frames.cells import done_trials
from analysis.load import Results
from analysis.statistics.balanced import BalancedArray, balanced_core, nested_components

# Outermost first: each seed is nested in those before it.
SEEDS = {
    "data": "data_seed",
    "init": "init_seed",
    "sample": "sample_seed",
    "detector": "detection_seed",
}
COLUMNS = (
    "endpoint", "component", "variance", "sd", "share", "low", "high", "n_data", "n_init",
    "interval", "level", "n_cells", "n_trials", "n_dropped",
)  # fmt: skip


def variance_components(
    results: Results,
    endpoints: Sequence[str],
    *,
    cell: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Estimate variance components by the analysis of variance of nested seeds.

    Variances are taken within cells and averaged over them. What the design does not vary
    cannot be told apart: with one init seed the data component contains the init's, and with one
    data seed there is no data component.

    Parameters
    ----------
    results : Results
    endpoints : sequence of str
        Numeric columns of the trials table.
    cell : str or None
        One cell; None: all.
    level : float

    Returns
    -------
    pandas.DataFrame
        endpoint, component (of "data", "init", "sample", "detector" those that vary), variance
        (unbiased, so it can be negative), sd and share (a negative component counts as 0), low
        and high (of the variance), n_data, n_init, interval, level, n_cells, n_trials, and
        n_dropped (trials outside the balanced core). Empty where no seed varies.
    """
    done = done_trials(results.trials)
    done = done if cell is None else done[done["cell"] == cell]
    rows = []
    for name in endpoints:
        strata, core = nested_array(results, done, name)
        if not strata:
            continue
        found = nested_components(core.values, level=level)
        counted = np.maximum(found.variance, 0)
        total = counted.sum()
        n_data = core.values.shape[1] if "data" in strata else 1
        n_init = core.values.shape[1 + strata.index("init")] if "init" in strata else 1
        for i, component in enumerate(strata):
            rows.append(
                {
                    "endpoint": name,
                    "component": component,
                    "variance": found.variance[i],
                    "sd": np.sqrt(counted[i]),
                    "share": counted[i] / total if total > 0 else np.nan,
                    "low": found.low[i],
                    "high": found.high[i],
                    "n_data": n_data,
                    "n_init": n_init,
                    "interval": "mls",
                    "level": level,
                    "n_cells": len(core.labels[0]),
                    "n_trials": core.values.size,
                    "n_dropped": core.n_dropped,
                }
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def nested_array(
    results: Results, trials: pd.DataFrame, column: str
) -> tuple[list[str], BalancedArray]:
    """Arrange an endpoint as cells x seeds, the seeds that do not vary left out.

    Returns
    -------
    strata : list of str
        Keys of `SEEDS`, outermost first; empty where nothing can be estimated.
    core : BalancedArray
        Axis 0: cells (without the detector's seed); then the strata.
    """
    factors = [name for name in results.manifest.factors if name != SEEDS["detector"]]
    numbers = trials[[*factors, *SEEDS.values()]].assign(
        value=trials[column].astype("Float64").astype(float)
    )
    numbers["cell"] = numbers.groupby(factors, sort=False, dropna=False).ngroup() if factors else 0
    core = balanced_core(numbers, "value", ["cell", *SEEDS.values()])
    varied = [axis for axis in range(1, core.values.ndim) if core.values.shape[axis] > 1]
    fixed = tuple(axis for axis in range(1, core.values.ndim) if axis not in varied)
    if not core.values.size:
        return [], core
    squeezed = BalancedArray(core.values.squeeze(axis=fixed), core.labels, core.n_dropped)
    return [list(SEEDS)[axis - 1] for axis in varied], squeezed
