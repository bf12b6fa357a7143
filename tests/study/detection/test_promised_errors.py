"""Errors are those that docstrings promise."""

from __future__ import annotations

import numpy as np
import pytest

import study.detection.modes
from study.config import DetectionConfig
from study.detection.counting import count_possible
from study.detection.modes import detect_modes

POINTS = np.random.default_rng(0).normal(size=(40, 3))


@pytest.mark.parametrize("protocol", ["original", "calibrated"])
def test_singular_points_are_a_value_error_with_a_remedy(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise np.linalg.LinAlgError("a component's covariance is not positive definite")

    for name in ("_count_original", "_count_calibrated"):
        monkeypatch.setattr(study.detection.modes, name, fail)
    with pytest.raises(ValueError, match="singular to working precision") as error:
        detect_modes(POINTS, protocol=protocol)  # type: ignore[arg-type]
    assert type(error.value) is ValueError
    counts = count_possible(POINTS, DetectionConfig(n_samples=40, protocols=(protocol,)))
    assert not counts.found
    assert counts.reasons[protocol].startswith("points: ")


@pytest.mark.parametrize("points", [np.ones(5), np.ones((0, 3)), np.full((20, 2), np.nan)])
@pytest.mark.parametrize("protocol", ["original", "calibrated"])
def test_points_that_are_no_cloud_are_value_errors(points: np.ndarray, protocol: str) -> None:
    with pytest.raises(ValueError, match=r"^points: "):
        detect_modes(points, protocol=protocol)  # type: ignore[arg-type]
