"""Two folders copied into one another are noticed; everything that happens to one is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis.load import load_results
from study import status
from study.execution.run import repair_folder
from study.results import ResultsError, open_folder, to_table
from study.results.compaction import compact
from study.results.lineage import check_lineage, record_run
from study.results.provenance import timestamp


def run(place: Path, trial: str, *, share: str | None = None, compacts: bool = True) -> None:
    """Do what a run does to its folder."""
    folder = open_folder(place)
    repair_folder(folder)
    folder.write_manifest({"name": "tiny"})
    plan = [{"trial_id": trial, "control_id": "c", "cell": "x=1"}]
    folder.write_table("plan.parquet", to_table("plan", plan))
    record_run(folder, share=share)
    row = {"trial_id": trial, "control_id": "c", "status": "done", "finished_at": timestamp()}
    folder.write_part("trials", trial, [row])
    if compacts:
        compact(folder)


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


@pytest.mark.parametrize("n_common", [0, 1, 3])
@pytest.mark.parametrize(("n_here", "n_there"), [(1, 1), (1, 3), (3, 1)])
def test_two_folders_put_together_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], n_common: int, n_here: int, n_there: int
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for i in range(n_common):
        run(here, f"common{i}")
    if n_common:
        copy(here, there)
    for i in range(n_here):
        run(here, f"here{i}")
    for i in range(n_there):
        run(there, f"there{i}")
    copy(here, there)
    # What is lost: the compacted table of one of them.
    assert "there0" not in open_folder(there).read_raw("trials")["trial_id"].to_pylist()
    with pytest.raises(ResultsError, match="two results folders were copied into this one"):
        run(there, "more")
    assert status.main([str(there)]) == 2
    assert "copied into this one" in capsys.readouterr().err
    with pytest.raises(ResultsError, match="copied into this one"):
        load_results(there)


def test_one_folder_is_never_refused(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for i in range(3):
        run(here, f"a{i}")
    # Moved to another machine, continued there, and copied back over what it came from.
    copy(here, there)
    run(there, "b")
    copy(there, here)
    run(here, "c")
    check_lineage(open_folder(here))


def test_shares_run_side_by_side(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    run(here, "a")
    copy(here, there)
    run(here, "b", share="1/2", compacts=False)
    run(there, "c", share="2/2", compacts=False)
    copy(there, here)
    run(here, "d")
    found = open_folder(here).read_raw("trials")["trial_id"].to_pylist()
    assert sorted(found) == ["a", "b", "c", "d"]


def test_a_mark_that_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    run(tmp_path, "a")
    for name, text in (("x.json", "{"), ("y.json", '{"found": 3}'), ("note.txt", "")):
        (tmp_path / "runs" / name).write_text(text)
    run(tmp_path, "b")
    check_lineage(open_folder(tmp_path))
