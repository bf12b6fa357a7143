"""docs/extending.md: what is printed there is written into files and used, word by word."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from study.execution.exit_status import ExitStatus
from study.results import read_table

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
PLUGINS = ("corners.py", "kernels.py", "restarted.py", "energy.py")
SWEEP = """
name: recipes
question: Does every recipe run?
fixed:
  mixture: {kind: corners, dim: 2, n_samples: 300}
  corners.sd: 0.3
  detection: {n_samples: 200, k_max: 6, sources: [data, samples]}
  detection.protocols: [calibrated, restarted]
blocks:
  - fixed: {model.hidden: [8], training.epochs: 2}
    grid: {corners.reach: [1, 4]}
  - fixed: {model.kind: kernels}
    grid: {corners.reach: [1, 4], kernels.bandwidth: [0.2, 1]}
replicates: {data: 2}
"""
JITTERED = """
name: jittered
fixed:
  mixture: {n_components: 3, n_samples: 300}
  model.hidden: [8]
  training.epochs: 2
  detection: {n_samples: 200, k_max: 4, sources: [data, samples], protocols: [calibrated]}
grid:
  mixture.jitter: [0, 5]
"""


def blocks(kind: str) -> list[str]:
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def write_recipes(folder: Path) -> list[str]:
    """Write the Python files of the page, under the names in their first lines."""
    names = []
    for code in blocks("python"):
        name = code.partition("\n")[0].removeprefix("# ")
        (folder / name).write_text(code, encoding="utf-8")
        names.append(name)
    return names


def command(folder: Path, *words: str, first: Path | None = None) -> subprocess.CompletedProcess:
    path = os.pathsep.join(str(place) for place in (first, ROOT) if place)
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def succeed(folder: Path, *words: str, first: Path | None = None) -> str:
    done = command(folder, *words, first=first)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_has_a_recipe_for_each_door(tmp_path: Path) -> None:
    wanted = ["energy.py", "kernels.py", "seconds.py", "restarted.py", "corners.py", "pbs.py"]
    assert write_recipes(tmp_path) == wanted
    # One file a recipe, and two for a field.
    (diff,) = blocks("diff")
    assert len(re.findall(r"^\+\+\+ b/", diff, re.MULTILINE)) == 2


@pytest.mark.slow
def test_plugins_are_swept_resumed_counted_again_verified_and_reported(tmp_path: Path) -> None:
    write_recipes(tmp_path)
    (tmp_path / "recipes.yaml").write_text(SWEEP)
    named = [word for name in PLUGINS for word in ("--plugin", name)]
    sweep = ("-m", "study.sweep", "recipes.yaml", "--quiet", "--workers", "2")
    without = command(tmp_path, *sweep)
    assert without.returncode == 2
    hint = "corners.sd: no such field; the fields of a plug-in need --plugin FILE.py"
    assert hint in without.stderr

    # Stopped before the end, which the exit status says.
    limited = command(tmp_path, *sweep, *named, "--limit", "4")
    assert limited.returncode == ExitStatus.STOPPED, limited.stdout + limited.stderr
    folder = tmp_path / "results" / "recipes"
    first = read_table(folder, "trials").set_index("trial_id")
    assert len(first) == 4
    # The rest, each measured by a process of its own.
    succeed(tmp_path, *sweep, *named, "--set", "resources.cpus=2")
    trials = read_table(folder, "trials")
    check_rows(trials, read_table(folder, "nulls"))
    again = trials.set_index("trial_id").loc[first.index]
    assert (again["finished_at"] == first["finished_at"]).all()

    forgotten = command(tmp_path, *sweep, *named[:6])
    assert forgotten.returncode == 2
    assert "made with the plug-in energy" in forgotten.stderr
    missing = command(tmp_path, *sweep)
    assert missing.returncode == 2
    assert "made with the plug-in corners" in missing.stderr

    text = succeed(tmp_path, "-m", "study.verify", "results/recipes", "-n", "2", *named)
    assert "2 of 2 trials equal" in text
    rescore = ("-m", "study.rescore", "results/recipes", "--set", "detection.k_max=5", "--quiet")
    succeed(tmp_path, *rescore, *named)
    recounted = read_table(folder, "trials")
    assert recounted["status"].eq("done").all()
    assert set(recounted["training_id"]) == set(trials["training_id"])
    assert recounted["train_s"].isin(trials["train_s"]).all()
    state = json.loads(
        succeed(tmp_path, "-m", "study.status", "results/recipes", "--json", *named)
    )
    assert state["state"] == "complete"

    report = ("-m", "analysis.report", "results/recipes")
    succeed(tmp_path, *report, *named, "--plugin", "seconds.py")
    assert (folder / "figures" / "seconds.png").exists()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "energy distance" in page
    assert "Time of the trainings" in page


def check_rows(trials: pd.DataFrame, nulls: pd.DataFrame) -> None:
    assert trials["status"].eq("done").all(), trials["message"].dropna().tolist()
    assert len(trials) == 12
    assert trials["mixture_kind"].eq("corners").all()
    assert set(trials["corners_reach"]) == {1.0, 4.0}
    assert trials["dim"].eq(2).all()
    # What no kind has a use for is null, and what only one has is null for the other.
    assert trials["box_half_width"].isna().all()
    is_network = trials["model_kind"] == "vae"
    assert trials["latent_dim"].notna().equals(is_network)
    assert trials["kernels_bandwidth"].isna().equals(is_network)
    assert trials["recon"].notna().equals(is_network)
    everywhere = ["k_samples_restarted", "k_data_restarted", "energy_distance", "fkl_nats"]
    assert trials[[*everywhere, "k_samples_calibrated"]].notna().all(axis=None)
    assert nulls[["k_restarted", "energy_distance"]].notna().all(axis=None)
    # The reach is a factor, and wide cubes are easier.
    wide = trials[~is_network & (trials["corners_reach"] == 4) & (trials["kernels_bandwidth"] < 1)]
    assert wide["k_samples_restarted"].eq(4).all()


@pytest.mark.slow
def test_a_field_is_two_files(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "study", tmp_path / "study")
    (diff,) = blocks("diff")
    patch = ["git", "apply", "-"]
    subprocess.run(patch, input=diff, cwd=tmp_path, check=True, text=True)
    (tmp_path / "jittered.yaml").write_text(JITTERED)
    succeed(tmp_path, "-m", "study.sweep", "jittered.yaml", "--quiet", first=tmp_path)
    trials = read_table(tmp_path / "results" / "jittered", "trials").set_index("jitter")
    assert trials["status"].eq("done").all()
    assert list(trials["cell"]) == ["jitter=0", "jitter=5"]
    # Other points are other data, and no stack mixes them.
    assert trials["data_id"].nunique() == trials["stack_id"].nunique() == 2
    assert trials.loc[5.0, "train_recon"] > trials.loc[0.0, "train_recon"]
    succeed(tmp_path, "-m", "analysis.report", "results/jittered", first=tmp_path)
    # At its default it is not there: the ids are those of the project without it.
    ids = (
        "from study.planning.units import Trial; from study.config import *;"
        "print(Trial(mixture=MixtureConfig(), model=ModelConfig(), training=TrainingConfig(),"
        "detection=DetectionConfig()).trial_id)"
    )
    assert succeed(tmp_path, "-c", ids, first=tmp_path) == succeed(tmp_path, "-c", ids)


@pytest.mark.slow
def test_a_cluster_backend_is_a_script(tmp_path: Path) -> None:
    write_recipes(tmp_path)
    fields = JITTERED.replace("mixture.jitter: [0, 5]", "model.latent_dim: [1, 2]")
    (tmp_path / "tiny.yaml").write_text(fields)
    script = succeed(tmp_path, "pbs.py", "tiny.yaml", str(tmp_path / "shared"))
    assert "#PBS -N jittered" in script
    # A batch system runs it with its own shell.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash"], input=script, cwd=tmp_path, env=environment, check=True, text=True)
    trials = read_table(tmp_path / "shared" / "jittered", "trials")
    assert trials["status"].eq("done").all()
