"""Figures and tables of an adaptive sweep, on a folder made by a replayed search."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from analysis import searched, theme
from analysis.gallery import DESIGN_FIGURES, FIGURES, SEARCH_FIGURES, NotApplicable, figures_of
from analysis.load import Results, load_results
from analysis.report import main
from analysis.tables import TABLES, tables_of
from study.adaptive import Adaptive
from study.config import ModelConfig, load_sweep
from study.grid import ControlBatch, sweep_manifest
from study.results import open_folder, write_tables
from study.rows import control_row, failed_rows, trial_row

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
    "pareto": "  objectives: {mode_recall: maximize, spurious_mass: minimize}\n  remeasure: 0\n",
    "boundary": "  goal: boundary\n  endpoint: mode_recall\n  level: 0.5\n",
}


def _build(folder: Path, goal: str) -> Results:
    path = folder / "x.yaml"
    path.write_text(f"name: x\nsearch:{SPACE}{GOALS[goal]}  trials: 70\nreplicates: {{data: 3}}\n")
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
            rows = []
            for trial in unit.trials:
                weight = math.log10(trial.training.kl_weight) + 0.1 * trial.data_seed
                numbers = {
                    "mode_recall": 1 / (1 + math.exp(3 * weight)),
                    "spurious_mass": abs(weight - 0.2),
                }
                rows.append(trial_row(trial) | stamp | numbers)
            tables = {"trials": rows}
        write_tables(place, unit.unit_id, tables)
        adaptive.finish(unit)
    place.write_manifest({**sweep_manifest(sweep, adaptive.trials), "commit": "c"})
    adaptive.write_summary()
    return load_results(folder / "x")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    return {goal: _build(tmp_path_factory.mktemp(goal), goal) for goal in GOALS}


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", SEARCH_FIGURES)
def test_figures_show_the_search_or_say_why_not(
    found: dict[str, Results], goal: str, name: str
) -> None:
    results = found[goal]
    with theme.style():
        if name == "pareto" and goal != "pareto":
            with pytest.raises(NotApplicable, match="one objective"):
                FIGURES[name](results)
            return
        drawn = FIGURES[name](results)
    assert len(drawn.data)
    if name == "search_history":
        assert "without a value" in drawn.caption  # some failed
        assert ("winner's curse" in drawn.caption) == (goal in ("optimum", "spread"))
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


def test_designed_comparisons_are_left_out_of_searches(found: dict[str, Results]) -> None:
    names = figures_of(found["optimum"])
    assert not set(names) & set(DESIGN_FIGURES)
    assert "search" in tables_of(found["optimum"])
    assert "contrasts" not in tables_of(found["optimum"])
    table = TABLES["search"](found["optimum"])
    assert table.shown["best"].iloc[0] == "yes"
    assert "±" in table.shown["on fresh seeds"].iloc[0]


def test_a_report_is_written(found: dict[str, Results], tmp_path: Path) -> None:
    results = found["optimum"]
    assert main([str(results.path), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "figures" / "search_map.png").exists()
    assert not (tmp_path / "figures" / "coverage.png").exists()
    assert json.loads((results.path / "manifest.json").read_text())["factors"] == [
        "kl_weight", "latent_dim", "hidden",
    ]  # fmt: skip
