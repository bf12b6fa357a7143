"""What the command prints before and after a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from study.config import (
    DetectionConfig,
    MixtureConfig,
    ModelConfig,
    ResourcesConfig,
    TrainingConfig,
    load_sweep,
)
from study.display.plan_and_summary import (
    cell_counts,
    collapse_notes,
    coverage_table,
    design_notes,
    failure_causes,
)
from study.display.verdict import verdict_line
from study.planning.estimate import MIN_ROWS, estimate
from study.planning.units import Trial, expand, training_gflop
from study.results import to_table

SWEEPS = Path(__file__).parents[3] / "sweeps"


def make_trial(**values: object) -> Trial:
    shared = {
        "mixture": MixtureConfig(),
        "model": ModelConfig(),
        "training": TrainingConfig(),
        "detection": DetectionConfig(),
    }
    return Trial(**{**shared, **values})  # type: ignore[arg-type]


def make_frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    return to_table("trials", rows).to_pandas()


def test_coverage_stands_beside_its_control_and_the_share_at_the_ceiling() -> None:
    rows = [
        {
            "trial_id": str(i),
            "cell": "q=2",
            "status": "done",
            "k_data_original": 11,
            "coverage_data_original": 1.1,
            "at_ceiling_data_original": False,
            "k_means_original": 14,
            "coverage_means_original": 1.4,
            "at_ceiling_means_original": i == 0,
        }
        for i in range(2)
    ]
    rows.append({"trial_id": "2", "cell": "q=2", "status": "failed"})
    console = Console(width=80, record=True)
    console.print(coverage_table(make_frame(rows)))
    text = console.export_text()
    assert "2/3" in text
    assert "data (control)" in text
    assert "110 % (0 %)" in text
    assert "140 % (50 %)" in text
    assert "samples" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_cell_without_any_done_trial_is_still_a_line() -> None:
    console = Console(width=80, record=True)
    console.print(coverage_table(make_frame([{"trial_id": "a", "cell": "x", "status": "failed"}])))
    assert "0/1" in console.export_text()


def test_causes_are_grouped_by_the_last_line() -> None:
    message = "Traceback\n  File ...\nValueError: bad"
    rows = [{"trial_id": str(i), "status": "failed", "message": message} for i in range(2)]
    rows += [{"trial_id": "2", "status": "diverged", "message": "NaN"}]
    rows += [{"trial_id": "3", "status": "done", "message": None}]
    assert failure_causes(make_frame(rows)) == {"failed: ValueError: bad": 2, "diverged: NaN": 1}


def test_cells_are_counted() -> None:
    trials = [make_trial(cell=cell, init_seed=i) for i, cell in enumerate("aab")]
    assert cell_counts(trials, trials[1:2]) == {"a": (2, 1), "b": (1, 0)}


def test_the_matrix_products_of_the_original_training_are_208_gflop() -> None:
    assert training_gflop(make_trial()) == pytest.approx(208, rel=0.02)


def test_an_estimate_rests_on_finished_trials_when_there_are_some() -> None:
    trials = [make_trial(init_seed=i) for i in range(4)]
    guess = estimate(trials, n_workers=2)
    assert "reference machine" in guess.basis
    rows = [
        {"trial_id": str(i), "train_s": 50.0, "count_s": 40.0, "endpoints_s": 10.0}
        for i in range(MIN_ROWS)
    ]
    measured = estimate(trials, n_workers=2, finished=make_frame(rows))
    assert "3 finished trials" in measured.basis
    assert measured.wall_time_s == pytest.approx(4 * 100 / 2, rel=0.2)
    assert estimate([], n_workers=2).wall_time_s == 0


def test_a_gpu_and_more_processes_take_less_time() -> None:
    trials = [make_trial(init_seed=i) for i in range(100)]
    times = [
        estimate(trials, n_workers=1, resources=ResourcesConfig(**given)).wall_time_s
        for given in ({}, {"cpus": 4}, {"gpus": 1}, {"cpus": 4, "gpus": 1})
    ]
    assert times == sorted(times, reverse=True)
    guess = estimate(trials, n_workers=1, resources=ResourcesConfig(gpus=1))
    assert "a GPU's speed is a guess" in guess.basis
    rows = [{"trial_id": "a", "train_s": 1.0, "count_s": 40.0, "endpoints_s": 10.0}] * MIN_ROWS
    alone, shared = (
        estimate(
            trials, n_workers=1, resources=ResourcesConfig(cpus=cpus), finished=make_frame(rows)
        )
        for cpus in (1, 10)
    )
    assert alone.wall_time_s - shared.wall_time_s == pytest.approx(100 * 45)


def test_half_the_work_is_half_the_time() -> None:
    one = estimate([make_trial()], n_workers=1).wall_time_s
    short = make_trial(training=TrainingConfig(epochs=50))
    assert estimate([short], n_workers=1).wall_time_s < one


def test_a_design_that_cannot_reject_says_so_before_it_runs(tmp_path: Path) -> None:
    def notes(**form: object) -> str:
        path = tmp_path / "sweep.yaml"
        path.write_text(json.dumps({"name": "few", **form}))
        sweep = load_sweep(path)
        return "".join(design_notes(sweep, expand(sweep)))

    grid = {"model.latent_dim": [1, 2]}
    few = notes(grid=grid, replicates={"data": 5, "init": 9})
    assert "no comparison of this design can be significant at 5%" in few
    assert "smallest possible p is 0.0625" in few
    assert "6 data seeds" in few
    assert notes(grid=grid, replicates={"data": 6}) == ""
    # One data seed is no comparison: a report of one cell does not pretend to be one.
    assert notes(replicates={"init": 20}) == ""
    boxes = {"mixture.n_components": [10, 20], "mixture.box": [10, "density"]}
    assert "1 of the cells asked for is another cell" in notes(grid=boxes, replicates={"data": 10})


def _counted(cell: str, seed: int, k: int, control: int) -> dict[str, object]:
    return {
        "trial_id": f"{cell}-{seed}", "cell": cell, "status": "done", "data_seed": seed,
        "k_samples_calibrated": k, "k_data_calibrated": control,
        "coverage_samples_calibrated": k / 10, "at_ceiling_samples_calibrated": False,
    }  # fmt: skip


def test_a_run_ends_with_samples_less_control() -> None:
    rows = [_counted("q=1", seed, 12 + seed, 10) for seed in range(3)]
    rows += [_counted("q=2", seed, 11, 10) for seed in range(3)]
    text = verdict_line(make_frame(rows))
    assert text.startswith("Samples less control: +1.0 [+1.0, +1.0] at q=2 to +3.0 [+0.5, +5.5]")
    assert text.endswith("at q=1 components; 3 data sets.")
    assert verdict_line(make_frame(rows).iloc[:0]) == ""


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_cells_are_told_apart_at_any_width(width: int) -> None:
    names = [f"latent_dim={q}, kl_weight=0.1485, hidden=128x128x128" for q in (1, 2)]
    frame = make_frame([_counted(name, 0, 12, 10) for name in names])
    console = Console(width=width, record=True)
    console.print(coverage_table(frame, width=width))
    text = console.export_text()
    for q in (1, 2):
        assert f"latent_dim={q}, kl_weight=0" in " ".join(text.split())
    assert text.count("120 %") == 2


def test_a_dry_run_says_where_collapse_is_stable() -> None:
    """The ring's 2 lambda_1 is 1.0002: the default KL weight is on it, a learned noise is not."""
    ring, grid = (expand(load_sweep(SWEEPS / f"{name}.yaml")) for name in ("ring8", "grid25"))
    (note,) = collapse_notes(ring)
    assert note.startswith("30 of 150 trials have a KL weight near or above 2 lambda_1")
    assert "from 1.0002 on" in note
    assert collapse_notes(grid) == []
    spread = [replace(t, training=replace(t.training, standardize=True)) for t in grid]
    # On standardised axes both eigenvalues are 1.
    assert "from 2 on" in collapse_notes(spread)[0]
