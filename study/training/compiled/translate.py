"""The steps of one model on a CPU, compiled: PyTorch's arithmetic without its calls.

A list of operations becomes a table, a row for each, that one compiled loop goes through. A row
computes what its operation computes, bit for bit, which is checked rather than assumed: the first
time that a shape occurs in a process, operation and row run on the same random numbers in the
operation's own memory. Where they differ, or a processor or a build has another way, the operation
stays as it is; where several rows would do, the quickest is taken. So what is trained never
depends on what was compiled.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from study.training.compiled.interpreter import (
    ADD,
    ADDCMUL,
    AFFINE,
    EXP,
    MUL,
    PRODUCT,
    RELU,
    RELU_BACKWARD,
    ROW_SIZE,
    ROW_SUMS,
    STAMP,
    SUB,
    SYMBOLS,
    TILES,
    compile_rows,
)
from study.training.compiled.matmul import TILE_COLUMNS, TILE_ROWS
from study.training.gradients import Operation, relu, relu_backward

# Tried beside ordinary numbers.
_EXTREMES = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1e38, -1e38, 100.0)
# Which of an operation's rows to take, if any, by what was tried.
_chosen: dict[tuple[object, ...], int | None] = {}
_TIMED_TURNS, _TIMED_CALLS = 3, 10


@cache
def _run_rows() -> Callable[[np.ndarray], None] | None:
    """Compile the loop over rows; None where PyTorch's library lacks what it calls."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        library = ctypes.CDLL(str(path))
        addresses = [ctypes.cast(getattr(library, name), ctypes.c_void_p) for name in SYMBOLS]
    except (OSError, AttributeError):
        return None
    for name, address in zip(SYMBOLS.values(), addresses, strict=True):
        llvmlite.binding.add_symbol(name, address.value)
    run: Callable[[np.ndarray], None] = compile_rows(STAMP)
    return run


@dataclass(frozen=True, slots=True)
class CompiledRows:
    """Some operations as one call.

    Parameters
    ----------
    run : callable
        Of the table.
    table : ndarray of shape (n_operations, ROW_SIZE)
    operations : tuple of callable
        What was compiled: it owns the memory that the table points to.
    """

    run: Callable[[np.ndarray], None]
    table: Int64[np.ndarray, "operations numbers"]
    operations: tuple[Operation, ...]

    def __call__(self) -> None:
        """Run the operations in order."""
        self.run(self.table)


def compile_operations(operations: Sequence[Operation]) -> list[Operation]:
    """Put neighbours that can be compiled into one call each.

    Parameters
    ----------
    operations : sequence of callable
        Their tensors must stay where they are. Those of one model are compiled; what is not
        recognised is kept.

    Returns
    -------
    list of callable
        Rows that do the same in the same order, bit for bit.
    """
    run = _run_rows()
    if run is None:
        return list(operations)
    compiled: list[Operation] = []
    rows: list[list[int]] = []
    pending: list[Operation] = []

    def finish() -> None:
        if rows:
            table = np.array(rows, dtype=np.int64)
            compiled.append(CompiledRows(run, table, tuple(pending)))
            rows.clear()
            pending.clear()

    for operation in operations:
        row = _agreeing_row(operation, run)
        if row is None:
            finish()
            compiled.append(operation)
        else:
            rows.append(row)
            pending.append(operation)
    finish()
    return compiled


def _agreeing_row(operation: Operation, run: Callable[[np.ndarray], None]) -> list[int] | None:
    """Return the quickest row that gives an operation's bits, None if there is none."""
    if not isinstance(operation, partial) or operation.func not in _ENCODERS:
        return None
    inputs, out = _operands(operation)
    tensors = [*inputs, out]
    if len(inputs) < len(operation.args):  # numbers among them
        return None
    if any(tensor.dtype != torch.float32 or not tensor.numel() for tensor in tensors):
        return None
    encoded = [encode(operation, inputs, out) for encode in _ENCODERS[operation.func]]
    rows = [numbers + [0] * (ROW_SIZE - len(numbers)) for numbers in encoded if numbers]
    # Addresses themselves do not matter, their place in a cache line does.
    key = (operation.func, torch.get_num_threads(), *((row[0], row[-1]) for row in rows))
    for tensor in tensors:
        key += (*tensor.shape, *tensor.stride(), tensor.data_ptr() % 64, tensor is out)
    if key not in _chosen:
        _chosen[key] = _choose(operation, [partial(run, np.array([row])) for row in rows])
    chosen = _chosen[key]
    return None if chosen is None else rows[chosen]


def _choose(operation: partial[object], ways: Sequence[Operation]) -> int | None:
    """Return the index of the quickest way to compute an operation's bits, leaving its memory."""
    inputs, out = _operands(operation)
    tensors = [*inputs, out]
    kept = [tensor.clone() for tensor in tensors]
    try:
        agreeing = [
            index
            for index, way in enumerate(ways)
            if all(_agrees(tensors, operation, way, fill) for fill in (_fill, *_SPECIAL_FILLS))
        ]
        if len(agreeing) < 2:
            return agreeing[0] if agreeing else None
        _fill(tensors)
        return min(agreeing, key=lambda index: _seconds(ways[index]))
    finally:
        for tensor, before in zip(tensors, kept, strict=True):
            tensor.copy_(before)


def _agrees(
    tensors: Sequence[Tensor],
    operation: Operation,
    way: Operation,
    fill: Callable[[Sequence[Tensor]], None],
) -> bool:
    """Return whether both leave the same bits in the last tensor; every NaN is one."""
    results = []
    for compute in (operation, way):
        fill(tensors)
        compute()
        results.append(tensors[-1].clone())
    first, second = results
    same = first.view(torch.int32) == second.view(torch.int32)
    return bool((same | (first.isnan() & second.isnan())).all())


def _fill(tensors: Sequence[Tensor], extremes: Sequence[float] = ()) -> None:
    generator = torch.Generator().manual_seed(0)
    for tensor in tensors:
        numbers = torch.randn(tensor.numel(), generator=generator)
        for offset, extreme in enumerate(extremes):
            numbers[offset :: 3 * len(extremes)] = extreme
        tensor.copy_(numbers.view(tensor.shape))


def _fill_with_zeros(tensors: Sequence[Tensor]) -> None:
    """Let every product of two neighbours be a negative zero."""
    for index, tensor in enumerate(tensors):
        tensor.fill_(-0.0 if index % 2 else 0.0)


_SPECIAL_FILLS = (partial(_fill, extremes=_EXTREMES), _fill_with_zeros)


def _seconds(way: Operation) -> float:
    turns = []
    for _ in range(_TIMED_TURNS):
        started = time.perf_counter()
        for _ in range(_TIMED_CALLS):
            way()
        turns.append(time.perf_counter() - started)
    return min(turns)


def _operands(operation: partial[object]) -> tuple[list[Tensor], Tensor]:
    """Return what an operation reads and where it writes."""
    keywords = operation.keywords
    out: Tensor = keywords["grad_input"] if "grad_input" in keywords else keywords["out"]
    return [value for value in operation.args if isinstance(value, Tensor)], out


def _encode_product(
    operation: partial[object], inputs: Sequence[Tensor], out: Tensor
) -> list[int] | None:
    """Encode out = left right + bias, which by columns is out' = right' left' + bias'."""
    *bias, left, right = inputs
    if not all(tensor.is_contiguous() for tensor in (*bias, out)):
        return None
    if bias and bias[0].shape != (len(out), 1):
        return None
    first, second = _storage(right), _storage(left)
    if first is None or second is None:
        return None
    (n_rows, n_inner), n_columns = left.shape, right.shape[1]
    sizes = [first[0], second[0], n_columns, n_rows, n_inner]
    places = [right.data_ptr(), first[1], left.data_ptr(), second[1], out.data_ptr(), n_columns]
    if bias:
        return [AFFINE, *sizes, *places, bias[0].data_ptr()]
    return [PRODUCT, *sizes, *places]


def _encode_tiles(
    operation: partial[object], inputs: Sequence[Tensor], out: Tensor
) -> list[int] | None:
    """Encode the same product by whole tiles."""
    *bias, left, right = inputs
    (n_rows, n_inner), n_columns = left.shape, right.shape[1]
    if n_rows % TILE_ROWS or n_columns % TILE_COLUMNS or 1 not in right.stride():
        return None
    if not all(tensor.is_contiguous() for tensor in (*bias, out)):
        return None
    if bias and bias[0].shape != (n_rows, 1):
        return None
    places = [left.data_ptr(), *left.stride(), right.data_ptr(), *right.stride(), out.data_ptr()]
    return [TILES, n_rows, n_columns, n_inner, *places, bias[0].data_ptr() if bias else 0]


def _storage(matrix: Tensor) -> tuple[int, int] | None:
    """Return whether a matrix is stored by columns, and how far its rows or columns lie apart."""
    (n_rows, n_columns), (row, column) = matrix.shape, matrix.stride()
    # The library refuses a distance that is too small, as views of width 1 can have.
    if column == 1:
        return (0, row) if row >= n_columns else None
    return (1, column) if row == 1 and column >= n_rows else None


def _encode_vector(
    code: int, operation: partial[object], inputs: Sequence[Tensor], out: Tensor
) -> list[int] | None:
    """Encode what runs through memory from end to end: the last input is read, out is written."""
    if not all(t.is_contiguous() and t.shape == out.shape for t in (*inputs, out)):
        return None
    return [code, out.numel(), inputs[-1].data_ptr(), out.data_ptr()]


def _encode_relu_backward(
    operation: partial[object], inputs: Sequence[Tensor], out: Tensor
) -> list[int] | None:
    in_place = inputs[0].data_ptr() == out.data_ptr()
    return _encode_vector(RELU_BACKWARD, operation, inputs, out) if in_place else None


def _encode_row_sums(
    operation: partial[object], inputs: Sequence[Tensor], out: Tensor
) -> list[int] | None:
    (numbers,) = inputs
    if operation.keywords.get("dim") != 2 or numbers.shape[:-1] != out.shape or len(out) != 1:
        return None
    if not numbers.is_contiguous() or not out.is_contiguous():
        return None
    return [ROW_SUMS, *numbers.shape[1:], numbers.data_ptr(), out.data_ptr()]


def _encode_elements(
    code: int, operation: partial[object], inputs: Sequence[Tensor], out: Tensor
) -> list[int] | None:
    if out.dim() != 3 or len(out) != 1:
        return None
    places = [[t.data_ptr(), *t.expand_as(out).stride()[1:]] for t in (out, *inputs)]
    numbers = [code, *out.shape[1:], *(number for place in places for number in place)]
    value = np.float32(operation.keywords.get("value", 1.0)).view(np.int32)
    return [*numbers, *[0] * (ROW_SIZE - 1 - len(numbers)), int(value)]


_Encoder = Callable[[partial[object], Sequence[Tensor], Tensor], list[int] | None]
_ENCODERS: dict[Any, tuple[_Encoder, ...]] = {
    torch.mm: (_encode_product, _encode_tiles),
    torch.addmm: (_encode_product, _encode_tiles),
    torch.sum: (_encode_row_sums,),
    torch.exp: (partial(_encode_vector, EXP),),
    torch.mul: (partial(_encode_elements, MUL),),
    torch.add: (partial(_encode_elements, ADD),),
    torch.sub: (partial(_encode_elements, SUB),),
    torch.addcmul: (partial(_encode_elements, ADDCMUL),),
    relu: (partial(_encode_vector, RELU),),
    relu_backward: (_encode_relu_backward,),
}
