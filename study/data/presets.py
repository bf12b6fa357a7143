"""Targets of the literature by name: the settings of a mixture family, and where they are from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.config import MixtureConfig
from study.config.cells import make_cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A named target.

    Parameters
    ----------
    fields : mapping of str to object
        Fields of a sweep file, by dotted name.
    source : str
        Where these settings are from.
    """

    fields: Mapping[str, Any]
    source: str

    @property
    def mixture(self) -> MixtureConfig:
        """The configuration of the mixture."""
        return make_cell(self.fields).mixture


def _plane(kind: str, /, n_components: int | None = None, **options: float) -> dict[str, Any]:
    shape = {} if n_components is None else {"mixture.n_components": n_components}
    named = {f"{kind}.{name}": value for name, value in options.items()}
    return {"mixture.kind": kind, "mixture.dim": 2, **shape, **named}


# By what the widely copied WGAN-GP code divides its ring and its grid.
_RING_SCALE, _GRID_SCALE = 1.414, 2.828
PRESETS: dict[str, Preset] = {
    "ring8": Preset(
        fields=_plane("ring", 8, radius=1.0, sd=0.01),
        source="PacGAN, config.py of 2DRing_GAN&PacGAN, https://arxiv.org/abs/1712.04086",
    ),
    "ring8_rescaled": Preset(
        fields=_plane("ring", 8, radius=2 / _RING_SCALE, sd=0.02 / _RING_SCALE),
        source="radius 2 and sd 0.02, divided by 1.414, as in code that follows WGAN-GP",
    ),
    "grid25": Preset(
        fields=_plane("lattice", side=5, spacing=2.0, sd=0.05),
        source="PacGAN, config.py of 2DGrid_GAN&PacGAN, https://arxiv.org/abs/1712.04086",
    ),
    "grid25_rescaled": Preset(
        fields=_plane("lattice", side=5, spacing=2 / _GRID_SCALE, sd=0.05 / _GRID_SCALE),
        source="PacGAN's grid divided by 2.828, as in code that follows WGAN-GP",
    ),
    "circle8": Preset(
        fields=_plane("circle", 8),
        source="circular mixture of normflows: radius 2, sd (2/3) sin(pi/8)",
    ),
}
