"""Expectation-maximisation for full-covariance Gaussian mixtures, many fits in one program.

Symbols: B fits (`models`), n points (`samples`), k components, D features of a point. With
y = [1, x] the log density of x under a component is a quadratic form in y, hence linear in the
F = (D + 1)(D + 2) / 2 products y_a y_b, a <= b. The E-step is one matrix product of the (k, F)
coefficients with these products and the M-step one product of the responsibilities with them.
A component's normalised sum of y y' is its *scatter* A = [[1, m'], [m, S + m m']]; det A = det S
and y' inv(A) y = 1 + (x - m)' inv(S) (x - m), so one Cholesky factor of A gives the whole E-step.
Points are centred first. The form cancels badly for a component that is thin compared with the
cloud (decoder means lie on a surface): those are evaluated from differences x - m instead.

Responsibilities are (B, k, n) inside this module, components before samples: reductions over
components then run along contiguous samples.

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
from torch import Tensor

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

    weights: Tensor
    means: Tensor
    covariances: Tensor


class PreparedPoints:
    """Centred points and their pairwise products, computed once for all fits.

    Parameters
    ----------
    points : Tensor, shape (n, D) or (B, n, D)
        One cloud shared by every fit, or one cloud for each fit.

    Attributes
    ----------
    centre : Tensor, shape (S, 1, D), S = 1 or B
    points : Tensor, shape (S, n, D), centred, float64
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
        self._index_products()
        extended = torch.cat([torch.ones_like(self.points[..., :1]), self.points], -1)
        self.features = extended[..., self.rows] * extended[..., self.columns]
        self.features_by_row = self.features.transpose(1, 2).contiguous()
        self.rounding = EPSILON * self.points.square().sum(-1).amax(1, keepdim=True)
        self._scratch: dict[tuple[str, int, int], Tensor] = {}

    def _index_products(self) -> None:
        """Lay out how the F products map to the (D + 1)^2 entries of a symmetric matrix."""
        side, device = self.dim + 1, self.points.device
        self.rows, self.columns = torch.triu_indices(side, side, device=device)
        self.packing = self.rows * side + self.columns
        position = torch.empty(side, side, dtype=torch.int64, device=device)
        position[self.rows, self.columns] = torch.arange(len(self.rows), device=device)
        position[self.columns, self.rows] = position[self.rows, self.columns]
        self.unpacking = position.flatten()
        # -1/2 of the quadratic form; an off-diagonal product stands for two entries.
        half = torch.where(self.rows == self.columns, -0.5, -1.0)
        self.multiplicity = half.to(self.points)

    def unpack(self, products: Tensor) -> Tensor:
        """Return symmetric matrices (..., D + 1, D + 1) from packed products (..., F)."""
        side = self.dim + 1
        return products[..., self.unpacking].unflatten(-1, (side, side))

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


class _Thin(NamedTuple):
    """A component that is evaluated from differences: its place, mean, covariance, factor."""

    model: int
    component: int
    mean: Tensor
    covariance: Tensor
    cholesky: Tensor


def _thin_component(model: int, component: int, mean: Tensor, covariance: Tensor) -> _Thin:
    return _Thin(
        model, component, mean, covariance, torch.linalg.cholesky_ex(covariance).L
    )


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
    log_likelihood : Tensor, shape (B,), nats in total
        Of the parameters *before* the last M-step: scikit-learn's lower bound times n.
    """

    def __init__(
        self, data: PreparedPoints, mixtures: Mixtures, *, reg_covar: float = 1e-6
    ) -> None:
        weights, means, covariances = mixtures
        extended = torch.cat([torch.ones_like(means[..., :1]), means], -1)
        scatter = extended[..., :, None] * extended[..., None, :]
        scatter[..., 1:, 1:] += covariances
        self._set_up(data, weights, scatter, reg_covar)
        self._thin = [
            _thin_component(b, j, means[b, j], covariances[b, j]) for b, j in self._thin_places()
        ]

    def _set_up(
        self, data: PreparedPoints, weights: Tensor, scatter: Tensor, reg_covar: float
    ) -> None:
        self.data = data
        self.reg_covar = reg_covar
        self.log_likelihood = torch.full_like(weights[:, 0], -torch.inf)
        self._log_prob: Tensor | None = None
        used = weights > 0.0
        self._used = None if bool(used.all()) else used.to(weights)
        ridge = torch.full((data.dim + 1,), reg_covar, dtype=weights.dtype, device=weights.device)
        ridge[0] = 0.0
        self._ridge = torch.diag(ridge)
        self._weights, self._scatter = weights, scatter
        self._factorize()

    @classmethod
    def from_responsibilities(
        cls, data: PreparedPoints, responsibilities: Tensor, *, reg_covar: float = 1e-6
    ) -> EMRun:
        """Start with an M-step from responsibilities (B, n, k), as scikit-learn does."""
        by_component = responsibilities.transpose(1, 2).contiguous()
        run = object.__new__(cls)
        weights = by_component.mean(-1)
        unit = torch.eye(data.dim + 1).to(weights)
        run._set_up(data, weights, unit.expand(*weights.shape, -1, -1), reg_covar)
        run._m_step(by_component)
        return run

    @property
    def n_components(self) -> int:
        """k, padding included."""
        return self._weights.shape[1]

    @property
    def mixtures(self) -> Mixtures:
        """The current parameters, in the centred coordinates of the points."""
        means = self._scatter[..., 0, 1:].clone()
        covariances = self._scatter[..., 1:, 1:] - means[..., :, None] * means[..., None, :]
        for thin in self._thin:
            covariances[thin.model, thin.component] = thin.covariance
        return Mixtures(self._weights, means, covariances)

    def step(self) -> Tensor:
        """Do one iteration; return the total log likelihood (B,) before its M-step."""
        self._m_step(self._responsibilities())
        return self.log_likelihood

    def evaluate(self) -> Tensor:
        """Return the total log likelihood (B,) of the current parameters, without a step."""
        self._densities()
        return self.log_likelihood

    def responsibilities(self) -> Tensor:
        """Return the posterior of each component given each point, shape (B, k, n)."""
        return self._responsibilities().clone()

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

    def _factorize(self) -> None:
        cholesky, self._failed = torch.linalg.cholesky_ex(self._scatter)
        if bool(self._failed.any()):
            # Rounding left no positive definite scatter: the component will be called thin.
            unit = torch.eye(self.data.dim + 1).to(cholesky)
            cholesky = torch.where(self._failed[..., None, None] > 0, unit, cholesky)
        self._inverse = torch.cholesky_inverse(cholesky)
        self._half_log_det = cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        self._thin: list[_Thin] = []

    def _thin_places(self) -> list[list[int]]:
        """Return (model, component) where the quadratic form would lose too many digits."""
        trace = self._inverse.diagonal(dim1=-2, dim2=-1)[..., 1:].sum(-1)
        fine = (self.data.rounding * trace < THIN_ERROR_NATS) & (self._failed == 0)
        return [] if bool(fine.all()) else (~fine).nonzero().tolist()

    def _log_joint(self, offset: Tensor | None) -> Tensor:
        """Return log(weight_j N(x | j)) minus `offset` (B, n): scratch (B, k, n), nats."""
        data = self.data
        log_weights = self._weights.log()
        log_unit = 0.5 * data.dim * math.log(2 * math.pi)
        coefficients = self._inverse.flatten(-2)[..., data.packing] * data.multiplicity
        coefficients[..., 0] += log_weights - self._half_log_det - (log_unit - 0.5)
        n_models, k, _ = coefficients.shape
        values = data.scratch("values", n_models, k)
        if offset is None:
            torch.bmm(coefficients, data.features_by_row.expand(n_models, -1, -1), out=values)
        else:
            # The offset is one more feature with coefficient -1: no pass of its own.
            less = coefficients.new_full((n_models, k, 1), -1.0)
            torch.bmm(torch.cat([coefficients, less], -1), data.design(offset), out=values)
        for thin in self._thin:
            whitened = torch.linalg.solve_triangular(
                thin.cholesky, (data.cloud(thin.model) - thin.mean).T, upper=False
            )
            peak = log_weights[thin.model, thin.component] - log_unit
            direct = whitened.square_().sum(0).mul_(-0.5)
            direct += peak - thin.cholesky.diagonal().log().sum()
            if offset is not None:
                direct -= offset[thin.model]
            values[thin.model, thin.component] = direct
        return values

    def _densities(self) -> tuple[Tensor, Tensor]:
        """Return scaled densities (B, k, n), in scratch, and their sums over components (B, n)."""
        if self._log_prob is not None:
            scaled, total = self._scaled_by(self._log_prob)
            smallest, largest = torch.aminmax(total)
            if SMALLEST_TOTAL < float(smallest) and float(largest) < 1.0 / SMALLEST_TOTAL:
                return scaled, total
        offset = self._log_joint(None).amax(1)
        return self._scaled_by(offset)

    def _scaled_by(self, offset: Tensor) -> tuple[Tensor, Tensor]:
        scaled = self._log_joint(offset).clamp_(min=SMALLEST_EXPONENT).exp_()
        if self._used is not None:
            scaled *= self._used[..., None]
        total = scaled.sum(1)
        self._log_prob = total.log().add_(offset)
        self.log_likelihood = self._log_prob.sum(-1)
        return scaled, total

    def _responsibilities(self) -> Tensor:
        scaled, total = self._densities()
        return scaled.div_(total[:, None])

    def _m_step(self, responsibilities: Tensor) -> None:
        """Set the parameters that maximise the likelihood given responsibilities (B, k, n)."""
        data = self.data
        features = data.features.expand(len(responsibilities), -1, -1)
        moments = torch.bmm(responsibilities, features)
        counts = moments[..., :1] + 10 * EPSILON  # as scikit-learn
        scatter = data.unpack(moments / counts) + self._ridge
        scatter[..., 0, 0] = 1.0
        counts = counts[..., 0]
        if self._used is not None:
            counts = counts * self._used
            scatter[self._used == 0] = torch.eye(data.dim + 1).to(scatter)
        self._weights = counts / counts.sum(-1, keepdim=True)
        self._scatter = scatter
        self._factorize()
        thin = []
        for model, component in self._thin_places():
            mean = scatter[model, component, 0, 1:]
            share = responsibilities[model, component] / counts[model, component]
            difference = data.cloud(model) - mean
            covariance = (share * difference.T) @ difference + self._ridge[1:, 1:]
            thin.append(_thin_component(model, component, mean, covariance))
        self._thin = thin


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
        return EMRun(data, centred).log_joint()

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
