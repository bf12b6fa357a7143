"""One look for every figure: colours by name, sizes, matplotlib settings.

Sources are told apart by colour, marker and dash, so that a grey print still reads. The colours
are Okabe and Ito's, which the common colour-vision deficiencies keep apart.

References
----------
Okabe and Ito (2008), "Color universal design", https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns

SOURCE_COLORS = {
    "data": "#1a1a1a",
    "means": "#d55e00",
    "samples": "#0072b2",
    "codes": "#cc79a7",
}
SOURCE_MARKERS = {"data": "o", "means": "s", "samples": "D", "codes": "^"}
SOURCE_DASHES: dict[str, Any] = {
    "data": (0, ()),
    "means": (0, (5, 1.5)),
    "samples": (0, ()),
    "codes": (0, (1.5, 1.2)),
}
PROTOCOL_COLORS = {"original": "#e69f00", "calibrated": "#009e73"}
CEILING_COLOR = "#8c2d04"
REPORTED_COLOR = "#b2182b"
NEUTRAL = "#6b6b6b"

COMPONENT_COLORS = (
    "#332288",
    "#cc6677",
    "#44aa99",
    "#ddaa33",
    "#88ccee",
    "#882255",
    "#117733",
    "#aa4499",
    "#666666",
    "#8c8c1f",
)
# Dark to light in grey: magnitude survives a grey print.
SURFACE_MAP = "cividis"
EVALUATOR_COLORS = {"omega squared": "#1a1a1a", "fANOVA": "#0072b2", "PED-ANOVA": "#e69f00"}
# Inches; a text block's width and half of it.
FULL_WIDTH, HALF_WIDTH = 7.2, 3.5

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "analysis",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the figures' settings inside a with block; nothing changes outside it.

    They are matplotlib's own and those above, whatever its user has set.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def level_colors(levels: Sequence[Any]) -> dict[Any, Any]:
    """Colour the levels of a factor from dark to light, in the order given."""
    palette = sns.color_palette("viridis", n_colors=max(len(levels), 2) + 1)
    return dict(zip(levels, palette, strict=False))


def component_colors(components: Sequence[int]) -> dict[int, Any]:
    """Colour true components: ten colour-blind-safe ones, beyond them a hue circle."""
    n = max(components, default=0) + 1
    if n <= 10:
        palette = list(sns.color_palette(COMPONENT_COLORS))
    else:
        circle = sns.husl_palette(n, s=0.85, l=0.6)
        # Neighbouring numbers get distant hues.
        palette = [circle[(i * 7) % n] if n % 7 else circle[i] for i in range(n)]
    return {component: palette[component] for component in components}


def hex_color(color: Any) -> str:
    """Write a colour as #rrggbb."""
    return str(mpl.colors.to_hex(color))


def is_log_scaled(levels: pd.Series) -> bool:
    """Return whether a factor's levels are better shown on a logarithmic axis."""
    if not pd.api.types.is_numeric_dtype(levels) or pd.api.types.is_bool_dtype(levels):
        return False
    values = np.unique(levels.dropna().to_numpy(float))
    return bool(len(values) > 2 and values[0] > 0 and values[-1] / values[0] >= 20)
