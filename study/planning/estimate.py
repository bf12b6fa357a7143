"""What a sweep will cost, before it runs: hours and disk, and what the figures rest on.

Training cost is counted in floating-point operations of the matrix products, which dominate;
counting and endpoints go with points and candidate counts. Rows of earlier runs of the same sweep
replace the reference figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from study.config import ResourcesConfig
from study.planning.packing import GPU_SPEEDUP
from study.planning.units import Trial, n_weights, training_gflop

if TYPE_CHECKING:
    import pandas as pd

# Measured with sweeps/latent_dims.yaml: one core of a 2-core x86 server, one thread a worker.
REFERENCE_GFLOP_PER_S = 40.0
REFERENCE_SCORING_S = 4.0
REFERENCE_SCORING_POINTS = 10_000
OVERHEAD_S = 12.0
MIN_ROWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Cost of the trials that are left.

    Parameters
    ----------
    wall_time_s : float
        Seconds with `n_workers` workers.
    disk_mb : float
        Weights and tables.
    basis : str
        What it rests on, as a phrase.
    """

    wall_time_s: float
    disk_mb: float
    basis: str


def estimate(
    trials: Sequence[Trial],
    *,
    n_workers: int,
    resources: ResourcesConfig | None = None,
    finished: pd.DataFrame | None = None,
) -> Estimate:
    """Estimate wall time and disk of the trials that are left.

    Parameters
    ----------
    trials : sequence of Trial
        Those that would run.
    n_workers : int
        Stacks that run at once.
    resources : ResourcesConfig, optional
        Resources of one stack; one CPU by default.
    finished : DataFrame or None
        `trials` rows of earlier runs of the same sweep.

    Returns
    -------
    Estimate
    """
    disk_mb = sum(4 * n_weights(t.model, t.mixture.dim) + 20_000 for t in trials) / 1e6
    resources = resources or ResourcesConfig()
    measured = _measured_s(finished, resources)
    if measured is not None:
        worker_s = measured * len(trials)
        basis = f"{len(finished) if finished is not None else 0} finished trials of this sweep"
    else:
        worker_s = sum(_reference_s(trial, resources) for trial in trials)
        basis = "the reference machine's speed (one x86 server core); yours may differ threefold"
        if resources.torch_device != "cpu":
            basis += ", and a GPU's speed is a guess"
    wall = worker_s / n_workers + OVERHEAD_S if trials else 0.0
    return Estimate(wall_time_s=wall, disk_mb=disk_mb, basis=basis)


def _reference_s(trial: Trial, resources: ResourcesConfig) -> float:
    scoring_s = REFERENCE_SCORING_S * trial.detection.n_samples / REFERENCE_SCORING_POINTS
    training_s = training_gflop(trial) / REFERENCE_GFLOP_PER_S
    if resources.torch_device != "cpu":
        training_s /= GPU_SPEEDUP
    return training_s + scoring_s / resources.n_processes


def _measured_s(finished: pd.DataFrame | None, resources: ResourcesConfig) -> float | None:
    if finished is None or len(finished) < MIN_ROWS:
        return None
    scoring_s = finished[["count_s", "endpoints_s"]].sum(axis=1) / resources.n_processes
    return float((finished["train_s"] + scoring_s).median())
