"""Exports, read back with the tools themselves: what is there equals the tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.export import KINDS, main
from study.results import read_table
from tests.analysis.synthetic import build_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trials that are done and one that diverged."""
    return build_results(
        tmp_path_factory.mktemp("export") / "widths",
        cells=[{"latent_dim": 1}],
        seeds=(3, 1),
        failed={2: "diverged"}.get,
    )


def exported(folder: Path, place: Path, kind: str) -> Path:
    assert main([str(folder), "--to", kind, "--out", str(place)]) == 0
    return place


def test_the_command_knows_every_writer() -> None:
    from study.exchange import tracking

    assert tuple(tracking.KINDS) == KINDS


def test_csv_holds_the_tables_to_the_bit(folder: Path, tmp_path: Path) -> None:
    place = exported(folder, tmp_path / "csv", "csv")
    for table in ("trials", "controls", "curves", "counts", "components", "nulls"):
        theirs = read_table(folder, table)
        mine = pd.read_csv(place / f"{table}.csv")
        assert len(mine) == len(theirs)
        for name in theirs.select_dtypes(["number", "boolean"]):
            np.testing.assert_array_equal(mine[name].astype(float), theirs[name].astype(float))
    listed = json.loads(pd.read_csv(place / "trials.csv")["eigenvalues"][0])
    assert listed == list(read_table(folder, "trials")["eigenvalues"][0])


def test_what_cannot_be_exported_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").write_text("mine")
    assert main([str(folder), "--to", "csv", "--out", str(tmp_path)]) == 2
    assert "holds something already" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), "--to", "csv", "--out", str(tmp_path / "y")]) == 2
    assert not (tmp_path / "y").exists()


@pytest.mark.slow
def test_tensorboard_reads_curves_and_endpoints(folder: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    place = exported(folder, tmp_path / "board", "tensorboard")
    for row in read_table(folder, "trials").to_dict("records"):
        events = reader.EventAccumulator(str(place / "widths" / row["trial_id"]))
        events.Reload()
        tags = events.Tags()["scalars"]
        if row["status"] != "done":
            assert not [tag for tag in tags if tag.startswith("curves/")]
            continue
        found = events.Scalars("endpoints/fkl_nats")[0]
        assert found.value == np.float32(row["fkl_nats"])
        curve = read_table(folder, "curves")
        curve = curve[curve["trial_id"] == row["trial_id"]]
        read = [(point.step, point.value) for point in events.Scalars("curves/recon")]
        assert read == list(zip(curve["epoch"], curve["recon"].astype(np.float32), strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_mlflow_reads_config_endpoints_curves_and_tags(folder: Path, tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    place = exported(folder, tmp_path / "flow", "mlflow")
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{place / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("widths")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    trials = read_table(folder, "trials").set_index("trial_id")
    assert set(runs) == set(trials.index)
    for key, run in runs.items():
        row = trials.loc[key]
        assert run.data.tags["cell"] == row["cell"]
        assert run.data.tags["data_seed"] == str(row["data_seed"])
        assert run.data.params["kl_weight"] == str(row["kl_weight"])
        assert run.info.status == ("FINISHED" if row["status"] == "done" else "FAILED")
        if row["status"] != "done":
            continue
        assert run.data.metrics["endpoints/fkl_nats"] == row["fkl_nats"]
        assert run.data.metrics["endpoints/k_samples_calibrated"] == row["k_samples_calibrated"]
        curve = read_table(folder, "curves").query("trial_id == @key")
        points = client.get_metric_history(run.info.run_id, "curves/kl_nats")
        read = sorted((point.step, point.value) for point in points)
        assert read == list(zip(curve["epoch"], curve["kl_nats"], strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_wandb_and_trackio_take_the_runs_offline(folder: Path, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb", reason="not in `dev`: it is large")
    assert wandb
    place = exported(folder, tmp_path / "wandb", "wandb")
    assert len(list(place.glob("wandb/offline-run-*/*.wandb"))) == 3
