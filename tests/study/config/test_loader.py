"""Sweep files: what is read, what is refused and with which words, overrides, resolved form."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.config import (
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    Replicates,
    Sweep,
    SweepError,
    TrainingConfig,
    all_fields,
    load_sweep,
    resolve,
    shrink,
    sweep_hash,
)
from study.config.smoke import SMOKE_CELLS
from study.planning.units import expand
from study.plugins import GENERATORS, MIXTURES

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "sweeps").glob("*.yaml"))
# Those that list their cells; adaptive ones have tests of their own.
GRIDS = [path for path in SHIPPED if not path.name.startswith("search_")]
BROKEN = Path(__file__).parent / "broken_sweeps"

EVERYTHING = """
name: everything
question: Are all parts read?
fixed:
  training: {epochs: 20, learning_rate: 1e-3}
  model.hidden: []
  detection.k_max: 50
grid:
  mixture.n_components: {range: [5, 15, 5]}
zip:
  - mixture.alpha: [1, 5]
    mixture.box: [10, density]
blocks:
  - label: weights
    grid: {training.kl_weight: {logspace: [0.01, 100, 5]}}
  - label: widths
    fixed: {training.epochs: 30}
    grid: {model: {latent_dim: [1, 2]}}
exclude:
  - {mixture.n_components: 5, model.latent_dim: 1}
  - training.kl_weight: [0.01, 100]
replicates: {data: [3, 5], init: 2, sample: 1}
resources: {cpus: 0.5}
"""


@pytest.fixture
def load(tmp_path: Path) -> Any:
    """Load a sweep from YAML text or from a dict, with overrides."""

    def load_from(form: str | dict[str, Any], *overrides: str) -> Sweep:
        text = form if isinstance(form, str) else json.dumps({"name": "test", **form})
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_sweep(path, overrides)

    return load_from


def error_of(path: Path, *overrides: str) -> str:
    with pytest.raises(SweepError) as caught:
        load_sweep(path, overrides)
    return str(caught.value)


def refusal(path: Path) -> str:
    """Load a file; return the message if it is refused, nothing if it is a sweep."""
    try:
        load_sweep(path)
    except SweepError as error:
        return str(error)
    return ""


# --- refusals ---


def test_broken_files_give_the_expected_messages() -> None:
    messages = [
        error_of(path).removeprefix(f"{BROKEN}/") for path in sorted(BROKEN.glob("*.yaml"))
    ]
    assert len(messages) >= 50
    assert "\n".join(messages) + "\n" == (BROKEN / "expected.txt").read_text()


def test_messages_are_one_short_line() -> None:
    for line in (BROKEN / "expected.txt").read_text().splitlines():
        assert re.match(r"\w+\.yaml(:\d+)?: ", line), line
        assert len(line) < 250


@pytest.mark.parametrize("kind", ["missing", "folder", "too large", "not a name"])
def test_files_that_cannot_be_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "too large":
        path.write_text("name: big\n" + "# filler\n" * 120_000)
    elif kind == "not a name":
        path = Path("nul\0byte")
    wanted = {
        "missing": "no such file",
        "folder": "cannot be read",
        "too large": "at most 1,000,000 bytes",
        "not a name": "cannot be read",
    }
    assert wanted[kind] in error_of(path)


def test_every_field_refuses_what_is_no_value(load: Any) -> None:
    """NaN, infinities, huge and negative numbers, text, sections: for every field there is."""
    wrong = ["'?'", ".nan", "-.inf", "-1", "1e18", "{a: 1}", "[[[[]]]]"]
    for path in all_fields():
        for value in wrong:
            with pytest.raises(SweepError, match=rf"yaml:3: {re.escape(path)}[\[\]\d]*: must"):
                load(f"name: x\nfixed:\n  {path}: {value}\n")


def test_mutated_files_load_or_are_refused(tmp_path: Path) -> None:
    """500 damaged files: a sweep or a SweepError, and nothing else."""
    rng = random.Random(20)
    sources = [EVERYTHING.encode(), (ROOT / "sweeps/quickstart.yaml").read_bytes()]
    path = tmp_path / "mutated.yaml"
    n_refused = 0
    for _ in range(500):
        path.write_bytes(mutated(rng.choice(sources), rng))
        message = refusal(path)
        n_refused += bool(message)
        assert "\n" not in message
    assert 250 < n_refused < 500


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """Change, insert, delete, move or repeat some bytes."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        if not data:
            break
        at = rng.randrange(len(data))
        end = min(len(data), at + rng.randint(1, 12))
        kind = rng.randrange(5)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at:at] = bytes(rng.choice(b"[]{}:,-&*!|>'\"#%@`~0.e\n \t") for _ in range(2))
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end]
        else:
            piece = data[at:end]
            del data[at:end]
            to = rng.randrange(len(data) + 1)
            data[to:to] = piece
    return bytes(data)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(text=st.text(max_size=60))
def test_any_text_loads_or_is_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(f"name: x\nfixed: {text}\n".encode())
    assert len(refusal(path).splitlines()) <= 1


def test_hostile_files_are_refused_fast(tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    hostile = ["[" * 900_000, "a: " + "{" * 900_000, "- " * 450_000, "&a [*a]", "? " * 400_000]
    for text in hostile:
        path.write_text(text)
        start = time.process_time()
        error_of(path)
        assert time.process_time() - start < 2


def test_tags_construct_nothing(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "evil.yaml"
    path.write_text(f'name: !!python/object/apply:pathlib.Path.touch ["{target}"]\n')
    assert "tags" in error_of(path)
    assert not target.exists()


# --- readings ---


def test_defaults_are_the_originals() -> None:
    """A change here changes what old ids mean: raise the stage's version (`planning.trials`)."""
    # Those of mixture families: tests/study/data/test_shapes.py; of generators:
    # tests/study/training/kinds/test_options.py.
    elsewhere = {"resources", *MIXTURES, *GENERATORS}
    fields = {
        p: field.default for p, field in all_fields().items() if field.section not in elsewhere
    }
    assert fields == {
        "mixture.kind": "box",
        "mixture.n_components": 10,
        "mixture.dim": 3,
        "mixture.box": 10.0,
        "mixture.variance": (0.5, 2.0),
        "mixture.alpha": 1.0,
        "mixture.n_samples": 10_000,
        "mixture.means": None,
        "mixture.variances": None,
        "mixture.weights": None,
        "mixture.training_points": "fresh",
        "model.kind": "vae",
        "model.latent_dim": 2,
        "model.hidden": (128, 128),
        "model.activation": "relu",
        "model.decoder_variance": "implied",
        "training.epochs": 100,
        "training.batch_size": 128,
        "training.learning_rate": 1e-3,
        "training.kl_weight": 1.0,
        "training.standardize": False,
        "training.checkpoints": 10,
        "training.timeout_min": None,
        "detection.sources": ("data", "means", "samples", "codes"),
        "detection.protocols": ("original", "calibrated"),
        "detection.n_samples": 10_000,
        "detection.k_min": 1,
        "detection.k_max": 40,
        "detection.families": ("full",),
        "detection.restarts": 1,
        "detection.seed": 0,
        "detection.at_checkpoints": False,
        "detection.noise_variance": "implied",
        "detection.sampler": "prior",
        "detection.sampler_components": 10,
        "detection.gap_restarts": 0,
    }


def test_name_alone_is_the_original(load: Any) -> None:
    sweep = load("name: plain")
    (cell,) = sweep.cells()
    assert (cell.mixture, cell.model) == (MixtureConfig(), ModelConfig())
    assert (cell.training, cell.detection) == (TrainingConfig(), DetectionConfig())
    assert sweep.replicates == Replicates()


def test_all_parts_are_read(load: Any) -> None:
    sweep = load(EVERYTHING)
    cells = list(sweep.cells())
    # Weights: 3 counts x 2 zipped x 3 of 5 weights; widths: 3 x 2 x 2, less 5 at 1 (twice).
    assert len(cells) == 3 * 2 * 3 + 3 * 2 * 2 - 2
    assert {cell.training.epochs for cell in cells} == {20, 30}
    assert {(cell.mixture.alpha, cell.mixture.box) for cell in cells} == {
        (1.0, 10.0),
        (5.0, "density"),
    }
    assert {cell.training.kl_weight for cell in cells} == {0.1, 1.0, 10.0}
    assert {cell.model.hidden for cell in cells} == {()}
    assert sweep.replicates.seeds("data") == (3, 5)
    assert sweep.resources.cpus == 0.5


@pytest.mark.parametrize(
    ("generator", "values"),
    [
        ("{linspace: [1, 2, 5]}", [1, 1.25, 1.5, 1.75, 2]),
        ("{logspace: [0.01, 100, 5]}", [0.01, 0.1, 1, 10, 100]),
        ("{range: [0.1, 0.5, 0.1]}", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("{range: [1, 6, 2]}", [1, 3, 5]),
        ("{range: [3, 1, -1]}", [3, 2, 1]),
        ("[1e-3, 1_000, 2.50, .5, 1.e+2]", [0.001, 1000, 2.5, 0.5, 100]),
    ],
)
def test_values(load: Any, generator: str, values: list[float]) -> None:
    sweep = load(f"name: x\ngrid: {{training.kl_weight: {generator}}}")
    found = [cell.training.kl_weight for cell in sweep.cells()]
    assert found == values
    assert all(type(value) is float for value in found)


def test_whole_floats_are_whole_numbers(load: Any) -> None:
    (cell,) = load("name: x\nfixed: {mixture.n_samples: 1e4, model.hidden: [64.0]}").cells()
    assert cell.mixture.n_samples == 10_000
    assert type(cell.mixture.n_samples) is int
    assert cell.model.hidden == (64,)


def test_given_mixture_says_its_shape(load: Any) -> None:
    given_mixture = {
        "means": [[0, 0], [5, 5]],
        "variances": [[1, 1], [2, 2]],
        "weights": [0.5, 0.5],
    }
    (cell,) = load({"mixture": given_mixture}).cells()
    assert (cell.mixture.n_components, cell.mixture.dim) == (2, 2)
    assert cell.mixture.means == ((0.0, 0.0), (5.0, 5.0))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_shipped_sweeps(path: Path) -> None:
    sweep = load_sweep(path)
    assert path.read_text().startswith("# yaml-language-server: $schema=sweep.schema.json\n")
    assert sweep.name == path.stem
    assert sweep.question.endswith("?")
    assert expand(sweep)


def test_original_sweep_holds_the_reports_mixture() -> None:
    from study.data.original import original_draw

    (cell,) = load_sweep(ROOT / "sweeps/original.yaml").cells()
    draw = original_draw()
    assert cell.mixture.means == tuple(map(tuple, draw.means.tolist()))
    assert cell.mixture.variances == tuple(map(tuple, draw.variances.tolist()))
    assert cell.mixture.weights == tuple(draw.weights.tolist())


# --- overrides ---


def test_overrides_fix_sweep_and_replace(load: Any) -> None:
    base = {"fixed": {"training.epochs": 50}, "grid": {"model.latent_dim": [1, 2, 3]}}
    sweep = load(
        base,
        "training.epochs=5",
        "model.latent_dim=[2, 8]",
        "training.kl_weight={linspace: [1, 3, 3]}",
        "replicates.data=4",
        "name=other",
    )
    cells = list(sweep.cells())
    assert [(cell.model.latent_dim, cell.training.kl_weight) for cell in cells] == [
        (q, beta) for q in (2, 8) for beta in (1, 2, 3)
    ]
    assert {cell.training.epochs for cell in cells} == {5}
    assert (sweep.name, sweep.replicates.seeds("data")) == ("other", (0, 1, 2, 3))


def test_override_pins_a_swept_field(load: Any) -> None:
    base = {"zip": {"model.latent_dim": [1, 2, 2], "training.epochs": [5, 6, 7]}}
    assert len(list(load(base, "model.latent_dim=3").cells())) == 3
    assert len(list(load(base, "training.epochs=3").cells())) == 2
    blocks = [{"grid": {"model.latent_dim": [1, 2]}}, {"fixed": {"model.latent_dim": 3}}]
    cells = list(load({"blocks": blocks}, "model.latent_dim=4").cells())
    assert {cell.model.latent_dim for cell in cells} == {4}


def test_override_of_a_list_field_is_a_value(load: Any) -> None:
    (cell,) = load({}, "model.hidden=[64, 32]").cells()
    assert cell.model.hidden == (64, 32)
    assert len(list(load({}, "model.hidden=[[64], []]").cells())) == 2


def test_override_may_leave_exclusions_without_matches(load: Any) -> None:
    base = {"grid": {"model.latent_dim": [1, 2]}, "exclude": [{"model.latent_dim": 2}]}
    assert load(base, "model.latent_dim=[3, 4]").exclude == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs", "must be field=value"),
        ("=3", "must be field=value"),
        ("training.epoch=3", "no such field; did you mean training.epochs?"),
        ("training.epochs=0", "must be a whole number from 1 to 100,000; found 0"),
        ("training.epochs=", "found nothing"),
        ("training.epochs=[1, two]", "training.epochs: must be a whole number"),
        ("training.epochs=[", "not valid YAML"),
        ("name=../x", "name: must be text"),
        ("replicates.data=-1", "replicates.data: must be"),
        ("detection.k_min=50", "must be at most detection.k_max = 40; found 50"),
        ("training.epochs=!!int 3", "tags"),
        ("fixed=3", "belongs at the top level"),
    ],
)
def test_wrong_overrides(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("name: x\n")
    found = error_of(path, text)
    assert message in found
    assert found.startswith(f"--set {text}" if text != "detection.k_min=50" else "--set det")


# --- resolved form, smoke ---


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_resolved_form_gives_the_same_trials(path: Path, load: Any) -> None:
    sweep = load_sweep(path)
    again = load(json.dumps(resolve(sweep)))
    assert resolve(again) == resolve(sweep)
    assert sweep_hash(again) == sweep_hash(sweep)
    assert [t.trial_id for t in expand(again)] == [t.trial_id for t in expand(sweep)]


def test_resolved_form_of_everything(load: Any) -> None:
    sweep = load(EVERYTHING)
    again = load(json.dumps(resolve(sweep)))
    assert expand(again) == expand(sweep)


def test_sweep_hash_sees_trials_only(load: Any) -> None:
    base = {"grid": {"model.latent_dim": [1, 2]}}
    same = {**base, "question": "Why?", "resources": {"cpus": 2}, "training": {"epochs": 100}}
    assert sweep_hash(load(base)) == sweep_hash(load(same))
    assert sweep_hash(load(base)) != sweep_hash(load({**base, "replicates": {"data": 2}}))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_smoke_version_is_small(path: Path) -> None:
    sweep = load_sweep(path)
    small = shrink(sweep)
    trials = expand(small)
    assert small.name == f"{sweep.name}-smoke"
    assert 1 <= len(trials) <= 12
    # What does not read the epochs keeps the default.
    trained = [trial for trial in trials if "epochs" in GENERATORS[trial.model.kind].reads]
    epochs = {trial.training.epochs for trial in trained}
    assert epochs == {3}
    assert max(trial.detection.n_samples for trial in trials) == 2_000
    assert max(trial.detection.k_max for trial in trials) <= 16
    found, whole = (dict(part[0].factors) for part in (trials, expand(sweep)))
    # Of more blocks than it has cells it leaves some out.
    assert list(found) == [name for name in whole if name in found]
    assert len(sweep.blocks) > SMOKE_CELLS or list(found) == list(whole)


def test_smoke_version_of_awkward_sweeps(load: Any) -> None:
    sweep = load(EVERYTHING)
    for small in (shrink(sweep), shrink(shrink(sweep))):
        # It is as good as a file: the resolved form passes every check.
        assert 1 <= len(expand(load(json.dumps(resolve(small))))) <= 12
    capped = shrink(load({"grid": {"training.epochs": [50, 100], "detection.k_min": [2, 30]}}))
    assert {trial.training.epochs for trial in expand(capped)} == {3}
    long = shrink(load({"name": "a" * 64}))
    assert len(long.name) == 64
    assert long.name.endswith("-smoke")


def test_import_is_light() -> None:
    """Help and dry runs must not wait for the libraries that trials need."""
    code = "import sys, study.config, study.planning.units; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not {"torch", "ray", "sklearn", "scipy", "pandas", "numpy"} & set(loaded)


def test_a_name_in_place_of_a_file_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SweepError, match=r"^mine: no such file; did you mean sweeps/mine\.yaml\?$"
    ):
        load_sweep("mine")
