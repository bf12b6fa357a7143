"""Tables land whole, are read once, and say what is wrong with them."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import study.results.folder
from study.results import (
    ResultsError,
    ResultsFolder,
    finished_ids,
    join_location,
    open_folder,
    read_table,
    to_table,
    write_tables,
)
from study.results.compaction import compact


def trial_row(trial_id: str, **values: object) -> dict[str, object]:
    row = {"trial_id": trial_id, "control_id": "c0", "status": "done", "finished_at": "2026-01-01"}
    return {**row, **values}


def write_plan(folder: ResultsFolder, *trial_ids: str) -> None:
    rows = [{"trial_id": t, "control_id": "c0", "cell": f"cell of {t}"} for t in trial_ids]
    folder.write_table("plan.parquet", to_table("plan", rows))


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    folder = open_folder(tmp_path / "sweep")
    write_plan(folder, "a", "b")
    return folder


def test_a_trial_is_finished_when_its_row_is_written(folder: ResultsFolder) -> None:
    folder.write_part("curves", "s0", [{"trial_id": "a", "epoch": 1, "recon": 2.0}])
    assert finished_ids(folder) == {}
    assert read_table(folder, "curves").empty
    write_tables(folder, "s0", {"trials": [trial_row("a")]})
    assert finished_ids(folder) == {"a": "done"}
    assert read_table(folder, "curves")["recon"].tolist() == [2.0]


def test_the_trials_part_is_written_last(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(
        ResultsFolder, "write_part", lambda self, name, part, rows: order.append(name)
    )
    row = [{"trial_id": "a"}]
    write_tables(folder, "s0", {"trials": row, "curves": row, "counts": row, "points": []})
    assert order == ["curves", "counts", "trials"]


def test_the_control_is_joined_on_and_cells_come_from_the_plan(folder: ResultsFolder) -> None:
    write_tables(folder, "s0", {"trials": [trial_row("a", cell="an old label")]})
    control = {"control_id": "c0", "status": "done", "finished_at": "", "k_data_calibrated": 9}
    write_tables(folder, "c0", {"controls": [{**control, "control_gap": -3.5}]})
    (row,) = read_table(folder, "trials").to_dict("records")
    assert row["k_data_calibrated"] == 9
    assert row["control_gap"] == -3.5
    assert row["cell"] == "cell of a"


def test_missing_integers_stay_missing_instead_of_becoming_floats(folder: ResultsFolder) -> None:
    rows = [trial_row("a", k_means_original=14), trial_row("b")]
    write_tables(folder, "s0", {"trials": rows})
    column = read_table(folder, "trials")["k_means_original"]
    assert column.dtype == pd.Int64Dtype()
    assert column.tolist() == [14, pd.NA]


def test_compaction_changes_no_row_and_may_stop_anywhere(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trial_id in ("a", "b"):
        curves = [{"trial_id": trial_id, "epoch": e, "recon": float(e)} for e in (1, 2)]
        write_tables(folder, trial_id, {"curves": curves, "trials": [trial_row(trial_id)]})
    before = {name: read_table(folder, name) for name in ("trials", "curves")}
    deletions = []

    def interrupted(path: str) -> None:
        deletions.append(path)
        raise KeyboardInterrupt

    stuck = ResultsFolder(_Stuck(folder.filesystem, interrupted), folder.path)
    with pytest.raises(KeyboardInterrupt):
        compact(stuck)
    assert deletions
    for name, frame in before.items():
        pd.testing.assert_frame_equal(read_table(folder, name), frame)
    compact(folder)
    assert not list(Path(folder.path).glob("parts/*/*.parquet"))
    for name, frame in before.items():
        pd.testing.assert_frame_equal(read_table(folder, name), frame)


class _Stuck:
    """A filesystem that stops the process at the first deletion."""

    def __init__(self, filesystem: object, delete_file: object) -> None:
        self._filesystem = filesystem
        self.delete_file = delete_file

    def __getattr__(self, name: str) -> object:
        return getattr(self._filesystem, name)


def test_a_later_success_replaces_a_failure(folder: ResultsFolder) -> None:
    write_tables(folder, "s0", {"trials": [trial_row("a", finished_at="2026-01-01")]})
    late = trial_row("a", finished_at="2026-01-02", status="failed", message="again")
    write_tables(folder, "s1", {"trials": [late]})
    assert finished_ids(folder) == {"a": "done"}


def test_trials_that_left_the_plan_are_hidden_and_kept(folder: ResultsFolder) -> None:
    write_tables(folder, "s0", {"trials": [trial_row("a"), trial_row("b")]})
    write_plan(folder, "b")
    compact(folder)
    assert read_table(folder, "trials")["trial_id"].tolist() == ["b"]
    write_plan(folder, "a", "b")
    assert read_table(folder, "trials")["trial_id"].tolist() == ["a", "b"]


def test_an_interrupted_write_leaves_no_file(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        folder.write_part("curves", "s0", [{"trial_id": "a", "epoch": 1}])
    assert not list(Path(folder.path).rglob("*s0*"))


def test_unknown_columns_are_refused(folder: ResultsFolder) -> None:
    with pytest.raises(KeyError, match="no column \\['recom'\\]"):
        folder.write_part("curves", "s0", [{"trial_id": "a", "recom": 1.0}])


def test_a_damaged_file_is_named_with_the_remedy(folder: ResultsFolder) -> None:
    write_tables(folder, "s0", {"trials": [trial_row("a")]})
    (part,) = Path(folder.path).glob("parts/trials/*.parquet")
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ResultsError, match=r"s0\.parquet: not a whole table.*run the sweep again"):
        read_table(folder, "trials")


def test_a_foreign_schema_version_is_refused(folder: ResultsFolder) -> None:
    write_tables(folder, "s0", {"trials": [trial_row("a")]})
    (part,) = Path(folder.path).glob("parts/trials/*.parquet")
    table = pq.read_table(part).replace_schema_metadata({"schema_version": "99"})
    pq.write_table(table, part)
    with pytest.raises(ResultsError, match="schema_version 99, this code reads 1 to 2"):
        read_table(folder, "trials")


def test_a_folder_without_a_sweep_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no manifest\.json here"):
        open_folder(tmp_path).read_manifest()


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ResultsError, match="cannot be opened"):
        open_folder("ftq://bucket/sweep")


def test_a_version_1_folder_reads_with_what_it_lacks_as_null(folder: ResultsFolder) -> None:
    write_tables(folder, "s0", {"trials": [trial_row("a", k_means_original=14)]})
    (part,) = Path(folder.path).glob("parts/trials/*.parquet")
    kept = ["trial_id", "control_id", "status", "finished_at", "k_means_original"]
    table = pq.read_table(part, columns=kept)
    pq.write_table(table.replace_schema_metadata({"schema_version": "1"}), part)
    (row,) = read_table(folder, "trials").to_dict("records")
    assert row["k_means_original"] == 14
    assert pd.isna(row["mode_recall"])
    compact(folder)
    metadata = pq.read_schema(f"{folder.path}/trials.parquet").metadata
    assert metadata[b"schema_version"] == b"2"


@pytest.mark.parametrize("name", ["original", "latent_dims"])
def test_the_committed_folders_still_read(name: str) -> None:
    place = Path(__file__).resolve().parents[3] / "results" / name
    assert read_table(place, "trials")["status"].eq("done").all()
    assert not read_table(place, "counts").empty


def test_compaction_keeps_the_latest_of_doubled_rows(folder: ResultsFolder) -> None:
    for recon in (1.0, 2.0):
        rows = {"curves": [{"trial_id": "a", "epoch": 1, "recon": recon}]}
        write_tables(folder, f"s{2 - recon:.0f}", {**rows, "trials": [trial_row("a")]})
        assert read_table(folder, "curves")["recon"].tolist() == [recon]
    compact(folder)
    assert read_table(folder, "curves")["recon"].tolist() == [2.0]
    assert len(folder.read_raw("curves")) == 1


def test_a_reader_that_meets_a_compaction_sees_every_row(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(folder, "s0", {"trials": [trial_row("a"), trial_row("b")]})
    listed = ResultsFolder.part_files
    stale = listed(folder, "trials")
    answers = [stale]

    def part_files(self: ResultsFolder, name: str) -> list[str]:
        return answers.pop() if name == "trials" and answers else listed(self, name)

    compact(folder)
    monkeypatch.setattr(ResultsFolder, "part_files", part_files)
    assert finished_ids(folder) == {"a": "done", "b": "done"}


def test_a_write_is_repeated_while_the_folder_is_patient(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [OSError(28, "No space left on device")] * 2
    synchronise = os.fsync

    def fsync(descriptor: int) -> None:
        if failures:
            raise failures.pop()
        synchronise(descriptor)

    monkeypatch.setattr(study.results.folder, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("os.fsync", fsync)
    write_tables(folder.patient(), "s0", {"trials": [trial_row("a")]})
    assert finished_ids(folder) == {"a": "done"}


@pytest.mark.parametrize("part_id", ["../escape", "a/b", "", "x" * 81])
def test_a_part_cannot_leave_its_folder(folder: ResultsFolder, part_id: str) -> None:
    with pytest.raises(ValueError, match="part_id"):
        folder.write_part("curves", part_id, [])


@pytest.mark.parametrize(
    ("results", "location"),
    [
        ("s3://bucket/all/", "s3://bucket/all/name"),
        ("s3://bucket/all?scheme=http", "s3://bucket/all/name?scheme=http"),
        ("/data", "/data/name"),
    ],
)
def test_a_sweeps_folder_lies_in_the_results(results: str, location: str) -> None:
    assert join_location(results, "name") == location


def test_floats_are_written_by_place_and_names_by_dictionary(tmp_path: Path) -> None:
    """Less on disk; what is read is the same."""
    folder = open_folder(tmp_path)
    table = pa.table({"name": ["a", "b", "a"], "x": [0.1, None, 0.3], "k": [1, 2, None]})
    folder.write_table("t.parquet", table)
    file = pq.ParquetFile(tmp_path / "t.parquet")
    encodings = [file.metadata.row_group(0).column(i).encodings for i in range(3)]
    assert ["BYTE_STREAM_SPLIT" in found for found in encodings] == [False, True, False]
    assert ["RLE_DICTIONARY" in found for found in encodings] == [True, False, True]
    assert file.read().equals(table)
