"""A matrix product in vectors as wide as the processor has, for the loop of `interpreter`.

The library in PyTorch's builds for x86, Intel's MKL, gives processors of other makers 256 bits a
vector even where they have 512. The product here adds up each element in the order of the inner
index, fused, as the library's kernels for AVX do, so it can give the same bits in half the time.
Whether it does either is for `study.training.compiled.translate` to try.

One tile of the result stays in registers while the inner index runs: for each step, some elements
of a column of the left matrix times a few vectors of a row of the right one, which were copied to
where they lie side by side.

References
----------
Goto, van de Geijn, Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34 (2008)
"""

from __future__ import annotations

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from study.training.compiled_cache import use_shared_cache
from study.training.vector_width import prefer_wide_vectors

prefer_wide_vectors()
use_shared_cache()

# Numbers in a vector; with 16 registers of 8 or 32 of 16 numbers a tile leaves room for operands.
WIDTH = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8
TILE_ROWS, _TILE_VECTORS = (8, 2) if WIDTH == 16 else (4, 2)
TILE_COLUMNS = WIDTH * _TILE_VECTORS
_CACHE_LINE = 64


@intrinsic
def floats_at(typing_context, address):
    """Make a pointer to float32 of an address."""
    pointer = types.CPointer(types.float32)

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(pointer))

    return pointer(types.int64), generate


@intrinsic
def _multiply_tile(
    typing_context, left, row_step, column_step, panel, n_inner, bias, bias_step, out, out_step
):
    """Write a tile: TILE_ROWS rows of left times the panel, n_inner x TILE_COLUMNS, plus bias."""
    number, integer = ir.FloatType(), ir.IntType(64)
    vector = ir.VectorType(number, WIDTH)
    pointer, vector_pointer = number.as_pointer(), vector.as_pointer()

    def generate(context, builder, signature, arguments):
        left, row_step, column_step, panel, n_inner, bias, bias_step, out, out_step = arguments
        left, panel, bias, out = (
            builder.inttoptr(each, pointer) for each in (left, panel, bias, out)
        )
        fused = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{WIDTH}f32"
        )

        def broadcast(value):
            undefined = ir.Constant(vector, ir.Undefined)
            first = builder.insert_element(undefined, value, ir.IntType(32)(0))
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
            return builder.shuffle_vector(first, undefined, lanes)

        def vector_at(start, offset):
            return builder.bitcast(builder.gep(start, [offset]), vector_pointer)

        zeros = ir.Constant(vector, [0.0] * WIDTH)
        tile = [
            [cgutils.alloca_once_value(builder, zeros) for _ in range(_TILE_VECTORS)]
            for _ in range(TILE_ROWS)
        ]
        rows = [
            builder.gep(left, [builder.mul(row_step, integer(row))]) for row in range(TILE_ROWS)
        ]
        with cgutils.for_range(builder, n_inner) as loop:
            start = builder.mul(loop.index, integer(TILE_COLUMNS))
            right = [
                builder.load(
                    vector_at(panel, builder.add(start, integer(at * WIDTH))), align=4 * WIDTH
                )
                for at in range(_TILE_VECTORS)
            ]
            column = builder.mul(loop.index, column_step)
            for row, sums in zip(rows, tile, strict=True):
                element = broadcast(builder.load(builder.gep(row, [column])))
                for factor, place in zip(right, sums, strict=True):
                    builder.store(
                        builder.call(fused, [element, factor, builder.load(place)]), place
                    )
        for row, sums in enumerate(tile):
            added = builder.load(builder.gep(bias, [builder.mul(bias_step, integer(row))]))
            start = builder.mul(out_step, integer(row))
            for at, place in enumerate(sums):
                target = vector_at(out, builder.add(start, integer(at * WIDTH)))
                total = builder.fadd(builder.load(place), broadcast(added))
                builder.store(total, target, align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 9), generate


@njit
def multiply_tiles(row, zero):
    """Run a row: out = left right + bias; where there is no bias, `zero` is the address of a 0."""
    n_rows, n_columns, n_inner = row[1], row[2], row[3]
    left, row_step, column_step = row[4], row[5], row[6]
    right, right_row, right_column = row[7], row[8], row[9]
    out, bias, bias_step = row[10], row[11], 1
    if bias == 0:
        bias, bias_step = zero, 0
    scratch = np.empty(n_inner * TILE_COLUMNS + _CACHE_LINE, np.float32)
    # A part of the array, not a pointer: numba frees an array whose address alone is still used.
    start = (-scratch.ctypes.data % _CACHE_LINE) // 4
    copied = scratch[start : start + n_inner * TILE_COLUMNS]
    panel = copied.ctypes.data
    for first in range(0, n_columns, TILE_COLUMNS):
        source = floats_at(right + 4 * first * right_column)
        n_source = (n_inner - 1) * right_row + (TILE_COLUMNS - 1) * right_column + 1
        numbers = carray(source, n_source)
        if right_column == 1:
            for k in range(n_inner):
                for j in range(TILE_COLUMNS):
                    copied[k * TILE_COLUMNS + j] = numbers[k * right_row + j]
        else:
            for j in range(TILE_COLUMNS):
                for k in range(n_inner):
                    copied[k * TILE_COLUMNS + j] = numbers[j * right_column + k * right_row]
        for i in range(0, n_rows, TILE_ROWS):
            _multiply_tile(
                left + 4 * i * row_step,
                row_step,
                column_step,
                panel,
                n_inner,
                bias + 4 * i * bias_step,
                bias_step,
                out + 4 * (i * n_columns + first),
                n_columns,
            )
