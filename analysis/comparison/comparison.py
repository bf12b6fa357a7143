"""What the statistics of this package say of a table of trials.

Each property is one question, computed when it is asked. All of them are the functions that the
reports use (`analysis.statistics`), so that docs/statistics.md says how often they are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats

from analysis.comparison.table import (
    CAPPED,
    CELL,
    CLUSTER,
    PAIR,
    VALUE,
    Asked,
    Rows,
    checked_rows,
    read_frame,
)
from analysis.frames.power import N_DATA, t_power
from analysis.statistics.balanced import balanced_core, nested_components
from analysis.statistics.censored import censored_median, survival_limits
from analysis.statistics.families import judge_family, seed_matrix, sign_test
from analysis.statistics.hypotheses import equivalence_test, paired_contrasts
from analysis.statistics.intervals import FloatArray, Interval, cluster_means, mean_intervals
from study.endpoints.design import smallest_p

# Half of this many standard deviations, where nothing says which difference matters.
USUAL_EFFECT_SD = 0.5
WANTED_POWER = 0.8


def compare(
    table: str | Path | pd.DataFrame,
    *,
    cluster: str,
    factors: str | Sequence[str],
    endpoint: str,
    pair: str | None = None,
    ceiling: str | float | None = None,
    reference: str | None = None,
    margin: float | None = None,
    effect: float | None = None,
    unit: str = "",
    level: float = 0.95,
) -> Comparison:
    """Compare the cells of anybody's table.

    Parameters
    ----------
    table : path or DataFrame
        A .csv or .parquet file, or a frame; one row per measurement.
    cluster, factors, endpoint, pair, ceiling, reference, margin, effect, unit, level
        As in `Asked`; factors may be one name.

    Returns
    -------
    Comparison

    Raises
    ------
    TableError
        The table cannot be read, or a column or value is not what it should be.

    Examples
    --------
    >>> loss = [3.0, 2.1, 3.2, 2.0, 2.9, 2.2, 3.1, 2.0, 3.0, 1.9, 3.3, 2.4]
    >>> seeds = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    >>> frame = pd.DataFrame({"lr": [1, 2] * 6, "seed": seeds, "loss": loss})
    >>> found = compare(frame, cluster="seed", factors="lr", endpoint="loss")
    >>> found.differences[["cell", "estimate", "p_adjusted"]].round(3)
       cell  estimate  p_adjusted
    0  lr=2    -0.983       0.031
    """
    asked = Asked(
        cluster=cluster,
        factors=(factors,) if isinstance(factors, str) else tuple(factors),
        endpoint=endpoint,
        pair=pair,
        ceiling=ceiling,
        reference=reference,
        margin=margin,
        effect=effect,
        unit=unit,
        level=level,
    )
    return Comparison(checked_rows(read_frame(table), asked), asked)


class Comparison:
    """The cells of a table, compared.

    Parameters
    ----------
    rows : Rows
    asked : Asked
    """

    def __init__(self, rows: Rows, asked: Asked) -> None:
        self.rows, self.asked = rows, asked

    @property
    def reference(self) -> str:
        """The cell that all others are compared with."""
        return self.rows.cells[0]

    @cached_property
    def _by_cell(self) -> dict[str, pd.DataFrame]:
        groups = dict(list(self.rows.frame.groupby(CELL, sort=False)))
        return {cell: groups[cell] for cell in self.rows.cells}

    @cached_property
    def means(self) -> pd.DataFrame:
        """Mean of each cell with its interval over clusters.

        Columns cell, estimate, low, high, interval, level, n_clusters, n_rows, share_at_ceiling
        (above 0 the mean is a lower bound).
        """
        samples = [(part[VALUE], part[CLUSTER]) for part in self._by_cell.values()]
        found = mean_intervals(samples, level=self.asked.level)
        return pd.DataFrame(
            {"cell": cell}
            | _interval_row(interval)
            | {"n_rows": len(part), "share_at_ceiling": float(part[CAPPED].mean())}
            for (cell, part), interval in zip(self._by_cell.items(), found, strict=True)
        )

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Each cell less the reference on the clusters that both have, judged as one family.

        Columns cell, estimate with its interval, p_value (sign flips), p_sign (sign test),
        p_adjusted (step-down max-T), p_skewed (the same by the studentised bootstrap), low_all and
        high_all (simultaneous interval), least_p (that so few clusters can give). Empty with one
        cell.
        """
        found = [self._paired(cell, self.reference) for cell in self.rows.cells[1:]]
        if not found:
            return pd.DataFrame()
        contrasts = paired_contrasts(found, level=self.asked.level)
        matrix = seed_matrix([(values, _codes(clusters)) for values, clusters in found])
        family = judge_family(matrix, level=self.asked.level)
        counts = [one.difference.n_clusters for one in contrasts]
        return pd.DataFrame(
            {
                "cell": cell,
                **_interval_row(one.difference),
                "p_value": one.p_value,
                "p_sign": sign_test(matrix[index]),
                "p_adjusted": family.p_adjusted[index],
                "p_skewed": family.p_skewed[index],
                "low_all": family.low[index],
                "high_all": family.high[index],
                "least_p": float(smallest_p(np.array([counts[index]]))[0]),
            }
            for index, (cell, one) in enumerate(zip(self.rows.cells[1:], contrasts, strict=True))
        )

    def _paired(self, cell: str, other: str) -> tuple[FloatArray, pd.Series]:
        """Pair two cells by cluster, and by pair where there is one; else by cluster means."""
        keys = [CLUSTER, PAIR]
        left, right = (
            self._by_cell[name].groupby(keys, sort=True)[VALUE].mean() for name in (cell, other)
        )
        both = left.index.intersection(right.index)
        clusters = both.to_frame(index=False)[CLUSTER]
        return (left[both] - right[both]).to_numpy(np.float64), clusters

    @cached_property
    def equivalence(self) -> pd.DataFrame:
        """Which pairs of cells differ by less than the margin (two one-sided tests).

        Columns cell, other, difference, low90, high90, margin, p, equivalent, n_clusters. Empty
        without a margin.
        """
        margin, alpha = self.asked.margin, 1 - self.asked.level
        if margin is None:
            return pd.DataFrame()
        rows = []
        for other, cell in combinations(self.rows.cells, 2):
            values, clusters = self._paired(cell, other)
            test = equivalence_test(values, clusters, margin=margin, alpha=alpha)
            rows.append(
                {
                    "cell": cell,
                    "other": other,
                    "difference": test.difference,
                    "low90": test.low,
                    "high90": test.high,
                    "margin": margin,
                    "p": test.p_value,
                    "equivalent": bool(test.p_value < alpha),
                    "n_clusters": test.n_clusters,
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def censored(self) -> pd.DataFrame:
        """Values at their ceiling taken for censored: Kaplan-Meier median by cell, and at what.

        Columns cell, median (inf: above the ceiling), n_at_ceiling, share_at_ceiling, and the
        share of values above each cell's smallest ceiling with its limits by cluster. Empty where
        nothing is at its ceiling.
        """
        rows = []
        for cell, part in self._by_cell.items():
            n = int(part[CAPPED].sum())
            if not n:
                continue
            curve = survival_limits(
                part[VALUE], part[CAPPED], part[CLUSTER], level=self.asked.level
            ).iloc[-1]
            rows.append(
                {
                    "cell": cell,
                    "median": censored_median(part[VALUE], part[CAPPED]),
                    "n_at_ceiling": n,
                    "share_at_ceiling": n / len(part),
                    "above": curve["k"],
                    "share_above": curve["survival"],
                    "low": curve["low"],
                    "high": curve["high"],
                    "interval": curve["interval"],
                }
            )
        return pd.DataFrame(rows)

    @cached_property
    def variance(self) -> pd.DataFrame:
        """What varies within a cell: between clusters, and between the rows of a cluster.

        Columns component, variance, sd, share, low, high (of the variance), n, n_dropped (rows
        outside the largest complete block). Empty where no cluster has two rows.
        """
        frame = self.rows.frame.copy()
        frame["place"] = frame.groupby([CELL, CLUSTER]).cumcount()
        if self.asked.pair:
            frame["place"] = frame.groupby([CELL, CLUSTER])[PAIR].rank(method="first")
        core = balanced_core(frame, VALUE, [CELL, CLUSTER, "place"])
        if min(core.values.shape[1:], default=0) < 2:
            return pd.DataFrame()
        found = nested_components(core.values, level=self.asked.level)
        counted = np.maximum(found.variance, 0)
        total = counted.sum()
        return pd.DataFrame(
            {
                "component": ["between clusters", "within a cluster"],
                "variance": found.variance,
                "sd": np.sqrt(counted),
                "share": counted / total if total > 0 else np.nan,
                "low": found.low,
                "high": found.high,
                "n": core.values.shape[1:],
                "n_dropped": core.n_dropped,
            }
        )

    @property
    def effect(self) -> float:
        """The difference whose power is given."""
        if self.asked.effect is not None:
            return self.asked.effect
        if self.asked.margin is not None:
            return 2 * self.asked.margin
        within = [part[VALUE].var(ddof=1) for part in self._by_cell.values() if len(part) > 1]
        return USUAL_EFFECT_SD * float(np.sqrt(np.nanmean(within))) if within else float("nan")

    @cached_property
    def power(self) -> pd.DataFrame:
        """Power of the paired t test of `effect`, and the interval's half width, by clusters.

        From the spread of the differences between clusters that this table has: of the cells the
        one of median spread. Columns n_clusters, power, half_width. Empty with one cell.
        """
        spreads = []
        for cell in self.rows.cells[1:]:
            means = cluster_means(*self._paired(cell, self.reference))
            if len(means) > 1:
                spreads.append(float(means.std(ddof=1)))
        if not spreads:
            return pd.DataFrame()
        n = np.array(sorted({*N_DATA, self.rows.frame[CLUSTER].nunique()}))
        error = np.median(spreads) / np.sqrt(n)
        level = self.asked.level
        # Equal differences in all clusters leave no error to divide by.
        power = t_power(self.effect, np.maximum(error, 1e-300), n - 1, level=level)
        half = scipy.stats.t.ppf(0.5 + level / 2, n - 1) * error
        return pd.DataFrame({"n_clusters": n, "power": power, "half_width": half})

    @property
    def clusters_needed(self) -> int | None:
        """The fewest clusters that see `effect` with a power of 80 %; None: more than 50."""
        if self.power.empty:
            return None
        enough = self.power[self.power["power"] >= WANTED_POWER]
        return int(enough["n_clusters"].min()) if len(enough) else None


def _interval_row(interval: Interval) -> dict[str, object]:
    return {
        "estimate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "interval": interval.kind,
        "level": interval.level,
        "n_clusters": interval.n_clusters,
    }


def _codes(labels: pd.Series) -> pd.Series:
    """Return labels of any kind as they are; numpy sorts each kind by itself."""
    return labels.astype(str) if labels.dtype == object else labels
