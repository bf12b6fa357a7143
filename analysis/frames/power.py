"""How many seeds a difference needs: power of the paired t test from measured components.

References
----------
Colas, Sigaud and Oudeyer (2018), "How many random seeds?", https://arxiv.org/abs/1806.08295
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.stats

from analysis.frames.cells import done_trials
from analysis.frames.equivalence import margin_of
from analysis.frames.reference import reference_cell
from analysis.frames.variance import nested_array
from analysis.load import Results
from analysis.statistics.balanced import nested_components
from analysis.statistics.intervals import FloatArray

N_DATA = (3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50)
N_INIT = (1, 2, 3, 5)
COLUMNS = (
    "endpoint", "effect", "n_data", "n_init", "power", "half_width", "power_low", "power_high",
    "design", "interval", "level",
)  # fmt: skip


def power_curve(
    results: Results,
    endpoint: str,
    effect: float | None = None,
    *,
    n_data: Sequence[int] = N_DATA,
    n_init: Sequence[int] = N_INIT,
    level: float = 0.95,
    alpha: float | None = None,
) -> pd.DataFrame:
    """Give the power to tell two cells apart, from this sweep's variance components.

    Parameters
    ----------
    results : Results
    endpoint : str
        A numeric column of the trials table.
    effect : float or None
        The true difference, in the endpoint's units; None: twice `equivalence.margin_of`.
    n_data, n_init : sequence of int
        Seeds to consider; n_data of 2 or more.
    level : float
        Of the interval whose half width is given.
    alpha : float or None
        Level of the test; None: 1 - level. A family's is `contrasts.family_alpha`.

    Returns
    -------
    pandas.DataFrame
        endpoint, effect, n_data, n_init, power (two-sided paired t test over data seeds),
        half_width (of the difference's interval), power_low and power_high (with the components
        at the ends of their intervals, so a rough range), design, interval, level. The design is
        "paired" (components of a cell's difference from the reference cell: of all cells the one
        of median variance), or "unpaired" where only one cell was run: two cells are then taken
        to share nothing, which is cautious. Empty where the components cannot be estimated.
    """
    size = 2 * margin_of(endpoint) if effect is None else effect
    found = difference_components(results, endpoint, level=level)
    if found is None:
        return pd.DataFrame(columns=list(COLUMNS))
    design, components = found
    seeds, trainings = (grid.ravel() for grid in np.meshgrid(n_data, n_init, indexing="ij"))
    powers, widths = [], []
    for variance in components:
        error = np.sqrt((variance[0] + variance[1] / trainings) / seeds)
        free = (seeds - 1) * (2 if design == "unpaired" else 1)
        test_level = level if alpha is None else 1 - alpha
        powers.append(t_power(size, error, free, level=test_level))
        widths.append(scipy.stats.t.ppf(0.5 + level / 2, free) * error)
    return pd.DataFrame(
        {
            "endpoint": endpoint,
            "effect": size,
            "n_data": seeds,
            "n_init": trainings,
            "power": powers[1],
            "half_width": widths[1],
            "power_low": powers[2],
            "power_high": powers[0],
            "design": design,
            "interval": "mls",
            "level": level,
        }
    )


def difference_components(
    results: Results, endpoint: str, *, level: float = 0.95
) -> tuple[str, FloatArray] | None:
    """Estimate what a difference between two cells varies with.

    Returns
    -------
    design : str
        "paired" or "unpaired".
    components : array of shape (3, 2)
        Low limit, estimate and high limit; of the data seeds' component and of the init seeds'
        (with all that is nested in them). None where there are not 2 seeds of both kinds.
    """
    done = done_trials(results.trials)
    strata, core = nested_array(results, done, endpoint)
    if strata[:2] != ["data", "init"]:
        return None
    values = core.values.reshape(*core.values.shape[:3], -1).mean(axis=-1)
    design = "unpaired" if len(values) == 1 else "paired"
    if design == "paired":
        order = list(dict.fromkeys(done["cell"]))
        base = order.index(reference_cell(results))
        base = list(core.labels[0]).index(base) if base in core.labels[0] else 0
        values = _typical(np.delete(values, base, axis=0) - values[base])
    found = nested_components(values, level=level)
    rows = np.stack([found.low, np.maximum(found.variance, 0), found.high])
    return design, rows * (2 if design == "unpaired" else 1)


def _typical(differences: FloatArray) -> FloatArray:
    """Keep the cell whose difference from the reference varies most like the others' (median)."""
    spread = differences.mean(axis=2).var(axis=1)
    middle = np.argsort(spread, kind="stable")[(len(spread) - 1) // 2]
    return differences[[middle]]


def t_power(
    effect: float, error: FloatArray, free: FloatArray, *, level: float = 0.95
) -> FloatArray:
    """Give the power of a two-sided t test.

    Parameters
    ----------
    effect : float
    error, free : array of shape (n,)
        Standard error of the difference and its degrees of freedom.
    level : float
        1 - the test's level.
    """
    with np.errstate(divide="ignore"):
        shift = np.minimum(abs(effect) / np.asarray(error, dtype=float), 1e3)
    bound = scipy.stats.t.ppf(0.5 + level / 2, free)
    upper = scipy.stats.nct.sf(bound, free, shift)
    # Far from zero the series of the noncentral law fails; the power is 1 there.
    upper = np.where(shift > bound + 30, 1.0, upper)
    lower = np.where(shift > 8, 0.0, scipy.stats.nct.cdf(-bound, free, np.minimum(shift, 8)))
    return np.asarray(np.clip(upper + lower, 0, 1))


def seeds_needed(curve: pd.DataFrame, *, n_init: int, power: float = 0.8) -> int | None:
    """Find the fewest data seeds of a power curve that reach a power; None: more than it has.

    Parameters
    ----------
    curve : pandas.DataFrame
        Of `power_curve`.
    n_init : int
        Init seeds a data seed; one of the curve's.
    power : float
    """
    enough = curve[(curve["n_init"] == n_init) & (curve["power"] >= power)]
    return int(enough["n_data"].min()) if len(enough) else None
