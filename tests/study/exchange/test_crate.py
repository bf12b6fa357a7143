"""Published results: others' validators pass, and what is read back equals the tables."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.exchange.crate import broken_checksums, require_whole
from study.publish import main
from study.results import CERTIFICATE, SCHEMAS, ResultsError, open_folder, read_table
from tests.analysis.synthetic import build_results

CERTIFIED = {
    "equal": True, "n_trials": 5, "n_equal": 5, "n_numbers": 100, "level": "to the bit",
    "verified_at": "2026-01-01T00:00:00+00:00", "commit": "0123456789abcdef", "cpu": "a processor",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build_results(
        tmp_path_factory.mktemp("publish") / "widths",
        cells=[{"latent_dim": 1}, {"latent_dim": 3}],
        seeds=(2, 2),
        n_points=20,
        failed={3: "diverged"}.get,
    )
    open_folder(folder).write_bytes(CERTIFICATE, json.dumps(CERTIFIED).encode())
    return folder


@pytest.fixture(scope="module")
def published(folder: Path) -> Path:
    place = folder.parent / "widths.zip"
    licence = ["--licence", "https://creativecommons.org/licenses/by/4.0/"]
    assert main([str(folder), "--to", str(place), *licence, "--author", "A. Person"]) == 0
    return place


@pytest.fixture(scope="module")
def unpacked(published: Path) -> Path:
    place = published.with_suffix("")
    place = place.with_name("unpacked")
    with zipfile.ZipFile(published) as archive:
        archive.extractall(place)
    return place


def test_every_table_is_read_back_from_the_file(folder: Path, published: Path) -> None:
    for table in SCHEMAS:
        pd.testing.assert_frame_equal(read_table(published, table), read_table(folder, table))
    assert open_folder(published).read_object(CERTIFICATE) == CERTIFIED
    with pytest.raises(OSError):  # noqa: PT011  # each filesystem has its own words
        open_folder(published).write_bytes("x", b"")


def test_checksums_find_what_was_changed(published: Path, tmp_path: Path) -> None:
    assert broken_checksums(published) == []
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(published) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            changed = b"{}" if name == "croissant.json" else old.read(name)
            new.writestr(name, changed)
        new.writestr("more.txt", "more")
    assert broken_checksums(other) == ["croissant.json", "more.txt"]
    with pytest.raises(ResultsError, match=r"croissant.json is not what was published"):
        require_whole(other)
    (tmp_path / "torn.zip").write_bytes(published.read_bytes()[:1000])
    with pytest.raises(ResultsError, match="not a whole zip file"):
        open_folder(tmp_path / "torn.zip")


def test_refusals_leave_no_file(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), "--to", str(tmp_path / "x.tar")]) == 2
    assert main([str(tmp_path), "--to", str(tmp_path / "x.zip")]) == 2
    assert "no manifest.json here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main([str(folder), "--to", str(tmp_path / "x.zip")]) == 0
    assert "No licence is stated" in capsys.readouterr().out


def test_the_data_package_has_types_units_and_bounds(unpacked: Path, folder: Path) -> None:
    package = json.loads((unpacked / "datapackage.json").read_text())
    resources = {one["name"]: one for one in package["resources"]}
    assert {"trials", "controls", "counts", "curves", "points"} <= resources.keys()
    fields = {one["name"]: one for one in resources["trials"]["schema"]["fields"]}
    assert fields["mode_recall"]["unit"] == "share of modes"
    assert fields["mode_recall"]["bounds"] == {"minimum": 0, "maximum": 1}
    assert all(
        one["description"] for part in resources.values() for one in part["schema"]["fields"]
    )
    certificate = json.loads((unpacked / "codecheck.yml").read_text())
    assert "5 of 5 trials" in certificate["summary"]
    assert "to the bit" in certificate["summary"]


@pytest.mark.slow
def test_rocrate_reads_it(unpacked: Path) -> None:
    rocrate = pytest.importorskip("rocrate.rocrate")
    crate = rocrate.ROCrate(unpacked)
    assert crate.root_dataset["author"][0]["name"] == "A. Person"
    files = {entity.id for entity in crate.data_entities}
    there = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*.*")}
    assert files >= {name for name in there if "." in name} - {"ro-crate-metadata.json"}
    assert crate.name == "widths"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_croissant_loads_every_record_set(unpacked: Path, folder: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    dataset = mlcroissant.Dataset(jsonld=unpacked / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    loaded = {one.name for one in dataset.metadata.record_sets}
    assert {"trials", "controls", "counts", "curves", "points", "plan"} <= loaded
    for table in loaded:
        records = list(dataset.records(table))
        assert len(records) == len(open_folder(folder).read_raw(table)), table
    values = sorted(
        r["trials/fkl_nats"] for r in dataset.records("trials") if r["trials/fkl_nats"]
    )
    known = read_table(folder, "trials")["fkl_nats"].dropna()
    np.testing.assert_array_equal(
        [value for value in values if value == value], sorted(known.astype(float))
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_frictionless_validates_every_table(unpacked: Path) -> None:
    frictionless = pytest.importorskip("frictionless")
    package = frictionless.Package(str(unpacked / "datapackage.json"))
    report = package.validate()
    assert report.valid, report.flatten(["name", "rowNumber", "fieldName", "message"])[:5]
    assert len(report.tasks) == len(package.resources)
