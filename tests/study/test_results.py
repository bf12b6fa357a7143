"""Tables land whole, are read once, and say what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from study.results import (
    ResultsError,
    ResultsFolder,
    finished_ids,
    open_folder,
    read_table,
    to_table,
    write_tables,
)


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
        stuck.compact()
    assert deletions
    for name, frame in before.items():
        pd.testing.assert_frame_equal(read_table(folder, name), frame)
    folder.compact()
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
    folder.compact()
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
    with pytest.raises(ResultsError, match="schema_version 99, this code reads 1"):
        read_table(folder, "trials")


def test_a_folder_without_a_sweep_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"no manifest\.json here"):
        open_folder(tmp_path).read_manifest()


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(ResultsError, match="cannot be opened"):
        open_folder("ftq://bucket/sweep")
