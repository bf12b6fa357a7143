"""The truth that points are measured against: a target by name, a sweep file, or a mixture."""

from __future__ import annotations

from pathlib import Path

from study.config import MixtureConfig, load_sweep
from study.data.presets import PRESETS
from study.measuring.files import PointsError


def truth_config(truth: str | Path | MixtureConfig) -> MixtureConfig:
    """Return the configuration of the truth that is meant.

    Parameters
    ----------
    truth : str, path or MixtureConfig
        A name, such as "ring8", or a sweep file whose cells have one mixture.

    Raises
    ------
    PointsError
        There is no such name or file, or the file has several mixtures.
    SweepError
        The file is not a sweep file.
    """
    if isinstance(truth, MixtureConfig):
        return truth
    if str(truth) in PRESETS:
        return PRESETS[str(truth)].mixture
    if Path(truth).suffix not in (".yaml", ".yml"):
        raise PointsError(
            f"--truth {truth}: must be a sweep file (.yaml) or one of {', '.join(PRESETS)}"
        )
    mixtures = {cell.mixture for cell in load_sweep(truth).cells()}
    if len(mixtures) != 1:
        raise PointsError(
            f"--truth {truth}: must have one mixture; its cells have {len(mixtures)}: write a "
            "file with a fixed mixture"
        )
    return mixtures.pop()
