"""What else a likelihood curve says: two other prices of a parameter, and a set in place of k*.

Symbols: n points; for each k on the curve l_k, the largest log likelihood found (nats, total),
and p_k, the free parameters. BIC is p_k log n - 2 l_k, and k* is where it is lowest. All
criteria below are on that scale: lower is better, differences in BIC units.

*Singular BIC.* A mixture with more components than the truth is not a regular model: part of its
parameters can be anything, so BIC charges too much for them. Drton and Plummer average the
marginal likelihood's true rate over the submodels that may hold the truth. With

    log L'_ij = l_i - lambda_ij log n,    2 lambda_ij = min(p_j + phi (i - j), p_i - (i - j)),

L_i is the positive solution of  sum_{j <= i} L_j (L_i - L'_ij) = 0,  and sBIC is -2 log L_i. The
lambda_ij bound the learning coefficients, which are not known for unequal covariances. phi is
(p_1 + 1) / 2 as in R's sBIC; phi = 1 is the smallest bound that they give.

*Epsilon-BIC* prices a parameter at (log n)^(1 + epsilon), a little more than BIC. That suffices
for consistency where BIC's own proof does not hold; the difference is meant to be immaterial.

*The set.* The difference in log likelihood of two fits is a sum over points, so its sampling error
is known: s_k = sqrt(n) times the standard deviation over points of log f_k* - log f_k. The set
holds each k whose BIC is not significantly above the lowest,

    BIC_k - BIC_k* <= 2 z s_k,

z the normal quantile of the level: Vuong's test with BIC's correction, used as Casa and Ferrari
screen orders. It is closed to a range, since a k between two that are in it can only be missing
because its fit is a poor one. It is a confidence set for the k that BIC would choose without
sampling error. That is the true K where every component is worth its price at this n, and fewer
where some are not.

References
----------
Drton, Plummer, "A Bayesian information criterion for singular models", JRSS-B 2017,
https://doi.org/10.1111/rssb.12187
Nguyen, Nguyen, "Modifications of the BIC for order selection in finite mixture models",
https://arxiv.org/abs/2506.20124
Casa, Ferrari, "Confidence set for mixture order selection", https://arxiv.org/abs/2503.18790
Vuong, "Likelihood ratio tests for model selection and non-nested hypotheses", Econometrica 1989,
https://doi.org/10.2307/1912557
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtri

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]

EPSILON = 0.05
# k* is the lowest of many noisy values, which favours it: one in twenty would be too bold.
LEVEL = 0.99


def free_parameters(log_likelihood: FloatArray, bic: FloatArray, n_samples: int) -> FloatArray:
    """Recover the free parameters of each fit from a stored curve.

    Parameters
    ----------
    log_likelihood, bic : ndarray, shape (n_k,)
    n_samples : int
        Points that were counted, at least 2.

    Returns
    -------
    ndarray, shape (n_k,)
        Whole numbers.

    Raises
    ------
    ValueError
        If the curve is not one of BIC at this number of points.
    """
    if n_samples < 2:
        raise ValueError(f"n_samples: must be at least 2, got {n_samples}")
    price = math.log(n_samples)
    found = (bic + 2.0 * log_likelihood) / price
    whole = np.round(found)
    if not (np.abs(found - whole) < 1e-3).all():
        raise ValueError(
            f"bic: is not that of {n_samples} points; BIC + 2 log likelihood must be a whole "
            f"multiple of log n, found the multiples {np.array2string(found[:5], precision=3)}"
        )
    return whole


def singular_bic(
    ks: IntArray,
    log_likelihood: FloatArray,
    n_free: FloatArray,
    n_samples: int,
    *,
    phi: float | None = None,
) -> FloatArray:
    """Compute the singular BIC of every fit on a curve.

    Parameters
    ----------
    ks : ndarray of int, shape (n_k,)
        Ascending.
    log_likelihood, n_free : ndarray, shape (n_k,)
    n_samples : int
    phi : float, optional
        Strength of the penalty; (parameters of one component, its weight included) / 2 by default.

    Returns
    -------
    ndarray, shape (n_k,)
        -2 log L, lower is better.

    Examples
    --------
    One Gaussian on the line, and two that gain 8 nats for three parameters:

    >>> import numpy as np
    >>> ks, gained = np.array([1, 2]), np.array([-250.0, -242.0])
    >>> singular_bic(ks, gained, np.array([2.0, 5.0]), 100).round(2).tolist()
    [509.21, 504.46]
    """
    price = math.log(n_samples)
    if phi is None:
        per_component = float(np.diff(n_free).min() / np.diff(ks)[0]) if len(ks) > 1 else 0.0
        phi = per_component / 2
    log_l = np.empty(len(ks))
    for i, k in enumerate(ks):
        extra = k - ks[: i + 1]
        learning = np.minimum(n_free[: i + 1] + phi * extra, n_free[i] - extra) / 2
        log_l[i] = _positive_root(log_l[:i], log_likelihood[i] - learning * price)
    return -2.0 * log_l


def _positive_root(below: FloatArray, rates: FloatArray) -> float:
    """Solve for log L of a model from log L of its submodels and log L' against each and itself.

    The equation is L^2 + b L - c = 0, all terms divided by the largest: curves differ by
    thousands of nats.
    """
    if not len(below):
        return float(rates[-1])
    unit = max(float(below.max()), float(rates[-1]))
    b = float(np.exp(below - unit).sum() - np.exp(rates[-1] - unit))
    log_c = float(logsumexp(rates[:-1] + below)) - 2.0 * unit
    if log_c > 300.0:
        return unit + 0.5 * log_c
    root = math.sqrt(b * b + 4.0 * math.exp(log_c))
    if b < 0.0:
        return unit + math.log((root - b) / 2.0)
    if root == 0.0:
        return unit + 0.5 * log_c
    # The form without cancellation; c may be too small for a float.
    return unit + math.log(2.0) + log_c - math.log(b + root)


def epsilon_bic(
    log_likelihood: FloatArray, n_free: FloatArray, n_samples: int, *, epsilon: float = EPSILON
) -> FloatArray:
    """Compute epsilon-BIC of every fit on a curve.

    Parameters
    ----------
    log_likelihood, n_free : ndarray, shape (n_k,)
    n_samples : int
    epsilon : float
        At least 0, which is BIC.

    Returns
    -------
    ndarray, shape (n_k,)
        Lower is better.

    Raises
    ------
    ValueError
        If epsilon is negative.

    Examples
    --------
    >>> import numpy as np
    >>> epsilon_bic(np.array([-250.0, -242.0]), np.array([2.0, 5.0]), 100).round(2).tolist()
    [509.94, 508.85]
    """
    if epsilon < 0:
        raise ValueError(f"epsilon: must be at least 0, got {epsilon}")
    price: float = math.log(n_samples) ** (1.0 + epsilon)
    return n_free * price - 2.0 * log_likelihood


def contrast_errors(n_fits: int, best: int, log_prob: Callable[[int], FloatArray]) -> FloatArray:
    """Estimate the sampling error of each fit's log likelihood against the best fit's.

    Parameters
    ----------
    n_fits : int
    best : int
        Place of the fit that the others are compared with.
    log_prob : callable
        Gives the log density (nats) of every point under the fit at a place, shape (n,).

    Returns
    -------
    ndarray, shape (n_fits,)
        Standard errors of the total difference, nats; 0 for the best fit itself.
    """
    reference = log_prob(best)
    errors = np.zeros(n_fits)
    for place in range(n_fits):
        if place != best:
            errors[place] = math.sqrt(len(reference)) * (reference - log_prob(place)).std()
    return errors


def k_set(
    ks: Sequence[int] | IntArray,
    bic: FloatArray,
    errors: FloatArray,
    *,
    level: float = LEVEL,
) -> tuple[int, ...]:
    """Collect every k whose BIC is not significantly above the lowest, and those between.

    Parameters
    ----------
    ks : sequence of int, shape (n_k,)
    bic, errors : ndarray, shape (n_k,)
        `errors` as `contrast_errors` gives them (nats).
    level : float
        Of the one-sided test of each k, from 0.5 to below 1.

    Returns
    -------
    tuple of int
        Those of the curve from the smallest to the largest one that passes; k* is among them.

    Raises
    ------
    ValueError
        If the level is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> bic = np.array([5200.0, 5010.0, 5000.0, 5060.0])
    >>> k_set([1, 2, 3, 4], bic, np.array([20.0, 6.0, 0.0, 4.0]))
    (2, 3)
    """
    if not 0.5 <= level < 1.0:
        raise ValueError(f"level: must be from 0.5 to below 1, got {level}")
    above = np.asarray(bic) - np.min(bic)
    inside = np.flatnonzero(above <= 2.0 * float(ndtri(level)) * np.asarray(errors))
    return tuple(int(k) for k in ks[inside[0] : inside[-1] + 1])
