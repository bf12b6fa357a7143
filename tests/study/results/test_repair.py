"""What is damaged is set aside, what lost its rows runs again, what is whole stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from study.results import ResultsError, finished_ids, write_tables
from study.results.compaction import compact
from study.results.folder import ResultsFolder, open_folder
from study.results.repair import EXPECTED, incomplete_ids, remove_strays, set_damaged_aside


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    """Two finished trials in a part each."""
    folder = open_folder(tmp_path / "sweep")
    for trial_id in ("a", "b"):
        row = {"trial_id": trial_id, "status": "done", "finished_at": "2026-01-01"}
        rows: dict[str, list[dict[str, object]]] = {
            name: [{"trial_id": trial_id}] for name in EXPECTED
        }
        write_tables(folder, f"stack-{trial_id}", {**rows, "trials": [row]})
    return folder


def part(folder: ResultsFolder, table: str, trial_id: str) -> Path:
    return Path(folder.path) / "parts" / table / f"stack-{trial_id}.parquet"


def test_a_whole_folder_is_left_alone(folder: ResultsFolder) -> None:
    assert set_damaged_aside(folder) == []
    assert incomplete_ids(folder) == frozenset()
    compact(folder)
    assert incomplete_ids(folder) == frozenset()


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_a_torn_file_is_set_aside_and_its_trial_runs_again(
    folder: ResultsFolder, keep: int
) -> None:
    torn = part(folder, "curves", "b")
    torn.write_bytes(torn.read_bytes()[:keep])
    (problem,) = set_damaged_aside(folder)
    assert "stack-b.parquet: not a whole table" in problem
    assert len(list(Path(folder.path).glob("damaged/*stack-b.parquet"))) == 1
    assert finished_ids(folder) == {"a": "done", "b": "done"}
    assert incomplete_ids(folder) == {"b"}


def test_a_flipped_byte_in_a_page_is_found(folder: ResultsFolder) -> None:
    damaged = part(folder, "trials", "a")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 8] ^= 0xFF
    damaged.write_bytes(bytes(content))
    assert len(set_damaged_aside(folder)) == 1
    assert finished_ids(folder) == {"b": "done"}


def test_a_deleted_part_makes_its_trial_incomplete(folder: ResultsFolder) -> None:
    part(folder, "recall", "a").unlink()
    assert incomplete_ids(folder) == {"a"}


def test_a_compacted_table_that_is_damaged_is_made_again(folder: ResultsFolder) -> None:
    compact(folder)
    table = Path(folder.path) / "components.parquet"
    table.write_bytes(table.read_bytes()[:100])
    assert len(set_damaged_aside(folder)) == 1
    assert incomplete_ids(folder) == {"a", "b"}


def test_a_table_that_was_not_kept_is_no_damage(folder: ResultsFolder) -> None:
    compact(folder)
    (Path(folder.path) / "curves.parquet").unlink()
    assert incomplete_ids(folder) == frozenset()


def test_old_temporary_files_are_removed_and_young_ones_stay(folder: ResultsFolder) -> None:
    for age_s, name in ((0, "young"), (1000, "old")):
        stray = Path(folder.path) / "parts" / "curves" / f"{name}.parquet.0.tmp"
        stray.write_bytes(b"")
        os.utime(stray, (stray.stat().st_mtime - age_s,) * 2)
    remove_strays(folder)
    assert [path.name for path in Path(folder.path).rglob("*.tmp")] == ["young.parquet.0.tmp"]


def test_a_flipped_bit_anywhere_in_a_footer_is_found(folder: ResultsFolder) -> None:
    table = part(folder, "trials", "a")
    whole = table.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    of_key = range(whole.index(b"footer_sha256"), whole.index(b"footer_sha256") + 13)
    for at in (*range(footer, len(whole), 97), *of_key):
        table.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ResultsError):
            folder.read_raw("trials")
    table.write_bytes(whole)
    assert folder.read_raw("trials").num_rows == 2
