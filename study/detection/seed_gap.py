"""How far one search is from the best that others, with other seeds, find on the same points."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from study.config import DetectionConfig
from study.config.sections import MAX_SEED
from study.detection.cloud import FloatArray
from study.detection.modes import ModeCount
from study.detection.protocols import count_modes


class SeedGap(NamedTuple):
    """Where a search stands among searches with other seeds.

    Parameters
    ----------
    gap : float
        Its lowest BIC less the lowest of the others, in BIC units: above 10 it has failed, below 0
        it is the best of all.
    k_best : int
        k* of the lowest BIC of all, its own included; the smaller k in a tie.
    """

    gap: float
    k_best: int


def seed_gap(points: FloatArray, count: ModeCount, detection: DetectionConfig) -> SeedGap | None:
    """Repeat a calibrated search with `detection.gap_restarts` other seeds.

    Parameters
    ----------
    points : ndarray, shape (n, D)
        Those that were counted.
    count : ModeCount
        The calibrated count with the detector's own seed.
    detection : DetectionConfig

    Returns
    -------
    SeedGap or None
        None if no repetition is asked for.
    """
    if not detection.gap_restarts:
        return None
    found = []
    for step in range(1, detection.gap_restarts + 1):
        seed = (detection.seed + step) % (MAX_SEED + 1)
        other = replace(detection, seed=seed, protocols=("calibrated",))
        again = count_modes(points, other)["calibrated"]
        found.append((float(again.bic.min()), again.k))
    own = (float(count.bic.min()), count.k)
    return SeedGap(own[0] - min(found)[0], min([own, *found])[1])
