"""Adaptive sweeps through the command, on real Ray."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from study.results import read_table
from study.sweep import main

TEXT = """
name: tiny
fixed:
  mixture: {n_components: 3, n_samples: 300}
  training.epochs: 1
  detection: {sources: [samples], protocols: [calibrated], n_samples: 200, k_max: 4}
search:
  space:
    model.latent_dim: {uniform: [1, 4]}
    model.hidden: [[4], [8]]
  objective: spurious_mass
  trials: 14
  remeasure: 1
replicates: {data: 2}
"""
N_KILLS = int(os.environ.get("FAULTS", "20")) // 10


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT)
    return path


def test_dry_run_prints_the_space_and_the_budget(sweep_file: Path, capsys, tmp_path: Path) -> None:
    assert main([str(sweep_file), "--dry-run", "--results", str(tmp_path / "r")]) == 0
    out = capsys.readouterr().out
    assert "model.latent_dim  1 to 4" in out
    assert "minimize spurious_mass, by tpe" in out
    assert "At most 14 trials" in out
    assert not (tmp_path / "r").exists()


def test_force_is_refused(sweep_file: Path, capsys, tmp_path: Path) -> None:
    assert main([str(sweep_file), "--force", "--results", str(tmp_path / "r")]) == 2
    assert "--force" in capsys.readouterr().err


PLAIN = "name: plain\ngrid: {model.latent_dim: [1, 2]}\n"


@pytest.mark.parametrize(
    ("text", "url", "message"),
    [
        (PLAIN, "sqlite:///x.db", "--storage: only an adaptive sweep"),
        (TEXT, "sqlite:////no/such/folder/x.db", "--storage: sqlite:////no/such/folder/x.db: "),
        (TEXT, "nosuch://me:secret@host/x", "--storage: nosuch://...@host/x: "),
        (TEXT, "postgresql://me:${NO_SUCH_NAME}@h/x", "'NO_SUCH_NAME' is not set"),
    ],
)
def test_a_wrong_storage_is_refused_before_any_work(
    text: str, url: str, message: str, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    assert main([str(path), "--storage", url, "--results", str(tmp_path / "r")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "r").exists()


STOPPING = TEXT.replace("epochs: 1", "epochs: 4\n  training.checkpoints: 1").replace(
    "trials: 14", "trials: 24\n  sampler: random\n  stop_after: 1\n  stop_factor: 2"
)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_stopped_cells_leave_a_search_complete(tmp_path: Path, capfd) -> None:
    path, url = tmp_path / "tiny.yaml", f"sqlite:///{tmp_path}/copy.db"
    path.write_text(STOPPING)
    command = [*_command(path, tmp_path)[:-1], "--storage", url]
    assert subprocess.run(command, timeout=280).returncode == 0
    trials, rungs = (read_table(tmp_path / "tiny", name) for name in ("trials", "rungs"))
    stopped = trials[trials["status"].eq("stopped")]
    assert set(trials["status"]) == {"done", "stopped"}
    assert stopped["message"].str.match(r"stopped after [12] of 4 epochs: ").all()
    assert set(stopped["trial_id"]) <= set(rungs["trial_id"])
    assert f"{len(stopped)} stopped early, 0 failed, 0 left" in capfd.readouterr().out
    before = (tmp_path / "tiny" / "trials.parquet").read_bytes()
    retried = [*command, "--retry-failed"]
    assert subprocess.run(retried, timeout=280).returncode == 0
    assert (tmp_path / "tiny" / "trials.parquet").read_bytes() == before
    states = [t.state.name for t in optuna.load_study(study_name="tiny", storage=url).trials]
    assert states.count("PRUNED") == stopped["cell"].nunique()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_cmaes_goes_on_after_its_first_ten_cells(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    text = TEXT.replace("model.hidden: [[4], [8]]", "training.kl_weight: {log: [0.1, 2]}")
    path.write_text(text.replace("trials: 14", "trials: 26\n  sampler: cmaes"))
    command = [*_command(path, tmp_path), "--workers", "2"]
    assert subprocess.run(command, timeout=560).returncode == 0
    trials = read_table(tmp_path / "tiny", "trials")
    assert trials["status"].eq("done").all()
    assert len(trials) == 26
    assert trials["cell"].nunique() >= 12


def _command(sweep_file: Path, results: Path) -> list[str]:
    options = ["--results", str(results), "--workers", "1", "--quiet"]
    return [sys.executable, "-m", "study.sweep", str(sweep_file), *options]


def _assert_same(left: Path, right: Path) -> None:
    """Demand the same suggestions, limits at rungs and numbers, to the bit."""
    works = [read_table(place / "tiny", "works").sort_values("work") for place in (left, right)]
    columns = ["cell", "purpose", "rungs"]
    assert works[0][columns].equals(works[1][columns])
    assert list(map(str, works[0]["seeds"])) == list(map(str, works[1]["seeds"]))
    for name, columns in {
        "trials": ["trial_id", "cell", "status", "message", "spurious_mass"],
        "rungs": ["trial_id", "epoch", "value"],
    }.items():
        tables = [
            read_table(place / "tiny", name)[columns].sort_values(columns[:2], ignore_index=True)
            for place in (left, right)
        ]
        assert tables[0].equals(tables[1])


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("kind", ["plain", "stopping"])
def test_killed_searches_end_like_whole_ones(kind: str, tmp_path: Path) -> None:
    sweep_file, whole = tmp_path / "tiny.yaml", tmp_path / "whole"
    sweep_file.write_text({"plain": TEXT, "stopping": STOPPING}[kind])
    started = time.monotonic()
    assert subprocess.run(_command(sweep_file, whole), timeout=280).returncode == 0
    duration = time.monotonic() - started
    rng = random.Random(0)
    n_killed, n_whole = 0, 0
    while True:
        # A search that came to its end makes room for another: every kill hits one that runs.
        killed = tmp_path / f"killed-{n_whole}"
        process = subprocess.Popen(_command(sweep_file, killed), start_new_session=True)
        moment_s = rng.uniform(0.1, 0.8) * duration
        try:
            process.wait(timeout=280 if n_killed == N_KILLS else moment_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            n_killed += 1
            assert n_killed <= N_KILLS, "the last search does not end"
            continue
        assert process.returncode == 0
        _assert_same(killed, whole)
        n_whole += 1
        if n_killed == N_KILLS:
            break
    print(f"{n_killed} kills, {n_whole} searches")
    manifest = json.loads((killed / "tiny" / "manifest.json").read_text())
    assert manifest["factors"] == ["latent_dim", "hidden"]
