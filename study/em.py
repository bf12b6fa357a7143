"""Expectation-maximisation for full-covariance Gaussian mixtures, many fits in one program.

Symbols: B fits (`models`), n points (`samples`), k components, D features. The log density of a
point x under component j is linear in the quadratic features phi(x) = [1, x, x_a x_b (a <= b)],
so the E-step is one matrix product with the (k, F) coefficients and the M-step one product of the
responsibilities with the (n, F) features; F = 1 + D + D (D + 1) / 2. Points are centred first.
The quadratic form cancels badly for a component that is thin compared with the cloud (decoder
means lie on a surface): such components are evaluated from differences x - mean instead.

Responsibilities are held as (B, k, n), components before samples, inside this module only: the
reductions over components then run along contiguous samples.

References
----------
Dempster, Laird, Rubin, "Maximum likelihood from incomplete data via the EM algorithm", JRSS-B
1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.float64]

# Relative error of a component's log density (nats) above which the direct form replaces the
# quadratic one. scikit-learn's results are then followed to 1e-8 in the lower bound.
UNSAFE_ERROR_NATS = 1e-10
# A scaled density below this is near float64's smallest numbers: the shift is renewed.
SMALLEST_TOTAL = 1e-250
EPSILON = float(np.finfo(np.float64).eps)


class Mixtures(NamedTuple):
    """Parameters of B mixtures; a weight of exactly zero marks an unused (padding) component.

    Shapes: weights (B, k), means (B, k, D), covariances (B, k, D, D).
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def take(self, index: Tensor | list[int]) -> Mixtures:
        """Return the chosen fits, shapes (len(index), ...)."""
        return Mixtures(self.weights[index], self.means[index], self.covariances[index])


class PreparedPoints:
    """Centred points and their quadratic features, computed once for all fits.

    Parameters
    ----------
    points : Tensor, shape (n, D) or (B, n, D), float64
        One cloud shared by every fit, or one cloud for each fit.

    Attributes
    ----------
    centre : Tensor, shape (S, 1, D), S = 1 or B
    points : Tensor, shape (S, n, D), centred
    features : Tensor, shape (S, n, F)
    features_by_row : Tensor, shape (S, F, n), contiguous
    rounding : Tensor, shape (S, 1)
        eps times the largest squared radius; times a component's precision it bounds the rounding
        error of the quadratic form.
    """

    def __init__(self, points: Tensor) -> None:
        cloud = points.to(torch.float64)
        cloud = cloud[None] if cloud.ndim == 2 else cloud
        self.centre = cloud.mean(1, keepdim=True)
        self.points = cloud - self.centre
        self.n_samples, self.dim = cloud.shape[1:]
        self.rows, self.columns = torch.triu_indices(self.dim, self.dim, device=cloud.device)
        # An off-diagonal product stands for two entries of the symmetric quadratic form.
        self.multiplicity = torch.where(self.rows == self.columns, 1.0, 2.0).to(cloud)
        products = self.points[..., self.rows] * self.points[..., self.columns]
        ones = torch.ones_like(self.points[..., :1])
        self.features = torch.cat([ones, self.points, products], -1)
        self.features_by_row = self.features.transpose(1, 2).contiguous()
        self.rounding = EPSILON * self.points.square().sum(-1).amax(1, keepdim=True)

    def cloud(self, model: int) -> Tensor:
        """Return the centred points (n, D) that fit number `model` sees."""
        return self.points[model if len(self.points) > 1 else 0]

    def take(self, index: list[int]) -> PreparedPoints:
        """Return the clouds of the chosen fits (a shared cloud stays shared)."""
        if len(self.points) == 1:
            return self
        part = object.__new__(PreparedPoints)
        part.__dict__.update(self.__dict__)
        for name in ("centre", "points", "features", "features_by_row", "rounding"):
            setattr(part, name, getattr(self, name)[index])
        return part


class _Factors(NamedTuple):
    """Cholesky factors and precisions (B, k, D, D), and the thin components as (model, j)."""

    cholesky: Tensor
    precisions: Tensor
    thin: list[list[int]]


def _factorize(data: PreparedPoints, covariances: Tensor) -> _Factors:
    cholesky, failed = torch.linalg.cholesky_ex(covariances)
    precisions = torch.cholesky_inverse(cholesky)
    trace = precisions.diagonal(dim1=-2, dim2=-1).sum(-1)
    thin = ~(data.rounding * trace < UNSAFE_ERROR_NATS) | (failed > 0)
    pairs = thin.nonzero().tolist() if bool(thin.any()) else []
    return _Factors(cholesky, precisions, pairs)


def _log_joint(
    data: PreparedPoints, mixtures: Mixtures, factors: _Factors, offset: Tensor | None = None
) -> Tensor:
    """Return log(weight_j N(x | j)) minus `offset` (B, n): shape (B, k, n), nats."""
    log_det = 2.0 * factors.cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    linear = (factors.precisions @ mixtures.means[..., None])[..., 0]
    constant = mixtures.weights.log() - 0.5 * (data.dim * math.log(2 * math.pi) + log_det)
    at_origin = constant - 0.5 * (linear * mixtures.means).sum(-1)
    quadratic = -0.5 * data.multiplicity * factors.precisions[..., data.rows, data.columns]
    coefficients = torch.cat([at_origin[..., None], linear, quadratic], -1)
    by_row = data.features_by_row.expand(len(coefficients), -1, -1)
    if offset is None:
        values = torch.bmm(coefficients, by_row)
    else:
        values = torch.baddbmm(offset[:, None], coefficients, by_row, beta=-1.0)
    for model, component in factors.thin:
        difference = data.cloud(model) - mixtures.means[model, component]
        root = factors.cholesky[model, component]
        whitened = torch.linalg.solve_triangular(root, difference.T, upper=False)
        direct = constant[model, component] - 0.5 * whitened.square().sum(0)
        values[model, component] = direct if offset is None else direct - offset[model]
    return values


def log_joint(data: PreparedPoints, mixtures: Mixtures) -> Tensor:
    """Return log(weight_j N(x | j)) for every fit, component and point.

    Parameters
    ----------
    data : PreparedPoints
    mixtures : Mixtures
        In the centred coordinates of `data`.

    Returns
    -------
    Tensor, shape (B, k, n), nats
    """
    return _log_joint(data, mixtures, _factorize(data, mixtures.covariances))


def _m_step(
    data: PreparedPoints, scaled: Tensor, total: Tensor, reg_covar: float
) -> tuple[Mixtures, _Factors]:
    """Maximise given responsibilities scaled (B, k, n) / total (B, n)."""
    dim = data.dim
    moments = torch.bmm(scaled, data.features / total[..., None])
    used = moments[..., 0] > 0.0
    counts = moments[..., 0] + 10 * EPSILON  # as scikit-learn
    means = moments[..., 1 : 1 + dim] / counts[..., None]
    second = moments[..., 1 + dim :] / counts[..., None]
    covariances = second.new_empty((*counts.shape, dim, dim))
    covariances[..., data.rows, data.columns] = second
    covariances[..., data.columns, data.rows] = second
    covariances -= means[..., :, None] * means[..., None, :]
    ridge = reg_covar * torch.eye(dim, dtype=means.dtype, device=means.device)
    covariances += ridge
    factors = _factorize(data, covariances)
    if factors.thin:
        for model, component in factors.thin:
            share = scaled[model, component] / total[model] / counts[model, component]
            difference = data.cloud(model) - means[model, component]
            covariances[model, component] = (share * difference.T) @ difference + ridge
        factors = _factorize(data, covariances)._replace(thin=factors.thin)
    weights = torch.where(used, counts, 0.0)
    weights = weights / weights.sum(-1, keepdim=True)
    return Mixtures(weights, means, covariances), factors


class EMRun:
    """B fits in progress; `step` does one E-step and one M-step on all of them.

    Densities are scaled by the previous iteration's log density of the same point instead of the
    largest component's: it needs no pass for the maximum, and it is renewed when it goes stale.

    Attributes
    ----------
    mixtures : Mixtures
        The current parameters, in the centred coordinates of `data`.
    log_likelihood : Tensor, shape (B,), nats in total
        Of the parameters *before* the last M-step; scikit-learn's lower bound times n.
    """

    def __init__(
        self, data: PreparedPoints, mixtures: Mixtures, *, reg_covar: float = 1e-6
    ) -> None:
        self.data = data
        self.mixtures = mixtures
        self.reg_covar = reg_covar
        self.log_likelihood = torch.full_like(mixtures.weights[:, 0], -torch.inf)
        self._factors = _factorize(data, mixtures.covariances)
        self._log_prob: Tensor | None = None

    @classmethod
    def from_responsibilities(
        cls, data: PreparedPoints, responsibilities: Tensor, *, reg_covar: float = 1e-6
    ) -> EMRun:
        """Start with an M-step from responsibilities (B, n, k), as scikit-learn does."""
        by_component = responsibilities.transpose(1, 2).contiguous()
        ones = torch.ones_like(by_component[:, 0])
        mixtures, _ = _m_step(data, by_component, ones, reg_covar)
        return cls(data, mixtures, reg_covar=reg_covar)

    def step(self) -> Tensor:
        """Do one iteration; return the total log likelihood (B,) before its M-step."""
        scaled, total = self._densities()
        self.mixtures, self._factors = _m_step(self.data, scaled, total, self.reg_covar)
        return self.log_likelihood

    def evaluate(self) -> Tensor:
        """Return the total log likelihood (B,) of the current parameters, without a step."""
        self._densities()
        return self.log_likelihood

    def responsibilities(self) -> Tensor:
        """Return the posterior of each component given each point, shape (B, k, n)."""
        scaled, total = self._densities()
        return scaled / total[:, None]

    def _densities(self) -> tuple[Tensor, Tensor]:
        """Return scaled densities (B, k, n) and their sums (B, n); set the log likelihood."""
        if self._log_prob is not None:
            scaled, total = self._scaled_by(self._log_prob)
            if bool((total.amin() > SMALLEST_TOTAL) & (total.amax() < 1.0 / SMALLEST_TOTAL)):
                return scaled, total
        offset = _log_joint(self.data, self.mixtures, self._factors).amax(1)
        return self._scaled_by(offset)

    def _scaled_by(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        scaled = _log_joint(self.data, self.mixtures, self._factors, offset).exp_()
        total = scaled.sum(1)
        self._log_prob = total.log() + offset
        self.log_likelihood = self._log_prob.sum(-1)
        return scaled, total

    def take(self, index: list[int]) -> EMRun:
        """Return a run of the chosen fits only; the others are left as they are."""
        part = EMRun(self.data.take(index), self.mixtures.take(index), reg_covar=self.reg_covar)
        part.log_likelihood = self.log_likelihood[index]
        part._log_prob = None if self._log_prob is None else self._log_prob[index]
        return part


@dataclass(frozen=True, slots=True)
class EMResult:
    """Where B fits stopped.

    Parameters
    ----------
    mixtures : Mixtures
        In the coordinates of the prepared points (centred).
    lower_bound : Tensor, shape (B,)
        Mean log likelihood (nats) before the last M-step, as scikit-learn reports it.
    n_iter : Tensor, shape (B,), int
    converged : Tensor, shape (B,), bool
    """

    mixtures: Mixtures
    lower_bound: Tensor
    n_iter: Tensor
    converged: Tensor


def run_em(run: EMRun, *, tol: float = 1e-3, max_iter: int = 100) -> EMResult:
    """Iterate every fit to its own convergence; a finished fit is neither moved nor paid for.

    Parameters
    ----------
    run : EMRun
    tol : float
        A fit stops when its mean log likelihood changed by less (nats per sample).
    max_iter : int

    Returns
    -------
    EMResult
    """
    n_models = len(run.mixtures.weights)
    done = Mixtures(*(torch.empty_like(part) for part in run.mixtures))
    lower_bound = torch.full_like(run.log_likelihood, -torch.inf)
    n_iter = torch.zeros(n_models, dtype=torch.int64, device=lower_bound.device)
    converged = torch.zeros(n_models, dtype=torch.bool, device=lower_bound.device)
    active = torch.arange(n_models, device=lower_bound.device)
    for iteration in range(1, max_iter + 1):
        previous = lower_bound[active]
        lower_bound[active] = run.step() / run.data.n_samples
        n_iter[active] = iteration
        finished = (lower_bound[active] - previous).abs() < tol
        converged[active] = finished
        if bool(finished.any()) or iteration == max_iter:
            for target, source in zip(done, run.mixtures, strict=True):
                target[active] = source
            keep = (~finished).nonzero()[:, 0].tolist()
            if not keep:
                break
            run, active = run.take(keep), active[keep]
    return EMResult(done, lower_bound, n_iter, converged)


def n_parameters(n_components: int, dim: int) -> int:
    """Return the free parameters of a full-covariance mixture."""
    return n_components * (1 + dim + dim * (dim + 1) // 2) - 1


class GaussianMixtures:
    """B full-covariance Gaussian mixtures with scikit-learn's estimator contract.

    Parameters
    ----------
    tol : float
        Change of the mean log likelihood (nats per sample) that counts as convergence.
    reg_covar : float
        Added to the diagonal of every covariance (squared data units).
    max_iter : int

    Attributes
    ----------
    weights_ : Tensor, shape (n_models, n_components)
    means_ : Tensor, shape (n_models, n_components, n_features)
    covariances_ : Tensor, shape (n_models, n_components, n_features, n_features)
    lower_bound_ : Tensor, shape (n_models,), nats per sample
    n_iter_, converged_ : Tensor, shape (n_models,)
    """

    def __init__(
        self, *, tol: float = 1e-3, reg_covar: float = 1e-6, max_iter: int = 100
    ) -> None:
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter

    def fit(self, points: Tensor, responsibilities: Tensor) -> GaussianMixtures:
        """Fit from starting responsibilities.

        Parameters
        ----------
        points : Tensor, shape (n_samples, n_features) or (n_models, n_samples, n_features)
            One cloud for all fits, or one for each.
        responsibilities : Tensor, shape (n_models, n_samples, n_components)
            Rows sum to one. A component whose column is zero throughout stays unused, so fits
            with different numbers of components run together.

        Raises
        ------
        ValueError
            When points are not finite, shapes disagree, or a covariance cannot be factorized.
        """
        _check_fit(points, responsibilities)
        data = PreparedPoints(points)
        start = EMRun.from_responsibilities(
            data, responsibilities.to(data.points), reg_covar=self.reg_covar
        )
        result = run_em(start, tol=self.tol, max_iter=self.max_iter)
        if not bool(torch.isfinite(result.lower_bound).all()):
            raise ValueError(
                "points: a component's covariance is ill-defined at "
                f"reg_covar={self.reg_covar:g}; rescale the points or raise reg_covar"
            )
        self.weights_ = result.mixtures.weights
        self.means_ = result.mixtures.means + data.centre
        self.covariances_ = result.mixtures.covariances
        self.lower_bound_, self.n_iter_ = result.lower_bound, result.n_iter
        self.converged_ = result.converged
        return self

    def _log_joint(self, points: Tensor) -> Tensor:
        data = PreparedPoints(points)
        centred = Mixtures(self.weights_, self.means_ - data.centre, self.covariances_)
        return log_joint(data, centred)

    def score_samples(self, points: Tensor) -> Tensor:
        """Return log densities, shape (n_models, n_samples), nats."""
        return torch.logsumexp(self._log_joint(points), 1)

    def predict(self, points: Tensor) -> Tensor:
        """Return the most probable component, shape (n_models, n_samples)."""
        return self._log_joint(points).argmax(1)

    def bic(self, points: Tensor) -> Tensor:
        """Return BIC, shape (n_models,): -2 log likelihood + parameters log n."""
        scores = self.score_samples(points)
        used = (self.weights_ > 0).sum(-1)
        n_free = used.to(scores) * (n_parameters(1, points.shape[-1]) + 1) - 1
        return -2.0 * scores.sum(-1) + n_free * math.log(scores.shape[-1])


def _check_fit(points: Tensor, responsibilities: Tensor) -> None:
    if not bool(torch.isfinite(points).all()):
        raise ValueError("points: all values must be finite; drop rows with NaN or infinity")
    if points.ndim not in (2, 3):
        raise ValueError(f"points: need 2 or 3 axes, got shape {tuple(points.shape)}")
    n_models, n_samples, _ = responsibilities.shape
    clouds = n_models if points.ndim == 3 else 1
    if points.shape[-2] != n_samples or (points.ndim == 3 and len(points) != clouds):
        raise ValueError(
            f"responsibilities: shape {tuple(responsibilities.shape)} does not match points "
            f"{tuple(points.shape)}; need (n_models, n_samples, n_components)"
        )
