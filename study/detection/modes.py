"""Counting modes: the original's protocol and the calibrated one, whole BIC curve in hand.

Symbols: n points in D dimensions, k components; k* minimises BIC(k) = -2 l(k) + p(k) log n over
the curve, where l is the total log likelihood (nats) and p(k) = k (1 + D + D (D + 1) / 2) - 1.
ICL(k) = BIC(k) + 2 x the entropy (nats, in total) of the posterior component labels.

The calibrated protocol works in whitened coordinates (`study.detection.whitening`) and returns
everything in the units of the points, without directions along which they do not vary: D counts
the others.

References
----------
Biernacki, Celeux, Govaert, "Assessing a mixture model for clustering with the integrated
completed likelihood", IEEE TPAMI 2000, https://doi.org/10.1109/34.865189
Li, Ray, Lindsay, "A nonparametric statistical approach to clustering via mode identification",
JMLR 2007, https://www.jmlr.org/papers/v8/li07a.html
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from study.config import ORIGINAL_RANGE
from study.config.checks import min_points
from study.config.sections import Family
from study.detection.calibrated import search_path
from study.detection.cloud import Cloud, FloatArray, Mixture, n_parameters, pseudo_count_of
from study.detection.compiling import compile_detection
from study.detection.criteria import contrast_errors
from study.detection.families import (
    FEWEST_POINTS,
    FamilySearch,
    find_units,
    n_family_parameters,
)
from study.detection.likelihood_path import RISES
from study.detection.sight import Sight, inspect
from study.detection.starts import climb_supported
from study.detection.whitening import Whitening

if TYPE_CHECKING:
    # Not loaded here: it brings torch, which counting does not need.
    from study.data.mixture import TrueMixture

BUILT_IN = ("original", "calibrated")
ORIGINAL_KS = range(ORIGINAL_RANGE[0], ORIGINAL_RANGE[1] + 1)
ORIGINAL_SEED = 42
# scikit-learn's defaults: mean log likelihood (nats) and iterations.
ORIGINAL_TOLERANCE = 1e-3
ORIGINAL_MAX_ITER = 100
# Added to the diagonal of every covariance (squared data units).
ORIGINAL_RIDGE = 1e-6


@dataclass(frozen=True, slots=True)
class FittedMixture:
    """A fitted Gaussian mixture in data units.

    Parameters
    ----------
    weights : ndarray, shape (k,)
    means : ndarray, shape (k, D)
    covariances : ndarray, shape (k, D, D)
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray


@dataclass(frozen=True, slots=True)
class ModeCount:
    """What counting the modes of one point set found, and what it cost.

    Parameters
    ----------
    k : int
        k*, the number of components with the lowest BIC.
    ks : ndarray of int, shape (n_k,)
        The curve's abscissa, ascending.
    log_likelihood, bic, icl : ndarray, shape (n_k,)
        Total log likelihood (nats), BIC and ICL of the best fit found for each k.
    contrast_errors : ndarray, shape (n_k,)
        Sampling error (nats) of each log likelihood less the one at k*; see `criteria`.
    converged : ndarray of bool, shape (n_k,)
    at_k_max : bool
        k* is the largest k that was asked for.
    at_cap : bool
        k* is the largest k that has D + 1 distinct points for each component.
    stopped : bool
        The search found no fit with more components that is better than that with the last k, and
        BIC had not risen five times by then. Where k* is that last k the count is right-censored;
        elsewhere BIC had risen at least once.
    at_floor : bool
        k* is the smallest k tried and that is above 1: the count is left-censored.
    n_repairs : int
        Fits on the curve that had to be replaced because the likelihood fell from k - 1 to k.
    fitted : FittedMixture
        The mixture at k*. Along null directions its covariances are the rounding of the points.
    n_iterations : int
        EM iterations on the whole point set.
    wall_time_s : float
    n_distinct : int
        Points without their copies.
    n_null : int
        Directions along which the points do not vary; they are left out of likelihood and price.
    has_ties : bool
        Points are repeated, or lie on a lattice along some axis: densities of such points have no
        meaning below the lattice's width, and a count may follow the lattice.
    notes : tuple of str
        What a reader of the count should know of the points, in whole sentences.
    family : str
        Covariances of the mixtures: "full", or another of `study.detection.families`.
    family_bic : dict of str to float
        The lowest BIC of each family that was fitted.
    """

    k: int
    ks: NDArray[np.int64]
    log_likelihood: FloatArray
    bic: FloatArray
    icl: FloatArray
    contrast_errors: FloatArray
    converged: NDArray[np.bool_]
    at_k_max: bool
    at_cap: bool
    stopped: bool
    at_floor: bool
    n_repairs: int
    fitted: FittedMixture
    n_iterations: int
    wall_time_s: float
    n_distinct: int
    n_null: int = 0
    has_ties: bool = False
    notes: tuple[str, ...] = ()
    family: str = "full"
    family_bic: dict[str, float] = field(default_factory=dict)

    @property
    def at_ceiling(self) -> bool:
        """Whether the count is right-censored, for whichever reason."""
        return self.at_k_max or self.at_cap or (self.stopped and bool(self.k == self.ks[-1]))


def detect_modes(
    points: FloatArray,
    *,
    protocol: str,
    k_min: int = 1,
    k_max: int = 40,
    restarts: int = 1,
    seed: int = 0,
    families: Sequence[Family] = ("full",),
) -> ModeCount:
    """Count the modes of a point set by BIC over Gaussian mixtures.

    Parameters
    ----------
    points : ndarray, shape (n, D)
    protocol : "original" or "calibrated"
        "original": scikit-learn's GaussianMixture, full covariance, k = 5..14, random_state 42,
        defaults; the remaining arguments are ignored. "calibrated": the split-and-merge path.
    k_min, k_max : int
        Range of the calibrated protocol. The range tried ends early once BIC has risen for five
        consecutive k; reaching k_max as the minimum sets `at_ceiling`.
    restarts : int
        Independent searches of the calibrated protocol, at least.
    seed : int
        Seeds the calibrated protocol.
    families : sequence of str
        Covariances that the calibrated protocol fits: "full", "diagonal", "spherical", "tied"
        (`study.detection.families`). With more than one, BIC chooses among them beside k.

    Returns
    -------
    ModeCount

    Raises
    ------
    ValueError
        When points are not a finite (n, D) array, are too few for k_min components or for a
        family, or the range, the number of restarts or the families are not possible.
    """
    started = time.perf_counter()
    cloud = _checked(points)
    if protocol not in BUILT_IN:
        raise ValueError(f"protocol: must be one of {BUILT_IN}, got {protocol!r}")
    if protocol == "calibrated" and not 1 <= k_min <= k_max:
        raise ValueError(f"k_min: need 1 <= k_min <= k_max, got k_min={k_min}, k_max={k_max}")
    if protocol == "calibrated" and restarts < 1:
        raise ValueError(f"restarts: must be at least 1, got {restarts}")
    compile_detection()
    try:
        if protocol == "original":
            return _count_original(cloud, started)
        sight = inspect(cloud)
        _check_families(families, sight, cloud)
        counts = [
            _count_calibrated(sight, k_min, k_max, restarts, seed, started)
            if family == "full"
            else _count_family(family, sight, cloud, (k_min, k_max), seed, started)
            for family in families
        ]
    except np.linalg.LinAlgError:
        raise ValueError(
            "points: covariances are singular to working precision (standard deviations "
            f"{np.array2string(cloud.std(axis=0), precision=3)}); drop far outliers"
        ) from None
    best = min(counts, key=lambda count: float(count.bic.min()))
    lowest = {count.family: float(count.bic.min()) for count in counts}
    elapsed = time.perf_counter() - started
    return replace(best, family_bic=lowest, wall_time_s=elapsed)


def _check_families(families: Sequence[Family], sight: Sight, cloud: FloatArray) -> None:
    """Refuse families that do not exist or that these points do not allow."""
    if not families or not set(families) <= set(get_args(Family)):
        raise ValueError(f"families: must be some of {get_args(Family)}, got {tuple(families)}")
    if tuple(families) == ("full",) or not sight.whitening.n_null:
        return
    dim = cloud.shape[1]
    if sight.n_distinct <= dim and "full" in families:
        raise ValueError(
            f"families: {sight.n_distinct} distinct points in {dim} dimensions are too few for "
            f"full covariances, which take {dim + 1}; leave full out or draw more points"
        )
    if set(families) - {"full", "tied"} and sight.n_distinct > dim:
        raise ValueError(
            f"families: the points vary in {sight.dim} of {dim} directions only, where "
            "likelihoods of full and of other covariances have nothing in common; project the "
            "points or ask for full alone"
        )


def _count_family(
    family: str,
    sight: Sight,
    cloud: FloatArray,
    k_range: tuple[int, int],
    seed: int,
    started: float,
) -> ModeCount:
    """Count with covariances of a family other than full."""
    k_min, k_max = k_range
    k_cap = min(k_max, sight.n_distinct // FEWEST_POINTS)
    if k_cap < k_min:
        raise ValueError(
            f"points: {sight.n_distinct} distinct points allow at most {k_cap} {family} "
            f"components, k_min is {k_min}; draw more points or lower k_min"
        )
    units = find_units(family, cloud, sight)
    search = FamilySearch(
        family, units.white, np.random.default_rng(seed), k_min=k_min, k_max=k_cap
    )
    search.run()
    ks = np.array(sorted(search.fits))
    fits = [search.fits[k] for k in ks.tolist()]
    log_likelihood = np.array([fit.log_likelihood for fit in fits])
    log_likelihood -= len(cloud) * units.log_volume
    n_free = np.array([n_family_parameters(family, k, search.dim) for k in ks.tolist()])
    bic = n_free * np.log(len(cloud)) - 2.0 * log_likelihood
    at = int(bic.argmin())
    is_last = at == len(ks) - 1
    weights, means, covariances = units.to_data(fits[at])
    return ModeCount(
        k=int(ks[at]),
        ks=ks,
        log_likelihood=log_likelihood,
        bic=bic,
        icl=bic + 2.0 * np.array([fit.entropy for fit in fits]),
        contrast_errors=contrast_errors(
            len(fits), at, lambda place: search.log_densities(fits[place])
        ),
        converged=np.array([fit.converged for fit in fits]),
        at_k_max=bool(is_last and ks[-1] == k_max),
        at_cap=bool(is_last and ks[-1] == k_cap < k_max),
        stopped=bool(ks[-1] < k_cap and at >= len(ks) - RISES),
        at_floor=at == 0 and ks[0] > 1,
        n_repairs=0,
        fitted=FittedMixture(weights, means, covariances),
        n_iterations=search.n_iterations,
        wall_time_s=time.perf_counter() - started,
        n_distinct=sight.n_distinct,
        n_null=sight.whitening.n_null if family == "tied" else 0,
        has_ties=sight.has_ties,
        notes=sight.notes,
        family=family,
    )


def _checked(points: FloatArray) -> FloatArray:
    cloud = np.ascontiguousarray(points, dtype=np.float64)
    if cloud.ndim != 2 or not cloud.size:
        raise ValueError(f"points: need shape (n, D), got {cloud.shape}; reshape the array")
    if not np.isfinite(cloud).all():
        bad = int((~np.isfinite(cloud).all(axis=1)).sum())
        raise ValueError(f"points: {bad} rows hold NaN or infinity; drop them before counting")
    return cloud


def _count_original(cloud: FloatArray, started: float) -> ModeCount:
    if len(cloud) < max(ORIGINAL_KS):
        raise ValueError(
            f"points: the original protocol fits up to {max(ORIGINAL_KS)} components and needs "
            f"at least as many points, got {len(cloud)}; draw more points"
        )
    data = Cloud(cloud, ridge=ORIGINAL_RIDGE)
    tol_nats = ORIGINAL_TOLERANCE * len(cloud)
    ends = [
        data.climb(_kmeans_start(data, cloud, k), tol_nats=tol_nats, max_iter=ORIGINAL_MAX_ITER)
        for k in ORIGINAL_KS
    ]
    scores = [data.score(end.mixture) for end in ends]
    _, log_likelihood, entropy = np.array(scores).T
    n_free = np.array([n_parameters(k, cloud.shape[1]) for k in ORIGINAL_KS])
    bic = n_free * np.log(len(cloud)) - 2.0 * log_likelihood
    at = int(bic.argmin())
    return ModeCount(
        k=ORIGINAL_KS[at],
        ks=np.array(ORIGINAL_KS),
        log_likelihood=log_likelihood,
        bic=bic,
        icl=bic + 2.0 * entropy,
        contrast_errors=contrast_errors(
            len(ends), at, lambda place: data.judge(ends[place].mixture)[1]
        ),
        converged=np.array([end.converged for end in ends]),
        at_k_max=at == len(bic) - 1,
        at_cap=False,
        stopped=False,
        at_floor=at == 0,
        n_repairs=0,
        fitted=_in_data_units(ends[at].mixture, data),
        n_iterations=sum(end.n_iter for end in ends),
        wall_time_s=time.perf_counter() - started,
        n_distinct=len(np.unique(cloud, axis=0)),
    )


def _in_data_units(mixture: Mixture, cloud: Cloud) -> FittedMixture:
    weights, means, covariances = mixture
    return FittedMixture(weights, means + cloud.centre, covariances)


def _kmeans_start(data: Cloud, cloud: FloatArray, k: int) -> Mixture:
    """Start as scikit-learn's GaussianMixture does: one run of k-means, then an M-step."""
    rng = np.random.RandomState(ORIGINAL_SEED)
    with warnings.catch_warnings():
        # Fewer distinct points than clusters: empty ones get no weight, as in scikit-learn.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = KMeans(k, n_init=1, random_state=rng).fit(cloud).labels_
    return data.from_labels(labels[data.order])


def _count_calibrated(
    sight: Sight, k_min: int, k_max: int, restarts: int, seed: int, started: float
) -> ModeCount:
    whitening = sight.whitening
    k_cap = min(k_max, sight.k_cap)
    if k_cap < k_min:
        wanted = min_points(k_min, sight.dim)
        raise ValueError(
            f"points: {sight.n_distinct} distinct points that vary in {sight.dim} directions "
            f"allow at most {sight.k_cap} components, k_min is {k_min}; draw at least {wanted} "
            "points or lower k_min"
        )
    if not sight.dim:
        return _count_one_place(sight, started)
    path = search_path(sight.white, k_min=k_min, k_max=k_cap, restarts=restarts, seed=seed)
    n_samples = path.n_samples
    ks = np.array(sorted(path.fits))
    fits = [path.fits[k] for k in ks.tolist()]
    n_free = np.array([n_parameters(k, sight.dim) for k in ks.tolist()])
    log_likelihood = np.array([fit.log_likelihood for fit in fits])
    log_likelihood -= n_samples * whitening.log_volume
    bic = n_free * np.log(n_samples) - 2.0 * log_likelihood
    at = int(bic.argmin())
    is_last = at == len(ks) - 1
    return ModeCount(
        k=int(ks[at]),
        ks=ks,
        log_likelihood=log_likelihood,
        bic=bic,
        icl=bic + 2.0 * np.array([fit.entropy for fit in fits]),
        contrast_errors=contrast_errors(
            len(fits), at, lambda place: path.cloud.judge(fits[place].mixture)[1]
        ),
        converged=np.array([fit.converged for fit in fits]),
        at_k_max=bool(is_last and ks[-1] == k_max),
        at_cap=bool(is_last and ks[-1] == k_cap < k_max),
        stopped=bool(ks[-1] < k_cap and at >= len(ks) - RISES),
        at_floor=at == 0 and ks[0] > 1,
        n_repairs=path.n_repairs,
        fitted=_unwhitened(fits[at].mixture, path.cloud.centre, whitening),
        n_iterations=path.n_iterations,
        wall_time_s=time.perf_counter() - started,
        n_distinct=sight.n_distinct,
        n_null=whitening.n_null,
        has_ties=sight.has_ties,
        notes=sight.notes,
    )


def _count_one_place(sight: Sight, started: float) -> ModeCount:
    """Return the count of points that are all the same: one mode of no known likelihood."""
    nothing = np.zeros(1)
    whitening = sight.whitening
    fitted = FittedMixture(np.ones(1), whitening.centre[None], whitening.rest[None])
    return ModeCount(
        k=1,
        ks=np.ones(1, dtype=np.int64),
        log_likelihood=nothing,
        bic=nothing,
        icl=nothing,
        contrast_errors=nothing,
        converged=np.ones(1, dtype=bool),
        at_k_max=False,
        at_cap=False,
        stopped=False,
        at_floor=False,
        n_repairs=0,
        fitted=fitted,
        n_iterations=0,
        wall_time_s=time.perf_counter() - started,
        n_distinct=sight.n_distinct,
        n_null=whitening.n_null,
        has_ties=sight.has_ties,
        notes=sight.notes,
    )


def _unwhitened(mixture: Mixture, centre: FloatArray, whitening: Whitening) -> FittedMixture:
    weights, means, covariances = mixture
    root = whitening.root
    outer = root @ covariances @ root.T
    return FittedMixture(
        weights,
        whitening.centre + (means + centre) @ root.T,
        0.5 * (outer + outer.swapaxes(1, 2)) + whitening.rest,
    )


def fit_from_truth(points: FloatArray, truth: TrueMixture) -> tuple[FittedMixture, float]:
    """Run EM from the true parameters to convergence, on the objective of the search.

    Parameters
    ----------
    points : ndarray, shape (n, D)
    truth : TrueMixture
        K components with diagonal covariances.

    Returns
    -------
    FittedMixture
        Full-covariance components: K of them, or those that have D + 1 distinct points.
    float
        Total log likelihood (nats).

    Raises
    ------
    ValueError
        When the points do not vary in D directions.
    """
    sight = inspect(_checked(points))
    whitening, inverse = sight.whitening, sight.whitening.inverse
    if whitening.n_null:
        raise ValueError(
            f"points: they vary in {sight.dim} of {points.shape[1]} directions only; draw more"
        )
    cloud = Cloud(sight.white, pseudo_count=pseudo_count_of(len(points)))
    covariances = (inverse * truth.variances[:, None]) @ inverse.T
    start = Mixture(truth.weights, whitening.to_white(truth.means) - cloud.centre, covariances)
    tol_nats = 1e-9 * cloud.n_samples
    end, _, _ = climb_supported(cloud, start, k_min=1, tol_nats=tol_nats, max_iter=2000)
    log_likelihood = cloud.score(end.mixture).log_likelihood
    log_likelihood -= cloud.n_samples * whitening.log_volume
    return _unwhitened(end.mixture, cloud.centre, whitening), log_likelihood


def control_gap(points: FloatArray, truth: TrueMixture, count: ModeCount) -> float:
    """Return how much worse than EM from the truth the search ended, in BIC units.

    Parameters
    ----------
    points : ndarray, shape (n, D)
        Drawn from the truth; the same points that were counted.
    truth : TrueMixture
    count : ModeCount
        The search's answer on `points`.

    Returns
    -------
    float
        BIC of the search at k* minus BIC of EM started at the truth; above 10 the search has
        failed, below 0 it found a better fit (possibly with another k).
    """
    fitted, log_likelihood = fit_from_truth(points, truth)
    n_samples, dim = points.shape
    price = n_parameters(len(fitted.weights), dim) * np.log(n_samples)
    return float(count.bic.min() - (price - 2.0 * log_likelihood))


def modal_em(fitted: FittedMixture, *, tol: float = 1e-9, max_iter: int = 5000) -> FloatArray:
    """Return the local maxima of a Gaussian mixture's density, found uphill from each mean.

    Parameters
    ----------
    fitted : FittedMixture
    tol : float
        A climb ends when it moves less, in standard deviations of the local components.
    max_iter : int

    Returns
    -------
    ndarray, shape (n_modes, D)
        In order of density, highest first.
    """
    precisions = np.linalg.inv(fitted.covariances)
    linear = np.einsum("kab,kb->ka", precisions, fitted.means)
    constant = np.log(fitted.weights) + 0.5 * np.linalg.slogdet(precisions)[1]
    places = fitted.means.copy()
    for _ in range(max_iter):
        gap = places[:, None] - fitted.means
        log_joint = constant - 0.5 * np.einsum("mka,kab,mkb->mk", gap, precisions, gap)
        posterior = np.exp(log_joint - log_joint.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        local = np.einsum("mk,kab->mab", posterior, precisions)
        moved = np.linalg.solve(local, (posterior @ linear)[..., None])[..., 0]
        step = moved - places
        length = np.einsum("ma,mab,mb->m", step, local, step)
        places = moved
        if length.max() < tol**2:
            break
    density = np.logaddexp.reduce(log_joint, axis=1)
    return _distinct(places[np.argsort(-density)], local[np.argsort(-density)])


def _distinct(places: FloatArray, metrics: FloatArray, *, radius: float = 1e-2) -> FloatArray:
    """Keep the first of places that lie within `radius` local standard deviations."""
    kept: list[int] = []
    for i, (place, metric) in enumerate(zip(places, metrics, strict=True)):
        gaps = places[kept] - place
        if not (np.einsum("ma,ab,mb->m", gaps, metric, gaps) < radius**2).any():
            kept.append(i)
    return places[kept]
