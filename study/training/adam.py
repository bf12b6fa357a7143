"""Adam over a stack's parameters, with each model's own learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from jaxtyping import Float32
from torch import Tensor


class StackedAdam:
    """Adam over a stack's parameters, with each model's own learning rate.

    The arithmetic is torch.optim.Adam's, by its fused kernel, without its bookkeeping at every
    step, which takes longer than the arithmetic for a stack of one. Neighbours with equal rates
    are updated together.

    Parameters
    ----------
    values, gradients : Tensor of shape (n_models, n_numbers)
        The gradients are read at every step.
    learning_rates : sequence of float
        One a model.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", https://arxiv.org/abs/1412.6980
    """

    def __init__(
        self,
        values: Float32[Tensor, "models numbers"],
        gradients: Float32[Tensor, "models numbers"],
        learning_rates: Sequence[float],
    ) -> None:
        state = (values, gradients, torch.zeros_like(values), torch.zeros_like(values))
        # On the parameters' device, so that a CUDA graph can count.
        self._n_steps = torch.zeros((), device=values.device)
        self._one = torch.ones((), device=values.device)
        self._groups: list[tuple[float, list[list[Tensor]]]] = []
        start = 0
        for rate, run in groupby(learning_rates):
            stop = start + len(list(run))
            self._groups.append((rate, [[part[start:stop].view(-1)] for part in state]))
            start = stop

    def step(self) -> None:
        """Update the parameters by the gradients as they are now."""
        self._n_steps.add_(self._one)
        for rate, (values, gradients, means, squares) in self._groups:
            torch._fused_adam_(
                values,
                gradients,
                means,
                squares,
                [],
                [self._n_steps],
                lr=rate,
                beta1=0.9,
                beta2=0.999,
                weight_decay=0.0,
                eps=1e-8,
                amsgrad=False,
                maximize=False,
            )
