"""Models that are computed together: on a CPU one at a time, on a GPU the whole stack.

A model's parameters, Adam's state and activations fit a CPU core's cache together; a second
model's do not, and nothing is gained by it: the products are large enough. It also makes every
model's numbers independent of its stack, whatever the linear algebra library does. A GPU needs
hundreds of models at once to be busy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from study.training.adam import StackedAdam
from study.training.compiled.translate import compile_operations
from study.training.epoch import EpochBuffers, kl_per_latent
from study.training.fitted import Member
from study.training.gradients import GradientPass, Operation
from study.training.memory import CHECKPOINT_POINTS
from study.training.vae import StackedVAE

ACTIVE_UNIT_VARIANCE = 0.01
# Encoded together at a checkpoint, so that their activations take little memory.
CHECKPOINT_MODELS = 64


def models_per_program(device: torch.device, n_models: int) -> int:
    """Return how many models of a stack are computed together.

    Parameters
    ----------
    device : torch.device
    n_models : int
        Models in the stack.
    """
    return 1 if device.type == "cpu" else n_models


class Program:
    """The training of some models as one list of operations.

    Parameters
    ----------
    vae : StackedVAE
        Trained in place.
    points : Tensor of shape (n_models, n_samples, n_features)
        In the network's units.
    members : sequence of Member
    batch_size : int
    compiled : bool
        Compile on a CPU what can be; the numbers are the same.
    """

    def __init__(
        self,
        vae: StackedVAE,
        points: Float32[Tensor, "models samples features"],
        members: Sequence[Member],
        *,
        batch_size: int,
        compiled: bool = True,
    ) -> None:
        self._vae = vae
        self._sample = points[:, :CHECKPOINT_POINTS].clone()
        self._buffers = EpochBuffers(
            points, members, latent_dim=vae.model.latent_dim, batch_size=batch_size
        )
        kl_weights = torch.tensor([member.kl_weight for member in members], device=vae.device)
        gradient_pass = GradientPass(vae, kl_weights)
        adam = StackedAdam(
            vae.parameters.flat,
            gradient_pass.gradients.flat,
            [member.learning_rate for member in members],
        )
        operations: list[Operation] = []
        for batch in self._buffers.batches:
            operations += [*gradient_pass.operations(batch), adam.step]
        self._run_steps = (
            CPUSteps(operations, compiled=compiled)
            if vae.device.type == "cpu"
            else GraphedSteps(operations)
        )

    def run_epoch(self) -> tuple[np.ndarray, np.ndarray]:
        """Train for one epoch.

        Returns
        -------
        recon, kl_nats : ndarray of shape (n_models,)
            Means over the epoch's points; not finite for a model that has diverged.
        """
        self._buffers.draw()
        self._run_steps()
        recon, kl_nats = self._buffers.means()
        finite = torch.isfinite(self._vae.parameters.flat).all(dim=1).cpu().numpy()
        return np.where(finite, recon, np.nan), kl_nats

    def latent_usage(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how the latent coordinates are used on the first training points.

        Returns
        -------
        active_units : ndarray of shape (n_models,)
            Coordinates whose posterior mean varies by more than 0.01.
        kl_per_latent : ndarray of shape (n_models, latent_dim)
            In nats, averaged over the points.
        """
        n_models = len(self._sample)
        starts = range(0, n_models, CHECKPOINT_MODELS)
        usage = [self._usage(start, min(start + CHECKPOINT_MODELS, n_models)) for start in starts]
        active_units, kl_nats = (
            torch.cat(parts).cpu().numpy() for parts in zip(*usage, strict=True)
        )
        return active_units, kl_nats

    def _usage(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        mu, log_variance = self._vae.part(start, stop).encode(self._sample[start:stop])
        variance = mu.double().var(dim=1, correction=0)
        kl_nats = kl_per_latent(mu, log_variance).double().mean(dim=1)
        return (variance > ACTIVE_UNIT_VARIANCE).sum(dim=1), kl_nats


class CPUSteps:
    """The steps of an epoch on a CPU, in a few compiled calls where that is possible.

    Parameters
    ----------
    operations : sequence of callable
        Of every batch of an epoch.
    compiled : bool
    """

    def __init__(self, operations: Sequence[Operation], *, compiled: bool) -> None:
        with flushed_denormals():
            self._operations = compile_operations(operations) if compiled else operations

    def __call__(self) -> None:
        """Run the steps."""
        with flushed_denormals():
            for operation in self._operations:
                operation()


class GraphedSteps:
    """The steps of an epoch as one CUDA graph: one launch instead of thousands.

    The first epoch runs operation by operation, on a stream of its own, which is the warm-up that
    a capture asks for; the second is recorded and replayed from then on. All tensors stay where
    they are, so the graph reads each epoch's points and noise from the same buffers.

    Parameters
    ----------
    operations : sequence of callable
        Of every batch of an epoch.

    References
    ----------
    "Accelerating PyTorch with CUDA Graphs",
    https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._warm = False
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Run the steps."""
        if self._graph is None and self._warm:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._run()
        if self._graph is None:
            self._warm_up()
        else:
            self._graph.replay()

    def _warm_up(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._run()
        torch.cuda.current_stream().wait_stream(stream)
        self._warm = True

    def _run(self) -> None:
        for operation in self._operations:
            operation()


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Round the smallest numbers to 0 on this thread.

    Adam's momentum of a dead unit shrinks by a tenth a step and would stay in the range of
    denormal numbers for good after some 800 steps; arithmetic on those takes up to twice as long.
    """
    was_flushed = (torch.tensor(1e-38) / 10 == 0).item()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(bool(was_flushed))
