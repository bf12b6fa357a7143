"""How many components samples take beyond their control: each cell, and cells against each other.

The count of one cell is compared with another's after each has had its own control taken off, so
that cells of different mixtures can be compared; where two cells share their data sets the
controls cancel, and the difference is that of the counts themselves.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.frames.cells import by_cell, interval_row
from analysis.frames.contrasts import (
    CONTROLLED,
    Comparison,
    by_seeds,
    cells_near,
    judged,
    sign_counts,
)
from analysis.frames.equivalence import margin_of
from analysis.frames.reference import reference_cell
from analysis.load import Results
from analysis.statistics.families import judge_family, seed_matrix
from analysis.statistics.hypotheses import equivalence_test, paired_contrasts
from analysis.statistics.intervals import floats
from study.endpoints.design import ALPHA


@lru_cache(maxsize=4)
def less_control(results: Results) -> Results:
    """Return results whose `k_samples_calibrated` is counted from the control's count.

    Any frame of them is then of extra components; trials without a control have none.
    """
    trials = results.trials
    extra = floats(trials[CONTROLLED] - trials["k_data_calibrated"])
    return replace(results, trials=trials.assign(**{CONTROLLED: extra}))


def count_contrasts(results: Results, *, level: float = 0.95) -> pd.DataFrame:
    """Compare the extra components of every cell with the reference cell's, on common seeds.

    Returns
    -------
    pandas.DataFrame
        The columns of `contrasts.cell_contrasts` but p_bh, with "k_samples_calibrated" for the
        endpoint; the family is that of the cells which differ from the reference in one factor.
        Further: margin, p_margin (two one-sided tests) and agrees (p_margin below 5 %). Empty
        where fewer than two cells have counts and controls.
    """
    return _count_contrasts(results, level).copy()


@lru_cache(maxsize=4)
def _count_contrasts(results: Results, level: float) -> pd.DataFrame:
    against = reference_cell(results)
    heads = {head["cell"]: head for head, _ in by_cell(results, ())}
    tests = _comparisons(results, against)
    if not tests:
        return pd.DataFrame()
    pairs = [(one.differences, one.seeds) for one in tests]
    rows = [
        heads[one.cell]
        | interval_row(found.difference, int((~np.isnan(one.differences)).sum()))
        | {"reference": against, "endpoint": CONTROLLED, **sign_counts(one)}
        | {"p_value": found.p_value, "superiority": found.superiority, "dz": found.dz}
        | _within_margin(one)
        for one, found in zip(tests, paired_contrasts(pairs, level=level), strict=True)
    ]
    near = cells_near(results, against)
    inside = [index for index, one in enumerate(tests) if one.cell in near]
    matrix = seed_matrix([pairs[index] for index in inside] or pairs)
    family = judged(judge_family(matrix, level=level), inside or range(len(pairs)))
    frame = pd.DataFrame(rows).join(family)
    return frame.assign(is_primary=False)


def _comparisons(results: Results, reference: str) -> list[Comparison]:
    wide = by_seeds(less_control(results), CONTROLLED)
    if reference not in wide:
        return []
    seeds = wide.index.get_level_values("data_seed").to_numpy(np.int64)
    networks = (frozenset[str](), frozenset[str]())
    found = []
    for cell in wide:
        delta = floats(wide[cell] - wide[reference])
        if cell != reference and np.isfinite(delta).any():
            found.append(Comparison(str(cell), reference, CONTROLLED, delta, seeds, networks))
    return found


def _within_margin(one: Comparison) -> dict[str, Any]:
    margin = margin_of(CONTROLLED)
    test = equivalence_test(one.differences, one.seeds, margin=margin)
    agrees = test.n_clusters > 1 and test.p_value < ALPHA
    return {"margin": margin, "p_margin": test.p_value, "agrees": bool(agrees)}
