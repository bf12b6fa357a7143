"""Trials that raise, diverge, exceed memory, hang, crash or are killed, among good ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.results import read_table
from tests.faults.harness import FAULTS, Bench

# A tenth of the faults is a tenth of the good trials; the bad ones stay.
N_GOOD = max(10, FAULTS // 2)
POISON = ("raise", "kill", "crash", "exit", "memory", "hang")
SWEEP = """
name: tiny
question: Do bad trials harm good ones?
fixed:
  mixture.n_samples: 200
  mixture.n_components: 3
  model.hidden: [8]
  training.epochs: 20
  training.timeout_min: 0.2
  detection.n_samples: 100
  detection.k_max: 3
  detection.sources: [means]
  resources.stack_size: 8
grid:
  training.learning_rate: [0.001, 10]
replicates: {data: 1, init: SEEDS}
"""
CAUSES = {
    "raise": ("failed", "RuntimeError: poison in the training"),
    "kill": ("failed", "was killed (SIGKILL"),
    "crash": ("failed", "crashed (SIGSEGV)"),
    "exit": ("failed", "or exited"),
    "memory": ("failed", "Unable to allocate"),
    "hang": ("timeout", "passed training.timeout_min = 0.2"),
}


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_poison_stays_alone(tmp_path: Path) -> None:
    n_seeds = N_GOOD + len(POISON)
    step = n_seeds // len(POISON)
    seeds = {index * step + 1: kind for index, kind in enumerate(POISON)}
    bench = Bench(tmp_path, text=SWEEP.replace("SEEDS", str(n_seeds)))
    bench.env = {"FAULT_POISON": json.dumps(seeds), "FAULT_GRACE_S": "15"}
    status, out, err = bench.run()
    assert status == 1, out + err
    assert "Traceback" not in err
    rows = read_table(bench.results, "trials")
    good = rows[rows["learning_rate"] < 1].set_index("init_seed")
    assert len(good) == n_seeds
    fine = good.drop(index=list(seeds))
    assert fine["status"].eq("done").all(), fine[["status", "message"]]
    for seed, kind in seeds.items():
        wanted, cause = CAUSES[kind]
        row = good.loc[seed]
        assert row["status"] == wanted, (kind, row["message"])
        assert cause in row["message"], (kind, row["message"])
    divergent = rows[rows["learning_rate"] > 1].set_index("init_seed").drop(index=list(seeds))
    assert divergent["status"].isin(["diverged", "done"]).all()
    assert divergent["status"].eq("diverged").any()
