"""Every endpoint has one record, and nothing is known of an endpoint elsewhere."""

from __future__ import annotations

import math

import pytest

from study.results import (
    ENDPOINTS,
    GAP_COLUMNS,
    SCHEMAS,
    SOURCES,
    endpoint,
    is_larger_better,
    reading_columns,
)
from study.results.endpoints import BASELINE_ENDPOINTS, FIT_ENDPOINTS, RECORDS
from study.results.tables import CONTROL_FIELDS, PROVENANCE_FIELDS, config_fields

# Columns of `trials` that say which trial it is, what it cost and what it was made of.
NO_ENDPOINTS = {
    *("trial_id", "training_id", "data_id", "control_id", "stack_id", "cell", "status"),
    *("message", "eigenvalues", "active_units", "decoder_variance"),
    *("train_s", "count_s", "endpoints_s"),
    # What is read off a count besides k*.
    *(name for source in SOURCES for name in reading_columns(source)),
    *GAP_COLUMNS,
    *(
        name
        for fields in (config_fields(), CONTROL_FIELDS, PROVENANCE_FIELDS)
        for name, _ in fields
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_each_record_is_whole(name: str) -> None:
    record = RECORDS[name]
    assert record.name == name
    assert record.title
    assert record.unit
    assert record.better in ("high", "low", "neither")
    assert record.rests_on in ("model", "points", "fit")
    assert record.bounds[0] < record.bounds[1]
    assert 0 < record.margin < math.inf
    assert record.axis_title.endswith(f"({record.unit})")
    assert not record.is_primary or record.better != "neither"


def test_every_column_of_a_trial_is_an_endpoint_a_count_or_declared_as_neither() -> None:
    missing = [
        name
        for name in SCHEMAS["trials"].names
        if name not in NO_ENDPOINTS and endpoint(name) is None
        if not name.startswith("at_ceiling_")
    ]
    assert missing == []


def test_lists_follow_from_the_records() -> None:
    assert set(ENDPOINTS) == {name for name, record in RECORDS.items() if not record.is_whole}
    assert {"fragmentation", "bridges", "modal_modes_samples", "icl_k_samples"} <= set(
        FIT_ENDPOINTS
    )
    assert set(BASELINE_ENDPOINTS) <= set(SCHEMAS["nulls"].names)


def test_counts_have_records_and_other_columns_have_none() -> None:
    record = endpoint("k_samples_calibrated")
    assert record is not None
    assert record.title == "k* samples, calibrated"
    assert (record.unit, record.rests_on, record.is_whole) == ("components", "fit", True)
    ratio = endpoint("coverage_means_original")
    assert ratio is not None
    assert ratio.margin == 0.1
    for column in ("k_min", "k_max", "kl_weight", "status", "k_elsewhere_original"):
        assert endpoint(column) is None


def test_a_direction_is_asked_for_only_where_there_is_one() -> None:
    assert is_larger_better("mode_recall")
    assert is_larger_better("prdc_coverage")
    assert not is_larger_better("fkl_nats")
    for column in ("k_samples_calibrated", "entropy_nats", "kl_weight"):
        with pytest.raises(ValueError, match="has no better direction"):
            is_larger_better(column)
