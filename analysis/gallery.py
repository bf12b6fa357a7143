"""The list of figures: which frame each shows, how panels are arranged, what the caption says.

Each builder takes `Results` and returns a `Drawn`, or raises `NotApplicable` with the reason that
the report prints in its place. `FIGURES` maps names to builders, in the report's order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import captions, embed, figures, pictures, summary, theme
from analysis.load import Results
from study.results import PROTOCOLS, SOURCES

MAX_LINES = 10
MAX_PANELS = 8
# Narrower panels have no room for text at the points.
MAX_LABELLED_PANELS = 3


class NotApplicable(Exception):
    """A figure that this sweep cannot show; the message says why."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished figure.

    Parameters
    ----------
    figure : Figure
    data : pandas.DataFrame
        The numbers drawn.
    title, caption, alt : str
        Heading, caption, and a description for readers who cannot see the picture.
    query : str
        The Python that gives `data`.
    """

    figure: Figure
    data: pd.DataFrame
    title: str
    caption: str
    alt: str
    query: str


def draw_loss_curves(results: Results) -> Drawn:
    """Training losses by epoch; the original's numbers when its cell is among them."""
    frame = summary.losses_by_epoch(results)
    if frame.empty:
        raise NotApplicable("no trial finished training, so there is no loss to draw")
    shown = _cells_to_draw(results, frame)
    colors = theme.level_colors(shown)
    frame = frame[frame["cell"].isin(shown)]
    reported = _reported(results, int(frame["epoch"].max()))
    figure = _new_figure(theme.FULL_WIDTH, 3.1)
    axes = figure.subplots(1, 2)
    for ax, quantity in zip(axes, ("recon", "kl_nats"), strict=True):
        figures.plot_loss_curves(frame, quantity=quantity, colors=colors, reported=reported, ax=ax)
    _legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "Training losses",
        captions.loss_curves(results, frame, with_reported=reported is not None),
        "Two line charts, reconstruction loss and KL divergence against epoch, "
        f"with one line for each of {len(shown)} cells.",
        "summary.losses_by_epoch(load_results(PATH))",
    )


def _reported(results: Results, last_epoch: int) -> pd.DataFrame | None:
    done = summary.done_trials(results.trials)
    if not summary.is_original_setting(done).any():
        return None
    rows = [(name, epoch, value) for (name, epoch), value in summary.REPORTED.items()]
    frame = pd.DataFrame(rows, columns=["quantity", "epoch", "reported"])
    frame = frame[frame["epoch"] <= last_epoch]
    return None if frame.empty else frame


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
    figure = _new_figure(theme.FULL_WIDTH, 2.5 * ((len(sources) + 1) // 2))
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
    _legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "BIC against the number of components",
        captions.bic_curves(frame, cell=cell, protocol=protocol, true_k=true_k),
        f"Line charts of BIC above its minimum against k for {_list(sources)}, "
        "one line for each seed, the original range 5 to 14 shaded.",
        f"summary.bic_curves(results, results.trials.query('cell == {cell!r}'))",
    )


def _representative_points(results: Results) -> tuple[pd.Series, pd.DataFrame]:
    if results.points.empty:
        raise NotApplicable(
            "the point gallery is not in this folder (it is not kept in version control); "
            "running the sweep makes it"
        )
    trial = summary.representative_trial(results)
    if trial is None:
        raise NotApplicable("no finished trial has a point gallery")
    return trial, results.points[results.points["trial_id"] == trial["trial_id"]]


def draw_points(results: Results) -> Drawn:
    """True points, decoder means and samples of one trial, in three dimensions (or two)."""
    trial, points = _representative_points(results)
    sources = [name for name in ("data", "means", "samples") if (points["source"] == name).any()]
    points = points[points["source"].isin(sources)]
    dim = int(trial["dim"])
    if dim < 2 or "data" not in sources:
        raise NotApplicable("the points have one dimension; there is no space to show them in")
    limits = _limits(points, ["x0", "x1", "x2"][: min(dim, 3)])
    figure = Figure(figsize=(theme.FULL_WIDTH, 2.75))
    for index, source in enumerate(sources):
        if dim == 2:
            ax = figure.add_subplot(1, len(sources), index + 1)
            frame = points[points["source"] == source].rename(columns={"x0": "u", "x1": "v"})
            pictures.plot_plane(frame, names=("x1", "x2" if index == 0 else ""), ax=ax)
            ax.set(xlim=limits[0], ylim=limits[1], title=theme.source_name(source))
            ax.set_aspect("equal")
        else:
            ax3d = figure.add_subplot(1, len(sources), index + 1, projection="3d")
            pictures.plot_points_3d(points, source=source, limits=limits, ax=ax3d)
    figure.subplots_adjust(left=0.01, right=0.95, bottom=0.06, top=0.92, wspace=0.12)
    if dim == 2:
        figure.subplots_adjust(left=0.08, right=0.99, bottom=0.17)
    return Drawn(
        figure,
        points,
        "True points, decoder means and samples",
        captions.points(trial, points),
        f"Scatter plots of {_list(sources)} with equal limits, coloured by true component.",
        f"load_points(PATH).query('trial_id == {trial['trial_id']!r}')",
    )


def draw_latent_plane(results: Results) -> Drawn:
    """The encoder's codes of one trial, coloured by true component."""
    trial, points = _representative_points(results)
    codes = points[points["source"] == "codes"]
    if codes.empty:
        raise NotApplicable("codes are not among the counted sources of this sweep")
    plane, names = embed.as_plane(codes)
    labels = embed.label_positions(plane)
    figure = _new_figure(theme.HALF_WIDTH * 1.35, 3.9 if names[1] else 2.2)
    ax = figure.subplots()
    pictures.plot_latent_plane(plane, labels=labels, names=names, ax=ax)
    return Drawn(
        figure,
        plane,
        "The latent plane",
        captions.latent_plane(trial, plane, names),
        "Scatter plot of latent codes coloured and numbered by true component.",
        f"embed.as_plane(load_points(PATH).query('trial_id == {trial['trial_id']!r} "
        'and source == "codes"\'))',
    )


def draw_tsne(results: Results) -> Drawn:
    """t-SNE of data, samples and codes of one trial."""
    trial, points = _representative_points(results)
    points = points[points["source"].isin(["data", "samples", "codes"])]
    if points.groupby("source").size().min() < 10:
        raise NotApplicable("the point gallery is too small for t-SNE (fewer than 10 points)")
    frame = embed.tsne(points)
    sources = [name for name in ("data", "samples", "codes") if (frame["source"] == name).any()]
    shared = _limits(frame[frame["source"] != "codes"], ["u", "v"])
    figure = _new_figure(theme.FULL_WIDTH, 2.7)
    axes = np.ravel(figure.subplots(1, len(sources)))
    for ax, source in zip(axes, sources, strict=True):
        pictures.plot_tsne(
            frame,
            source=source,
            limits=None if source == "codes" else shared,
            labels=embed.label_positions(frame[frame["source"] == source]),
            ax=ax,
        )
        ax.set_box_aspect(1)
    return Drawn(
        figure,
        frame,
        "t-SNE of data, samples and codes",
        captions.tsne(trial, frame),
        f"t-SNE maps of {_list(sources)}, coloured and numbered by true component.",
        f"embed.tsne(load_points(PATH).query('trial_id == {trial['trial_id']!r}'))",
    )


def draw_coverage(results: Results) -> Drawn:
    """Coverage against each swept factor, beside the control."""
    frame = summary.coverage_by_cell(results)
    if frame.empty:
        raise NotApplicable("no trial finished, so no mode was counted")
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    protocols = [name for name in PROTOCOLS if (frame["protocol"] == name).any()]
    if not factors:
        return _coverage_of_one_cell(results, frame, protocols)
    panels = _panels(frame, factors[1:])
    figure = _new_figure(
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
                ax.set_title(title or theme.PROTOCOL_NAMES[protocol])
            elif not title:
                ax.set_title(theme.PROTOCOL_NAMES[protocol])
            ax.label_outer()
            if title and column == 0:
                ax.set_ylabel(f"{protocol} protocol\n{theme.name_of('coverage')}")
    _legend_below(figure, axes[0, 0])
    drawn = pd.concat([part for _, part in panels])
    for row, protocol in enumerate(protocols):
        figures.fit_coverage_axis(axes[row, 0], drawn[drawn["protocol"] == protocol])
    return Drawn(
        figure,
        drawn,
        "Coverage by swept factor",
        captions.coverage(results, drawn, factors=factors),
        f"Coverage of each source against {theme.name_of(factors[0])}, "
        "the control as a band and the ceiling as a dashed line.",
        "summary.coverage_by_cell(load_results(PATH))",
    )


def _coverage_of_one_cell(results: Results, frame: pd.DataFrame, protocols: list[str]) -> Drawn:
    trials = summary.coverage_trials(results)
    figure = _new_figure(theme.FULL_WIDTH, 3.2)
    axes = figure.subplots(1, len(protocols), squeeze=False)[0]
    for ax, protocol in zip(axes, protocols, strict=True):
        figures.plot_coverage_by_source(
            frame[frame["protocol"] == protocol], trials[trials["protocol"] == protocol], ax=ax
        )
        ax.set_title(theme.PROTOCOL_NAMES[protocol])
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


def draw_recall_spurious(results: Results) -> Drawn:
    """Mode recall against spurious mass, a point for each trial."""
    frame = summary.recall_and_spurious(results)
    if frame.empty:
        raise NotApplicable("no finished trial has mode recall and spurious mass")
    shown = _cells_to_draw(results, frame)
    frame = frame[frame["cell"].isin(shown)]
    sources = [name for name in ("samples", "means") if (frame["source"] == name).any()]
    figure = _new_figure(theme.FULL_WIDTH, 3.2)
    axes = figure.subplots(1, len(sources), sharex=True, sharey=True, squeeze=False)[0]
    for ax, source in zip(axes, sources, strict=True):
        colors = theme.level_colors(shown)
        figures.plot_recall_spurious(frame[frame["source"] == source], colors=colors, ax=ax)
        ax.set_title(theme.source_name(source))
        ax.label_outer()
    if len(shown) > 1:
        _legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "Mode recall against spurious mass",
        captions.recall_spurious(results, frame),
        f"Scatter plot of mode recall against spurious mass for {_list(sources)}, "
        "one point for each trial, coloured by cell.",
        "summary.recall_and_spurious(load_results(PATH))",
    )


def draw_endpoints(results: Results) -> Drawn:
    """Forward KL, mode recall and spurious mass against the swept factors."""
    frame = summary.endpoints_by_cell(results)
    frame = frame.dropna(subset=["estimate"]) if len(frame) else frame
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if frame.empty:
        raise NotApplicable("no finished trial has the primary endpoints")
    if not factors:
        raise NotApplicable("nothing is swept here; the endpoints are in the tables")
    others = factors[1:]
    groups = frame[others].astype(str).agg(", ".join, axis=1) if others else None
    frame = frame.assign(group=groups) if others else frame
    levels = _thinned(list(dict.fromkeys(frame["group"]))) if others else []
    endpoints = list(dict.fromkeys(frame["endpoint"]))[::-1]
    figure = _new_figure(theme.FULL_WIDTH * 1.15, 2.9 + 0.2 * len(levels) / 3)
    axes = figure.subplots(1, len(endpoints), squeeze=False)[0]
    for ax, endpoint in zip(axes, endpoints, strict=True):
        figures.plot_endpoint(
            frame,
            x=factors[0],
            endpoint=endpoint,
            hue="group" if others else None,
            colors=theme.level_colors(levels) if others else None,
            ax=ax,
        )
    if others:
        _legend_below(figure, axes[0], title=", ".join(theme.name_of(name) for name in others))
    return Drawn(
        figure,
        frame,
        "Primary endpoints by swept factor",
        captions.endpoints(results, frame),
        f"Forward KL, spurious mass and mode recall against {theme.name_of(factors[0])} "
        "with intervals.",
        "summary.endpoints_by_cell(load_results(PATH))",
    )


FIGURES: dict[str, Callable[[Results], Drawn]] = {
    "coverage": draw_coverage,
    "bic_curves": draw_bic_curves,
    "endpoints": draw_endpoints,
    "recall_spurious": draw_recall_spurious,
    "loss_curves": draw_loss_curves,
    "points": draw_points,
    "latent_plane": draw_latent_plane,
    "tsne": draw_tsne,
}


def _new_figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _thinned(levels: list[Any]) -> list[Any]:
    """Keep at most MAX_LINES levels, evenly, both ends among them."""
    if len(levels) <= MAX_LINES:
        return levels
    index = np.unique(np.linspace(0, len(levels) - 1, MAX_LINES).round().astype(int))
    return [levels[i] for i in index]


def _cells_to_draw(results: Results, frame: pd.DataFrame) -> list[str]:
    """Choose the cells whose lines fit one panel.

    When there are too many: those that differ from the reference cell in the main factor alone.
    """
    present = [cell for cell in summary.cells(results)["cell"] if cell in set(frame["cell"])]
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if len(present) > MAX_LINES and len(factors) > 1:
        table = summary.cells(results).set_index("cell")
        others = table[factors[1:]].astype(str)
        same = (others == others.loc[summary.reference_cell(results)]).all(axis=1)
        present = [cell for cell in present if same[cell]]
    return _thinned(present)


def _panels(frame: pd.DataFrame, factors: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """Split a frame by the factors that are not on the x axis; at most MAX_PANELS parts."""
    if not factors:
        return [("", frame)]
    panels = []
    for levels, part in frame.groupby(factors, sort=False, dropna=False):
        named = zip(factors, levels, strict=True)
        title = "\n".join(f"{theme.name_of(n)} = {theme.level_text(v)}" for n, v in named)
        panels.append((title, part))
    return panels[:MAX_PANELS]


def _limits(points: pd.DataFrame, columns: list[str]) -> list[tuple[float, float]]:
    """Give common limits with equal spans, so that distances compare across axes."""
    low = points[columns].min().to_numpy(float)
    high = points[columns].max().to_numpy(float)
    middle, half = (low + high) / 2, 0.53 * float((high - low).max())
    return [(float(m - half), float(m + half)) for m in middle]


def _legend_below(figure: Figure, ax: Any, title: str | None = None) -> None:
    handles, labels = ax.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    widest = max((len(label) for label in unique), default=1)
    columns = max(1, min(len(unique), int(100 / (widest + 8))))
    figure.legend(
        list(unique.values()), list(unique), loc="outside lower center", ncols=columns, title=title
    )


def _list(sources: list[str]) -> str:
    names = [theme.source_name(name) for name in sources]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
