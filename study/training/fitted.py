"""A stack of autoencoders together with the units that its data come in.

The network sees (x - shift) / scale. Shift is 0 and scale 1 unless a model standardizes, so that
losses, the decoder's variance and beta all refer to the units that the network trains in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from study.config import ModelConfig
from study.training.vae import StackedVAE


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
    noise_variance : float or None
        Of the decoder in what is generated and scored, in the network's units; None takes the
        trained one.
    """

    data_seed: int
    init_seed: int
    kl_weight: float = 1.0
    learning_rate: float = 1e-3
    standardize: bool = False
    noise_variance: float | None = None


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
        """sigma^2 of what each model generates, in the units that the network trains in."""
        given = [member.noise_variance for member in self.members]
        return np.array(
            [
                trained if noise is None else noise
                for trained, noise in zip(self.trained_variance.tolist(), given, strict=True)
            ]
        )

    @property
    def trained_variance(self) -> Float64[np.ndarray, " models"]:
        """sigma^2 that each model was trained with, in the units that the network trains in."""
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
        # Copied into PyTorch's own memory, which is aligned: products round by address.
        return torch.tensor(scaled.astype(np.float32), device=self.vae.device)

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

    def select(self, index: int) -> FittedVAE:
        """Return a copy of one model as a stack of one.

        Parameters
        ----------
        index : int
            Position in the stack.

        Returns
        -------
        FittedVAE
        """
        return load_fitted(
            self.vae.model, self.members[index : index + 1], [self.state(index)], self.vae.device
        )


def load_fitted(
    model: ModelConfig,
    members: Sequence[Member],
    states: Sequence[Mapping[str, np.ndarray]],
    device: torch.device | str = "cpu",
) -> FittedVAE:
    """Rebuild a stack from the states of its models.

    Parameters
    ----------
    model : ModelConfig
        The shape that the states have.
    members : sequence of Member
    states : sequence of mapping of str to ndarray
        One for each model, as `FittedVAE.state` returns.
    device : torch.device or str

    Returns
    -------
    FittedVAE
        Equal to the one the states were taken from.

    Raises
    ------
    ValueError
        If a state does not have the shape of the model.
    """
    shift, scale = (np.stack([state[name] for state in states]) for name in ("shift", "scale"))
    vae = StackedVAE(model, n_models=len(members), dim=shift.shape[1], device=device)
    vae.load_states(states)
    return FittedVAE(vae=vae, members=tuple(members), shift=shift, scale=scale)


def initial_stack(
    points: Float64[np.ndarray, "models samples features"],
    members: Sequence[Member],
    *,
    model: ModelConfig,
    device: torch.device | str,
) -> FittedVAE:
    """Return an untrained stack, in the units of its training points.

    Parameters
    ----------
    points : ndarray of shape (n_models, n_samples, n_features)
        In data units.
    members : sequence of Member
    model : ModelConfig
    device : torch.device or str

    Returns
    -------
    FittedVAE

    Raises
    ------
    ValueError
        If a model standardizes points that do not vary along some axis.
    """
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
