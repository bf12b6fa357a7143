"""Families of true mixtures: where a data seed draws its mixture from.

A family turns the sweep's settings and a random generator into a `TrueMixture`. The built-in one
is the recipe of the original report, means in a box; docs/extending.md adds another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np

    from study.config import MixtureConfig
    from study.data.mixture import TrueMixture


class MixtureFamily:
    """A family of mixtures; derive from it and define `draw`.

    Attributes
    ----------
    Options : type or None
        A frozen dataclass, keyword-only, with bounds as annotations and a default for each field:
        the family's own settings, which a sweep can vary.
    reads : tuple of str
        Fields of `mixture.` that it uses besides `n_samples`; the others have no effect on it.
    """

    Options: ClassVar[type | None] = None
    reads: ClassVar[tuple[str, ...]] = ("n_components", "dim")

    def draw(self, config: MixtureConfig, options: Any, rng: np.random.Generator) -> TrueMixture:
        """Draw a mixture.

        Parameters
        ----------
        config : MixtureConfig
        options : Options or None
            The family's own settings.
        rng : numpy.random.Generator
            By the data seed.

        Returns
        -------
        TrueMixture
            Of the shape that `shape` gives.
        """
        raise NotImplementedError

    def shape(self, config: MixtureConfig, options: Any) -> tuple[int, int]:
        """Return K and D of the mixtures that these settings give; by default as they say."""
        return config.n_components, config.dim


class Box(MixtureFamily):
    """Means uniform in a box, variances uniform, weights Dirichlet."""

    reads = ("n_components", "dim", "box", "variance", "alpha", "training_points")

    def draw(self, config: MixtureConfig, options: Any, rng: np.random.Generator) -> TrueMixture:
        """Draw a mixture by the recipe."""
        from study.data.mixture import draw_box

        return draw_box(config, rng)


BOX = Box()
