from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from analysis import load
from analysis.frames import agreement, contrasts, equivalence, profiles, reference, survival
from analysis.load import Results, load_results
from analysis.page import answer, evidence


@pytest.fixture
def noisy(results: Results, jitter: Callable[..., Results]) -> Results:
    """Cells that differ by noise too."""
    return jitter(results, "fkl_nats")


def test_cells_are_paired_by_their_seeds(noisy: Results) -> None:
    frame = contrasts.cell_contrasts(noisy, ["fkl_nats"])
    done = noisy.trials[noisy.trials["status"] == "done"]
    keys = ["data_seed", "init_seed"]
    wide = done.pivot(index=keys, columns="latent_dim", values="fkl_nats").astype(float)
    paired = (wide[8] - wide[2]).dropna().groupby("data_seed").mean()
    row = frame[frame["latent_dim"] == 8].iloc[0]
    assert row["reference"] == "latent_dim=2"
    assert row["estimate"] == pytest.approx(paired.mean())
    assert row["dz"] == pytest.approx(paired.mean() / paired.std())
    assert row["low"] < row["estimate"] < row["high"]


def test_the_primary_family_is_one(results: Results) -> None:
    frame = contrasts.cell_contrasts(results, [*contrasts.PRIMARY_ENDPOINTS, "tv"])
    primary = frame["endpoint"] != "tv"
    family = contrasts.primary_family(results)
    # 4 cells x 3 endpoints, and k* against the control; the exploration has its own rate.
    assert len(family) == 13
    assert frame["is_primary"].tolist() == primary.tolist()
    joined = frame[primary].merge(family, on=["cell", "endpoint"], suffixes=("", "_"))
    assert (joined["p_adjusted"] == joined["p_adjusted_"]).all()
    assert (joined["p_adjusted"] >= joined["p_value"] - 1e-12).all()
    assert frame.loc[~primary, ["p_adjusted", "low_all"]].isna().all(axis=None)
    assert frame["p_bh"].notna().all()


def test_the_same_cell_in_other_words_is_one(build: Callable[..., Path], tmp_path: Path) -> None:
    """A box of 10 is the box by density at 10 components: no cell stands beside itself."""
    boxes = [("fixed", 10.0, 10), ("density", 10.0, 10), ("fixed", 10.0, 20)]
    boxes += [("density", 10 * 2 ** (1 / 3), 20)]
    cells = [
        {"n_components": k, "box_rule": rule, "box_half_width": width} for rule, width, k in boxes
    ]
    folder = build(
        tmp_path / "boxes", factors=("n_components", "box_rule"), cells=cells, seeds=(6, 1),
        n_points=0,
    )  # fmt: skip
    results = load_results(folder)
    copy, kept = "n_components=10, box_rule=density", "n_components=10, box_rule=fixed"
    assert results.copies == {copy: kept}
    assert len(results.trials) == len(results.plan) == 18
    assert set(results.components["trial_id"]) <= set(results.trials["trial_id"])
    frame = contrasts.cell_contrasts(results)
    assert reference.reference_cell(results) == kept
    assert copy not in set(frame["cell"])
    assert frame["is_primary"].sum() == 3
    text = " ".join(answer.sentences(results))
    assert f"another cell in other words: {copy} ({kept})" in text


def test_measuring_is_not_tested_on_what_does_not_depend_on_it(
    build: Callable[..., Path], tmp_path: Path
) -> None:
    cells = [{"detection_n_samples": n} for n in (1000, 10_000, 30_000)]
    folder = build(
        tmp_path / "sizes", factors=("detection_n_samples",), cells=cells, seeds=(8, 1), n_points=0
    )
    results = load_results(folder)
    # The report counted 10,000 points, whichever cell comes first.
    assert reference.reference_cell(results) == "detection_n_samples=10000"
    frame = contrasts.cell_contrasts(results)
    assert set(frame["endpoint"]) == {"mode_recall"}
    assert equivalence.equivalence(results, "fkl_nats").empty
    assert len(equivalence.equivalence(results, "k_samples_calibrated")) == 3
    assert "forward KL differs" not in " ".join(answer.sentences(results))


def test_paired_counts(results: Results) -> None:
    frame = contrasts.paired_counts(results, "samples", "calibrated")
    assert len(frame) == 50
    assert list(frame.columns[:6]) == [
        "latent_dim", "cell", "data_seed", "k_control", "k_generated", "delta",
    ]  # fmt: skip
    assert (frame["k_generated"] - frame["k_control"] - frame["delta"]).abs().max() < 1e-9
    assert frame["at_ceiling"].between(0, 1).all()


def test_equivalence_compares_levels(noisy: Results) -> None:
    frame = equivalence.equivalence(noisy, "fkl_nats", 0.5)
    assert len(frame) == 10
    row = frame.query("from_level == 2 and to_level == 3").iloc[0]
    assert row["equivalent"]
    assert row["low90"] < row["difference"] < row["high90"]
    wide = equivalence.equivalence(noisy, "fkl_nats").query("from_level == 1 and to_level == 8")
    assert not wide["equivalent"].iloc[0]


def test_identifiable_k() -> None:
    trials = pd.DataFrame(
        {"k_data_calibrated": [9, 9, None], "control_gap": [-3.0, 2.0, 1.0], "n_components": 10}
    )
    assert load.identifiable_k(trials).tolist()[:2] == [9, 10]
    assert load.identifiable_k(trials).isna().tolist() == [False, False, True]


def test_survival_starts_at_one_and_counts_the_censored(results: Results) -> None:
    frame = survival.survival(results, "means", "original")
    assert (frame.groupby("cell")["survival"].first() == 1).all()
    assert (frame["n_censored"] == frame["n"]).all()
    control = survival.survival(results, "data", "original")
    assert (control["n"] == 10).all()


def test_agreement_equals_scipy(results: Results) -> None:
    frame = agreement.agreement(results, "trials", ["fkl_nats", "tv", "spurious_mass"])
    assert len(frame) == 3
    done = results.trials[results.trials["status"] == "done"]
    row = frame.iloc[0]
    expected = scipy.stats.spearmanr(done[row["metric"]], done[row["other"]]).statistic
    assert row["spearman"] == pytest.approx(expected)
    assert row["low"] <= row["spearman"] <= row["high"]
    cells = agreement.agreement(results, "cells", ["fkl_nats", "tv"])
    assert cells["n"].tolist() == [5]
    with pytest.raises(ValueError, match="level must be"):
        agreement.agreement(results, "seeds")  # type: ignore[arg-type]


def test_failures_stay_in_profiles(results: Results) -> None:
    frame = profiles.performance_profile(results, "fkl_nats")
    last = frame.groupby("latent_dim")["share"].last()
    assert last[4] == 1.0
    assert last[1] < 1.0
    means = profiles.interquartile_means(results, ["fkl_nats"]).set_index("latent_dim")
    done = results.trials.query("latent_dim == 8")["fkl_nats"].to_numpy(float)
    assert means.at[8, "estimate"] == pytest.approx(scipy.stats.trim_mean(done, 0.25))
    assert means.at[1, "n_lost"] == 1


def test_sentences_claim_what_the_design_carries(
    results: Results, build: Callable[..., Path], tmp_path: Path
) -> None:
    text = " ".join(answer.sentences(results))
    assert "the primary family of 13 tests judged together" in text
    assert "data seeds" in text
    assert "nan" not in text
    few = load_results(build(tmp_path / "few", seeds=(3, 1), n_points=0))
    said = " ".join(answer.sentences(few))
    assert "no comparison could have passed" in said
    assert "differs at" not in said
    alone = load_results(build(tmp_path / "one", factors=(), cells=[{}], seeds=(1, 3), n_points=0))
    said = " ".join(answer.sentences(alone))
    assert "One data seed was used" in said
    assert "primary family" not in said
    assert "nan" not in said
    assert "power" not in said


def test_flat_runs() -> None:
    equal = {(2, 3), (3, 4), (2, 4), (4, 8)}
    assert evidence.runs_of_equal([1, 2, 3, 4, 8], equal) == [[1], [2, 3, 4], [8]]
    assert np.isclose(equivalence.margin_of("k_samples_calibrated"), 1)
