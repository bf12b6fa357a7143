"""What a fitted model generates, encodes and loses on held-out points; one model at a time.

All arrays that come in and go out are float64 in data units; losses are in the units that the
network trains in (the same, unless a model standardizes).

Symbols: z latent, f(z) decoder mean, sigma^2 decoder variance, mu and s mean and standard
deviation of q(z|x), beta the weight of the KL divergence.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float64

from study.data.seeds import numpy_generator, torch_generator
from study.training.epoch import kl_per_latent
from study.training.fitted import FittedVAE
from study.training.program import ACTIVE_UNIT_VARIANCE

# Rows computed at once: the widest layer's outputs stay in a core's cache.
CHUNK_ROWS = 1_024
# Index of the stream of held-out noise, beside the training's own.
HELDOUT_NOISE = 1


def draw_means(
    fitted: FittedVAE, index: int, *, n_samples: int, sample_seed: int
) -> Float64[np.ndarray, "samples features"]:
    """Draw from the prior and decode: what the original report counted.

    Parameters
    ----------
    fitted : FittedVAE
    index : int
        Which model of the stack.
    n_samples : int
    sample_seed : int

    Returns
    -------
    ndarray of shape (n_samples, n_features)
    """
    member = fitted.members[index]
    generator = torch_generator("prior", member.data_seed, member.init_seed, sample_seed)
    latents = torch.randn(1, n_samples, fitted.vae.model.latent_dim, generator=generator)
    return _decode(fitted.select(index), latents)


def _decode(model: FittedVAE, latents: torch.Tensor) -> Float64[np.ndarray, "samples features"]:
    latents = latents.to(model.vae.device)
    parts = [model.vae.decode(latents[:, rows]) for rows in _chunks(latents.shape[1], CHUNK_ROWS)]
    return model.to_data(torch.cat(parts, dim=1))[0]


def draw_expost_means(
    fitted: FittedVAE,
    index: int,
    points: Float64[np.ndarray, "points features"],
    *,
    n_components: int,
    n_samples: int,
    sample_seed: int,
) -> Float64[np.ndarray, "samples features"]:
    """Draw from a mixture fitted to latents of points, instead of from the prior, and decode.

    Each point gives one latent, drawn from its posterior: together they are a draw of the
    aggregate posterior, which the prior was to be.

    Parameters
    ----------
    fitted : FittedVAE
    index : int
        Which model of the stack.
    points : ndarray of shape (n_points, n_features)
        Those of the training.
    n_components : int
        Gaussians with full covariances.
    n_samples : int
    sample_seed : int

    Returns
    -------
    ndarray of shape (n_samples, n_features)

    References
    ----------
    Ghosh et al., "From Variational to Deterministic Autoencoders", ICLR 2020,
    https://arxiv.org/abs/1903.12436.
    """
    from sklearn.mixture import GaussianMixture

    model, member = fitted.select(index), fitted.members[index]
    rng = numpy_generator("sampler", member.data_seed, member.init_seed, sample_seed)
    inputs = model.to_network(points[None])
    pairs = [model.vae.encode(inputs[:, rows]) for rows in _chunks(len(points), CHUNK_ROWS)]
    mu, log_variance = (
        torch.cat(part, dim=1)[0].double().cpu().numpy() for part in zip(*pairs, strict=True)
    )
    latents = mu + np.exp(log_variance / 2) * rng.standard_normal(mu.shape)
    mixture = GaussianMixture(n_components, random_state=int(rng.integers(2**31))).fit(latents)
    labels = rng.choice(n_components, n_samples, p=mixture.weights_ / mixture.weights_.sum())
    roots = np.linalg.cholesky(mixture.covariances_)
    noise = rng.standard_normal((n_samples, mu.shape[1]))
    drawn = mixture.means_[labels] + np.einsum("nij,nj->ni", roots[labels], noise)
    return _decode(model, torch.from_numpy(drawn.astype(np.float32))[None])


def draw_samples(
    fitted: FittedVAE,
    index: int,
    means: Float64[np.ndarray, "samples features"],
    *,
    sample_seed: int,
) -> Float64[np.ndarray, "samples features"]:
    """Add the decoder's noise to means: draws from the distribution that the model defines.

    Parameters
    ----------
    fitted : FittedVAE
    index : int
        Which model of the stack.
    means : ndarray of shape (n_samples, n_features)
        As `draw_means` returns.
    sample_seed : int

    Returns
    -------
    ndarray of shape (n_samples, n_features)
    """
    member = fitted.members[index]
    rng = numpy_generator("sample_noise", member.data_seed, member.init_seed, sample_seed)
    return means + np.sqrt(fitted.noise_variance[index]) * rng.standard_normal(means.shape)


def encode_points(
    fitted: FittedVAE, index: int, points: Float64[np.ndarray, "samples features"]
) -> Float64[np.ndarray, "samples latent"]:
    """Return the encoder's mean of each point.

    Parameters
    ----------
    fitted : FittedVAE
    index : int
        Which model of the stack.
    points : ndarray of shape (n_samples, n_features)

    Returns
    -------
    ndarray of shape (n_samples, latent_dim)
    """
    model = fitted.select(index)
    inputs = model.to_network(points[None])
    parts = [model.vae.encode(inputs[:, rows])[0] for rows in _chunks(len(points), CHUNK_ROWS)]
    return torch.cat(parts, dim=1)[0].double().cpu().numpy()


def active_codes(
    codes: Float64[np.ndarray, "samples latent"],
) -> Float64[np.ndarray, "samples active"]:
    """Leave out the coordinates that do not vary over the points: they carry no information.

    An unused latent's code is its prior mean up to rounding. A cloud that is flat in such a
    direction has no upper bound on its likelihood, so the number of components that fits it best
    means nothing. The threshold is that of active units (Burda et al. 2015).

    Parameters
    ----------
    codes : ndarray of shape (n_samples, latent_dim)

    Returns
    -------
    ndarray of shape (n_samples, n_active)
        The coordinate that varies most if none is active.
    """
    variance = codes.var(axis=0)
    active = variance > ACTIVE_UNIT_VARIANCE
    if not active.any():
        active = np.arange(len(variance)) == variance.argmax()
    return codes[:, active]


def heldout_losses(
    fitted: FittedVAE, index: int, points: Float64[np.ndarray, "samples features"]
) -> tuple[float, float, float]:
    """Return the loss on points that were not trained on, with one noise draw a point.

    Parameters
    ----------
    fitted : FittedVAE
    index : int
        Which model of the stack.
    points : ndarray of shape (n_samples, n_features)

    Returns
    -------
    recon : float
        Squared error summed over features, averaged over points, in the network's units.
    kl_nats : float
    loss : float
        recon + beta KL if the decoder's variance is implied, else
        D/2 log(2 pi sigma^2) + recon / (2 sigma^2) + beta KL.
    """
    model, member = fitted.select(index), fitted.members[index]
    inputs = model.to_network(points[None])
    generator = torch_generator("noise", member.data_seed, member.init_seed, HELDOUT_NOISE)
    noise = torch.randn(1, len(points), model.vae.model.latent_dim, generator=generator)
    recon = kl_nats = 0.0
    for rows in _chunks(len(points), CHUNK_ROWS):
        mu, log_variance = model.vae.encode(inputs[:, rows])
        latents = mu + (log_variance / 2).exp() * noise[:, rows].to(mu.device)
        error = model.vae.decode(latents) - inputs[:, rows]
        recon += error.double().square().sum().item() / len(points)
        kl = kl_per_latent(mu, log_variance)
        kl_nats += kl.double().sum().item() / len(points)
    loss = recon + member.kl_weight * kl_nats
    if model.vae.model.decoder_variance == "learned":
        variance = model.trained_variance[0]
        log_scale = points.shape[1] / 2 * np.log(2 * np.pi * variance)
        loss = float(log_scale + recon / (2 * variance) + member.kl_weight * kl_nats)
    return recon, kl_nats, loss


def _chunks(n_samples: int, size: int) -> Iterator[slice]:
    for start in range(0, n_samples, size):
        yield slice(start, min(start + size, n_samples))
