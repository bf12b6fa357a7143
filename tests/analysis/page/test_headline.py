"""The rule that turns frames into one sentence, and the flags beside it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.frames import summary
from analysis.frames.count_contrasts import count_contrasts
from analysis.load import Results, load_results
from analysis.page import render
from analysis.page.chips import chips
from analysis.page.explore import default_choice, default_figure, explored
from analysis.page.headline import headline
from analysis.page.headline_factors import MOST_WORDS
from analysis.page.hero import hero_svg, ticks_of

PUBLISHED = Path(__file__).parents[3] / "results"


def _counted(results: Results, extra: Callable[[pd.Series], pd.Series]) -> Results:
    """Set the counts of samples to the control's and something that depends on the width."""
    trials = results.trials
    more = extra(trials["latent_dim"])
    k = (trials["k_data_calibrated"] + more).astype("Int64").where(trials["status"].eq("done"))
    return replace(results, trials=trials.assign(k_samples_calibrated=k))


def test_one_factor_yes_no_and_not_decided(results: Results) -> None:
    steps = _counted(results, lambda q: q.map({1: 9}).fillna(2))
    assert headline(steps).verdict.startswith("Yes, q changes the count: samples take +9.0")
    assert "+2.0 at 2 to 8" in headline(steps).verdict
    flat = _counted(results, lambda q: q * 0 + 3)
    assert headline(flat).verdict.startswith("No, the count agrees within 1 at every q")
    few = steps.trials[steps.trials["data_seed"] < 4]
    plan = steps.plan[steps.plan["trial_id"].isin(few["trial_id"])]
    assert headline(replace(steps, trials=few, plan=plan)).verdict.startswith(
        "Not decided (4 data sets cannot reach 5%)"
    )


def test_whether_extras_go_away_is_asked_of_the_last_level(results: Results) -> None:
    asked = replace(results.manifest, question="Do the extra components go away in the end?")
    stays = replace(_counted(results, lambda q: q * 0 + 3), manifest=asked)
    assert headline(stays).verdict.startswith("No, they stay")


def test_a_sweep_that_still_runs_is_not_decided(results: Results) -> None:
    half = results.trials.iloc[:60]
    found = headline(replace(results, trials=half))
    assert found.verdict.startswith("Not decided: ")
    assert found.verdict.endswith("of 150 planned trials have finished.")
    assert found.chart is not None
    bad = [chip.text for chip in chips(replace(results, trials=half)) if chip.level == "bad"]
    assert any("of 150 done" in text for text in bad)


def test_a_control_that_ended_badly_is_a_flag(results: Results) -> None:
    trials = results.trials
    first = trials["control_id"].dropna().iloc[0]
    gaps = trials["control_gap"].where(trials["control_id"] != first, 32.0).clip(upper=32.0)
    gaps = gaps.where((gaps < 10) | (trials["control_id"] == first), 1.0)
    found = chips(replace(results, trials=trials.assign(control_gap=gaps)))
    assert found[0].level == "bad"
    assert any(chip.text == "1 control of 10 ended badly (gap 32)" for chip in found)


def test_contrasts_of_counts_are_paired_and_judged(results: Results) -> None:
    rng = np.random.default_rng(0)
    steps = _counted(results, lambda q: q.map({1: 4}).fillna(1) + rng.integers(0, 2, len(q)))
    frame = count_contrasts(steps).set_index("cell")
    assert frame.loc["latent_dim=1", "estimate"] == pytest.approx(3, abs=0.5)
    assert frame.loc["latent_dim=1", "p_adjusted"] < 0.05
    assert frame.loc["latent_dim=8", "p_adjusted"] > 0.05
    assert frame["n_data"].eq(10).all()


def test_ticks_are_round_and_hold_both_ends() -> None:
    for low, high in ((0, 11.1), (-8.7, 30.7), (0.08, 0.21), (0, 1e-9)):
        ticks = ticks_of(low, high)
        assert ticks[0] <= low
        assert ticks[-1] >= high
        assert 2 <= len(ticks) <= 9


@pytest.mark.slow
@pytest.mark.parametrize("folder", sorted(path.parent.name for path in
                                          PUBLISHED.glob("*/manifest.json")))  # fmt: skip
def test_published_sweeps_are_answered_from_their_contrasts(folder: str) -> None:
    results = load_results(PUBLISHED / folder)
    found = headline(results)
    words = found.verdict.split()
    assert len(words) <= MOST_WORDS
    starts = ("Yes", "No", "Not decided", "The winner", "Mostly")
    assert found.verdict.startswith(starts)
    assert found.numbers
    assert "pt main" in hero_svg(found.chart)
    # Every signed number is the extra components of a cell, or the mean of a factor's level.
    frame = summary.contrasts_by_cell(results)
    frame = frame[(frame["source"] == "samples") & (frame["protocol"] == "calibrated")]
    known = {f"{value:+.1f}" for value in frame["estimate"]}
    for name in results.manifest.factors:
        known |= {f"{value:+.1f}" for value in frame.groupby(name)["estimate"].mean()}
    assert set(re.findall(r"[+-]\d+\.\d", found.verdict)) <= known
    if folder == "component_counts":
        assert any("ended badly" in chip.text for chip in chips(results))


def test_the_carried_plotly_is_that_of_the_python_package() -> None:
    plotly = pytest.importorskip("plotly.offline")
    packed = Path(render.__file__).parent / "vendor" / "plotly-gl3d.min.js.gz"
    head = gzip.decompress(packed.read_bytes())[:200].decode()
    carried = re.search(r"v(\d+\.\d+)\.\d+", head)
    assert carried is not None
    assert plotly.get_plotlyjs_version().startswith(carried[1].partition(".")[0] + ".")


def test_every_hover_and_row_to_explore_is_a_row_of_the_frame(results: Results) -> None:
    found = explored(results)
    content = json.loads(gzip.decompress(base64.b64decode(found.payload)))
    assert len(content["rows"]) == len(found.frame)
    for row, own in zip(content["rows"], summary.named_rows(found.frame), strict=True):
        assert row[:4] == [own.quantity, own.source, own.protocol, own.cell]
        assert f"<br>{own.estimate:.4g}" in row[7]
        assert f"{int(own.n_data)} data sets, {int(own.n_trials)} trials" in row[7]
    assert len(content["quantities"]) >= 10
    figure = default_figure(results, found.frame)
    trace = figure.data[0]
    shown = found.frame.set_index(["quantity", "source", "protocol"]).loc[
        default_choice(found.frame)
    ]
    assert list(trace.y) == pytest.approx(shown["estimate"].tolist())
    assert list(trace.customdata) == shown["cell"].tolist()
    assert all(f"{y:.4g}" in text for y, text in zip(trace.y, trace.hovertext, strict=True))


def test_ends_that_differ_by_rounding_have_an_axis() -> None:
    ticks = ticks_of(0.0, 1e-17, n=4)
    assert len(ticks) >= 2
    assert ticks[0] < ticks[-1]
