"""The trials of a results folder as runs, the form that tracking tools have for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.results import ENDPOINTS, ResultsError, ResultsFolder, config_fields, read_table

if TYPE_CHECKING:
    import pandas as pd

SEEDS = ("data_seed", "init_seed", "sample_seed")
_TAGS = ("cell", *SEEDS, "status", "commit", "cpu")
_COUNTED = ("k_", "coverage_", "at_ceiling_", "control_gap", "modal_modes_", "icl_k_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One trial.

    Parameters
    ----------
    id, sweep, finished_at : str
    config : mapping
        Configuration columns that apply to it.
    endpoints : mapping of str to float
        Counts and endpoints that it has; flags are 0 or 1.
    tags : mapping of str to str
        Cell, seeds, status, commit, processor.
    curves : DataFrame
        epoch and the numbers of each epoch.
    """

    id: str
    sweep: str
    finished_at: str
    config: Mapping[str, Any]
    endpoints: Mapping[str, float]
    tags: Mapping[str, str]
    curves: pd.DataFrame

    def points(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Give the finite numbers of each epoch."""
        names = [name for name in self.curves if name != "epoch"]
        rows = self.curves[names].astype(float).to_dict("records")
        for epoch, row in zip(self.curves["epoch"], rows, strict=True):
            yield int(epoch), {str(k): v for k, v in row.items() if math.isfinite(v)}


def runs_of(folder: ResultsFolder, name: str) -> list[Run]:
    """List the recorded trials of a folder as runs.

    Raises
    ------
    ResultsError
        The folder cannot be read, or no trial is recorded.
    """
    trials = read_table(folder, "trials")
    if trials.empty:
        raise ResultsError(f"{name}: no trial is recorded here, so there is nothing to export")
    curves = read_table(folder, "curves").drop(columns="kl_per_latent")
    by_trial = dict(list(curves.groupby("trial_id", sort=False)))
    none = curves.iloc[:0]
    configuration = [column for column, _ in config_fields() if column in trials]
    measured = [c for c in map(str, trials) if c in ENDPOINTS or c.startswith(_COUNTED)]
    return [
        Run(
            id=row["trial_id"],
            sweep=name,
            finished_at=row["finished_at"],
            config=_known(row, configuration),
            endpoints=_numbers(row, measured),
            tags={key: str(value) for key, value in _known(row, _TAGS).items()},
            curves=by_trial.get(row["trial_id"], none).drop(columns="trial_id"),
        )
        for row in trials.to_dict("records")
    ]


def _known(row: Mapping[Any, Any], names: Any) -> dict[str, Any]:
    import pandas as pd

    return {name: row[name] for name in names if not pd.isna(row[name])}


def _numbers(row: Mapping[Any, Any], names: list[str]) -> dict[str, float]:
    """Return the finite numbers of a row; tools have no place for others."""
    known = {
        name: float(value)
        for name, value in _known(row, names).items()
        if not isinstance(value, str)
    }
    return {name: value for name, value in known.items() if math.isfinite(value)}
