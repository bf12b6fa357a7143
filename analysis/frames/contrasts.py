"""Paired differences: counts against their control, cells against each other on common seeds.

The primary family is the one declared in docs/study.md, for every sweep: the three endpoints
`PRIMARY_ENDPOINTS`, each cell that differs from the reference cell in one factor. Holm's method
covers it as one family. Everything else is exploration, with Benjamini-Hochberg's false discovery
rate over one frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.cells import (
    COUNT_COLUMNS,
    by_cell,
    cells,
    counted_pairs,
    done_trials,
    independent_factors,
    interval_row,
)
from analysis.frames.reference import reference_cell
from analysis.load import Results
from analysis.statistics.hypotheses import (
    Contrast,
    benjamini_hochberg,
    equivalence_test,
    holm,
    paired_contrasts,
)
from study.results import PRIMARY_ENDPOINTS
from study.results import endpoint as endpoint_record

# Differences smaller than this are of no interest: nats for the forward KL, else components.
# For columns that no endpoint is known of.
UNKNOWN_MARGIN = 0.05
# Above this many cells, pairs of neighbouring levels are compared instead of all.
ALL_PAIRS = 12


def contrasts_by_cell(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Compare k* of generated points with k* of the control, paired by data seed.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, source, protocol, the difference in components with its interval,
        p_value (sign-flip), p_holm (Holm over the cells of a source and protocol), superiority,
        dz, share_at_ceiling (where it is not 0 the difference is a lower bound), and excess: the
        mean of k* - K_id, by data seed.
    """
    return _contrasts_by_cell(results, level).copy()


@lru_cache(maxsize=4)
def _contrasts_by_cell(results: Results, level: float) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    differences = []
    for head, group in by_cell(results, COUNT_COLUMNS):
        for source, protocol in counted_pairs(group):
            control = group[f"k_data_{protocol}"]
            if source == "data" or control.isna().all():
                continue
            k = group[f"k_{source}_{protocol}"]
            differences.append((k - control, group["data_seed"]))
            excess = (k - group["k_id"]).groupby(group["data_seed"]).mean().mean()
            rows.append(
                head
                | {"source": source, "protocol": protocol, "n_trials": int(k.notna().sum())}
                | {
                    "share_at_ceiling": float(group[f"at_ceiling_{source}_{protocol}"].mean()),
                    "excess": float(excess) if pd.notna(excess) else float("nan"),
                }
            )
    if not rows:
        return pd.DataFrame()
    found = paired_contrasts(differences, level=level)
    frame = pd.DataFrame([_contrast_row(row, one) for row, one in zip(rows, found, strict=True)])
    families = frame.groupby(["source", "protocol"], sort=False)["p_value"]
    return frame.assign(p_holm=families.transform(holm))


def _contrast_row(head: dict[str, Any], contrast: Contrast) -> dict[str, Any]:
    row = head | interval_row(contrast.difference, head["n_trials"])
    return row | {
        "p_value": contrast.p_value,
        "superiority": contrast.superiority,
        "dz": contrast.dz,
    }


def cell_contrasts(
    results: Results,
    endpoints: Sequence[str] = PRIMARY_ENDPOINTS,
    *,
    reference: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare every cell with the reference cell on their common seeds.

    Parameters
    ----------
    results : Results
    endpoints : sequence of str
        Numeric columns of the trials table.
    reference : str or None
        A cell; None: `reference.reference_cell`.
    level : float

    Returns
    -------
    pandas.DataFrame
        cell, the factors, reference, endpoint, the mean difference with its interval, p_value
        (sign-flip), is_primary, p_holm (Holm over the primary family; missing outside it), p_bh
        (Benjamini-Hochberg over the whole frame), superiority, dz. Empty with one cell.
    """
    against = reference_cell(results) if reference is None else reference
    heads = {head["cell"]: head for head, _ in by_cell(results, ())}
    if against not in heads:
        return pd.DataFrame()
    rows, differences = [], []
    tables = {name: _by_seeds(results, name) for name in endpoints}
    for cell in heads:
        if cell == against:
            continue
        for name, wide in tables.items():
            delta = wide[cell].to_numpy() - wide[against].to_numpy()
            n_pairs = int((~np.isnan(delta)).sum())
            rows.append(
                heads[cell] | {"reference": against, "endpoint": name, "n_trials": n_pairs}
            )
            differences.append((delta, wide.index.get_level_values("data_seed")))
    if not rows:
        return pd.DataFrame()
    found = paired_contrasts(differences, level=level)
    frame = pd.DataFrame([_contrast_row(row, one) for row, one in zip(rows, found, strict=True)])
    near = _differ_in_one(results, against)
    primary = frame["endpoint"].isin(PRIMARY_ENDPOINTS) & frame["cell"].isin(near)
    return frame.assign(
        is_primary=primary,
        p_holm=holm(frame["p_value"].where(primary)),
        p_bh=benjamini_hochberg(frame["p_value"]),
    )


def _differ_in_one(results: Results, reference: str) -> set[str]:
    """Name the cells that differ from the reference cell in one factor.

    A factor that others determine (axes that move together) does not count as another.
    """
    frame = cells(results)
    factors = independent_factors(frame, results.manifest.factors)
    base = frame.loc[frame["cell"] == reference, factors].iloc[0]
    apart = pd.DataFrame({name: frame[name] != base[name] for name in factors})
    return set(frame.loc[apart.fillna(True).sum(axis=1) == 1, "cell"])


def _by_seeds(results: Results, endpoint: str) -> pd.DataFrame:
    """Lay an endpoint out with a row for each (data seed, init seed) and a column for each cell.

    Sample seeds are averaged; missing where a cell lacks the pair.
    """
    done = done_trials(results.trials)
    values = done[["cell", "data_seed", "init_seed"]].assign(
        value=done[endpoint].astype("Float64").astype(float)
    )
    wide = values.pivot_table(
        "value", index=["data_seed", "init_seed"], columns="cell", sort=False, dropna=False
    )
    return wide.reindex(columns=list(dict.fromkeys(values["cell"])))


def paired_counts(results: Results, source: str, protocol: str) -> pd.DataFrame:
    """Set k* of the control beside k* of generated points, data seed by data seed.

    Parameters
    ----------
    results : Results
    source, protocol : str
        Such as "samples", "calibrated".

    Returns
    -------
    pandas.DataFrame
        The factors, cell, data_seed, k_control, k_generated (mean over the other seeds), delta,
        at_ceiling (share of the seed's counts), k_id, n_trials. Empty where nothing was counted.
    """
    done = done_trials(results.trials)
    tail = f"{source}_{protocol}"
    k, control, flag = f"k_{tail}", f"k_data_{protocol}", f"at_ceiling_{tail}"
    rows = done.dropna(subset=[k, control])
    factors = list(results.manifest.factors)
    columns = ["k_control", "k_generated", "delta", "at_ceiling", "k_id", "n_trials"]
    if rows.empty:
        return pd.DataFrame(columns=[*factors, "cell", "data_seed", *columns])
    numbers = pd.DataFrame(
        {
            "cell": rows["cell"],
            "data_seed": rows["data_seed"],
            "k_control": rows[control].astype(float),
            "k_generated": rows[k].astype(float),
            "delta": (rows[k] - rows[control]).astype(float),
            "at_ceiling": rows[flag].astype(float),
            "k_id": rows["k_id"].astype("Float64").astype(float),
            "n_trials": 1.0,
        }
    )
    frame = numbers.groupby(["cell", "data_seed"], sort=False).agg(
        dict.fromkeys(columns[:-1], "mean") | {"n_trials": "sum"}
    )
    heads = rows.drop_duplicates("cell").set_index("cell")[factors]
    frame = frame.reset_index().join(heads, on="cell")
    frame["n_trials"] = frame["n_trials"].astype(int)
    return frame[[*factors, "cell", "data_seed", *columns]]


def margin_of(endpoint: str) -> float:
    """Return the smallest difference of interest, as the endpoint's record has it."""
    record = endpoint_record(endpoint)
    return record.margin if record else UNKNOWN_MARGIN


def equivalence(
    results: Results, endpoint: str, margin: float | None = None, *, alpha: float = 0.05
) -> pd.DataFrame:
    """Test which cells do not differ by more than a margin, on their common seeds.

    Pairs of cells that differ in one factor are compared; above 12 cells only neighbouring levels.
    "Flat over a set of cells" is claimed when every pair in it is equivalent: then no adjustment
    for many tests is due, since each must be passed.

    Parameters
    ----------
    results : Results
    endpoint : str
        A numeric column of the trials table.
    margin : float or None
        In the endpoint's units; None: `margin_of`.
    alpha : float

    Returns
    -------
    pandas.DataFrame
        factor, cell, other, from_level, to_level, difference (other less cell), low90, high90
        (level 1 - 2 alpha), margin, p, equivalent, n_data, interval, level.
    """
    bound = margin_of(endpoint) if margin is None else margin
    return _equivalence(results, endpoint, bound, alpha).copy()


# The table and the answer ask for the same thousands of tests.
@lru_cache(maxsize=8)
def _equivalence(results: Results, endpoint: str, bound: float, alpha: float) -> pd.DataFrame:
    wide = _by_seeds(results, endpoint)
    seeds = wide.index.get_level_values("data_seed")
    columns = dict(zip(wide, wide.to_numpy().T, strict=True))
    rows = []
    for factor, cell, other, values in _neighbours(results):
        if cell not in columns or other not in columns:
            continue
        delta = columns[other] - columns[cell]
        test = equivalence_test(delta, seeds, margin=bound, alpha=alpha)
        rows.append(
            {
                "factor": factor,
                "cell": cell,
                "other": other,
                "from_level": values[0],
                "to_level": values[1],
                "difference": test.difference,
                "low90": test.low,
                "high90": test.high,
                "margin": bound,
                "p": test.p_value,
                "equivalent": bool(test.p_value < alpha),
                "n_data": test.n_clusters,
                "interval": "t" if test.n_clusters > 1 else "none",
                "level": 1 - 2 * alpha if test.n_clusters > 1 else float("nan"),
            }
        )
    return pd.DataFrame(rows)


def _neighbours(results: Results) -> list[tuple[str, str, str, tuple[Any, Any]]]:
    """List (factor, cell, other cell, their levels) of cells that differ in one factor."""
    frame = cells(results)
    factors = independent_factors(frame, results.manifest.factors)
    pairs = []
    for factor in factors:
        rest = [name for name in factors if name != factor]
        slim = frame[["cell", *factors]]
        groups = [slim] if not rest else [g for _, g in slim.groupby(rest, sort=False)]
        for group in groups:
            rows = list(group.drop_duplicates(factor).sort_values(factor)[["cell", factor]].values)
            if len(frame) <= ALL_PAIRS:
                chosen = list(combinations(rows, 2))
            else:
                chosen = list(pairwise(rows))
            pairs += [(factor, str(a[0]), str(b[0]), (a[1], b[1])) for a, b in chosen]
    return pairs
