"""Logistic regression with few clusters: bias-reduced estimates, jackknife over clusters.

Counts y_i of n_i with log odds x_i'b. Most modes are recalled, so that some trait may separate
the lost ones completely and the likelihood has no maximum. Jeffreys' prior as a penalty (Firth)
makes the estimates finite and takes their first-order bias away: with hat values h_i of the
weighted regression, the score is X'(y - n p + h (1/2 - p)). Rows of one data seed are one
cluster, however alike they are inside; limits come from leaving out one data seed at a time.

References
----------
Firth (1993), "Bias reduction of maximum likelihood estimates",
https://doi.org/10.1093/biomet/80.1.27
Heinze and Schemper (2002), "A solution to the problem of separation in logistic regression",
https://doi.org/10.1002/sim.1047
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from analysis.statistics.intervals import FloatArray, floats, jackknife_half_width

MAX_STEPS, TOLERANCE = 200, 1e-8
# The longest step of a coefficient; longer ones overshoot where fitted shares are near 0 or 1.
LONGEST_STEP = 2.0


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """A fitted logistic model; arrays of shape (n_terms,).

    Parameters
    ----------
    coefficients : array
        Log odds for one unit of each term.
    half_width : array
        Half of the jackknife t interval over clusters; NaN below 3 clusters.
    p_value : array
        Two-sided, of the t statistic with one degree of freedom fewer than clusters.
    n_clusters : int
    """

    coefficients: FloatArray
    half_width: FloatArray
    p_value: FloatArray
    n_clusters: int


def fit_logistic(
    x: FloatArray, successes: ArrayLike, trials: ArrayLike, *, start: FloatArray | None = None
) -> FloatArray:
    """Return the bias-reduced coefficients.

    Parameters
    ----------
    x : array of shape (n_rows, n_terms)
        Terms, the constant among them; of full rank.
    successes, trials : array of shape (n_rows,)
        Counts.
    start : array of shape (n_terms,) or None
        Where to begin.

    Raises
    ------
    ValueError
        The terms are not of full rank, or there were more successes than trials.
    """
    y, n = floats(successes), floats(trials)
    if np.any((y < 0) | (y > n)):
        raise ValueError("successes must be between 0 and trials in every row")
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError(f"the {x.shape[1]} terms are not of full rank; leave out a constant one")
    b = np.zeros(x.shape[1]) if start is None else start.copy()
    for _ in range(MAX_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ b, -30, 30)))
        weight = n * p * (1 - p)
        information = (x.T * weight) @ x
        inverse = np.linalg.pinv(information)
        hat = weight * np.einsum("ij,jk,ik->i", x, inverse, x)
        step = inverse @ (x.T @ (y - n * p + hat * (0.5 - p)))
        step *= min(1.0, LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        b = b + step
        if np.abs(step).max() < TOLERANCE:
            break
    return np.asarray(b, dtype=np.float64)


def clustered_logistic(
    x: FloatArray,
    successes: ArrayLike,
    trials: ArrayLike,
    clusters: ArrayLike,
    *,
    level: float = 0.95,
) -> LogisticFit:
    """Fit a logistic model whose rows depend on each other within clusters.

    Parameters
    ----------
    x : array of shape (n_rows, n_terms)
    successes, trials, clusters : array of shape (n_rows,)
    level : float

    Raises
    ------
    ValueError
        As `fit_logistic`.
    """
    y, n = floats(successes), floats(trials)
    labels, place = np.unique(np.asarray(clusters), return_inverse=True)
    whole = fit_logistic(x, y, n)
    nan = np.full(x.shape[1], np.nan)
    if len(labels) < 3:
        return LogisticFit(whole, nan, nan.copy(), len(labels))
    left_out = np.stack(
        [
            fit_logistic(x[place != i], y[place != i], n[place != i], start=whole)
            for i in range(len(labels))
        ]
    )
    half = jackknife_half_width(left_out, level)
    error = half / scipy.stats.t.ppf(0.5 + level / 2, len(labels) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(whole) / error
    p_value = 2 * scipy.stats.t.sf(t, len(labels) - 1)
    return LogisticFit(whole, half, np.asarray(p_value), len(labels))
