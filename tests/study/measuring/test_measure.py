"""Points from outside get a trial's columns; published null models come out to the bit."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import study
from study.config import DetectionConfig, MixtureConfig
from study.data.data_set import draw_data_set
from study.data.mixture import draw_mixture
from study.data.presets import PRESETS
from study.data.seeds import numpy_generator
from study.endpoints.baselines import fit_nulls
from study.measure import main
from study.measuring.files import PointsError
from study.measuring.measure import Measurement, measure_points, over_files
from study.results import SCHEMAS
from study.results.provenance import provenance

ROOT = Path(__file__).parents[3]
QUICK = DetectionConfig(n_samples=600, k_max=10)
RING = PRESETS["ring8"].mixture


def ring_points(seed: int, n: int = 800) -> np.ndarray:
    return draw_mixture(RING, 0).sample(n, np.random.default_rng(seed))[0]


@pytest.fixture(scope="module")
def measured() -> Measurement:
    """The ring, measured against itself."""
    return measure_points(ring_points(1), truth="ring8", detection=QUICK)


def test_columns_are_those_of_trials(measured: Measurement) -> None:
    assert set(measured.columns) <= set(SCHEMAS["trials"].names)
    assert {key for row in measured.nulls for key in row} | {"control_id"} == set(
        SCHEMAS["nulls"].names
    )
    for table in ("counts", "recall", "components"):
        rows = getattr(measured, table)
        assert rows
        assert set(rows[0]) <= set(SCHEMAS[table].names)


def test_the_truth_measured_against_itself(measured: Measurement) -> None:
    columns = measured.columns
    assert columns["k_samples_calibrated"] == columns["k_data_calibrated"] == 8
    assert columns["coverage_samples_calibrated"] == 1
    assert columns["modes_captured"] == columns["modes_captured_control"] == 8
    assert columns["detection_n_samples"] == 600
    assert "600 of 800 points, chosen at random, are measured" in measured.notes[0]
    by_name = {row["null"]: row for row in measured.nulls}
    assert by_name["truth"]["fkl_nats"] == 0
    assert by_name["gaussian"]["hq_3sd"] < 0.02 < by_name["truth"]["hq_3sd"]


def test_a_notebook_shows_the_null_models_beside(measured: Measurement) -> None:
    shown = measured._repr_html_()
    assert "<table" in shown
    assert "one Gaussian" in shown
    assert "modes captured" in shown


def test_without_a_truth_it_says_what_cannot_be_known() -> None:
    alone = study.measure_points(ring_points(1, 300), detection=QUICK)
    assert "mode_recall" not in alone.columns
    assert alone.nulls == []
    assert any("Without a truth or a reference" in note for note in alone.notes)
    beside = measure_points(ring_points(1, 300), reference=ring_points(2, 300), detection=QUICK)
    assert beside.columns["k_data_calibrated"] == 8
    assert beside.columns["prdc_density"] == pytest.approx(1, abs=0.2)
    assert "mode_recall" not in beside.columns


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"truth": "ring9"}, "must be a sweep file .* or one of ring8"),
        ({"truth": MixtureConfig()}, "have 2 columns and the truth has dimension 3"),
        ({"reference": np.zeros((30, 3))}, "have 2 columns and the reference has 3"),
        ({"truth": "ring8", "reference": np.zeros((30, 2))}, "a truth or a reference, not both"),
    ],
)
def test_what_does_not_fit_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(PointsError, match=message):
        measure_points(ring_points(1), detection=QUICK, **more)


def test_intervals_over_files() -> None:
    def one(k: int) -> Measurement:
        return Measurement(
            name="a", n_points=9, columns={"k": k, "message": None, "emc": math.nan}
        )

    found = over_files([one(7), one(8), one(9)])
    assert set(found) == {"k"}
    # Student's t with 2 degrees of freedom: 4.3027 / sqrt(3).
    assert found["k"]["mean"] == 8
    assert found["k"]["high"] == pytest.approx(8 + 4.30265 / math.sqrt(3), abs=1e-4)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = []
    for seed in (1, 2):
        names.append(str(tmp_path / f"{seed}.npy"))
        np.save(names[-1], ring_points(seed, 300))
    options = ("--truth", "ring8", "--n", "300", "--k-max", "10", "--no-nulls")
    assert main([*names, *options, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "2 files" in printed
    assert "modes captured" in printed
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/png") == len(list((tmp_path / "out" / "figures").iterdir())) == 3
    assert "http" not in page
    assert main([*names, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["file"] for row in found["trials"]] == ["1.npy", "2.npy"]
    assert set(found["trials"][0]) - {"file", "n_points"} <= set(SCHEMAS["trials"].names)
    assert found["intervals"]["k_samples_calibrated"]["mean"] == 8
    np.save(tmp_path / "deep.npy", np.zeros((30, 3)))
    assert main([names[0], str(tmp_path / "deep.npy")]) == 2
    error = capsys.readouterr().err
    assert "has 3 columns and" in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_published_null_models_come_out_to_the_bit() -> None:
    """Of one control: the points of its null models, measured like a file's."""
    folder = ROOT / "results" / "latent_dims"
    controls = pd.read_parquet(folder / "controls.parquet").set_index("data_seed")
    nulls = pd.read_parquet(folder / "nulls.parquet")
    control = controls.loc[3]
    published = nulls[nulls["control_id"] == control["control_id"]].set_index("null")
    data = draw_data_set(MixtureConfig(), 3, 10_000)
    exact = control["cpu"] == provenance()["cpu"]
    for index, model in enumerate(fit_nulls(data)):
        rng = numpy_generator("null", 3, index)
        points = model.draw(10_000, rng)
        found = measure_points(points, truth=MixtureConfig(), seed=3, rng=rng, nulls=False).columns
        for name in POINT_COLUMNS:
            expected = published.loc[model.name, name]
            if exact:
                assert found[name] == expected, (model.name, name)
            else:
                assert found[name] == pytest.approx(expected, abs=0.02), (model.name, name)


# Of the published rows: what the points decide. Counts and what rests on the fitted mixture are
# another version's of the detector.
POINT_COLUMNS = ("mode_recall", "weighted_recall", "spurious_mass", "hq_samples", "tv",
                 "prdc_density", "prdc_coverage", "c2st")  # fmt: skip
