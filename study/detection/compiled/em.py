"""Compiled EM of one Gaussian mixture on a whole cloud, block by block.

Symbols: n points in D dimensions, k components; frames and blocks as in
`study.detection.compiled.block`. Nothing of size n k is kept.

Arrays are filled element by element throughout this package: an assignment to a slice makes numba
compile the message of a wrong shape, too, which took half of the time before the first count.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from study.detection.compiled.block import (
    BLOCK,
    FAST_DIM,
    SOURCE_STAMP,
    VERY_LOW,
    add_moments,
    fill_densities,
    invert,
    log_sums,
    mean_spread,
)

# Rules that end a run of EM, and how it ended.
PLAIN, PROPOSAL, PATIENT = 0, 1, 2
CONVERGED, UNFINISHED, HOPELESS = 0, 1, 2
# As scikit-learn: keeps a component without points from dividing by zero.
COUNT_FLOOR = 10 * float(np.finfo(np.float64).eps)


@njit(forceinline=True)
def _pass(blocks, boxes, n_samples, means, inverse_roots, constants, moments):
    """Do one E-step; add up the moments of every frame unless `moments` is empty.

    Returns log likelihood and, without moments, label entropy (nats, in total).
    """
    k, dim = len(means), blocks.shape[1]
    frames, rows = np.empty((k, dim if dim > FAST_DIM else 1, BLOCK)), np.empty((k, BLOCK))
    top, total, spread = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    weighted, upper, active = np.empty(BLOCK), np.empty(k), np.empty(k, np.bool_)
    moments[:] = 0.0
    log_likelihood = entropy = 0.0
    for at in range(len(blocks)):
        n_points = min(BLOCK, n_samples - at * BLOCK)
        fill_densities(
            blocks[at], boxes[at], means, inverse_roots, constants, frames, rows, active,
            top, total, spread, upper, not len(moments),
        )  # fmt: skip
        block_likelihood, logs = log_sums(top, total, n_points)
        log_likelihood += block_likelihood
        if not len(moments):
            entropy += logs - mean_spread(total, spread, n_points)
        else:
            invert(total, n_points)
            for j in range(k):
                if active[j]:
                    add_moments(
                        blocks[at], means, inverse_roots, j, frames, rows, total, weighted,
                        moments,
                    )  # fmt: skip
    return log_likelihood, entropy


@njit(forceinline=True)
def _unit_matrices(k, dim):
    matrices = np.zeros((k, dim, dim))
    for j in range(k):
        for a in range(dim):
            matrices[j, a, a] = 1.0
    return matrices


@njit(forceinline=True)
def factor_root(covariance, root):
    """Write the Cholesky factor (lower part); return its log determinant, NaN on failure."""
    log_det = 0.0
    for a in range(len(covariance)):
        for b in range(a + 1):
            value = covariance[a, b]
            for c in range(b):
                value -= root[a, c] * root[b, c]
            if a > b:
                root[a, b] = value / root[b, b]
            elif not value > 0.0:
                return math.nan
            else:
                root[a, a] = math.sqrt(value)
                log_det += math.log(root[a, a])
    return log_det


@njit(forceinline=True)
def invert_root(covariance, root, inverse):
    """Write the Cholesky factor and its inverse; return its log determinant, NaN on failure."""
    log_det = factor_root(covariance, root)
    if math.isnan(log_det):
        return log_det
    for a in range(len(covariance)):
        inverse[a, a] = 1.0 / root[a, a]
        for b in range(a):
            value = 0.0
            for c in range(b, a):
                value += root[a, c] * inverse[c, b]
            inverse[a, b] = -value / root[a, a]
    return log_det


@njit(forceinline=True)
def _factorize(weights, covariances, roots, inverse_roots, constants):
    """Prepare the frames; return whether every covariance is positive definite."""
    half_log_tau = 0.5 * covariances.shape[1] * math.log(2.0 * math.pi)
    for j in range(len(weights)):
        log_det = invert_root(covariances[j], roots[j], inverse_roots[j])
        constants[j] = VERY_LOW
        if weights[j] > 0.0:
            constants[j] = math.log(weights[j]) - log_det - half_log_tau
        if not math.isfinite(constants[j]):
            return False
    return True


@njit(forceinline=True)
def _maximize(moments, roots, pseudo_count, ridge, weights, means, covariances):
    """Set the parameters from the frames' moments: one M-step.

    The prior's pseudo-count draws every covariance towards the unit matrix; the ridge is added.
    """
    k, dim = covariances.shape[:2]
    filled = means.shape[1]
    shift, middle, half = np.empty(dim), np.empty((dim, dim)), np.empty((dim, dim))
    total = 0.0
    for j in range(k):
        total += moments[j, 0] + COUNT_FLOOR
    for j in range(k):
        count = moments[j, 0] + COUNT_FLOOR
        weights[j] = count / total
        at = 1 + filled
        for a in range(dim):
            shift[a] = moments[j, 1 + a] / count
            for b in range(a + 1):
                middle[a, b] = moments[j, at] / count - shift[a] * shift[b]
                middle[b, a] = middle[a, b]
                at += 1
        for a in range(dim):
            for b in range(dim):
                half[a, b] = 0.0
                for c in range(a + 1):
                    half[a, b] += roots[j, a, c] * middle[c, b]
            for c in range(a + 1):
                means[j, a] += roots[j, a, c] * shift[c]
        for a in range(dim):
            for b in range(a + 1):
                value = 0.0
                for c in range(b + 1):
                    value += half[a, c] * roots[j, b, c]
                value *= count / (count + pseudo_count)
                covariances[j, a, b] = covariances[j, b, a] = value
            covariances[j, a, a] += pseudo_count / (count + pseudo_count) + ridge


@njit(forceinline=True)
def _penalties(roots, inverse_roots):
    """Return the sum over components of tr inv(S) + log |S| - D: 0 for unit matrices."""
    total = 0.0
    for j in range(len(roots)):
        for a in range(roots.shape[1]):
            total += 2.0 * math.log(roots[j, a, a]) - 1.0
            for b in range(a + 1):
                total += inverse_roots[j, a, b] * inverse_roots[j, a, b]
    return total


def _compile_climb(stamp: str):
    @njit(cache=True)
    def climb(
        blocks,
        boxes,
        n_samples,
        weights,
        means,
        covariances,
        pseudo_count,
        ridge,
        rule,
        tol_nats,
        max_iter,
        known,
    ):
        """Run EM in place until `rule` ends it.

        PLAIN: an iteration changes the objective by less than `tol_nats`, as scikit-learn.
        PROPOSAL: an iteration gains less than `tol_nats`, or the objective, extrapolated
        generously, would end below `known`. PATIENT: what is left to gain, extrapolated from the
        last two gains, is at most `tol_nats`.

        Returns
        -------
        objective, log_likelihood : float
            Total, nats, before the last M-step.
        n_iter : int
            0 if a covariance is not positive definite.
        outcome : int
            CONVERGED, UNFINISHED (after `max_iter`) or HOPELESS (below `known`).
        """
        len(stamp)  # part of the key under which compiled code is kept
        k, dim = len(weights), blocks.shape[1]
        roots, inverse_roots = _unit_matrices(k, dim), _unit_matrices(k, dim)
        constants, moments = np.empty(k), np.empty((k, 1 + dim + dim * (dim + 1) // 2))
        log_likelihood, current, gain = -math.inf, -math.inf, math.inf
        for iteration in range(1, max_iter + 1):
            if not _factorize(weights, covariances, roots, inverse_roots, constants):
                return current, log_likelihood, 0, UNFINISHED
            previous, before = current, gain
            log_likelihood, _ = _pass(
                blocks, boxes, n_samples, means, inverse_roots, constants, moments
            )
            current = log_likelihood - 0.5 * pseudo_count * _penalties(roots, inverse_roots)
            _maximize(moments, roots, pseudo_count, ridge, weights, means, covariances)
            gain = current - previous
            ratio = gain / before if before > 0.0 else 0.0
            if rule == PLAIN:
                if abs(gain) < tol_nats:
                    return current, log_likelihood, iteration, CONVERGED
            elif rule == PATIENT:
                ratio = min(max(ratio, 0.0), 0.999)
                if iteration > 1 and gain * max(1.0, ratio / (1.0 - ratio)) <= tol_nats:
                    return current, log_likelihood, iteration, CONVERGED
            elif iteration > 2:
                ratio = min(max(ratio, 0.6), 0.97)
                if current + 2.0 * gain * ratio / (1.0 - ratio) < known:
                    return current, log_likelihood, iteration, HOPELESS
                if gain < tol_nats:
                    return current, log_likelihood, iteration, CONVERGED
        return current, log_likelihood, max_iter, UNFINISHED

    return climb


climb = _compile_climb(SOURCE_STAMP)


def _compile_score(stamp: str):
    @njit(cache=True)
    def score(blocks, boxes, n_samples, weights, means, covariances):
        """Return penalties, log likelihood and label entropy (nats, in total); NaN on failure."""
        len(stamp)  # part of the key under which compiled code is kept
        k, dim = len(weights), blocks.shape[1]
        roots, inverse_roots = _unit_matrices(k, dim), _unit_matrices(k, dim)
        constants = np.empty(k)
        if not _factorize(weights, covariances, roots, inverse_roots, constants):
            return math.nan, math.nan, math.nan
        log_likelihood, entropy = _pass(
            blocks, boxes, n_samples, means, inverse_roots, constants, np.empty((0, 0))
        )
        return _penalties(roots, inverse_roots), log_likelihood, entropy

    return score


score = _compile_score(SOURCE_STAMP)


def _compile_judge(stamp: str):
    @njit(cache=True)
    def judge(blocks, boxes, n_samples, weights, means, covariances, draws, labels, log_prob):
        """Label each point by its posterior and a uniform draw; without `draws`, as likeliest.

        Without `draws` its log density is written, too.
        """
        len(stamp)  # part of the key under which compiled code is kept
        k, dim = len(weights), blocks.shape[1]
        roots, inverse_roots = _unit_matrices(k, dim), _unit_matrices(k, dim)
        constants = np.empty(k)
        if not _factorize(weights, covariances, roots, inverse_roots, constants):
            return False
        frames, rows = np.empty((k, dim if dim > FAST_DIM else 1, BLOCK)), np.empty((k, BLOCK))
        top, total, spread = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
        upper, active = np.empty(k), np.empty(k, np.bool_)
        for at in range(len(blocks)):
            start = at * BLOCK
            n_points = min(BLOCK, n_samples - start)
            fill_densities(
                blocks[at], boxes[at], means, inverse_roots, constants, frames, rows, active,
                top, total, spread, upper, False,
            )  # fmt: skip
            for i in range(n_points):
                if not len(draws):
                    log_prob[start + i] = top[i] + math.log(total[i])
                left = draws[start + i] * total[i] if len(draws) else math.inf
                label, largest = 0, 0.0
                for j in range(k):
                    if active[j] and (len(draws) or rows[j, i] > largest):
                        label, largest = j, rows[j, i]
                        left -= rows[j, i]
                        if left <= 0.0:
                            break
                labels[start + i] = label
        return True

    return judge


judge = _compile_judge(SOURCE_STAMP)
