"""The history of benchmark figures, and the tables made of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from benchmarks import history, page
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.history import Circumstances, Measurement, Options
from benchmarks.peers import comparison

PLACE = Circumstances(
    date="2030-01-02T03:04:05+00:00", commit="abc", dirty=False, cpu="A, B", cores=2, load=0.5
)


def row(name: str, value: float | None, ratio: float | None = None) -> Measurement:
    return Measurement(benchmark="startup", name=name, value=value, unit="s", ratio=ratio)


def test_rows_are_appended_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    history.append(PLACE, [row("one", 1.0)], path=path)
    history.append(PLACE, [row("two, with a comma", 2.0, 1 / 3), row("none", None)], path=path)
    rows = history.read(path)
    assert path.read_text().splitlines()[0].split(",") == history.COLUMNS
    assert [r["name"] for r in rows] == ["one", "two, with a comma", "none"]
    assert rows[1]["ratio"] == "0.33333"
    assert rows[2]["value"] == ""
    assert rows[0]["cpu"] == "A, B"


def test_no_history_is_no_rows(tmp_path: Path) -> None:
    assert history.read(tmp_path / "none.csv") == []


def test_the_latest_rows_are_of_one_commit_and_each_name_once(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    old = dataclasses.replace(PLACE, commit="old")
    history.append(old, [row("gone", 9.0)], path=path)
    history.append(PLACE, [row("a", 1.0), row("b", 2.0), row("a", 3.0)], path=path)
    found = {r["name"]: r["value"] for r in history.latest(history.read(path), "startup")}
    assert found == {"a": "3", "b": "2"}


def test_the_page_is_filled_between_its_markers_and_nowhere_else(tmp_path: Path) -> None:
    rows_file, text = tmp_path / "history.csv", tmp_path / "page.md"
    history.append(PLACE, [row("help", 0.04, 2.0)], path=rows_file)
    text.write_text("before\n<!-- benchmark: startup -->\nold\n<!-- end -->\nafter\n")
    page.write_page(history.read(rows_file), text)
    filled = text.read_text()
    assert filled.startswith("before\n<!-- benchmark: startup -->\n| |")
    assert "| help | 0.04 | s | 2 |" in filled
    assert "old" not in filled
    assert filled.endswith("<!-- end -->\nafter\n")
    page.write_page(history.read(rows_file), text)
    assert text.read_text() == filled


def test_the_page_has_the_latest_ratio_of_each_processor(tmp_path: Path) -> None:
    rows_file, text = tmp_path / "history.csv", tmp_path / "page.md"
    other = dataclasses.replace(PLACE, cpu="Zen")
    for place, ratio in ((PLACE, 1.5), (other, 1.9), (PLACE, 1.8)):
        found = Measurement(
            benchmark="scaling", name="2 workers, 9 trials", value=9.0, unit="", ratio=ratio
        )
        history.append(place, [found], path=rows_file)
    history.append(PLACE, [row("2 workers in another benchmark", 1.0, 7.0)], path=rows_file)
    text.write_text("<!-- processors -->\n<!-- end -->\n")
    page.write_page(history.read(rows_file), text)
    assert text.read_text() == (
        "<!-- processors -->\n| | A, B | Zen |\n| --- | ---: | ---: |\n"
        "| two workers, times as fast as one | 1.8 | 1.9 |\n<!-- end -->\n"
    )
    # Every line of it has a row in what was really measured.
    assert page.by_processor(history.read()).count("\n") == 1 + len(page.HEADLINES)


def test_the_page_names_only_benchmarks_that_exist() -> None:
    named = {found[2] for found in page._BLOCK.finditer(page.PAGE.read_text())}
    assert named == set(BENCHMARKS)


def test_circumstances_say_where_this_ran() -> None:
    here = history.circumstances()
    assert here.cores >= 1
    assert here.load >= 0


def test_a_comparison_continues_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run_peer(module: str, *_: int) -> float:
        ran.append(module)
        return 30.0

    monkeypatch.setattr(history, "HISTORY", tmp_path / "history.csv")
    monkeypatch.setattr(history, "circumstances", lambda: PLACE)
    monkeypatch.setattr(comparison, "run_ours", lambda *_: (10.0, []))
    monkeypatch.setattr(comparison, "run_peer", run_peer)
    steps = comparison.measure(Options(n_trials=4, n_epochs=2))
    for _ in range(4):
        history.append(PLACE, [next(steps)])
    assert ran == ["ray_tune", "joblib_loop"]
    left = list(comparison.measure(Options(n_trials=4, n_epochs=2)))
    assert ran[2:] == ["optuna_study", "hydra_app"][: len(ran) - 2]
    assert not any("joblib:" in found.name for found in left)
    assert history.read()[1]["ratio"] == "3"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - {"peers"}))
def test_the_smallest_run_of_each_benchmark(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(history, "HISTORY", tmp_path / "history.csv")
    assert main(["--quick", "--only", name]) == 0
    assert not (tmp_path / "history.csv").exists()


@pytest.mark.slow
def test_whole_trials_of_a_gpu_are_timed_on_any_device() -> None:
    from benchmarks.gpu import whole_trials_per_s

    assert whole_trials_per_s(2, device="cpu", n_processes=2, n_epochs=1) > 0


@pytest.mark.slow
def test_a_peer_does_the_same_work() -> None:
    assert comparison.run_peer("joblib_loop", 2, 1) > 0


def test_equal_stacks_differ_in_no_bit() -> None:
    from benchmarks.equality import measure

    assert [found.value for found in measure(Options(quick=True))] == [0.0]
