"""Rank correlations of metrics over trials and over cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from scipy.cluster import hierarchy

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, new_figure
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import short_name

# Light in the middle: sign survives a grey print.
SIGNED_MAP = "PuOr"
# More would be too small to read; the CSV file beside the figure has those shown.
AGREEING = (
    "mode_recall",
    "spurious_mass",
    "fkl_nats",
    "tv",
    "prdc_density",
    "prdc_coverage",
    "c2st",
    "k_samples_original",
    "k_samples_calibrated",
    "modal_modes_samples",
)


def draw_agreement(results: Results) -> Drawn:
    """Rank correlations of metrics over trials and over cells."""
    parts = [_agreeing(summary.agreement(results, level)) for level in ("trials", "cells")]
    frame = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    known = frame.dropna(subset=["spearman"]) if len(frame) else frame
    if known.empty:
        raise NotApplicable("rank correlations need at least three trials with varying metrics")
    levels = [name for name in ("trials", "cells") if (known["level"] == name).any()]
    metrics = _clustered(known[known["level"] == levels[0]])
    figure = new_figure(theme.FULL_WIDTH, 1.6 + 0.26 * len(metrics))
    axes = figure.subplots(1, len(levels), squeeze=False)[0]
    for ax, level in zip(axes, levels, strict=True):
        rows = known[known["level"] == level]
        plot_agreement(rows, metrics=metrics, ax=ax)
        ax.set_title(f"over {int(rows['n'].max())} {level}")
        if ax is not axes[0]:
            ax.set_yticklabels([])
    return Drawn(
        figure,
        known,
        "Agreement of metrics",
        caption(results, known),
        f"Matrices of rank correlations between {len(metrics)} metrics, "
        "Spearman below and Kendall above the diagonal.",
        'summary.agreement(load_results(PATH), "trials")',
    )


def _agreeing(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.empty:
        return frame
    return frame[frame["metric"].isin(AGREEING) & frame["other"].isin(AGREEING)]


def _clustered(frame: pd.DataFrame) -> list[str]:
    """Order metrics so that those that agree stand together."""
    names = list(dict.fromkeys([*frame["metric"], *frame["other"]]))
    place = {name: index for index, name in enumerate(names)}
    distance = np.ones((len(names), len(names)))
    for row in summary.named_rows(frame):
        i, j = place[row.metric], place[row.other]
        distance[i, j] = distance[j, i] = 1 - abs(row.spearman)
    if len(names) < 3:
        return names
    np.fill_diagonal(distance, 0)
    flat = distance[np.triu_indices(len(names), 1)]
    return [names[i] for i in hierarchy.leaves_list(hierarchy.linkage(flat, "average"))]


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption the agreement of metrics."""
    widths = (frame["high"] - frame["low"]).dropna()
    pairs = frame.groupby("level").size()
    text = (
        "Rank correlation of each pair of metrics: Spearman's below the diagonal, Kendall's tau "
        "above. Over trials, seeds and settings both matter; over cells, only the order of the "
        "settings does. "
    )
    if pairs.nunique() > 1:
        text += "Empty fields: a metric that is the same everywhere has no ranks. "
    if len(widths):
        text += (
            f"Median width of the intervals of Spearman's, over resampled data seeds: "
            f"{widths.median():.2f} (in the CSV file). "
        )
    return text + notes.denominators(results)


def plot_agreement(
    frame: pd.DataFrame, *, metrics: Sequence[str], ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw rank correlations of metrics: Spearman below the diagonal, Kendall above.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `summary.agreement`, one level.
    metrics : sequence of str
        Metrics in the order drawn.
    ax : Axes or None
    **kwargs
        Passed to `seaborn.heatmap`.
    """
    ax = ax or plt.gca()
    n = len(metrics)
    place = {name: index for index, name in enumerate(metrics)}
    values = np.full((n, n), np.nan)
    for row in frame.itertuples():
        first, second = place.get(str(row.metric)), place.get(str(row.other))
        if first is None or second is None or first == second:
            continue
        values[max(first, second), min(first, second)] = row.spearman
        values[min(first, second), max(first, second)] = row.kendall
    texts = [[_correlation_text(value) for value in row] for row in values]
    names = [short_name(name) for name in metrics]
    text = np.array(texts)
    style: dict[str, Any] = {"cmap": SIGNED_MAP, "vmin": -1, "vmax": 1, "linewidths": 0.5}
    style |= {"cbar": False, "fmt": "", "annot_kws": {"size": 7 if n <= 8 else 6}} | kwargs
    sns.heatmap(values, annot=text, xticklabels=names, yticklabels=names, ax=ax, **style)
    ax.set_facecolor("#eeeeee")
    ax.tick_params(axis="x", labelrotation=60)
    plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    ax.tick_params(axis="y", labelrotation=0)
    ax.grid(False)
    return ax


def _correlation_text(value: float) -> str:
    """Write .52 for 0.52: the fields are narrow."""
    return f"{value:.2f}".replace("0.", ".", 1) if np.isfinite(value) else ""


FIGURE = ReportFigure(
    "agreement", draw_agreement, kind="design", number="F12", section="robustness"
)
