"""Compiled steps against the operations that they stand for."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from study.config import ModelConfig
from study.training.compiled import translate as compiled_steps
from study.training.compiled.interpreter import PRODUCT, ROW_SIZE, SUB, TILES
from study.training.compiled.matmul import TILE_COLUMNS, TILE_ROWS
from study.training.compiled.translate import CompiledRows, compile_operations
from study.training.fitted import Member, initial_stack
from study.training.gradients import ACTIVATION_PAIRS, Operation, relu, relu_backward
from study.training.program import Program, flushed_denormals

SMALL = ModelConfig(hidden=(16, 8))
CASES: dict[str, tuple[ModelConfig, int, int]] = {
    "original": (ModelConfig(), 300, 128),
    "one latent, one layer": (ModelConfig(hidden=(64,), latent_dim=1), 300, 128),
    "no hidden layer": (ModelConfig(hidden=()), 100, 32),
    "odd sizes": (ModelConfig(hidden=(32, 17), latent_dim=3), 200, 77),
    "last batch of one": (SMALL, 129, 64),
    "large batches": (SMALL, 1_500, 1_000),
    "learned variance": (replace(SMALL, decoder_variance="learned"), 100, 32),
    **{name: (replace(SMALL, activation=name), 100, 32) for name in ACTIVATION_PAIRS},
}
# PyTorch's builds for these have the library that compiled steps call, and add up rows as they do.
IS_COMPILED = platform.system() == "Linux" and platform.machine() == "x86_64"
IS_COMPILED &= torch.backends.cpu.get_cpu_capability().startswith("AVX")
needs_library = pytest.mark.skipif(not IS_COMPILED, reason="needs PyTorch with MKL, and AVX2")


def _trained(
    model: ModelConfig, n_samples: int, batch_size: int, *, compiled: bool
) -> tuple[Tensor, list[tuple[np.ndarray, np.ndarray]]]:
    points = 3 * np.random.default_rng(0).standard_normal((1, n_samples, 3))
    members = [Member(data_seed=0, init_seed=1, kl_weight=1.3)]
    fitted = initial_stack(points, members, model=model, device="cpu")
    program = Program(
        fitted.vae, fitted.to_network(points), members, batch_size=batch_size, compiled=compiled
    )
    losses = [program.run_epoch() for _ in range(3)]
    return fitted.vae.parameters.flat, losses


@pytest.mark.parametrize("case", CASES)
def test_training_is_the_same_to_the_bit(case: str) -> None:
    parameters, losses = _trained(*CASES[case], compiled=True)
    expected, expected_losses = _trained(*CASES[case], compiled=False)
    assert torch.equal(parameters, expected)
    np.testing.assert_array_equal(losses, expected_losses)


def _tensors(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def _layer() -> tuple[list[Operation], Tensor]:
    bias, weight, values, before, after, sums = _tensors(
        (24, 1), (24, 16), (16, 40), (1, 24, 40), (1, 24, 40), (1, 24)
    )
    operations: list[Operation] = [
        partial(torch.addmm, bias, weight, values, out=before[0]),
        partial(relu, before, out=after),
        partial(torch.sum, after, dim=2, out=sums),
    ]
    return operations, sums


@needs_library
def test_neighbours_become_one_call() -> None:
    operations, sums = _layer()
    for operation in operations:
        operation()
    expected = sums.clone()
    compiled = compile_operations(operations)
    assert [type(operation) for operation in compiled] == [CompiledRows]
    del operations  # the call keeps the memory that it writes to
    sums.zero_()
    compiled[0]()
    assert torch.equal(sums, expected)


@needs_library
def test_the_original_step_is_one_call_and_adam() -> None:
    points = np.random.default_rng(0).standard_normal((1, 300, 3))
    members = [Member(data_seed=0, init_seed=0)]
    fitted = initial_stack(points, members, model=ModelConfig(), device="cpu")
    program = Program(fitted.vae, fitted.to_network(points), members, batch_size=128)
    operations = program._run_steps._operations
    assert [isinstance(each, CompiledRows) for each in operations] == [True, False] * 3


def _codes(operations: Sequence[Operation]) -> list[int]:
    return [
        code for each in operations if isinstance(each, CompiledRows) for code in each.table[:, 0]
    ]


@needs_library
@pytest.mark.parametrize("code", [PRODUCT, TILES])
def test_the_quickest_of_several_rows_is_taken(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_steps, "_chosen", {})
    turns = iter([1.0, 2.0] if code == PRODUCT else [2.0, 1.0])
    monkeypatch.setattr(compiled_steps, "_seconds", lambda way: next(turns))
    left, right, out = _tensors((TILE_ROWS, 7), (7, TILE_COLUMNS), (TILE_ROWS, TILE_COLUMNS))
    assert _codes(compile_operations([partial(torch.mm, left, right, out=out)])) == [code]


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "by rows": lambda matrix: matrix,
    "by columns": lambda matrix: matrix.T.contiguous().T,
    "a part of wider rows": lambda matrix: torch.cat([matrix, matrix], 1)[:, : matrix.shape[1]],
}


@needs_library
@pytest.mark.parametrize("n_inner", [1, 3, 128])
@pytest.mark.parametrize("left_layout", LAYOUTS)
@pytest.mark.parametrize("right_layout", LAYOUTS)
@pytest.mark.parametrize("with_bias", [False, True])
def test_tiles_are_the_product(
    n_inner: int, left_layout: str, right_layout: str, with_bias: bool
) -> None:
    n_rows, n_columns = 3 * TILE_ROWS, 2 * TILE_COLUMNS
    bias, left, right, out = _tensors(
        (n_rows, 1), (n_rows, n_inner), (n_inner, n_columns), (n_rows, n_columns)
    )
    inputs = [LAYOUTS[left_layout](left), LAYOUTS[right_layout](right)]
    expected = left.double() @ right.double() + (bias.double() if with_bias else 0)
    inputs = [bias, *inputs] if with_bias else inputs
    operation = partial(torch.addmm if with_bias else torch.mm, *inputs, out=out)
    row = compiled_steps._encode_tiles(operation, inputs, out)
    assert row is not None
    table = np.array([row + [0] * (ROW_SIZE - len(row))])
    run = compiled_steps._run_rows()
    assert run is not None
    run(table)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)


def test_what_is_not_whole_tiles_has_none() -> None:
    for n_rows, n_columns in ((TILE_ROWS - 1, TILE_COLUMNS), (TILE_ROWS, TILE_COLUMNS + 1)):
        left, right, out = _tensors((n_rows, 7), (7, n_columns), (n_rows, n_columns))
        operation = partial(torch.mm, left, right, out=out)
        assert compiled_steps._encode_tiles(operation, [left, right], out) is None


def test_what_is_not_recognised_stays_in_its_place() -> None:
    operations, _ = _layer()
    calls: list[str] = []
    operations.insert(1, partial(calls.append, "between"))
    compiled = compile_operations(operations)
    assert operations[1] in compiled[1:-1]
    for operation in compiled:
        operation()
    assert calls == ["between"]


def _encode_subtraction(
    operation: partial[object], inputs: Sequence[Tensor], out: Tensor
) -> list[int] | None:
    return compiled_steps._encode_elements(SUB, operation, inputs, out)


@needs_library
def test_an_operation_with_other_bits_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_steps, "_chosen", {})
    first, second, out = _tensors((1, 2, 5), (1, 2, 5), (1, 2, 5))
    operation = partial(torch.add, first, second, out=out)
    assert type(compile_operations([operation])[0]) is CompiledRows
    monkeypatch.setattr(compiled_steps, "_chosen", {})
    monkeypatch.setitem(compiled_steps._ENCODERS, torch.add, (_encode_subtraction,))
    assert compile_operations([operation]) == [operation]


UNENCODABLE: dict[str, Callable[[Tensor, Tensor], Operation]] = {
    "a number as factor": lambda x, out: partial(torch.mul, x, 0.5, out=out),
    "a number added": lambda x, out: partial(torch.add, x, 1.0, out=out),
    "sums over columns": lambda x, out: partial(torch.sum, x, dim=1, out=out[:, 0]),
}


@pytest.mark.parametrize("name", UNENCODABLE)
def test_an_operation_without_a_row_is_kept(name: str) -> None:
    operation = UNENCODABLE[name](*_tensors((1, 9, 5), (1, 9, 5)))
    assert compile_operations([operation]) == [operation]


def test_compiling_changes_no_number_and_draws_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_steps, "_chosen", {})
    tensors = _tensors((1, 3, 20), (1, 3, 20), (1, 1, 1))
    kept, state = [tensor.clone() for tensor in tensors], torch.get_rng_state()
    compile_operations([partial(torch.addcmul, *tensors, value=2, out=tensors[0])])
    assert all(torch.equal(*pair) for pair in zip(tensors, kept, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_without_the_library_operations_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_steps._run_rows.cache_clear()
    monkeypatch.setattr(compiled_steps, "SYMBOLS", {"no_such_symbol": "study_none"})
    try:
        operations, _ = _layer()
        assert compile_operations(operations) == operations
    finally:
        compiled_steps._run_rows.cache_clear()


EXTREMES = torch.tensor([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1e38, -2.0])
ELEMENTWISE: dict[str, Callable[[Tensor, Tensor], Operation]] = {
    "relu": lambda x, out: partial(relu, x, out=out),
    "relu_backward": lambda x, out: partial(relu_backward, out, x, grad_input=out),
    "exp": lambda x, out: partial(torch.exp, x, out=out),
    "mul": lambda x, out: partial(torch.mul, x, x.flip(2), out=out),
    "addcmul": lambda x, out: partial(torch.addcmul, x, x, x.flip(2), value=0.5, out=out),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_extreme_numbers_are_treated_alike(name: str) -> None:
    inputs = EXTREMES.repeat(4).view(1, 4, 10)
    results = []
    for compiled in (False, True):
        out = _tensors((1, 4, 10))[0]
        operations = [ELEMENTWISE[name](inputs, out)]
        with flushed_denormals():
            for operation in compile_operations(operations) if compiled else operations:
                operation()
        results.append(out)
    first, second = results
    assert torch.equal(first.isnan(), second.isnan())
    bits = [result.nan_to_num(nan=7.0).view(torch.int32) for result in results]
    assert torch.equal(*bits)
