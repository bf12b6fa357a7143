"""The optimisation loop: stacks of autoencoders, trained together and independently.

A model's numbers depend on its own points, settings and seeds alone. Its random draws come from
its own streams, the loss is a sum over models, and nothing is clipped, averaged or tested across
models: on one CPU a model trained in a stack equals the same model trained alone, to the bit.

Symbols: reconstruction = squared error summed over the features, averaged over points; KL in nats;
both in the units that the network trains in (see `FittedVAE`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from study.config import ModelConfig, TrainingConfig
from study.gradients import Batch, GradientPass
from study.seeds import torch_generator
from study.vae import ParameterStack, StackedVAE

ACTIVE_UNIT_VARIANCE = 0.01
CHECKPOINT_POINTS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model of a stack: what may differ between models trained together.

    Parameters
    ----------
    data_seed, init_seed : int
        Name the random streams.
    kl_weight : float
        beta.
    learning_rate : float
    standardize : bool
    """

    data_seed: int
    init_seed: int
    kl_weight: float = 1.0
    learning_rate: float = 1e-3
    standardize: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedVAE:
    """A stack of autoencoders with what maps the units they work in to those of the data.

    The network sees (x - shift) / scale; shift is 0 and scale 1 unless a model standardizes.

    Parameters
    ----------
    vae : StackedVAE
    members : tuple of Member
    shift, scale : ndarray of shape (n_models, n_features)
    """

    vae: StackedVAE
    members: tuple[Member, ...]
    shift: Float64[np.ndarray, "models features"]
    scale: Float64[np.ndarray, "models features"]

    @property
    def decoder_variance(self) -> Float64[np.ndarray, " models"]:
        """sigma^2 of each model, in the units that the network trains in."""
        kl_weights = torch.tensor([m.kl_weight for m in self.members], dtype=torch.float64)
        return self.vae.decoder_variances(kl_weights).cpu().numpy()

    @property
    def noise_variance(self) -> Float64[np.ndarray, "models features"]:
        """Variance of p(x|z) along each axis, in data units."""
        return self.decoder_variance[:, None] * self.scale**2

    @property
    def log_volume(self) -> Float64[np.ndarray, " models"]:
        """Sum of log scale: entropy in data units minus entropy in the network's units."""
        return np.log(self.scale).sum(axis=1)

    def to_network(
        self, points: Float64[np.ndarray, "models samples features"]
    ) -> Float32[Tensor, "models samples features"]:
        """Return points in the network's units, on its device."""
        scaled = (points - self.shift[:, None]) / self.scale[:, None]
        return torch.as_tensor(scaled.astype(np.float32), device=self.vae.device)

    def to_data(
        self, values: Float32[Tensor, "models samples features"]
    ) -> Float64[np.ndarray, "models samples features"]:
        """Return values of the network in data units."""
        return values.double().cpu().numpy() * self.scale[:, None] + self.shift[:, None]

    def state(self, index: int) -> dict[str, np.ndarray]:
        """Return everything that is needed to draw from one model again.

        Parameters
        ----------
        index : int
            Position in the stack.

        Returns
        -------
        dict of str to ndarray
            The network's parameters, ``shift`` and ``scale``.
        """
        units = {"shift": self.shift[index].copy(), "scale": self.scale[index].copy()}
        return self.vae.state(index) | units


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


CheckpointCallback = Callable[[Checkpoint, FittedVAE], object]


class EpochBuffers:
    """One epoch of every model: shuffled points, noise, and what the batches leave behind.

    Parameters
    ----------
    points : Tensor of shape (n_models, n_samples, n_features)
        In the network's units.
    members : sequence of Member
    latent_dim, batch_size : int

    Attributes
    ----------
    batches : list of Batch
        Views of the buffers, the same in every epoch.
    """

    def __init__(
        self, points: Tensor, members: Sequence[Member], *, latent_dim: int, batch_size: int
    ) -> None:
        device = points.device
        n_models, n_samples, dim = points.shape
        self._points = points
        self._shuffled = torch.empty_like(points)
        self._noise = torch.empty(n_models, n_samples, latent_dim, device=device)
        self._streams = [
            tuple(
                torch_generator(purpose, member.data_seed, member.init_seed, device=device)
                for purpose in ("shuffle", "noise")
            )
            for member in members
        ]
        n_full, n_last = divmod(n_samples, batch_size)
        sizes = [batch_size] * n_full + [n_last] * (n_last > 0)
        self.batches = [
            Batch(
                points=points_part,
                noise=noise_part,
                heads=torch.empty(n_models, size, 2 * latent_dim, device=device),
                residual=torch.empty(n_models, size, dim, device=device),
            )
            for size, points_part, noise_part in zip(
                sizes, self._shuffled.split(sizes, 1), self._noise.split(sizes, 1), strict=True
            )
        ]

    def draw(self) -> None:
        """Shuffle the points and draw the noise of the next epoch, for each model by itself."""
        for index, (shuffle, noise) in enumerate(self._streams):
            order = torch.randperm(
                self._points.shape[1], generator=shuffle, device=self._points.device
            )
            torch.index_select(self._points[index], 0, order, out=self._shuffled[index])
            self._noise[index].normal_(generator=noise)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return reconstruction and KL of the epoch just done, averaged over its points.

        Returns
        -------
        recon, kl_nats : ndarray of shape (n_models,)
        """
        recon = [batch.residual.square().sum(dim=(1, 2)) for batch in self.batches]
        kl = [kl_per_latent(batch.heads).sum(dim=(1, 2)) for batch in self.batches]
        n_samples = self._points.shape[1]
        return _sum_batches(recon) / n_samples, _sum_batches(kl) / n_samples


def kl_per_latent(
    heads: Float32[Tensor, "models samples heads"],
) -> Float32[Tensor, "models samples latent"]:
    """Return KL(q(z_j|x) || N(0, 1)) of each point and latent coordinate.

    Parameters
    ----------
    heads : Tensor of shape (n_models, n_samples, 2 latent_dim)
        mu and log variance side by side.

    Returns
    -------
    Tensor of shape (n_models, n_samples, latent_dim)
        In nats.
    """
    mu, log_variance = heads.chunk(2, dim=-1)
    return 0.5 * (log_variance.exp() + mu.square() - 1 - log_variance)


def _sum_batches(parts: Sequence[Tensor]) -> np.ndarray:
    # One batch after the other in float64: the order must not depend on the number of models.
    stacked = torch.stack(list(parts)).double().cpu().numpy()
    return np.cumsum(stacked, axis=0)[-1]


def train(
    points: Float64[np.ndarray, "models samples features"],
    members: Sequence[Member],
    *,
    model: ModelConfig,
    training: TrainingConfig,
    device: torch.device | str = "cpu",
    on_checkpoint: CheckpointCallback | None = None,
) -> TrainedStack:
    """Train a stack of autoencoders.

    Runs under the caller's number of threads; one is fastest, and the only one for which results
    are independent of the stack to the bit.

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
    on_checkpoint : callable, optional
        Called at each checkpoint with the record and the stack as it stands.

    Returns
    -------
    TrainedStack

    Raises
    ------
    ValueError
        If there are no models or points, their numbers disagree, or a point is not finite.
    """
    _check_points(points, members)
    fitted = _initial_stack(points, members, model=model, device=device)
    with torch.no_grad():
        return _Training(fitted, points, training, on_checkpoint).run()


def _check_points(points: np.ndarray, members: Sequence[Member]) -> None:
    if points.ndim != 3 or 0 in points.shape or len(points) != len(members):
        raise ValueError(
            f"points must have shape (n_models, n_samples, n_features) for {len(members)} models, "
            f"none of them 0; got {points.shape}"
        )
    if not np.isfinite(points).all():
        raise ValueError("points must be finite; remove NaN and infinity before training")


def _initial_stack(
    points: np.ndarray,
    members: Sequence[Member],
    *,
    model: ModelConfig,
    device: torch.device | str,
) -> FittedVAE:
    dim = points.shape[2]
    vae = StackedVAE(model, n_models=len(members), dim=dim, device=device)
    vae.initialize([(member.data_seed, member.init_seed) for member in members])
    units = [
        (part.mean(axis=0), part.std(axis=0))
        if member.standardize
        else (np.zeros(dim), np.ones(dim))
        for part, member in zip(points, members, strict=True)
    ]
    shift, scale = (np.stack(column) for column in zip(*units, strict=True))
    if not np.all(scale > 0):
        raise ValueError("standardize needs points that vary along every axis; one is constant")
    return FittedVAE(vae=vae, members=tuple(members), shift=shift, scale=scale)


class _Training:
    """The state of one call of `train`."""

    def __init__(
        self,
        fitted: FittedVAE,
        points: np.ndarray,
        training: TrainingConfig,
        on_checkpoint: CheckpointCallback | None,
    ) -> None:
        self._fitted = fitted
        self._training = training
        self._on_checkpoint = on_checkpoint
        vae, members = fitted.vae, fitted.members
        self._points = fitted.to_network(points)
        self._buffers = EpochBuffers(
            self._points,
            members,
            latent_dim=vae.model.latent_dim,
            batch_size=training.batch_size,
        )
        kl_weights = torch.tensor([m.kl_weight for m in members], device=vae.device)
        self._pass = GradientPass(vae, kl_weights)
        rates = [member.learning_rate for member in members]
        self._optimizer = adam(vae.parameters, self._pass.gradients, rates)
        self._recon = np.full((len(members), training.epochs), np.nan)
        self._kl = np.full((len(members), training.epochs), np.nan)
        self._diverged_epoch = np.zeros(len(members), dtype=np.int64)
        self._checkpoints: list[Checkpoint] = []

    def run(self) -> TrainedStack:
        started = time.monotonic()
        limit_s = 60 * (self._training.timeout_min or np.inf)
        wanted = checkpoint_epochs(self._training)
        epoch, timed_out = 0, False
        for epoch in range(1, self._training.epochs + 1):
            self._run_epoch(epoch)
            if epoch in wanted:
                self._record_checkpoint(epoch)
            timed_out = epoch < self._training.epochs and time.monotonic() - started > limit_s
            if timed_out or self._diverged_epoch.all():
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
        self._buffers.draw()
        for batch in self._buffers.batches:
            self._pass.compute(batch)
            self._optimizer.step()
        recon, kl_nats = self._buffers.means()
        self._recon[:, epoch - 1], self._kl[:, epoch - 1] = recon, kl_nats
        finite = np.isfinite(recon) & np.isfinite(kl_nats) & self._parameters_finite()
        self._diverged_epoch[~finite & (self._diverged_epoch == 0)] = epoch

    def _parameters_finite(self) -> np.ndarray:
        shares = self._fitted.vae.parameters.shares.values()
        finite = [torch.isfinite(share).all(dim=1) for share in shares]
        return torch.stack(finite).all(dim=0).cpu().numpy()

    def _record_checkpoint(self, epoch: int) -> None:
        active_units, kl_nats = _latent_usage(self._fitted.vae, self._points)
        checkpoint = Checkpoint(
            epoch=epoch,
            recon=self._recon[:, epoch - 1].copy(),
            kl_nats=self._kl[:, epoch - 1].copy(),
            active_units=active_units,
            kl_per_latent=kl_nats,
        )
        self._checkpoints.append(checkpoint)
        if self._on_checkpoint is not None:
            self._on_checkpoint(checkpoint, self._fitted)


def checkpoint_epochs(training: TrainingConfig) -> frozenset[int]:
    """Return the epochs at whose end a checkpoint is recorded.

    Parameters
    ----------
    training : TrainingConfig

    Returns
    -------
    frozenset of int
        Counted from 1; always holds the last epoch.

    Examples
    --------
    >>> sorted(checkpoint_epochs(TrainingConfig(epochs=25, checkpoints=10)))
    [10, 20, 25]
    """
    wanted = training.checkpoints
    if isinstance(wanted, int):
        wanted = tuple(range(wanted, training.epochs + 1, wanted))
    return frozenset((*wanted, training.epochs))


def _latent_usage(vae: StackedVAE, points: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return active units (n_models,) and KL per latent (n_models, latent_dim)."""
    mu, log_variance = vae.encode(points[:, :CHECKPOINT_POINTS])
    kl = kl_per_latent(torch.cat((mu, log_variance), dim=-1))
    # Model by model, in float64: the order of a sum must not depend on the stack.
    with np.errstate(invalid="ignore", over="ignore"):
        variance = np.stack([m.var(axis=0) for m in mu.double().cpu().numpy()])
        kl_nats = np.stack([m.mean(axis=0) for m in kl.double().cpu().numpy()])
    return (variance > ACTIVE_UNIT_VARIANCE).sum(axis=1), kl_nats


def adam(
    parameters: ParameterStack, gradients: ParameterStack, learning_rates: Sequence[float]
) -> torch.optim.Adam:
    """Return Adam over a stack's parameters, with each model's own learning rate.

    Neighbours with equal rates are updated together; each model's share of a parameter is padded,
    so the vectorized update rounds alike however they are grouped.

    Parameters
    ----------
    parameters, gradients : ParameterStack
        Of one layout; the gradients are read at every step.
    learning_rates : sequence of float
        One a model.

    Returns
    -------
    torch.optim.Adam
    """
    groups = []
    start = 0
    for rate, run in groupby(learning_rates):
        stop = start + len(list(run))
        pairs = _model_range(parameters, gradients, start, stop)
        for values, grad in pairs:
            values.grad = grad
        groups.append({"params": [values for values, _ in pairs], "lr": rate})
        start = stop
    return torch.optim.Adam(groups, fused=True)


def _model_range(
    parameters: ParameterStack, gradients: ParameterStack, start: int, stop: int
) -> list[tuple[Tensor, Tensor]]:
    """Return flat views of parameters and gradients of some neighbours, as few as possible."""
    if stop - start == len(next(iter(parameters.shares.values()))):
        return [(parameters.flat.view(-1), gradients.flat)]
    return [
        (values[start:stop].view(-1), gradients.shares[name][start:stop].view(-1))
        for name, values in parameters.shares.items()
    ]
