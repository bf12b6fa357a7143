"""What captions share: how many trials, the interval's kind and level, what is at the ceiling.

Every function returns plain text, written from the data.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.frames import summary
from analysis.load import Results
from analysis.statistics import intervals as stats
from analysis.wording.names import short_name, source_name

# How a family of paired tests is judged; the tables' captions name the family.
FAMILY = (
    "p: two-sided sign-flip test over data-seed means (exact up to 15 data seeds). p (family): "
    "step-down max-T by joint sign flips, for the whole family at 5 %; it supposes that the two "
    "values of a data seed could be exchanged if nothing differed. p (family, skew): step-down "
    "max-T by the studentised bootstrap, which supposes no symmetry and is cautious with few data "
    "seeds. All at once: 95 % interval that holds for the whole family together."
)


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
        _infinite(results),
    ]
    text = "; ".join([text, *filter(None, lost)]) + "."
    if results.copies:
        named = ", ".join(f"{cell} ({other})" for cell, other in results.copies.items())
        text += f" Left out, because they are another cell in other words: {named}."
    return text


def _infinite(results: Results) -> str:
    """Say which columns have infinite values, and how many; empty if none has."""
    parts = [f"{short_name(name)} {n}" for name, n in results.infinite.items()]
    more = f" and {count(len(parts) - 4, 'other column')}" * (len(parts) > 4)
    return f"infinite values, which are in no mean: {', '.join(parts[:4])}{more}" * bool(parts)


def intervals(frame: pd.DataFrame, *, what: str = "Bars") -> str:
    """Name the kinds and levels of the intervals of a frame, with the range of data seeds."""
    kinds = frame.groupby("interval")["level"].first()
    real = [kind for kind in ("bca", "t", "exact") if kind in kinds]
    seeds = frame.loc[frame["interval"].isin(real), "n_data"]
    parts = [f"{kinds[kind]:.0%} {stats.KIND_TEXT[kind]}" for kind in real]
    if parts:
        n = span_text(int(seeds.min()), int(seeds.max()))
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


def span_text(low: int, high: int) -> str:
    """Write a range of whole numbers, or the one number."""
    return str(low) if low == high else f"{low} to {high}"


def cells_shown(results: Results, frame: pd.DataFrame) -> str:
    """Count the cells drawn; where some are left out, say which are shown."""
    n, total = frame["cell"].nunique(), summary.cells(results)["cell"].nunique()
    if n == total:
        return count(n, "cell")
    near = summary.reference_cell(results)
    return f"{n} of {count(total, 'cell')} (of many, those nearest {near})"


def in_cell(cell: str) -> str:
    """Name a cell inside a sentence; the only cell of a sweep has no name."""
    return f", in the cell {cell}" if "=" in cell else ""


def one_trial(trial: pd.Series) -> str:
    """Name one trial at the head of a sentence."""
    seeds = f"data seed {trial['data_seed']}, init seed {trial['init_seed']}"
    return f"One trial{in_cell(str(trial['cell']))} ({seeds})"


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


def last_line(message: str) -> str:
    """Keep the line of a traceback that says what went wrong; the rows hold all of it."""
    lines = [line for line in str(message).splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


# Of a cell's densities: beyond it, the cell's forward KL is marked.
MAX_UNMET_SHARE = 0.005


def density_marks(results: Results) -> dict[str, str]:
    """Give a mark for each cell whose forward KL rests on densities that are not reliable."""
    done = summary.done_trials(results.trials)
    known = done.dropna(subset=["fkl_nats"])
    unmet = known.groupby("cell", sort=False)["fkl_unmet_share"].mean()
    return {
        str(cell): "?" if np.isnan(share) else "\u2020" if share > MAX_UNMET_SHARE else ""
        for cell, share in unmet.astype(float).items()
    }


def density_note(results: Results, *, marked: bool = False) -> str:
    """Say which forward KL is not reliable, with a space after each sentence.

    Parameters
    ----------
    results : Results
    marked : bool
        Whether the cells carry the marks of `density_marks`, which are then explained.
    """
    marks = set(density_marks(results).values())
    text = ""
    if "?" in marks:
        text += (
            f"{'? ' * marked}Forward KL from 100 draws of the encoder a point, without "
            "diagnostics: too high, by nats where the KL weight is below 1 and the latent width "
            "1 or 2. "
        )
    if "\u2020" in marks:
        text += (
            f"{'† ' * marked}Forward KL with more than 0.5 % of points whose density did not meet "
            "its diagnostics (fkl_unmet_share). "
        )
    return text


def recall_note(results: Results) -> str:
    """Say what recall asks for where the number of points is swept, with a space after it."""
    if "detection_n_samples" not in results.manifest.factors:
        return ""
    return (
        "Mode recall asks for components with at least 50 expected points, so for more of them "
        "the more points are counted: it is not one quantity over n. "
    )
