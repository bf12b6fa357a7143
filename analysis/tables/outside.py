"""Mass outside the true components, by how far outside."""

from __future__ import annotations

import pandas as pd

from analysis.frames.outside import outside_by_cell, widened_truths
from analysis.load import Results
from analysis.tables.table import NotTabulated, Table, estimate_text
from analysis.wording import notes as captions
from analysis.wording.names import cell_text, ellipsoid_text


def outside(results: Results) -> Table:
    """Mass of samples outside the ellipsoids of each level, beside that of a wider truth."""
    frame = outside_by_cell(results)
    if frame.empty:
        raise NotTabulated("no trial has the curve; those scored from version 5 on have it")
    rows = frame.assign(
        model=frame["cell"].map(cell_text),
        text=[estimate_text(row, digits=3) for _, row in frame.iterrows()],
    )
    levels = sorted(rows["ellipsoid"].unique())
    dims = sorted({int(dim) for dim in rows["dim"]})
    wider = [_wider_rows(dim, levels, named=len(dims) > 1) for dim in dims]
    whole = pd.concat([rows, *wider], ignore_index=True)
    shown = whole.pivot(index="model", columns="ellipsoid", values="text")
    shown = shown.loc[list(dict.fromkeys(whole["model"])), levels]
    shown.columns = [ellipsoid_text(level) for level in levels]
    dimensions = (
        " Not comparable over dimensions D: the same excess width puts more outside, the more "
        "dimensions there are."
        if len(dims) > 1
        else ""
    )
    return Table(
        "Mass outside the ellipsoids of the true components",
        "Share of the samples outside every component's ellipsoid at the level named, less the "
        "same share of true data: mean over data seeds [low, high]. "
        f"{captions.intervals(frame, what='Brackets')} Outside 99 % may still be a flank of a "
        "component; outside 1 - 1e-6 is between them. Last rows, in closed form for components "
        "that do not overlap: a generator with nothing between, its standard deviations too "
        f"large.{dimensions} {captions.denominators(results)}",
        whole.drop(columns=["text", "model"]),
        shown.reset_index(),
    )


def _wider_rows(dim: int, levels: list[float], *, named: bool) -> pd.DataFrame:
    """Give the rows of wider truths of a dimension, which is named if there are several."""
    frame = widened_truths(dim, levels)
    tail = f", D = {dim}" if named else ""
    models = [f"the truth, standard deviations x {factor:g}{tail}" for factor in frame["factor"]]
    return frame.assign(model=models, text=frame["mass"].map("{:.3f}".format))
