from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.frames import summary
from analysis.load import Results, load_results
from analysis.statistics.censored import censored_median


@pytest.fixture(scope="module")
def replay(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """One data seed, five init seeds, the original's own points: a given mixture."""
    given = dict.fromkeys(("box_half_width", "alpha", "variance_low", "variance_high"))
    fixed = given | {"training_points": "original", "box_rule": "given"}
    folder = tmp_path_factory.mktemp("original") / "original"
    return load_results(build(folder, factors=(), cells=[{}], seeds=(1, 5), fixed=fixed))


def test_cells_show_every_planned_trial(results: Results) -> None:
    cells = summary.cells(results)
    assert list(cells["latent_dim"]) == [1, 2, 3, 4, 8]
    assert list(cells["n_planned"]) == [30] * 5
    assert list(cells["n_failed"]) == [1, 1, 1, 0, 0]
    assert (cells["n_done"] + cells["n_failed"] + cells["n_missing"] == 30).all()


def test_trials_not_yet_run_are_missing(build: Callable[..., Path], tmp_path: Path) -> None:
    results = load_results(build(tmp_path / "part", seeds=(2, 2)))
    few = replace(results, trials=results.trials.iloc[:3])
    assert summary.cells(few)["n_missing"].tolist() == [1]


def test_coverage_has_the_control_once_for_each_mixture(results: Results) -> None:
    frame = summary.coverage_by_cell(results)
    control = frame[frame["source"] == "data"]
    assert (control["n_trials"] == 10).all()
    assert (control["n_data"] == 10).all()
    generated = frame[(frame["source"] == "means") & (frame["latent_dim"] == 1)]
    assert (generated["n_trials"] == 29).all()


def test_coverage_estimates_match_the_rows(results: Results) -> None:
    frame = summary.coverage_by_cell(results).set_index(["latent_dim", "source", "protocol"])
    done = summary.done_trials(results.trials).query("latent_dim == 4")
    row = frame.loc[(4, "samples", "calibrated")]
    assert row["estimate"] == pytest.approx(done["coverage_samples_calibrated"].mean())
    assert row["low"] < row["estimate"] < row["high"]
    assert row["ceiling"] == 4.0
    assert frame.loc[(4, "means", "original")]["ceiling"] == 1.4


def test_shares_at_the_ceiling_count_failures(results: Results) -> None:
    row = summary.coverage_by_cell(results).query(
        "latent_dim == 2 and source == 'means' and protocol == 'original'"
    ).iloc[0]  # fmt: skip
    assert row["share_at_ceiling"] == 1.0
    assert (row["share_low"], row["share_high"]) == pytest.approx((29 / 30, 1.0))
    assert row["k_median"] == np.inf


def test_medians_by_order_are_kaplan_meiers() -> None:
    rng = np.random.default_rng(0)
    for n in range(1, 12):
        k = pd.Series(np.minimum(rng.integers(8, 17, n), 14))
        flags = k == 14
        assert summary._median(k, flags) == censored_median(k, flags)


def test_endpoints(results: Results) -> None:
    frame = summary.endpoints_by_cell(results)
    assert set(frame["endpoint"]) == set(summary.PRIMARY_ENDPOINTS)
    assert set(frame["interval"]) <= {"bca", "constant"}
    assert (frame["n_data"] == 10).all()


def test_contrasts_are_paired_and_adjusted(results: Results) -> None:
    frame = summary.contrasts_by_cell(results)
    row = frame.query("latent_dim == 4 and source == 'samples' and protocol == 'calibrated'")
    done = summary.done_trials(results.trials).query("latent_dim == 4")
    difference = (done["k_samples_calibrated"] - done["k_data_calibrated"]).mean()
    assert row["estimate"].iloc[0] == pytest.approx(difference)
    assert row["p_value"].iloc[0] == pytest.approx(2 / 2**10)
    assert (frame["p_adjusted"] >= frame["p_value"] - 1e-12).all()


def test_losses_by_epoch_match_the_rows(results: Results) -> None:
    frame = summary.losses_by_epoch(results)
    row = frame.query("cell == 'latent_dim=4' and quantity == 'recon' and epoch == 100").iloc[0]
    done = summary.done_trials(results.trials).query("latent_dim == 4")
    curves = results.curves[results.curves["epoch"] == 100].merge(
        done[["trial_id", "data_seed"]], on="trial_id"
    )
    means = curves.groupby("data_seed")["recon"].mean()
    low, high = means.mean() + np.array([-1, 1]) * 2.262157 * means.std() / np.sqrt(10)
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((means.mean(), low, high))
    assert row["interval"] == "t"


def test_losses_of_some_cells_are_those_of_all(results: Results) -> None:
    some = ["latent_dim=2", "latent_dim=8"]
    whole = summary.losses_by_epoch(results)
    whole = whole[whole["cell"].isin(some)].reset_index(drop=True)
    pd.testing.assert_frame_equal(summary.losses_by_epoch(results, some), whole)


def test_one_data_seed_shows_the_range_over_init_seeds(replay: Results) -> None:
    frame = summary.losses_by_epoch(replay)
    assert set(frame["interval"]) == {"range"}
    assert frame["level"].isna().all()
    coverage = summary.coverage_by_cell(replay)
    assert set(coverage.loc[coverage["source"] != "data", "interval"]) == {"range"}
    assert set(coverage.loc[coverage["source"] == "data", "interval"]) == {"none"}


def test_the_original_is_recognised(results: Results, replay: Results) -> None:
    assert summary.is_the_original(replay)
    assert not summary.is_the_original(results)
    matching = results.trials.loc[summary.is_original_setting(results.trials), "latent_dim"]
    assert set(matching) == {2}
    assert summary.reference_cell(results) == "latent_dim=2"


@pytest.mark.parametrize(("lengths", "chosen"), [((5, 100, 110), 100), ((5, 10), 5)])
def test_the_reference_is_trained_as_long_as_the_original_where_it_can_be(
    build: Callable[..., Path], tmp_path: Path, lengths: tuple[int, ...], chosen: int
) -> None:
    cells = [{"epochs": epochs} for epochs in lengths]
    folder = build(tmp_path / "x", factors=("epochs",), cells=cells, seeds=(2, 1), n_points=0)
    assert summary.reference_cell(load_results(folder)) == f"epochs={chosen}"


def test_another_given_mixture_is_not_the_original(replay: Results) -> None:
    trials = replay.trials.assign(training_points="fresh")
    assert not summary.is_original_setting(trials).any()


def test_report_against_replication(replay: Results) -> None:
    frame = summary.report_against_replication(replay).set_index(["quantity", "epoch"])
    row = frame.loc[("k_means_original", 100)]
    assert (row["reported"], row["low"], row["high"], row["inside"]) == (14, 14, 14, True)
    assert frame.loc[("recon", 100)]["reported"] == 1.8898
    assert frame.loc[("k_samples_calibrated", 100)]["inside"] is None


def test_bic_curves_start_at_their_minimum(results: Results) -> None:
    trials = summary.done_trials(results.trials).query("latent_dim == 2")
    frame = summary.bic_curves(results, trials)
    lowest = frame.groupby(["owner_id", "source", "protocol"])["delta_bic"].min()
    assert (lowest == 0).all()
    assert frame.loc[frame["source"] == "data", "owner_id"].nunique() == 10
    assert (frame.loc[frame["selected"], "delta_bic"] == 0).all()


def test_bic_curves_take_the_last_checkpoint(results: Results) -> None:
    trial = summary.done_trials(results.trials).iloc[:1]
    early = results.counts[results.counts["owner_id"] == trial["trial_id"].iloc[0]].assign(
        epoch=10
    )
    both = replace(results, counts=pd.concat([early, results.counts]))
    assert len(summary.bic_curves(both, trial)) == len(summary.bic_curves(results, trial))


def test_factors_are_ordered_for_drawing() -> None:
    cells = pd.DataFrame(
        {
            "box_rule": ["fixed"] * 3 + ["density"] * 3,
            "n_components": [2, 5, 10] * 2,
            "epochs": [1, 2, 3] * 2,
            "dim": [3] * 6,
        }
    )
    factors = summary.independent_factors(cells, ["box_rule", "n_components", "epochs", "dim"])
    assert factors == ["n_components", "box_rule"]


def test_all_failed(build: Callable[..., Path], tmp_path: Path) -> None:
    folder = build(tmp_path / "bad", seeds=(2, 1), failed=lambda index: "diverged")
    results = load_results(folder)
    assert summary.coverage_by_cell(results).empty
    assert summary.endpoints_by_cell(results).empty
    assert summary.contrasts_by_cell(results).empty
    assert summary.losses_by_epoch(results).empty
    assert summary.cells(results)["n_failed"].tolist() == [2] * 5
