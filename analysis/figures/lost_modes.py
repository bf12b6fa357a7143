"""Which modes die: recall by a component's weight, separation and variance."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, new_figure
from analysis.frames import lost_modes
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import TRAIT_NAMES


def draw_lost_modes(results: Results) -> Drawn:
    """Recall of true components against their weight, separation and variance."""
    frame = lost_modes.recall_by_trait(results)
    if frame.empty:
        raise NotApplicable(
            "no eligible mode was lost in a cell whose components can be drawn again"
        )
    traits = list(dict.fromkeys(frame["trait"]))
    figure = new_figure(theme.FULL_WIDTH, 2.7)
    axes = figure.subplots(1, len(traits), sharey=True, squeeze=False)[0]
    for ax, trait in zip(axes, traits, strict=True):
        plot_recall_by_trait(frame, trait=trait, ax=ax)
        ax.label_outer()
    return Drawn(
        figure,
        frame,
        "Which modes are lost",
        caption(results, frame),
        "Recall of true components against weight, separation and variance, with intervals.",
        "lost_modes.recall_by_trait(load_results(PATH))",
    )


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption the recall by trait."""
    n_modes = int(frame.groupby("trait")["n_modes"].sum().max())
    return (
        f"Share of networks that recall a true component, by a sixth of {n_modes} components each "
        "(those with at least 50 expected points, of the cells that lost any). Separation: "
        "distance to the nearest other component in standard deviations of the two together; "
        "variance: geometric mean over the axes. The traits are those of the data sets that were "
        "drawn, not varied one by one; the table of odds takes them together. "
        f"{notes.intervals(frame)} {notes.denominators(results)}"
    )


def plot_recall_by_trait(
    frame: pd.DataFrame, *, trait: str, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Plot mean recall against one trait, on a logarithmic axis.

    Parameters
    ----------
    frame : pandas.DataFrame
        As `lost_modes.recall_by_trait` returns it.
    trait : str
    ax : Axes or None
        None: the current ones.
    **kwargs
        Passed on to `Axes.errorbar`.
    """
    ax = plt.gca() if ax is None else ax
    rows = frame[frame["trait"] == trait]
    low = (rows["estimate"] - rows["low"]).clip(lower=0).fillna(0.0)
    high = (rows["high"] - rows["estimate"]).clip(lower=0).fillna(0.0)
    style: dict[str, Any] = {
        "marker": "o",
        "ms": 4,
        "lw": 1.2,
        "capsize": 2,
        "color": theme.NEUTRAL,
    }
    ax.errorbar(rows["value"], rows["estimate"], yerr=[low, high], **(style | kwargs))
    ax.set_xscale("log")
    ax.set_xlabel(TRAIT_NAMES[trait])
    ax.set_ylabel("recall (share of networks)")
    ax.set_ylim(0, 1.03)
    return ax


FIGURE = ReportFigure(
    "lost_modes", draw_lost_modes, kind="design", number="F15", section="robustness"
)
