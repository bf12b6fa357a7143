"""Which modes die: what is counted, what is fitted, and what is not claimed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.frames import lost_modes
from analysis.load import Results, load_results
from analysis.page import evidence
from analysis.tables.table import NotTabulated
from analysis.tables.tables import TABLES


@pytest.fixture(scope="module")
def losing(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Two cells of 8 data sets; in the second, components below a weight of 0.06 are lost."""
    cells = [{"latent_dim": q} for q in (2, 3)]
    folder = build(tmp_path_factory.mktemp("lost") / "lost", cells=cells, seeds=(8, 2), n_points=0)
    results = load_results(folder)
    cell = results.components["trial_id"].map(results.trials.set_index("trial_id")["cell"])
    light = results.components["weight"] < 0.06
    recalled = ~(light & (cell == "latent_dim=3"))
    return replace(results, components=results.components.assign(recalled=recalled))


def test_traits_are_those_of_the_drawn_components(losing: Results) -> None:
    fates = lost_modes.mode_fates(losing)
    assert len(fates) == 2 * 8 * 10
    assert (fates["n_networks"] == 2).all()
    sums = fates.groupby(["cell", "data_seed"])["weight"].sum()
    assert np.allclose(sums, 1)
    assert (fates["separation"] > 0).all()


def test_losses_are_counted_by_data_set(losing: Results) -> None:
    frame = lost_modes.lost_by_cell(losing).set_index("cell")
    fates = lost_modes.mode_fates(losing)
    light = fates[(fates["cell"] == "latent_dim=3") & (fates["weight"] < 0.06)]
    assert frame.at["latent_dim=2", "n_lost"] == 0
    row = frame.loc["latent_dim=3"]
    assert row["n_lost"] == row["n_always"] == len(light)
    assert row["n_missed"] == 2 * len(light)
    assert row["n_data_lost"] == light["data_seed"].nunique()
    text = evidence.lost_modes(losing)[0]
    assert f"{2 * len(light)} of 160 at q = 3" in text
    assert "q = 2" not in text


def test_the_model_names_what_decides(losing: Results) -> None:
    frame = lost_modes.recall_model(losing).set_index("trait")
    assert frame.at["weight", "low"] > 1
    assert np.isfinite(frame[["odds_ratio", "low", "high"]]).all(axis=None)
    assert frame["n_cells"].iloc[0] == 1
    bins = lost_modes.recall_by_trait(losing)
    weights = bins[bins["trait"] == "weight"].sort_values("value")
    assert weights["estimate"].iloc[0] == 0
    assert weights["estimate"].iloc[-1] == 1


def test_nothing_is_fitted_from_few_data_sets(losing: Results) -> None:
    few = replace(losing, trials=losing.trials[losing.trials["data_seed"] < 3])
    assert lost_modes.recall_model(few).empty
    with pytest.raises(NotTabulated, match="fewer than 5 data sets"):
        TABLES["recall_odds"](few)
    assert len(TABLES["lost_modes"](few).shown) == 2


def test_components_that_cannot_be_drawn_again_are_left_out(losing: Results) -> None:
    other = losing.components.assign(weight=losing.components["weight"] * 1.01)
    assert lost_modes.mode_fates(replace(losing, components=other)).empty
    given = replace(losing, trials=losing.trials.assign(box_rule="given"))
    assert lost_modes.mode_fates(given).empty
    none = replace(losing, components=pd.DataFrame(columns=losing.components.columns))
    assert evidence.lost_modes(none) == []


def test_a_page_without_losses_says_so(losing: Results) -> None:
    whole = replace(losing, components=losing.components.assign(recalled=True))
    assert "Each of 160 eligible modes was recalled" in evidence.lost_modes(whole)[0]
