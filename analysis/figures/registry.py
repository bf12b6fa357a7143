"""The list of figures, by name and by number, in the report's order.

Each builder takes `Results` and returns a `Drawn`, or raises `NotApplicable` with the reason that
the report prints in its place.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis.figures.count_gallery import (
    draw_bic_curves,
    draw_composition,
    draw_count_by_size,
    draw_coverage,
    draw_paired_counts,
    draw_survival,
)
from analysis.figures.endpoint_gallery import (
    draw_collapse,
    draw_endpoints,
    draw_loss_curves,
    draw_rate_distortion,
    draw_recall_spurious,
    draw_response_surface,
)
from analysis.figures.layout import Drawn, NotApplicable
from analysis.figures.point_gallery import draw_latent_plane, draw_points, draw_tsne
from analysis.figures.search_gallery import (
    draw_pareto,
    draw_search_history,
    draw_search_importances,
    draw_search_map,
    draw_search_slices,
)
from analysis.figures.spread_gallery import (
    draw_agreement,
    draw_distributions,
    draw_power,
    draw_variance,
)
from analysis.frames.adaptive import search_of
from analysis.load import Results

__all__ = ["FIGURES", "NUMBERS", "Drawn", "NotApplicable", "figures_of"]

FIGURES: dict[str, Callable[[Results], Drawn]] = {
    "coverage": draw_coverage,
    "bic_curves": draw_bic_curves,
    "paired_counts": draw_paired_counts,
    "survival": draw_survival,
    "count_by_size": draw_count_by_size,
    "composition": draw_composition,
    "endpoints": draw_endpoints,
    "recall_spurious": draw_recall_spurious,
    "response_surface": draw_response_surface,
    "rate_distortion": draw_rate_distortion,
    "collapse": draw_collapse,
    "variance": draw_variance,
    "distributions": draw_distributions,
    "agreement": draw_agreement,
    "power": draw_power,
    "search_history": draw_search_history,
    "search_slices": draw_search_slices,
    "search_map": draw_search_map,
    "pareto": draw_pareto,
    "search_importances": draw_search_importances,
    "loss_curves": draw_loss_curves,
    "points": draw_points,
    "latent_plane": draw_latent_plane,
    "tsne": draw_tsne,
}
# Of adaptive sweeps alone.
SEARCH_FIGURES = ("search_history", "search_slices", "search_map", "pareto", "search_importances")
# Of designed cells alone: averages over cells that a search chose by their results are no effects.
DESIGN_FIGURES = (
    "coverage",
    "paired_counts",
    "survival",
    "count_by_size",
    "composition",
    "endpoints",
    "response_surface",
    "collapse",
    "variance",
    "distributions",
    "agreement",
    "power",
)
# The study's own numbering, which --only takes too.
NUMBERS = {
    "F1": "bic_curves",
    "F2": "paired_counts",
    "F3": "survival",
    "F4": "count_by_size",
    "F5": "composition",
    "F6": "recall_spurious",
    "F7": "rate_distortion",
    "F8": "response_surface",
    "F9": "collapse",
    "F10": "variance",
    "F11": "distributions",
    "F12": "agreement",
    "F13": "power",
    "F14": "points",
}


def figures_of(results: Results) -> list[str]:
    """List the figures that a sweep of this kind can have, designed or adaptive."""
    others = SEARCH_FIGURES if search_of(results) is None else DESIGN_FIGURES
    return [name for name in FIGURES if name not in others]
