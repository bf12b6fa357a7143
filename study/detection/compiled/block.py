"""Compiled passes over one block of points: densities, shares and moments of a Gaussian mixture.

Symbols: points x in D dimensions, `BLOCK` neighbours to a block, k components with weight w_j,
mean m_j and covariance S_j = L_j L_j'. In the *frame* of component j a point is
u = inv(L_j) (x - m_j), its log density is -u'u / 2 plus a constant, and the M-step sums
r, r u and r u u' over the points, r being the component's share of the point. All numbers of a
frame are of order one however thin the component and however far it lies from the others, so
nothing cancels: points on a surface or a curve need no care of their own.

A component of which a box around the block shows that it has less than e^-40 of every point
there is skipped. In float64 that is nothing: a sum of shares does not change.

A block's arrays stay in a core's first caches. Loops over its points are written so that the
compiler vectorises them: no calls, no branches, a fixed length.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from study.training.compiled_cache import use_shared_cache
from study.training.vector_width import prefer_wide_vectors

prefer_wide_vectors()
use_shared_cache()

# What compiled code is kept on disk is kept for these sources: numba itself only looks at the file
# that a function is in, not at those whose functions it calls.
SOURCE_STAMP = hashlib.sha256(
    b"".join(source.read_bytes() for source in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()

BLOCK = 128
# Fewer dimensions are filled up to three, whose passes are written out and stay in registers.
FAST_DIM = 3
# A component with less than exp(NEGLIGIBLE) of a point's density is left out.
NEGLIGIBLE = -40.0
SMALLEST_EXPONENT = -600.0
VERY_LOW = -1e300
# Products of so many sums over components stay far from overflow: one logarithm for all of them.
_LOG_GROUP = 32

_LOG2_E = 1.4426950408889634
# Adding it leaves the nearest integer in the low bits of the sum.
_TO_INTEGER = 6755399441055744.0
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_INVERSE_FACTORIALS = tuple(1.0 / math.factorial(power) for power in range(13))
_MANTISSA_BITS = 52

# Sums may be taken in the order that suits the vector unit; NaN is not counted on.
FREE_ORDER = {"contract", "reassoc", "nsz", "nnan"}
# Functions that run inside a loop over blocks become part of their caller: a separate one exists
# twice in the process that compiles, and which of the two runs decides the last bits. And they
# count no references to views, which took longer than the arithmetic: they allocate nothing, and
# their caller's arrays outlive them. And no divisor is tested for zero, which kept loops with a
# division from vectorising.
INNER = {"forceinline": True, "_nrt": False, "error_model": "numpy"}


@intrinsic
def _bits_of(typing_context, value):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _float_of(typing_context, bits):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@njit(fastmath={"contract"}, **INNER)
def exponential(x):
    """Return e^x for -600 <= x <= 600 to about 1 unit in the last place; it vectorises."""
    shifted = x * _LOG2_E + _TO_INTEGER
    power = shifted - _TO_INTEGER
    rest = x - power * _LN2_HIGH
    rest = rest - power * _LN2_LOW
    series = _INVERSE_FACTORIALS[12]
    series = series * rest + _INVERSE_FACTORIALS[11]
    series = series * rest + _INVERSE_FACTORIALS[10]
    series = series * rest + _INVERSE_FACTORIALS[9]
    series = series * rest + _INVERSE_FACTORIALS[8]
    series = series * rest + _INVERSE_FACTORIALS[7]
    series = series * rest + _INVERSE_FACTORIALS[6]
    series = series * rest + _INVERSE_FACTORIALS[5]
    series = series * rest + _INVERSE_FACTORIALS[4]
    series = series * rest + _INVERSE_FACTORIALS[3]
    series = series * rest + 0.5
    series = series * rest + 1.0
    series = series * rest + 1.0
    return _float_of(_bits_of(series) + (_bits_of(shifted) << _MANTISSA_BITS))


@njit(fastmath=FREE_ORDER, **INNER)
def _log_densities(points, means, inverse_roots, constants, j, frames, rows, top):
    """Write component j's log densities of a block's points (D, BLOCK); raise `top` to them."""
    constant = constants[j]
    if len(points) == FAST_DIM:
        m0, m1, m2 = means[j, 0], means[j, 1], means[j, 2]
        f00, f10, f11 = inverse_roots[j, 0, 0], inverse_roots[j, 1, 0], inverse_roots[j, 1, 1]
        f20, f21, f22 = inverse_roots[j, 2, 0], inverse_roots[j, 2, 1], inverse_roots[j, 2, 2]
        for i in range(BLOCK):
            x, y, z = points[0, i] - m0, points[1, i] - m1, points[2, i] - m2
            u, v, w = f00 * x, f10 * x + f11 * y, f20 * x + f21 * y + f22 * z
            value = constant - 0.5 * (u * u + v * v + w * w)
            rows[j, i] = value
            top[i] = max(top[i], value)
        return
    _fill_row(points, means[j], inverse_roots[j], constant, frames[j], rows[j])
    for i in range(BLOCK):
        top[i] = max(top[i], rows[j, i])


@njit(fastmath=FREE_ORDER, **INNER)
def _fill_row(points, mean, inverse_root, constant, frame, row):
    _to_frame(points, mean, inverse_root, frame)
    for i in range(BLOCK):
        row[i] = constant
    for a in range(len(points)):
        for i in range(BLOCK):
            row[i] -= 0.5 * frame[a, i] * frame[a, i]


@njit(fastmath=FREE_ORDER, **INNER)
def _to_frame(points, mean, inverse_root, frame):
    """Write inv(L) (x - m) into `frame` (D, BLOCK)."""
    for a in range(len(points)):
        factor, offset = inverse_root[a, a], mean[a]
        for i in range(BLOCK):
            frame[a, i] = factor * (points[a, i] - offset)
        for b in range(a):
            factor, offset = inverse_root[a, b], mean[b]
            for i in range(BLOCK):
                frame[a, i] += factor * (points[b, i] - offset)


@njit(fastmath=FREE_ORDER, **INNER)
def _smallest(row):
    smallest = math.inf
    for i in range(0, BLOCK, 4):  # one chain of comparisons waits for each
        first, second = min(row[i], row[i + 1]), min(row[i + 2], row[i + 3])
        smallest = min(smallest, min(first, second))
    return smallest


@njit(fastmath=FREE_ORDER, **INNER)
def _is_negligible(rows, j, top):
    # A count vectorises where a maximum does not.
    count = 0
    for i in range(BLOCK):
        count += rows[j, i] - top[i] > NEGLIGIBLE
    return count == 0


@njit(fastmath=FREE_ORDER, **INNER)
def _exponentiate(rows, j, top, total):
    """Turn log densities into densities over the largest, and add them up."""
    for i in range(BLOCK):
        density = exponential(max(rows[j, i] - top[i], SMALLEST_EXPONENT))
        rows[j, i] = density
        total[i] += density


@njit(fastmath=FREE_ORDER, **INNER)
def _exponentiate_and_spread(rows, j, top, total, spread):
    """Do the same; `spread` gathers density times log density, from which the entropy follows."""
    for i in range(BLOCK):
        below = max(rows[j, i] - top[i], SMALLEST_EXPONENT)
        density = exponential(below)
        rows[j, i] = density
        total[i] += density
        spread[i] += density * below


@njit(fastmath=FREE_ORDER, **INNER)
def add_moments(points, means, inverse_roots, j, frames, rows, factors, weighted, moments):
    """Add component j's sums of r, r u and r u u' (lower triangle by rows) to `moments`.

    A share r is a density times the point's factor.
    """
    if len(points) == FAST_DIM:
        _add_moments_3(points, means, inverse_roots, j, rows, factors, moments)
    else:
        _add_moments_of_frame(frames[j], rows[j], factors, weighted, moments[j])


@njit(fastmath=FREE_ORDER, **INNER)
def _add_moments_of_frame(frame, row, factors, weighted, moments):
    count = 0.0
    for i in range(BLOCK):
        row[i] *= factors[i]
        count += row[i]
    moments[0] += count
    dim = len(frame)
    at = 1 + dim
    for a in range(dim):
        first = 0.0
        for i in range(BLOCK):
            weighted[i] = row[i] * frame[a, i]
            first += weighted[i]
        moments[1 + a] += first
        for b in range(a + 1):
            second = 0.0
            for i in range(BLOCK):
                second += weighted[i] * frame[b, i]
            moments[at] += second
            at += 1


@njit(fastmath=FREE_ORDER, **INNER)
def _add_moments_3(points, means, inverse_roots, j, rows, factors, moments):
    m0, m1, m2 = means[j, 0], means[j, 1], means[j, 2]
    f00, f10, f11 = inverse_roots[j, 0, 0], inverse_roots[j, 1, 0], inverse_roots[j, 1, 1]
    f20, f21, f22 = inverse_roots[j, 2, 0], inverse_roots[j, 2, 1], inverse_roots[j, 2, 2]
    s, su, sv, sw = 0.0, 0.0, 0.0, 0.0
    suu, suv, svv, suw, svw, sww = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(BLOCK):
        x, y, z = points[0, i] - m0, points[1, i] - m1, points[2, i] - m2
        u, v, w = f00 * x, f10 * x + f11 * y, f20 * x + f21 * y + f22 * z
        share = rows[j, i] * factors[i]
        ru, rv, rw = share * u, share * v, share * w
        s += share
        su += ru
        sv += rv
        sw += rw
        suu += ru * u
        suv += ru * v
        svv += rv * v
        suw += ru * w
        svw += rv * w
        sww += rw * w
    for at, value in enumerate((s, su, sv, sw, suu, suv, svv, suw, svw, sww)):
        moments[j, at] += value


@njit(**INNER)
def invert(total, n_points):
    """Turn sums of densities into what makes shares of them; points beyond the last get none."""
    for i in range(BLOCK):
        total[i] = 1.0 / total[i]
    for i in range(n_points, BLOCK):
        total[i] = 0.0


@njit(fastmath=FREE_ORDER, **INNER)
def _bound(box, means, inverse_roots, constants, upper):
    """Bound each component's log density in a box (2, D: centre, half widths) from above.

    Returns the component that is densest at the centre.
    """
    dim = box.shape[1]
    densest, best = 0, VERY_LOW
    for j in range(len(constants)):
        if dim == FAST_DIM:
            centre_sq, far = _box_distances_3(box, means[j], inverse_roots[j])
        else:
            centre_sq, far = _box_distances(box, means[j], inverse_roots[j])
        upper[j] = constants[j] - 0.5 * far
        at_centre = constants[j] - 0.5 * centre_sq
        if at_centre > best:
            densest, best = j, at_centre
    return densest


@njit(fastmath=FREE_ORDER, **INNER)
def _box_distances(box, mean, inverse_root):
    """Return squared distances in a frame: of the box's centre, and a bound for all of the box."""
    far = centre_sq = 0.0
    for a in range(len(mean)):
        centre = reach = 0.0
        for b in range(a + 1):
            factor = inverse_root[a, b]
            centre += factor * (box[0, b] - mean[b])
            reach += abs(factor) * box[1, b]
        gap = max(abs(centre) - reach, 0.0)
        far += gap * gap
        centre_sq += centre * centre
    return centre_sq, far


@njit(fastmath=FREE_ORDER, **INNER)
def _box_distances_3(box, mean, inverse_root):
    x, y, z = box[0, 0] - mean[0], box[0, 1] - mean[1], box[0, 2] - mean[2]
    half_x, half_y, half_z = box[1, 0], box[1, 1], box[1, 2]
    f00, f10, f11 = inverse_root[0, 0], inverse_root[1, 0], inverse_root[1, 1]
    f20, f21, f22 = inverse_root[2, 0], inverse_root[2, 1], inverse_root[2, 2]
    u, v, w = f00 * x, f10 * x + f11 * y, f20 * x + f21 * y + f22 * z
    reach_v = abs(f10) * half_x + abs(f11) * half_y
    reach_w = abs(f20) * half_x + abs(f21) * half_y + abs(f22) * half_z
    gap_u = max(abs(u) - abs(f00) * half_x, 0.0)
    gap_v, gap_w = max(abs(v) - reach_v, 0.0), max(abs(w) - reach_w, 0.0)
    return u * u + v * v + w * w, gap_u * gap_u + gap_v * gap_v + gap_w * gap_w


@njit(**INNER)
def fill_densities(
    points, box, means, inverse_roots, constants, frames, rows, active, top, total, spread, upper,
    with_spread,
):  # fmt: skip
    """Fill one block's densities; `active` says which components have any."""
    for i in range(BLOCK):
        top[i] = -math.inf
        total[i] = 0.0
        spread[i] = 0.0
    first = _bound(box, means, inverse_roots, constants, upper)
    _log_densities(points, means, inverse_roots, constants, first, frames, rows, top)
    floor = _smallest(top) + NEGLIGIBLE
    for j in range(len(constants)):
        active[j] = upper[j] > floor
        if active[j] and j != first:
            _log_densities(points, means, inverse_roots, constants, j, frames, rows, top)
    for j in range(len(constants)):
        if active[j]:
            active[j] = not _is_negligible(rows, j, top)
            if active[j] and with_spread:
                _exponentiate_and_spread(rows, j, top, total, spread)
            elif active[j]:
                _exponentiate(rows, j, top, total)


@njit(fastmath=FREE_ORDER, **INNER)
def log_sums(top, total, n_points):
    """Return a block's log likelihood (nats), and what of it is the sums' logarithms."""
    largest = logs = 0.0
    for start in range(0, n_points, _LOG_GROUP):
        product = 1.0
        for i in range(start, min(start + _LOG_GROUP, n_points)):
            product *= total[i]
            largest += top[i]
        logs += math.log(product)
    return largest + logs, logs


@njit(fastmath=FREE_ORDER, **INNER)
def mean_spread(total, spread, n_points):
    """Return the sum over points of the mean, by shares, of log densities below the largest."""
    mixed = 0.0
    for i in range(n_points):
        mixed += spread[i] / total[i]
    return mixed
