"""Null models: their densities are those of their draws, and their scores bracket a model's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity

from study.config import DetectionConfig, MixtureConfig
from study.data.data_set import DataSet, draw_data_set
from study.endpoints.baselines import fit_nulls, score_nulls
from study.results.tables import SCHEMAS, to_table
from study.training.kinds.ppca import ppca_covariance

MIXTURE = MixtureConfig(n_components=4, n_samples=2000)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return draw_data_set(MIXTURE, 0, 2000)


@pytest.fixture(scope="module")
def rows(data: DataSet) -> dict[str, dict]:
    detection = DetectionConfig(n_samples=2000, k_max=8)
    return {row["null"]: row for row in score_nulls(data, 0, detection)}


def test_every_column_is_filled(rows: dict[str, dict]) -> None:
    assert list(rows) == ["truth", "gaussian", "ppca", "kde"]
    named = [row | {"control_id": "c"} for row in rows.values()]
    assert {key for row in named for key in row} == set(SCHEMAS["nulls"].names)
    assert to_table("nulls", named).num_rows == 4


def test_the_truth_scores_as_itself(rows: dict[str, dict]) -> None:
    truth = rows["truth"]
    assert truth["fkl_nats"] == truth["fkl_se"] == 0.0
    assert truth["mode_recall"] == 1.0
    assert abs(truth["spurious_mass"]) < 0.015  # 4 standard errors of a share of .99
    assert truth["k_calibrated"] == 4
    assert abs(truth["c2st"] - 0.5) < 0.045  # 4 standard errors of 2,000 test points


def test_one_gaussian_is_far_from_the_truth(rows: dict[str, dict]) -> None:
    for name in ("gaussian", "ppca"):
        assert rows[name]["k_calibrated"] == 1
        assert rows[name]["fkl_nats"] > 0.5
        assert rows[name]["spurious_mass"] > 0.3
    assert rows["ppca"]["fkl_nats"] >= rows["gaussian"]["fkl_nats"] - 0.02


def test_the_kernel_density_remembers(rows: dict[str, dict]) -> None:
    assert rows["kde"]["mode_recall"] == 1.0
    assert 0.0 < rows["kde"]["fkl_nats"] < rows["gaussian"]["fkl_nats"] / 3
    assert 0.0 < rows["kde"]["fkl_se"] < rows["kde"]["fkl_nats"]


def test_principal_components_are_those_of_scikit_learn(data: DataSet) -> None:
    points = data.training
    ours = ppca_covariance(np.cov(points.T), 2)
    np.testing.assert_allclose(ours, PCA(2).fit(points).get_covariance(), rtol=1e-9, atol=1e-9)
    one = np.array([[2.0]])
    np.testing.assert_allclose(ppca_covariance(one, 2), one)


def test_kernel_density_equals_scikit_learn(data: DataSet) -> None:
    kde = next(model for model in fit_nulls(data) if model.name == "kde")
    within = data.truth.weights @ data.truth.variances
    bandwidth = 2000 ** (-1 / 7) * np.sqrt(within)
    theirs = (
        KernelDensity()
        .fit(data.training / bandwidth)
        .score_samples(data.heldout[:300] / bandwidth)
    )
    np.testing.assert_allclose(
        kde.log_prob(data.heldout[:300]), theirs - np.log(bandwidth).sum(), rtol=1e-9
    )
