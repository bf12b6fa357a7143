"""A compiled loop over a table of operations: what one row of numbers makes it do.

A row begins with what to do; sizes, strides (in numbers) and addresses follow, as the functions
below read them. Everything is float32. Matrix products and exponentials are made by the library
that PyTorch itself calls, Intel's MKL in its builds for x86, under names that must be known to the
compiler before the loop is compiled or loaded. The rest are loops in the order of PyTorch's
kernels.

References
----------
PyTorch, aten/src/ATen/native/cpu/SumKernel.cpp, https://github.com/pytorch/pytorch
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from study.training.compiled.matmul import floats_at, multiply_tiles

PRODUCT, AFFINE, TILES, RELU, RELU_BACKWARD, ROW_SUMS, EXP, MUL, ADD, SUB, ADDCMUL = range(11)
ROW_SIZE = 16
# What the loop calls: its names in PyTorch's library, and here.
SYMBOLS = {"sgemm_": "study_sgemm", "vmsExp": "study_exp"}
# VML_HA, VML_FTZDAZ_OFF and VML_ERRMODE_IGNORE, as PyTorch calls it.
_EXP_MODE = 0x00140102
# Numbers that PyTorch adds side by side when it sums a row: AVX2's, even with AVX-512.
LANES = 8
# Rows of lanes that are summed independently.
CHAINS = 4
# Compiled code is kept for these sources: numba only looks at the file that a function is in.
STAMP = hashlib.sha256(
    b"".join(source.read_bytes() for source in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()

_sgemm = types.ExternalFunction("study_sgemm", types.void(*[types.intp] * 13))
_exp = types.ExternalFunction(
    "study_exp", types.void(types.intc, types.intp, types.intp, types.int64)
)


@intrinsic
def _float_of(typing_context, bits):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(builder.trunc(arguments[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), generate


@intrinsic
def _fused(typing_context, first, second, added):
    """Multiply and add with one rounding, as PyTorch's addcmul is compiled."""

    def generate(context, builder, signature, arguments):
        return builder.fma(*arguments)

    number = types.float32
    return number(number, number, number), generate


@intrinsic
def _lane_sum(typing_context, address, n_rounds, n_extra, tail):
    """Add up a row as PyTorch does: rounds of CHAINS vectors, single vectors, lane by lane.

    Written as vectors: the compiler does not find them in loops of a fixed length.
    """
    vector = ir.VectorType(ir.FloatType(), LANES)

    def generate(context, builder, signature, arguments):
        address, n_rounds, n_extra, tail = arguments
        start = builder.inttoptr(address, ir.FloatType().as_pointer())
        zeros = ir.Constant(vector, [0.0] * LANES)
        chains = [cgutils.alloca_once_value(builder, zeros) for _ in range(CHAINS)]

        def add_vector(chain, index):
            place = builder.gep(start, [builder.mul(index, index.type(LANES))])
            numbers = builder.load(builder.bitcast(place, vector.as_pointer()), align=4)
            builder.store(builder.fadd(builder.load(chain), numbers), chain)

        with cgutils.for_range(builder, n_rounds) as loop:
            first = builder.mul(loop.index, loop.index.type(CHAINS))
            for offset, chain in enumerate(chains):
                add_vector(chain, builder.add(first, first.type(offset)))
        with cgutils.for_range(builder, n_extra) as loop:
            first = builder.mul(n_rounds, n_rounds.type(CHAINS))
            add_vector(chains[0], builder.add(first, loop.index))
        total, *others = (builder.load(chain) for chain in chains)
        for other in others:
            total = builder.fadd(total, other)
        for lane in range(LANES):
            tail = builder.fadd(tail, builder.extract_element(total, ir.IntType(32)(lane)))
        return tail

    number, integer = types.float32, types.int64
    return number(integer, integer, integer, number), generate


@njit
def _multiply(row, letters, units, sizes):
    """C = op(A) op(B) + C by columns; a bias fills C first."""
    m, n = row[3], row[4]
    if row[0] == AFFINE:
        out, bias = carray(floats_at(row[10]), m * n), carray(floats_at(row[12]), n)
        for i in range(n):
            value = bias[i]
            for j in range(m):
                out[i * m + j] = value
    sizes[0], sizes[1], sizes[2] = m, n, row[5]
    sizes[3], sizes[4], sizes[5] = row[7], row[9], row[11]
    at = sizes.ctypes.data
    _sgemm(
        letters.ctypes.data + row[1],
        letters.ctypes.data + row[2],
        at,
        at + 4,
        at + 8,
        units.ctypes.data + 4,
        row[6],
        at + 12,
        row[8],
        at + 16,
        units.ctypes.data + (4 if row[0] == AFFINE else 0),
        row[10],
        at + 20,
    )


@njit
def _rectify(n, source, target):
    inputs, outputs = carray(floats_at(source), n), carray(floats_at(target), n)
    zero = np.float32(0)
    for i in range(n):
        value = inputs[i]
        outputs[i] = zero if value < zero else value


@njit
def _rectify_gradient(n, saved, target):
    outputs, gradients = carray(floats_at(saved), n), carray(floats_at(target), n)
    zero = np.float32(0)
    for i in range(n):
        gradients[i] = zero if outputs[i] <= zero else gradients[i]


@njit
def _sum_rows(n_rows, n, source, target):
    numbers, sums = carray(floats_at(source), n_rows * n), carray(floats_at(target), n_rows)
    n_vectors = n // LANES
    n_rounds = n_vectors // CHAINS
    for i in range(n_rows):
        tail = np.float32(0)
        for j in range(n_vectors * LANES, n):
            tail += numbers[i * n + j]
        n_extra = n_vectors - CHAINS * n_rounds
        sums[i] = _lane_sum(source + 4 * i * n, n_rounds, n_extra, tail)


@njit
def _combine(row):
    """Element by element: out, first, second, third with the strides of their rows and columns."""
    code, n_rows, n_columns = row[0], row[1], row[2]
    value = _float_of(row[15])
    for i in range(n_rows):
        for j in range(n_columns):
            first = carray(floats_at(row[6] + 4 * (i * row[7] + j * row[8])), 1)[0]
            second = carray(floats_at(row[9] + 4 * (i * row[10] + j * row[11])), 1)[0]
            out = carray(floats_at(row[3] + 4 * (i * row[4] + j * row[5])), 1)
            if code == MUL:
                out[0] = first * second
            elif code == ADD:
                out[0] = first + second
            elif code == SUB:
                out[0] = first - second
            else:
                third = carray(floats_at(row[12] + 4 * (i * row[13] + j * row[14])), 1)[0]
                out[0] = _fused(value * second, third, first)


def compile_rows(stamp: str):
    @njit(cache=True)
    def run_rows(rows):
        """Run the rows in order."""
        len(stamp)  # part of the key under which compiled code is kept
        letters = np.array([78, 84], dtype=np.uint8)
        units, sizes = np.array([0, 1], dtype=np.float32), np.empty(6, dtype=np.int32)
        for at in range(len(rows)):
            row = rows[at]
            code = row[0]
            if code in (PRODUCT, AFFINE):
                _multiply(row, letters, units, sizes)
            elif code == TILES:
                multiply_tiles(row, units.ctypes.data)
            elif code == RELU:
                _rectify(row[1], row[2], row[3])
            elif code == RELU_BACKWARD:
                _rectify_gradient(row[1], row[2], row[3])
            elif code == ROW_SUMS:
                _sum_rows(row[1], row[2], row[3], row[4])
            elif code == EXP:
                _exp(np.int32(row[1]), row[2], row[3], _EXP_MODE)
            else:
                _combine(row)

    return run_rows
