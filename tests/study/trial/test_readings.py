"""What a count says besides k*: names, types, flags, and the comparison with other seeds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from study.config import DetectionConfig
from study.detection.criteria import k_set
from study.detection.modes import ModeCount, detect_modes
from study.detection.seed_gap import seed_gap
from study.results import SCHEMAS, SOURCES, fit_columns, reading_columns
from study.trial.readings import count_readings, fit_readings

DETECTION = DetectionConfig(n_samples=500, k_max=8, gap_restarts=2)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(500, 2)) + 6.0 * rng.integers(0, 3, (500, 1))


@pytest.fixture(scope="module")
def count(points: np.ndarray) -> ModeCount:
    return detect_modes(points, protocol="calibrated", k_max=8)


def test_every_source_has_its_columns() -> None:
    for source in SOURCES:
        assert set(reading_columns(source)) <= set(SCHEMAS["trials"].names)
    for table in ("trials", "controls"):
        names = {*reading_columns("data"), *fit_columns("data")}
        assert names <= set(SCHEMAS[table].names)


def test_readings_are_those_of_the_curve(count: ModeCount) -> None:
    row = count_readings("samples", count, 500)
    inside = k_set(count.ks, count.bic, count.contrast_errors)
    assert (row["k_set_low_samples"], row["k_set_high_samples"]) == (inside[0], inside[-1])
    assert row["k_set_low_samples"] <= count.k <= row["k_set_high_samples"]
    assert row["sbic_k_samples"] >= count.k >= row["ebic_k_samples"]
    assert row["has_ties_samples"] is False


def test_the_fit_is_read_as_modes_and_clusters(count: ModeCount) -> None:
    assert fit_readings("data", count) == {"modal_modes_data": 3, "icl_k_data": 3}


def test_other_seeds_are_asked_only_on_request(points: np.ndarray, count: ModeCount) -> None:
    silent = dataclasses.replace(DETECTION, gap_restarts=0)
    assert seed_gap(points, count, silent) is None
    found = seed_gap(points, count, DETECTION)
    assert found is not None
    # Three clusters are found from any seed.
    assert abs(found.gap) < 1.0
    assert found.k_best == 3


def test_a_search_that_failed_is_told(points: np.ndarray, count: ModeCount) -> None:
    worse = dataclasses.replace(count, bic=count.bic + 40.0, k=7)
    found = seed_gap(points, worse, DETECTION)
    assert found is not None
    assert found.gap == pytest.approx(40.0, abs=1.0)
    assert found.k_best == 3
