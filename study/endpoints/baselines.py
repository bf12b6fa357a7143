"""What every measure says of generators that learn nothing, or everything.

Four point sets stand in for a model's samples, each as large as they are: a fresh draw of the
*truth*, the best a model can be; one *gaussian* with the mean and covariance of the training
points; *ppca*, probabilistic principal components with two latent dimensions, the best linear
autoencoder; and *kde*, the training points with noise, which remembers and does not generalise.

Each is a generator like any other (`study.training.kinds`), with its defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from study.config import DetectionConfig, TrainingConfig
from study.config.catalogue import options_of
from study.data.data_set import DataSet
from study.data.seeds import numpy_generator
from study.detection.counting import count_possible
from study.endpoints.further import Generated, compute_endpoints
from study.endpoints.scores import LIKELIHOOD_POINTS, Row, score_likelihood, score_points
from study.plugins import GENERATORS
from study.results.endpoints import BASELINE_ENDPOINTS, further_endpoints
from study.results.tables import reference_protocol
from study.training.generators import Seeds, fit_generator

FloatArray = np.ndarray

NULLS = ("truth", "gaussian", "ppca", "kde")


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
    for name in NULLS:
        generator = GENERATORS[name]
        options, seeds = options_of(generator, ()), Seeds(data=0, init=0)
        state = fit_generator(generator, data, seeds, options, TrainingConfig())
        yield NullModel(
            name=name,
            draw=partial(generator.sample, state),
            log_prob=partial(generator.log_prob, state),
        )


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
