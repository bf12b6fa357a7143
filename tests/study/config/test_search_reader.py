from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from study.config import SweepError, load_sweep, resolve, shrink, sweep_hash
from study.config.objective import Objective
from study.config.search_space import SearchOptions
from study.schema import build_schema

GOOD = """
name: x
fixed: {training.epochs: 5}
search:
  space:
    model.latent_dim: {uniform: [2, 6]}
    training.kl_weight: {log: [0.1, 10], when: {model.latent_dim: [2, 3]}}
    model.hidden: [[64], [128, 128]]
  objective: abs(mode_recall - 1)
  trials: 30
replicates: {data: 4}
"""


def _load(tmp_path: Path, text: str, *settings: str):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return load_sweep(path, settings)


def test_a_search_is_read_with_its_types(tmp_path: Path) -> None:
    search = _load(tmp_path, GOOD).search
    assert search is not None
    width, weight, hidden = search.space
    assert (width.kind, width.low, width.high) == ("int", 2, 6)
    assert (weight.kind, weight.log, weight.when) == (
        "float",
        True,
        (("model.latent_dim", (2, 3)),),
    )
    assert hidden.choices == ((64,), (128, 128))
    assert search.objectives == (Objective(expression="abs(mode_recall - 1)"),)
    assert search.options.trials == 30


def test_the_resolved_form_gives_the_same_search(tmp_path: Path) -> None:
    sweep = _load(tmp_path, GOOD)
    again = _load(tmp_path, json.dumps(resolve(sweep)))
    assert again.search == sweep.search
    assert sweep_hash(again) == sweep_hash(sweep)
    assert sweep_hash(_load(tmp_path, GOOD, "search.trials=31")) != sweep_hash(sweep)


def test_smoke_keeps_the_space_and_shrinks_the_rest(tmp_path: Path) -> None:
    sweep = _load(tmp_path, GOOD)
    small = shrink(sweep)
    assert small.search is not None
    assert small.search.space == sweep.search.space
    assert small.search.options.trials == 12
    assert dict(small.blocks[0].fixed)["detection.n_samples"] == 2000


def test_the_page_lists_every_option_with_its_default() -> None:
    listed = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", Path("docs/search.md").read_text(), re.M)
    fields = dataclasses.fields(SearchOptions)
    defaults = ["null" if field.default is None else str(field.default) for field in fields]
    assert listed == [(f.name, default) for f, default in zip(fields, defaults, strict=True)]


def test_early_stopping_resolves_and_is_left_out_of_a_smoke(tmp_path: Path) -> None:
    plain = _load(tmp_path, GOOD)
    assert "stop_factor" not in resolve(plain)["search"]
    text = GOOD.replace("epochs: 5}", "epochs: 50}").replace("trials: 30", "stop_after: 10")
    sweep = _load(tmp_path, text)
    assert sweep.search is not None
    assert (sweep.search.options.stop_after, sweep.search.options.stop_factor) == (10, 3)
    assert _load(tmp_path, json.dumps(resolve(sweep))).search == sweep.search
    small = shrink(sweep)
    assert small.search is not None
    assert small.search.options.stop_after is None


@pytest.mark.parametrize("name", ["search_full_coverage", "search_boundary"])
def test_the_searches_in_the_project_are_whole(name: str) -> None:
    path = Path(f"sweeps/{name}.yaml")
    assert load_sweep(path).search is not None
    jsonschema.validate(yaml.safe_load(path.read_text()), build_schema())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{uniform: [2, 6]}", "{uniform: [6, 2]}", "low must be below high"),
        ("{uniform: [2, 6]}", "{uniform: [2.5, 6]}", "must be a whole number"),
        ("{uniform: [2, 6]}", "{log: [0, 6]}", "from 1 to 1,024; found 0"),
        ("{uniform: [2, 6]}", "{between: [2, 6]}", "one of choice, uniform, log"),
        ("{uniform: [2, 6]}", "3", "must be a list of choices"),
        ("{log: [0.1, 10], when", "{log: [0.1], when", "must be [low, high]"),
        ("model.latent_dim: [2, 3]}}", "model.latent_dim: [9]}}", "is never 9"),
        (
            "when: {model.latent_dim",
            "when: {model.hidden",
            "must be listed in search.space before",
        ),
        ("[[64], [128, 128]]", "[[64], [64]]", "listed twice"),
        ("[[64], [128, 128]]", "{log: [1, 2]}", "is not a number"),
        ("model.hidden", "training.timeout_min", "cannot be searched"),
        ("model.hidden", "model.hiden", "did you mean model.hidden"),
        ("abs(mode_recall - 1)", "recall", "recall is not a numeric column"),
        ("objective:", "endpoint:", "needs objective, or objectives; found endpoint"),
        ("trials: 30", "trials: 3", "must be at least 6"),
        ("trials: 30", "sampler: grid", "grid needs choices"),
        ("trials: 30", "sampler: cmaes", "cmaes needs numbers; model.hidden has [64], [128, 128]"),
        ("trials: 30", "level: 3", "belongs to goal: boundary"),
        ("trials: 30", "goal: boundary", "needs endpoint and level; found objective"),
        ("trials: 30", "samplr: tpe", "did you mean search.sampler"),
        ("fixed: {training.epochs: 5}", "fixed: {model.latent_dim: 5}", "is fixed in line 3"),
        ("fixed: {training.epochs: 5}", "grid: {training.epochs: [5]}", "remove grid"),
        ("fixed: {training.epochs: 5}", "detection.k_max: 5", "belongs under fixed"),
        ("fixed: {training.epochs: 5}", "fixed: {training.checkpoints: [200]}", "at most"),
    ],
)
def test_wrong_searches_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    with pytest.raises(SweepError, match=r"x\.yaml:\d+: ") as error:
        _load(tmp_path, text)
    assert message in str(error.value)


def test_several_objectives_have_directions(tmp_path: Path) -> None:
    both = "objectives: {mode_recall: maximize, spurious_mass: minimize}"
    search = _load(tmp_path, GOOD.replace("objective: abs(mode_recall - 1)", both)).search
    assert [entry.direction for entry in search.objectives] == ["maximize", "minimize"]
    with pytest.raises(SweepError, match="minimize or maximize"):
        _load(tmp_path, GOOD.replace("objective: abs(mode_recall - 1)", both[:-9] + "least}"))
