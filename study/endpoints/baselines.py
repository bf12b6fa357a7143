"""What every measure says of generators that learn nothing, or everything.

Four point sets stand in for a model's samples, each as large as they are: a fresh draw of the
*truth*, the best a model can be; one *gaussian* with the mean and covariance of the training
points; *ppca*, probabilistic principal components with two latent dimensions, the best linear
autoencoder; and *kde*, the training points with noise, which remembers and does not generalise.

The noise of *kde* is Scott's factor n^(-1 / (D + 4)) times the standard deviation within the true
components, axis by axis. Scott's rule on the whole cloud would take the distance between the
components for spread (1.6 on the original's data, wider than the components) and blur them.

References
----------
Scott, "Multivariate Density Estimation", Wiley 1992.
Tipping, Bishop, "Probabilistic Principal Component Analysis", JRSS-B 1999,
https://doi.org/10.1111/1467-9868.00196
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from study.config import DetectionConfig
from study.data.data_set import DataSet
from study.data.seeds import numpy_generator
from study.detection.counting import count_possible
from study.endpoints.further import Generated, compute_endpoints
from study.endpoints.scores import LIKELIHOOD_POINTS, Row, score_likelihood, score_points
from study.results.endpoints import BASELINE_ENDPOINTS, further_endpoints
from study.results.tables import reference_protocol

FloatArray = np.ndarray

PPCA_DIM = 2
_CHUNK_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class NullModel:
    """A generator and its density.

    Parameters
    ----------
    name : str
        "truth", "gaussian", "ppca" or "kde".
    draw : callable
        (n_samples, rng) to points of shape (n_samples, n_features).
    log_prob : callable
        Points to log densities, nats.
    """

    name: str
    draw: Callable[[int, np.random.Generator], FloatArray]
    log_prob: Callable[[FloatArray], FloatArray]


def fit_nulls(data: DataSet) -> Iterator[NullModel]:
    """Fit the four null models to a data set's training points.

    Parameters
    ----------
    data : DataSet

    Yields
    ------
    NullModel
    """
    truth, points = data.truth, data.training
    yield NullModel(
        name="truth", draw=lambda n, rng: truth.sample(n, rng)[0], log_prob=truth.log_prob
    )
    mean, covariance = points.mean(axis=0), np.atleast_2d(np.cov(points.T, bias=True))
    yield _gaussian("gaussian", mean, covariance)
    yield _gaussian("ppca", mean, ppca_covariance(covariance, PPCA_DIM))
    within = truth.weights @ truth.variances
    n_points, dim = points.shape
    yield _kernel_density(points, n_points ** (-1 / (dim + 4)) * np.sqrt(within))


def ppca_covariance(covariance: FloatArray, latent_dim: int) -> FloatArray:
    """Return the covariance W W' + s^2 I of maximal likelihood.

    Parameters
    ----------
    covariance : ndarray of shape (n_features, n_features)
    latent_dim : int
        At most n_features - 1 are used: the discarded eigenvalues give the noise.
    """
    values, vectors = np.linalg.eigh(covariance)
    n_noise = max(len(values) - latent_dim, 1)
    kept = np.concatenate([np.full(n_noise, values[:n_noise].mean()), values[n_noise:]])
    return (vectors * kept) @ vectors.T


def _gaussian(name: str, mean: FloatArray, covariance: FloatArray) -> NullModel:
    root = np.linalg.cholesky(covariance)
    return NullModel(
        name=name,
        draw=lambda n, rng: mean + rng.standard_normal((n, len(mean))) @ root.T,
        log_prob=lambda points: np.atleast_1d(
            multivariate_normal(mean, covariance).logpdf(points)
        ),
    )


def _kernel_density(centres: FloatArray, bandwidth: FloatArray) -> NullModel:
    def draw(n_samples: int, rng: np.random.Generator) -> FloatArray:
        chosen = centres[rng.integers(len(centres), size=n_samples)]
        return chosen + bandwidth * rng.standard_normal(chosen.shape)

    scaled = centres / bandwidth
    squares = 0.5 * (scaled**2).sum(axis=1)
    constant = np.log(2 * np.pi * bandwidth**2).sum() / 2 + np.log(len(centres))

    def log_prob(points: FloatArray) -> FloatArray:
        parts = []
        for start in range(0, len(points), _CHUNK_ROWS):
            few = points[start : start + _CHUNK_ROWS] / bandwidth
            joint = few @ scaled.T - squares
            parts.append(logsumexp(joint, axis=1) - 0.5 * (few**2).sum(axis=1))
        return np.concatenate(parts) - constant

    return NullModel(name="kde", draw=draw, log_prob=log_prob)


def score_nulls(data: DataSet, data_seed: int, detection: DetectionConfig) -> list[Row]:
    """Count and score a draw of each null model as a trial's samples are.

    Parameters
    ----------
    data : DataSet
    data_seed : int
    detection : DetectionConfig

    Returns
    -------
    list of dict
        Rows of `nulls` without `control_id`.
    """
    return [
        score_null(model, index, data, data_seed, detection)
        for index, model in enumerate(fit_nulls(data))
    ]


def score_null(
    model: NullModel, index: int, data: DataSet, data_seed: int, detection: DetectionConfig
) -> Row:
    """Count and score a draw of one null model.

    Parameters
    ----------
    model : NullModel
    index : int
        Its place among the null models, which is part of its stream.
    data : DataSet
    data_seed : int
    detection : DetectionConfig

    Returns
    -------
    dict
        A row of `nulls` without `control_id`.
    """
    rng = numpy_generator("null", data_seed, index)
    points = model.draw(detection.n_samples, rng)
    row: Row = {"null": model.name}
    counts = count_possible(points, detection).found
    for protocol, count in counts.items():
        row |= {f"k_{protocol}": count.k, f"at_ceiling_{protocol}": count.at_ceiling}
    chosen = counts[reference_protocol(counts)] if counts else None
    scores = score_points(
        points,
        truth=data.truth,
        control=data.control,
        rng=rng,
        fitted=None if chosen is None else chosen.fitted,
    ).columns
    few = data.heldout[:LIKELIHOOD_POINTS]
    scores |= score_likelihood(data.truth, few, model_log_prob=model.log_prob(few))
    scores |= _further_scores(model, points, data, data_seed, index)
    return row | {name: scores.get(name) for name in BASELINE_ENDPOINTS}


def _further_scores(
    model: NullModel, points: FloatArray, data: DataSet, data_seed: int, index: int
) -> Row:
    """Compute the endpoints of plug-ins that baselines have too."""
    generated = Generated(
        samples=points,
        means=None,
        control=data.control,
        truth=data.truth,
        log_prob=model.log_prob,
        rng=numpy_generator("endpoint", data_seed, index),
    )
    of_baselines = [name for name in further_endpoints() if name in BASELINE_ENDPOINTS]
    return compute_endpoints(generated, of_baselines)
