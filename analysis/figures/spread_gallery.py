"""Figures of spread: what drives variance, whole distributions, agreement of metrics, power.

Each builder takes `Results` and returns a `Drawn`, or raises `NotApplicable` with the reason.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.cluster import hierarchy

from analysis.figures import spread_figures, theme
from analysis.figures.layout import Drawn, NotApplicable, cells_to_draw, legend_below, new_figure
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes as captions
from analysis.wording.names import name_of, short_name

# The replicated count first, then the primary endpoints.
SPREAD_ENDPOINTS = ("k_samples_original", "k_samples_calibrated", *summary.PRIMARY_ENDPOINTS[::-1])
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


def draw_variance(results: Results) -> Drawn:
    """Variance components of each endpoint, and what the factors explain."""
    present = [n for n in SPREAD_ENDPOINTS if _varies(results, n)]
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
    spread_figures.plot_variance_components(frame, endpoints=shown, ax=ax)
    handles, labels = ax.get_legend_handles_labels()
    top.legend(handles, labels, loc="outside lower center", ncols=4)
    headline = "fkl_nats" if "fkl_nats" in shown else shown[-1]
    if importances.empty:
        spread_figures.plot_component_intervals(frame, endpoint=headline, ax=bottom.subplots())
    else:
        left, right = bottom.subplots(1, 2, width_ratios=(1, 1.2))
        spread_figures.plot_component_intervals(frame, endpoint=headline, ax=left)
        spread_figures.plot_importances(importances, ax=right)
        right.legend(fontsize=7, loc="best")
        right.set_title(f"{short_name(headline)}: factors")
    return Drawn(
        figure,
        frame,
        "What drives the variance",
        captions.variance(results, frame, importances, endpoint=headline),
        f"Stacked bars of the variance shares of {len(shown)} endpoints, intervals of the shares "
        f"of {short_name(headline)}, and importances of the swept factors where there are "
        "any.",
        f"summary.variance_components(load_results(PATH), {present})",
    )


def _varies(results: Results, endpoint: str) -> bool:
    done = summary.done_trials(results.trials)
    return endpoint in done and done[endpoint].nunique() > 1


def _importances(results: Results) -> pd.DataFrame:
    if not results.manifest.factors or not _varies(results, "fkl_nats"):
        return pd.DataFrame()
    return summary.importances(results, "fkl_nats")


def draw_distributions(results: Results) -> Drawn:
    """Every trial's value of the primary endpoints and of k*, by cell."""
    done = summary.done_trials(results.trials)
    endpoints = [n for n in ("fkl_nats", "spurious_mass", "k_samples_calibrated")
                 if done[n].notna().any()]  # fmt: skip
    if done.empty or not endpoints:
        raise NotApplicable("no finished trial has an endpoint")
    if len(done) == 1:
        raise NotApplicable("one trial has no distribution")
    shown = cells_to_draw(results, done)
    keys = ["trial_id", "cell", "data_seed", "init_seed"]
    frame = done.loc[done["cell"].isin(shown), [*keys, *endpoints]]
    # With few cells panels stand side by side, with many below each other.
    stacked = len(shown) > 4
    size = (theme.FULL_WIDTH, 1.9 * len(endpoints) + 0.6) if stacked else (theme.FULL_WIDTH, 3.2)
    figure = new_figure(*size)
    grid = (len(endpoints), 1) if stacked else (1, len(endpoints))
    axes = np.ravel(figure.subplots(*grid, sharex=stacked, squeeze=False))
    for ax, endpoint in zip(axes, endpoints, strict=True):
        spread_figures.plot_distributions(frame, endpoint=endpoint, cells=shown, ax=ax)
        ax.set_ylabel(name_of(endpoint).replace(" (", "\n("))
        if endpoint.startswith("k_"):
            ax.set_ylabel("detected modes k*\n(samples, calibrated)")
    return Drawn(
        figure,
        frame,
        "Seeds against settings",
        captions.distributions(results, frame, endpoints),
        f"Violins with every trial as a point for {len(shown)} cells, a panel for each of "
        f"{len(endpoints)} endpoints.",
        "summary.done_trials(load_results(PATH).trials)",
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
        spread_figures.plot_agreement(rows, metrics=metrics, ax=ax)
        ax.set_title(f"over {int(rows['n'].max())} {level}")
        if ax is not axes[0]:
            ax.set_yticklabels([])
    return Drawn(
        figure,
        known,
        "Agreement of metrics",
        captions.agreement(results, known),
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


def draw_power(results: Results) -> Drawn:
    """Power and interval half-width against the number of data seeds."""
    parts = []
    for endpoint, effect in (("k_samples_calibrated", 2.0), ("fkl_nats", 0.05)):
        if _varies(results, endpoint):
            parts.append(summary.power_curve(results, endpoint, effect))
    parts = [part for part in parts if len(part) and part["power"].notna().any()]
    if not parts:
        raise NotApplicable(
            "power needs measured variance components: at least two data seeds and two init seeds"
        )
    frame = pd.concat(parts, ignore_index=True)
    endpoints = list(dict.fromkeys(frame["endpoint"]))
    figure = new_figure(theme.FULL_WIDTH, 2.6 * len(endpoints) + 0.3)
    axes = figure.subplots(len(endpoints), 2, squeeze=False)
    for (left, right), endpoint in zip(axes, endpoints, strict=True):
        rows = frame[frame["endpoint"] == endpoint]
        unit = "components" if endpoint.startswith("k_") else "nats"
        spread_figures.plot_power(rows, ax=left)
        spread_figures.plot_power(rows, value="half_width", ax=right)
        effect = float(rows["effect"].iloc[0])
        left.set_title(f"{short_name(endpoint)}: a difference of {effect:g} {unit}")
        right.set_ylabel(f"half-width ({unit})")
    legend_below(figure, axes[0, 0])
    return Drawn(
        figure,
        frame,
        "How many seeds",
        captions.power(results, frame),
        "Line charts of the power of a paired comparison and of the half-width of an interval "
        "against the number of data seeds, a line for each number of init seeds.",
        'summary.power_curve(load_results(PATH), "k_samples_calibrated", 2.0)',
    )
