"""Seconds a model and share of the matrix-product floor, for ways to train a stack.

    python -m benchmarks.training [--quick]

One training at the original's settings is 208 GFLOP of matrix products; the floor is that over
this machine's rate for its largest product, 128 x 128 x 128 in float32, by PyTorch's library or as
the compiled step makes it, whichever is higher. All ways are measured in
turns, an epoch at a time, after the tenth epoch; times are of the process's CPU time on one
thread, the least of all turns.
"""

from __future__ import annotations

import argparse
import gc
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from study.config import ModelConfig, TrainingConfig
from study.training.compiled.translate import compile_operations
from study.training.fitted import Member, initial_stack
from study.training.gradients import Operation
from study.training.program import Program, flushed_denormals

MODEL, TRAINING = ModelConfig(), TrainingConfig()
N_SAMPLES, DIM, WIDTH = 10_000, 3, 128
GFLOP = 208.0
WARM_EPOCHS = 10
N_PRODUCTS = 300
FLOOR = "matrix-product floor"

Epoch = Callable[[], object]


def rows(*, quick: bool = False) -> list[dict[str, Any]]:
    """Measure all ways in one run.

    Parameters
    ----------
    quick : bool
        Two stack sizes and few turns instead of five and many; about 20 s instead of 4 minutes.

    Returns
    -------
    list of dict
        `name`, `value`, `unit`, `ratio` and what it is a `ratio_to`; the first rows are the
        machine's rates, with which the floor is computed.
    """
    torch.set_num_threads(1)
    sizes = (1, 8) if quick else (1, 4, 8, 16, 32)
    cases = _cases(sizes, compiled_sizes=() if quick or not shutil.which("g++") else (1, 16))
    seconds, rates = _measure(cases, n_turns=2 if quick else 5)
    floor_s = GFLOP / max(rates.values())
    measured: list[dict[str, Any]] = [
        {"name": f"rate of 128 x 128 x 128, {way}", "value": rate, "unit": "GFLOP/s"}
        | {"ratio": 1.0, "ratio_to": ""}
        for way, rate in rates.items()
    ]
    for name, n_models in cases:
        value = seconds[name, n_models] * TRAINING.epochs / n_models
        measured.append(
            {"name": f"{name}, stack of {n_models}", "value": value, "unit": "s/model"}
            | {"ratio": floor_s / value, "ratio_to": FLOOR}
        )
    return measured


def _cases(
    sizes: Sequence[int], *, compiled_sizes: Sequence[int]
) -> dict[tuple[str, int], Callable[[], Epoch]]:
    """Return what prepares each way to train, by its name and stack size."""
    cases: dict[tuple[str, int], Callable[[], Epoch]] = {}
    for n_models in sizes:
        cases["compiled, model after model", n_models] = lambda n=n_models: _by_hand(n, together=1)
        if n_models == 1:
            cases["operation by operation", 1] = lambda: _by_hand(1, together=1, compiled=False)
        else:
            cases["one program", n_models] = lambda n=n_models: _by_hand(n, together=n)
        cases["autograd with bmm", n_models] = lambda n=n_models: _Autograd(n).run_epoch
    for n_models in compiled_sizes:
        cases["torch.compile", n_models] = lambda n=n_models: _Autograd(n, compiled=True).run_epoch
    return cases


def _measure(
    cases: dict[tuple[str, int], Callable[[], Epoch]], *, n_turns: int
) -> tuple[dict[tuple[str, int], float], dict[str, float]]:
    """Return the seconds of an epoch by case, and rates of the largest product, in GFLOP/s."""
    epochs = {case: prepare() for case, prepare in cases.items()}
    for run_epoch in epochs.values():
        for _ in range(WARM_EPOCHS):
            run_epoch()
    best = dict.fromkeys(cases, np.inf)
    ways = _products()
    rates = dict.fromkeys(ways, 0.0)
    gc.disable()
    for _ in range(n_turns):
        for case, run_epoch in epochs.items():
            for way, products in ways.items():
                rates[way] = max(rates[way], _rate(products))
            started = time.process_time()
            run_epoch()
            best[case] = min(best[case], time.process_time() - started)
    gc.enable()
    return best, rates


def _products() -> dict[str, list[Operation]]:
    """Return ways to make the largest product N_PRODUCTS times."""
    left, right, out = (torch.rand(WIDTH, WIDTH) for _ in range(3))
    operations: list[Operation] = [partial(torch.mm, left, right, out=out)] * N_PRODUCTS
    return {"PyTorch's": operations, "compiled": compile_operations(operations)}


def _rate(products: Sequence[Operation]) -> float:
    started = time.process_time()
    for product in products:
        product()
    return N_PRODUCTS * 2 * WIDTH**3 / (time.process_time() - started) / 1e9


def _points(n_models: int) -> np.ndarray:
    return 5 * np.random.default_rng(0).standard_normal((n_models, N_SAMPLES, DIM))


def _members(n_models: int) -> tuple[Member, ...]:
    return tuple(Member(data_seed=index, init_seed=index) for index in range(n_models))


def _by_hand(n_models: int, *, together: int, compiled: bool = True) -> Epoch:
    members = _members(n_models)
    fitted = initial_stack(_points(n_models), members, model=MODEL, device="cpu")
    points = fitted.to_network(_points(n_models))
    programs = []
    for start in range(0, n_models, together):
        part = slice(start, start + together)
        vae = fitted.vae.part(start, start + together)
        programs.append(
            Program(
                vae,
                points[part],
                members[part],
                batch_size=TRAINING.batch_size,
                compiled=compiled,
            )
        )
    return lambda: [program.run_epoch() for program in programs]


class _Autograd:
    """The same training as it is usually written: autograd, batched products, fused Adam."""

    def __init__(self, n_models: int, *, compiled: bool = False) -> None:
        vae = initial_stack(
            _points(n_models), _members(n_models), model=MODEL, device="cpu"
        ).vae.parameters
        self._layers = [
            [
                [tensor.clone().requires_grad_() for tensor in (layer.weight, layer.bias)]
                for layer in half
            ]
            for half in (vae.encoder, vae.decoder)
        ]
        leaves = [leaf for half in self._layers for layer in half for leaf in layer]
        self._optimizer = torch.optim.Adam(leaves, TRAINING.learning_rate, fused=True)
        self._points = torch.tensor(_points(n_models), dtype=torch.float32)
        self._loss = torch.compile(self._eager_loss) if compiled else self._eager_loss

    def _half(self, index: int, values: Tensor) -> Tensor:
        *hidden, last = self._layers[index]
        for weight, bias in hidden:
            values = torch.baddbmm(bias, values, weight).relu()
        return torch.baddbmm(last[1], values, last[0])

    def _eager_loss(self, points: Tensor, noise: Tensor) -> Tensor:
        mu, log_variance = self._half(0, points).chunk(2, dim=-1)
        residual = self._half(1, mu + (log_variance / 2).exp() * noise) - points
        kl = 0.5 * (log_variance.exp() + mu.square() - 1 - log_variance)
        return residual.square().sum(-1).mean(1).sum() + kl.sum(-1).mean(1).sum()

    def run_epoch(self) -> None:
        n_models, n_samples, _ = self._points.shape
        shuffled = torch.stack([rows[torch.randperm(n_samples)] for rows in self._points])
        noise = torch.randn(n_models, n_samples, MODEL.latent_dim)
        ends = [*range(0, n_samples, TRAINING.batch_size), n_samples]
        with flushed_denormals():
            for start, stop in pairwise(ends):
                self._optimizer.zero_grad()
                self._loss(shuffled[:, start:stop], noise[:, start:stop]).backward()
                self._optimizer.step()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two stack sizes, few turns: 20 s")
    measured = rows(quick=parser.parse_args(argv).quick)
    for row in measured:
        share = f"{row['ratio']:8.0%} of the {row['ratio_to']}" if row["ratio_to"] else ""
        print(f"{row['name']:44s} {row['value']:8.2f} {row['unit']:8s}{share}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
