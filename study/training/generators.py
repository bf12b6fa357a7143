"""Generators: what can be trained, sampled and measured under one set of measures.

The variational autoencoder is the first and has an engine of its own, which trains stacks
(`study.training.train`). Any other kind is a class with `fit` and `sample`; what else it can do is
measured too. docs/extending.md adds one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from study.config import TrainingConfig
    from study.data.seeds import Purpose

    State = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """The seeds of one training, as independent streams of random numbers.

    Parameters
    ----------
    data, init : int
        Data seed and init seed of the trial.
    """

    data: int
    init: int

    def rng(self, purpose: Purpose = "fit") -> np.random.Generator:
        """Return a fresh generator of a stream that these seeds name.

        Parameters
        ----------
        purpose : "init", "shuffle", "noise" or "fit"
        """
        # Imported here: it brings torch, for which a plan need not wait.
        from study.data.seeds import numpy_generator

        return numpy_generator(purpose, self.data, self.init)


class Generator:
    """A kind of generator; derive from it and define `fit` and `sample`.

    What is trained is a state: arrays by name, stored without pickle and rescored from there. A
    generator keeps nothing else, so that it gives the same numbers in another process.

    Attributes
    ----------
    Options : type or None
        A frozen dataclass, keyword-only, with bounds as annotations and a default for each field:
        the kind's own settings, which a sweep can vary.
    reads : tuple of str
        Fields of `training.` that it uses, such as ("epochs", "batch_size"); the others have no
        effect on it, and their columns are null.
    """

    Options: ClassVar[type | None] = None
    reads: ClassVar[tuple[str, ...]] = ()

    def fit(
        self, points: np.ndarray, seeds: Seeds, options: Any, training: TrainingConfig
    ) -> State | Iterator[float]:
        """Train on a data set.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)
            In data units; not to be written into.
        seeds : Seeds
            All randomness comes from its streams.
        options : Options or None
            The kind's own settings.
        training : TrainingConfig

        Returns
        -------
        dict of str to ndarray
            The state. Instead, `fit` may be a generator function that yields the loss after each
            epoch and returns the state: losses are shown and recorded, and
            `training.timeout_min` holds.
        """
        raise NotImplementedError

    def sample(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray:
        """Draw points, shape (n_samples, n_features)."""
        raise NotImplementedError

    def log_prob(self, state: State, points: np.ndarray) -> np.ndarray | None:
        """Return the log density of each point in nats; None if it is not known."""
        return None

    def means(self, state: State, n_samples: int, rng: np.random.Generator) -> np.ndarray | None:
        """Draw points without observation noise; None if the kind has no such thing."""
        return None

    def codes(self, state: State, points: np.ndarray) -> np.ndarray | None:
        """Encode points, shape (n_points, latent_dim); None if the kind does not encode."""
        return None

    def n_weights(self, options: Any, dim: int) -> int:
        """Estimate the numbers in a state, for what a sweep will take of the disk."""
        return 10_000

    def gflop(self, options: Any, training: TrainingConfig, dim: int, n_samples: int) -> float:
        """Estimate the cost of `fit` in GFLOP of matrix products, for when a sweep will end."""
        return 10.0


class _VAE(Generator):
    """The variational autoencoder: its options are `model.`, its engine trains stacks."""

    reads = ("epochs", "batch_size", "learning_rate", "kl_weight", "standardize", "checkpoints")


VAE = _VAE()
