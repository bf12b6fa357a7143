"""Plug-ins: loading, names, digests in ids, what is missing, and workers that load them again."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study import plugins
from study.config import (
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    SweepError,
    TrainingConfig,
    all_fields,
    load_sweep,
    read_resolved,
    resolve,
)
from study.config.cells import make_cell
from study.data.mixture import draw_mixture
from study.planning.packing import plan_stacks
from study.planning.units import Trial, expand, plugins_of
from study.plugins import PluginError, install, load_plugins, loaded, unload
from study.results import SCHEMAS, to_table
from study.trial.again import run_again
from study.trial.stack import run_stack

RING = '''
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from study.data.families import MixtureFamily
from study.data.mixture import TrueMixture
from study.plugins import MIXTURES


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings.

    Parameters
    ----------
    radius : float
        Of the circle.
    """

    radius: Annotated[float, Interval(gt=0, le=100)] = 5.0


@MIXTURES.register("hoop")
class Ring(MixtureFamily):
    Options = Options
    reads = ("n_components",)

    def shape(self, config, options):
        return config.n_components, 2

    def draw(self, config, options, rng):
        angles = 2 * np.pi * np.arange(config.n_components) / config.n_components
        means = options.radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        weights = np.full(len(means), 1 / len(means))
        return TrueMixture(weights=weights, means=means, variances=np.ones_like(means))
'''
HALVES = """
import numpy as np

from study.plugins import GENERATORS
from study.training.generators import Generator


@GENERATORS.register("halves")
class Halves(Generator):
    reads = ("epochs",)

    def fit(self, points, seeds, options, training):
        for epoch in range(training.epochs):
            yield 1.0 / (epoch + 1)
        return {"points": points, "shift": np.array(0.1)}

    def sample(self, state, n_samples, rng):
        rows = rng.integers(len(state["points"]), size=n_samples)
        return state["points"][rows] + state["shift"].item()
"""
SWEEP = """
name: hoop
fixed: {mixture: {kind: hoop, n_samples: 200}, detection: {n_samples: 200, k_max: 4}}
grid: {hoop.radius: [1, 2]}
"""


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    for plugin in loaded():
        unload(plugin.name)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def make_trial(**kinds: str) -> Trial:
    mixture = MixtureConfig(kind=kinds.get("family", "box"), n_samples=200)
    return Trial(
        mixture=mixture,
        model=ModelConfig(kind=kinds.get("kind", "vae"), hidden=(8,)),
        training=TrainingConfig(epochs=2),
        detection=DetectionConfig(n_samples=200, k_max=4, protocols=("calibrated",)),
    )


def ids(**kinds: str) -> dict[str, str]:
    trial = make_trial(**kinds)
    names = ("data_id", "training_id", "trial_id", "control_id")
    return {name: getattr(trial, name) for name in names}


def changed(old: dict[str, str], new: dict[str, str]) -> set[str]:
    return {name for name in old if old[name] != new[name]}


def test_a_digest_is_part_of_the_ids_that_depend_on_it(tmp_path: Path) -> None:
    plain = ids()
    load_plugins([write(tmp_path, "hoop", RING), write(tmp_path, "halves", HALVES)])
    hoop, halves = ids(family="hoop"), ids(kind="halves")
    assert ids() == plain
    load_plugins([write(tmp_path, "hoop", RING + "\n# edited\n")])
    assert changed(hoop, ids(family="hoop")) == set(hoop)
    assert (ids(), ids(kind="halves")) == (plain, halves)
    load_plugins([write(tmp_path, "halves", HALVES + "\n# edited\n")])
    assert changed(halves, ids(kind="halves")) == {"training_id", "trial_id"}
    assert ids() == plain


def test_options_are_fields_and_columns(tmp_path: Path) -> None:
    load_plugins([write(tmp_path, "hoop", RING)])
    assert all_fields()["hoop.radius"].description == "Of the circle."
    (tmp_path / "hoop.yaml").write_text(SWEEP)
    sweep = load_sweep(tmp_path / "hoop.yaml")
    trials = expand(sweep)
    assert [trial.cell for trial in trials] == ["hoop_radius=1", "hoop_radius=2"]
    assert len({trial.data_id for trial in trials}) == 2
    assert expand(read_resolved(resolve(sweep))) == trials
    assert list(plugins_of(sweep)) == ["hoop"]
    # Only points differ: they are trained together.
    assert len(plan_stacks(trials, n_workers=1)) == 1
    mixture = draw_mixture(trials[1].mixture, 0)
    assert np.linalg.norm(mixture.means, axis=1) == pytest.approx(2)
    with pytest.raises(SweepError, match=r"hoop.radius: must be a number above 0, at most 100"):
        load_sweep(tmp_path / "hoop.yaml", ["hoop.radius=0"])
    with pytest.raises(SweepError, match=r"mixture.box: has no effect on mixture.kind: hoop"):
        load_sweep(tmp_path / "hoop.yaml", ["mixture.box=3"])


def test_what_has_no_effect_separates_no_cells(tmp_path: Path) -> None:
    load_plugins([write(tmp_path, "halves", HALVES)])
    one = make_cell({"model.kind": "halves", "model.latent_dim": 3, "training.batch_size": 7})
    assert one == make_cell({"model.kind": "halves"})
    assert one != make_cell({"model.kind": "halves", "training.epochs": 7})
    columns = one.columns
    assert columns["latent_dim"] is None
    assert columns["batch_size"] is None
    assert columns["epochs"] == 100
    assert columns["model_kind"] == "halves"


def test_a_sweep_file_alone_imports_nothing(tmp_path: Path) -> None:
    write(tmp_path, "hoop", "raise SystemExit")
    (tmp_path / "hoop.yaml").write_text(SWEEP)
    with pytest.raises(SweepError, match=r"--plugin FILE\.py"):
        load_sweep(tmp_path / "hoop.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"plug-in bad, line 1: ZeroDivisionError"),
        ("import nowhere_to_be_found", r"plug-in bad, line 1: ModuleNotFoundError"),
        ("def (", r"plug-in bad: SyntaxError"),
        (RING.replace('"hoop"', '"box"'), r"the name is taken"),
        (RING.replace('"hoop"', '"model"'), r"not a word of sweep files"),
        (RING.replace('"hoop"', '"Ring 8"'), r"lower-case letters"),
        (
            "from study.plugins import GENERATORS\n"
            "@GENERATORS.register('bare')\nclass Bare:\n    fit = sample = None",
            r"generator 'bare': lacks reads",
        ),
    ],
)
def test_a_bad_plugin_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        load_plugins([write(tmp_path, "bad", text)])
    assert loaded() == ()
    assert list(plugins.MIXTURES) == list(plugins.MIXTURES.builtin)


def test_files_that_are_no_plugins(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="cannot be read"):
        load_plugins([tmp_path / "absent.py"])
    (tmp_path / "hoop-8.py").write_text("")
    with pytest.raises(PluginError, match="must be a Python file"):
        load_plugins([tmp_path / "hoop-8.py"])
    with pytest.raises(PluginError, match="only a plug-in adds it"):
        plugins.MIXTURES.register("mine")(object)


def test_a_folder_names_the_plugin_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"results/x: was made with the plug-in hoop \(ab12\)"):
        plugins.require({"hoop": "ab12"}, place="results/x")
    load_plugins([write(tmp_path, "hoop", RING)])
    plugins.require({"hoop": "ab12"}, place="results/x")


def test_units_need_no_plugin_to_be_read(tmp_path: Path) -> None:
    """A worker reads its units before it has loaded anything."""
    load_plugins([write(tmp_path, "hoop", RING)])
    cell = make_cell({"mixture.kind": "hoop", "hoop.radius": 2.0})
    content = pickle.dumps((cell, loaded()))
    code = (
        "import pickle, sys; cell, found = pickle.loads(sys.stdin.buffer.read());"
        "from study.plugins import install; install(found);"
        "from study.data.mixture import draw_mixture; print(draw_mixture(cell.mixture, 0).dim)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True)
    assert done.stdout.split() == [b"2"], done.stderr


def test_an_installed_plugin_must_be_the_same_everywhere() -> None:
    plugin = plugins.Plugin(name="absent", digest="ab12", source=None)
    with pytest.raises(PluginError, match=r"absent .ab12. is not installed"):
        install([plugin])


def test_an_entry_point_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "hoop_of_mine", RING)
    record = tmp_path / "hoops-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: hoops\nVersion: 1.0\n")
    (record / "entry_points.txt").write_text("[mode_study.plugins]\nhoop = hoop_of_mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (plugin,) = load_plugins()
    assert (plugin.name, plugin.source) == ("hoop", None)
    assert plugins.MIXTURES.digest("hoop") == plugin.digest
    install(loaded())
    sys.modules.pop("hoop_of_mine")


def kind_trial(**training: Any) -> Trial:
    trial = make_trial(kind="halves")
    return Trial(
        mixture=trial.mixture,
        model=ModelConfig(kind="halves"),
        training=TrainingConfig(**{"epochs": 2, **training}),
        detection=trial.detection,
    )


@pytest.mark.slow
def test_a_kind_is_trained_stored_and_measured(tmp_path: Path) -> None:
    load_plugins([write(tmp_path, "halves", HALVES)])
    (stack,) = plan_stacks([kind_trial()], n_workers=1)
    tables = run_stack(stack)
    (row,) = tables["trials"]
    assert row["status"] == "done"
    assert row.get("fkl_nats") is None
    assert row.get("recon") is None
    assert row["k_samples_calibrated"] >= 1
    assert [curve["loss"] for curve in tables["curves"]] == [1.0, 0.5]
    assert [weights["name"] for weights in tables["weights"]] == ["points", "shift"]
    for name, rows in tables.items():
        to_table(name, rows)
    again = run_again(kind_trial())["trials"].to_pylist()[0]
    same = ("trial_id", "k_samples_calibrated", "mode_recall", "c2st", "spurious_mass")
    assert {name: again[name] for name in same} == {name: row[name] for name in same}


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (('"points": points', '"points": points * np.nan'), "diverged", "NaN or infinity in"),
        (("1.0 / (epoch + 1)", "np.inf"), "diverged", "NaN or infinity in epoch 1"),
        (("yield 1.0", "import time; time.sleep(0.2); yield 1.0"), "timeout", "timeout_min"),
        (('"points": points', '"points": points[:, :1]'), "failed", "must return an array"),
    ],
)
def test_a_kind_that_does_not_end_well_is_a_row(
    tmp_path: Path, change: tuple[str, str], status: str, message: str
) -> None:
    load_plugins([write(tmp_path, "halves", HALVES.replace(*change))])
    limits = {"timeout_min": 0.001} if status == "timeout" else {}
    (stack,) = plan_stacks([kind_trial(**limits)], n_workers=1)
    (row,) = run_stack(stack)["trials"]
    assert row["status"] == status
    assert message in row["message"]


def test_a_table_has_the_columns_of_loaded_endpoints(tmp_path: Path) -> None:
    text = (
        "from study.plugins import ENDPOINTS\nfrom study.results import Endpoint\n"
        "ENDPOINTS.register('twice')(Endpoint(name='twice', title='twice', unit='points',\n"
        "    better='low', rests_on='points', compute=lambda generated: 2.0))\n"
    )
    before = ids()
    assert "twice" not in SCHEMAS["trials"].names
    load_plugins([write(tmp_path, "twice", text)])
    assert "twice" in SCHEMAS["trials"].names
    assert changed(before, ids()) == {"trial_id"}
