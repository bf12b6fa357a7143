"""Figures of the points of one trial: the space of the data, the latent plane, t-SNE.

Each builder takes `Results` and returns a `Drawn`, or raises `NotApplicable` with the reason.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures import pictures, theme
from analysis.figures.layout import Drawn, NotApplicable, limits_of, listed, new_figure
from analysis.frames import embed, summary
from analysis.load import Results
from analysis.wording import notes as captions
from analysis.wording.names import source_name


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
    limits = limits_of(points, ["x0", "x1", "x2"][: min(dim, 3)])
    figure = Figure(figsize=(theme.FULL_WIDTH, 2.75))
    for index, source in enumerate(sources):
        if dim == 2:
            ax = figure.add_subplot(1, len(sources), index + 1)
            frame = points[points["source"] == source].rename(columns={"x0": "u", "x1": "v"})
            pictures.plot_plane(frame, names=("x1", "x2" if index == 0 else ""), ax=ax)
            ax.set(xlim=limits[0], ylim=limits[1], title=source_name(source))
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
        f"Scatter plots of {listed(sources)} with equal limits, coloured by true component.",
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
    figure = new_figure(theme.HALF_WIDTH * 1.35, 3.9 if names[1] else 2.2)
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
    shared = limits_of(frame[frame["source"] != "codes"], ["u", "v"])
    figure = new_figure(theme.FULL_WIDTH, 2.7)
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
        f"t-SNE maps of {listed(sources)}, coloured and numbered by true component.",
        f"embed.tsne(load_points(PATH).query('trial_id == {trial['trial_id']!r}'))",
    )
