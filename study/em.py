"""EM for full-covariance Gaussian mixtures with scikit-learn's estimator contract, many fits.

Symbols: B fits (`models`), n points (`samples`), k components, D features of a point. Each fit
runs by itself through the compiled passes of `study.compiled_em`: what else is in a stack changes
nothing.

References
----------
Dempster, Laird, Rubin, "Maximum likelihood from incomplete data via the EM algorithm", JRSS-B
1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from study.cloud import RIDGE, Climb, Cloud, FloatArray, Mixture, n_parameters


class GaussianMixtures:
    """B full-covariance Gaussian mixtures.

    Parameters
    ----------
    tol : float
        Change of the mean log likelihood (nats per sample) that counts as convergence.
    reg_covar : float
        Added to the diagonal of every covariance (squared data units).
    max_iter : int

    Attributes
    ----------
    weights_ : ndarray, shape (n_models, n_components)
        Exactly zero for a component that is not used.
    means_ : ndarray, shape (n_models, n_components, n_features)
    covariances_ : ndarray, shape (n_models, n_components, n_features, n_features)
    lower_bound_ : ndarray, shape (n_models,), nats per sample
    n_iter_, converged_ : ndarray, shape (n_models,)
    """

    def __init__(
        self, *, tol: float = 1e-3, reg_covar: float = RIDGE, max_iter: int = 100
    ) -> None:
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter

    def fit(self, points: FloatArray, responsibilities: FloatArray) -> GaussianMixtures:
        """Fit from starting responsibilities.

        Parameters
        ----------
        points : ndarray, shape (n_samples, n_features) or (n_models, n_samples, n_features)
            One cloud for all fits, or one for each.
        responsibilities : ndarray, shape (n_models, n_samples, n_components)
            Rows sum to one. A component whose column is zero throughout stays unused.

        Raises
        ------
        ValueError
            When points are not finite, shapes disagree, or a covariance is not positive definite.
        """
        _check_fit(points, responsibilities)
        n_models, _, k = responsibilities.shape
        dim = points.shape[-1]
        self.weights_, self.means_ = np.zeros((n_models, k)), np.zeros((n_models, k, dim))
        self.covariances_ = np.broadcast_to(np.eye(dim), (n_models, k, dim, dim)).copy()
        ends = []
        for model, (cloud, shares) in enumerate(
            zip(self._clouds(points, n_models), responsibilities, strict=True)
        ):
            used = shares.any(0)
            end = self._climb(cloud, shares[:, used])
            ends.append(end)
            self.weights_[model, used] = end.mixture.weights
            self.means_[model, used] = end.mixture.means + cloud.centre
            self.covariances_[model, used] = end.mixture.covariances
        n_samples = points.shape[-2]
        self.lower_bound_ = np.array([end.log_likelihood for end in ends]) / n_samples
        self.n_iter_ = np.array([end.n_iter for end in ends])
        self.converged_ = np.array([end.converged for end in ends])
        return self

    @staticmethod
    def _clouds(points: FloatArray, n_models: int) -> list[Cloud]:
        if points.ndim == 2:
            return [Cloud(points)] * n_models
        return [Cloud(part) for part in points]

    def _climb(self, cloud: Cloud, shares: FloatArray) -> Climb:
        try:
            return cloud.climb(
                cloud.from_shares(shares[cloud.order], ridge=self.reg_covar),
                tol_nats=self.tol * cloud.n_samples,
                max_iter=self.max_iter,
                ridge=self.reg_covar,
            )
        except np.linalg.LinAlgError:
            raise ValueError(
                "points: a component's covariance is not positive definite; rescale the points "
                "or raise reg_covar"
            ) from None

    def _judged(self, points: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
        """Return the most probable component and the log density (nats) of each point."""
        labels, log_prob = [], []
        for model, cloud in enumerate(self._clouds(points, len(self.weights_))):
            used = np.flatnonzero(self.weights_[model])
            mixture = Mixture(
                self.weights_[model, used],
                self.means_[model, used] - cloud.centre,
                self.covariances_[model, used],
            )
            back = np.argsort(cloud.order)
            likeliest, density = cloud.judge(mixture)
            labels.append(used[likeliest][back])
            log_prob.append(density[back])
        return np.stack(labels), np.stack(log_prob)

    def score_samples(self, points: FloatArray) -> FloatArray:
        """Return log densities, shape (n_models, n_samples), nats."""
        return self._judged(points)[1]

    def predict(self, points: FloatArray) -> NDArray[np.int64]:
        """Return the most probable component, shape (n_models, n_samples)."""
        return self._judged(points)[0]

    def bic(self, points: FloatArray) -> FloatArray:
        """Return BIC, shape (n_models,): -2 log likelihood + parameters log n."""
        scores = self.score_samples(points)
        used = (self.weights_ > 0).sum(-1)
        n_free = used * (n_parameters(1, points.shape[-1]) + 1) - 1
        return -2.0 * scores.sum(-1) + n_free * math.log(scores.shape[-1])


def _check_fit(points: FloatArray, responsibilities: FloatArray) -> None:
    if points.ndim not in (2, 3):
        raise ValueError(f"points: need 2 or 3 axes, got shape {points.shape}; reshape the array")
    if not np.isfinite(points).all():
        raise ValueError("points: all values must be finite; drop rows with NaN or infinity")
    n_models, n_samples = responsibilities.shape[:2]
    if points.shape[-2] != n_samples or (points.ndim == 3 and len(points) != n_models):
        raise ValueError(
            f"responsibilities: shape {responsibilities.shape} does not match points "
            f"{points.shape}; need (n_models, n_samples, n_components)"
        )
