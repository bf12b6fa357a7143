"""What a page over several sweeps says of them together, and what they only repeat."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.frames import across
from analysis.frames.cells import named_rows
from analysis.load import Results
from analysis.tables.table import Table, p_text, quantity_name
from analysis.wording import notes
from analysis.wording.names import cell_text
from study.endpoints.design import ALPHA


def sentences(sweeps: Mapping[str, Results]) -> list[str]:
    """Say which networks the sweeps share, and what is left when all are judged together."""
    return [*_shared(across.shared_networks(sweeps)), *_family(across.joint_family(sweeps))]


def _shared(frame: pd.DataFrame) -> list[str]:
    total = int(frame["n_networks"].sum())
    several = frame[frame["sweeps"].map(len) > 1]
    if several.empty:
        return [f"No network is in two of these sweeps: {total} trainings."]
    parts = [
        f"{notes.count(r.n_networks, 'network')} in {_listed(r.sweeps)}"
        for r in named_rows(several)
    ]
    trained = int((frame["n_networks"] * frame["sweeps"].map(len)).sum())
    return [
        f"These sweeps have {total} different networks, which stand in {trained} places. The same "
        f"networks: {'; '.join(parts)}. What these sweeps say alike of them is one observation, "
        "not several."
    ]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"


def _family(frame: pd.DataFrame) -> list[str]:
    if frame.empty:
        return []
    copies = frame[frame["copy_of"] != ""]
    judged = frame[frame["copy_of"] == ""]
    able = judged[np.isfinite(judged["low_all"])]
    text = f"The primary families of these sweeps have {notes.count(len(frame), 'comparison')}"
    if len(copies):
        text += (
            f", of which {len(copies)} compare networks that another sweep compares too and "
            "are counted once"
        )
    if len(able) < len(judged):
        n_few = len(judged) - len(able)
        text += f"; {n_few} {'has' if n_few == 1 else 'have'} too few data seeds to reject"
    now = able[able["p_adjusted"] < ALPHA]
    text += (
        f". Of the remaining {len(able)}, {len(now)} are significant at {ALPHA:.0%} when all "
        "sweeps are judged together (step-down max-T by joint sign flips of the shared data seeds)"
    )
    lost = able[(able["p_own"] < ALPHA) & (able["p_adjusted"] >= ALPHA)]
    if len(lost):
        named = [
            f"{quantity_name(r.endpoint).split(' (')[0]} at {cell_text(r.cell)} in {r.sweep} "
            f"(p = {r.p_adjusted:.2g}, within its sweep {r.p_own:.2g})"
            for r in named_rows(lost)
        ]
        text += f"; significant within its own sweep alone: {'; '.join(named)}"
    return [text + "."]


def table(sweeps: Mapping[str, Results]) -> Table | None:
    """List every primary comparison of several sweeps, judged together; None without any."""
    frame = across.joint_family(sweeps)
    if frame.empty:
        return None
    shown = pd.DataFrame(
        {
            "sweep": frame["sweep"],
            "cell": frame["cell"].map(cell_text),
            "against": [
                "its control" if name == "control" else cell_text(name)
                for name in frame["reference"]
            ],
            "endpoint": frame["endpoint"].map(quantity_name),
            "all at once": [
                f"[{r.low_all:.3g}, {r.high_all:.3g}]" if np.isfinite(r.low_all) else "-"
                for r in named_rows(frame)
            ],
            "p (own sweep)": frame["p_own"].map(p_text),
            "p (all sweeps)": frame["p_adjusted"].map(p_text),
            "p (all sweeps, skew)": frame["p_skewed"].map(p_text),
            "same networks as in": frame["copy_of"].replace("", "-"),
        }
    )
    return Table(
        "Primary comparisons over all sweeps",
        "Step-down max-T by joint sign flips of the data seeds, which the sweeps share; p (all "
        "sweeps, skew): by the studentised bootstrap. All at once: 95% interval that holds for "
        "all sweeps together; a dash where data seeds are too few to reject. A comparison of "
        "networks that another sweep compares too is not judged again.",
        frame,
        shown,
    )
