"""A trained model as measuring sees it: named point sets, a density, and columns of its own kind.

A model comes as its state, arrays by name, and is rebuilt on a CPU, wherever it was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from study.config import Source
from study.config.catalogue import options_of
from study.data.data_set import DataSet, draw_data_set
from study.data.seeds import numpy_generator
from study.endpoints.likelihood import log_density
from study.endpoints.scores import Row, score_bounds
from study.planning.units import Trial
from study.plugins import GENERATORS
from study.training.fitted import Member, load_fitted
from study.training.generate import (
    draw_expost_means,
    draw_means,
    draw_samples,
    encode_points,
    heldout_losses,
)

FloatArray = np.ndarray
State = Mapping[str, np.ndarray]
# Which stream of draws a point set takes; appended to, never reordered.
_DRAWS = ("samples", "means")


class Model(Protocol):
    """What measuring needs of a trained generator."""

    def generated(self) -> dict[Source, FloatArray]:
        """Draw the point sets that it generates: samples, and means if it has them."""

    def codes(self, points: FloatArray) -> FloatArray | None:
        """Encode points; None if it does not encode."""

    def density(self, points: FloatArray) -> tuple[FloatArray | None, Row]:
        """Return log densities in nats, None if not known, and columns of how sure they are."""

    def columns(self, heldout: FloatArray, entropy_nats: float) -> Row:
        """Return the columns that only its kind has, from held-out points."""


def load_model(trial: Trial, state: State) -> Model:
    """Rebuild a trial's trained model.

    Parameters
    ----------
    trial : Trial
    state : mapping of str to ndarray
        As its training returned it.

    Raises
    ------
    ValueError
        The state is not of the trial's model.
    KeyError
        A part of it is missing.
    """
    return VAEModel(trial, state) if trial.model.kind == "vae" else KindModel(trial, state)


def member_of(trial: Trial) -> Member:
    """Return the settings of a trial that are specific to its model within the stack."""
    return Member(
        data_seed=trial.data_seed,
        init_seed=trial.init_seed,
        kl_weight=trial.training.kl_weight,
        learning_rate=trial.training.learning_rate,
        standardize=trial.training.standardize,
    )


class VAEModel:
    """The variational autoencoder, as a stack of one on the CPU."""

    def __init__(self, trial: Trial, state: State) -> None:
        self._trial = trial
        # Loaded with the noise that is counted.
        noise = trial.detection.noise_variance
        member = replace(member_of(trial), noise_variance=None if noise == "implied" else noise)
        self._fitted = load_fitted(trial.model, [member], [state])

    def generated(self) -> dict[Source, FloatArray]:
        """Draw decoder means of drawn latents, and samples: those means with noise."""
        detection, seed = self._trial.detection, self._trial.sample_seed
        sizes = {"n_samples": detection.n_samples, "sample_seed": seed}
        if detection.sampler == "prior":
            means = draw_means(self._fitted, 0, **sizes)
        else:
            means = self._expost_means(**sizes)
        samples = draw_samples(self._fitted, 0, means, sample_seed=seed)
        return {"means": means, "samples": samples}

    def _expost_means(self, **sizes: int) -> FloatArray:
        trial = self._trial
        data = draw_data_set(trial.mixture, trial.data_seed, trial.detection.n_samples)
        n_components = trial.detection.sampler_components
        return draw_expost_means(
            self._fitted, 0, data.training, n_components=n_components, **sizes
        )

    def codes(self, points: FloatArray) -> FloatArray:
        """Return the encoder's means."""
        return encode_points(self._fitted, 0, points)

    def density(self, points: FloatArray) -> tuple[FloatArray | None, Row]:
        """Estimate the log density, with its error; without draws there is no ESS.

        It is that of latents of the prior; of others it is not known.
        """
        if self._trial.detection.sampler != "prior":
            return None, {}
        density = log_density(self._fitted, 0, points)
        ess_min = float(density.ess.min())
        error = float(np.sqrt(np.square(density.standard_error).sum()) / len(points))
        return density.log_prob, {
            "fkl_mc_se": error,
            "fkl_unmet_share": float(np.mean(~density.met)),
            "fkl_ess_min": ess_min if np.isfinite(ess_min) else None,
        }

    def columns(self, heldout: FloatArray, entropy_nats: float) -> Row:
        """Return held-out losses, their bounds and the decoder's variance."""
        recon, kl_nats, loss = heldout_losses(self._fitted, 0, heldout)
        # Floor and rate bound hold for the same points that the losses are averaged over.
        bounds = score_bounds(
            recon,
            entropy_nats=entropy_nats,
            kl_weight=self._trial.training.kl_weight,
            dim=self._trial.mixture.dim,
            decoder_variance=self._trial.model.decoder_variance,
            scale=self._fitted.scale[0],
        )
        return {
            **bounds,
            "recon": recon,
            "kl_nats": kl_nats,
            "loss": loss,
            "decoder_variance": float(self._fitted.trained_variance[0]),
        }


class KindModel:
    """A generator of any other kind.

    Raises
    ------
    ValueError
        The state gives no points of the trial's dimension.
    """

    def __init__(self, trial: Trial, state: State) -> None:
        self._trial, self._state = trial, state
        self._generator = GENERATORS[trial.model.kind]
        try:
            points = self._generator.sample(state, 2, self._rng("samples"))
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"the state is not of kind {trial.model.kind}: {error!r}") from error
        self._check(points, "sample", 2)

    def _rng(self, source: str) -> np.random.Generator:
        trial = self._trial
        seeds = (trial.data_seed, trial.init_seed, trial.sample_seed, _DRAWS.index(source))
        return numpy_generator("draw", *seeds)

    def _check(self, points: Any, method: str, n_points: int) -> FloatArray:
        found = np.asarray(points, dtype=np.float64)
        wanted = (n_points, self._trial.mixture.dim)
        if found.shape != wanted:
            raise ValueError(
                f"{self._trial.model.kind}.{method}: must return an array of shape {wanted}; "
                f"found {found.shape}"
            )
        return found

    def generated(self) -> dict[Source, FloatArray]:
        """Draw samples, and means if the kind has them."""
        n_samples = self._trial.detection.n_samples
        samples = self._generator.sample(self._state, n_samples, self._rng("samples"))
        sets: dict[Source, FloatArray] = {}
        means = self._generator.means(self._state, n_samples, self._rng("means"))
        if means is not None:
            sets["means"] = self._check(means, "means", n_samples)
        return sets | {"samples": self._check(samples, "sample", n_samples)}

    def codes(self, points: FloatArray) -> FloatArray | None:
        """Encode points, if the kind does."""
        found: FloatArray | None = self._generator.codes(self._state, points)
        return found

    def density(self, points: FloatArray) -> tuple[FloatArray | None, Row]:
        """Return the log density of points, if the kind knows it."""
        return self._generator.log_prob(self._state, points), {}

    def columns(self, heldout: FloatArray, entropy_nats: float) -> Row:
        """Return nothing: these columns are the autoencoder's."""
        return {}


def train_kind(trial: Trial, data: DataSet) -> Any:
    """Call a kind's `fit`: a state, or an iterator of losses that returns one.

    Parameters
    ----------
    trial : Trial
    data : DataSet
        The trial's own.
    """
    from study.training.generators import Seeds, fit_generator

    generator = GENERATORS[trial.model.kind]
    options = options_of(generator, trial.model.options)
    seeds = Seeds(data=trial.data_seed, init=trial.init_seed)
    return fit_generator(generator, data, seeds, options, trial.training)
