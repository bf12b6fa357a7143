"""The true Gaussian mixture: drawn from a recipe or given, with everything that is known about it.

Symbols: K components, D dimensions, weights w_k, means m_k, diagonal variances v_k;
p(x) = sum_k w_k N(x; m_k, diag(v_k)). All arrays are float64; log densities are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from study.config import MixtureConfig
from study.config.catalogue import options_of
from study.config.sections import box_half_width
from study.data.moments import mixture_covariance
from study.data.original import original_draw
from study.data.seeds import numpy_generator
from study.plugins import MIXTURES

WEIGHT_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueMixture:
    """A Gaussian mixture with diagonal covariances, known exactly.

    Parameters
    ----------
    weights : ndarray of shape (n_components,)
        Non-negative, summing to 1.
    means : ndarray of shape (n_components, n_features)
    variances : ndarray of shape (n_components, n_features)
        Positive.
    groups : ndarray of int, shape (n_components,), optional
        The mode that each component is a piece of, from 0 on; by default each is its own.

    Raises
    ------
    ValueError
        If the shapes disagree, a variance is not positive, or the weights are not a distribution.
    """

    weights: Float64[np.ndarray, " components"]
    means: Float64[np.ndarray, "components features"]
    variances: Float64[np.ndarray, "components features"]
    groups: Int64[np.ndarray, " components"] | None = None

    def __post_init__(self) -> None:
        if self.means.shape != self.variances.shape or len(self.means) != len(self.weights):
            raise ValueError(
                "mixture means, variances and weights must have shapes (K, D), (K, D) and (K,); "
                f"got {self.means.shape}, {self.variances.shape} and {self.weights.shape}"
            )
        if not np.all(self.variances > 0):
            raise ValueError(
                f"mixture variances must be positive; the smallest is {self.variances.min()}"
            )
        total = self.weights.sum()
        if self.weights.min() < 0 or abs(total - 1) > WEIGHT_SUM_TOLERANCE:
            raise ValueError(
                "mixture weights must be non-negative and sum to 1; "
                f"the smallest is {self.weights.min()} and the sum is {total}"
            )

    @property
    def n_components(self) -> int:
        """K."""
        return self.means.shape[0]

    @property
    def dim(self) -> int:
        """D."""
        return self.means.shape[1]

    @property
    def n_modes(self) -> int:
        """The number of modes: of groups, or K where each component is its own."""
        return self.n_components if self.groups is None else int(self.groups.max()) + 1

    @property
    def mode_weights(self) -> Float64[np.ndarray, " modes"]:
        """The weight of each mode; they sum to 1."""
        return self.by_mode(self.weights[None])[0]

    def by_mode(
        self, shares: Float64[np.ndarray, "samples components"]
    ) -> Float64[np.ndarray, "samples modes"]:
        """Add up what the components of each mode have.

        Parameters
        ----------
        shares : ndarray of shape (n_samples, n_components)

        Returns
        -------
        ndarray of shape (n_samples, n_modes)
            The same array where each component is its own mode.
        """
        if self.groups is None:
            return shares
        return shares @ (self.groups[:, None] == np.arange(self.n_modes)).astype(np.float64)

    def sample(
        self, n_samples: int, rng: np.random.Generator
    ) -> tuple[Float64[np.ndarray, "samples features"], Int64[np.ndarray, " samples"]]:
        """Draw points and the components they come from.

        Parameters
        ----------
        n_samples : int
        rng : numpy.random.Generator

        Returns
        -------
        points : ndarray of shape (n_samples, n_features)
        labels : ndarray of shape (n_samples,)
        """
        labels = rng.choice(self.n_components, size=n_samples, p=self.weights)
        noise = rng.standard_normal((n_samples, self.dim))
        points = self.means[labels] + np.sqrt(self.variances)[labels] * noise
        return points, labels.astype(np.int64)

    def mahalanobis_sq(
        self, points: Float64[np.ndarray, "samples features"]
    ) -> Float64[np.ndarray, "samples components"]:
        """Return each point's squared Mahalanobis distance to each component.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
        """
        # One component at a time: (n_samples, n_components, n_features) would not fit for large D.
        columns = [
            ((points - mean) ** 2 / variance).sum(axis=1)
            for mean, variance in zip(self.means, self.variances, strict=True)
        ]
        return np.stack(columns, axis=1)

    def log_prob(
        self, points: Float64[np.ndarray, "samples features"]
    ) -> Float64[np.ndarray, " samples"]:
        """Return the log density of each point.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            In nats.
        """
        return _log_sum(self._log_joint(points))[:, 0]

    def posterior(
        self, points: Float64[np.ndarray, "samples features"]
    ) -> Float64[np.ndarray, "samples components"]:
        """Return the probability of each component given each point.

        Parameters
        ----------
        points : ndarray of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            Rows sum to 1.
        """
        log_joint = self._log_joint(points)
        return np.exp(log_joint - _log_sum(log_joint))

    def covariance(self) -> Float64[np.ndarray, "features features"]:
        """Return the covariance of the whole mixture; its largest eigenvalue is lambda_1.

        Returns
        -------
        ndarray of shape (n_features, n_features)
        """
        return mixture_covariance(self.means, self.variances, self.weights)

    def _log_joint(
        self, points: Float64[np.ndarray, "samples features"]
    ) -> Float64[np.ndarray, "samples components"]:
        """Return log w_k + log N(x; m_k, v_k); -inf where a weight is 0."""
        with np.errstate(divide="ignore"):
            log_weights = np.log(self.weights)
        log_scale = 0.5 * np.log(2 * np.pi * self.variances).sum(axis=1)
        return log_weights - log_scale - 0.5 * self.mahalanobis_sq(points)


def _log_sum(log_joint: np.ndarray) -> np.ndarray:
    """Return the logarithm of the sum over components, as a column."""
    # Not at the top: a dry run draws mixtures and need not wait for scipy.
    from scipy.special import logsumexp

    return np.asarray(logsumexp(log_joint, axis=1, keepdims=True))


def draw_mixture(config: MixtureConfig, data_seed: int) -> TrueMixture:
    """Draw the mixture that a family and a data seed define, or return the given one.

    Parameters
    ----------
    config : MixtureConfig
    data_seed : int
        Ignored when the mixture is given.

    Returns
    -------
    TrueMixture

    Raises
    ------
    ValueError
        If a given mixture is incomplete or not a mixture, or a family draws another shape than it
        says.
    """
    given = (config.means, config.variances, config.weights)
    if any(part is not None for part in given):
        return _given_mixture(config)
    family = MIXTURES[config.kind]
    options = options_of(family, config.options)
    mixture: TrueMixture = family.draw(config, options, numpy_generator("mixture", data_seed))
    shape, drawn = (config.n_components, config.dim), (mixture.n_modes, mixture.dim)
    if drawn != shape:
        raise ValueError(
            f"mixture.kind: {config.kind} says that its mixtures have shape {shape}; it drew one "
            f"of {drawn}"
        )
    return mixture


def draw_box(config: MixtureConfig, rng: np.random.Generator) -> TrueMixture:
    """Draw a mixture by the recipe of the original report: means in a box.

    Parameters
    ----------
    config : MixtureConfig
    rng : numpy.random.Generator
    """
    shape = (config.n_components, config.dim)
    box = box_half_width(config)
    assert box is not None, "a given mixture is not drawn"
    return TrueMixture(
        means=rng.uniform(-box, box, shape),
        variances=rng.uniform(*config.variance, shape),
        weights=rng.dirichlet(np.full(config.n_components, config.alpha)),
    )


def draw_training_points(
    config: MixtureConfig, mixture: TrueMixture, data_seed: int
) -> tuple[Float64[np.ndarray, "samples features"], Int64[np.ndarray, " samples"]]:
    """Draw the training points of a mixture.

    Parameters
    ----------
    config : MixtureConfig
    mixture : TrueMixture
        What `draw_mixture` returned for the same configuration and seed.
    data_seed : int

    Returns
    -------
    points : ndarray of shape (n_samples, n_features)
    labels : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If the original's own points are asked for with another mixture or number of points.
    """
    if config.training_points == "fresh":
        return mixture.sample(config.n_samples, numpy_generator("training_points", data_seed))
    original = original_draw()
    if config.n_samples != len(original.points):
        raise ValueError(
            f"mixture.n_samples must be {len(original.points):,} with training_points: original; "
            f"got {config.n_samples:,}; leave it out or use training_points: fresh"
        )
    if mixture.means.shape != original.means.shape or not np.allclose(
        mixture.means, original.means, rtol=0, atol=1e-6
    ):
        raise ValueError(
            "mixture.training_points: original needs the original report's mixture as means, "
            "variances and weights (python -m study.data.original prints them); or use fresh"
        )
    return original.points.copy(), original.labels.copy()


def _given_mixture(config: MixtureConfig) -> TrueMixture:
    if config.means is None or config.variances is None or config.weights is None:
        raise ValueError("a given mixture needs means, variances and weights; one is missing")
    weights = np.asarray(config.weights, dtype=np.float64)
    mixture = TrueMixture(
        means=np.asarray(config.means, dtype=np.float64),
        variances=np.asarray(config.variances, dtype=np.float64),
        weights=weights,
    )
    # A file may carry rounded weights; NumPy's own tolerance in `choice` is tighter than ours.
    return TrueMixture(
        means=mixture.means, variances=mixture.variances, weights=weights / weights.sum()
    )
