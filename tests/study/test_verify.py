"""Running trials again: equal numbers are equal, one changed number is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import study.execution.run
import study.planning.trials
import study.verify
from study.execution.trainable import unit_events
from study.results import ResultsFolder, open_folder, read_certificate
from study.results.tables import SCHEMAS
from study.sweep import main
from study.verify import compare_rows

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
replicates: {data: 2}
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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def execute(job: Any, work: Any, known: Any) -> None:
        for unit in work.units:
            list(unit_events(unit, folder=job.folder, device="cpu"))

    monkeypatch.setattr(study.execution.run, "_execute", execute)
    (tmp_path / "tiny.yaml").write_text(SWEEP)
    assert main([str(tmp_path / "tiny.yaml"), "--results", str(tmp_path), "--quiet"]) == 0
    return tmp_path / "tiny"


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study.verify, "ProcessPoolExecutor", InlinePool)


def tamper(folder: Path, table: str, column: str, value: float | int | str) -> None:
    """Change one number of the first row."""
    place = open_folder(folder)
    rows = place.read_raw(table)
    values = rows[column].to_pylist()
    values[0] = value
    index = rows.schema.get_field_index(column)
    changed = rows.set_column(index, column, pa.array(values, rows.schema.field(column).type))
    place.write_table(f"{table}.parquet", changed)


@pytest.mark.usefixtures("inline")
def test_equal_rows_get_a_certificate_and_a_changed_number_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study.verify.main([str(folder), "-n", "1"]) == 0
    assert "1 of 1 trials equal" in capsys.readouterr().out
    found = read_certificate(folder)
    assert found is not None
    assert found["equal"]
    assert found["tolerance"] is None
    assert found["n_numbers"] > 100
    assert found["stages"] == study.verify.stage_versions()
    chosen = found["trials"][0]["trial_id"]
    rows = open_folder(folder).read_raw("trials")
    first = pc.equal(rows["trial_id"], chosen).to_pylist().index(True)
    order = [first, 1 - first]
    open_folder(folder).write_table("trials.parquet", rows.take(order))
    recon = rows["recon"][first].as_py()
    tamper(folder, "trials", "recon", recon * (1 + 1e-15) + 1e-15)
    assert study.verify.main([str(folder), "-n", "1"]) == 1
    text = capsys.readouterr().out
    assert "trials.recon" in text
    assert "0 of 1 trials equal" in text
    assert json.loads((folder / "verify.json").read_text())["trials"][0]["n_differences"] == 1
    # Of another processor: the same change is within the tolerance, a large one is not.
    tamper(folder, "trials", "cpu", "another")
    assert study.verify.main([str(folder), "-n", "1"]) == 0
    assert "within tolerance: other cpu" in capsys.readouterr().out
    tamper(folder, "trials", "recon", 2 * recon)
    assert study.verify.main([str(folder), "-n", "1"]) == 1


def test_rows_of_another_version_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study.planning.trials, "TRAINING_VERSION", 10_000)
    monkeypatch.setattr("study.planning.units.TRAINING_VERSION", 10_000)
    assert study.verify.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "(this code: 10000)" in error
    assert "training" in error
    assert "check out commit" in error
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


def _curve(length: int, likelihood: float = -1.5) -> pd.DataFrame:
    ids = {"owner_id": "a", "source": "samples", "protocol": "calibrated", "epoch": 100}
    row = dict.fromkeys(SCHEMAS["counts"].names) | ids | {"log_likelihood": likelihood}
    return pd.DataFrame([row | {"k": k} for k in range(1, length + 1)])


@pytest.mark.parametrize(("length", "n_differences"), [(10, 0), (12, 0), (8, 0), (13, 1), (7, 1)])
def test_elsewhere_a_curve_may_end_a_little_later(length: int, n_differences: int) -> None:
    n_numbers, unlike = compare_rows("counts", _curve(10), _curve(length), exactly=False)
    assert len(unlike) == n_differences
    assert n_numbers > min(length, 10)
    _, exact = compare_rows("counts", _curve(10), _curve(length), exactly=True)
    assert len(exact) == (length != 10)


def test_the_shared_part_of_two_curves_is_compared() -> None:
    _, unlike = compare_rows("counts", _curve(10), _curve(11, likelihood=-2.5), exactly=False)
    assert [each.column for each in unlike] == ["log_likelihood"] * 10


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
