"""Measuring stored weights: nothing is trained twice, and every number is that of one go."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import study.execution.run
import study.planning.trials
import study.rescore
import study.trial.stack
from study.execution.trainable import unit_events
from study.planning.units import Stack
from study.results import open_folder, read_table
from study.sweep import main

SWEEP = """
name: tiny
question: Does it run?
fixed:
  mixture.n_samples: 300
  model.hidden: [8]
  training.epochs: 3
  training.checkpoints: 2
  detection.n_samples: 150
  detection.k_max: 3
  detection.sources: [data, samples, codes]
  detection.protocols: [calibrated]
grid:
  training.learning_rate: [1.0e-3, 1.0e+1]
replicates: {data: 2}
"""
CIRCUMSTANCES = {"stack_id", "train_s", "count_s", "endpoints_s", "finished_at"}
TABLES = ("trials", "curves", "counts", "components", "recall", "outside", "points", "controls")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Run units in this process; the list holds the number of models of each training."""
    models: list[int] = []
    train = study.trial.stack.train_checkpoints

    def counted(points: Any, members: Any, **settings: Any) -> Any:
        models.append(len(members))
        return train(points, members, **settings)

    def execute(job: Any, work: Any, known: Any) -> None:
        for unit in work.units:
            list(unit_events(unit, folder=job.folder, device="cpu"))

    monkeypatch.setattr(study.trial.stack, "train_checkpoints", counted)
    monkeypatch.setattr(study.execution.run, "_execute", execute)
    return models


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def write(place: Path, **changes: str) -> None:
    text = SWEEP
    for old, new in changes.items():
        text = text.replace({"k_max": "k_max: 3", "rates": "[1.0e-3, 1.0e+1]"}[old], new)
    (place / "tiny.yaml").write_text(text)


def run(place: Path, *options: str, results: str = "results") -> int:
    return main([str(place / "tiny.yaml"), "--results", str(place / results), "--quiet", *options])


def table(place: Path, name: str = "trials", results: str = "results") -> pd.DataFrame:
    frame = read_table(place / results / "tiny", name)
    frame = frame.drop(columns=[c for c in frame if c in CIRCUMSTANCES])
    keys = [c for c in frame if c.endswith("_id") or c in ("source", "protocol")]
    order = [
        *keys,
        *(c for c in ("epoch", "k", "index", "component", "threshold", "level") if c in frame),
    ]
    return frame.sort_values(order, kind="stable").reset_index(drop=True)


def assert_equal_results(place: Path, left: str, right: str) -> None:
    """Demand equality to the bit of every table."""
    for name in TABLES:
        frames = [table(place, name, results) for results in (left, right)]
        pd.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.mark.slow
def test_a_changed_detection_trains_nothing_and_gives_the_numbers_of_one_go(
    place: Path, trained: list[int]
) -> None:
    write(place, rates="[1.0e-3, 1.0e-2]")
    assert run(place) == 0
    assert sum(trained) == 4
    before = table(place)
    trained.clear()
    write(place, rates="[1.0e-3, 1.0e-2]", k_max="k_max: 4")
    assert run(place) == 0
    assert trained == []
    assert not set(table(place)["trial_id"]) & set(before["trial_id"])
    assert run(place, results="fresh") == 0
    assert sum(trained) == 4
    assert_equal_results(place, "results", "fresh")
    # The old rows are hidden, not gone.
    trained.clear()
    write(place, rates="[1.0e-3, 1.0e-2]")
    assert run(place) == 0
    assert trained == []
    pd.testing.assert_frame_equal(table(place), before)


@pytest.mark.slow
def test_a_diverged_training_is_carried_over(place: Path, trained: list[int]) -> None:
    run(place)
    statuses = table(place)["status"].value_counts().to_dict()
    assert statuses == {"done": 2, "diverged": 2}
    trained.clear()
    write(place, k_max="k_max: 4")
    run(place)
    assert trained == []
    assert table(place)["status"].value_counts().to_dict() == statuses
    run(place, results="fresh")
    assert_equal_results(place, "results", "fresh")


@pytest.mark.parametrize(
    "damage",
    ["cut", *(pytest.param(how, marks=pytest.mark.slow) for how in ("deleted", "flipped"))],
)
def test_damaged_weights_are_trained_again(
    place: Path, trained: list[int], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, rates="[1.0e-3]")
    run(place)
    for shard in (place / "results" / "tiny" / "weights").iterdir():
        content = bytearray(shard.read_bytes())
        if damage == "deleted":
            shard.unlink()
        elif damage == "cut":
            shard.write_bytes(content[: len(content) // 2])
        else:
            middle = content.index(b"PAR1") + 400
            content[middle : middle + 50] = bytes(50)
            shard.write_bytes(content)
    trained.clear()
    write(place, rates="[1.0e-3]", k_max="k_max: 4")
    assert run(place) == 0
    assert sum(trained) == 2
    if damage != "flipped":
        assert "run again" in capsys.readouterr().err
    assert run(place, results="fresh") == 0
    assert_equal_results(place, "results", "fresh")


@pytest.mark.slow
def test_weights_of_another_folder_are_used_and_copied(place: Path, trained: list[int]) -> None:
    write(place, rates="[1.0e-3]")
    run(place)
    trained.clear()
    other = str(place / "results" / "tiny")
    write(place, rates="[1.0e-3]", k_max="k_max: 4")
    assert run(place, "--weights-from", other, results="new") == 0
    assert trained == []
    assert run(place, results="fresh") == 0
    assert_equal_results(place, "new", "fresh")
    weights = [
        open_folder(place / results / "tiny")
        .read_raw("weights")
        .sort_by([("training_id", "ascending"), ("name", "ascending")])
        for results in ("results", "new")
    ]
    assert weights[0].equals(weights[1])


def test_weights_from_nowhere_is_one_line(
    place: Path, trained: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "--weights-from", str(place / "nothing")) == 2
    assert "no manifest.json here" in capsys.readouterr().err


@pytest.mark.slow
def test_force_trains_although_weights_are_there(place: Path, trained: list[int]) -> None:
    write(place, rates="[1.0e-3]")
    run(place)
    trained.clear()
    run(place, "--force")
    assert sum(trained) == 2


@pytest.mark.slow
def test_trials_of_one_training_do_not_depend_on_their_company(
    place: Path, trained: list[int]
) -> None:
    """Trials that count different numbers of points share a training, and nothing else."""
    (place / "tiny.yaml").write_text(
        SWEEP.replace("  detection.n_samples: 150\n", "").replace(
            "training.learning_rate: [1.0e-3, 1.0e+1]", "detection.n_samples: [100, 150]"
        )
    )
    assert run(place) == 0
    assert sum(trained) == 2
    together = table(place)
    for n_samples in (100, 150):
        run(place, "--set", f"detection.n_samples={n_samples}", results=f"only{n_samples}")
        alone = table(place, results=f"only{n_samples}").drop(columns="cell")
        mine = together[together["detection_n_samples"] == n_samples].drop(columns="cell")
        pd.testing.assert_frame_equal(mine.reset_index(drop=True), alone, check_exact=True)


def test_units_of_stored_weights_are_small_and_say_so(place: Path, trained: list[int]) -> None:
    trial = study.execution.run.expand(study.config.load_sweep(place / "tiny.yaml"))[0]
    stored = study.planning.units.StoredTraining(
        training_id=trial.training_id,
        trial_id="earlier",
        status="done",
        message=None,
        train_recon=1.0,
        train_kl_nats=1.0,
        train_s=1.0,
        active_units=1,
        location="somewhere",
        shard="file.parquet",
    )
    (unit,) = study.planning.units.plan_loaded(
        [trial], n_workers=2, stored={trial.training_id: stored}
    )
    assert isinstance(unit, Stack)
    assert unit.shape == "1 trial of stored weights, 150 points each"
    assert unit.singles()[0].stored == (stored,)


def rescore(place: Path, *options: str) -> int:
    return study.rescore.main([str(place / "results" / "tiny"), "--quiet", *options])


def test_rescore_counts_a_folder_again_and_trains_nothing(place: Path, trained: list[int]) -> None:
    write(place, rates="[1.0e-3]")
    run(place)
    trained.clear()
    assert rescore(place, "--set", "detection.k_max=4") == 0
    assert table(place)["k_max"].tolist() == [4, 4]
    # As a whole: the next one starts from what the folder is by now.
    assert rescore(place, "--set", "replicates.sample=2", "--dry-run") == 0
    assert rescore(place, "--set", "detection.n_samples=100") == 0
    assert table(place)["k_max"].tolist() == [4, 4]
    assert table(place)["detection_n_samples"].tolist() == [100, 100]
    assert trained == []
    run(place, "--set", "detection.k_max=4", "--set", "detection.n_samples=100", results="fresh")
    assert_equal_results(place, "results", "fresh")


@pytest.mark.slow
def test_rescore_after_a_new_scoring_version(
    place: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, rates="[1.0e-3]")
    run(place)
    before = table(place)
    trained.clear()
    monkeypatch.setattr(study.planning.trials, "SCORING_VERSION", 10_000)
    assert rescore(place) == 0
    assert trained == []
    after = table(place)
    assert not set(after["trial_id"]) & set(before["trial_id"])
    ids = ["trial_id", "control_id"]
    by_seed = [
        f.drop(columns=ids).sort_values("data_seed", ignore_index=True) for f in (before, after)
    ]
    pd.testing.assert_frame_equal(*by_seed, check_exact=True)


def test_rescore_says_when_there_are_no_weights(
    place: Path, trained: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, rates="[1.0e-3]")
    run(place)
    shutil.rmtree(place / "results" / "tiny" / "weights")
    assert rescore(place, "--set", "detection.k_max=4") == 2
    assert "it holds no weights" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        rescore(place, "--set", "training.epochs=4")
    assert study.rescore.main([str(place)]) == 2
    assert "no manifest.json here" in capsys.readouterr().err


@pytest.mark.slow
def test_other_noise_counts_the_same_networks_again(place: Path, trained: list[int]) -> None:
    write(place, rates="[1.0e-3]")
    assert run(place) == 0
    before, trainings = table(place), len(trained)
    folder = str(place / "results" / "tiny")
    noisy = ["--set", "detection.noise_variance=40", "--quiet"]
    assert study.rescore.main([folder, *noisy, "--dry-run"]) == 0
    pd.testing.assert_frame_equal(table(place), before)
    assert study.rescore.main([folder, *noisy]) == 0
    after = table(place)
    assert len(trained) == trainings
    assert set(after["training_id"]) == set(before["training_id"])
    assert not set(after["trial_id"]) & set(before["trial_id"])
    assert (after["noise_variance"].dropna() == 40).all()
    frames = [frame.sort_values("training_id", ignore_index=True) for frame in (before, after)]
    assert (frames[1]["hq_samples"] != frames[0]["hq_samples"]).all()
    for column in ("recon", "loss", "hq_means"):
        pd.testing.assert_series_equal(*(frame[column] for frame in frames))
