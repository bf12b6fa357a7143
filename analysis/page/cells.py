"""The page of each cell: its seeds, its BIC curves, its points and which true modes are missing.

What a reader opens is packed (JSON, gzip, base64) and drawn in the browser when it is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures import theme
from analysis.frames import summary
from analysis.frames.embed import as_plane
from analysis.load import Results
from analysis.page.packing import packed
from analysis.wording.names import cell_text, short_name, source_name
from analysis.wording.notes import last_line
from study.results import PROTOCOLS, SOURCES, count_columns

# Curves of more seeds than this cover each other; the seeds' table has all of them.
CURVE_SEEDS = 10
GALLERY_POINTS = 300
# A page of many cells has fewer of each, so that it stays a file that a browser opens at once.
PAGE_CURVE_SEEDS, FEWEST_CURVE_SEEDS = 1500, 3
PAGE_POINTS, FEWEST_POINTS = 45_000, 100
_INNER_SEEDS = {"sample_seed": "sample seed", "detection_seed": "detector seed"}
_ENDPOINTS = ("fkl_nats", "spurious_mass", "mode_recall", "recon", "kl_nats")


@dataclass(frozen=True, slots=True)
class CellPage:
    """One cell as the page shows it.

    Parameters
    ----------
    name, title : str
        The cell's label, and the same for people.
    facts : tuple of str
        Sentences: denominators, missing modes, what cannot be shown and why.
    has_points, has_curves : bool
    n_points : int
        Of the source that has most.
    payload : str
        What `page.js` draws, packed.
    """

    name: str
    title: str
    facts: tuple[str, ...]
    has_points: bool
    has_curves: bool
    n_points: int
    payload: str


def cell_pages(results: Results) -> list[CellPage]:
    """Make the page of every cell, in the sweep's order."""
    cells = summary.named_rows(summary.cells(results))
    n_seeds = max(min(PAGE_CURVE_SEEDS // len(cells), CURVE_SEEDS), FEWEST_CURVE_SEEDS)
    n_points = max(min(PAGE_POINTS // len(cells), GALLERY_POINTS), FEWEST_POINTS)
    curves = _curves(results, n_seeds)
    missing = _missing_modes(results)
    points = dict(list(_gallery(results, n_points).groupby("cell", sort=False)))
    groups = dict(list(results.trials.groupby("cell", sort=False)))
    return [
        _cell_page(row, groups[row.cell], curves.get(row.cell, {}), points.get(row.cell), missing)
        for row in cells
    ]


def _cell_page(
    row: Any,
    trials: pd.DataFrame,
    curves: Mapping[str, Any],
    points: pd.DataFrame | None,
    missing: Mapping[str, str],
) -> CellPage:
    dim = int(trials["dim"].iloc[0])
    shown = points is not None and dim >= 2
    facts = [_denominators(row), _missing_text(trials, missing)]
    if not curves:
        facts.append("No BIC curve of a finished trial was stored.")
    if not shown:
        facts.append(
            "The points have one dimension: there is no space to turn."
            if dim < 2
            else "No points of this cell were kept, so there is nothing to turn; running the "
            "sweep makes them."
        )
    content = {
        "seeds": _seed_table(trials, missing),
        "curves": curves,
        "range": list(summary.ORIGINAL_RANGE),
        "true_k": int(trials["n_components"].iloc[0]),
        "colors": {name: theme.SOURCE_COLORS[name] for name in SOURCES},
        "names": {name: source_name(name) for name in SOURCES},
    }
    if shown and points is not None:
        content |= _clouds(points, dim)
    return CellPage(
        name=str(row.cell),
        title=cell_text(str(row.cell)),
        facts=tuple(filter(None, facts)),
        has_points=shown,
        has_curves=bool(curves),
        n_points=int(points["source"].value_counts().max()) if points is not None else 0,
        payload=packed(json.dumps(content, separators=(",", ":"))),
    )


def _denominators(row: Any) -> str:
    text = f"{row.n_done} of {row.n_planned} planned trials finished"
    if row.n_stopped:
        text += f", {row.n_stopped} stopped early by the search"
    if row.n_failed:
        text += f", {row.n_failed} failed"
    if row.n_missing:
        text += f", {row.n_missing} not yet run"
    return f"{text}; {row.n_data} data seeds, {row.n_init} init seeds."


def _missing_modes(results: Results) -> dict[str, str]:
    """Name the components that each trial's samples miss, with their weights."""
    lost = results.components
    if lost.empty:
        return {}
    gone = lost[lost["eligible"].fillna(False).astype(bool)]
    gone = gone[~gone["recalled"].fillna(False).astype(bool)]
    names: dict[str, list[str]] = {}
    for row in summary.named_rows(gone[["trial_id", "component", "weight"]]):
        names.setdefault(row.trial_id, []).append(f"{int(row.component) + 1} ({row.weight:.1%})")
    trials = lost["trial_id"].unique()
    return {trial_id: ", ".join(names.get(trial_id, ["none"])) for trial_id in trials}


def _missing_text(trials: pd.DataFrame, missing: Mapping[str, str]) -> str:
    known = [missing[name] for name in trials["trial_id"] if name in missing]
    if not known:
        return "Which true modes are missing is not known: no trial was matched to the truth."
    lost = sum(text != "none" for text in known)
    if not lost:
        return f"No true mode is missing in any of {len(known)} matched trials."
    return f"{lost} of {len(known)} matched trials miss a true mode; the table names them."


def _seed_table(trials: pd.DataFrame, missing: Mapping[str, str]) -> dict[str, Any]:
    """List the cell's trials: seeds, status, counts (a + marks the ceiling), endpoints."""
    pairs = [
        (s, p) for s in SOURCES for p in PROTOCOLS if trials[count_columns(s, p)[0]].notna().any()
    ]
    ends = [name for name in _ENDPOINTS if trials[name].notna().any()]
    columns = ["data seed", "init seed"]
    several = [name for name in _INNER_SEEDS if trials[name].nunique() > 1]
    columns += [*(_INNER_SEEDS[name] for name in several), "status"]
    columns += [f"k* {source_name(s).split(' (')[0]}, {p}" for s, p in pairs]
    columns += [short_name(name) for name in ends] + ["missing modes"]
    rows = []
    # Of a hundred columns: turning them all into Python objects takes longest here.
    used = ["trial_id", "status", "message", "data_seed", "init_seed", *several, *ends]
    used += [name for pair in pairs for name in count_columns(*pair)]
    for trial in trials[used].to_dict("records"):
        status = trial["status"]
        if status != "done":
            status = f"{status}: {last_line(trial['message'] or '')[:200] or 'no reason recorded'}"
        row: list[Any] = [int(trial["data_seed"]), int(trial["init_seed"])]
        row += [int(trial[name]) for name in several]
        row += [status, *(_count_text(trial, pair) for pair in pairs)]
        row += [_rounded(trial[name]) for name in ends]
        rows.append([*row, missing.get(trial["trial_id"], "")])
    return {"columns": columns, "rows": rows}


def _count_text(trial: Mapping[Any, Any], pair: tuple[str, str]) -> str:
    k, _, flag = count_columns(*pair)
    if pd.isna(trial[k]):
        return ""
    return f"{int(trial[k])}{'+' if trial[flag] is True or trial[flag] == 1 else ''}"


def _rounded(value: Any) -> float | None:
    return None if pd.isna(value) else round(float(value), 4)


def _curves(results: Results, n_seeds: int) -> dict[str, dict[str, Any]]:
    """Take the calibrated BIC curves of one trial of each of a cell's first data seeds."""
    done = summary.done_trials(results.trials).sort_values(["data_seed", "init_seed"])
    done = done.drop_duplicates(["cell", "data_seed"])
    done = done[done.groupby("cell").cumcount() < n_seeds]
    if done.empty or results.counts.empty:
        return {}
    frame = summary.bic_curves(results, done)
    wanted = "calibrated" if (frame["protocol"] == "calibrated").any() else "original"
    curves = _by_owner(frame[frame["protocol"] == wanted])
    found: dict[str, dict[str, Any]] = {}
    for trial in done[["trial_id", "control_id", "cell", "data_seed", "init_seed"]].to_dict(
        "records"
    ):
        here = found.setdefault(trial["cell"], {})
        for source in SOURCES:
            owner = trial["control_id"] if source == "data" else trial["trial_id"]
            curve = curves.get((owner, source))
            if curve:
                text = f"data seed {trial['data_seed']}"
                text += "" if source == "data" else f", init seed {trial['init_seed']}"
                here.setdefault(source, []).append(curve | {"seeds": text})
    return found


def _by_owner(frame: pd.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """Give the curve of each owner and source of a frame that is sorted by them."""
    owners, sources = frame["owner_id"].to_numpy(object), frame["source"].to_numpy(object)
    k = frame["k"].to_numpy(int)
    bic = frame["delta_bic"].to_numpy(float)
    selected = frame["selected"].fillna(False).to_numpy(bool)
    starts = np.flatnonzero((owners[1:] != owners[:-1]) | (sources[1:] != sources[:-1])) + 1
    curves = {}
    for part in np.split(np.arange(len(frame)), starts):
        if len(part):
            chosen = k[part][selected[part]]
            curves[str(owners[part[0]]), str(sources[part[0]])] = {
                "k": k[part].tolist(),
                "bic": [round(value, 1) for value in bic[part].tolist()],
                "best": int(chosen[0]) if len(chosen) else None,
            }
    return curves


def _gallery(results: Results, n_points: int) -> pd.DataFrame:
    """Take a thinned gallery of each cell's first trial that has one."""
    points = results.points
    first = summary.first_trials_with_points(results, points)
    chosen = points[points["index"] < n_points]
    keys = ["trial_id", "cell", "data_seed", "init_seed"]
    return chosen.merge(first[keys], on="trial_id", how="inner")


def _clouds(points: pd.DataFrame, dim: int) -> dict[str, Any]:
    """Give the points of each source as columns, and the codes as a plane."""
    axes = min(dim, 3)
    clouds = {}
    for source in ("data", "means", "samples"):
        rows = points[points["source"] == source]
        if len(rows):
            clouds[source] = _columns(rows[[f"x{i}" for i in range(axes)]].to_numpy(float), rows)
    codes = points[points["source"] == "codes"]
    plane = None
    if len(codes):
        flat, names = as_plane(codes)
        x = flat[["u", "v"]].to_numpy(float)
        plane = {"names": names} | _columns(x, codes)
    colors = theme.component_colors(list(range(int(points["component"].max()) + 1)))
    seeds = points.iloc[0]
    return {
        "clouds": clouds,
        "plane": plane,
        "palette": [theme.hex_color(color) for color in colors.values()],
        "trial": f"data seed {seeds['data_seed']}, init seed {seeds['init_seed']}",
    }


def _columns(x: np.ndarray, rows: pd.DataFrame) -> dict[str, Any]:
    columns: dict[str, Any] = {
        name: [round(float(v), 2) for v in x[:, i]] for i, name in enumerate("xyz"[: x.shape[1]])
    }
    return columns | {"c": rows["component"].fillna(-1).astype(int).tolist()}
