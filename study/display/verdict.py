"""The one line that a run ends with: by how much samples exceed their control."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit


def verdict_line(trials: pd.DataFrame) -> str:
    """Say by how much counts of samples exceed their control, in the smallest and largest cell.

    Parameters
    ----------
    trials : DataFrame
        Rows of the `trials` table with the counts of their controls.

    Returns
    -------
    str
        One sentence with 95 % t intervals over data sets; empty where nothing can be compared.
    """
    done = trials[trials["status"] == "done"]
    extra = done["k_samples_calibrated"].astype(float) - done["k_data_calibrated"].astype(float)
    means = extra.groupby([done["cell"], done["data_seed"]], sort=False).mean().dropna()
    found = [(str(cell), own.to_numpy()) for cell, own in means.groupby(level=0, sort=False)]
    if not found:
        return ""
    ordered = sorted(found, key=lambda one: float(one[1].mean()))
    ends = [ordered[-1]] if len(ordered) == 1 else [ordered[0], ordered[-1]]
    parts = [f"{_extra_text(values)}{f' at {cell}' * ('=' in cell)}" for cell, values in ends]
    n = max(len(values) for _, values in found)
    sets = "1 data set" if n == 1 else f"{n} data sets"
    return f"Samples less control: {' to '.join(parts)} components; {sets}."


def _extra_text(values: NDArray[Any]) -> str:
    if len(values) < 2:
        return f"{values.mean():+.1f}"
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return f"{values.mean():+.1f} [{values.mean() - half:+.1f}, {values.mean() + half:+.1f}]"
