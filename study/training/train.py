"""The optimisation loop: stacks of autoencoders, trained together and independently.

A model's numbers depend on its own points, settings and seeds alone. Its random draws come from
its own streams, the loss is a sum over models, and nothing is clipped, averaged or tested across
models: on one CPU a model trained in a stack equals the same model trained alone, bit for bit.

Symbols: reconstruction = squared error summed over the features, averaged over points; KL in nats;
both in the units that the network trains in (see `study.training.fitted`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64

from study.config import ModelConfig, TrainingConfig, checkpoint_epochs
from study.training.device import require_memory
from study.training.fitted import FittedVAE, Member, initial_stack
from study.training.memory import bytes_per_model
from study.training.program import Program, models_per_program


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is recorded of a stack at the end of some epochs.

    Parameters
    ----------
    epoch : int
        Epochs done.
    recon, kl_nats : ndarray of shape (n_models,)
        Means over the epoch just done.
    active_units : ndarray of shape (n_models,)
        Latent coordinates whose posterior mean varies over the training points by more than 0.01
        (Burda et al. 2015).
    kl_per_latent : ndarray of shape (n_models, latent_dim)
        In nats, averaged over the training points.

    References
    ----------
    Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders",
    https://arxiv.org/abs/1509.00519
    """

    epoch: int
    recon: Float64[np.ndarray, " models"]
    kl_nats: Float64[np.ndarray, " models"]
    active_units: Int64[np.ndarray, " models"]
    kl_per_latent: Float64[np.ndarray, "models latent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedStack:
    """A trained stack and its history.

    Parameters
    ----------
    fitted : FittedVAE
    train_recon, train_kl_nats : ndarray of shape (n_models, n_epochs)
        Running means of each epoch, weighted by batch size; NaN for epochs that were not run.
    checkpoints : tuple of Checkpoint
    diverged_epoch : ndarray of shape (n_models,)
        First epoch (from 1) with a NaN or infinity; 0 for a model that is fine.
    n_epochs_done : int
    timed_out : bool
        Whether training stopped at its time limit.
    """

    fitted: FittedVAE
    train_recon: Float64[np.ndarray, "models epochs"]
    train_kl_nats: Float64[np.ndarray, "models epochs"]
    checkpoints: tuple[Checkpoint, ...]
    diverged_epoch: Int64[np.ndarray, " models"]
    n_epochs_done: int
    timed_out: bool


# What is sent back: true to end the training here.
Steps = Generator[tuple[Checkpoint, FittedVAE], bool | None, TrainedStack]


def train(
    points: Float64[np.ndarray, "models samples features"],
    members: Sequence[Member],
    *,
    model: ModelConfig,
    training: TrainingConfig,
    device: torch.device | str = "cpu",
    on_checkpoint: Callable[[Checkpoint, FittedVAE], object] | None = None,
) -> TrainedStack:
    """Train a stack of autoencoders.

    Parameters
    ----------
    points, members, model, training, device
        As in `train_checkpoints`.
    on_checkpoint : callable, optional
        Called at each checkpoint with the record and the stack as it stands.

    Returns
    -------
    TrainedStack

    Raises
    ------
    ValueError
        As in `train_checkpoints`.
    """
    steps = train_checkpoints(points, members, model=model, training=training, device=device)
    while True:
        try:
            checkpoint, fitted = next(steps)
        except StopIteration as stop:
            trained: TrainedStack = stop.value
            return trained
        if on_checkpoint is not None:
            on_checkpoint(checkpoint, fitted)


def train_checkpoints(
    points: Float64[np.ndarray, "models samples features"],
    members: Sequence[Member],
    *,
    model: ModelConfig,
    training: TrainingConfig,
    device: torch.device | str = "cpu",
) -> Steps:
    """Train a stack of autoencoders, pausing at every checkpoint.

    Runs under the caller's number of threads; one is fastest, and the only one for which results
    are independent of the stack, bit for bit. A model that diverges keeps its place and touches no
    other; training ends early when all have diverged or the time limit has passed (time spent
    paused does not count), or when true is sent in answer to a checkpoint.

    Parameters
    ----------
    points : ndarray of shape (n_models, n_samples, n_features)
        Training points of each model, in data units.
    members : sequence of Member
        What differs between the models.
    model : ModelConfig
    training : TrainingConfig
        Its epochs, batch_size, checkpoints and timeout_min; the rest comes from `members`.
    device : torch.device or str

    Yields
    ------
    checkpoint : Checkpoint
    fitted : FittedVAE
        The stack as it stands: it changes when the generator goes on.

    Returns
    -------
    TrainedStack

    Raises
    ------
    ValueError
        If there are no models or points, their numbers disagree, or a point is not finite.
    torch.OutOfMemoryError
        If the stack does not fit into the device's memory: train its halves.
    """
    _check_points(points, members)
    n_models, n_samples, dim = points.shape
    needed_bytes = bytes_per_model(
        model, dim=dim, n_samples=n_samples, batch_size=training.batch_size
    )
    require_memory(n_models, needed_bytes, torch.device(device))
    fitted = initial_stack(points, members, model=model, device=device)
    return (yield from _Training(fitted, points, training).run())


def _check_points(points: np.ndarray, members: Sequence[Member]) -> None:
    if points.ndim != 3 or 0 in points.shape or len(points) != len(members):
        raise ValueError(
            f"points must have shape (n_models, n_samples, n_features) for {len(members)} models, "
            f"none of them 0; got {points.shape}"
        )
    if not np.isfinite(points).all():
        raise ValueError("points must be finite; remove NaN and infinity before training")


class _Training:
    """The state of one training."""

    def __init__(self, fitted: FittedVAE, points: np.ndarray, training: TrainingConfig) -> None:
        self._fitted = fitted
        self._training = training
        self._programs = _programs(fitted, points, training.batch_size)
        shape = (len(fitted.members), training.epochs)
        self._recon, self._kl = np.full(shape, np.nan), np.full(shape, np.nan)
        self._diverged_epoch = np.zeros(len(fitted.members), dtype=np.int64)
        self._checkpoints: list[Checkpoint] = []

    def run(self) -> Steps:
        limit_s = 60 * (self._training.timeout_min or np.inf)
        wanted = checkpoint_epochs(self._training)
        spent_s, epoch, timed_out, stopped = 0.0, 0, False, None
        for epoch in range(1, self._training.epochs + 1):
            started = time.monotonic()
            self._run_epoch(epoch)
            spent_s += time.monotonic() - started
            if epoch in wanted:
                stopped = yield self._record_checkpoint(epoch), self._fitted
            timed_out = epoch < self._training.epochs and spent_s > limit_s
            if stopped or timed_out or self._diverged_epoch.all():
                break
        return TrainedStack(
            fitted=self._fitted,
            train_recon=self._recon,
            train_kl_nats=self._kl,
            checkpoints=tuple(self._checkpoints),
            diverged_epoch=self._diverged_epoch,
            n_epochs_done=epoch,
            timed_out=timed_out,
        )

    def _run_epoch(self, epoch: int) -> None:
        means = [program.run_epoch() for program in self._programs]
        recon, kl_nats = (np.concatenate(parts) for parts in zip(*means, strict=True))
        self._recon[:, epoch - 1], self._kl[:, epoch - 1] = recon, kl_nats
        finite = np.isfinite(recon) & np.isfinite(kl_nats)
        self._diverged_epoch[~finite & (self._diverged_epoch == 0)] = epoch

    def _record_checkpoint(self, epoch: int) -> Checkpoint:
        usage = [program.latent_usage() for program in self._programs]
        active_units, kl_nats = (np.concatenate(parts) for parts in zip(*usage, strict=True))
        checkpoint = Checkpoint(
            epoch=epoch,
            recon=self._recon[:, epoch - 1].copy(),
            kl_nats=self._kl[:, epoch - 1].copy(),
            active_units=active_units,
            kl_per_latent=kl_nats,
        )
        self._checkpoints.append(checkpoint)
        return checkpoint


def _programs(fitted: FittedVAE, points: np.ndarray, batch_size: int) -> list[Program]:
    vae, members = fitted.vae, fitted.members
    network_points = fitted.to_network(points)
    size = models_per_program(vae.device, len(members))
    return [
        Program(
            vae.part(start, start + size),
            network_points[start : start + size],
            members[start : start + size],
            batch_size=batch_size,
        )
        for start in range(0, len(members), size)
    ]
