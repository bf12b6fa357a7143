"""Variance components of each endpoint, and what the factors explain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, new_figure, varies
from analysis.figures.marks import plot_importances
from analysis.frames import summary
from analysis.load import Results
from analysis.statistics import intervals as stats
from analysis.wording import notes
from analysis.wording.names import short_name

SPREAD_COUNTS = ("k_samples_original", "k_samples_calibrated")
COMPONENT_STYLES = {
    "data": ("#0072b2", ""),
    "init": ("#e69f00", "///"),
    "sample": ("#009e73", "..."),
    "detector": ("#cc79a7", "xx"),
}
COMPONENT_NAMES = {
    "data": "data seed",
    "init": "init seed",
    "sample": "sample draw",
    "detector": "detector's EM",
}


def draw_variance(results: Results) -> Drawn:
    """Variance components of each endpoint, and what the factors explain."""
    # The replicated count first, then the primary endpoints.
    endpoints = (*SPREAD_COUNTS, *summary.PRIMARY_ENDPOINTS[::-1])
    present = [n for n in endpoints if varies(results, n)]
    frame = summary.variance_components(results, present) if present else pd.DataFrame()
    frame = frame.dropna(subset=["share"]) if len(frame) else frame
    if frame.empty:
        raise NotApplicable(
            "variance components need at least two data seeds and two init seeds in a cell"
        )
    shown = [name for name in present if (frame["endpoint"] == name).any()]
    importances = _importances(results)
    figure = new_figure(theme.FULL_WIDTH, 1.35 + 0.34 * len(shown) + 2.2)
    rows = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.9 + 0.34 * len(shown), 2.2))
    top, bottom = rows[:, 0]
    ax = top.subplots()
    plot_variance_components(frame, endpoints=shown, ax=ax)
    handles, labels = ax.get_legend_handles_labels()
    top.legend(handles, labels, loc="outside lower center", ncols=4)
    headline = "fkl_nats" if "fkl_nats" in shown else shown[-1]
    if importances.empty:
        plot_component_intervals(frame, endpoint=headline, ax=bottom.subplots())
    else:
        left, right = bottom.subplots(1, 2, width_ratios=(1, 1.2))
        plot_component_intervals(frame, endpoint=headline, ax=left)
        plot_importances(importances, ax=right)
        right.legend(fontsize=7, loc="best")
        right.set_title(f"{short_name(headline)}: factors")
    return Drawn(
        figure,
        frame,
        "What drives the variance",
        caption(results, frame, importances, endpoint=headline),
        f"Stacked bars of the variance shares of {len(shown)} endpoints, intervals of the shares "
        f"of {short_name(headline)}, and importances of the swept factors where there are "
        "any.",
        f"summary.variance_components(load_results(PATH), {present})",
    )


def _importances(results: Results) -> pd.DataFrame:
    if not results.manifest.factors or not varies(results, "fkl_nats"):
        return pd.DataFrame()
    return summary.importances(results, "fkl_nats")


def caption(
    results: Results, frame: pd.DataFrame, importances: pd.DataFrame, *, endpoint: str
) -> str:
    """Caption the variance components."""
    rows = frame[frame["endpoint"] == endpoint]
    kind = " or ".join(
        stats.KIND_TEXT.get(str(name), str(name)) for name in rows["interval"].dropna().unique()
    )
    level = rows["level"].dropna() if "level" in rows else pd.Series(dtype=float)
    how = (f"{level.iloc[0]:.0%} " if len(level) else "") + (kind or "no interval")
    text = (
        "Top: share of each source of variance between trials of one cell, with its standard "
        f"deviation where there is room. Bottom left: these of {short_name(endpoint)} "
        f"with intervals ({how}); {int(rows['n_data'].max())} data seeds, "
        f"{int(rows['n_init'].max())} init seeds. "
    )
    if frame["component"].nunique() == 1:
        text += (
            f"Only the {frame['component'].iloc[0]} seed varies here, so all variance is counted "
            "as its own. "
        )
    if len(importances):
        evaluators = ", ".join(dict.fromkeys(importances["evaluator"]))
        text += (
            f"Bottom right: importance of the swept factors for {short_name(endpoint)} by "
            f"{evaluators}; the dummy is noise, below which an importance means nothing. "
            "PED-ANOVA asks what matters for the best trials, the others for the share of "
            "variance. "
        )
    return text + notes.denominators(results)


def plot_variance_components(
    frame: pd.DataFrame, *, endpoints: Sequence[str], ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw each endpoint's variance as stacked shares, a bar for each endpoint.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.variance_components`.
    endpoints : sequence of str
        Bars, from the top.
    ax : Axes or None
    **kwargs
        To `Axes.barh`.
    """
    ax = ax or plt.gca()
    places = np.arange(len(endpoints))[::-1]
    left = np.zeros(len(endpoints))
    shares = frame.pivot(index="endpoint", columns="component", values="share")
    spreads = frame.pivot(index="endpoint", columns="component", values="sd")
    for name, (color, hatch) in COMPONENT_STYLES.items():
        if name not in shares:
            continue
        widths = shares[name].reindex(list(endpoints)).fillna(0).to_numpy(float)
        style: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white", "lw": 0.5}
        style |= {"height": 0.62, "label": COMPONENT_NAMES[name]} | kwargs
        ax.barh(places, widths, left=left, **style)
        for place, start, width, sd in zip(
            places, left, widths, spreads[name].reindex(list(endpoints)), strict=True
        ):
            if width > 0.13:
                box = {"fc": "white", "ec": "none", "pad": 1.0, "alpha": 0.9}
                middle: dict[str, Any] = {"ha": "center", "va": "center", "size": 7, "bbox": box}
                ax.text(start + width / 2, place, f"sd {sd:.2g}", **middle)
        left += widths
    ax.set_yticks(places, [short_name(name) for name in endpoints])
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    ax.set_xlabel("share of the variance within a cell")
    ax.grid(False, axis="y")
    return ax


def plot_component_intervals(
    frame: pd.DataFrame, *, endpoint: str, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw the standard deviation of each variance component with its interval.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.variance_components`.
    endpoint : str
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    rows = frame[frame["endpoint"] == endpoint].iloc[::-1]
    low, high = (np.sqrt(rows[name].clip(lower=0).to_numpy(float)) for name in ("low", "high"))
    sd = rows["sd"].to_numpy(float)
    for place, name in enumerate(rows["component"]):
        ends = [[max(sd[place] - low[place], 0)], [max(high[place] - sd[place], 0)]]
        style: dict[str, Any] = {"color": COMPONENT_STYLES[name][0], "marker": "o", "ms": 5}
        style |= {"capsize": 2.5} | kwargs
        ax.errorbar([sd[place]], [place], xerr=np.nan_to_num(ends), **style)
    ax.set_yticks(range(len(rows)), [COMPONENT_NAMES[str(name)] for name in rows["component"]])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
    ax.set(title=short_name(endpoint), xlabel="standard deviation")
    return ax


FIGURE = ReportFigure("variance", draw_variance, kind="design", number="F10", section="robustness")
