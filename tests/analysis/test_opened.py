"""Results in Python: one object, few names, one clear line for what is wrong."""

from __future__ import annotations

import html

import matplotlib.pyplot as plt
import numpy as np
import pytest

import study
from analysis.figures.coverage import plot_coverage
from analysis.frames import summary
from analysis.load import Results
from analysis.opened import SweepResults
from study.config import SweepError
from study.results import SCHEMAS, describe_column


@pytest.fixture(scope="module")
def opened(results: Results) -> SweepResults:
    return SweepResults(results)


def test_names_are_few_and_all_declared() -> None:
    assert set(dir(study)) == set(study.__all__)
    assert len(study.__all__) <= 12
    assert all(getattr(study, name) for name in study.__all__)
    assert len([name for name in dir(SweepResults) if not name.startswith("_")]) <= 12


def test_headline_has_units_and_rows(opened: SweepResults) -> None:
    units = opened.headline.attrs["units"]
    assert units["mode_recall_low"] == "share of modes"
    assert units["coverage_samples_calibrated_share_at_ceiling"] == "share of trials"
    assert units["n_data"] == "data seeds"
    assert len(opened.headline) == 5


def test_a_notebook_shows_question_answer_and_rows(opened: SweepResults) -> None:
    shown = opened._repr_html_()
    assert opened.question in shown
    assert opened.verdict in html.unescape(shown)
    assert "146 of 150" in shown or "147 of 150" in shown
    assert shown.count("<tr") == 6


def test_a_figure_takes_its_choices_and_no_others(opened: SweepResults) -> None:
    figure = opened.figure("coverage", protocol="original")
    assert figure.get_suptitle()
    assert figure.legends
    assert len(figure.axes) == 1
    with pytest.raises(ValueError, match="one of original, calibrated, not 'wide'"):
        opened.figure("coverage", protocol="wide")
    with pytest.raises(TypeError, match="'points' has no choice 'protocol'"):
        opened.figure("points", protocol="original")
    with pytest.raises(ValueError, match="did you mean 'coverage'"):
        opened.figure("covrage")
    with pytest.raises(ValueError, match="did you mean 'headline'"):
        opened.table("headlines")


def test_coverage_of_two_protocols_is_refused_and_a_log_axis_keeps_all_points(
    results: Results,
) -> None:
    frame = summary.coverage_by_cell(results)
    with pytest.raises(ValueError, match="original and calibrated"):
        plot_coverage(frame, x="latent_dim")
    _, ax = plt.subplots()
    one = frame[frame["protocol"] == "calibrated"]
    plot_coverage(one, x="latent_dim", ax=ax)
    assert ax.get_ylim()[0] == 0
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    assert 0 < low <= np.nanmin(one[["estimate", "low"]]) < np.nanmax(one["ceiling"]) < high
    assert high / low < 50
    plt.close("all")


def test_every_column_of_every_table_is_described() -> None:
    for name, schema in SCHEMAS.items():
        for column in schema.names:
            sentence = describe_column(column).sentence(column)
            assert sentence.startswith(f"{column}: "), (name, column)
            assert sentence.endswith("."), (name, column)
    with pytest.raises(KeyError, match="did you mean control_gap"):
        describe_column("control_gaps")


def test_a_sweep_is_a_mapping_too() -> None:
    grid = {"model.latent_dim": range(1, 3), "training.kl_weight": np.array([0.5, 1.0])}
    sweep = study.load_sweep({"name": "mini", "grid": grid, "replicates": {"data": 2}})
    assert len(list(sweep.cells())) == 4
    for wrong, message in (
        ({"name": "x", "grid": {"model.latent_dims": [1]}}, "did you mean model.latent_dim"),
        ({"name": "x", "grid": {"model.latent_dim": {1, 2}}}, "is a set"),
        ({"name": "x", "fixed": {"training.epochs": 0}}, "from 1 to 100,000; found 0"),
        ({}, "name: missing"),
    ):
        with pytest.raises(SweepError, match=message):
            study.load_sweep(wrong)
    with pytest.raises(TypeError, match="no option 'worker'"):
        study.run_sweep({"name": "x"}, worker=2)
