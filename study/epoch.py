"""One epoch of a stack: shuffled points, noise, and the running means of its losses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from study.fitted import Member
from study.gradients import Batch
from study.seeds import torch_generator


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
        self.batches: list[Batch] = []
        self._kept: list[tuple[Tensor, Tensor]] = []
        n_full, n_last = divmod(n_samples, batch_size)
        for n_batches, size in ((n_full, batch_size), (int(n_last > 0), n_last)):
            # What batches leave behind lies batch by batch, because outputs must be contiguous.
            heads = torch.empty(n_batches, n_models, size, 2 * latent_dim, device=device)
            residual = torch.empty(n_batches, n_models, size, dim, device=device)
            self._kept.append((heads, residual))
            for kept in zip(heads, residual, strict=True):
                part = slice(len(self.batches) * batch_size, len(self.batches) * batch_size + size)
                inputs = (self._shuffled[:, part], self._noise[:, part])
                self.batches.append(Batch(*inputs, *kept))

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
        # Sums over several axes may run in another order when there is one model: flatten first.
        recon = [residual.square().flatten(2).sum(dim=2) for _, residual in self._kept]
        kl = [kl_per_latent(heads).flatten(2).sum(dim=2) for heads, _ in self._kept]
        n_samples = self._points.shape[1]
        return _sum_batches(recon) / n_samples, _sum_batches(kl) / n_samples


def kl_per_latent(heads: Float32[Tensor, "... heads"]) -> Float32[Tensor, "... latent"]:
    """Return KL(q(z_j|x) || N(0, 1)) of each point and latent coordinate.

    Parameters
    ----------
    heads : Tensor of shape (..., 2 latent_dim)
        mu and log variance side by side.

    Returns
    -------
    Tensor of shape (..., latent_dim)
        In nats.
    """
    mu, log_variance = (part.contiguous() for part in heads.chunk(2, dim=-1))
    return 0.5 * (log_variance.exp() + mu.square() - 1 - log_variance)


def _sum_batches(parts: Sequence[Tensor]) -> np.ndarray:
    # One batch after the other in float64: the order must not depend on the number of models.
    by_batch = torch.cat(list(parts)).double().cpu().numpy()  # (n_batches, n_models)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.cumsum(by_batch, axis=0)[-1]
