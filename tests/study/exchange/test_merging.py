"""Merging results folders: halves make the whole, conflicts are named, a kill leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from study.exchange import merging
from study.exchange.merging import CONFLICTS, merge
from study.merge import main
from study.results import SCHEMAS, ResultsError, open_folder, read_table
from study.results.lineage import check_lineage, record_run
from study.results.lock import hold
from study.results.record import drop_doubles
from study.results.tables import KEYS, frame_to_table, pandas_type
from tests.analysis.synthetic import build_results

CPUS = ("a processor", "another processor")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two widths x 3 data seeds x 2 init seeds, points and weights included."""
    folder = build_results(
        tmp_path_factory.mktemp("merge") / "widths",
        cells=[{"latent_dim": 1}, {"latent_dim": 3}],
        seeds=(3, 2),
    )
    trainings = read_table(folder, "trials")["training_id"]
    rows = [
        {"training_id": t, "name": "w", "shape": [1], "dtype": "float32", "values": t[:4].encode()}
        for t in trainings.unique()
    ]
    open_folder(folder).write_part("weights", "all", rows)
    return folder


def part(whole: Path, place: Path, seeds: set[int], *, cpu: str, shift: float = 0.0) -> Path:
    """Copy what belongs to the trials of some data seeds, as another machine would have it."""
    source, target = open_folder(whole), open_folder(place)
    trials = read_table(whole, "trials")
    mine = trials[trials["data_seed"].isin(seeds)]
    owners = {*mine["trial_id"], *mine["training_id"], *mine["control_id"]}
    for table in SCHEMAS:
        raw = source.read_raw(table)
        frame = drop_doubles(table, raw.to_pandas(types_mapper=pandas_type))
        if table != "plan":
            frame = frame[frame[KEYS[table][0]].isin(owners)]
        if "cpu" in frame:
            frame["cpu"] = cpu
        if table == "trials":
            frame["fkl_nats"] += shift
        if len(frame):
            target.write_table(f"{table}.parquet", frame_to_table(table, frame, more=raw.schema))
    target.write_bytes("manifest.json", source.read_small("manifest.json"))
    weights = place / "weights.parquet"
    (place / "weights").mkdir()
    weights.rename(place / "weights" / "all.parquet")
    record_run(target)
    return place


def same(left: Path, right: Path) -> None:
    for table in SCHEMAS:
        key = list(KEYS[table])
        one, other = (
            read_table(folder, table).sort_values(key, ignore_index=True)
            for folder in (left, right)
        )
        drop = [name for name in ("cpu",) if name in one]
        pd.testing.assert_frame_equal(one.drop(columns=drop), other.drop(columns=drop))


def test_two_halves_of_two_machines_are_the_whole(whole: Path, tmp_path: Path) -> None:
    halves = [
        part(whole, tmp_path / name, seeds, cpu=cpu)
        for name, seeds, cpu in (("a", {0, 1}, CPUS[0]), ("b", {1, 2}, CPUS[1]))
    ]
    target = tmp_path / "merged"
    assert main([*map(str, halves), "--to", str(target)]) == 0
    same(whole, target)
    trials = read_table(target, "trials")
    assert dict(trials["cpu"].value_counts()) == {CPUS[0]: 8, CPUS[1]: 4}
    record = json.loads((target / "merge.json").read_text())
    assert record["n_equal"] == 4
    assert [source["processors"] for source in record["sources"]] == [[cpu] for cpu in CPUS]
    assert not list(tmp_path.glob(".*"))
    # A run can go on there, and merging once more changes nothing.
    check_lineage(open_folder(target))
    again = merge([str(target), *map(str, halves)], tmp_path / "again")
    assert again.conflicts == ()
    same(target, again.folder)


def test_conflicts_are_named_and_kept_aside(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = part(whole, tmp_path / "a", {0, 1}, cpu=CPUS[0])
    second = part(whole, tmp_path / "b", {1, 2}, cpu=CPUS[1], shift=0.5)
    target = tmp_path / "merged"
    assert main([str(first), str(second), "--to", str(target)]) == 1
    said = capsys.readouterr()
    assert "12 of 12 planned trials done" in said.out
    assert "fkl_nats differ" in said.err
    assert CPUS[0] in said.err
    assert CPUS[1] in said.err
    record = json.loads((target / "merge.json").read_text())
    assert len(record["conflicts"]) == 4
    assert {one["kept"]["cpu"] for one in record["conflicts"]} == {CPUS[0]}
    assert all(one["aside"]["commit"] for one in record["conflicts"])
    kept = read_table(target, "trials").set_index("trial_id")
    aside = pd.read_parquet(target / CONFLICTS / "trials-1.parquet").set_index("trial_id")
    assert set(aside.index) == {one["id"] for one in record["conflicts"]}
    assert (aside["fkl_nats"] - kept.loc[aside.index, "fkl_nats"]).round(9).eq(0.5).all()


def test_killed_in_the_middle_it_is_absent_and_the_next_one_is_whole(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = [str(part(whole, tmp_path / str(i), {i, 2}, cpu="a processor")) for i in (0, 1)]

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(merging, "compact", die)
        with pytest.raises(KeyboardInterrupt):
            merge(halves, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    (tmp_path / ".merged.merging" / "parts" / "trials" / "x.parquet").write_bytes(b"torn")
    same(whole, merge(halves, tmp_path / "merged").folder)


def test_what_cannot_be_merged_is_refused(whole: Path, tmp_path: Path) -> None:
    half = part(whole, tmp_path / "a", {0}, cpu="a processor")
    target = tmp_path / "merged"
    with pytest.raises(ResultsError, match="two or more different"):
        merge([str(half), str(half)], target)
    with pytest.raises(ResultsError, match="exists already"):
        merge([str(whole), str(half)], half)
    with pytest.raises(ResultsError, match="different sweeps"):
        merge([str(half), str(build_results(tmp_path / "other", seeds=(2, 1)))], target)
    with hold(open_folder(half)), pytest.raises(ResultsError, match="is being written by"):
        merge([str(whole), str(half)], target)
    plan = read_table(half, "plan")
    plan.loc[0, "trial_id"] = "a trial of another file"
    open_folder(half).write_table("plan.parquet", frame_to_table("plan", plan))
    with pytest.raises(ResultsError, match="no folder plans all 13 trials"):
        merge([str(whole), str(half)], target)
    assert not target.exists()
