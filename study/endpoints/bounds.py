"""What theory says of any variational autoencoder on a known truth: bounds and closed forms.

Symbols: D data dimensions, h the differential entropy of the truth (nats), beta the weight of the
KL term, rec the mean squared error summed over the D axes, KL the mean divergence of the encoder
from the prior (nats). The loss is rec + beta KL; it is the negative evidence lower bound of a
decoder with variance beta / 2, times beta and shifted:

    loss / beta = -ELBO - (D / 2) log(pi beta).

h, rec and the loss must be in the same units. A model trained on points that were divided by a
scale sees the entropy of `entropy_after_scaling`.

References
----------
Alemi et al. 2018, "Fixing a Broken ELBO", https://arxiv.org/abs/1711.00464 (rate and distortion).
Lucas et al. 2019, "Don't Blame the ELBO!", https://arxiv.org/abs/1911.02469 (linear case).
Rybkin et al. 2021, "Simple and Effective VAE Training with Calibrated Decoders",
https://arxiv.org/abs/2006.13202 (learned variance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64


def entropy_after_scaling(entropy_nats: float, scale: Float[np.ndarray, " features"]) -> float:
    """Return the entropy of x / scale from the entropy of x.

    Parameters
    ----------
    entropy_nats : float
    scale : ndarray of shape (n_features,)
        What each axis is divided by.

    Returns
    -------
    float
        In nats.

    Raises
    ------
    ValueError
        If a scale is not positive.
    """
    if not np.all(scale > 0):
        raise ValueError(f"scale must be positive on every axis; the smallest is {scale.min()}")
    return entropy_nats - float(np.log(scale).sum())


def forward_kl(
    model_log_prob: Float[np.ndarray, " samples"], truth_log_prob: Float[np.ndarray, " _"]
) -> float:
    """Estimate KL(truth || model) from both log densities at the same held-out points.

    The same points matter: the entropy's sampling error is common to both terms and cancels. A
    model density that is an importance-weighted lower bound makes the estimate an upper bound.

    Parameters
    ----------
    model_log_prob, truth_log_prob : ndarray of shape (n_samples,)
        In nats, both densities in the same units of the data.

    Returns
    -------
    float
        Nats per sample; infinite if the model excludes a point.

    Raises
    ------
    ValueError
        If the two do not have one value for each point, or there is no point.
    """
    if model_log_prob.shape != truth_log_prob.shape or truth_log_prob.size == 0:
        raise ValueError(
            "model_log_prob and truth_log_prob must hold one value for each held-out point; "
            f"got shapes {model_log_prob.shape} and {truth_log_prob.shape}"
        )
    return float(np.mean(truth_log_prob.astype(np.float64) - model_log_prob))


def rate_bound(entropy_nats: float, recon: float, *, dim: int) -> float:
    """Return Shannon's lower bound on the KL term at a given squared error.

    Parameters
    ----------
    entropy_nats : float
        h of the truth.
    recon : float
        Mean squared error, summed over axes, at least 0.
    dim : int
        D.

    Returns
    -------
    float
        h - (D / 2) log(2 pi e rec / D), in nats; negative where it says nothing, infinite at
        rec = 0.

    Raises
    ------
    ValueError
        If recon is negative.
    """
    if recon < 0:
        raise ValueError(f"recon must be at least 0 (a mean squared error); got {recon}")
    if recon == 0:
        return math.inf
    return entropy_nats - 0.5 * dim * math.log(2 * math.pi * math.e * recon / dim)


def loss_floor(entropy_nats: float, kl_weight: float, *, dim: int) -> float:
    """Return the loss below which no encoder and decoder can go, with decoder variance beta / 2.

    Parameters
    ----------
    entropy_nats : float
        h of the truth.
    kl_weight : float
        beta, positive.
    dim : int
        D.

    Returns
    -------
    float
        beta (h - (D / 2) log(pi beta)), in the loss's units (squared data units).

    Raises
    ------
    ValueError
        If kl_weight is not positive.
    """
    _check_kl_weight(kl_weight)
    return kl_weight * (entropy_nats - 0.5 * dim * math.log(math.pi * kl_weight))


def learned_variance_loss_floor(entropy_nats: float, kl_weight: float) -> float:
    """Return the floor of -log N(x; decoder, sigma^2) + beta KL when sigma^2 is learned.

    The best sigma^2 leaves a + beta KL with a = (D / 2) log(2 pi e rec / D), and KL is at least
    both 0 and h - a. From beta = 1 on, the smallest value is h; below 1 a vanishing error beats
    any rate that it costs, so there is no floor.

    Parameters
    ----------
    entropy_nats : float
        h of the truth.
    kl_weight : float
        beta, positive.

    Returns
    -------
    float
        In nats; minus infinity for beta < 1.

    Raises
    ------
    ValueError
        If kl_weight is not positive.
    """
    _check_kl_weight(kl_weight)
    return entropy_nats if kl_weight >= 1 else -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearOptimum:
    """The best that a linear variational autoencoder can do on given data.

    Parameters
    ----------
    recon : float
        Mean squared error, summed over axes.
    kl_nats : float
        Mean KL, summed over latents.
    kl_per_latent : ndarray of shape (latent_dim,)
        In nats, largest first; 0 for an unused latent.
    loss : float
        recon + beta kl_nats.
    active_units : int
        Latents with positive KL.
    log_likelihood : float
        Mean log density of the fitted Gaussian, nats per sample.
    """

    recon: float
    kl_nats: float
    kl_per_latent: Float64[np.ndarray, " latents"]
    loss: float
    active_units: int
    log_likelihood: float


def linear_optimum(
    eigenvalues: Float[np.ndarray, " features"], *, latent_dim: int, kl_weight: float
) -> LinearOptimum:
    """Solve the linear variational autoencoder exactly: reverse water-filling.

    With t = beta / 2, each of the latent_dim largest eigenvalues above t is coded down to the
    error t at the rate (1/2) log(lambda / t); all others are left out. The implied Gaussian is
    probabilistic PCA with noise variance t, and the evidence lower bound is tight.

    Parameters
    ----------
    eigenvalues : ndarray of shape (n_features,)
        Of the data's covariance, positive, in any order.
    latent_dim : int
        q, at least 1.
    kl_weight : float
        beta, positive.

    Returns
    -------
    LinearOptimum

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """
    _check_kl_weight(kl_weight)
    if latent_dim < 1:
        raise ValueError(f"latent_dim must be at least 1; got {latent_dim}")
    if not np.all(eigenvalues > 0):
        raise ValueError(f"eigenvalues must be positive; the smallest is {eigenvalues.min()}")
    noise = kl_weight / 2
    descending = np.sort(eigenvalues.astype(np.float64))[::-1]
    coded = descending[:latent_dim]
    active = coded[coded > noise]
    kl_per_latent = np.zeros(latent_dim)
    kl_per_latent[: active.size] = 0.5 * np.log(active / noise)
    recon = float(active.size * noise + descending[active.size :].sum())
    kl_nats = float(kl_per_latent.sum())
    loss = recon + kl_weight * kl_nats
    return LinearOptimum(
        recon=recon,
        kl_nats=kl_nats,
        kl_per_latent=kl_per_latent,
        loss=loss,
        active_units=int(active.size),
        log_likelihood=-loss / kl_weight - 0.5 * descending.size * math.log(math.pi * kl_weight),
    )


def collapse_kl_weight(eigenvalues: Float[np.ndarray, " features"]) -> float:
    """Return the beta from which on ignoring the latents is a stable solution: 2 lambda_1.

    Exact for the linear model; for a nonlinear one a statement about small perturbations only.

    Parameters
    ----------
    eigenvalues : ndarray of shape (n_features,)
        Of the data's covariance.

    Returns
    -------
    float
    """
    return 2 * float(np.max(eigenvalues))


def _check_kl_weight(kl_weight: float) -> None:
    if not kl_weight > 0:
        raise ValueError(f"kl_weight must be positive; got {kl_weight}")
