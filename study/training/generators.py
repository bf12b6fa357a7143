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
    from study.data.data_set import DataSet
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
        the kind's own settings, which a sweep can vary. One that refuses a combination raises
        ValueError("FIELD: why"), which is shown with the place in the sweep file.
    reads : tuple of str
        Fields of `training.` that it uses, such as ("epochs", "batch_size"); the others have no
        effect on it, and their columns are null.
    knows_truth : bool
        Whether `fit` is given the true mixture, as the keyword `truth`. What it makes of that is
        a reference for other generators, and no competitor of theirs.
    packages, extra : tuple of str, str
        Packages that it imports besides those of the extra `sweep`, and the extra of this project
        that brings them, if one does.
    """

    Options: ClassVar[type | None] = None
    reads: ClassVar[tuple[str, ...]] = ()
    knows_truth: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""

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
        """Estimate the GFLOP of `fit`, for when a sweep will end.

        A kind whose samples or densities cost more than its `fit` counts them, too.
        """
        return 10.0


def fit_generator(
    generator: Generator, data: DataSet, seeds: Seeds, options: Any, training: TrainingConfig
) -> Any:
    """Call a generator's `fit`: a state, or an iterator of losses that returns one.

    Parameters
    ----------
    generator : Generator
    data : DataSet
    seeds : Seeds
    options : object
        Of the generator's own kind.
    training : TrainingConfig
    """
    known = {"truth": data.truth} if generator.knows_truth else {}
    return generator.fit(data.training.copy(), seeds, options, training, **known)


class _VAE(Generator):
    """The variational autoencoder: its options are `model.`, its engine trains stacks."""

    reads = ("epochs", "batch_size", "learning_rate", "kl_weight", "standardize", "checkpoints")


VAE = _VAE()
