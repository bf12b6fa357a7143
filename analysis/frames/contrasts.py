"""Paired differences: counts against their control, cells against each other on common seeds.

The primary family is the one declared in docs/study.md, for every sweep: the three endpoints
`PRIMARY_ENDPOINTS`, each cell that differs from the reference cell in one factor, and k* of the
reference cell's samples against its control. Step-down max-T covers it as one family
(`analysis.statistics.families`). Everything else is exploration, with Benjamini-Hochberg's
false discovery rate over one frame.

What cannot differ is not tested: a factor that only says how networks are measured is left out
for the endpoints that do not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from analysis.frames.cells import (
    by_cell,
    cells,
    columns_of_counts,
    counted_pairs,
    done_trials,
    independent_factors,
    interval_row,
)
from analysis.frames.reference import reference_cell
from analysis.load import Results, remembered
from analysis.statistics.families import Family, judge_family, seed_matrix, sign_test
from analysis.statistics.hypotheses import Contrast, benjamini_hochberg, paired_contrasts
from analysis.statistics.intervals import FloatArray, floats
from study.results import PRIMARY_ENDPOINTS, measured_by

# Counted against the control in the reference cell, as a part of the primary family.
CONTROL, CONTROLLED = "control", "k_samples_calibrated"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test of a primary family.

    Parameters
    ----------
    cell, reference : str
        What is compared with what; the reference is a cell or "control".
    endpoint : str
    differences : array of shape (n_pairs,)
        NaN where a trial lacks its partner.
    seeds : array of shape (n_pairs,)
        Data seed of each.
    networks : (frozenset of str, frozenset of str)
        Training ids of the cell and of the reference; empty for a control.
    measuring : frozenset of (str, value, value)
        Columns in which the two are measured differently, with both values.
    """

    cell: str
    reference: str
    endpoint: str
    differences: FloatArray
    seeds: NDArray[np.int64]
    networks: tuple[frozenset[str], frozenset[str]]
    measuring: frozenset[tuple[str, Any, Any]] = frozenset()

    def is_copy_of(self, other: Comparison) -> bool:
        """Whether it compares networks that the other one compares, and nothing else."""
        return (
            self.endpoint == other.endpoint
            and (self.reference == CONTROL) == (other.reference == CONTROL)
            and self.measuring == other.measuring
            and all(
                mine <= theirs for mine, theirs in zip(self.networks, other.networks, strict=True)
            )
        )


def contrasts_by_cell(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Compare k* of generated points with k* of the control, paired by data seed.

    Returns
    -------
    pandas.DataFrame
        cell, the factors, source, protocol, the difference in components with its interval,
        p_value (sign-flip), the columns of `judged` (over the cells of a source and protocol),
        superiority, dz, share_at_ceiling (where it is not 0 the difference is a lower bound), and
        excess: the mean of k* - K_id, by data seed.
    """
    return _contrasts_by_cell(results, level).copy()


@remembered
def _contrasts_by_cell(results: Results, level: float) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    differences = []
    for head, group in by_cell(results, columns_of_counts()):
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
    matrix = seed_matrix(differences)
    groups = frame.groupby(["source", "protocol"], sort=False).indices.values()
    parts = [judged(judge_family(matrix[rows], level=level), rows) for rows in groups]
    return frame.join(pd.concat(parts))


def judged(family: Family, index: Iterable[int]) -> pd.DataFrame:
    """Give what a family says of its tests.

    Returns
    -------
    pandas.DataFrame
        p_adjusted (step-down max-T by sign flips), p_skewed (the same by the studentised
        bootstrap, which holds when the differences are skewed too), low_all and high_all (the
        simultaneous interval by sign flips), low_skewed and high_skewed (by the bootstrap),
        critical (the |t| from which on a test is significant beside all others).
    """
    columns = {
        "p_adjusted": family.p_adjusted,
        "p_skewed": family.p_skewed,
        "low_all": family.low,
        "high_all": family.high,
        "low_skewed": family.low_skewed,
        "high_skewed": family.high_skewed,
        "critical": family.critical,
    }
    return pd.DataFrame(columns, index=list(index))


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
        (sign-flip), p_sign (sign test), n_above and n_below (data seeds), is_primary, the columns
        of `judged` (over the primary family; missing outside it), p_bh (Benjamini-Hochberg over
        the whole frame), superiority, dz. Endpoints that do not depend on what a cell differs in
        have no row. Empty with one cell.
    """
    against = reference_cell(results) if reference is None else reference
    heads = {head["cell"]: head for head, _ in by_cell(results, ())}
    if against not in heads:
        return pd.DataFrame()
    rows, differences = [], []
    for one in _comparisons(results, against, tuple(endpoints)):
        n_pairs = int((~np.isnan(one.differences)).sum())
        head = {"reference": against, "endpoint": one.endpoint, "n_trials": n_pairs}
        rows.append(heads[one.cell] | head | sign_counts(one))
        differences.append((one.differences, one.seeds))
    if not rows:
        return pd.DataFrame()
    found = paired_contrasts(differences, level=level)
    frame = pd.DataFrame([_contrast_row(row, one) for row, one in zip(rows, found, strict=True)])
    family = primary_family(results, against, level=level).drop(columns="reference")
    frame = frame.merge(family, on=["cell", "endpoint"], how="left", sort=False)
    return frame.assign(
        is_primary=frame["p_adjusted"].notna(), p_bh=benjamini_hochberg(frame["p_value"])
    )


def sign_counts(one: Comparison) -> dict[str, Any]:
    """Count the data seeds above and below zero, with the sign test."""
    row = seed_matrix([(one.differences, one.seeds)])[0]
    above, below = int((row > 0).sum()), int((row < 0).sum())
    return {"n_above": above, "n_below": below, "p_sign": sign_test(row)}


def primary_family(
    results: Results, reference: str | None = None, *, level: float = 0.95
) -> pd.DataFrame:
    """Judge a sweep's primary family.

    Returns
    -------
    pandas.DataFrame
        cell, reference ("control" for the count against it), endpoint, and the columns of
        `judged`. Empty where there is nothing to compare.
    """
    against = reference_cell(results) if reference is None else reference
    return _primary_family(results, against, level).copy()


@remembered
def _primary_family(results: Results, reference: str, level: float) -> pd.DataFrame:
    return judge_comparisons(primary_comparisons(results, reference), level=level)


def family_alpha(results: Results) -> float:
    """Give the level at which one test of the primary family is judged, beside all the others.

    Returns
    -------
    float
        Two-sided level of a t test with the family's critical value; NaN where the design cannot
        reject.
    """
    critical = primary_family(results)["critical"].dropna()
    n_data = done_trials(results.trials)["data_seed"].nunique()
    if critical.empty or n_data < 2:
        return float("nan")
    return float(2 * scipy.stats.t.sf(critical.median(), n_data - 1))


def judge_comparisons(tests: Sequence[Comparison], *, level: float = 0.95) -> pd.DataFrame:
    """Judge comparisons as one family; data seeds of the same number are flipped together."""
    names = ["cell", "reference", "endpoint"]
    frame = pd.DataFrame([{name: getattr(one, name) for name in names} for one in tests],
                         columns=names)  # fmt: skip
    matrix = seed_matrix([(one.differences, one.seeds) for one in tests])
    return frame.join(judged(judge_family(matrix, level=level), frame.index))


def primary_comparisons(results: Results, reference: str | None = None) -> list[Comparison]:
    """List the tests of a sweep's primary family."""
    against = reference_cell(results) if reference is None else reference
    near = cells_near(results, against)
    tests = [
        one for one in _comparisons(results, against, tuple(PRIMARY_ENDPOINTS)) if one.cell in near
    ]
    return [*_control_comparison(results, against), *tests]


def _control_comparison(results: Results, cell: str) -> list[Comparison]:
    """Set k* of a cell's samples beside k* of its control; empty where one is not counted."""
    done = done_trials(results.trials)
    rows = done[done["cell"] == cell]
    delta = floats(rows[CONTROLLED] - rows["k_data_calibrated"])
    if np.isnan(delta).all():
        return []
    seeds = rows["data_seed"].to_numpy(np.int64)
    networks = (frozenset(rows["training_id"]), frozenset[str]())
    return [Comparison(cell, CONTROL, CONTROLLED, delta, seeds, networks)]


def _comparisons(
    results: Results, reference: str, endpoints: tuple[str, ...]
) -> Iterable[Comparison]:
    """Pair every cell with the reference cell, but for what cannot differ."""
    heads = {str(row["cell"]): row for _, row in cells(results).iterrows()}
    tables = {name: by_seeds(results, name) for name in endpoints}
    networks = done_trials(results.trials).groupby("cell")["training_id"].agg(frozenset)
    for cell, row in heads.items():
        if cell == reference or cell not in networks:
            continue
        apart = _apart(results, row, heads[reference])
        for name, wide in tables.items():
            if is_measured_alike(name, apart):
                continue
            delta = wide[cell].to_numpy() - wide[reference].to_numpy()
            seeds = wide.index.get_level_values("data_seed").to_numpy(np.int64)
            pair = (networks[cell], networks[reference])
            how = frozenset(
                (column, row[column], heads[reference][column])
                for column in apart.intersection(measured_by(name))
            )
            yield Comparison(cell, reference, name, delta, seeds, pair, how)


def _apart(results: Results, row: pd.Series, other: pd.Series) -> set[str]:
    """Name the factors in which two cells differ."""
    return {
        name
        for name in results.manifest.factors
        if row[name] is not other[name] and not bool(row[name] == other[name])
    }


def is_measured_alike(endpoint: str, factors: set[str]) -> bool:
    """Whether factors say only how an endpoint is measured that does not depend on them."""
    counting = measured_by()
    return bool(factors) and all(
        name in counting and name not in measured_by(endpoint) for name in factors
    )


def cells_near(results: Results, reference: str) -> set[str]:
    """Name the cells that differ from the reference cell in one factor.

    A factor that others determine (axes that move together) does not count as another.
    """
    frame = cells(results)
    factors = independent_factors(frame, results.manifest.factors)
    if not factors:
        return set()
    base = frame.loc[frame["cell"] == reference, factors].iloc[0]
    apart = pd.DataFrame({name: frame[name] != base[name] for name in factors})
    return set(frame.loc[apart.fillna(True).sum(axis=1) == 1, "cell"])


def by_seeds(results: Results, endpoint: str) -> pd.DataFrame:
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
