"""Figures of counts: how many modes were detected, how, and what the extra ones are.

Each builder takes `Results` and returns a `Drawn`, or raises `NotApplicable` with the reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import count_figures, figures, theme
from analysis.figures.layout import (
    MAX_LABELLED_PANELS,
    Drawn,
    NotApplicable,
    cells_to_draw,
    legend_below,
    listed,
    new_figure,
    panels_of,
    thinned,
)
from analysis.frames import composition, summary
from analysis.load import Results
from analysis.wording import notes as captions
from analysis.wording.names import PROTOCOL_NAMES, name_of
from study.results import PROTOCOLS, SOURCES


def draw_coverage(results: Results) -> Drawn:
    """Coverage against each swept factor, beside the control."""
    frame = summary.coverage_by_cell(results)
    if frame.empty:
        raise NotApplicable("no trial finished, so no mode was counted")
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    if not factors:
        return _coverage_of_one_cell(results, frame, protocols)
    panels = panels_of(results, frame, factors[1:])
    figure = new_figure(
        min(theme.FULL_WIDTH * 1.6, max(theme.FULL_WIDTH, 2.7 * len(panels))),
        0.5 + 2.7 * len(protocols),
    )
    axes = figure.subplots(len(protocols), len(panels), sharex=True, sharey="row", squeeze=False)
    for row, protocol in enumerate(protocols):
        for column, (title, part) in enumerate(panels):
            ax = axes[row, column]
            figures.plot_coverage(
                part[part["protocol"] == protocol],
                x=factors[0],
                write_shares=len(panels) <= MAX_LABELLED_PANELS,
                ax=ax,
            )
            if row == 0:
                ax.set_title(title or PROTOCOL_NAMES[protocol])
            elif not title:
                ax.set_title(PROTOCOL_NAMES[protocol])
            ax.label_outer()
            figures.turn_crowded_ticks(ax, figure.get_figwidth() / (len(panels) + 0.5))
            if title and column == 0:
                ax.set_ylabel(f"{protocol} protocol\n{name_of('coverage')}")
    legend_below(figure, axes[0, 0])
    drawn = pd.concat([part for _, part in panels])
    for row, protocol in enumerate(protocols):
        figures.fit_coverage_axis(axes[row, 0], drawn[drawn["protocol"] == protocol])
    return Drawn(
        figure,
        drawn,
        "Coverage by swept factor",
        captions.coverage(results, drawn, factors=factors),
        f"Coverage of each source against {name_of(factors[0])}, "
        "the control as a band and the ceiling as a dashed line.",
        "summary.coverage_by_cell(load_results(PATH))",
    )


def _coverage_of_one_cell(results: Results, frame: pd.DataFrame, protocols: list[str]) -> Drawn:
    trials = summary.coverage_trials(results)
    figure = new_figure(theme.FULL_WIDTH, 3.2)
    axes = figure.subplots(1, len(protocols), squeeze=False)[0]
    for ax, protocol in zip(axes, protocols, strict=True):
        figures.plot_coverage_by_source(
            frame[frame["protocol"] == protocol], trials[trials["protocol"] == protocol], ax=ax
        )
        ax.set_title(PROTOCOL_NAMES[protocol])
    for ax in axes[1:]:
        # Each protocol has its own scale, so only the label is dropped, not the ticks.
        ax.set_ylabel("")
    return Drawn(
        figure,
        frame,
        "Coverage by source",
        captions.coverage(results, frame, factors=[]),
        "Coverage of each source by both protocols: every count as a point, "
        "the mean with its interval beside, the ceiling as a dashed line.",
        "summary.coverage_by_cell(load_results(PATH))",
    )


def draw_bic_curves(results: Results) -> Drawn:
    """BIC against k for every source in the reference cell."""
    cell = summary.reference_cell(results)
    trials = summary.done_trials(results.trials)
    trials = trials[trials["cell"] == cell]
    frame = summary.bic_curves(results, trials)
    protocol = "calibrated" if (frame["protocol"] == "calibrated").any() else "original"
    frame = frame[frame["protocol"] == protocol]
    sources = [name for name in SOURCES if (frame["source"] == name).any()]
    if trials.empty or not sources:
        raise NotApplicable(f"no BIC curve was stored for a finished trial of the cell {cell!r}")
    figure = new_figure(theme.FULL_WIDTH, 2.5 * ((len(sources) + 1) // 2))
    axes = np.ravel(
        figure.subplots(
            (len(sources) + 1) // 2, min(2, len(sources)), sharex=True, sharey=True, squeeze=False
        )
    )
    true_k = int(trials["n_components"].iloc[0])
    for ax, source in zip(axes, sources, strict=False):
        figures.plot_bic_curves(
            frame,
            source=source,
            protocol=protocol,
            true_k=true_k,
            original_range=summary.ORIGINAL_RANGE,
            ax=ax,
        )
        ax.label_outer()
    for ax in axes[len(sources) :]:
        ax.remove()
    legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "BIC against the number of components",
        captions.bic_curves(frame, cell=cell, protocol=protocol, true_k=true_k),
        f"Line charts of BIC above its minimum against k for {listed(sources)}, "
        "one line for each seed, the original range 5 to 14 shaded.",
        f"summary.bic_curves(results, results.trials.query('cell == {cell!r}'))",
    )


def draw_paired_counts(results: Results) -> Drawn:
    """Control k* beside generated k*, data seed by data seed, and all differences."""
    source = "samples"
    frames = [
        summary.paired_counts(results, source, protocol).assign(protocol=protocol, source=source)
        for protocol in PROTOCOLS
    ]
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise NotApplicable("no finished trial has both a count of its samples and a control")
    cell = summary.reference_cell(results)
    if cell not in set(frame["cell"]):
        cell = str(frame["cell"].iloc[0])
    frame = frame[frame["cell"].isin(shown := _some_cells(results, frame))]
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    figure = new_figure(theme.FULL_WIDTH, 2.75 * len(protocols))
    # The steps of one or two data seeds would look like a law.
    with_steps = int(frame["data_seed"].nunique()) > 2
    shape: dict[str, Any] = {"width_ratios": (1, 1.25)} if with_steps else {}
    axes = figure.subplots(len(protocols), 1 + with_steps, squeeze=False, **shape)
    colors = theme.level_colors(shown)
    for (left, *right), protocol in zip(axes, protocols, strict=True):
        rows = frame[frame["protocol"] == protocol]
        true_k = true_k_of(results, cell)
        count_figures.plot_paired_slopes(rows[rows["cell"] == cell], true_k=true_k, ax=left)
        left.set_title(PROTOCOL_NAMES[protocol])
        for ax in right:
            count_figures.plot_delta_steps(rows, colors=colors, ax=ax)
    if with_steps:
        legend_below(figure, axes[0, 1])
    return Drawn(
        figure,
        frame,
        "Counts beside their control",
        captions.paired_counts(results, frame, cell=cell, with_steps=with_steps),
        "Slopes from each data seed's control count to the count of its samples, and cumulative "
        "shares of the differences, by protocol.",
        'summary.paired_counts(load_results(PATH), "samples", "calibrated")',
    )


def _some_cells(results: Results, frame: pd.DataFrame) -> list[str]:
    """Choose at most 8 cells, the reference cell among them."""
    present = cells_to_draw(results, frame)
    reference = summary.reference_cell(results)
    few = thinned(present, 8)
    return few if reference in few or reference not in present else [reference, *few[1:]]


def true_k_of(results: Results, cell: str) -> float:
    """Give the number of true components of a cell."""
    trials = results.trials
    return float(trials.loc[trials["cell"] == cell, "n_components"].iloc[0])


def draw_survival(results: Results) -> Drawn:
    """P(k* > k) by Kaplan-Meier for every source in the reference cell, by protocol."""
    cell = summary.reference_cell(results)
    # Bands of the other cells would be resampled for nothing.
    alone = replace(results, trials=results.trials[results.trials["cell"] == cell])
    parts = [
        summary.survival(alone, source, protocol).assign(source=source, protocol=protocol)
        for protocol in PROTOCOLS
        for source in SOURCES
    ]
    frame = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    if frame.empty:
        raise NotApplicable(f"no finished trial of the cell {cell!r} has a count")
    coverage = summary.coverage_by_cell(results)
    coverage = coverage[coverage["cell"] == cell]
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    figure = new_figure(theme.FULL_WIDTH, 2.5 * len(protocols))
    axes = figure.subplots(len(protocols), 2, squeeze=False, width_ratios=(1.7, 1))
    for (left, right), protocol in zip(axes, protocols, strict=True):
        for source in SOURCES:
            rows = frame[(frame["protocol"] == protocol) & (frame["source"] == source)]
            if len(rows):
                count_figures.plot_survival(
                    rows, source=source, true_k=true_k_of(results, cell), ax=left
                )
        left.set_title(PROTOCOL_NAMES[protocol])
        count_figures.plot_ceiling_shares(coverage[coverage["protocol"] == protocol], ax=right)
    legend_below(figure, axes[-1, 0])
    return Drawn(
        figure,
        frame,
        "How far the counts reach",
        captions.survival(results, frame, cell=cell),
        "Step functions of the share of counts above k for each source, and bars of the share "
        "of counts at the ceiling, by protocol.",
        f"summary.survival(load_results(PATH), SOURCE, PROTOCOL).query(\"cell == '{cell}'\")",
    )


def draw_count_by_size(results: Results) -> Drawn:
    """k* against the number of points counted."""
    x = "detection_n_samples"
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if x not in factors:
        raise NotApplicable("the number of points counted (detection.n_samples) is not swept")
    frame = summary.coverage_by_cell(results)
    if frame.empty:
        raise NotApplicable("no trial finished, so no mode was counted")
    true_k = results.trials.groupby("cell")["n_components"].first().astype(float)
    for name in ("estimate", "low", "high"):
        frame[name] = frame[name] * frame["cell"].map(true_k)
    panels = panels_of(results, frame, [name for name in factors if name != x])
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    figure = new_figure(theme.FULL_WIDTH, 0.4 + 2.6 * len(panels))
    axes = figure.subplots(len(panels), len(protocols), squeeze=False)
    for row, (title, part) in zip(axes, panels, strict=True):
        for ax, protocol in zip(row, protocols, strict=True):
            count_figures.plot_count_by_size(part[part["protocol"] == protocol], x=x, ax=ax)
            k = true_k[part["cell"].iloc[0]]
            ax.axhline(k, color=theme.NEUTRAL, ls=":", lw=1, label="true K")
            ax.set_title(title or PROTOCOL_NAMES[protocol])
    legend_below(figure, axes[0, 0])
    drawn = pd.concat([part for _, part in panels])
    return Drawn(
        figure,
        drawn,
        "Counts against the number of points",
        captions.count_by_size(results, drawn),
        "Detected modes of each source against the number of points counted, by protocol.",
        "summary.coverage_by_cell(load_results(PATH))",
    )


def draw_composition(results: Results) -> Drawn:
    """What the components of the calibrated count of samples are, by cell."""
    frame = composition.composition_by_cell(results)
    if frame.empty:
        raise NotApplicable("no finished trial has its fitted components matched to the truth")
    frame = frame[frame["cell"].isin(thinned(frame["cell"].tolist(), 40))]
    names = dict(composition.PART_NAMES)
    if not composition.has_light(frame):
        del names["light"]
    figure = new_figure(theme.FULL_WIDTH, 1.5 + 0.24 * max(len(frame), 4))
    ax = figure.subplots()
    count_figures.plot_composition(frame, names=names, ax=ax)
    legend_below(figure, ax)
    return Drawn(
        figure,
        frame,
        "Where the extra components go",
        captions.composition(results, frame),
        f"Stacked bars of the mean parts of k* in {len(frame)} cells, a line at the true K.",
        "composition.composition_by_cell(load_results(PATH))",
    )
