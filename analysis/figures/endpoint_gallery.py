"""Figures of the endpoints: fidelity, losses and what theory says of them.

Each builder takes `Results` and returns a `Drawn`, or raises `NotApplicable` with the reason.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import figures, spread_figures, theme, theory_figures
from analysis.figures.layout import (
    MAX_LINES,
    Drawn,
    NotApplicable,
    cells_to_draw,
    legend_below,
    listed,
    near_groups,
    new_figure,
    panels_of,
    thinned,
)
from analysis.frames import summary, theory
from analysis.frames.reference import REPORTED
from analysis.load import Results
from analysis.wording import notes as captions
from analysis.wording.names import name_of, source_name

# Inches that a printed page has room for.
PAGE_HEIGHT = 10.0


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
    if others:
        near = near_groups(results, frame, others, MAX_LINES)
        frame = frame.loc[sorted(index for _, rows in near for index in rows.index)]
        frame = frame.assign(group=frame[others].astype(str).agg(", ".join, axis=1))
    levels = list(dict.fromkeys(frame["group"])) if others else []
    endpoints = list(dict.fromkeys(frame["endpoint"]))[::-1]
    figure = new_figure(theme.FULL_WIDTH * 1.15, 2.9 + 0.2 * len(levels) / 3)
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
        legend_below(figure, axes[0], title=", ".join(name_of(name) for name in others))
    return Drawn(
        figure,
        frame,
        "Primary endpoints by swept factor",
        captions.endpoints(results, frame),
        f"Forward KL, spurious mass and mode recall against {name_of(factors[0])} with intervals.",
        "summary.endpoints_by_cell(load_results(PATH))",
    )


def draw_recall_spurious(results: Results) -> Drawn:
    """Mode recall against spurious mass, a point for each trial."""
    frame = summary.recall_and_spurious(results)
    if frame.empty:
        raise NotApplicable("no finished trial has mode recall and spurious mass")
    shown = cells_to_draw(results, frame)
    frame = frame[frame["cell"].isin(shown)]
    sources = [name for name in ("samples", "means") if (frame["source"] == name).any()]
    figure = new_figure(theme.FULL_WIDTH, 3.2)
    axes = figure.subplots(1, len(sources), sharex=True, sharey=True, squeeze=False)[0]
    for ax, source in zip(axes, sources, strict=True):
        colors = theme.level_colors(shown)
        # Null models are samples; decoder means have no counterpart among them.
        figures.plot_recall_spurious(
            frame[frame["source"] == source],
            colors=colors,
            nulls=summary.null_positions(results) if source == "samples" else None,
            ax=ax,
        )
        ax.set_title(source_name(source))
        ax.label_outer()
    if len(shown) > 1:
        legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "Mode recall against spurious mass",
        captions.recall_spurious(results, frame),
        f"Scatter plot of mode recall against spurious mass for {listed(sources)}, "
        "one point for each trial, coloured by cell.",
        "summary.recall_and_spurious(load_results(PATH))",
    )


def draw_loss_curves(results: Results) -> Drawn:
    """Training losses by epoch; the original's numbers when its cell is among them."""
    shown = cells_to_draw(results, _with_losses(results))
    # Averages of the cells that are not drawn would take minutes and gigabytes.
    frame = summary.losses_by_epoch(results, shown)
    if frame.empty:
        raise NotApplicable("no trial finished training, so there is no loss to draw")
    colors = theme.level_colors(shown)
    reported = _reported(results, int(frame["epoch"].max()))
    figure = new_figure(theme.FULL_WIDTH, 3.1)
    axes = figure.subplots(1, 2)
    for ax, quantity in zip(axes, ("recon", "kl_nats"), strict=True):
        figures.plot_loss_curves(frame, quantity=quantity, colors=colors, reported=reported, ax=ax)
    legend_below(figure, axes[0])
    return Drawn(
        figure,
        frame,
        "Training losses",
        captions.loss_curves(results, frame, with_reported=reported is not None),
        "Two line charts, reconstruction loss and KL divergence against epoch, "
        f"with one line for each of {len(shown)} cells.",
        "summary.losses_by_epoch(load_results(PATH))",
    )


def _with_losses(results: Results) -> pd.DataFrame:
    """Keep the finished trials whose curves hold a loss."""
    known = results.curves[["recon", "kl_nats"]].notna().any(axis=1)
    done = summary.done_trials(results.trials)
    return done[done["trial_id"].isin(results.curves.loc[known, "trial_id"].unique())]


def _reported(results: Results, last_epoch: int) -> pd.DataFrame | None:
    done = summary.done_trials(results.trials)
    if not summary.is_original_setting(done).any():
        return None
    rows = [(name, epoch, value) for (name, epoch), value in REPORTED.items()]
    frame = pd.DataFrame(rows, columns=["quantity", "epoch", "reported"])
    frame = frame[frame["epoch"] <= last_epoch]
    return None if frame.empty else frame


def draw_rate_distortion(results: Results) -> Drawn:
    """Reconstruction error against KL, with the Shannon bound and the best linear models."""
    frame = theory.rate_and_distortion(results)
    if frame.empty:
        raise NotApplicable("no finished trial has a held-out reconstruction error and KL")
    if frame["dim"].nunique() > 1 or frame["standardize"].nunique() > 1:
        raise NotApplicable(
            "the data dimension or the units of the points are swept: no common scale for losses"
        )
    shown = cells_to_draw(results, frame)
    frame = frame[frame["cell"].isin(shown)]
    curves = _linear_curves(results, frame)
    figure = new_figure(theme.FULL_WIDTH * 0.86, 4.2)
    ax = figure.subplots()
    theory_figures.plot_rate_distortion(
        frame,
        colors=theme.level_colors(shown),
        shannon=theory.shannon_curve(frame),
        linear=curves,
        ax=ax,
    )
    legend_below(figure, ax)
    return Drawn(
        figure,
        frame,
        "Rate and distortion",
        captions.rate_distortion(results, frame, with_linear=bool(curves)),
        "Scatter plot of reconstruction error against KL, one point for each trial, above the "
        "curve of the Shannon bound" + (" and beside the best linear models." if curves else "."),
        "theory.rate_and_distortion(load_results(PATH))",
    )


def _linear_curves(results: Results, frame: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Trace the best linear model of each latent width, at most 3, over the betas around here."""
    eigenvalues = theory.mean_eigenvalues(results)
    if eigenvalues is None or bool(frame["standardize"].any()):
        return {}
    weights = frame["kl_weight"].astype(float)
    levels = np.geomspace(weights.min() / 40, max(weights.max(), 2 * eigenvalues[0]), 200)
    # A width beyond D is the same curve as D.
    widths = sorted({int(min(q, len(eigenvalues))) for q in frame["latent_dim"]})
    return {
        q: theory.linear_curve(eigenvalues, latent_dim=q, levels=levels)
        for q in thinned(widths, 3)
    }


def draw_collapse(results: Results) -> Drawn:
    """Active units and each latent's KL against the distance to the collapse threshold."""
    frame = theory.collapse(results)
    if frame.empty:
        raise NotApplicable(
            "no finished trial on points as they are has its latents' KL and lambda_1"
        )
    factors = results.manifest.factors
    if "kl_weight" not in factors and float(frame["ratio"].max()) < 0.3:
        raise NotApplicable(
            "the KL weight is not swept, and every trial is far from the collapse threshold "
            f"(beta / (2 lambda_1) at most {frame['ratio'].max():.2g})"
        )
    widths = thinned(sorted(frame["latent_dim"].unique()), 5)
    ranks = list(range(1, min(int(frame["rank"].max()), 5) + 1))
    figure = new_figure(theme.FULL_WIDTH, 3.3)
    left, right = figure.subplots(1, 2)
    trials = frame[frame["latent_dim"].isin(widths)].drop_duplicates("trial_id")
    theory_figures.plot_active_units(trials, colors=theme.level_colors(widths), ax=left)
    theory_figures.plot_latent_kl(frame, colors=theme.level_colors(ranks), ax=right)
    for ax in (left, right):
        # Among thousands of points no place is free.
        many = len(frame) > theory_figures.MANY_POINTS
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}
        place |= {"ncols": 3, "markerscale": 2.5}
        legend = ax.legend(fontsize=7, **(place if many else {"loc": "best"}))
        for handle in legend.legend_handles if many else ():
            handle.set_alpha(1)
    return Drawn(
        figure,
        frame,
        "Collapse of the latents",
        captions.collapse(results, frame),
        "Scatter plots of active units and of each latent's KL against beta over twice the "
        "largest eigenvalue of the data's covariance, a dashed line at 1.",
        "theory.collapse(load_results(PATH))",
    )


def draw_response_surface(results: Results) -> Drawn:
    """Heat maps of the primary endpoints over two factors."""
    factors = summary.independent_factors(summary.cells(results), results.manifest.factors)
    if len(factors) < 2:
        raise NotApplicable("a response surface needs two swept factors")
    frame = summary.endpoints_by_cell(results)
    frame = frame.dropna(subset=["estimate"]) if len(frame) else frame
    if frame.empty:
        raise NotApplicable("no finished trial has the primary endpoints")
    x, y = factors[:2]
    n_endpoints = frame["endpoint"].nunique()
    # Three titles, which name endpoint and unit, are all that a row has room for.
    per_row = min(max(1, 15 // frame[x].nunique()), 3)
    height = 0.27 * frame[y].nunique() + 0.95
    # As many panels as a page is high.
    n_panels = min(5, int(PAGE_HEIGHT // height) * per_row // n_endpoints)
    panels = panels_of(results, frame, factors[2:], max(1, n_panels))
    drawn = pd.concat([part for _, part in panels])
    endpoints = list(dict.fromkeys(drawn["endpoint"]))[::-1]
    maps = [(endpoint, title, part) for title, part in panels for endpoint in endpoints]
    n_columns = min(len(maps), per_row)
    n_rows = -(-len(maps) // n_columns)
    figure = new_figure(theme.FULL_WIDTH, n_rows * height)
    axes = np.ravel(figure.subplots(n_rows, n_columns, squeeze=False))
    for ax, (endpoint, title, part) in zip(axes, maps, strict=False):
        rows = drawn[drawn["endpoint"] == endpoint]
        limits = (float(rows["estimate"].min()), float(rows["estimate"].max()))
        # Axes that move together give cells that agree in x and y.
        part = part[part["endpoint"] == endpoint].drop_duplicates([x, y])
        spread_figures.plot_response_surface(part, x=x, y=y, limits=limits, ax=ax)
        where = title.replace("\n", ", ")
        ax.set_title("\n".join(filter(None, [name_of(endpoint), where])), size=8)
    for ax in axes[len(maps) :]:
        ax.remove()
    return Drawn(
        figure,
        drawn,
        "Response surface",
        captions.response_surface(results, drawn, x=x, y=y),
        f"Heat maps of the primary endpoints over {name_of(x)} and {name_of(y)}, "
        "means and half-widths written in each field.",
        "summary.endpoints_by_cell(load_results(PATH))",
    )
