"""The audit of metrics: 15 checks with two questions each, and judgements of made-up scores."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.audit import METRICS, judge, published_k, run_check, table
from benchmarks.audit_checks import CHECKS, bell, either, falling, passes, rising, wide

BY_NAME = {check.name: check for check in CHECKS}


def test_there_are_thirty_questions() -> None:
    assert len(BY_NAME) == 15
    assert {len(check.desiderata) for check in CHECKS} == {2}


def test_shapes() -> None:
    x = np.linspace(-1, 1, 21)
    tent = 1 - np.abs(x)
    assert bell(0.0)(x, tent, "fidelity", "")
    assert not bell(0.0)(x, x, "fidelity", "")
    assert falling(x, -x, "fidelity", "")
    assert rising(x, x, "fidelity", "")
    assert either(bell(0.0), rising)(x, x, "diversity", "") == "high"
    assert either(bell(0.0), rising)(x, tent, "diversity", "") == "low"
    assert wide("max")(x, tent, "diversity", "") == "low"


def test_high_here_and_low_there_is_a_failure() -> None:
    assert passes([True, "high", None])
    assert not passes(["low", "high"])
    assert not passes([True, False])


def test_equal_laws_are_given_the_neighbours_of_the_paper() -> None:
    # 1 - 2^-k is above .95 from k = 5 on, for equal and large sets.
    assert published_k(100_000, 100_000) == published_k(1000, 1000) == 5


@pytest.mark.slow
def test_invention_fails_coverage_and_passes_density_and_recall() -> None:
    """What the paper publishes of this check, and what a truth adds."""
    check = BY_NAME["mode dropping and invention"]
    chosen = [m for m in METRICS if m.name in ("density", "coverage", "mode recall")]
    rows = run_check(check, chosen, 2)
    found = {metric.name: judge(check, metric, rows[metric.name]) for metric in chosen}
    assert found["density"] == found["mode recall"] == {"bounds": True, "purpose": True}
    assert found["coverage"]["purpose"] is False
    text = table({check.name: found}, [metric.name for metric in chosen])
    assert "**2 of 2**" in text
