"""The flow by zuko: its density is exact, and it is that of its samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats.qmc import MultivariateNormalQMC

from study import sweep
from study.config import MixtureConfig, TrainingConfig
from study.config.cells import make_cell
from study.data.data_set import DataSet, draw_data_set
from study.planning.units import n_weights
from study.training.generators import Seeds, fit_generator
from study.training.kinds.flow import FLOW, FlowOptions

pytest.importorskip("zuko")
MIXTURE = MixtureConfig(
    n_components=2,
    dim=2,
    n_samples=1000,
    means=((-2.0, 0.0), (2.0, 1.0)),
    variances=((0.5, 1.0), (1.0, 0.5)),
    weights=(0.4, 0.6),
)


def fit(data: DataSet, epochs: int, **given: Any) -> dict[str, np.ndarray]:
    training = TrainingConfig(epochs=epochs, batch_size=128, learning_rate=5e-3)
    found: Any = fit_generator(FLOW, data, Seeds(data=0, init=0), FlowOptions(**given), training)
    while isinstance(found, Iterator):
        try:
            next(found)
        except StopIteration as stop:
            found = stop.value
    return found


def even_draws(data: DataSet) -> Iterator[np.ndarray]:
    for mean, variance in zip(data.truth.means, data.truth.variances, strict=True):
        yield MultivariateNormalQMC(mean, np.diag(variance), rng=0).random(2**13)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["nsf", "maf"])
def test_the_forward_kl_of_its_density_is_that_of_a_grid(architecture: str) -> None:
    data = draw_data_set(MIXTURE, 0, 2000)
    state = fit(data, 8, architecture=architecture, hidden=(16,), transforms=2)
    width = 0.1
    axis = np.arange(-8, 8, width) + width / 2
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log_p, log_q = data.truth.log_prob(grid), FLOW.log_prob(state, grid)
    cell = width**2
    assert np.exp(log_q).sum() * cell == pytest.approx(1, abs=1e-3)
    exact = (np.exp(log_p) * (log_p - log_q)).sum() * cell
    # As a trial is scored, but from points that fill each component evenly.
    means = [
        (data.truth.log_prob(points) - FLOW.log_prob(state, points)).mean()
        for points in even_draws(data)
    ]
    assert exact > 0.005
    assert data.truth.weights @ means == pytest.approx(exact, abs=1e-3)
    # The samples are of that density: shares of the left half plane, 4.5 standard errors.
    samples = FLOW.sample(state, 4000, np.random.default_rng(2))
    share = np.exp(log_q)[grid[:, 0] < 0].sum() * cell
    assert abs((samples[:, 0] < 0).mean() - share) < 4.5 * 0.5 / np.sqrt(4000)


def test_numbers_follow_from_the_seeds_alone() -> None:
    import torch

    data = draw_data_set(MIXTURE, 0, 100)
    first = fit(data, 1, hidden=(8,))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = fit(data, 1, hidden=(8,))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(np.array_equal(first[name], again[name]) for name in first)
    cell = make_cell({"model.kind": "flow", "flow.hidden": (8,)})
    n_stored = sum(values.size for values in first.values())
    assert abs(n_weights(cell.model, 2) - n_stored) < 10


def test_bins_are_refused_for_affine_maps() -> None:
    with pytest.raises(ValueError, match=r"bins: has no effect on flow\.architecture: maf"):
        FlowOptions(architecture="maf", bins=4)


def test_a_missing_package_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "flows.yaml"
    file.write_text("name: flows\nfixed: {model.kind: flow}\n")
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    assert sweep.main([str(file), "--results", str(tmp_path)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "model.kind: flow needs zuko, which is not installed" in said
    assert "'.[flows]'" in said
