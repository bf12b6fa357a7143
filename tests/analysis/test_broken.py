"""Results that cannot carry a claim: a clear message, or frames that say what cannot be said."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.frames import summary
from analysis.load import Results, load_results
from analysis.page import answer
from analysis.tables import tables
from study.results import ResultsError, open_folder


def _made(results: Results) -> set[str]:
    made = set()
    for name, table in tables.TABLES.items():
        try:
            text = table(results).to_markdown()
        except tables.NotTabulated:
            continue
        assert len(text) > 100
        made.add(name)
    return made


@pytest.fixture
def folder(build: Callable[..., Path], tmp_path: Path) -> Path:
    return build(tmp_path / "small", seeds=(2, 1), n_points=0, fixed={"epochs": 10})


def test_a_cut_file_is_named(folder: Path) -> None:
    (part,) = (folder / "parts" / "trials").glob("*.parquet")
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    with pytest.raises(ResultsError, match="trials"):
        load_results(folder)


def test_an_empty_sweep_says_how_to_run_it(folder: Path) -> None:
    shutil.rmtree(folder / "parts")
    with pytest.raises(ResultsError, match=r"study\.sweep"):
        load_results(folder)


def test_a_foreign_version_is_refused(folder: Path) -> None:
    manifest = open_folder(folder).read_manifest()
    open_folder(folder).write_manifest(manifest | {"schema_version": 99})
    with pytest.raises(ResultsError, match="99"):
        load_results(folder)


def test_all_failed(build: Callable[..., Path], tmp_path: Path) -> None:
    results = load_results(build(tmp_path / "bad", seeds=(2, 1), failed=lambda index: "diverged"))
    assert _made(results) == {"failures", "compute", "provenance", "nulls", "literature"}
    assert summary.variance_components(results, ["fkl_nats"]).empty
    assert summary.anova(results, "fkl_nats").empty
    assert summary.importances(results, "fkl_nats").empty
    assert summary.power_curve(results, "fkl_nats").empty
    assert summary.survival(results, "samples", "original").empty
    assert summary.paired_counts(results, "samples", "original").empty
    assert summary.cell_contrasts(results).empty
    assert summary.equivalence(results, "fkl_nats").empty
    assert summary.agreement(results, "trials").empty
    assert summary.performance_profile(results, "fkl_nats").empty


@pytest.mark.parametrize("seeds", [(1, 1), (1, 3), (3, 1)])
@pytest.mark.parametrize("cells", [[{}], [{"latent_dim": 1}, {"latent_dim": 2}]])
def test_few_cells_and_seeds_claim_little(
    build: Callable[..., Path],
    tmp_path: Path,
    seeds: tuple[int, int],
    cells: list[dict[str, int]],
) -> None:
    factors = tuple(cells[0])
    path = build(tmp_path / "few", factors=factors, cells=cells, seeds=seeds, n_points=0,
                 fixed={"epochs": 10})  # fmt: skip
    results = load_results(path)
    made = _made(results)
    assert "headline" in made
    assert ("differences" in made) is (len(cells) == 2)
    assert ("anova" in made) is (len(cells) == 2 and seeds[0] > 1)
    text = " ".join(answer.sentences(results))
    assert "nan" not in text
    assert ("95%" in text) is (seeds[0] > 1)
