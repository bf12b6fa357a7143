"""A trial's endpoints: names, consistency with their parts, and what is left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from study.config import MixtureConfig
from study.data.mixture import TrueMixture, draw_mixture
from study.detection.modes import FittedMixture
from study.endpoints.bounds import linear_optimum
from study.endpoints.matching import RECALL_THRESHOLDS
from study.endpoints.scores import PointScores, score_bounds, score_likelihood, score_points
from study.results import SCHEMAS
from study.results.endpoints import RECORDS


@pytest.fixture(scope="module")
def truth() -> TrueMixture:
    return draw_mixture(MixtureConfig(), 0)


def draw(truth: TrueMixture, seed: int, n_samples: int = 3000) -> np.ndarray:
    return truth.sample(n_samples, np.random.default_rng(seed))[0]


@pytest.fixture(scope="module")
def scores(truth: TrueMixture) -> PointScores:
    """The truth against itself, its own components as the fit."""
    return score_points(
        draw(truth, 1),
        truth=truth,
        control=draw(truth, 2),
        rng=np.random.default_rng(0),
        means=draw(truth, 3),
        fitted=FittedMixture(
            truth.weights, truth.means, truth.variances[:, :, None] * np.eye(truth.dim)
        ),
    )


def test_columns_are_the_tables(scores: PointScores, truth: TrueMixture) -> None:
    columns = set(scores.columns)
    columns |= set(score_likelihood(truth, draw(truth, 4), model_log_prob=np.zeros(3000)))
    columns |= set(score_bounds(1.0, entropy_nats=6.0, kl_weight=1.0, dim=3))
    elsewhere = {"recon", "kl_nats", "loss", "train_recon", "train_kl_nats"}
    elsewhere |= {"fkl_mc_se", "fkl_unmet_share", "fkl_ess_min"}
    elsewhere |= {"modal_modes_samples", "icl_k_samples"}
    assert columns == set(RECORDS) - elsewhere
    components = {"trial_id", *scores.components[0]}
    assert components == set(SCHEMAS["components"].names)
    assert {"trial_id", *scores.recall[0]} == set(SCHEMAS["recall"].names)
    assert {"trial_id", *scores.outside[0]} == set(SCHEMAS["outside"].names)


def test_null_row(scores: PointScores) -> None:
    columns = scores.columns
    assert columns["mode_recall"] == columns["mode_recall_means"] == 1
    assert columns["weighted_recall"] == 1
    # Two shares of 3,000 points: sd .0024; 5 sd, false alarm 6e-7.
    assert columns["spurious_mass"] == pytest.approx(0, abs=0.012)
    assert columns["spurious_mass"] == columns["hq_control"] - columns["hq_samples"]
    assert columns["fragmentation"] == 1
    assert columns["bridges"] == 0
    # 4.5 sd at 3,000 points: false alarm 1e-5 each.
    assert columns["prdc_density"] == pytest.approx(1, abs=0.06)
    assert columns["prdc_coverage"] == pytest.approx(0.969, abs=0.02)
    assert columns["c2st"] == pytest.approx(0.5, abs=0.04)


def test_component_rows_add_up(scores: PointScores) -> None:
    assert [row["component"] for row in scores.components] == list(range(10))
    assert sum(row["weight"] for row in scores.components) == pytest.approx(1)
    assert sum(row["mass"] for row in scores.components) == pytest.approx(1)
    recalled = [row["recalled"] for row in scores.components if row["eligible"]]
    assert np.mean(recalled) == scores.columns["mode_recall"]


def test_recall_rows_hold_the_control(scores: PointScores) -> None:
    sources = [row["source"] for row in scores.recall]
    assert sources == np.repeat(["data", "samples", "means"], len(RECALL_THRESHOLDS)).tolist()
    at_primary = [row["recall"] for row in scores.recall if row["threshold"] == 0.2]
    assert at_primary == [1, 1, 1]


def test_what_is_not_given_is_absent(truth: TrueMixture) -> None:
    scores = score_points(
        draw(truth, 1, 200),
        truth=truth,
        control=draw(truth, 2, 200),
        rng=np.random.default_rng(0),
    )
    assert "fragmentation" not in scores.columns
    assert not [name for name in scores.columns if name.endswith("_means")]
    assert all(row["fragments"] is None for row in scores.components)


def test_too_few_points_leave_recall_undefined(truth: TrueMixture) -> None:
    scores = score_points(
        draw(truth, 1, 30), truth=truth, control=draw(truth, 2, 30), rng=np.random.default_rng(0)
    )
    assert math.isnan(scores.columns["mode_recall"])
    assert all(math.isnan(row["recall"]) for row in scores.recall)


def test_diverged_samples_are_refused(truth: TrueMixture) -> None:
    samples = draw(truth, 1, 100)
    samples[3] = np.nan
    with pytest.raises(ValueError, match=r"1 of 100 points .* index 3"):
        score_points(
            samples, truth=truth, control=draw(truth, 2, 100), rng=np.random.default_rng(0)
        )


def test_likelihood_of_the_truth_has_no_forward_kl(truth: TrueMixture) -> None:
    heldout = draw(truth, 5)
    scores = score_likelihood(truth, heldout, model_log_prob=truth.log_prob(heldout))
    assert scores["fkl_nats"] == 0
    assert scores["entropy_nats"] == -truth.log_prob(heldout).mean()
    spectrum = np.linalg.eigvalsh(np.cov(draw(truth, 6, 200_000).T))
    # The largest eigenvalue's relative error is below .01: 5 sd.
    assert scores["lambda_1"] == pytest.approx(spectrum[-1], rel=0.03)


def test_bounds_hold_for_the_linear_optimum_on_scaled_axes() -> None:
    """Gaussian data, all directions coded: the bounds are reached in the units of training."""
    variances, scale = np.array([9.0, 4.0, 1.0]), np.array([3.0, 1.0, 0.5])
    entropy = 0.5 * float(np.log(2 * math.pi * math.e * variances).sum())
    best = linear_optimum(variances / scale**2, latent_dim=3, kl_weight=0.5)
    bounds = score_bounds(best.recon, entropy_nats=entropy, kl_weight=0.5, dim=3, scale=scale)
    assert best.loss == pytest.approx(bounds["loss_floor"])
    assert best.kl_nats == pytest.approx(bounds["rate_bound_nats"])


def test_floor_follows_the_loss() -> None:
    learned = score_bounds(1.0, entropy_nats=6.0, kl_weight=1.0, dim=3, decoder_variance="learned")
    assert learned["loss_floor"] == 6
    assert score_bounds(1.0, entropy_nats=6.0, kl_weight=1.0, dim=3)["loss_floor"] < 6
