"""How far counts reach when their search ends at a ceiling: P(k* > k) in every cell."""

from __future__ import annotations

import pandas as pd

from analysis.frames.cells import by_cell
from analysis.load import Results
from analysis.statistics.censored import survival_limits
from study.results import count_columns


def survival(results: Results, source: str, protocol: str, *, level: float = 0.95) -> pd.DataFrame:
    """Estimate P(k* > k) of every cell by Kaplan-Meier, counts at the ceiling censored.

    Parameters
    ----------
    results : Results
    source, protocol : str
        Such as "samples", "original". The control ("data") enters once for each mixture.
    level : float

    Returns
    -------
    pandas.DataFrame
        The factors, cell, k, survival, low, high, n (counts), n_censored, n_data, interval,
        level. Rows start one below the smallest count; empty where nothing was counted.
    """
    k, _, flag = count_columns(source, protocol)
    factors = list(results.manifest.factors)
    columns = ["cell", "k", "survival", "low", "high", "n", "n_censored"]
    parts = []
    for head, group in by_cell(results):
        rows = group.drop_duplicates("control_id") if source == "data" else group
        rows = rows.dropna(subset=[k, flag])
        if rows.empty:
            continue
        curve = survival_limits(rows[k], rows[flag], rows["data_seed"], level=level)
        extra = {
            "n": len(rows),
            "n_censored": int(rows[flag].astype(bool).sum()),
            "n_data": rows["data_seed"].nunique(),
        }
        parts.append(curve.assign(**head, **extra))
    order = [*factors, *columns, "n_data", "interval", "level"]
    return pd.concat(parts, ignore_index=True)[order] if parts else pd.DataFrame(columns=order)
