"""Compiled two-component EM on the points of one component, from several starts at once.

Symbols: m whitened points y in D dimensions, S starts, F = 1 + D + D (D + 1) / 2 products of
[1, y]: 1, then y_a, then y_a y_b with b <= a by rows. A part's log density is a linear form in
them, leaving out -D/2 log(2 pi) throughout. The prior counts for `pseudo_count` points with the
variances `prior` (D,), which is what the unit matrix of the whole cloud looks like from here.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from study.detection.compiled.block import BLOCK, FREE_ORDER, INNER, SOURCE_STAMP, exponential
from study.detection.compiled.em import invert_root

SMALLEST_COUNT = 1e-6
# Products of up to three dimensions; their sums are written out.
FAST_PRODUCTS = 10
LARGEST_ODDS = 40.0


@njit(forceinline=True)
def _fill_products(points, blocks):
    """Write the products of points (m, D) into blocks (m / BLOCK, F, BLOCK) of zeros."""
    dim = points.shape[1]
    for i in range(len(points)):
        products, place = blocks[i // BLOCK], i % BLOCK
        products[0, place] = 1.0
        at = 1 + dim
        for a in range(dim):
            value = points[i, a]
            products[1 + a, place] = value
            for b in range(a + 1):
                products[at, place] = value * points[i, b]
                at += 1


@njit(fastmath=FREE_ORDER, **INNER)
def _evaluate(products, form, values):
    """Evaluate a linear form (F,) in a block's products."""
    if len(products) == FAST_PRODUCTS:
        f0, f1, f2, f3, f4 = form[0], form[1], form[2], form[3], form[4]
        f5, f6, f7, f8, f9 = form[5], form[6], form[7], form[8], form[9]
        for i in range(BLOCK):
            x, y, z = products[1, i], products[2, i], products[3, i]
            values[i] = (
                f0 + f1 * x + f2 * y + f3 * z + f4 * products[4, i] + f5 * products[5, i]
                + f6 * products[6, i] + f7 * products[7, i] + f8 * products[8, i]
                + f9 * products[9, i]
            )  # fmt: skip
        return
    for i in range(BLOCK):
        values[i] = form[0]
    for at in range(1, len(form)):
        factor = form[at]
        for i in range(BLOCK):
            values[i] += factor * products[at, i]


@njit(fastmath=FREE_ORDER, **INNER)
def _add_products(products, share, sums):
    """Add the shares' products of a block to `sums` (F,)."""
    for at in range(len(sums)):
        total = 0.0
        for i in range(BLOCK):
            total += share[i] * products[at, i]
        sums[at] += total


@njit(fastmath=FREE_ORDER, **INNER)
def _to_shares(values, hard):
    """Turn log odds into shares of the first part."""
    if hard:
        for i in range(BLOCK):
            values[i] = 1.0 if values[i] > 0.0 else 0.0
        return
    for i in range(BLOCK):
        odds = min(max(values[i], -LARGEST_ODDS), LARGEST_ODDS)
        values[i] = 1.0 / (1.0 + exponential(-odds))


@njit(forceinline=True)
def moments_to_gaussian(moments, count, pseudo_count, prior, mean, covariance):
    """Write the mean and covariance of sums (F,) of products, the prior's points included."""
    dim, shrunk = len(mean), count / (count + pseudo_count)
    at = 1 + dim
    for a in range(dim):
        mean[a] = moments[1 + a] / count
        for b in range(a + 1):
            covariance[a, b] = shrunk * (moments[at] / count - mean[a] * mean[b])
            covariance[b, a] = covariance[a, b]
            at += 1
        covariance[a, a] += (1.0 - shrunk) * prior[a]


@njit(forceinline=True)
def _clear(form):
    for at in range(len(form)):
        form[at] = 0.0


@njit(forceinline=True)
def _to_form(moments, count, total, pseudo_count, prior, form):
    """Write a part's log density as a form in the products; return its penalty, NaN if none.

    The penalty is tr(P inv(S)) + log |inv(P) S| - D, P holding the prior's variances.
    """
    dim = int((math.sqrt(8.0 * len(moments) + 1.0) - 3.0) / 2.0 + 0.5)
    mean, covariance = np.empty(dim), np.empty((dim, dim))
    root, inverse = np.zeros((dim, dim)), np.zeros((dim, dim))
    moments_to_gaussian(moments, count, pseudo_count, prior, mean, covariance)
    log_det = invert_root(covariance, root, inverse)
    if not math.isfinite(log_det):
        return math.nan
    penalty = 2.0 * log_det
    _clear(form)
    form[0] = math.log(count / total) - log_det
    at = 1 + dim
    for a in range(dim):
        for b in range(a + 1):
            precision = 0.0
            for c in range(a, dim):
                precision += inverse[c, a] * inverse[c, b]
            form[at] = -0.5 * precision if a == b else -precision
            if a == b:
                penalty += prior[a] * precision - math.log(prior[a]) - 1.0
            form[1 + a] += precision * mean[b]
            if a != b:
                form[1 + b] += precision * mean[a]
            form[0] -= (0.5 if a == b else 1.0) * precision * mean[a] * mean[b]
            at += 1
    return penalty


@njit(forceinline=True)
def _to_forms(sums, totals, pseudo_count, prior, counts, moments, forms, penalties):
    """Do the M-step of each start from the first part's sums (S, F)."""
    size = moments.shape[2]
    for start in range(len(sums)):
        penalties[start] = 0.0
        for at in range(size):
            moments[start, 0, at] = sums[start, at]
            moments[start, 1, at] = totals[at] - sums[start, at]
        for part in range(2):
            counts[start, part] = max(moments[start, part, 0], SMALLEST_COUNT)
        for part in range(2):
            penalties[start] += _to_form(
                moments[start, part], counts[start, part], counts[start, 0] + counts[start, 1],
                pseudo_count, prior, forms[start, part],
            )  # fmt: skip
            if math.isnan(penalties[start]):
                counts[start, part] = 0.0
                _clear(forms[start, 0])
                _clear(forms[start, 1])
                break


@njit(fastmath=FREE_ORDER, **INNER)
def _log_total(first, second, n_points):
    """Return the summed log of e^first + e^second; both are overwritten."""
    largest = 0.0
    for i in range(BLOCK):
        apart = abs(first[i] - second[i])
        top = max(first[i], second[i])
        first[i] = top
        second[i] = 1.0 + exponential(-min(apart, LARGEST_ODDS))
    product = 1.0
    for i in range(n_points):
        product *= second[i]
        largest += first[i]
    return largest + math.log(product)


def _compile_grow_parts(stamp: str):
    @njit(cache=True)
    def grow_parts(points, starts, n_iter, pseudo_count, prior):
        """Run EM of two parts from every start at once on whitened points (m, D); keep the best.

        Returns
        -------
        gain : float
            What two parts gain over one (nats of the objective, in total); -inf if a part is too
            small, and what follows is zero then.
        weights : ndarray, shape (2,)
        means : ndarray, shape (2, D)
        covariances : ndarray, shape (2, D, D)
        """
        len(stamp)  # part of the key under which compiled code is kept
        n_starts, size = starts.shape
        dim = points.shape[1]
        filled = max(size, FAST_PRODUCTS)
        n_blocks = -(-len(points) // BLOCK)
        blocks = np.zeros((n_blocks, filled, BLOCK))
        values, other = np.empty(BLOCK), np.empty(BLOCK)
        counts, moments = np.zeros((n_starts, 2)), np.zeros((n_starts, 2, size))
        forms, totals = np.zeros((n_starts, 2, filled)), np.zeros(filled)
        penalties, one = np.zeros(n_starts), np.zeros(filled)
        apart, gains = np.zeros((n_starts, filled)), np.zeros(n_starts)
        for start in range(n_starts):
            for at in range(size):
                forms[start, 0, at] = starts[start, at]
        _fill_products(points, blocks)
        for i in range(BLOCK):
            values[i] = 1.0
        for at in range(n_blocks):
            _add_products(blocks[at], values, totals)
        for iteration in range(n_iter):
            sums = np.zeros((n_starts, filled))
            for start in range(n_starts):
                for at in range(filled):
                    apart[start, at] = forms[start, 0, at] - forms[start, 1, at]
            for at in range(n_blocks):
                for start in range(n_starts):
                    _evaluate(blocks[at], apart[start], values)
                    _to_shares(values, iteration == 0)
                    _add_products(blocks[at], values, sums[start])
            _to_forms(sums, totals, pseudo_count, prior, counts, moments, forms, penalties)
        whole = float(len(points))
        penalty = _to_form(totals[:size], whole, whole, pseudo_count, prior, one)
        for start in range(n_starts):
            gains[start] = 0.5 * pseudo_count * (penalty - penalties[start])
            for at in range(size):
                gains[start] -= one[at] * totals[at]
        for at in range(n_blocks):
            n_points = min(BLOCK, len(points) - at * BLOCK)
            for start in range(n_starts):
                _evaluate(blocks[at], forms[start, 0], values)
                _evaluate(blocks[at], forms[start, 1], other)
                gains[start] += _log_total(values, other, n_points)
        best = 0
        for start in range(n_starts):
            if not min(counts[start, 0], counts[start, 1]) > dim + 1:
                gains[start] = -math.inf
            if gains[start] > gains[best]:
                best = start
        weights, means, covariances = np.zeros(2), np.zeros((2, dim)), np.zeros((2, dim, dim))
        if math.isfinite(gains[best]):
            for part in range(2):
                weights[part] = counts[best, part] / (counts[best, 0] + counts[best, 1])
                moments_to_gaussian(
                    moments[best, part], counts[best, part], pseudo_count, prior, means[part],
                    covariances[part],
                )  # fmt: skip
        return gains[best], weights, means, covariances

    return grow_parts


grow_parts = _compile_grow_parts(SOURCE_STAMP)
