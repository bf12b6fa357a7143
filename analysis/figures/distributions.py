"""Every trial's value of the primary endpoints and of k*, by cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import Drawn, NotApplicable, ReportFigure, cells_to_draw, new_figure
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import cell_labels, name_of


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
        plot_distributions(frame, endpoint=endpoint, cells=shown, ax=ax)
        ax.set_ylabel(name_of(endpoint).replace(" (", "\n("))
        if endpoint.startswith("k_"):
            ax.set_ylabel("detected modes k*\n(samples, calibrated)")
    return Drawn(
        figure,
        frame,
        "Seeds against settings",
        caption(results, frame, endpoints),
        f"Violins with every trial as a point for {len(shown)} cells, a panel for each of "
        f"{len(endpoints)} endpoints.",
        "summary.done_trials(load_results(PATH).trials)",
    )


def caption(results: Results, frame: pd.DataFrame, endpoints: Sequence[str]) -> str:
    """Caption the full distributions."""
    text = (
        f"Every trial as a point ({notes.count(len(frame), 'trial')} in "
        f"{notes.cells_shown(results, frame)}); violins where a cell has five or more different "
        "ones. Points of one data seed belong together, so the spread is not an interval for "
        "a mean."
    )
    if "k_samples_calibrated" in endpoints:
        done = summary.done_trials(results.trials)
        flags = done.loc[done["cell"].isin(frame["cell"]), "at_ceiling_samples_calibrated"]
        n = int(flags.fillna(False).astype(bool).sum())
        text += f" Counts at the ceiling: {n} of {int(flags.notna().sum())}."
    return f"{text} {notes.denominators(results)}"


def plot_distributions(
    frame: pd.DataFrame,
    *,
    endpoint: str,
    cells: Sequence[str],
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw every trial's value in each cell over a violin of them.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of the trials table: cell and the endpoint.
    endpoint : str
    cells : sequence of str
        Cells in the order drawn. A cell with fewer than 5 values, or one value, has only points.
    ax : Axes or None
    **kwargs
        Passed to `Axes.scatter`.
    """
    ax = ax or plt.gca()
    rows = frame[frame["cell"].isin(cells)].astype({endpoint: float}).dropna(subset=[endpoint])
    spread = rows.groupby("cell")[endpoint].agg(["size", "nunique"])
    wide = spread.index[(spread["size"] >= 5) & (spread["nunique"] > 1)]
    order = list(cells)
    if len(wide):
        violin = {"inner": None, "cut": 0, "linewidth": 0.6, "color": "#cfe3f1", "width": 0.85}
        part = rows[rows["cell"].isin(wide)]
        sns.violinplot(
            part, x="cell", y=endpoint, order=order, density_norm="width", ax=ax, **violin
        )
    number = {cell: float(index) for index, cell in enumerate(order)}
    place = np.array([number[cell] for cell in rows["cell"]])
    place += np.random.default_rng(0).uniform(-0.22, 0.22, len(rows))
    style: dict[str, Any] = {"s": 9 if len(rows) < 600 else 4, "alpha": 0.6, "lw": 0}
    style |= {"color": theme.SOURCE_COLORS["samples"], "rasterized": True, "zorder": 3} | kwargs
    ax.scatter(place, rows[endpoint], **style)
    labels = cell_labels(order)
    ax.set_xticks(range(len(order)), labels)
    if max(map(len, labels)) * len(order) > 60:
        ax.tick_params(axis="x", labelrotation=60)
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    ax.set(xlabel="", ylabel=name_of(endpoint), xlim=(-0.6, len(order) - 0.4))
    ax.grid(False, axis="x")
    return ax


FIGURE = ReportFigure(
    "distributions", draw_distributions, kind="design", number="F11", section="robustness"
)
