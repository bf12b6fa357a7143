import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import load
from analysis.load import Results, remembered
from study.results import SCHEMA_VERSION, ResultsError


def test_trials_have_one_row_each_with_their_control(results_folder: Path) -> None:
    trials = load.load_trials(results_folder)
    assert len(trials) == trials["trial_id"].nunique() == 150
    assert trials["k_data_calibrated"].notna().all()
    assert set(trials["status"]) == {"done", "diverged", "timeout"}


@pytest.mark.parametrize(
    "name", ["curves", "counts", "components", "recall", "outside", "points", "manifest"]
)
def test_every_table_has_a_loader(results_folder: Path, name: str) -> None:
    assert getattr(load, f"load_{name}")(results_folder) is not None


def test_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no manifest\.json here"):
        load.load_results(tmp_path / "nothing")


def test_empty_sweep(build, tmp_path: Path) -> None:
    folder = build(tmp_path / "empty", seeds=(0, 0))
    with pytest.raises(ResultsError, match=r"no trial is recorded here; run python -m study"):
        load.load_results(folder)


def test_foreign_schema(build, tmp_path: Path) -> None:
    folder = build(tmp_path / "old", seeds=(1, 1))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["schema_version"] = SCHEMA_VERSION + 1
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ResultsError, match="schema_version"):
        load.load_results(folder)


def test_truncated_table(build, tmp_path: Path) -> None:
    folder = build(tmp_path / "torn", seeds=(1, 1))
    part = folder / "parts" / "curves" / "part.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ResultsError, match="not a whole table"):
        load.load_results(folder)


def test_unknown_factor(build, tmp_path: Path) -> None:
    folder = build(tmp_path / "odd", seeds=(1, 1))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["factors"] = ["latent_dimm"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ResultsError, match="latent_dimm"):
        load.load_results(folder)


def test_what_is_remembered_is_of_one_object_and_goes_with_it(results: Results) -> None:
    asked: list[tuple[str, float]] = []

    @remembered
    def count(results: Results, level: float) -> set[float]:
        asked.append((results.location, level))
        return {level}

    first = replace(results, location="first")
    assert count(first, 0.95) is count(first, 0.95)
    assert count(first, 0.9) is not count(first, 0.95)
    other = replace(first, location="other")
    count(other, 0.95)
    assert asked == [("first", 0.95), ("first", 0.9), ("other", 0.95)]
    left = weakref.ref(count(first, 0.95))
    del first
    gc.collect()
    assert left() is None
