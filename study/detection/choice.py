"""A count from mixtures that were fitted in any way: what a protocol of a plug-in needs.

Symbols as in `study.detection.modes`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from study.detection.cloud import FloatArray, n_parameters
from study.detection.criteria import contrast_errors
from study.detection.modes import FittedMixture, ModeCount


def choose_fit(points: FloatArray, fits: Mapping[int, FittedMixture], *, k_max: int) -> ModeCount:
    """Choose among mixtures that were fitted to points, by BIC.

    Parameters
    ----------
    points : ndarray, shape (n, D)
    fits : mapping of int to FittedMixture
        By number of components; at least one.
    k_max : int
        The largest that may be chosen: it flags the count when it is.

    Raises
    ------
    ValueError
        There are no fits, or a covariance is not positive definite.
    """
    started = time.perf_counter()
    if not fits:
        raise ValueError("fits: need at least one fitted mixture")
    ks = sorted(fits)
    try:
        joints = [_log_joint(points, fits[k]) for k in ks]
    except np.linalg.LinAlgError:
        raise ValueError("fits: a covariance is not positive definite") from None
    log_probs = [logsumexp(joint, axis=0) for joint in joints]
    log_likelihood = np.array([log_prob.sum() for log_prob in log_probs])
    entropy = np.array([_entropy(*pair) for pair in zip(joints, log_probs, strict=True)])
    n_points, dim = points.shape
    n_free = np.array([n_parameters(k, dim) for k in ks])
    bic = n_free * np.log(n_points) - 2.0 * log_likelihood
    at = int(bic.argmin())
    return ModeCount(
        k=ks[at],
        ks=np.array(ks),
        log_likelihood=log_likelihood,
        bic=bic,
        icl=bic + 2.0 * entropy,
        contrast_errors=contrast_errors(len(ks), at, lambda place: log_probs[place]),
        converged=np.ones(len(ks), dtype=bool),
        at_k_max=ks[at] == k_max,
        at_cap=False,
        stopped=False,
        at_floor=at == 0 and ks[at] > 1,
        n_repairs=0,
        fitted=fits[ks[at]],
        n_iterations=0,
        wall_time_s=time.perf_counter() - started,
        n_distinct=len(np.unique(points, axis=0)),
    )


def _log_joint(points: FloatArray, fit: FittedMixture) -> FloatArray:
    """Return log w_k + log N(x; m_k, S_k), shape (k, n)."""
    parts = (fit.weights, fit.means, fit.covariances)
    return np.stack(
        [
            np.log(weight) + multivariate_normal(mean, covariance).logpdf(points)
            for weight, mean, covariance in zip(*parts, strict=True)
        ]
    )


def _entropy(log_joint: FloatArray, log_prob: FloatArray) -> float:
    """Return the entropy of the labels, nats, over all points."""
    log_posterior = log_joint - log_prob
    return float(-(np.exp(log_posterior) * log_posterior).sum())
