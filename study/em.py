"""Expectation-maximisation for full-covariance Gaussian mixtures, many fits in one program.

Symbols: B fits (`models`), n points (`samples`), k components, D features of a point. With
y = [1, x] the log density of x under a component is a quadratic form in y, hence linear in the
F = (D + 1)(D + 2) / 2 products y_a y_b, a <= b. The E-step is one matrix product of the (k, F)
coefficients with these products and the M-step one product of the responsibilities with them.
A component's normalised sum of y y' is its *scatter* A = [[1, m'], [m, S + m m']]; det A = det S
and y' inv(A) y = 1 + (x - m)' inv(S) (x - m), so one Cholesky factor of A gives the whole E-step.
Points are centred first. The form cancels badly for a component that is thin compared with the
cloud (decoder means lie on a surface): those are evaluated from differences x - m instead.

What runs over points is PyTorch, on the points' device; the parameters are small and stay in NumPy
on the host, where an operation costs a microsecond. Responsibilities are (B, k, n) inside this
module, components before samples: reductions over components then run along contiguous samples.

References
----------
Dempster, Laird, Rubin, "Maximum likelihood from incomplete data via the EM algorithm", JRSS-B
1977, https://doi.org/10.1111/j.2517-6161.1977.tb01600.x
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.floating[Any]]

# Bound on the rounding error of a log density (nats) above which a component is called thin.
# Below it, the lower bound follows scikit-learn's to 1e-8 and better.
THIN_ERROR_NATS = 1e-9
# exp is thirty times slower where it underflows, and such a share is zero all the same.
SMALLEST_EXPONENT = -600.0
# A scaled density below this (or above its inverse) means that the offsets have gone stale.
SMALLEST_TOTAL = 1e-100
EPSILON = float(np.finfo(np.float64).eps)


class Mixtures(NamedTuple):
    """Parameters of B mixtures; a weight of exactly zero marks an unused (padding) component.

    Shapes: weights (B, k), means (B, k, D), covariances (B, k, D, D).
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray


class PreparedPoints:
    """Centred points and their pairwise products, computed once for all fits.

    Parameters
    ----------
    points : Tensor, shape (n, D) or (B, n, D)
        One cloud shared by every fit, or one cloud for each fit.

    Attributes
    ----------
    centre : ndarray, shape (S, 1, D), S = 1 or B
    points : Tensor, shape (S, n, D), centred, float64
    features : Tensor, shape (S, n, F)
    features_by_row : Tensor, shape (S, F, n), contiguous
    rounding : ndarray, shape (S, 1)
        eps times the largest squared radius; times a component's precision it bounds the rounding
        error of the quadratic form.
    """

    def __init__(self, points: Tensor) -> None:
        cloud = points.to(torch.float64)
        cloud = cloud[None] if cloud.ndim == 2 else cloud
        centre = cloud.mean(1, keepdim=True)
        self.centre: FloatArray = centre.cpu().numpy()
        self.points = cloud - centre
        self.n_samples, self.dim = cloud.shape[1:]
        self._index_products()
        extended = torch.cat([torch.ones_like(self.points[..., :1]), self.points], -1)
        self.features = extended[..., self.rows] * extended[..., self.columns]
        self.features_by_row = self.features.transpose(1, 2).contiguous()
        radius_sq = self.points.square().sum(-1).amax(1, keepdim=True)
        self.rounding: FloatArray = EPSILON * radius_sq.cpu().numpy()
        self._scratch: dict[tuple[str, int, int], Tensor] = {}

    def _index_products(self) -> None:
        """Lay out how the F products map to the (D + 1)^2 entries of a symmetric matrix."""
        side = self.dim + 1
        self.rows, self.columns = np.triu_indices(side)
        self.packing = self.rows * side + self.columns
        position = np.empty((side, side), dtype=np.int64)
        position[self.rows, self.columns] = np.arange(len(self.rows))
        position[self.columns, self.rows] = position[self.rows, self.columns]
        self.unpacking = position.ravel()
        # -1/2 of the quadratic form; an off-diagonal product stands for two entries.
        self.multiplicity = np.where(self.rows == self.columns, -0.5, -1.0)

    def unpack(self, products: FloatArray) -> FloatArray:
        """Return symmetric matrices (..., D + 1, D + 1) from packed products (..., F)."""
        side = self.dim + 1
        return products.take(self.unpacking, axis=-1).reshape(*products.shape[:-1], side, side)

    def pack_form(self, inverse: FloatArray) -> FloatArray:
        """Return coefficients (..., F) of -y' inverse y / 2 in the products y_a y_b."""
        flat = inverse.reshape(*inverse.shape[:-2], -1)
        return flat.take(self.packing, axis=-1) * self.multiplicity

    def to_device(self, values: FloatArray) -> Tensor:
        """Return a tensor beside the points."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.points.device)

    def cloud(self, model: int) -> Tensor:
        """Return the centred points (n, D) that fit number `model` sees."""
        return self.points[model if len(self.points) > 1 else 0]

    def scratch(self, name: str, n_models: int, n_rows: int) -> Tensor:
        """Return memory (n_models, n_rows, n) that the next call of the same shape reuses.

        Fresh memory for every iteration costs more in page faults than the arithmetic.
        """
        key = (name, n_models, n_rows)
        if key not in self._scratch:
            self._scratch[key] = self.points.new_empty(n_models, n_rows, self.n_samples)
        return self._scratch[key]

    def design(self, offset: Tensor) -> Tensor:
        """Return scratch (B, F + 1, n): the features, and an offset (B, n) as one more."""
        n_models, n_rows = len(offset), self.features_by_row.shape[1] + 1
        filled = ("design", n_models, n_rows) in self._scratch
        design = self.scratch("design", n_models, n_rows)
        if not filled:
            design[:, :-1] = self.features_by_row
        design[:, -1] = offset
        return design

    def take(self, index: list[int]) -> PreparedPoints:
        """Return the clouds of the chosen fits (a shared cloud stays shared)."""
        if len(self.points) == 1:
            return self
        part = object.__new__(PreparedPoints)
        part.__dict__.update(self.__dict__)
        for name in ("centre", "points", "features", "features_by_row", "rounding"):
            setattr(part, name, getattr(self, name)[index])
        part._scratch = {}
        return part


class Factors(NamedTuple):
    """What a scatter (..., D + 1, D + 1) gives the E-step.

    Shapes: inverse as the scatter; half_log_det (...), half the log determinant; failed (...),
    True where rounding left no positive definite matrix.
    """

    inverse: FloatArray
    half_log_det: FloatArray
    failed: NDArray[np.bool_] | None


def factorize(scatter: FloatArray) -> Factors:
    """Invert scatters; those that are not positive definite are replaced by the identity."""
    failed = None
    try:
        cholesky, inverse = np.linalg.cholesky(scatter), np.linalg.inv(scatter)
    except np.linalg.LinAlgError:
        side = scatter.shape[-1]
        eigenvalues = np.linalg.eigvalsh(scatter)
        # Twice what rounding alone can do to an eigenvalue: Cholesky succeeds above it.
        failed = ~(eigenvalues[..., 0] > 4 * side**2 * EPSILON * np.abs(eigenvalues[..., -1]))
        scatter = np.where(failed[..., None, None], np.eye(side), scatter)
        cholesky, inverse = np.linalg.cholesky(scatter), np.linalg.inv(scatter)
    diagonal = np.diagonal(cholesky, axis1=-2, axis2=-1)
    return Factors(inverse, np.log(diagonal).sum(-1), failed)


class _Thin(NamedTuple):
    """A component that is evaluated from differences: its place, mean, covariance, factor."""

    model: int
    component: int
    mean: FloatArray
    covariance: FloatArray
    cholesky: FloatArray


def _thin_component(model: int, component: int, mean: FloatArray, covariance: FloatArray) -> _Thin:
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise ValueError(
            "points: a component's covariance is not positive definite; rescale the points or "
            "raise reg_covar"
        ) from None
    return _Thin(model, component, mean, covariance, root)


class EMRun:
    """B fits in progress; `step` does one E-step and one M-step on all of them.

    Densities are scaled by the previous iteration's log density of the same point instead of the
    largest component's: it needs no pass for the maximum, and it is renewed when it goes stale.

    Parameters
    ----------
    data : PreparedPoints
    mixtures : Mixtures
        Start, in the centred coordinates of `data`.
    reg_covar : float
        Added to the diagonal of every covariance that a step computes (squared data units).

    Attributes
    ----------
    log_likelihood : ndarray, shape (B,), nats in total
        Of the parameters *before* the last M-step: scikit-learn's lower bound times n.
    """

    def __init__(
        self, data: PreparedPoints, mixtures: Mixtures, *, reg_covar: float = 1e-6
    ) -> None:
        weights, means, covariances = mixtures
        scatter = np.empty((*weights.shape, data.dim + 1, data.dim + 1))
        scatter[..., 0, 0] = 1.0
        scatter[..., 0, 1:] = scatter[..., 1:, 0] = means
        scatter[..., 1:, 1:] = covariances + means[..., :, None] * means[..., None, :]
        self._set_up(data, weights, scatter, reg_covar)
        self._thin: list[_Thin] = [
            _thin_component(b, j, means[b, j], covariances[b, j]) for b, j in self._thin_places()
        ]

    def _set_up(
        self, data: PreparedPoints, weights: FloatArray, scatter: FloatArray, reg_covar: float
    ) -> None:
        self.data = data
        self.reg_covar = reg_covar
        self.log_likelihood = np.full(len(weights), -np.inf)
        self._log_prob: Tensor | None = None
        used = weights > 0.0
        self._used = None if used.all() else used
        self._ridge = reg_covar * np.eye(data.dim + 1)
        self._ridge[0, 0] = 0.0
        self._weights, self._scatter = weights, scatter
        self._factors = factorize(scatter)

    @classmethod
    def from_responsibilities(
        cls, data: PreparedPoints, responsibilities: Tensor, *, reg_covar: float = 1e-6
    ) -> EMRun:
        """Start with an M-step from responsibilities (B, n, k), as scikit-learn does."""
        by_component = responsibilities.transpose(1, 2).contiguous()
        run = object.__new__(cls)
        weights = by_component.mean(-1).cpu().numpy()
        unit = np.broadcast_to(np.eye(data.dim + 1), (*weights.shape, data.dim + 1, data.dim + 1))
        run._set_up(data, weights, unit, reg_covar)
        run._m_step(by_component)
        return run

    @property
    def n_components(self) -> int:
        """k, padding included."""
        return self._weights.shape[1]

    @property
    def mixtures(self) -> Mixtures:
        """The current parameters, in the centred coordinates of the points."""
        means = self._scatter[..., 0, 1:].copy()
        covariances = self._scatter[..., 1:, 1:] - means[..., :, None] * means[..., None, :]
        for thin in self._thin:
            covariances[thin.model, thin.component] = thin.covariance
        return Mixtures(self._weights, means, covariances)

    def step(self) -> FloatArray:
        """Do one iteration; return the total log likelihood (B,) before its M-step."""
        self._m_step(self._responsibilities())
        return self.log_likelihood

    def evaluate(self) -> FloatArray:
        """Return the total log likelihood (B,) of the current parameters, without a step."""
        self._densities()
        return self.log_likelihood

    def responsibilities(self) -> Tensor:
        """Return the posterior of each component given each point, shape (B, k, n)."""
        return self._responsibilities().clone()

    def log_prob(self) -> Tensor:
        """Return the log density of each point, shape (B, n), nats."""
        self._densities()
        assert self._log_prob is not None
        return self._log_prob

    def log_joint(self) -> Tensor:
        """Return log(weight_j N(x | j)), shape (B, k, n), nats."""
        return self._log_joint(None).clone()

    def take(self, index: list[int]) -> EMRun:
        """Return a run of the chosen fits only; the others are left as they are."""
        part = object.__new__(EMRun)
        data = self.data.take(index)
        part._set_up(data, self._weights[index], self._scatter[index], self.reg_covar)
        part.log_likelihood = self.log_likelihood[index]
        part._log_prob = None if self._log_prob is None else self._log_prob[index]
        place = {model: at for at, model in enumerate(index)}
        part._thin = [
            thin._replace(model=place[thin.model]) for thin in self._thin if thin.model in place
        ]
        return part

    def _thin_places(self) -> list[list[int]]:
        """Return (model, component) where the quadratic form would lose too many digits."""
        inverse, _, failed = self._factors
        precision = np.diagonal(inverse, axis1=-2, axis2=-1)[..., 1:].max(-1)
        thin = ~(precision * self.data.rounding < THIN_ERROR_NATS)
        if failed is not None:
            thin |= failed
        return np.argwhere(thin).tolist() if thin.any() else []

    def _log_weights(self) -> FloatArray:
        if self._used is None:
            return np.log(self._weights)
        return np.log(self._weights, where=self._used, out=np.full_like(self._weights, -np.inf))

    def _log_joint(self, offset: Tensor | None) -> Tensor:
        """Return log(weight_j N(x | j)) minus `offset` (B, n): scratch (B, k, n), nats."""
        data = self.data
        log_weights = self._log_weights()
        log_unit = 0.5 * data.dim * math.log(2 * math.pi)
        n_models, k = log_weights.shape
        n_features = len(data.packing)
        # The offset is one more feature with coefficient -1: no pass of its own.
        coefficients = np.full((n_models, k, n_features + 1), -1.0)
        coefficients[..., :n_features] = data.pack_form(self._factors.inverse)
        coefficients[..., 0] += log_weights - self._factors.half_log_det - (log_unit - 0.5)
        values = data.scratch("values", n_models, k)
        if offset is None:
            rows = data.features_by_row.expand(n_models, -1, -1)
            torch.bmm(data.to_device(coefficients[..., :n_features]), rows, out=values)
        else:
            torch.bmm(data.to_device(coefficients), data.design(offset), out=values)
        for thin in self._thin:
            whitened = torch.linalg.solve_triangular(
                data.to_device(thin.cholesky),
                (data.cloud(thin.model) - data.to_device(thin.mean)).T,
                upper=False,
            )
            peak = log_weights[thin.model, thin.component] - log_unit
            direct = whitened.square_().sum(0).mul_(-0.5)
            direct += float(peak - np.log(np.diagonal(thin.cholesky)).sum())
            if offset is not None:
                direct -= offset[thin.model]
            values[thin.model, thin.component] = direct
        return values

    def _densities(self) -> tuple[Tensor, Tensor]:
        """Return scaled densities (B, k, n), in scratch, and their sums over components (B, n)."""
        if self._log_prob is not None:
            scaled, total = self._scaled_by(self._log_prob)
            smallest, largest = torch.aminmax(total)
            if float(smallest) > SMALLEST_TOTAL and float(largest) < 1.0 / SMALLEST_TOTAL:
                return scaled, total
        offset = self._log_joint(None).amax(1)
        return self._scaled_by(offset)

    def _scaled_by(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        scaled = self._log_joint(offset).clamp_(min=SMALLEST_EXPONENT).exp_()
        if self._used is not None:
            scaled *= self.data.to_device(self._used.astype(np.float64))[..., None]
        total = scaled.sum(1)
        self._log_prob = total.log().add_(offset)
        self.log_likelihood = self._log_prob.sum(-1).cpu().numpy()
        return scaled, total

    def _responsibilities(self) -> Tensor:
        scaled, total = self._densities()
        return scaled.div_(total[:, None])

    def _m_step(self, responsibilities: Tensor) -> None:
        """Set the parameters that maximise the likelihood given responsibilities (B, k, n)."""
        data = self.data
        features = data.features.expand(len(responsibilities), -1, -1)
        moments = torch.bmm(responsibilities, features).cpu().numpy()
        counts = moments[..., 0] + 10 * EPSILON  # as scikit-learn
        scatter = data.unpack(moments / counts[..., None])
        scatter += self._ridge
        scatter[..., 0, 0] = 1.0
        if self._used is not None:
            counts = counts * self._used
            scatter[~self._used] = np.eye(data.dim + 1)
        self._weights = counts / counts.sum(-1, keepdims=True)
        self._scatter = scatter
        self._factors = factorize(scatter)
        thin = []
        for model, component in self._thin_places():
            mean = scatter[model, component, 0, 1:]
            share = responsibilities[model, component] / counts[model, component]
            difference = data.cloud(model) - data.to_device(mean)
            covariance = ((share * difference.T) @ difference).cpu().numpy()
            covariance += self._ridge[1:, 1:]
            thin.append(_thin_component(model, component, mean, covariance))
        self._thin = thin


@dataclass(frozen=True, slots=True)
class EMResult:
    """Where B fits stopped.

    Parameters
    ----------
    mixtures : Mixtures
        In the coordinates of the prepared points (centred).
    lower_bound : ndarray, shape (B,)
        Mean log likelihood (nats) before the last M-step, as scikit-learn reports it.
    n_iter : ndarray of int, shape (B,)
    converged : ndarray of bool, shape (B,)
    """

    mixtures: Mixtures
    lower_bound: FloatArray
    n_iter: NDArray[np.int64]
    converged: NDArray[np.bool_]


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
    done = Mixtures(*(np.empty_like(part) for part in run.mixtures))
    n_models = len(done.weights)
    lower_bound = np.full(n_models, -np.inf)
    n_iter = np.zeros(n_models, dtype=np.int64)
    converged = np.zeros(n_models, dtype=np.bool_)
    active = np.arange(n_models)
    for iteration in range(1, max_iter + 1):
        previous = lower_bound[active]
        lower_bound[active] = run.step() / run.data.n_samples
        n_iter[active] = iteration
        finished = np.abs(lower_bound[active] - previous) < tol
        converged[active] = finished
        if finished.any() or iteration == max_iter:
            for target, source in zip(done, run.mixtures, strict=True):
                target[active] = source
            keep = np.flatnonzero(~finished)
            if not len(keep):
                break
            run, active = run.take(keep.tolist()), active[keep]
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
    device : str or torch.device
        Where the points are worked on.

    Attributes
    ----------
    weights_ : ndarray, shape (n_models, n_components)
    means_ : ndarray, shape (n_models, n_components, n_features)
    covariances_ : ndarray, shape (n_models, n_components, n_features, n_features)
    lower_bound_ : ndarray, shape (n_models,), nats per sample
    n_iter_, converged_ : ndarray, shape (n_models,)
    """

    def __init__(
        self,
        *,
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        device: str | torch.device = "cpu",
    ) -> None:
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.device = device

    def fit(self, points: FloatArray, responsibilities: FloatArray) -> GaussianMixtures:
        """Fit from starting responsibilities.

        Parameters
        ----------
        points : ndarray, shape (n_samples, n_features) or (n_models, n_samples, n_features)
            One cloud for all fits, or one for each.
        responsibilities : ndarray, shape (n_models, n_samples, n_components)
            Rows sum to one. A component whose column is zero throughout stays unused, so fits
            with different numbers of components run together.

        Raises
        ------
        ValueError
            When points are not finite, shapes disagree, or a covariance is not positive definite.
        """
        _check_fit(points, responsibilities)
        data = self._prepare(points)
        shares = torch.as_tensor(responsibilities, dtype=torch.float64, device=self.device)
        start = EMRun.from_responsibilities(data, shares, reg_covar=self.reg_covar)
        result = run_em(start, tol=self.tol, max_iter=self.max_iter)
        self.weights_ = result.mixtures.weights
        self.means_ = result.mixtures.means + data.centre
        self.covariances_ = result.mixtures.covariances
        self.lower_bound_, self.n_iter_ = result.lower_bound, result.n_iter
        self.converged_ = result.converged
        return self

    def _prepare(self, points: FloatArray) -> PreparedPoints:
        return PreparedPoints(torch.as_tensor(points, dtype=torch.float64, device=self.device))

    def _log_joint(self, points: FloatArray) -> Tensor:
        data = self._prepare(points)
        centred = Mixtures(self.weights_, self.means_ - data.centre, self.covariances_)
        return EMRun(data, centred).log_joint()

    def score_samples(self, points: FloatArray) -> FloatArray:
        """Return log densities, shape (n_models, n_samples), nats."""
        return torch.logsumexp(self._log_joint(points), 1).cpu().numpy()

    def predict(self, points: FloatArray) -> NDArray[np.int64]:
        """Return the most probable component, shape (n_models, n_samples)."""
        return self._log_joint(points).argmax(1).cpu().numpy()

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
