from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.power import TTestPower

from analysis.frames import power, variance
from analysis.load import Results, load_results


@pytest.mark.parametrize(("effect", "n"), [(0.2, 5), (0.8, 8), (1.5, 10), (1.2, 20)])
def test_power_equals_statsmodels(effect: float, n: int) -> None:
    ours = power.t_power(effect, np.array([1 / np.sqrt(n)]), np.array([n - 1.0]))
    expected = TTestPower().power(effect, n, 0.05)
    assert ours[0] == pytest.approx(float(expected), abs=1e-6)


def test_a_sure_difference_has_power_one() -> None:
    ours = power.t_power(1.0, np.array([0.0, 1e-6]), np.array([3.0, 40.0]))
    assert ours == pytest.approx([1.0, 1.0])


def test_curve_rises_with_seeds_and_narrows(
    results: Results, jitter: Callable[..., Results]
) -> None:
    noisy = jitter(results, "fkl_nats")
    frame = power.power_curve(noisy, "fkl_nats", 0.05, n_data=(4, 8, 16, 32), n_init=(1, 3))
    assert set(frame["design"]) == {"paired"}
    for _, rows in frame.groupby("n_init"):
        assert rows["power"].is_monotonic_increasing
        assert rows["half_width"].is_monotonic_decreasing
    assert (frame["power_low"] <= frame["power"]).all()
    assert (frame["power"] <= frame["power_high"]).all()
    needed = power.seeds_needed(frame, n_init=3)
    assert needed is None or needed in (4, 8, 16, 32)


def test_one_cell_is_not_paired(build: Callable[..., Path], tmp_path: Path) -> None:
    alone = load_results(build(tmp_path / "one", factors=(), cells=[{}], seeds=(6, 2), n_points=0))
    frame = power.power_curve(alone, "fkl_nats")
    assert set(frame["design"]) == {"unpaired"}
    single = load_results(
        build(tmp_path / "few", factors=(), cells=[{}], seeds=(1, 4), n_points=0)
    )
    assert power.power_curve(single, "fkl_nats").empty
    # With one data seed only the training's spread is known.
    components = variance.variance_components(single, ["fkl_nats"])
    assert list(components["component"]) == ["init"]
    assert components["n_data"].tolist() == [1]


def test_the_detector_is_a_component(build, tmp_path: Path) -> None:
    folder = build(tmp_path / "one", factors=(), cells=[{}], seeds=(10, 3, 2), n_points=0)
    one = load_results(folder)
    rng = np.random.default_rng(0)
    parts = [
        one.trials.assign(
            detection_seed=seed,
            trial_id=one.trials["trial_id"] + f"-{seed}",
            modal_modes_samples=one.trials["modal_modes_samples"].astype(float)
            + rng.normal(0, 0.8, len(one.trials)),
        )
        for seed in range(2)
    ]
    both = replace(one, trials=pd.concat(parts, ignore_index=True))
    frame = variance.variance_components(both, ["modal_modes_samples"]).set_index("component")
    assert list(frame.index) == ["data", "init", "sample", "detector"]
    # 60 pairs fix the sd within a tenth.
    assert frame.at["detector", "sd"] == pytest.approx(0.8, rel=0.35)
    assert frame.at["detector", "low"] <= 0.8**2 <= frame.at["detector", "high"]


def test_components_of_the_fixture(results: Results) -> None:
    frame = variance.variance_components(results, ["fkl_nats", "k_samples_calibrated"])
    fkl = frame[frame["endpoint"] == "fkl_nats"].set_index("component")
    # The fixture draws them with sd 0.078 and 0.041; 10 data seeds fix the first within a factor.
    assert fkl.at["init", "sd"] == pytest.approx(0.041, rel=0.35)
    assert fkl.at["data", "low"] <= 0.078**2 <= fkl.at["data", "high"]
    assert fkl["share"].sum() == pytest.approx(1)
    assert (frame["n_dropped"] > 0).all()
    assert list(frame.columns) == list(variance.COLUMNS)
