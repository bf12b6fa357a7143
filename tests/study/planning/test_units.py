"""Trials, their ids, and how they are grouped into work units."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config import (
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    Sweep,
    SweepError,
    TrainingConfig,
    load_sweep,
    resolve,
)
from study.data.data_set import draw_data_set
from study.planning.packing import plan_units
from study.planning.units import (
    ControlBatch,
    Stack,
    Trial,
    config_columns,
    expand,
    factors,
    n_weights,
    plan_controls,
    sweep_manifest,
    training_gflop,
)
from study.results import config_fields

ROOT = Path(__file__).parents[3]


def load_form(form: dict[str, Any], path: Path) -> Sweep:
    """Load a sweep from a dict: JSON is YAML."""
    path.write_text(json.dumps({"name": "test", **form}))
    return load_sweep(path)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grid") / "sweep.yaml"


def make_trial(**changes: Any) -> Trial:
    """Make a trial from the defaults; sections are given as dicts."""
    sections = {
        "mixture": MixtureConfig,
        "model": ModelConfig,
        "training": TrainingConfig,
        "detection": DetectionConfig,
    }
    seeds = {name: value for name, value in changes.items() if name not in sections}
    parts = {name: config(**changes.get(name, {})) for name, config in sections.items()}
    return Trial(**parts, **seeds)


# --- ids ---


def test_golden_ids() -> None:
    """Ids name results on disk: this may change only together with a stage's version."""
    plain = make_trial()
    given_mixture = make_trial(
        mixture={"means": ((0.0, 1.5),), "variances": ((1.0, 1.0),), "weights": (1.0,)},
        training={"kl_weight": 0.5, "checkpoints": (5, 100)},
        detection={"k_max": 60},
        data_seed=3,
        init_seed=2,
        sample_seed=1,
    )
    assert [ids(trial) for trial in (plain, given_mixture)] == GOLDEN


GOLDEN = [
    ("768995002fbfdc80", "ceff229f30ef6b4d", "849da6787a983361", "6e0401bb40305346"),
    ("6a97d298cd8b330c", "7b9a91dbfac2174f", "1c4d46043324902d", "99fa197c1e821e35"),
]


def ids(trial: Trial) -> tuple[str, ...]:
    return trial.data_id, trial.training_id, trial.trial_id, trial.control_id


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"data_seed": 1}, "data training trial control"),
        ({"mixture": {"n_components": 5}}, "data training trial control"),
        ({"mixture": {"n_components": 8, "box": "density"}}, "data training trial control"),
        ({"init_seed": 1}, "training trial"),
        ({"model": {"hidden": ()}}, "training trial"),
        ({"training": {"kl_weight": 2.0}}, "training trial"),
        ({"training": {"standardize": True}}, "training trial"),
        ({"sample_seed": 1}, "trial"),
        ({"training": {"checkpoints": 5}}, "trial"),
        ({"detection": {"k_max": 20}}, "trial control"),
        ({"detection": {"sources": ("data", "means")}}, "trial"),
        ({"detection": {"at_checkpoints": True}}, "trial"),
        ({"detection": {"gap_restarts": 4}}, "trial"),
        ({"detection": {"families": ("full", "diagonal")}}, "trial control"),
        ({"detection": {"seed": 1}}, "trial control"),
        ({"training": {"timeout_min": 5.0}}, ""),
        ({"cell": "other", "factors": (("epochs", 100),)}, ""),
        ({"training": {"epochs": 100.0, "kl_weight": 1}}, ""),
        ({"mixture": {"variance": (0.5, 2)}}, ""),
        ({"mixture": {"box": "density"}}, ""),
        ({"detection": {"sources": ("codes", "samples", "means", "data")}}, ""),
        ({"detection": {"families": ("full", "full")}}, ""),
    ],
)
def test_ids_change_by_stage(changes: dict[str, Any], changed: str) -> None:
    pairs = zip(ids(make_trial()), ids(make_trial(**changes)), strict=True)
    names = ("data", "training", "trial", "control")
    assert [name for name, (a, b) in zip(names, pairs, strict=True) if a != b] == changed.split()


def test_ids_are_distinct_hex() -> None:
    trials = [make_trial(data_seed=i, init_seed=j) for i in range(30) for j in range(30)]
    found = {trial.trial_id for trial in trials}
    assert len(found) == 900
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in found)


VALUES: dict[str, list[Any]] = {
    "mixture.n_components": [2, 5, 10],
    "mixture.box": [5, "density", 7.5],
    "mixture.variance": [[0.5, 2], [1, 1]],
    "model.latent_dim": [1, 2, 3, 4],
    "model.hidden": [[], [16], [16, 8]],
    "training.kl_weight": [0.1, 1, 3.5],
    "training.standardize": [True, False],
    "detection.k_max": [15, 20],
}


@st.composite
def grids(draw: st.DrawFn) -> dict[str, list[Any]]:
    names = draw(st.lists(st.sampled_from(list(VALUES)), unique=True, max_size=4))
    return {
        name: draw(st.lists(st.sampled_from(VALUES[name]), min_size=1, unique_by=str))
        for name in names
    }


def form_of(grid: dict[str, list[Any]], data: Any = 1) -> dict[str, Any]:
    return {**({"grid": grid} if grid else {}), "replicates": {"data": data}}


@settings(deadline=None, max_examples=60, derandomize=True)
@given(grid=grids(), seed=st.randoms(use_true_random=False))
def test_order_of_keys_and_values_makes_no_difference(
    grid: dict[str, list[Any]], seed: Any, scratch: Path
) -> None:
    names = list(grid)
    seed.shuffle(names)
    shuffled = {name: seed.sample(grid[name], len(grid[name])) for name in names}
    one = expand(load_form(form_of(grid), scratch))
    two = expand(load_form(form_of(shuffled), scratch))
    assert {t.trial_id for t in one} == {t.trial_id for t in two}
    assert len({t.trial_id for t in one}) == math.prod(map(len, grid.values()))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(grid=grids(), n_data=st.integers(1, 3))
def test_resolved_form_round_trips(grid: dict[str, list[Any]], n_data: int, scratch: Path) -> None:
    sweep = load_form(form_of(grid, n_data), scratch)
    again = load_form(json.loads(json.dumps(resolve(sweep))), scratch)
    assert expand(again) == expand(sweep)
    assert factors(again) == factors(sweep)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(first=grids(), second=grids())
def test_blocks_are_a_union(
    first: dict[str, list[Any]], second: dict[str, list[Any]], scratch: Path
) -> None:
    parts = [grid for grid in (first, second) if grid]
    if not parts:
        return
    whole = expand(load_form({"blocks": [{"grid": grid} for grid in parts]}, scratch))
    alone = [expand(load_form({"grid": grid}, scratch)) for grid in parts]
    union = {trial.trial_id for trial in itertools.chain(*alone)}
    assert [t.trial_id for t in whole] == list(dict.fromkeys(t.trial_id for t in whole))
    assert {trial.trial_id for trial in whole} == union


@settings(deadline=None, max_examples=40, derandomize=True)
@given(grid=grids(), length=st.integers(1, 2))
def test_zip_and_exclude_count(grid: dict[str, list[Any]], length: int, scratch: Path) -> None:
    zipped = {"training.epochs": [7, 8, 9][:length], "training.batch_size": [32, 64, 16][:length]}
    form = {**form_of(grid), "zip": zipped}
    n_grid = math.prod(map(len, grid.values()))
    assert len(expand(load_form(form, scratch))) == n_grid * length
    if length > 1:
        form["exclude"] = [{"training.epochs": 8}]
        assert len(expand(load_form(form, scratch))) == n_grid * (length - 1)


# --- trials ---


def test_expand_order_labels_and_factors(scratch: Path) -> None:
    grid = {"model.latent_dim": [1, 2], "training.kl_weight": [0.5, 1], "model.hidden": [[], [4]]}
    sweep = load_form({"grid": grid, "replicates": {"data": 2, "init": 2}}, scratch)
    trials = expand(sweep)
    assert len(trials) == 2 * 2 * 2 * 4
    assert trials[0].cell == "latent_dim=1, kl_weight=0.5, hidden=linear"
    assert trials[-1].cell == "latent_dim=2, kl_weight=1, hidden=4"
    assert trials[0].factors == (("latent_dim", 1), ("kl_weight", 0.5), ("hidden", "linear"))
    assert [(t.data_seed, t.init_seed) for t in trials[:4]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert factors(sweep) == ("latent_dim", "kl_weight", "hidden")


def test_nothing_swept_is_one_cell(scratch: Path) -> None:
    trials = expand(load_form({"replicates": {"data": [4, 9]}}, scratch))
    assert [(t.cell, t.factors, t.data_seed) for t in trials] == [("all", (), 4), ("all", (), 9)]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"grid": {"mixture.box": [5, 10]}}, ("box_half_width",)),
        ({"grid": {"mixture.box": [10, "density"]}}, ("box_rule",)),
        ({"grid": {"mixture.box": [5, 10, "density"]}}, ("box_half_width", "box_rule")),
        (
            {"grid": {"mixture.n_components": [5, 10]}, "fixed": {"mixture.box": "density"}},
            ("n_components",),
        ),
        ({"grid": {"mixture.variance": [[1, 1], [1, 2]]}}, ("variance_high",)),
        ({"grid": {"detection.n_samples": [100, 200]}}, ("detection_n_samples",)),
        ({"grid": {"model.latent_dim": [3]}}, ("latent_dim",)),
        (
            {"blocks": [{"fixed": {"training.standardize": v}} for v in (True, False)]},
            ("standardize",),
        ),
    ],
)
def test_factors(form: dict[str, Any], expected: tuple[str, ...], scratch: Path) -> None:
    assert factors(load_form(form, scratch)) == expected


# What is one trial in two wordings: (form of a grid, cells that are left, of cells asked for).
SAME = [
    ({"mixture.n_components": [10, 20], "mixture.box": [10, "density"]}, 3),
    # 10 x 8^(1/3) = 20.
    ({"mixture.n_components": [80], "mixture.box": [20, "density", 10]}, 2),
    ({"model.hidden": [[], [4]], "model.activation": ["relu", "tanh"]}, 3),
    ({"training.kl_weight": [1, 2], "detection.noise_variance": ["implied", 0.5]}, 3),
    ({"mixture.n_samples": [1000, 4000], "training.batch_size": [1000, 2000, 5000]}, 4),
]


@pytest.mark.parametrize(("grid", "n_cells"), SAME)
def test_one_trial_in_two_wordings_is_one(
    grid: dict[str, list[Any]], n_cells: int, scratch: Path
) -> None:
    trials = expand(load_form({"grid": grid, "replicates": {"data": 2}}, scratch))
    assert len({trial.cell for trial in trials}) == n_cells
    assert len(trials) == 2 * n_cells
    assert len({trial.trial_id for trial in trials}) == len(trials)


def test_the_same_box_draws_the_same_points() -> None:
    by_rule = MixtureConfig(n_components=80, box="density", n_samples=100)
    by_number = MixtureConfig(n_components=80, box=20.0, n_samples=100)
    first, second = (draw_data_set(mixture, 3, 50).training for mixture in (by_rule, by_number))
    np.testing.assert_array_equal(first, second)


def test_cells_without_a_column_of_their_own_are_told_apart(scratch: Path) -> None:
    given_mixture = {
        "mixture.variances": [[1, 1]],
        "mixture.weights": [1],
    }
    blocks = [{"fixed": {**given_mixture, "mixture.means": [[x, 0]]}} for x in (0, 3)]
    assert [t.cell for t in expand(load_form({"blocks": blocks}, scratch))] == [
        "variant=1",
        "variant=2",
    ]


def test_columns_are_those_of_the_table() -> None:
    assert list(config_columns(make_trial())) == [name for name, _ in config_fields()]


def test_box_columns() -> None:
    dense = config_columns(make_trial(mixture={"box": "density", "n_components": 80}))
    assert dense["box_rule"] == "density"
    assert dense["box_half_width"] == pytest.approx(20)
    given_mixture = {"means": ((0.0,),), "variances": ((1.0,),), "weights": (1.0,)}
    columns = config_columns(make_trial(mixture=given_mixture))
    assert (columns["box_rule"], columns["box_half_width"]) == ("given", None)


def test_manifest_is_json(scratch: Path) -> None:
    sweep = load_form({"grid": {"model.latent_dim": [1, 2]}}, scratch)
    manifest = sweep_manifest(sweep, expand(sweep))
    assert json.loads(json.dumps(manifest)) == manifest
    assert (manifest["factors"], manifest["n_trials"]) == (["latent_dim"], 2)


# --- units ---


def test_controls_once_for_each_mixture() -> None:
    trials = [
        make_trial(model={"latent_dim": q}, data_seed=d, init_seed=i)
        for q in (1, 2)
        for d in range(20)
        for i in range(3)
    ]
    batches = plan_controls(trials, n_workers=2)
    controls = [control for batch in batches for control in batch.controls]
    assert {c.control_id for c in controls} == {t.control_id for t in trials}
    assert len(controls) == 20
    assert [len(batch.controls) for batch in batches] == [7, 7, 6]
    recorded = {control.control_id for control in controls[:19]}
    (left,) = plan_controls(trials, n_workers=2, recorded=recorded)
    assert [control.data_seed for control in left.controls] == [controls[19].data_seed]


def test_no_control_where_data_are_not_counted() -> None:
    trial = make_trial(detection={"sources": ("means",)})
    assert plan_controls([trial], n_workers=2) == ()


def test_units_speak_for_themselves() -> None:
    trials = expand(load_sweep(ROOT / "sweeps/kl_weights.yaml"))
    controls, stack = (plan_units(trials, n_workers=2)[i] for i in (0, -1))
    assert isinstance(controls, ControlBatch)
    assert (controls.label, controls.trials) == ("control of 5 mixtures", ())
    assert isinstance(stack, Stack)
    assert "kl_weight=0.03..100" in stack.label
    assert stack.shape == "8 models, 3-128-128-2 relu, 10,000 points, 100 epochs of 128"
    assert stack.unit_id == stack.stack_id


def test_training_cost() -> None:
    """208 GFLOP is the original's training, as counted layer by layer."""
    linear = n_weights(ModelConfig(hidden=(), latent_dim=2), 3)
    assert linear == (3 + 1) * 2 * 2 + (2 + 1) * 3
    assert training_gflop(make_trial()) == pytest.approx(208, rel=0.03)


def test_ten_thousand_trials_in_a_second(scratch: Path) -> None:
    grid = {
        "training.kl_weight": {"logspace": [0.01, 100, 40]},
        "model.latent_dim": [1, 2, 3, 4, 8],
    }
    sweep = load_form({"grid": grid, "replicates": {"data": 10, "init": 5}}, scratch)
    start = time.process_time()
    trials = expand(sweep)
    units = plan_units(trials, n_workers=2)
    # About 0.4 s of processor time; the bound allows for a slow machine.
    assert time.process_time() - start < 2
    assert len(trials) == 10_000
    assert sum(len(unit.trials) for unit in units) == 10_000


def test_trials_are_hashable_and_frozen() -> None:
    trial = make_trial()
    assert hash(trial) == hash(make_trial())
    with pytest.raises(dataclasses.FrozenInstanceError):
        trial.cell = "x"  # type: ignore[misc]


def test_other_noise_is_other_scoring_of_the_same_training() -> None:
    implied, given = make_trial(), make_trial(detection={"noise_variance": 1.5})
    assert implied.training_id == given.training_id
    assert implied.control_id == given.control_id
    assert implied.trial_id != given.trial_id
    columns = [config_columns(trial) for trial in (implied, given)]
    assert [row["noise_variance"] for row in columns] == [0.5, 1.5]
    assert [row["noise_rule"] for row in columns] == ["implied", "given"]
    learned = make_trial(model={"decoder_variance": "learned"})
    assert config_columns(learned)["noise_variance"] is None


def test_implied_noise_is_no_factor_of_its_own(scratch: Path) -> None:
    blocks = [{"grid": {"training.kl_weight": [0.3, 1.0]}}, {"fixed": {"model.latent_dim": 3}}]
    assert "noise_variance" not in factors(load_form({"blocks": blocks}, scratch))
    swept = {"grid": {"detection.noise_variance": ["implied", 0.15, 1.5]}}
    assert factors(load_form(swept, scratch)) == ("noise_variance", "noise_rule")


def test_detector_seeds_are_replicates_within_a_cell(scratch: Path) -> None:
    form = {
        "fixed": {"detection.seed": 7},
        "replicates": {"data": 2, "sample": 2, "detection": [0, 3]},
    }
    sweep = load_form(form, scratch)
    trials = expand(sweep)
    assert len(trials) == sweep.replicates.n_per_cell == 8
    assert [trial.detection.seed for trial in trials] == [7, 10] * 4
    assert {trial.cell for trial in trials} == {"all"}
    assert len({trial.training_id for trial in trials}) == 2
    assert len({trial.control_id for trial in trials}) == 4


def test_one_detector_seed_leaves_trials_as_they_are(scratch: Path) -> None:
    plain = expand(load_form({"replicates": {"data": 2}}, scratch))
    same = expand(load_form({"replicates": {"data": 2, "detection": 1}}, scratch))
    assert [trial.trial_id for trial in plain] == [trial.trial_id for trial in same]


def test_detector_seeds_stay_in_range(scratch: Path) -> None:
    form = {"fixed": {"detection.seed": 2**32 - 1}, "replicates": {"detection": 2}}
    with pytest.raises(SweepError, match=r"replicates\.detection: must stay at most 4294967295"):
        load_form(form, scratch)


def test_a_search_has_one_detector_seed(scratch: Path) -> None:
    form = {
        "search": {"space": {"model.latent_dim": [1, 2]}, "objective": "fkl_nats", "trials": 20},
        "replicates": {"detection": 2},
    }
    with pytest.raises(SweepError, match=r"replicates\.detection: a search counts with one"):
        load_form(form, scratch)
