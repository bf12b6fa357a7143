"""Captions, written from the data: what is drawn, n, the interval's kind and level, what is wrong.

Every function gives plain text of whole sentences.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis import stats, summary, theme
from analysis.load import Results


def denominators(results: Results) -> str:
    """Say how many trials were planned and what became of them."""
    cells = summary.cells(results)
    planned, done = int(cells["n_planned"].sum()), int(cells["n_done"].sum())
    unstarted = max(len(results.plan) - planned, 0)
    failed, missing = int(cells["n_failed"].sum()), int(cells["n_missing"].sum()) + unstarted
    text = f"{done} of {count(planned + unstarted, 'planned trial')} finished"
    lost = [f"{failed} failed" * (failed > 0), f"{missing} not yet run" * (missing > 0)]
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
    drawn = ", ".join(f"{theme.source_name(name)} {n}" for name, n in sizes.items())
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
        shares = [
            f"{n} of {sizes.at[name]} for {theme.source_name(name)}" for name, n in beyond.items()
        ]
        text += f" Minima beyond k = {high}: " + ", ".join(shares) + "."
    capped = selected[selected["at_ceiling"].fillna(False).astype(bool)].groupby("source").size()
    if len(capped):
        shares = [
            f"{n} of {sizes.at[name]} for {theme.source_name(name)}" for name, n in capped.items()
        ]
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
        text += f" {all_panels['cell'].nunique() - frame['cell'].nunique()} cells are left out."
    return text


def ceiling_shares(frame: pd.DataFrame) -> str:
    """Say which sources lie at the ceiling, and that their means are lower bounds."""
    generated = frame[frame["n_at_ceiling"] > 0]
    if generated.empty:
        return "No count lies at the ceiling."
    parts = []
    for (protocol, source), rows in generated.groupby(["protocol", "source"], sort=False):
        of = frame[(frame["protocol"] == protocol) & (frame["source"] == source)]["n_trials"].sum()
        n = int(rows["n_at_ceiling"].sum())
        parts.append(f"{theme.source_name(source)} {n} of {of} ({protocol})")
    return (
        "Hollow points: 5% or more of the trials are at the ceiling (share above the point where "
        f"there is room), so the mean is only a lower bound. At the ceiling: {', '.join(parts)}."
    )


def recall_spurious(results: Results, frame: pd.DataFrame) -> str:
    """Caption recall against spurious mass."""
    n = frame["trial_id"].nunique()
    return (
        f"One point for each of {count(n, 'trial')} and source, in "
        f"{_cells_shown(results, frame)}. Mode recall: share of true "
        "components (with at least 50 expected points) that receive 0.2 of their mass in points "
        "of high density. Spurious mass: share of points outside every component's 99 % region, "
        "less the same share of true data. Points are shifted by up to 0.008 in height to "
        f"show those that coincide. {denominators(results)}"
    )


def endpoints(results: Results, frame: pd.DataFrame) -> str:
    """Caption the primary endpoints."""
    return (
        "Mean over data seeds of the three primary endpoints, on samples: forward KL from the "
        "true density to the model's (importance-weighted estimate, an upper bound in "
        f"expectation), spurious mass and mode recall. {intervals(frame)} {denominators(results)}"
    )
