"""One look for every figure: colours by name, sizes, names with units, matplotlib settings.

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
SOURCE_NAMES = {
    "data": "true data (control)",
    "means": "decoder means",
    "samples": "samples",
    "codes": "latent codes",
}
PROTOCOL_COLORS = {"original": "#e69f00", "calibrated": "#009e73"}
PROTOCOL_NAMES = {
    "original": "original protocol (k = 5..14)",
    "calibrated": "calibrated protocol (wide range)",
}
NULL_NAMES = {
    "truth": "fresh truth",
    "gaussian": "one Gaussian",
    "ppca": "linear model",
    "kde": "kernel density",
}
CEILING_COLOR = "#8c2d04"
REPORTED_COLOR = "#b2182b"
NEUTRAL = "#6b6b6b"

COLUMN_NAMES = {
    "latent_dim": "latent dimension q",
    "n_components": "true components K",
    "alpha": "Dirichlet alpha",
    "box_rule": "box",
    "box_half_width": "box half-width",
    "kl_weight": "KL weight beta",
    "n_samples": "training points",
    "learning_rate": "learning rate",
    "data_seed": "data seed",
    "batch_size": "batch size",
    "dim": "data dimension D",
    "hidden": "hidden layers",
    "recon": "reconstruction (squared error)",
    "kl_nats": "KL divergence (nats)",
    "mode_recall": "mode recall (share of modes)",
    "spurious_mass": "spurious mass (share of points)",
    "fkl_nats": "forward KL (nats)",
    "coverage": "coverage k* / K",
    "detection_n_samples": "points counted n",
}
SHORT_NAMES = {
    "latent_dim": "q",
    "n_components": "K",
    "kl_weight": "beta",
    "box_rule": "box",
    "dim": "D",
    "alpha": "alpha",
    "learning_rate": "rate",
    "box_half_width": "half-width",
    "standardize": "standardized",
    "detection_n_samples": "n counted",
    "n_samples": "n trained",
}
TICK_NAMES = {
    "recon": "reconstruction",
    "kl_nats": "KL",
    "hq_samples": "high-quality share",
    "tv": "total variation",
    "rkl_modes": "reverse KL of modes",
    "prdc_density": "density",
    "prdc_coverage": "coverage (k nearest)",
    "c2st": "classifier accuracy",
    "modal_modes_samples": "density modes",
    "icl_k_samples": "k by ICL",
}
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
    """Apply the figures' settings inside a with block; nothing changes outside it."""
    with mpl.rc_context(_SETTINGS):
        yield


def name_of(column: str) -> str:
    """Give a column's name for people, units included."""
    return COLUMN_NAMES.get(column, column.replace("_", " "))


def short_name(column: str) -> str:
    """Give a column's name without its unit, for ticks and table heads."""
    if column.startswith(("k_", "coverage_")) and column.count("_") == 2:
        kind, source, protocol = column.split("_")
        if source in SOURCE_NAMES:
            letter = "k*" if kind == "k" else "k*/K"
            return f"{letter} {source}, {protocol}"
    return TICK_NAMES.get(column, name_of(column).split(" (")[0])


def source_name(source: object) -> str:
    """Give a source's name for people."""
    return SOURCE_NAMES[str(source)]


def level_text(value: Any) -> str:
    """Write a factor's level: 0.1, 2, 128x128."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return f"{value:g}"
    return str(value)


def cell_text(cell: str) -> str:
    """Shorten a cell's label for a legend: "latent_dim=2, dim=3" becomes "q = 2, D = 3"."""
    if "=" not in cell:
        return "all trials"
    parts = []
    for part in cell.split(", "):
        name, equals, level = part.partition("=")
        level = level.removesuffix(".0")
        parts.append(f"{SHORT_NAMES.get(name, name_of(name))} = {level}" if equals else part)
    return ", ".join(parts)


def cell_labels(cells: Sequence[Any]) -> list[str]:
    """Label cells for ticks: what they all share is left out."""
    parts = [cell_text(str(cell)).split(", ") for cell in cells]
    common = set(parts[0]).intersection(*parts) if len(parts) > 1 else set()
    return [", ".join(part for part in own if part not in common) for own in parts]


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
    """Whether a factor's levels are better shown on a logarithmic axis."""
    if not pd.api.types.is_numeric_dtype(levels) or pd.api.types.is_bool_dtype(levels):
        return False
    values = np.unique(levels.dropna().to_numpy(float))
    return bool(len(values) > 2 and values[0] > 0 and values[-1] / values[0] >= 20)
