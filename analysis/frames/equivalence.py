"""Which cells do not differ by more than a margin, and which pairs of cells are compared."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pandas as pd

from analysis.frames.cells import cells, independent_factors
from analysis.frames.contrasts import by_seeds, is_measured_alike
from analysis.load import Results, remembered
from analysis.statistics.hypotheses import equivalence_test
from study.results import endpoint as endpoint_record

# For columns that no endpoint is known of.
UNKNOWN_MARGIN = 0.05
# Above this many cells, pairs of neighbouring levels are compared instead of all.
ALL_PAIRS = 12


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
@remembered
def _equivalence(results: Results, endpoint: str, bound: float, alpha: float) -> pd.DataFrame:
    wide = by_seeds(results, endpoint)
    seeds = wide.index.get_level_values("data_seed")
    columns = dict(zip(wide, wide.to_numpy().T, strict=True))
    rows = []
    for factor, cell, other, values in _neighbours(results):
        if cell not in columns or other not in columns:
            continue
        if is_measured_alike(endpoint, {factor}):
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
