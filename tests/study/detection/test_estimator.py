"""The estimator: scikit-learn's contract, units, inputs, and what it needs to be imported."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal
from sklearn.utils.estimator_checks import parametrize_with_checks

import study.detection.criteria
import study.detection.estimator
from study.detection.estimator import ModeSearch

PAGE = Path(__file__).parents[3] / "docs" / "detector.md"


def blobs(seed: int = 0, *, n_samples: int = 600, dim: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 7.0 * np.arange(3)[:, None] * np.ones(dim)
    return centres[rng.integers(0, 3, n_samples)] + rng.standard_normal((n_samples, dim))


@parametrize_with_checks([ModeSearch(), ModeSearch(k_max=3, restarts=2, random_state=None)])
def test_keeps_the_contract_of_scikit_learn(estimator, check) -> None:
    check(estimator)


def test_attributes_describe_the_search() -> None:
    search = ModeSearch(k_max=8).fit(blobs())
    assert search.n_components_ == 3
    assert search.n_components_ in search.k_set_
    assert search.ks_[search.bic_curve_.argmin()] == 3
    assert not search.at_ceiling_
    assert search.weights_.sum() == pytest.approx(1.0)
    assert search.means_.shape == (3, 2)
    assert search.covariances_.shape == (3, 2, 2)


def test_reaching_the_ceiling_is_said() -> None:
    assert ModeSearch(k_max=2).fit(blobs()).at_ceiling_


def test_scores_are_those_of_the_mixture() -> None:
    points = blobs()
    search = ModeSearch(k_max=8).fit(points)
    parts = zip(search.weights_, search.means_, search.covariances_, strict=True)
    density = sum(w * multivariate_normal(m, c).pdf(points) for w, m, c in parts)
    np.testing.assert_allclose(search.score_samples(points), np.log(density))
    assert search.score(points) == pytest.approx(np.log(density).mean())
    assert search.bic(points) == pytest.approx(search.bic_curve_.min(), abs=1e-3)
    np.testing.assert_allclose(search.predict_proba(points).sum(axis=1), 1.0)
    assert (search.predict_proba(points).argmax(axis=1) == search.labels_).all()


def test_samples_follow_the_mixture() -> None:
    search = ModeSearch(k_max=8).fit(blobs())
    points, labels = search.sample(20_000)
    assert (np.diff(labels) >= 0).all()
    np.testing.assert_allclose(np.bincount(labels) / 20_000, search.weights_, atol=0.02)
    for j in range(3):
        np.testing.assert_allclose(points[labels == j].mean(axis=0), search.means_[j], atol=0.1)
        np.testing.assert_allclose(np.cov(points[labels == j].T), search.covariances_[j], atol=0.1)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_units_do_not_matter(scale: float) -> None:
    points = blobs()
    search, other = ModeSearch(k_max=8).fit(points), ModeSearch(k_max=8).fit(scale * points + 3)
    assert other.n_components_ == search.n_components_
    assert other.k_set_ == search.k_set_
    assert (other.labels_ == search.labels_).all()
    np.testing.assert_allclose(other.means_, scale * search.means_ + 3, rtol=1e-6)
    assert (np.diff(search.weights_) <= 0).all()


def test_reads_data_frames() -> None:
    frame = pd.DataFrame(blobs(), columns=["length", "width"])
    search = ModeSearch(k_max=8).fit(frame)
    assert search.feature_names_in_.tolist() == ["length", "width"]
    assert (search.predict(frame) == search.labels_).all()
    with pytest.raises(ValueError, match="feature names"):
        search.predict(frame[["width", "length"]])


@pytest.mark.parametrize(
    ("points", "settings", "error", "message"),
    [
        (blobs()[:, 0], {}, ValueError, r"Reshape your data .*reshape\(-1, 1\)"),
        (pd.Series(blobs()[:, 0]), {}, ValueError, "Expected a 2-dimensional container"),
        (blobs(), {"k_max": 0}, ValueError, "k_min: need 1 <= k_min <= k_max"),
        (blobs(), {"k_max": 2.5}, TypeError, r"k_max: must be an integer, got 2\.5"),
        (blobs(), {"protocol": "mclust"}, ValueError, "protocol: must be one of"),
        (blobs(), {"level": 1.0}, ValueError, "level: must be from 0.5 to below 1"),
        (blobs(), {"restarts": 0}, ValueError, "restarts: must be at least 1"),
    ],
)
def test_mistakes_are_named(points, settings, error, message) -> None:
    with pytest.raises(error, match=message):
        ModeSearch(**settings).fit(points)


def test_sample_refuses_no_points() -> None:
    with pytest.raises(ValueError, match="n_samples: must be at least 1, got 0"):
        ModeSearch(k_max=4).fit(blobs()).sample(0)


def test_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys, numpy; from study import ModeSearch; "
        "ModeSearch(k_max=3).fit(numpy.random.default_rng(0).normal(size=(60, 1))); "
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_examples_run() -> None:
    modules = (study.detection.criteria, study.detection.estimator)
    runs = [doctest.testmod(module) for module in modules]
    runs.append(doctest.testfile(str(PAGE), module_relative=False))
    assert [run.failed for run in runs] == [0, 0, 0]
    assert all(run.attempted for run in runs)
