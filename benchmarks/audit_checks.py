"""Sanity checks of metrics of fidelity and diversity: what is drawn, and what a metric must do.

The 15 checks of Räisä, van Breugel and van der Schaar, "Position: All current generative fidelity
and diversity metrics are flawed", ICML 2025, https://arxiv.org/abs/2505.22450, written anew from
the paper and the settings of its repository, DPBayes/position-fidelity-diversity-metrics-flawed.
Each asks two questions, its *desiderata*, so a metric passes at most 30: in each, every criterion
has to hold in every setting (mostly: in 1, 8 and 64 dimensions).

A score is 1 for equal laws and 0 for laws apart. Diversity of a synthetic law that is wider than
the real one may be high or low, but not now this and now that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from study.data.mixture import TrueMixture

FloatArray = np.ndarray
Kind = Literal["fidelity", "diversity"]
Verdict = bool | Literal["low", "high"] | None
Criterion = Callable[[FloatArray, FloatArray, Kind, object], Verdict]
N_POINTS = 1000
DIMS = (1, 8, 64)
NEAR = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One pair of point sets.

    Parameters
    ----------
    setting : object
        Within which x varies: the dimension, mostly.
    x : float
        What is varied.
    real, synthetic : ndarray of shape (n_points, n_features)
    truth, law : TrueMixture or None
        What they are drawn from, where that is a mixture of Gaussians.
    """

    setting: object
    x: float
    real: FloatArray
    synthetic: FloatArray
    truth: TrueMixture | None = None
    law: TrueMixture | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One sanity check.

    Parameters
    ----------
    name : str
    draws : callable
        A random generator to the point sets.
    desiderata : dict
        Criteria by question, the criteria by name.
    """

    name: str
    draws: Callable[[np.random.Generator], Iterator[Draw]]
    desiderata: dict[str, dict[str, Criterion]]


# What a metric must do. x is ascending, v holds the mean score at each.


def at(place: float | Literal["min", "max"], target: float) -> Criterion:
    """Ask for a score within 0.05 of a target at one place."""

    def holds(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
        index = {"min": 0, "max": -1}.get(place) if isinstance(place, str) else None
        value = v[np.abs(x - place).argmin() if index is None else index]
        return bool(abs(value - target) <= NEAR)

    return holds


def wide(place: Literal["min", "max"]) -> Criterion:
    """Ask for 1 or 0, where the synthetic law is wider than the real one."""

    def holds(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
        value = v[0 if place == "min" else -1]
        if abs(value - 1) <= NEAR:
            return "high"
        return "low" if abs(value) <= NEAR else False

    return holds


def by_kind(**criteria: Criterion) -> Criterion:
    """Ask of fidelity and diversity different things, or nothing."""

    def holds(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
        return criteria[kind](x, v, kind, setting) if kind in criteria else None

    return holds


def by_setting(**criteria: Criterion) -> Criterion:
    """Ask different things in different settings."""

    def holds(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
        return criteria[str(setting)](x, v, kind, setting)

    return holds


def bell(middle: float) -> Criterion:
    """Ask for the largest score in the middle and small ones at both ends."""

    def holds(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
        top = v[np.abs(x - middle).argmin()]
        ends = v[[0, -1]]
        return bool((top - ends >= 0.2).all() and v.max() - top <= 0.1
                    and ends.min() - v.min() <= 0.1)  # fmt: skip

    return holds


def falling(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
    """Ask for a high score at the left and a low one at the right."""
    return bool(v[0] - v[-1] >= 0.2 and v.max() - v[0] <= 0.1 and v[-1] - v.min() <= 0.1)


def rising(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
    """Ask for a low score at the left and a high one at the right."""
    return falling(x, v[::-1], kind, setting)


def falling_by(share: float) -> Criterion:
    """Ask for a falling score that has begun to fall at a share of the way."""

    def holds(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
        there = v[np.abs(x - np.quantile(x, share, method="nearest")).argmin()]
        return falling(x, v, kind, setting) is True and bool(v[0] - there >= 0.1)

    return holds


def level(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
    """Ask for the same score everywhere."""
    return bool(np.ptp(v) <= NEAR)


def settled(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
    """Ask for the same score over the upper half."""
    return bool(np.ptp(v[x >= np.quantile(x, 0.5)]) <= NEAR)


def either(low: Criterion, high: Criterion) -> Criterion:
    """Ask for one of two shapes."""

    def holds(x: FloatArray, v: FloatArray, kind: Kind, setting: object) -> Verdict:
        if low(x, v, kind, setting):
            return "low"
        return "high" if high(x, v, kind, setting) else False

    return holds


def passes(verdicts: list[Verdict]) -> bool:
    """Return whether a question is passed: everything holds, and high and low are not mixed."""
    return not ({"low", "high"} <= set(verdicts) or any(v is False for v in verdicts))


# What is drawn.


def gaussian(mean: float | FloatArray, sd: float | FloatArray, dim: int) -> TrueMixture:
    """Make one Gaussian as a mixture of one component."""
    return TrueMixture(
        weights=np.ones(1),
        means=np.broadcast_to(np.asarray(mean, dtype=float), (1, dim)).copy(),
        variances=np.broadcast_to(np.asarray(sd, dtype=float) ** 2, (1, dim)).copy(),
    )


def drawn(setting: object, x: float, truth: TrueMixture, law: TrueMixture, real: FloatArray,
          rng: np.random.Generator) -> Draw:  # fmt: skip
    synthetic = law.sample(N_POINTS, rng)[0]
    return Draw(setting=setting, x=x, real=real, synthetic=synthetic, truth=truth, law=law)


MEANS = {dim: np.linspace(-far, far, 51) for dim, far in zip(DIMS, (6, 3, 1), strict=True)}
SDS = {dim: np.logspace(-far, far, 51) for dim, far in zip(DIMS, (3, 1, 0.5), strict=True)}


def mean_difference(rng: np.random.Generator) -> Iterator[Draw]:
    for dim in DIMS:
        truth = gaussian(0, 1, dim)
        real = truth.sample(N_POINTS, rng)[0]
        for mean in MEANS[dim]:
            yield drawn(dim, mean, truth, gaussian(mean, 1, dim), real, rng)


def mean_difference_with_outlier(rng: np.random.Generator) -> Iterator[Draw]:
    for draw in mean_difference(rng):
        outlier = np.full((1, draw.real.shape[1]), MEANS[draw.real.shape[1]].max())
        for where in ("real", "synthetic"):
            sets = {"real": draw.real, "synthetic": draw.synthetic}
            sets[where] = np.concatenate([sets[where], outlier])
            yield Draw(setting=f"{where} {draw.setting}", x=draw.x, truth=draw.truth,
                       law=draw.law, **sets)  # fmt: skip


def sd_difference(rng: np.random.Generator) -> Iterator[Draw]:
    for dim in DIMS:
        truth = gaussian(0, 1, dim)
        real = truth.sample(N_POINTS, rng)[0]
        for sd in SDS[dim]:
            yield drawn(dim, sd, truth, gaussian(0, sd, dim), real, rng)


def _ten_modes(dim: int, weights: FloatArray) -> TrueMixture:
    sd = {1: 1 / 6, 8: 1 / 3, 64: 1.0}[dim]
    means = np.repeat(np.linspace(0, 10, 10)[:, None], dim, axis=1)
    return TrueMixture(weights=weights / weights.sum(), means=means,
                       variances=np.full((10, dim), sd**2))  # fmt: skip


def simultaneous_dropping(rng: np.random.Generator) -> Iterator[Draw]:
    for dim in DIMS:
        truth = _ten_modes(dim, np.ones(10))
        real = truth.sample(N_POINTS, rng)[0]
        for share in np.linspace(0, 1, 50):
            law = _ten_modes(dim, np.array([1.0] + 9 * [1 - share]))
            yield drawn(dim, share, truth, law, real, rng)


def sequential_dropping(rng: np.random.Generator) -> Iterator[Draw]:
    for dim in DIMS:
        truth = _ten_modes(dim, np.ones(10))
        real = truth.sample(N_POINTS, rng)[0]
        for n in range(10):
            law = _ten_modes(dim, (np.arange(10) < 10 - n).astype(float))
            yield drawn(dim, n, truth, law, real, rng)


INVENTED = np.array(
    [[5.47, -4.08], [4.87, -13.65], [-16.39, 9.10], [-2.15, 12.46], [11.56, -4.96],
     [-24.61, 14.18], [16.84, -3.19], [-5.48, -6.77], [9.47, 1.06], [-5.40, -17.29]]
)  # fmt: skip


def _first_modes(n: int) -> TrueMixture:
    return TrueMixture(weights=np.full(n, 1 / n), means=INVENTED[:n],
                       variances=np.full((n, 2), 0.25**2))  # fmt: skip


def dropping_and_invention(rng: np.random.Generator) -> Iterator[Draw]:
    truth = _first_modes(5)
    real = truth.sample(N_POINTS, rng)[0]
    for n in range(1, 11):
        yield drawn("", n, truth, _first_modes(n), real, rng)


def sphere_surface(rng: np.random.Generator) -> Iterator[Draw]:
    def surface(dim: int, radius: float) -> FloatArray:
        points = rng.standard_normal((N_POINTS, dim))
        return radius * points / np.linalg.norm(points, axis=1, keepdims=True)

    for dim in (2, 16, 128):
        real = surface(dim, 1.0)
        for radius in np.linspace(0.1, 1.9, 51):
            yield Draw(setting=dim, x=radius, real=real, synthetic=surface(dim, radius))


SIZES = np.logspace(2, 4, 20).astype(int)


def cube_size(rng: np.random.Generator) -> Iterator[Draw]:
    for dim in DIMS:
        start = 1 - 0.2 ** (1 / dim)
        for n in SIZES:
            yield Draw(setting=dim, x=n, real=rng.random((n, dim)),
                       synthetic=start + rng.random((n, dim)))  # fmt: skip


def cube_synthetic_size(rng: np.random.Generator) -> Iterator[Draw]:
    for dim in DIMS:
        start, real = 1 - 0.2 ** (1 / dim), rng.random((N_POINTS, dim))
        for n in SIZES:
            yield Draw(setting=dim, x=n, real=real, synthetic=start + rng.random((n, dim)))


def _ball(n: int, dim: int, radius: float, rng: np.random.Generator) -> FloatArray:
    points = rng.standard_normal((n, dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return radius * points * rng.random((n, 1)) ** (1 / dim)


def _torus(n: int, rng: np.random.Generator) -> FloatArray:
    across, angle = _ball(n, 2, 0.1, rng), rng.uniform(0, 2 * np.pi, n)
    out = 1 + across[:, 0]
    return np.column_stack([out * np.cos(angle), out * np.sin(angle), across[:, 1]])


def sphere_torus(rng: np.random.Generator) -> Iterator[Draw]:
    for kind in ("ball", "torus"):
        real = _ball(N_POINTS, 3, 0.8, rng) if kind == "ball" else _torus(N_POINTS, rng)
        for n in SIZES:
            other = _torus(n, rng) if kind == "ball" else _ball(n, 3, 0.8, rng)
            yield Draw(setting=kind, x=n, real=real, synthetic=other)


def mode_collapse(rng: np.random.Generator) -> Iterator[Draw]:
    for dim in DIMS:
        for gap in np.linspace(0, 5, 20):
            truth = TrueMixture(weights=np.full(2, 0.5), variances=np.ones((2, dim)),
                                means=np.array([[-gap / 2] * dim, [gap / 2] * dim]))  # fmt: skip
            law = gaussian(0, np.sqrt(1 + gap**2), dim)
            yield drawn(dim, gap, truth, law, truth.sample(N_POINTS, rng)[0], rng)


def one_axis_scaled(rng: np.random.Generator) -> Iterator[Draw]:
    for scale in np.logspace(-3, 3, 20):
        sds = np.array([1.0, scale])
        truth, law = gaussian(0, sds, 2), gaussian(np.array([6.0, 0.0]), sds, 2)
        yield drawn("", scale, truth, law, truth.sample(N_POINTS, rng)[0], rng)


def mean_difference_with_pareto(rng: np.random.Generator) -> Iterator[Draw]:
    def points(mean: float) -> FloatArray:
        return np.column_stack([rng.normal(mean, 1, N_POINTS), 1 + rng.pareto(1.01, N_POINTS)])

    real = points(0)
    for mean in MEANS[1]:
        yield Draw(setting="", x=mean, real=real, synthetic=points(mean))


def one_disjoint_axis(rng: np.random.Generator) -> Iterator[Draw]:
    for more in np.logspace(0, 3, 20).astype(int):
        truth = gaussian(0, 1, more + 1)
        law = gaussian(np.array([6.0] + [0.0] * more), 1, more + 1)
        yield drawn("", more, truth, law, truth.sample(N_POINTS, rng)[0], rng)


def discrete(rng: np.random.Generator) -> Iterator[Draw]:
    for rounded in ("real", "synthetic"):
        for scale in np.logspace(0, 3, 20):
            sets = {name: scale * rng.standard_normal((N_POINTS, 1))
                    for name in ("real", "synthetic")}  # fmt: skip
            sets[rounded] = np.round(sets[rounded])
            yield Draw(setting=rounded, x=scale, **sets)


_SHIFTED = {
    "bounds": {"equal": at(0.0, 1), "left": at("min", 0), "right": at("max", 0)},
    "purpose": {"bell": bell(0.0)},
}
_DROPPED_BOUNDS = {"equal": at("min", 1), "dropped": by_kind(fidelity=at("max", 1))}
_ROUNDED = {
    "purpose": {"level": level},
    "bounds": {
        place: by_setting(
            real=by_kind(fidelity=at(place, 0), diversity=wide(place)),
            synthetic=by_kind(fidelity=at(place, 1), diversity=at(place, 0)),
        )
        for place in ("min", "max")
    },
}
CHECKS = (
    Check(name="Gaussian mean difference", draws=mean_difference, desiderata=_SHIFTED),
    Check(name="the same with an outlier", draws=mean_difference_with_outlier,
          desiderata=_SHIFTED),
    Check(
        name="Gaussian sd difference",
        draws=sd_difference,
        desiderata={
            "bounds": {
                "equal": at(1.0, 1),
                "narrow": by_kind(fidelity=at("min", 1), diversity=at("min", 0)),
                "wide": by_kind(fidelity=at("max", 0), diversity=wide("max")),
            },
            "purpose": {"shape": by_kind(fidelity=falling, diversity=either(bell(1.0), rising))},
        },
    ),
    Check(
        name="simultaneous mode dropping",
        draws=simultaneous_dropping,
        desiderata={
            "bounds": _DROPPED_BOUNDS,
            "purpose": {"shape": by_kind(fidelity=level, diversity=falling_by(0.95))},
        },
    ),
    Check(
        name="sequential mode dropping",
        draws=sequential_dropping,
        desiderata={
            "bounds": _DROPPED_BOUNDS,
            "purpose": {"shape": by_kind(fidelity=level, diversity=falling_by(0.5))},
        },
    ),
    Check(
        name="mode dropping and invention",
        draws=dropping_and_invention,
        desiderata={
            "bounds": {
                "equal": at(5, 1),
                "dropped": by_kind(fidelity=at("min", 1)),
                "invented": by_kind(diversity=at("max", 1)),
            },
            "purpose": {"shape": by_kind(fidelity=falling, diversity=rising)},
        },
    ),
    Check(
        name="hypersphere surface",
        draws=sphere_surface,
        desiderata={
            "bounds": {"equal": at(1.0, 1), "small": at("min", 0), "large": at("max", 0)},
            "purpose": {"bell": bell(1.0)},
        },
    ),
    Check(
        name="hypercube, sample size",
        draws=cube_size,
        desiderata={"data": {"settled": settled}, "purpose": {"large": at("max", 0.2)}},
    ),
    Check(
        name="hypercube, synthetic size",
        draws=cube_synthetic_size,
        desiderata={"hyperparameters": {"settled": settled}, "purpose": {"large": at("max", 0.2)}},
    ),
    Check(
        name="sphere and torus",
        draws=sphere_torus,
        desiderata={"purpose": {"settled": settled}, "bounds": {"large": at("max", 0)}},
    ),
    Check(
        name="mode collapse",
        draws=mode_collapse,
        desiderata={
            "purpose": {"shape": by_kind(fidelity=falling, diversity=either(falling, level))},
            "bounds": {"equal": at("min", 1)},
        },
    ),
    Check(
        name="one axis scaled",
        draws=one_axis_scaled,
        desiderata={
            "invariance": {"level": level},
            "bounds": {"left": at("min", 0), "right": at("max", 0)},
        },
    ),
    Check(name="Gaussian mean difference, Pareto beside", draws=mean_difference_with_pareto,
          desiderata=_SHIFTED),
    Check(
        name="one disjoint axis of many",
        draws=one_disjoint_axis,
        desiderata={
            "purpose": {"level": level},
            "bounds": {"left": at("min", 0), "right": at("max", 0)},
        },
    ),
    Check(name="rounded and not rounded", draws=discrete, desiderata=_ROUNDED),
)  # fmt: skip
