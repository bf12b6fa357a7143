"""Rungs of a search: where they are, and who goes on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.config.early_stopping import (
    Halving,
    Rung,
    is_beyond,
    mean_value,
    rung_detection,
    rung_epochs,
    rung_limit,
)
from study.config.objective import Objective
from study.config.sections import DetectionConfig

VALUES = st.lists(st.floats(-1e6, 1e6), max_size=30)


@pytest.mark.parametrize(
    ("first", "factor", "n_epochs", "expected"),
    [
        (10, 3, 300, (10, 30, 90, 270)),
        (10, 3, 90, (10, 30)),
        (10, 3, 10, ()),
        (1, 2, 5, (1, 2, 4)),
        (None, 3, 300, ()),
    ],
)
def test_rungs_lie_below_the_end(first, factor, n_epochs, expected) -> None:
    assert rung_epochs(first, factor, n_epochs) == expected


@given(VALUES, st.floats(-1e6, 1e6), st.integers(2, 5), st.sampled_from([1.0, -1.0]))
def test_the_limit_is_the_rule_of_the_best_part(values, own, factor, sign) -> None:
    limit = rung_limit(values, factor=factor, sign=sign)
    n_better = sum(sign * value < sign * own for value in values)
    among_best = n_better < (len(values) + 1) // factor
    assert is_beyond(own, limit, sign=sign) == (len(values) >= factor and not among_best)


@given(VALUES, st.integers(2, 5))
def test_maximizing_is_minimizing_the_negative(values, factor) -> None:
    low = rung_limit(values, factor=factor, sign=1.0)
    high = rung_limit([-value for value in values], factor=factor, sign=-1.0)
    assert (low is None) == (high is None)
    assert low is None or low == -high


def test_nothing_is_held_against_what_is_not_known() -> None:
    assert not is_beyond(None, 1.0, sign=1.0)
    assert not is_beyond(1e9, None, sign=1.0)
    assert mean_value([None, None]) is None
    assert mean_value([1.0, None, 3.0]) == 2.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.randoms())
def test_a_mean_does_not_depend_on_the_order(values, random) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)
    assert mean_value(values) == mean_value(shuffled)


def test_the_reason_names_epoch_value_and_limit() -> None:
    rung = Rung(epoch=30, limit=0.31)
    halving = Halving(objective=Objective(expression="loss"), factor=3, rungs=(rung,))
    assert halving.at(30) is rung
    assert halving.at(10) is None
    assert halving.reason(rung, 0.31, n_epochs=300) is None
    reason = halving.reason(rung, np.float64(0.52), n_epochs=300)
    assert reason == (
        "stopped after 30 of 300 epochs: its cell's mean of loss is 0.52; the best 1/3 at that "
        "rung reach 0.31"
    )


@pytest.mark.parametrize(
    ("columns", "sources", "protocols"),
    [
        (("coverage_samples_calibrated",), ("samples",), ("calibrated",)),
        (("k_codes_original", "kl_weight"), ("codes",), ("original",)),
        (("fragmentation",), ("samples",), ("calibrated",)),
        (("loss", "mode_recall"), (), ()),
    ],
)
def test_only_what_the_objective_needs_is_counted(columns, sources, protocols) -> None:
    detection = rung_detection(DetectionConfig(), columns)
    assert (detection.sources, detection.protocols) == (sources, protocols)
