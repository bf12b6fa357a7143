"""The page on a running sweep: states, squares, partial means, failures."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from study import live
from study.display.heartbeat import heartbeat
from study.display.progress import RunningStack, SweepProgress, plan_progress
from study.results import open_folder, to_table, write_tables
from study.results.lock import hold
from study.results.provenance import timestamp


def _row(
    index: int, cell: str, status: str = "done", message: str | None = None
) -> dict[str, Any]:
    row = {"trial_id": f"t{index}", "control_id": f"c{index % 2}", "cell": cell, "init_seed": 0}
    row |= {"status": status, "message": message, "data_seed": index % 2}
    row |= {"k_samples_calibrated": 12 + index} if status == "done" else {}
    return row | {"finished_at": timestamp()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Six planned trials in two cells: three done, one failed, two left."""
    folder = open_folder(tmp_path / "tiny")
    folder.write_manifest({"name": "tiny", "question": "Is it alive?", "factors": ["latent_dim"],
                           "sweep": {}, "sweep_hash": "x", "n_trials": 6})  # fmt: skip
    plan = [
        {"trial_id": f"t{i}", "control_id": f"c{i % 2}", "cell": f"latent_dim={1 + i // 3}"}
        for i in range(6)
    ]
    folder.write_table("plan.parquet", to_table("plan", plan))
    rows = [_row(i, plan[i]["cell"]) for i in range(3)]
    rows.append(_row(3, plan[3]["cell"], "failed", "Traceback ...\nRuntimeError: trial 3 <broke>"))
    controls = [{"control_id": f"c{i}", "status": "done", "k_data_calibrated": 10} for i in (0, 1)]
    write_tables(folder, "unit", {"trials": rows, "controls": controls})
    return tmp_path / "tiny"


def _page(place: Path) -> str:
    assert live.main([str(place), "--once"]) == 0
    return (place / live.NAME).read_text()


def test_a_sweep_that_nobody_runs_is_stopped(place: Path) -> None:
    text = _page(place)
    assert "<title>STOPPED: tiny</title>" in text
    assert re.findall(r'data-s="(\w+)"', text) == ["ddd", "fll"]
    assert "RuntimeError: trial 3 &lt;broke&gt;" in text
    assert "Provisional: do not quote" in text
    assert "p =" not in text
    # Two data sets have an interval; the one cell without a finished trial has no mark.
    assert "+3.0 (n = 2)" in text
    assert text.count("<circle") == 1
    assert 'http-equiv="refresh"' in text


def test_a_running_sweep_shows_which_trials_run(place: Path) -> None:
    progress: SweepProgress = plan_progress("tiny", [("latent_dim=2", None)] * 2)
    progress.running[0] = RunningStack(
        "latent_dim=2 x 1", 1, "training", epoch=50, n_epochs=100, trial_ids=("t4",)
    )
    folder = open_folder(place)
    with hold(folder), heartbeat(folder, progress):
        while not (place / "running.json").exists():
            pass
        text = _page_of(place)
    assert "<title>RUNNING: tiny</title>" in text
    assert re.findall(r'data-s="(\w+)"', text) == ["ddd", "frl"]
    assert "t4 running, 20%" in text
    assert "latent_dim=2 x 1: training epoch 50/100" in text


def _page_of(place: Path) -> str:
    return live.live_page(open_folder(place), location=str(place))


def test_a_complete_sweep_leads_to_its_report(place: Path) -> None:
    rows = [_row(i, f"latent_dim={1 + i // 3}") for i in (4, 5)]
    write_tables(open_folder(place), "later", {"trials": rows})
    assert f"python -m analysis.report {place}" in _page(place)
    (place / "report.html").write_text("a report")
    text = _page(place)
    assert '<a href="report.html">' in text
    assert "refresh" not in text
    assert "Provisional" not in text


def test_it_costs_a_hundredth_of_a_processor_and_stays_small(place: Path) -> None:
    assert live.pause_s(0.01) == live.INTERVAL_S
    assert live.pause_s(0.5) == pytest.approx(50)
    import pandas as pd

    n = 10_000
    plan = pd.DataFrame({"trial_id": [f"{i:016x}" for i in range(n)], "cell": "q=1"})
    plan["cell"] = [f"latent_dim={i // 50}" for i in range(n)]
    rows = plan[["trial_id"]].assign(status="done", message=None, train_s=1.0)
    grid = live.grid_of(plan, rows, {})
    assert sum(len(str(row)) for row in grid) < 300_000


def test_a_page_is_kept_while_something_runs(place: Path) -> None:
    with live.kept_live(str(place)):
        pass
    assert (place / live.NAME).exists()
    assert live.main([str(place / "nowhere"), "--once"]) == 2
