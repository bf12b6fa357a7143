"""Figures and tables of an adaptive sweep, on a folder made by a replayed search."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from analysis.figures import theme
from analysis.figures.registry import (
    FIGURES,
    NotApplicable,
    figures_of,
)
from analysis.frames import adaptive as searched
from analysis.frames import summary
from analysis.load import Results, load_results
from analysis.report import main
from analysis.tables.tables import TABLES, tables_of
from analysis.wording import notes as captions
from study.config import ModelConfig, load_sweep
from study.config.early_stopping import mean_value
from study.planning.units import ControlBatch, Stack, sweep_manifest
from study.results import open_folder, write_tables
from study.search.adaptive_sweep import Adaptive
from study.search.boundary import fit_surface
from study.trial.rows import Tables, control_row, failed_rows, trial_row

SPACE = """
  space:
    training.kl_weight: {log: [0.1, 10]}
    model.latent_dim: {uniform: [1, 4]}
    model.hidden: [[8], [8, 8]]
"""
FAILS = ModelConfig(latent_dim=4, hidden=(8,))
GOALS = {
    "optimum": "  objective: spurious_mass\n  remeasure: 1\n",
    "spread": "  objective: spurious_mass\n  sampler: qmc\n  first_replicates: 1\n",
    "stopping": (
        "  objective: spurious_mass\n  sampler: qmc\n  first_replicates: 1\n  stop_after: 10\n"
    ),
    "pareto": "  objectives: {mode_recall: maximize, spurious_mass: minimize}\n  remeasure: 0\n",
    "boundary": "  goal: boundary\n  endpoint: mode_recall\n  level: 0.5\n",
}


def _measured(stack: Stack) -> Tables:
    """Make the rows of a stack, which may stop at its rung."""
    weights = [math.log10(t.training.kl_weight) + 0.1 * t.data_seed for t in stack.trials]
    numbers = [
        {"mode_recall": 1 / (1 + math.exp(3 * w)), "spurious_mass": abs(w - 0.2)} for w in weights
    ]
    ends = [trial_row(trial) | {"finished_at": "2026", "train_s": 1.0} for trial in stack.trials]
    done = [end | {"status": "done"} | found for end, found in zip(ends, numbers, strict=True)]
    if stack.halving is None:
        return {"trials": done}
    (rung, *_) = stack.halving.rungs
    values = [found["spurious_mass"] for found in numbers]
    at_rung = {"epoch": rung.epoch, "objective": "spurious_mass", "measure_s": 0.1}
    rungs = [
        at_rung | {"trial_id": trial.trial_id, "value": value}
        for trial, value in zip(stack.trials, values, strict=True)
    ]
    reason = stack.halving.reason(rung, mean_value(values), n_epochs=100)
    stopped = [end | {"status": "stopped", "message": reason} for end in ends]
    return {"trials": stopped if reason else done, "rungs": rungs}


def _build(folder: Path, goal: str) -> Results:
    path = folder / "x.yaml"
    path.write_text(f"name: x\nsearch:{SPACE}{GOALS[goal]}  trials: 40\nreplicates: {{data: 3}}\n")
    sweep = load_sweep(path)
    place = open_folder(folder / "x")
    adaptive = Adaptive(sweep, place)
    stamp = {"status": "done", "finished_at": "2026"}
    while (unit := adaptive.next_unit()) is not None:
        if isinstance(unit, ControlBatch):
            tables = {"controls": [control_row(c) | stamp for c in unit.controls]}
        elif unit.trials[0].model == FAILS:
            tables = failed_rows(unit, "boom")
        else:
            tables = _measured(unit)
        write_tables(place, unit.unit_id, tables)
        adaptive.finish(unit)
    place.write_manifest({**sweep_manifest(sweep, adaptive.trials), "commit": "c"})
    adaptive.write_summary()
    return load_results(folder / "x")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    return {goal: _build(tmp_path_factory.mktemp(goal), goal) for goal in GOALS}


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", [n for n, f in FIGURES.items() if f.kind == "search"])
def test_figures_show_the_search_or_say_why_not(
    found: dict[str, Results], goal: str, name: str
) -> None:
    results = found[goal]
    with theme.style():
        if name == "pareto" and goal != "pareto":
            with pytest.raises(NotApplicable, match="one objective"):
                FIGURES[name].draw(results)
            return
        drawn = FIGURES[name].draw(results)
    assert len(drawn.data)
    if name == "search_history":
        assert "without a value" in drawn.caption  # some failed
        assert ("winner's curse" in drawn.caption) == (goal in ("optimum", "spread", "stopping"))
        assert ("stopped early and not drawn" in drawn.caption) == (goal == "stopping")
    if name == "search_map":
        assert ("dashed" in drawn.caption) == (goal == "boundary")
    if name == "search_importances":
        assert set(drawn.data["evaluator"]) == {"fANOVA", "PED-ANOVA"}
        assert drawn.data.loc[drawn.data["is_dummy"], "factor"].eq(searched.NOISE).all()


def test_importances_find_the_field_that_matters(found: dict[str, Results]) -> None:
    frame = searched.search_importances(found["spread"], "spurious_mass")
    shares = frame[frame["evaluator"].eq("fANOVA")].set_index("factor")["importance"]
    assert shares.idxmax() == "kl_weight"


def test_the_map_has_the_level_where_the_truth_crosses_it(found: dict[str, Results]) -> None:
    results = found["boundary"]
    held: dict[str, float] = {}
    cut = searched.search_map(results, "mode_recall", x="kl_weight", y="latent_dim", held=held)
    row = cut.mean[0]
    crossing = cut.xs[abs(row - 0.5).argmin()]
    # Over data seeds 0, 1, 2 the crossing lies at 10^-0.1.
    assert abs(math.log10(crossing) + 0.1) < 0.15


def test_the_map_is_the_surface_that_the_search_fits(found: dict[str, Results]) -> None:
    results = found["boundary"]
    held: dict[str, float] = {}
    cut = searched.search_map(results, "mode_recall", x="kl_weight", y="latent_dim", held=held)
    cells = searched.suggestions(results).dropna(subset=["value"])
    # Searched from 0.1 to 10, by the logarithm, and from 1 to 4.
    weights, widths = cells["kl_weight"].to_numpy(float), cells["latent_dim"].to_numpy(float)
    positions = np.column_stack([(np.log10(weights) + 1) / 2, (widths - 1) / 3])
    surface = fit_surface(positions, cells["value"].to_numpy(float), cells["se"].to_numpy(float))
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    mean, sd = surface.predict(corners)
    assert (cut.xs[[0, -1]], cut.ys[[0, -1]]) == (pytest.approx([0.1, 10]), pytest.approx([1, 4]))
    assert cut.mean[[0, 0, -1, -1], [0, -1, 0, -1]] == pytest.approx(mean, rel=1e-6)
    assert cut.sd[[0, 0, -1, -1], [0, -1, 0, -1]] == pytest.approx(sd, rel=1e-6)


def test_designed_comparisons_are_left_out_of_searches(found: dict[str, Results]) -> None:
    names = figures_of(found["optimum"])
    assert {FIGURES[name].kind for name in names} == {"any", "search"}
    assert "search" in tables_of(found["optimum"])
    assert "contrasts" not in tables_of(found["optimum"])
    table = TABLES["search"](found["optimum"])
    assert table.shown["best"].iloc[0] == "yes"
    assert "±" in table.shown["on fresh seeds"].iloc[0]


def test_stopped_cells_are_shown_and_in_no_statistic(found: dict[str, Results]) -> None:
    results = found["stopping"]
    n_stopped = int(results.trials["status"].eq("stopped").sum())
    assert n_stopped > 5
    cells = summary.cells(results)
    assert cells["n_stopped"].sum() == n_stopped
    assert cells["n_failed"].sum() == results.trials["status"].eq("failed").sum() > 0
    assert f"{n_stopped} stopped early by the search" in captions.denominators(results)
    table = TABLES["search"](results)
    assert table.shown["mean ± SE"].str.startswith("stopped after 10 epochs at ").sum() > 5
    assert "had no hope" in table.caption
    assert set(TABLES["failures"](results).data["status"]) == {"failed"}
    assert TABLES["compute"](results).shown["stopped"].astype(int).sum() == n_stopped
    # Neither lost nor infinitely bad: bounds and profiles are over the others.
    stopped = set(results.trials.loc[results.trials["status"].eq("stopped"), "cell"])
    frame = summary.endpoints_by_cell(results, ["spurious_mass"])
    assert not set(frame["cell"]) & stopped
    assert (frame["lost_low"] == frame["lost_high"]).all()
    profile = summary.performance_profile(results, "spurious_mass")
    assert not set(profile["cell"]) & stopped


@pytest.mark.slow
def test_a_report_is_written(found: dict[str, Results], tmp_path: Path) -> None:
    results = found["optimum"]
    assert main([str(results.path), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "figures" / "search_map.png").exists()
    assert not (tmp_path / "figures" / "coverage.png").exists()
    assert json.loads((results.path / "manifest.json").read_text())["factors"] == [
        "kl_weight", "latent_dim", "hidden",
    ]  # fmt: skip
