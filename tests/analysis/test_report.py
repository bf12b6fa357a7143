import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from analysis import report, theme
from analysis.gallery import FIGURES
from analysis.tables import TABLES


@pytest.fixture(scope="module", autouse=True)
def coarse() -> Iterator[None]:
    """Save at a low resolution: nothing here looks at pixels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(theme._SETTINGS, "savefig.dpi", 50)
        yield


@pytest.fixture(scope="module")
def written(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report of a small sweep with a failure."""
    folder = build(
        tmp_path_factory.mktemp("report") / "small",
        cells=[{"latent_dim": 1}, {"latent_dim": 2}],
        seeds=(3, 1),
        n_points=60,
        failed={1: "diverged"}.get,
    )
    assert report.main([str(folder)]) == 0
    return folder


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.links += [values[name] for name in ("src", "href") if name in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            self.alts.append(values.get("alt", ""))


def test_every_figure_comes_in_three_files(written: Path) -> None:
    for name in FIGURES:
        files = [written / "figures" / f"{name}.{kind}" for kind in ("png", "svg", "csv")]
        assert all(file.stat().st_size > 500 for file in files)
        assert files[1].stat().st_size < 600_000
        assert len(pd.read_csv(files[2])) > 0


def test_images_carry_their_provenance(written: Path) -> None:
    text = Image.open(written / "figures" / "coverage.png").text
    assert "hash feedc0de, commit 0123456789abcdef" in text["Source"]
    assert text["Query"] == "summary.coverage_by_cell(load_results(PATH))"
    svg = (written / "figures" / "coverage.svg").read_text()
    assert "hash feedc0de" in svg
    assert "summary.coverage_by_cell(load_results(PATH))" in svg


def test_tables_come_in_three_files(written: Path) -> None:
    for name in TABLES:
        present = [
            (written / "tables" / f"{name}.{kind}").exists() for kind in ("csv", "md", "tex")
        ]
        assert all(present) is (name != "replication")


def test_page_stands_alone(written: Path) -> None:
    text = (written / "report.html").read_text()
    page = _Page()
    page.feed(text)
    outside = [link for link in page.links if not link.startswith(("data:", "#"))]
    assert outside == []
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert len(page.alts) == len(FIGURES)
    assert all(len(alt) > 30 for alt in page.alts)
    assert len(set(page.ids)) == len(page.ids)
    assert "<script" not in text
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", re.sub(r"base64,[^\"]*", "", text))


def test_page_answers_with_denominators(written: Path) -> None:
    text = (written / "report.html").read_text()
    assert "5 of 6 planned trials finished; 1 failed." in text
    assert "Does a wider latent space" in text
    assert "Left out" in text


def test_only_draws_what_is_asked_and_repeats(written: Path, tmp_path: Path) -> None:
    assert report.main([str(written), "--only", "endpoints,headline", "--out", str(tmp_path)]) == 0
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*"))
    expected = [f"figures/endpoints.{kind}" for kind in ("csv", "png", "svg")]
    assert files == expected + [f"tables/headline.{kind}" for kind in ("csv", "md", "tex")]
    # The same rows give the same files, to the byte.
    for name in files:
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["/nowhere"], "no manifest.json here"), (["/nowhere", "--only", "covrage"],
     "did you mean 'coverage'?")],
)  # fmt: skip
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": (1, 1), "factors": (), "cells": [{}]},
        {"seeds": (2, 1), "cells": [{"latent_dim": 2}], "failed": lambda index: "diverged"},
    ],
    ids=["one trial", "all failed"],
)
def test_poor_sweeps_still_make_a_page(
    build: Callable[..., Path], tmp_path: Path, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {name: FIGURES[name] for name in ("coverage", "tsne")}
    monkeypatch.setattr(report, "FIGURES", kept)
    folder = build(tmp_path / "poor", n_points=0, **options)
    assert report.main([str(folder)]) == 0
    text = re.sub(r"base64,[^\"]*", "", (folder / "report.html").read_text())
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text)
    assert "Left out" in text


def test_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        report.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(name in text for name in FIGURES)
