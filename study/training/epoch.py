"""One epoch of some models: shuffled points, noise, and the running means of its losses.

What batches read and leave behind has its samples last: rows of features then fill the vector
registers and products with few features or latent coordinates are several times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from study.data.seeds import torch_generator
from study.training.fitted import Member


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of every model: what goes in and what is kept of it.

    Parameters
    ----------
    points : Tensor of shape (n_models, n_features, n_samples)
    noise : Tensor of shape (n_models, latent_dim, n_samples)
        Standard normal.
    heads : Tensor of shape (n_models, 2 latent_dim, n_samples)
        Written: mu, then log variance. Contiguous.
    residual : Tensor of shape (n_models, n_features, n_samples)
        Written: f(z) - x. Contiguous.
    """

    points: Float32[Tensor, "models features samples"]
    noise: Float32[Tensor, "models latent samples"]
    heads: Float32[Tensor, "models heads samples"]
    residual: Float32[Tensor, "models features samples"]


class EpochBuffers:
    """One epoch of some models: shuffled points, noise, and what the batches leave behind.

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
        self,
        points: Float32[Tensor, "models samples features"],
        members: Sequence[Member],
        *,
        latent_dim: int,
        batch_size: int,
    ) -> None:
        device = points.device
        n_models, n_samples, dim = points.shape
        self._points = points.transpose(1, 2).contiguous()
        self._shuffled = torch.empty_like(self._points)
        self._noise = torch.empty(n_models, latent_dim, n_samples, device=device)
        self._streams = [
            tuple(
                torch_generator(purpose, member.data_seed, member.init_seed, device=device)
                for purpose in ("shuffle", "noise")
            )
            for member in members
        ]
        self.batches: list[Batch] = []
        self._kept: list[tuple[Tensor, Tensor]] = []
        n_full, n_last = divmod(n_samples, batch_size)
        for n_batches, size in ((n_full, batch_size), (int(n_last > 0), n_last)):
            # What batches leave behind lies batch by batch, because outputs must be contiguous.
            heads = torch.empty(n_batches, n_models, 2 * latent_dim, size, device=device)
            residual = torch.empty(n_batches, n_models, dim, size, device=device)
            self._kept.append((heads, residual))
            for kept in zip(heads, residual, strict=True):
                part = slice(len(self.batches) * batch_size, len(self.batches) * batch_size + size)
                inputs = (self._shuffled[..., part], self._noise[..., part])
                self.batches.append(Batch(*inputs, *kept))

    def draw(self) -> None:
        """Shuffle the points and draw the noise of the next epoch, for each model by itself."""
        for index, (_, noise) in enumerate(self._streams):
            self._noise[index].normal_(generator=noise)
        if self._points.device.type == "cpu":
            for index, (shuffle, _) in enumerate(self._streams):
                order = torch.randperm(self._points.shape[2], generator=shuffle)
                torch.index_select(self._points[index], 1, order, out=self._shuffled[index])
        else:
            self._shuffle_by_keys()

    def _shuffle_by_keys(self) -> None:
        """Shuffle with one kernel a model and one sort for all: launches are what a GPU minds."""
        keys = torch.empty(self._points[:, 0].shape, device=self._points.device)
        for key, (shuffle, _) in zip(keys, self._streams, strict=True):
            key.uniform_(generator=shuffle)
        order = keys.argsort(dim=1)[:, None].expand_as(self._points)
        torch.gather(self._points, 2, order, out=self._shuffled)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return reconstruction and KL of the epoch just done, averaged over its points.

        Returns
        -------
        recon, kl_nats : ndarray of shape (n_models,)
        """
        recon = [residual.square().flatten(2).sum(dim=2) for _, residual in self._kept]
        kl = [
            kl_per_latent(*heads.chunk(2, dim=2)).flatten(2).sum(dim=2) for heads, _ in self._kept
        ]
        n_samples = self._points.shape[2]
        return _sum_batches(recon) / n_samples, _sum_batches(kl) / n_samples


def kl_per_latent(
    mu: Float32[Tensor, "*shape"], log_variance: Float32[Tensor, "*shape"]
) -> Float32[Tensor, "*shape"]:
    """Return KL(q(z_j|x) || N(0, 1)) of each point and latent coordinate.

    Parameters
    ----------
    mu, log_variance : Tensor
        Of q(z|x); of one shape.

    Returns
    -------
    Tensor
        In nats, of the same shape.
    """
    mu, log_variance = mu.contiguous(), log_variance.contiguous()
    return 0.5 * (log_variance.exp() + mu.square() - 1 - log_variance)


def _sum_batches(parts: Sequence[Tensor]) -> np.ndarray:
    # One batch after the other, in float64.
    by_batch = torch.cat(list(parts)).double().cpu().numpy()  # (n_batches, n_models)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.cumsum(by_batch, axis=0)[-1]
