"""Adam over a stack against torch.optim.Adam on each model."""

from __future__ import annotations

import pytest
import torch

from study.training.adam import StackedAdam


@pytest.mark.parametrize("rates", [(1e-3, 1e-3), (1e-3, 5e-3), (1e-3, 5e-3, 1e-3)])
def test_adam_is_torchs_for_each_model(rates: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(len(rates), 48, generator=generator)
    gradients = torch.zeros_like(values)
    singles = [torch.nn.Parameter(row.clone()) for row in values]
    optimizers = [torch.optim.Adam([p], rate) for p, rate in zip(singles, rates, strict=True)]
    stacked = StackedAdam(values, gradients, rates)
    for _ in range(20):
        gradients.copy_(torch.randn(gradients.shape, generator=generator))
        for single, row in zip(singles, gradients, strict=True):
            single.grad = row.clone()
        stacked.step()
        for optimizer in optimizers:
            optimizer.step()
    for single, row in zip(singles, values, strict=True):
        torch.testing.assert_close(row, single.data, rtol=0, atol=1e-6)
