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
N_KILLS = int(os.environ.get("FAULTS", "30")) // 10


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


def _command(sweep_file: Path, results: Path) -> list[str]:
    options = ["--results", str(results), "--workers", "1", "--quiet"]
    return [sys.executable, "-m", "study.sweep", str(sweep_file), *options]


def _suggestions(results: Path) -> list[tuple]:
    works = read_table(results / "tiny", "works").sort_values("work")
    return list(zip(works["cell"], works["purpose"], map(str, works["seeds"]), strict=True))


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_killed_searches_end_like_whole_ones(sweep_file: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    started = time.monotonic()
    assert subprocess.run(_command(sweep_file, whole), timeout=280).returncode == 0
    duration = time.monotonic() - started
    rng = random.Random(0)
    for _ in range(N_KILLS):
        process = subprocess.Popen(_command(sweep_file, killed), start_new_session=True)
        try:
            process.wait(timeout=rng.uniform(0.3, 1.0) * duration)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert subprocess.run(_command(sweep_file, killed), timeout=280).returncode == 0
    assert _suggestions(killed) == _suggestions(whole)
    columns = ["trial_id", "cell", "spurious_mass", "k_samples_calibrated"]
    tables = [read_table(place / "tiny", "trials")[columns] for place in (whole, killed)]
    assert tables[0].equals(tables[1])
    manifest = json.loads((killed / "tiny" / "manifest.json").read_text())
    assert manifest["factors"] == ["latent_dim", "hidden"]
