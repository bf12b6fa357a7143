"""Placed families: their geometry, closed forms of their moments, and their settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from study.config.catalogue import all_fields
from study.config.cells import make_cell
from study.data.mixture import TrueMixture, draw_mixture
from study.data.presets import PRESETS
from study.planning.units import Trial
from study.plugins import MIXTURES

KINDS = [name for name in MIXTURES if name != "box"]


def draw(kind: str, seed: int = 0, **fields: Any) -> TrueMixture:
    named = {f"{kind}.{k}" if k not in ("n_components", "dim", "alpha") else f"mixture.{k}": v
             for k, v in fields.items()}  # fmt: skip
    return draw_mixture(make_cell({"mixture.kind": kind, "mixture.dim": 2, **named}).mixture, seed)


@pytest.mark.parametrize(
    ("name", "lambda_1", "entropy"),
    [
        ("ring8", 0.5001, -4.2930),
        ("ring8_rescaled", 1.0005, -3.5998),
        ("grid25", 8.0025, 0.0653),
        ("grid25_rescaled", 1.0006, -2.0141),
        ("circle8", 2.0651, 2.180),
    ],
)
def test_presets_have_the_published_moments(name: str, lambda_1: float, entropy: float) -> None:
    truth = draw_mixture(PRESETS[name].mixture, 0)
    assert np.linalg.eigvalsh(truth.covariance())[-1] == pytest.approx(lambda_1, abs=6e-5)
    points = truth.sample(40_000, np.random.default_rng(0))[0]
    # A Gaussian's log density has standard deviation 1 in the plane: 4 standard errors.
    assert -truth.log_prob(points).mean() == pytest.approx(entropy, abs=0.02)
    assert PRESETS[name].source


@pytest.mark.parametrize("kind", KINDS)
def test_a_plane_in_more_dimensions_is_the_same_plane(kind: str) -> None:
    flat, deep = draw(kind), draw(kind, dim=5)
    assert (flat.dim, deep.dim) == (2, 5)
    gaps = [((t.means[:, None] - t.means[None]) ** 2).sum(axis=2) for t in (flat, deep)]
    np.testing.assert_allclose(gaps[0], gaps[1], atol=1e-9)
    np.testing.assert_array_equal(deep.variances[:, :2], flat.variances)
    assert not np.allclose(deep.means, draw(kind, seed=1, dim=5).means)


@pytest.mark.parametrize("kind", KINDS)
def test_separation_is_in_standard_deviations(kind: str) -> None:
    truth = draw(kind, separation=7.0)
    groups = np.arange(truth.n_components) if truth.groups is None else truth.groups
    gaps = np.linalg.norm(truth.means[:, None] - truth.means[None], axis=2)
    apart = gaps[groups[:, None] != groups[None]].min()
    assert apart / math.sqrt(truth.variances[0, 0]) == pytest.approx(7.0)


def test_weights() -> None:
    np.testing.assert_allclose(draw("ring", n_components=4).mode_weights, 0.25)
    steep = draw("rings", n_components=3, weights="ratio", ratio=100.0).mode_weights
    np.testing.assert_allclose(steep[1:] / steep[:-1], 10.0)
    drawn = [draw("ring", seed, weights="dirichlet", alpha=0.5).weights for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])


def test_pieces_are_an_exact_density_of_their_mode() -> None:
    truth = draw("checkerboard", side=4, pieces=64)
    assert (truth.n_modes, truth.n_components) == (8, 512)
    points = truth.sample(4000, np.random.default_rng(0))[0]
    shares = truth.by_mode(truth.posterior(points))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares.mean(axis=0), 1 / 8, atol=4 * math.sqrt(7 / 64 / 4000))


def test_what_is_at_its_default_is_in_no_id() -> None:
    def data_id(**fields: Any) -> str:
        cell = make_cell({"mixture.kind": "ring", **fields})
        return Trial(mixture=cell.mixture, model=cell.model, training=cell.training,
                     detection=cell.detection).data_id  # fmt: skip

    assert data_id() == data_id(**{"ring.radius": 1.0, "ring.weights": "equal"})
    assert data_id() != data_id(**{"ring.radius": 2.0})


def test_defaults_are_what_ids_leave_out() -> None:
    """A change here changes what old ids mean: raise DATA_VERSION (`planning.trials`)."""
    common = {"sd": 0.1, "separation": 0.0, "weights": "equal", "ratio": 10.0}
    pieced = common | {"sd": 0.05, "pieces": 64}
    expected = {
        "ring": common | {"radius": 1.0},
        "circle": common | {"radius": 2.0, "separation": 6.0},
        "lattice": common | {"side": 5, "spacing": 2.0},
        "line": common | {"spacing": 1.0},
        "spirals": pieced | {"radius": 2.0, "turns": 1.0},
        "moons": pieced,
        "rings": pieced | {"radius": 2.0},
        "checkerboard": pieced | {"side": 4, "spacing": 1.0},
    }
    found: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for field in all_fields().values():
        if field.section in found:
            found[field.section][field.leaf] = field.default
    assert found == expected
