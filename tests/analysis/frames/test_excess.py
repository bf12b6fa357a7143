"""Samples against their control by every count, and how sure the counts are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.frames.excess import COUNTS, certainty_by_cell, excess_by_cell
from analysis.frames.summary import contrasts_by_cell
from analysis.load import Results
from analysis.tables.counting import certainty, excess
from analysis.tables.table import NotTabulated
from study.results import SOURCES, fit_columns, reading_columns

LATER = [
    *(name for source in SOURCES for name in reading_columns(source)),
    *fit_columns("data"), "sample_gap", "k_best_samples",
]  # fmt: skip


@pytest.fixture(scope="module")
def earlier(results: Results) -> Results:
    """A folder of counts from before there were sets and modes of the control."""
    trials = results.trials.copy()
    trials[LATER] = trials[LATER].where(np.zeros((len(trials), len(LATER)), dtype=bool))
    return replace(results, trials=trials)


def test_every_count_has_its_own_control(results: Results) -> None:
    frame = excess_by_cell(results)
    assert list(frame["count"].unique()) == list(COUNTS)
    assert len(frame) == 5 * len(COUNTS)
    np.testing.assert_allclose(frame["samples"] - frame["control"], frame["estimate"], atol=0.5)
    assert (frame["low"] <= frame["estimate"]).all()
    assert (frame["high"] >= frame["estimate"]).all()
    icl = frame[frame["count"] == "icl_k_samples"]
    bic = frame[frame["count"] == "k_samples_calibrated"]
    assert (icl["estimate"].to_numpy() < bic["estimate"].to_numpy()).all()


def test_excess_by_bic_is_that_of_the_contrasts(results: Results) -> None:
    frame = excess_by_cell(results).set_index(["cell", "count"])
    known = contrasts_by_cell(results)
    known = known[(known["source"] == "samples") & (known["protocol"] == "calibrated")]
    for _, row in known.iterrows():
        one = frame.loc[(row["cell"], "k_samples_calibrated")]
        assert (
            one[["estimate", "low", "high"]].tolist() == row[["estimate", "low", "high"]].tolist()
        )


def test_earlier_counts_are_read_off_their_curves(earlier: Results) -> None:
    table = excess(earlier)
    found = set(table.data["count"])
    assert found == set(COUNTS) - {"modal_modes_samples"}
    assert "no maxima of the control" in table.caption
    # In these curves ICL is BIC and a constant, and a parameter's price decides nothing.
    by_count = table.data.set_index(["count", "cell"])["control"]
    assert by_count["icl_k_samples"].equals(by_count["k_samples_calibrated"])


def test_earlier_counts_have_no_sets(earlier: Results) -> None:
    assert certainty_by_cell(earlier).empty
    with pytest.raises(NotTabulated, match="no sets of k"):
        certainty(earlier)


def test_sets_and_gaps_are_described_by_source(results: Results) -> None:
    frame = certainty_by_cell(results)
    assert set(frame["source"]) == set(SOURCES)
    sure = frame.set_index(["cell", "source"])["share_sure"]
    assert (sure.xs("data", level="source") == 1.0).all()
    assert (sure.xs("samples", level="source") < 1.0).all()
    gaps = frame[frame["n_gaps"] > 0]
    assert set(gaps["source"]) == {"samples"}
    assert gaps["gap"].between(0, 30).all()
    controls = frame[frame["source"] == "data"]
    assert (controls["n_counts"] <= 10).all()
    assert "{" in certainty(results).shown["k* {set}"].iloc[0]
