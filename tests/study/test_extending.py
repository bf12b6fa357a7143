"""An edited sweep file trains what is new: counted on a small `latent_dims.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import study.execution.run
import study.trial.stack
from study.execution.trainable import unit_events
from study.results import read_table
from study.sweep import main

SWEEPS = Path(__file__).parents[2] / "sweeps"
SMALL = (
    "mixture.n_samples=300",
    "model.hidden=[8]",
    "training.epochs=2",
    "detection.n_samples=100",
    "detection.k_max=3",
    "detection.protocols=[calibrated]",
    "detection.sources=[data, samples]",
    "replicates.init=1",
)


@pytest.mark.slow
def test_extending_latent_dims_trains_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[int, int, int]] = []
    train = study.trial.stack.train_checkpoints

    def counted(points: Any, members: Any, **settings: Any) -> Any:
        width = settings["model"].latent_dim
        trained.extend((width, member.data_seed, member.init_seed) for member in members)
        return train(points, members, **settings)

    def execute(job: Any, work: Any, known: Any) -> None:
        for unit in work.units:
            list(unit_events(unit, folder=job.folder, device="cpu"))

    monkeypatch.setattr(study.trial.stack, "train_checkpoints", counted)
    monkeypatch.setattr(study.execution.run, "_execute", execute)

    def run(*changes: str) -> int:
        settings = [part for text in (*SMALL, *changes) for part in ("--set", text)]
        file = str(SWEEPS / "latent_dims.yaml")
        return main([file, "--results", str(tmp_path), "--quiet", *settings])

    assert run("replicates.data=1") == 0
    assert sorted(trained) == [(width, 0, 0) for width in (1, 2, 3, 4, 8)]
    trained.clear()
    # One more value and two more data seeds.
    longer = ("model.latent_dim=[1, 2, 3, 4, 6, 8]", "replicates.data=3")
    assert run(*longer) == 0
    new = {(width, seed, 0) for width in (1, 2, 3, 4, 6, 8) for seed in (1, 2)} | {(6, 0, 0)}
    assert sorted(trained) == sorted(new)
    assert len(read_table(tmp_path / "latent_dims", "trials")) == 18
    trained.clear()
    assert run(*longer, "detection.k_max=4") == 0
    assert trained == []
    trials = read_table(tmp_path / "latent_dims", "trials")
    assert trials["k_max"].eq(4).all()
    assert trials["status"].eq("done").all()
