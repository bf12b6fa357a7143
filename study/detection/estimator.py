"""The detector with scikit-learn's estimator contract, for anybody's data."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClusterMixin, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from study.detection.criteria import LEVEL, free_parameters, k_set
from study.detection.modes import detect_modes

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]


class ModeSearch(ClusterMixin, DensityMixin, BaseEstimator):
    """A Gaussian mixture with full covariances whose number of components is found, not given.

    The calibrated protocol of `detect_modes`: over-fitted starts are split and merged along the
    range of k, and BIC chooses. The answer does not depend on the order or the units of the
    points.

    Parameters
    ----------
    k_max : int
        Largest number of components tried; reaching it sets `at_ceiling_`.
    k_min : int
        Smallest number of components tried, at least 1.
    protocol : "calibrated" or "original"
        "original": scikit-learn's own fits for k = 5..14; the other parameters are ignored.
    restarts : int
        Independent searches, at least.
    level : float
        Level of `k_set_`, from 0.5 to below 1.
    random_state : int, RandomState instance or None
        Seeds the search and `sample`.

    Attributes
    ----------
    n_components_ : int
        k*, the number of components with the lowest BIC.
    k_set_ : tuple of int
        Every k whose BIC is not significantly above the lowest; holds k*.
    ks_ : ndarray of int, shape (n_k,)
        The numbers of components tried, ascending.
    bic_curve_ : ndarray, shape (n_k,)
        BIC of the best fit with each of them.
    at_ceiling_ : bool
        k* is the largest k that was allowed, so more components may fit better.
    weights_ : ndarray, shape (n_components,)
        Descending.
    means_ : ndarray, shape (n_components, n_features)
    covariances_ : ndarray, shape (n_components, n_features, n_features)
    labels_ : ndarray of int, shape (n_samples,)
        The most probable component of each point that was fitted.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, shape (n_features,)
        Only after a fit on a data frame.

    See Also
    --------
    sklearn.mixture.GaussianMixture : EM with a given number of components.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> points = np.concatenate([rng.normal(centre, 1, (200, 2)) for centre in (-5, 0, 5)])
    >>> search = ModeSearch(k_max=10).fit(points)
    >>> search.n_components_, search.at_ceiling_
    (3, False)
    >>> len(set(search.predict([[-5, -5], [0, 0], [5, 5]]).tolist()))
    3
    """

    def __init__(
        self,
        *,
        k_max: int = 40,
        k_min: int = 1,
        protocol: str = "calibrated",
        restarts: int = 1,
        level: float = LEVEL,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.k_max = k_max
        self.k_min = k_min
        self.protocol = protocol
        self.restarts = restarts
        self.level = level
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> ModeSearch:
        """Search for the mixture of lowest BIC.

        Parameters
        ----------
        X : array-like or data frame, shape (n_samples, n_features)
        y : ignored

        Raises
        ------
        TypeError
            If k_min, k_max or restarts is not an integer.
        ValueError
            If X is not a finite array with two axes or has too few points, or a parameter is out
            of range.
        """
        points = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        for name in ("k_min", "k_max", "restarts"):
            if not isinstance(getattr(self, name), Integral):
                raise TypeError(f"{name}: must be an integer, got {getattr(self, name)!r}")
        count = detect_modes(
            points,
            protocol=self.protocol,
            k_min=self.k_min,
            k_max=self.k_max,
            restarts=self.restarts,
            seed=self._seed(),
        )
        self.n_components_ = count.k
        self.k_set_ = k_set(count.ks, count.bic, count.contrast_errors, level=self.level)
        self.ks_, self.bic_curve_ = count.ks, count.bic
        self.at_ceiling_ = bool(count.at_ceiling)
        # The order in which a search finds components depends on rounding, hence on units.
        order = np.argsort(-count.fitted.weights, kind="stable")
        self.weights_, self.means_ = count.fitted.weights[order], count.fitted.means[order]
        self.covariances_ = count.fitted.covariances[order]
        n_free = free_parameters(count.log_likelihood, count.bic, len(points))
        self._n_free = float(n_free[count.ks == count.k][0])
        self.labels_ = self._log_joint(points).argmax(axis=1)
        return self

    def _seed(self) -> int:
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _read(self, X: ArrayLike) -> FloatArray:
        check_is_fitted(self)
        points: FloatArray = validate_data(self, X, dtype=np.float64, reset=False)
        return points

    def _log_joint(self, points: FloatArray) -> FloatArray:
        """Return log(weight x density) of each point and component, shape (n, k), nats."""
        joint = np.empty((len(points), len(self.weights_)))
        for j, (weight, mean) in enumerate(zip(self.weights_, self.means_, strict=True)):
            root = np.linalg.cholesky(self.covariances_[j])
            scaled = solve_triangular(root, (points - mean).T, lower=True)
            size = np.log(np.diag(root)).sum() + 0.5 * len(mean) * np.log(2.0 * np.pi)
            joint[:, j] = np.log(weight) - size - 0.5 * (scaled * scaled).sum(axis=0)
        return joint

    def predict(self, X: ArrayLike) -> IntArray:
        """Return the most probable component of each point, shape (n_samples,)."""
        labels: IntArray = self._log_joint(self._read(X)).argmax(axis=1)
        return labels

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return each component's posterior probability, shape (n_samples, n_components)."""
        joint = self._log_joint(self._read(X))
        shares: FloatArray = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        return shares

    def score_samples(self, X: ArrayLike) -> FloatArray:
        """Return the log density of each point (nats), shape (n_samples,)."""
        density: FloatArray = logsumexp(self._log_joint(self._read(X)), axis=1)
        return density

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Return the mean log density of the points (nats)."""
        return float(self.score_samples(X).mean())

    def bic(self, X: ArrayLike) -> float:
        """Return the BIC of the fitted mixture on these points; lower is better."""
        density = self.score_samples(X)
        return float(self._n_free * np.log(len(density)) - 2.0 * density.sum())

    def sample(self, n_samples: int = 1) -> tuple[FloatArray, IntArray]:
        """Draw points from the fitted mixture.

        Parameters
        ----------
        n_samples : int
            At least 1.

        Returns
        -------
        X : ndarray, shape (n_samples, n_features)
        y : ndarray of int, shape (n_samples,)
            The component that each point was drawn from, ascending.

        Raises
        ------
        ValueError
            If n_samples is below 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples: must be at least 1, got {n_samples}")
        rng = check_random_state(self.random_state)
        labels = np.repeat(
            np.arange(len(self.weights_)), rng.multinomial(n_samples, self.weights_)
        )
        noise = rng.standard_normal((n_samples, self.n_features_in_))
        roots = np.linalg.cholesky(self.covariances_)
        points = self.means_[labels] + np.einsum("nab,nb->na", roots[labels], noise)
        return points, labels
