"""Captions, written from the data: what is drawn, n, the interval's kind and level, what is wrong.

Every function gives plain text of whole sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.load import Results
from analysis.statistics import intervals as stats
from analysis.wording.names import name_of, short_name, source_name


def denominators(results: Results) -> str:
    """Say how many trials were planned and what became of them."""
    cells = summary.cells(results)
    planned, done = int(cells["n_planned"].sum()), int(cells["n_done"].sum())
    unstarted = max(len(results.plan) - planned, 0)
    failed, missing = int(cells["n_failed"].sum()), int(cells["n_missing"].sum()) + unstarted
    text = f"{done} of {count(planned + unstarted, 'planned trial')} finished"
    stopped = int(cells["n_stopped"].sum())
    lost = [
        f"{stopped} stopped early by the search, and in no estimate" * (stopped > 0),
        f"{failed} failed" * (failed > 0),
        f"{missing} not yet run" * (missing > 0),
    ]
    return "; ".join([text, *filter(None, lost)]) + "."


def intervals(frame: pd.DataFrame, *, what: str = "Bars") -> str:
    """Name the kinds and levels of the intervals of a frame, with the range of data seeds."""
    kinds = frame.groupby("interval")["level"].first()
    real = [kind for kind in ("bca", "t", "exact") if kind in kinds]
    seeds = frame.loc[frame["interval"].isin(real), "n_data"]
    parts = [f"{kinds[kind]:.0%} {stats.KIND_TEXT[kind]}" for kind in real]
    if parts:
        n = _range(int(seeds.min()), int(seeds.max()))
        parts = [" or ".join(parts) + f" of the mean over {n} data seeds"]
    else:
        parts = [stats.KIND_TEXT[kind] for kind in ("range", "none") if kind in kinds]
    if not parts:
        return f"No {what.lower()}: every data seed gives the same value."
    tail = ""
    if "range" in kinds and not real:
        tail = " (an interval over data seeds needs at least two of them)"
    elif "constant" in kinds:
        tail = "; where every data seed gives the same value there is none"
    return f"{what}: {'; '.join(parts)}{tail}."


def count(n: int, noun: str) -> str:
    """Write a number with its noun: 1 trial, 3 trials."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def loss_curves(results: Results, frame: pd.DataFrame, *, with_reported: bool) -> str:
    """Caption the training losses."""
    text = "Running means over the batches of each epoch, averaged over "
    text += f"trials, for {_cells_shown(results, frame)}. "
    text += intervals(frame, what="Bands") + " "
    if with_reported:
        text += "Crosses: what the original report logged for its one network. "
    return text + denominators(results)


def _cells_shown(results: Results, frame: pd.DataFrame) -> str:
    """Count the cells drawn; where some are left out, say which are shown."""
    n, total = frame["cell"].nunique(), summary.cells(results)["cell"].nunique()
    if n == total:
        return count(n, "cell")
    near = summary.reference_cell(results)
    return f"{n} of {count(total, 'cell')} (of many, those nearest {near})"


def bic_curves(frame: pd.DataFrame, *, cell: str, protocol: str, true_k: int) -> str:
    """Caption the BIC curves of one cell."""
    curves = frame.drop_duplicates(["owner_id", "source"])
    sizes = curves.groupby("source", sort=False).size()
    drawn = ", ".join(f"{source_name(name)} {n}" for name, n in sizes.items())
    low, high = summary.ORIGINAL_RANGE
    text = (
        f"BIC of full-covariance Gaussian mixtures, each curve above its own minimum "
        f"(linear below 10, logarithmic above), by the {protocol} protocol"
        f"{_cell_text(cell)}. One thin line a seed; curves: {drawn}. Markers: selected k*. "
        f"Shaded: the original's range, k = {low} to {high}; dashed: its ceiling; "
        f"dotted: the true K = {true_k}."
    )
    selected = frame[frame["selected"].fillna(False).astype(bool)]
    beyond = selected[selected["k"] > high].groupby("source", sort=False).size()
    if len(beyond):
        shares = [f"{n} of {sizes.at[name]} for {source_name(name)}" for name, n in beyond.items()]
        text += f" Minima beyond k = {high}: " + ", ".join(shares) + "."
    capped = selected[selected["at_ceiling"].fillna(False).astype(bool)].groupby("source").size()
    if len(capped):
        shares = [f"{n} of {sizes.at[name]} for {source_name(name)}" for name, n in capped.items()]
        text += " At the end of the wide range too: " + ", ".join(shares) + "."
    return text


def _cell_text(cell: str) -> str:
    return f", in the cell {cell}" if "=" in cell else ""


def _trial_text(trial: pd.Series) -> str:
    seeds = f"data seed {trial['data_seed']}, init seed {trial['init_seed']}"
    return f"One trial{_cell_text(str(trial['cell']))} ({seeds})"


def points(trial: pd.Series, drawn: pd.DataFrame) -> str:
    """Caption the pictures of the points."""
    sizes = drawn.groupby("source", sort=False).size()
    n = _range(int(sizes.min()), int(sizes.max()))
    text = (
        f"{_trial_text(trial)}: {n} points of each source, equal limits and viewpoint. "
        "Colour: the true component with the highest posterior probability."
    )
    if int(trial["dim"]) > 3:
        text += f" The first three of {trial['dim']} coordinates are shown."
    return text


def latent_plane(trial: pd.Series, plane: pd.DataFrame, names: Sequence[str]) -> str:
    """Caption the latent plane."""
    if not names[1]:
        how = "the one code on a line; the height is jitter without meaning"
    elif names[0].startswith("principal"):
        how = f"two principal components of the {trial['latent_dim']} codes, with their variance"
    else:
        how = "the two codes as they are"
    return (
        f"{_trial_text(trial)}: encoder means of {len(plane)} data points, {how}. "
        "Colour and number: true component; numbers mark components with 1 % of the points."
    )


def tsne(trial: pd.Series, frame: pd.DataFrame) -> str:
    """Caption the t-SNE maps."""
    sizes = frame.groupby("source", sort=False).size()
    n = _range(int(sizes.min()), int(sizes.max()))
    return (
        f"{_trial_text(trial)}: {n} points of each source, seed 0. Data and "
        "samples share one embedding, so a place means the same in both; codes have their own. "
        "Distances between clusters in a t-SNE map carry no meaning. Colour and number: true "
        "component."
    )


def coverage(results: Results, frame: pd.DataFrame, *, factors: Sequence[str]) -> str:
    """Caption the coverage figure."""
    text = "Detected modes k* over true components K. "
    if factors:
        text += "Band: the control (the same count on a fresh draw of the true mixture). "
    else:
        text += "Points: single counts; the control is the same count on fresh true data. "
    text += "Dotted: coverage 1. Dashed: the ceiling, the largest k tried over K. "
    text += intervals(frame) + " " + ceiling_shares(frame) + " " + denominators(results)
    all_panels = summary.coverage_by_cell(results)
    if len(frame) < len(all_panels):
        n_left = all_panels["cell"].nunique() - frame["cell"].nunique()
        text += f" {n_left} cells are left out, those far from {summary.reference_cell(results)}."
    return text


def ceiling_shares(frame: pd.DataFrame, *, marked: bool = True) -> str:
    """Say which sources lie at the ceiling, and that their means are lower bounds."""
    generated = frame[frame["n_at_ceiling"] > 0]
    if generated.empty:
        return "No count lies at the ceiling."
    parts = []
    for (protocol, source), rows in generated.groupby(["protocol", "source"], sort=False):
        of = frame[(frame["protocol"] == protocol) & (frame["source"] == source)]["n_trials"].sum()
        n = int(rows["n_at_ceiling"].sum())
        parts.append(f"{source_name(source)} {n} of {of} ({protocol})")
    at = f"At the ceiling: {', '.join(parts)}."
    if not marked:
        return f"{at} There the mean is only a lower bound."
    return (
        "Hollow points: 5% or more of the trials are at the ceiling (share above the point where "
        f"there is room), so the mean is only a lower bound. {at}"
    )


def recall_spurious(results: Results, frame: pd.DataFrame) -> str:
    """Caption recall against spurious mass."""
    n = frame["trial_id"].nunique()
    stars = ""
    if len(summary.null_positions(results)):
        stars = " Stars: null models, mean over the data sets."
    return (
        f"One point for each of {count(n, 'trial')} and source, in "
        f"{_cells_shown(results, frame)}. Mode recall: share of true "
        "components (with at least 50 expected points) that receive 0.2 of their mass in points "
        "of high density. Spurious mass: share of points outside every component's 99 % region, "
        "less the same share of true data. Points are shifted by up to 0.008 in height to "
        f"show those that coincide.{stars} {denominators(results)}"
    )


def endpoints(results: Results, frame: pd.DataFrame) -> str:
    """Caption the primary endpoints."""
    return (
        "Mean over data seeds of the three primary endpoints, on samples: forward KL from the "
        "true density to the model's (importance-weighted estimate, an upper bound in "
        f"expectation), spurious mass and mode recall. {intervals(frame)} "
        f"{_few_cells(results, frame)}{denominators(results)}"
    )


def _few_cells(results: Results, frame: pd.DataFrame) -> str:
    """Say which cells are drawn, where these are not all."""
    if frame["cell"].nunique() == summary.cells(results)["cell"].nunique():
        return ""
    return f"Drawn: {_cells_shown(results, frame)}. "


def paired_counts(results: Results, frame: pd.DataFrame, *, cell: str, with_steps: bool) -> str:
    """Caption the counts beside their control."""
    rows = frame[frame["cell"] == cell]
    parts = []
    for protocol, part in rows.groupby("protocol", sort=False):
        above = int((part["delta"] > 0).sum())
        capped = int((part["at_ceiling"].astype(float) > 0).sum())
        text = f"{protocol} protocol {above} of {count(len(part), 'data seed')} above the control"
        parts.append(text + (f", {capped} with counts at the ceiling" if capped else ""))
    shown = frame["cell"].nunique()
    total = summary.cells(results)["cell"].nunique()
    few = "" if shown == total else f" ({shown} of {total} cells)"
    text = (
        f"k* of the control and of samples for each data seed{_cell_text(cell)}, averaged "
        "over init seeds; hollow: some of these counts are at the ceiling, so the line ends too "
        f"low; dotted: true K. By the {'; '.join(parts)}. "
    )
    if with_steps:
        text += f"Right: cumulative share of the differences, by cell{few}. "
    return text + denominators(results)


def survival(results: Results, frame: pd.DataFrame, *, cell: str) -> str:
    """Caption the survival curves."""
    curves = frame.drop_duplicates(["source", "protocol"])
    capped = [
        f"{source_name(r.source)} {int(r.n_censored)} of {int(r.n)} ({r.protocol})"
        for r in summary.named_rows(curves[curves["n_censored"] > 0])
    ]
    levels = curves["level"].dropna() if "level" in curves else pd.Series(dtype=float)
    band = f"{levels.iloc[0]:.0%} " if len(levels) else ""
    kinds = list(curves["interval"].dropna().unique()) if "interval" in curves else []
    how = " or ".join(stats.KIND_TEXT.get(str(kind), str(kind)) for kind in kinds)
    at = "; ".join(capped) if capped else "none"
    return (
        f"Share of counts above k{_cell_text(cell)}, Kaplan-Meier, with counts at the ceiling "
        f"censored: from the ceiling on, the curve is unknown (cross). Band: {band}{how or 'none'}"
        f". Dotted: true K. Counts at the ceiling: {at}. {denominators(results)}"
    )


def count_by_size(results: Results, frame: pd.DataFrame) -> str:
    """Caption counts against the number of points."""
    return (
        "Detected modes against the number of points that the detector was given, for the same "
        "networks. A count that grows with n is no property of the generator. Dotted: true K. "
        f"{intervals(frame)} {ceiling_shares(frame, marked=False)} {denominators(results)}"
    )


def composition(results: Results, frame: pd.DataFrame) -> str:
    """Caption the parts of the counts."""
    n = _range(int(frame["n_data"].min()), int(frame["n_data"].max()))
    text = (
        "Components that the calibrated protocol fits to samples, mean over "
        f"{n} data seeds: the first fragment of each true component that has any; its further "
        "fragments; bridges, which have less than half of their points in a region where "
        "true points lie. Bars end at the mean k*; the black line is the true K. No interval: the "
        "parts of one sum"
    )
    total = summary.cells(results)["cell"].nunique()
    if len(frame) < total:
        text += f"; {len(frame)} of {total} cells, evenly from the sweep's order"
    return f"{text}. {denominators(results)}"


def rate_distortion(results: Results, frame: pd.DataFrame, *, with_linear: bool) -> str:
    """Caption rate against distortion."""
    below = _below_bound(frame)
    text = (
        f"Held-out squared error against KL, a point for each of {count(len(frame), 'trial')}, in "
        f"{_cells_shown(results, frame)}. Black: the Shannon lower bound, KL >= h - (D/2) "
        "log(2 pi e rec / D), its mean over data seeds; grey: from the smallest to the largest. "
    )
    if below:
        text += f"Trials below their own data set's bound (a fault): {below}. "
    else:
        text += "No trial lies below the bound of its own data set by more than 0.02 nats. "
    if with_linear:
        text += "Red: the best linear model (reverse water-filling) on the mean eigenvalues. "
    else:
        text += "The linear model's curve is left out: these rows hold no eigenvalues. "
    return text + denominators(results)


def _below_bound(frame: pd.DataFrame) -> int:
    dim, recon = frame["dim"].astype(float), frame["recon"].astype(float)
    bound = frame["entropy"] - 0.5 * dim * np.log(2 * np.pi * np.e * recon / dim)
    return int((frame["kl_nats"] < bound - 0.02).sum())


def collapse(results: Results, frame: pd.DataFrame) -> str:
    """Caption the collapse of the latents."""
    trials = frame.drop_duplicates("trial_id")
    beyond = trials[trials["ratio"] >= 1]
    dead = int((beyond["active_units"] == 0).sum())
    text = (
        f"A point for each of {count(len(trials), 'trial')} (left) and each of its latents "
        "(right: ordered by KL, the five largest). lambda_1: largest eigenvalue of the data set's "
        "covariance; from 1 on (dashed), ignoring the latents is a stable solution. A unit is "
        "active when its mean varies by more than 0.01 over the data. "
    )
    if len(beyond):
        text += f"Beyond 1: {dead} of {count(len(beyond), 'trial')} without an active unit. "
    else:
        text += "No trial lies beyond 1. "
    return text + denominators(results)


def response_surface(results: Results, frame: pd.DataFrame, *, x: str, y: str) -> str:
    """Caption the response surfaces."""
    total = summary.cells(results)["cell"].nunique()
    n = frame["cell"].nunique()
    few = f" {total - n} of {total} cells are left out" * (n < total)
    few += f", those far from {summary.reference_cell(results)}." * (n < total)
    return (
        f"Mean of each primary endpoint on samples over {name_of(x)} and "
        f"{name_of(y)}; colours span each endpoint's own range. After ±: half the width of "
        f"the interval. {intervals(frame, what='Intervals')}{few} {denominators(results)}"
    )


def variance(
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
    return text + denominators(results)


def distributions(results: Results, frame: pd.DataFrame, endpoints: Sequence[str]) -> str:
    """Caption the full distributions."""
    text = (
        f"Every trial as a point ({count(len(frame), 'trial')} in {_cells_shown(results, frame)})"
        "; violins where a cell has five or more different ones. Points of one data seed belong "
        "together, so the spread is no interval of a mean."
    )
    if "k_samples_calibrated" in endpoints:
        done = summary.done_trials(results.trials)
        flags = done.loc[done["cell"].isin(frame["cell"]), "at_ceiling_samples_calibrated"]
        n = int(flags.fillna(False).astype(bool).sum())
        text += f" Counts at the ceiling: {n} of {int(flags.notna().sum())}."
    return f"{text} {denominators(results)}"


def agreement(results: Results, frame: pd.DataFrame) -> str:
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
    return text + denominators(results)


def power(results: Results, frame: pd.DataFrame) -> str:
    """Caption the power curves."""
    return (
        "Power of a paired comparison of two cells (two-sided, 5 %) and half-width of a 95 % "
        "interval of one cell's mean, from the variance components measured here. Dotted: power "
        "0.8. Components from few seeds are themselves uncertain by a factor of two, and so are "
        f"these curves. {denominators(results)}"
    )
