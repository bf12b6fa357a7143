"""Protocols: ways of counting the modes of a point set.

A protocol takes points and the sweep's detection settings and answers with a `ModeCount`: k* and
the whole curve that it was chosen from. docs/extending.md adds one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.config.sections import ORIGINAL_RANGE
from study.plugins import PROTOCOLS

if TYPE_CHECKING:
    import numpy as np

    from study.config import DetectionConfig
    from study.detection.modes import ModeCount


class CountingProtocol:
    """A way of counting; derive from it and define `count`.

    Attributes
    ----------
    min_points : int
        The fewest points that it can count.
    """

    min_points: int = 2

    def count(self, points: np.ndarray, detection: DetectionConfig) -> ModeCount:
        """Count the modes of a point set.

        Parameters
        ----------
        points : ndarray of shape (n_points, n_features)
        detection : DetectionConfig
            The sweep's settings: `k_min`, `k_max`, `restarts` and `seed` are for every protocol
            that has such a thing.

        Returns
        -------
        ModeCount
            `study.detection.choice.choose_fit` makes one from mixtures that were fitted.

        Raises
        ------
        ValueError
            The points cannot be counted; the trial's row says why.
        """
        raise NotImplementedError

    def range(self, detection: DetectionConfig) -> tuple[int, int]:
        """Return the smallest and the largest k that are tried."""
        return detection.k_min, detection.k_max


class _Original(CountingProtocol):
    """scikit-learn's mixture, k = 5..14, as in the original report."""

    # A fit needs as many points as components.
    min_points = max(ORIGINAL_RANGE)

    def count(self, points: np.ndarray, detection: DetectionConfig) -> ModeCount:
        """Count as the original report did."""
        from study.detection.modes import detect_modes

        return detect_modes(points, protocol="original")

    def range(self, detection: DetectionConfig) -> tuple[int, int]:
        """Return 5 and 14."""
        return ORIGINAL_RANGE


class _Calibrated(CountingProtocol):
    """The split-and-merge path over a wide range."""

    def count(self, points: np.ndarray, detection: DetectionConfig) -> ModeCount:
        """Count with the settings' range, covariances, restarts and seed."""
        from study.detection.modes import detect_modes

        return detect_modes(
            points,
            protocol="calibrated",
            k_min=detection.k_min,
            k_max=detection.k_max,
            restarts=detection.restarts,
            seed=detection.seed,
            families=detection.families,
        )


ORIGINAL = _Original()
CALIBRATED = _Calibrated()


def count_modes(points: np.ndarray, detection: DetectionConfig) -> dict[str, ModeCount]:
    """Count the modes of a point set by every protocol of a configuration.

    Parameters
    ----------
    points : ndarray, shape (n, D)
    detection : DetectionConfig

    Returns
    -------
    dict of str to ModeCount

    Raises
    ------
    ValueError
        The points cannot be counted, or a protocol gives k* outside its range.
    """
    counts: dict[str, ModeCount] = {}
    for name in detection.protocols:
        protocol = PROTOCOLS[name]
        count = counts[name] = protocol.count(points, detection)
        low, high = protocol.range(detection)
        if not low <= count.k <= high:
            raise ValueError(
                f"protocol {name}: k* = {count.k} is not in its range {low} to {high}"
            )
    return counts
