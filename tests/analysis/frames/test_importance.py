from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from analysis.frames import importance
from analysis.load import Results, load_results


@pytest.fixture(scope="module")
def crossed(
    build: Callable[..., Path],
    jitter: Callable[..., Results],
    tmp_path_factory: pytest.TempPathFactory,
) -> Results:
    """Three widths x two weights x 4 data seeds x 2 init seeds."""
    cells = [{"latent_dim": q, "kl_weight": b} for q in (1, 2, 4) for b in (0.3, 1.0)]
    folder = tmp_path_factory.mktemp("crossed") / "crossed"
    fixed = {"epochs": 10}
    factors = ("latent_dim", "kl_weight")
    path = build(folder, factors=factors, cells=cells, seeds=(4, 2), fixed=fixed, n_points=0)
    return jitter(load_results(path), "fkl_nats")


def test_anova_equals_statsmodels(crossed: Results) -> None:
    ours = importance.anova(crossed, "fkl_nats").set_index("term")
    means = crossed.trials.groupby(["latent_dim", "kl_weight", "data_seed"])["fkl_nats"].mean()
    frame = means.reset_index().astype(float)
    model = smf.ols("fkl_nats ~ C(latent_dim) * C(kl_weight) + C(data_seed)", frame).fit()
    theirs = anova_lm(model, typ=2)
    pairs = {
        "latent_dim": "C(latent_dim)",
        "kl_weight": "C(kl_weight)",
        "latent_dim x kl_weight": "C(latent_dim):C(kl_weight)",
        "data seed": "C(data_seed)",
    }
    for name, term in pairs.items():
        assert ours.at[name, "f"] == pytest.approx(theirs.at[term, "F"])
        assert ours.at[name, "p"] == pytest.approx(theirs.at[term, "PR(>F)"])
        # Two init seeds behind each mean.
        assert ours.at[name, "sum_sq"] == pytest.approx(2 * theirs.at[term, "sum_sq"])
    assert ours.at["cells x data seed", "df"] == theirs.at["Residual", "df"]
    assert ours["eta_sq"].sum() == pytest.approx(1)
    assert (ours["omega_sq"].dropna() < ours["eta_sq"].loc[ours["omega_sq"].notna()]).all()


def test_incomplete_factorials_are_one_term(crossed: Results) -> None:
    # Two widths and two weights less one cell: no level can go.
    part = crossed.trials[crossed.trials["latent_dim"] < 4]
    part = part[part["cell"] != part["cell"].iloc[-1]]
    frame = importance.anova(replace(crossed, trials=part), "fkl_nats")
    assert list(frame["term"]) == ["cell", "data seed", "cells x data seed", "other seeds"]


def test_lost_trials_leave_the_balanced_core(results: Results) -> None:
    frame = importance.anova(results, "fkl_nats")
    assert (frame["n_dropped"] > 0).all()
    assert (frame["n_trials"] + frame["n_dropped"] == 147).all()


def test_importances_name_their_evaluator_and_the_floor(crossed: Results) -> None:
    frame = importance.importances(crossed, "fkl_nats")
    assert set(frame["evaluator"]) == {"omega squared", "fANOVA", "PED-ANOVA"}
    assert list(frame.columns) == list(importance.IMPORTANCE_COLUMNS)
    assert (frame.groupby("evaluator")["is_dummy"].sum() == 1).all()
    # PED-ANOVA looks at the best 5 of 48 trials here, too few to tell a factor from the dummy.
    for name in ("omega squared", "fANOVA"):
        by_factor = frame[frame["evaluator"] == name].set_index("factor")["importance"]
        assert by_factor["latent_dim"] > 5 * by_factor[importance.DUMMY]
    shares = frame[frame["evaluator"] != "omega squared"].groupby("evaluator")["importance"].sum()
    assert shares.to_numpy() == pytest.approx(1)
    bounded = frame.dropna(subset=["low"])
    assert (bounded["low"] <= bounded["importance"]).all()
    assert (bounded["importance"] <= bounded["high"]).all()


def test_optuna_agrees_on_rows_made_by_hand() -> None:
    rows = pd.DataFrame({"a": np.tile(range(4), 25), "b": np.repeat(range(4), 25)})
    rows["value"] = rows["a"] * 1.0
    evaluator = importance.optuna.importance.FanovaImportanceEvaluator(seed=0, n_trees=8)
    shares = importance._optuna_shares(rows, evaluator)
    assert shares["a"] == pytest.approx(1, abs=0.01)
    assert importance._optuna_shares(rows.assign(value=1.0), evaluator) == {"a": 0.0, "b": 0.0}


def test_nothing_to_compare(build: Callable[..., Path], tmp_path: Path) -> None:
    one = load_results(build(tmp_path / "one", factors=(), cells=[{}], seeds=(2, 2)))
    assert importance.anova(one, "fkl_nats").empty
    assert importance.importances(one, "fkl_nats").empty


def test_shares_on_the_log_scale_have_intervals(crossed: Results) -> None:
    raw = importance.anova(crossed, "fkl_nats").set_index("term")
    log = importance.anova(crossed, "fkl_nats", scale="log").set_index("term")
    shifted = crossed.trials["fkl_nats"].astype(float)
    logged = replace(crossed, trials=crossed.trials.assign(fkl_nats=np.log(shifted)))
    again = importance.anova(logged, "fkl_nats").set_index("term")
    assert log["omega_sq"].dropna().to_list() == pytest.approx(
        again["omega_sq"].dropna().to_list()
    )
    known = raw["omega_sq"].notna()
    assert (raw.loc[known, "low"] <= raw.loc[known, "omega_sq"].clip(0, 1)).all()
    assert (raw.loc[known, "high"] >= raw.loc[known, "omega_sq"].clip(0, 1)).all()
    assert set(raw["interval"]) == {"jackknife"}
    below = replace(crossed, trials=crossed.trials.assign(fkl_nats=shifted - shifted.max()))
    assert importance.anova(below, "fkl_nats", scale="log").empty


def test_levels_that_leave_gaps_are_left_out(crossed: Results) -> None:
    first, second = crossed.manifest.factors
    cells = crossed.trials.drop_duplicates("cell")
    gone = cells["cell"].iloc[0]
    level = cells[first].iloc[0]
    part = replace(crossed, trials=crossed.trials[crossed.trials["cell"] != gone])
    frame = importance.anova(part, "fkl_nats")
    assert set(frame["left_out"]) == {f"{first}={level}"}
    assert {first, second} <= set(frame["term"])
    n_left = int((cells[first] != level).sum())
    assert frame["n_trials"].iloc[0] == n_left * len(crossed.trials) / len(cells)
