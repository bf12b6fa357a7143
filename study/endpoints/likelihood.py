"""The log density of points under a trained model, with its own error.

Symbols: x a point, z latents, w importance weights p(x, z) / proposal(z).

With one latent coordinate the integral over z is done by quadrature
(`study.endpoints.quadrature`), with more by importance sampling (`study.endpoints.importance`).
Everything is computed on a CPU, in double precision, and drawn from streams of the model's own
seeds: the numbers depend on the model and the points alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from torch import Tensor

from study.endpoints.decoder import Decoder
from study.endpoints.importance import integrate
from study.endpoints.posterior import Joint
from study.endpoints.quadrature import quadrature_log_prob
from study.training.fitted import FittedVAE


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDensity:
    """Log densities of points, in nats and in data units, with what is known of their error.

    Parameters
    ----------
    log_prob : ndarray of shape (n_samples,)
    standard_error : ndarray of shape (n_samples,)
        Of the Monte Carlo, in nats; 0 by quadrature.
    ess : ndarray of shape (n_samples,)
        Effective number of draws; infinite by quadrature.
    met : ndarray of shape (n_samples,)
        Whether a point's importance weights met the diagnostics; true by quadrature.
    """

    log_prob: Float64[np.ndarray, " samples"]
    standard_error: Float64[np.ndarray, " samples"]
    ess: Float64[np.ndarray, " samples"]
    met: Bool[np.ndarray, " samples"]


def log_density(
    fitted: FittedVAE, index: int, points: Float64[np.ndarray, "samples features"]
) -> LogDensity:
    """Integrate a model's density of each point over the latents, by the better of two ways.

    Parameters
    ----------
    fitted : FittedVAE
    index : int
        Which model of the stack.
    points : ndarray of shape (n_samples, n_features)

    Returns
    -------
    LogDensity
    """
    way = exact_log_density if fitted.vae.model.latent_dim == 1 else sampled_log_density
    return way(fitted, index, points)


def exact_log_density(
    fitted: FittedVAE, index: int, points: Float64[np.ndarray, "samples features"]
) -> LogDensity:
    """Integrate over a single latent coordinate by quadrature.

    Parameters
    ----------
    fitted : FittedVAE
    index : int
        Which model of the stack.
    points : ndarray of shape (n_samples, n_features)

    Returns
    -------
    LogDensity

    Raises
    ------
    ValueError
        If the model has more than one latent coordinate.
    """
    n_latents = fitted.vae.model.latent_dim
    if n_latents != 1:
        raise ValueError(f"quadrature needs model.latent_dim = 1; got {n_latents}")
    model = fitted.select(index)
    variance = float(model.decoder_variance[0])
    values = quadrature_log_prob(Decoder(model), _inputs(model, points).numpy(), variance)
    return LogDensity(
        log_prob=values - model.log_volume[0],
        standard_error=np.zeros(len(points)),
        ess=np.full(len(points), np.inf),
        met=np.ones(len(points), dtype=bool),
    )


def sampled_log_density(
    fitted: FittedVAE, index: int, points: Float64[np.ndarray, "samples features"]
) -> LogDensity:
    """Integrate over any number of latent coordinates by importance sampling.

    Parameters
    ----------
    fitted : FittedVAE
    index : int
        Which model of the stack.
    points : ndarray of shape (n_samples, n_features)

    Returns
    -------
    LogDensity
    """
    model, member = fitted.select(index), fitted.members[index]
    mu, log_variance = model.vae.encode(model.to_network(points[None]))
    found = integrate(
        Joint(Decoder(model), float(model.decoder_variance[0])),
        _inputs(model, points),
        mu[0].double().cpu(),
        (log_variance[0].double().cpu() / 2).exp(),
        seeds=(member.data_seed, member.init_seed),
    )
    return LogDensity(
        log_prob=found.log_prob - model.log_volume[0],
        standard_error=found.standard_error,
        ess=found.ess,
        met=found.met,
    )


def _inputs(model: FittedVAE, points: np.ndarray) -> Float64[Tensor, "samples features"]:
    """Return points as the network sees them: in its units, rounded as its inputs are."""
    return model.to_network(points[None])[0].double().cpu()
