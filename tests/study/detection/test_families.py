"""Covariance families: each finds what it can say, and BIC chooses among them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from study.config import DetectionConfig
from study.detection.families import FamilySearch, n_family_parameters
from study.detection.modes import ModeCount, detect_modes
from study.detection.protocols import count_modes
from study.trial.rows import count_rows

FAMILIES = ("full", "diagonal", "spherical", "tied")


def count(points: np.ndarray, *families: str, **settings: int) -> ModeCount:
    return detect_modes(points, protocol="calibrated", families=families, **settings)  # type: ignore[arg-type]


def clusters(family: str, dim: int = 3, n_each: int = 300) -> np.ndarray:
    """Four clusters of a family, far apart."""
    rng = np.random.default_rng(0)
    centres = 12.0 * rng.normal(size=(4, dim))
    shared = rng.normal(size=(dim, dim)) + np.eye(dim)
    parts = []
    for centre in centres:
        noise = rng.normal(size=(n_each, dim))
        if family == "spherical":
            noise = noise * rng.uniform(0.5, 2.0)
        elif family == "diagonal":
            noise = noise * rng.uniform(0.3, 2.5, dim)
        elif family == "tied":
            noise = noise @ shared.T
        else:
            noise = noise @ rng.normal(size=(dim, dim))
        parts.append(centre + noise)
    return np.concatenate(parts)


@pytest.mark.parametrize("family", FAMILIES)
def test_bic_chooses_the_family_that_the_points_have(family: str) -> None:
    found = count(clusters(family), *FAMILIES, k_max=8)
    assert (found.family, found.k) == (family, 4)
    assert set(found.family_bic) == set(FAMILIES)
    assert found.bic.min() == min(found.family_bic.values())


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_the_curve_is_that_of_the_returned_mixture(family: str) -> None:
    points = 7.0 + 1e-4 * clusters(family)
    found = count(points, family, k_max=6)
    fitted = found.fitted
    density = sum(
        weight * multivariate_normal(mean, covariance).pdf(points)
        for weight, mean, covariance in zip(
            fitted.weights, fitted.means, fitted.covariances, strict=True
        )
    )
    log_likelihood = float(np.log(density).sum())
    price = n_family_parameters(family, found.k, 3) * np.log(len(points))
    assert found.bic.min() == pytest.approx(price - 2.0 * log_likelihood, rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES[1:])
@pytest.mark.parametrize("seed", range(3))
def test_the_objective_never_falls(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_t(2, size=(300, 4))
    search = FamilySearch(family, points, rng, k_min=1, k_max=9)
    parameters = search._from_labels(rng.integers(5, size=300))
    levels = []
    for _ in range(30):
        joint = search._log_joint(*parameters)
        density = np.logaddexp.reduce(joint, axis=1)
        penalty = 0.5 * search.pseudo_count * search._penalty(parameters[2])
        levels.append(density.sum() - penalty)
        parameters = search._maximize(np.exp(joint - density[:, None]))
    assert np.diff(levels).min() > -1e-9 * abs(levels[-1])


def test_scales_of_the_axes_change_no_diagonal_count() -> None:
    points = clusters("diagonal")
    scale = np.array([1e-8, 1.0, 1e5])
    here, there = count(points, "diagonal", k_max=6), count(points * scale, "diagonal", k_max=6)
    change = 2.0 * len(points) * np.log(scale).sum()
    assert there.bic.min() - change == pytest.approx(here.bic.min(), abs=1e-4)


def test_more_dimensions_than_a_full_covariance_has_points_for() -> None:
    points = clusters("spherical", dim=256, n_each=40)
    found = count(points, "diagonal", "spherical", k_max=8)
    assert (found.family, found.k) == ("spherical", 4)
    with pytest.raises(ValueError, match="160 distinct points in 256 dimensions are too few"):
        count(points, "full", "spherical")


def test_the_settings_name_the_families_and_rows_the_chosen_one() -> None:
    points = clusters("spherical", n_each=60)
    settings = DetectionConfig(families=("full", "spherical"), protocols=("calibrated",), k_max=6)
    found = count_modes(points, settings)["calibrated"]
    assert set(found.family_bic) == {"full", "spherical"}
    rows = count_rows("t", "samples", "calibrated", epoch=1, count=found)
    assert {row["family"] for row in rows} == {"spherical"}


def test_mistakes_are_named() -> None:
    points = clusters("full", n_each=20)
    with pytest.raises(ValueError, match="families: must be some of"):
        count(points, "round")
    with pytest.raises(ValueError, match="families: must be some of"):
        count(points)
    flat = np.column_stack([points, points.sum(1)])
    with pytest.raises(ValueError, match="vary in 3 of 4 directions only"):
        count(flat, "full", "diagonal")
    constant = np.column_stack([points, np.ones(len(points))])
    with pytest.raises(ValueError, match="vary in 3 of 4 directions only"):
        count(constant, "spherical")
