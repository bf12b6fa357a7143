"""Several sweeps on one page: shared networks, and one family over them all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.frames import across, contrasts
from analysis.load import Results, load_results
from analysis.page import across as page


@pytest.fixture(scope="module")
def sweeps(
    build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Results]:
    """Two sweeps that share the networks of their reference cell, and a part of one of them."""
    folder = tmp_path_factory.mktemp("across")
    widths = build(
        folder / "widths", cells=[{"latent_dim": q} for q in (2, 3)], seeds=(8, 2), n_points=0
    )
    weights = build(
        folder / "weights", factors=("kl_weight",), cells=[{"kl_weight": b} for b in (1.0, 3.0)],
        seeds=(8, 2), n_points=0,
    )  # fmt: skip
    one, two = load_results(widths), load_results(weights)
    return {
        "widths": _named(one, {"latent_dim=2": "base", "latent_dim=3": "wide"}),
        "weights": _named(two, {"kl_weight=1.0": "base", "kl_weight=3.0": "heavy"}),
        "few": _few(_named(one, {"latent_dim=2": "base", "latent_dim=3": "wide"})),
    }


def _named(results: Results, names: dict[str, str]) -> Results:
    trials = results.trials
    ids = trials["cell"].map(names) + "-" + trials["data_seed"].astype(str)
    noise = np.random.default_rng(1).normal(0, 0.05, len(trials))
    return replace(
        results,
        trials=trials.assign(
            training_id=ids + "-" + trials["init_seed"].astype(str),
            fkl_nats=trials["fkl_nats"] + noise,
        ),
    )


def _few(results: Results) -> Results:
    return replace(results, trials=results.trials[results.trials["data_seed"] < 6])


def test_shared_networks_are_counted_once(sweeps: dict[str, Results]) -> None:
    frame = across.shared_networks(sweeps).set_index("sweeps")["n_networks"]
    assert frame[("widths", "weights", "few")] == 12
    assert frame[("widths", "weights")] == 4
    assert frame[("widths", "few")] == 12
    assert frame.sum() == 48
    text = " ".join(page.sentences(sweeps))
    assert "48 different networks, which stand in 88 places" in text
    assert "12 networks in widths, weights and few" in text


def test_nothing_is_confirmed_by_its_own_copy(sweeps: dict[str, Results]) -> None:
    frame = across.joint_family(sweeps)
    # Each sweep: 3 endpoints of one cell, and k* against the control.
    assert len(frame) == 12
    control = frame[frame["reference"] == "control"].set_index("sweep")["copy_of"]
    assert control.to_dict() == {"widths": "", "weights": "widths", "few": "widths"}
    # All of the small sweep is a part of the large one.
    assert (frame.loc[frame["sweep"] == "few", "copy_of"] == "widths").all()
    copies = frame["copy_of"] != ""
    assert frame.loc[copies, "p_adjusted"].isna().all()
    assert frame.loc[~copies, "p_adjusted"].notna().all()
    table = page.table(sweeps)
    assert table is not None
    assert "its control" in set(table.shown["against"])


def test_one_sweep_alone_is_its_own_family(sweeps: dict[str, Results]) -> None:
    frame = across.joint_family({"widths": sweeps["widths"]})
    assert frame["p_adjusted"].tolist() == frame["p_own"].tolist()
    own = contrasts.primary_family(sweeps["widths"])
    pd.testing.assert_series_equal(frame["p_adjusted"], own["p_adjusted"])
    assert page.sentences({"widths": sweeps["widths"]})[0].startswith("No network is in two")


def test_joint_p_values_are_not_smaller(sweeps: dict[str, Results]) -> None:
    frame = across.joint_family(sweeps)
    kept = frame[frame["copy_of"] == ""]
    assert (kept["p_adjusted"] >= kept["p_own"] - 1e-12).all()
