"""Families whose modes have known places: rings, grids, lines, spirals, moons, boards.

Every mode is made of isotropic Gaussians of one standard deviation, so a rotation leaves
covariances diagonal and each density is exact. A mode that is not a Gaussian (an arm of a spiral)
is a group of many small ones, its *pieces*: recall, fragments and weights are then by group, and
`n_components` is the number of groups.

All of them live in the plane. In more dimensions (`mixture.dim`) the plane is embedded by a
rotation that the data seed draws, and the noise has the same standard deviation along every axis.

References
----------
Lin, Khetan, Fanti, Oh, "PacGAN: The power of two samples in generative adversarial networks",
https://arxiv.org/abs/1712.04086 (ring and grid).
Stimper, Schölkopf, Hernández-Lobato, "Resampling base distributions of normalizing flows",
https://arxiv.org/abs/2110.15828 (circle).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Interval

from study.data.families import MixtureFamily

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from study.config import MixtureConfig
    from study.data.mixture import TrueMixture

FloatArray = np.ndarray
Length = Annotated[float, Interval(gt=0, le=1e6)]
PLANE = 2


@dataclass(frozen=True, kw_only=True)
class PlacedOptions:
    """What every placed family has.

    Parameters
    ----------
    sd : float
        Standard deviation of each Gaussian along each axis; `separation` overrides it.
    separation : float
        Distance of the nearest two modes in standard deviations, which sets the standard
        deviation; 0 leaves that to `sd`.
    weights : "equal", "dirichlet" or "ratio"
        Weights of the modes: equal; drawn with `mixture.alpha`; or in geometric steps from 1 to
        `ratio`.
    ratio : float
        Largest weight over the smallest, with weights "ratio".
    """

    sd: Length = 0.1
    separation: Annotated[float, Interval(ge=0, le=1e6)] = 0.0
    weights: Literal["equal", "dirichlet", "ratio"] = "equal"
    ratio: Annotated[float, Interval(ge=1, le=1e6)] = 10.0


@dataclass(frozen=True, kw_only=True)
class RingOptions(PlacedOptions):
    """Settings of `ring`.

    Parameters
    ----------
    radius : float
        Distance of the modes from the origin.
    """

    radius: Length = 1.0


@dataclass(frozen=True, kw_only=True)
class CircleOptions(RingOptions):
    """Settings of `circle`: a ring whose modes are six standard deviations apart."""

    radius: Length = 2.0
    separation: Annotated[float, Interval(ge=0, le=1e6)] = 6.0


@dataclass(frozen=True, kw_only=True)
class LatticeOptions(PlacedOptions):
    """Settings of `lattice`.

    Parameters
    ----------
    side : int
        Modes along each of two axes; there are side x side.
    spacing : float
        Distance of neighbours.
    """

    side: Annotated[int, Interval(ge=1, le=100)] = 5
    spacing: Length = 2.0


@dataclass(frozen=True, kw_only=True)
class LineOptions(PlacedOptions):
    """Settings of `line`.

    Parameters
    ----------
    spacing : float
        Distance of neighbours.
    """

    spacing: Length = 1.0


@dataclass(frozen=True, kw_only=True)
class PiecedOptions(PlacedOptions):
    """What families have whose modes are not Gaussian.

    Parameters
    ----------
    sd : float
        Standard deviation of each piece, so the width of a curve; `separation` overrides it.
    pieces : int
        Gaussians of one mode.
    """

    sd: Length = 0.05
    pieces: Annotated[int, Interval(ge=1, le=1000)] = 64


@dataclass(frozen=True, kw_only=True)
class SpiralOptions(PiecedOptions):
    """Settings of `spirals`.

    Parameters
    ----------
    radius : float
        Distance of an arm's outer end from the origin.
    turns : float
        Turns of an arm.
    """

    radius: Length = 2.0
    turns: Annotated[float, Interval(gt=0, le=100)] = 1.0


@dataclass(frozen=True, kw_only=True)
class RingsOptions(PiecedOptions):
    """Settings of `rings`.

    Parameters
    ----------
    radius : float
        Of the outermost ring; the others are equally far apart.
    """

    radius: Length = 2.0


@dataclass(frozen=True, kw_only=True)
class BoardOptions(PiecedOptions):
    """Settings of `checkerboard`.

    Parameters
    ----------
    side : int
        Squares along each axis, half of them filled.
    spacing : float
        Length of a square's edge.
    """

    side: Annotated[int, Interval(ge=2, le=100)] = 4
    spacing: Length = 1.0


class PlacedFamily(MixtureFamily):
    """Modes at known places in a plane; derive from it and define `places`."""

    Options = PlacedOptions
    reads: ClassVar[tuple[str, ...]] = ("n_components", "dim", "alpha")

    def places(self, config: MixtureConfig, options: Any) -> FloatArray:
        """Return where the pieces of each mode are, shape (n_modes, n_pieces, 2)."""
        raise NotImplementedError

    def shape(self, config: MixtureConfig, options: Any) -> tuple[int, int]:
        """Return the number of modes, and the dimension."""
        return self.n_modes(config, options), max(config.dim, PLANE)

    def n_modes(self, config: MixtureConfig, options: Any) -> int:
        """Return the number of modes; by default as the configuration says."""
        return config.n_components

    def draw(self, config: MixtureConfig, options: Any, rng: np.random.Generator) -> TrueMixture:
        """Place the modes; only weights and the embedding can be drawn."""
        from study.data.mixture import TrueMixture

        places = self.places(config, options)
        n_modes, n_pieces, _ = places.shape
        weights = mode_weights(options, n_modes, config.alpha, rng)
        means = embed(places.reshape(-1, PLANE), max(config.dim, PLANE), rng)
        return TrueMixture(
            weights=np.repeat(weights / n_pieces, n_pieces),
            means=means,
            variances=np.full(means.shape, mode_sd(places, options) ** 2),
            groups=None if n_pieces == 1 else np.repeat(np.arange(n_modes), n_pieces),
        )


def mode_weights(
    options: PlacedOptions, n_modes: int, alpha: float, rng: np.random.Generator
) -> FloatArray:
    """Return the weights of the modes, which sum to 1."""
    if options.weights == "dirichlet":
        return rng.dirichlet(np.full(n_modes, alpha))
    steps = np.geomspace(1.0, options.ratio if options.weights == "ratio" else 1.0, n_modes)
    return steps / steps.sum()


def mode_sd(places: FloatArray, options: PlacedOptions) -> float:
    """Return the standard deviation: as given, or by the separation of the nearest two modes.

    Parameters
    ----------
    places : ndarray of shape (n_modes, n_pieces, 2)
    options : PlacedOptions
    """
    if not options.separation or len(places) == 1:
        return options.sd
    from scipy.spatial import KDTree

    nearest = min(
        KDTree(mode).query(np.concatenate([*places[:index], *places[index + 1 :]]))[0].min()
        for index, mode in enumerate(places)
    )
    return float(nearest / options.separation)


def embed(points: FloatArray, dim: int, rng: np.random.Generator) -> FloatArray:
    """Turn a plane into a random plane of more dimensions; in two it stays as it is."""
    if dim == PLANE:
        return points
    frame, triangle = np.linalg.qr(rng.standard_normal((dim, PLANE)))
    # The sign makes the frame uniform over all of them.
    return points @ (frame * np.sign(np.diag(triangle))).T


def _on_circle(radius: FloatArray | float, angles: FloatArray) -> FloatArray:
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=-1)


def _turn(n: int) -> NDArray[np.floating[Any]]:
    return 2 * np.pi * np.arange(n) / n


def _centred(n: int, spacing: float) -> FloatArray:
    return spacing * (np.arange(n) - (n - 1) / 2)


class Ring(PlacedFamily):
    """Modes at equal distances on a circle."""

    Options = RingOptions

    def places(self, config: MixtureConfig, options: Any) -> FloatArray:
        """Go round the circle."""
        return _on_circle(options.radius, _turn(config.n_components))[:, None]


class Circle(Ring):
    """A ring whose modes are by default six standard deviations apart."""

    Options = CircleOptions


class Lattice(PlacedFamily):
    """Modes on a square grid; the word `grid` is taken in sweep files."""

    Options = LatticeOptions
    reads = ("dim", "alpha")

    def n_modes(self, config: MixtureConfig, options: Any) -> int:
        """Return side x side."""
        return int(options.side**2)

    def places(self, config: MixtureConfig, options: Any) -> FloatArray:
        """Go through the lattice."""
        axis = _centred(options.side, options.spacing)
        return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 1, PLANE)


class Line(PlacedFamily):
    """Modes at equal distances on a line."""

    Options = LineOptions

    def places(self, config: MixtureConfig, options: Any) -> FloatArray:
        """Go along the first axis."""
        along = _centred(config.n_components, options.spacing)
        return np.stack([along, np.zeros_like(along)], axis=-1)[:, None]


class Spirals(PlacedFamily):
    """Arms of an Archimedean spiral, one a mode."""

    Options = SpiralOptions

    def places(self, config: MixtureConfig, options: Any) -> FloatArray:
        """Go out along each arm, in steps of about equal length."""
        reach = np.sqrt((np.arange(options.pieces) + 1) / options.pieces)
        angles = _turn(config.n_components)[:, None] + 2 * np.pi * options.turns * reach
        return _on_circle(options.radius * reach, angles)


class Moons(PlacedFamily):
    """Two interleaving half circles of radius 1, as in scikit-learn's `make_moons`."""

    Options = PiecedOptions
    reads = ("dim", "alpha")

    def n_modes(self, config: MixtureConfig, options: Any) -> int:
        """Return 2."""
        return 2

    def places(self, config: MixtureConfig, options: Any) -> FloatArray:
        """Go along both half circles."""
        outer = _on_circle(1.0, np.linspace(0, np.pi, options.pieces))
        return np.stack([outer, np.array([1.0, 0.5]) - outer])


class Rings(PlacedFamily):
    """Concentric circles, one a mode."""

    Options = RingsOptions

    def places(self, config: MixtureConfig, options: Any) -> FloatArray:
        """Go round each circle."""
        radii = options.radius * (np.arange(config.n_components) + 1) / config.n_components
        return _on_circle(radii[:, None], _turn(options.pieces)[None])


class Checkerboard(PlacedFamily):
    """Filled squares of a checkerboard, one a mode."""

    Options = BoardOptions
    reads = ("dim", "alpha")

    def n_modes(self, config: MixtureConfig, options: Any) -> int:
        """Return half of the squares, rounded up."""
        return int((options.side**2 + 1) // 2)

    def places(self, config: MixtureConfig, options: Any) -> FloatArray:
        """Fill each square with a lattice of about `pieces` points."""
        axis = _centred(options.side, options.spacing)
        corners = [(x, y) for i, x in enumerate(axis) for j, y in enumerate(axis)
                   if (i + j) % 2 == 0]  # fmt: skip
        n = max(1, round(options.pieces**0.5))
        inside = _centred(n, options.spacing / n)
        lattice = np.stack(np.meshgrid(inside, inside, indexing="ij"), axis=-1)
        return np.array(corners)[:, None] + lattice.reshape(1, -1, PLANE)


RING, CIRCLE, LATTICE, LINE = Ring(), Circle(), Lattice(), Line()
SPIRALS, MOONS, RINGS, CHECKERBOARD = Spirals(), Moons(), Rings(), Checkerboard()
