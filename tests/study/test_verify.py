"""Running trials again: equal numbers are equal, one changed number is found."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import study.execution.run
import study.planning.trials
import study.trial.again
import study.verify
from study.execution.trainable import unit_events
from study.planning.units import Trial
from study.results import ResultsFolder, open_folder, read_certificate
from study.sweep import main
from study.trial.again import in_own_process

SWEEP = """
name: tiny
question: Does it run?
fixed:
  mixture.n_samples: 300
  model.hidden: [8]
  training.epochs: 2
  detection.n_samples: 150
  detection.k_max: 3
  detection.protocols: [calibrated]
  detection.sources: [data, samples]
replicates: {data: 2, init: 4}
"""


class InlinePool:
    """Run what is submitted at once, in this process."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __enter__(self) -> InlinePool:
        return self

    def __exit__(self, *_: object) -> None: ...
    def submit(self, action: Any, *arguments: Any) -> InlinePool:
        self.value = action(*arguments)
        return self

    def result(self) -> Any:
        return self.value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the sweep once, without Ray."""

    def execute(job: Any, work: Any, known: Any) -> None:
        for unit in work.units:
            list(unit_events(unit, folder=job.folder, device="cpu"))

    place = tmp_path_factory.mktemp("verify")
    (place / "tiny.yaml").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.execution.run, "_execute", execute)
        assert main([str(place / "tiny.yaml"), "--results", str(place), "--quiet"]) == 0
    return place / "tiny"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.fixture(scope="module")
def again() -> dict[tuple[str, bool], Any]:
    """Hold what doing trials again gave: each is done once."""
    return {}


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch, again: dict[tuple[str, bool], Any]) -> None:
    monkeypatch.setattr(study.trial.again, "ProcessPoolExecutor", InlinePool)

    def remember(trial: Trial, stored: Any, settings: Any) -> Any:
        key = (trial.trial_id, stored is None)
        if key not in again:
            again[key] = in_own_process(trial, stored, settings)
        return again[key]

    monkeypatch.setattr(study.verify, "in_own_process", remember)


def tamper(folder: Path, table: str, column: str, value: float | int | str) -> None:
    """Change one number of the first row."""
    place = open_folder(folder)
    rows = place.read_raw(table)
    values = rows[column].to_pylist()
    values[0] = value
    index = rows.schema.get_field_index(column)
    changed = rows.set_column(index, column, pa.array(values, rows.schema.field(column).type))
    place.write_table(f"{table}.parquet", changed)


def first_row(folder: Path, trial_id: str) -> dict[str, Any]:
    """Move a trial's rows to the front of the folder's `trials`, and return them."""
    rows = open_folder(folder).read_raw("trials")
    place = rows["trial_id"].to_pylist().index(trial_id)
    order = [place, *(i for i in range(len(rows)) if i != place)]
    open_folder(folder).write_table("trials.parquet", rows.take(order))
    return rows.slice(place, 1).to_pylist()[0]


@pytest.mark.usefixtures("inline")
def test_equal_rows_get_a_certificate_and_a_changed_number_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.verify.main([str(folder), "-n", "1"]) == 0
    assert "1 of 1 trials equal (to the bit)" in capsys.readouterr().out
    found = read_certificate(folder)
    assert found is not None
    assert found["equal"]
    assert found["level"] == "to the bit"
    assert found["n_numbers"] > 100
    assert found["columns"]["trials.recon"] == {
        "n": 1,
        "n_unequal": 0,
        "largest": 0.0,
        "of_tolerance": 0.0,
    }
    assert found["stages"] == study.verify.stage_versions()
    row = first_row(folder, found["trials"][0]["trial_id"])
    # Rows of before the kinds of processors were named: equal bits are equal bits.
    tamper(folder, "trials", "cpu", row["cpu"].partition(" (")[0])
    assert study.verify.main([str(folder), "-n", "1"]) == 0
    assert "do not name the kind" in capsys.readouterr().out
    tamper(folder, "trials", "cpu", row["cpu"])
    tamper(folder, "trials", "recon", row["recon"] * (1 + 1e-15) + 1e-15)
    assert study.verify.main([str(folder), "-n", "1"]) == 1
    text = capsys.readouterr().out
    assert "trials.recon" in text
    assert "0 of 1 trials equal" in text
    assert json.loads((folder / "verify.json").read_text())["trials"][0]["n_differences"] == 1


# One number of each kind of column, and by how much it is changed: less and more than it may.
CHANGES = [
    ("recon", 1e-6, 1e-3),
    ("k_samples_calibrated", 0, 4),
    ("spurious_mass", 1e-3, 0.1),
    ("bridge_sum", 1e-6, 0.1),
]


@pytest.mark.usefixtures("inline")
def test_rows_of_another_processor_are_counted_again_within_what_a_column_is_made_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.verify.main([str(folder), "-n", "1", "--level", "counted"]) == 0
    found = read_certificate(folder)
    assert found is not None
    row = first_row(folder, found["trials"][0]["trial_id"])
    tamper(folder, "trials", "cpu", "Intel Xeon (icelake-server)")
    assert study.verify.main([str(folder), "-n", "1"]) == 0
    text = capsys.readouterr().out
    assert "counted again: processor Intel icelake-server (here: " in " ".join(text.split())
    for column, small, large in CHANGES:
        tamper(folder, "trials", column, row[column] + small)
        assert study.verify.main([str(folder), "-n", "1"]) == 0, column
        tamper(folder, "trials", column, row[column] + large)
        assert study.verify.main([str(folder), "-n", "1"]) == 1, column
        assert f"trials.{column}" in capsys.readouterr().out
        tamper(folder, "trials", column, row[column])


@pytest.mark.usefixtures("inline")
def test_without_weights_a_trial_is_trained_again_within_the_spread_of_seeds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (folder / "weights").iterdir():
        file.unlink()
    assert study.verify.main([str(folder), "--level", "counted"]) == 2
    assert "no weights are stored here" in capsys.readouterr().err
    assert study.verify.main([str(folder), "-n", "2", "--level", "trained"]) == 0
    assert "columns are equivalent" in " ".join(capsys.readouterr().out.split())
    found = read_certificate(folder)
    assert found is not None
    row = first_row(folder, found["trials"][0]["trial_id"])
    seeds = pd.DataFrame(open_folder(folder).read_raw("trials").to_pydict()).groupby("data_seed")
    sd = float(seeds["fkl_nats"].var().mean() ** 0.5)
    tamper(folder, "trials", "cpu", "Intel Xeon (icelake-server)")
    for change, status in ((sd, 0), (1000 * sd, 1)):
        tamper(folder, "trials", "fkl_nats", row["fkl_nats"] + change)
        assert study.verify.main([str(folder), "-n", "2"]) == status
    assert "trials.fkl_nats" in capsys.readouterr().out


@pytest.mark.usefixtures("inline")
def test_rows_that_another_version_scored_keep_their_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study.planning.trials, "SCORING_VERSION", 10_000)
    monkeypatch.setattr("study.planning.units.SCORING_VERSION", 10_000)
    assert study.verify.main([str(folder), "-n", "1"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "(this code: 10000); what the stages that are unchanged made is compared" in text
    assert "the training alone" in text
    found = read_certificate(folder)
    assert found is not None
    assert {"trials.train_recon", "curves.recon", "weights.values"} <= set(found["columns"])
    assert "trials.recon" not in found["columns"]
    row = first_row(folder, found["trials"][0]["trial_id"])
    tamper(folder, "trials", "train_recon", row["train_recon"] * (1 + 1e-9))
    assert study.verify.main([str(folder), "-n", "1"]) == 1
    assert study.verify.main([str(folder), "--level", "counted"]) == 2


def test_rows_of_another_version_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study.planning.trials, "TRAINING_VERSION", 10_000)
    monkeypatch.setattr("study.planning.units.TRAINING_VERSION", 10_000)
    assert study.verify.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "(this code: 10000)" in error
    assert "training" in error
    assert "check out the commit" in error
    assert error.count("\n") == 1


def test_a_folder_that_is_none_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.verify.main([str(tmp_path)]) == 2
    assert "no manifest.json here" in capsys.readouterr().err
    assert read_certificate(tmp_path) is None


@pytest.mark.slow
def test_a_trial_runs_again_in_a_process_of_its_own(folder: Path) -> None:
    assert study.verify.main([str(folder), "-n", "1", "--seed", "3"]) == 0


@pytest.mark.slow
def test_a_verdict_outlives_a_folder_that_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ResultsFolder, "write_bytes", refuse)
    assert study.verify.main([str(folder), "-n", "1"]) == 0
    text = capsys.readouterr().out
    assert "1 of 1 trials equal" in text
    assert "not written down" in text
    assert "Permission denied" in text
