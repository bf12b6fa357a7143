import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from analysis import report
from analysis.figures import theme
from analysis.figures.registry import FIGURES
from analysis.load import Results, load_results
from analysis.page import cells as cell_pages
from analysis.page import render as page
from analysis.page.kept_points import keep_gallery
from analysis.tables.tables import TABLES


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
        self.loaded: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        found = [values[name] for name in ("src", "href") if name in values]
        self.links += found
        # What a reader may follow is not loaded.
        self.loaded += [] if tag == "a" else found
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            self.alts.append(values.get("alt", ""))


def _plain(page: Path) -> str:
    """The page without its packed parts and pictures."""
    text = re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.S)
    return re.sub(r"base64,[^\"]*", "", text)


def _drawn(written: Path) -> list[str]:
    return [name for name in FIGURES if (written / "figures" / f"{name}.png").exists()]


def test_every_figure_comes_in_three_files_or_with_a_reason(written: Path) -> None:
    left_out = {"count_by_size", "response_surface", "collapse", "power"}
    suited = {name for name, figure in FIGURES.items() if figure.kind != "search"}
    assert suited - set(_drawn(written)) == left_out
    text = _plain(written / "report.html")
    assert "Collapse: the KL weight is not swept" in text
    for name in _drawn(written):
        files = [written / "figures" / f"{name}.{kind}" for kind in ("png", "svg", "csv")]
        assert all(file.stat().st_size > 100 for file in files)
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
        assert all(present) is (name not in ("replication", "search", "recall_odds"))


def test_page_stands_alone(written: Path) -> None:
    text = (written / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert [link for link in page.loaded if not link.startswith(("data:", "#"))] == []
    beside = ("figures/", "tables/", "explore.csv")
    assert all(link.startswith(("data:", "#", "https://", *beside)) for link in page.links)
    assert all((written / link).exists() for link in page.links if link.startswith(beside))
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    assert len(page.alts) == len(_drawn(written))
    assert all(len(alt) > 30 for alt in page.alts)
    assert len(set(page.ids)) == len(page.ids)
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", _plain(written / "report.html"))
    assert (written / "report.html").stat().st_size < 3_000_000


def test_an_index_has_a_card_for_each_sweep(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small").mkdir()
    for name in ("card.json", "report.html"):
        (tmp_path / "small" / name).write_bytes((written / name).read_bytes())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text("{")
    assert report.main(["--index", str(tmp_path)]) == 0
    assert "index of 1 sweeps" in capsys.readouterr().out
    text = (tmp_path / "index.html").read_text()
    assert 'href="small/report.html"' in text
    assert "Not decided" in text
    assert report.main(["--index", str(tmp_path / "nowhere")]) == 2


def test_page_answers_with_denominators(written: Path) -> None:
    text = (written / "report.html").read_text()
    assert "5 of 6 planned trials finished; 1 failed." in text
    assert "Does a wider latent space" in text
    assert "Left out" in text


@pytest.mark.slow
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
    text = _plain(folder / "report.html")
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", text)
    assert "Left out" in text


def test_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        report.main(["--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(name in text for name in FIGURES)


def test_why_prints_where_a_figure_comes_from(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("png", "svg"):
        assert report.main(["--why", str(written / "figures" / f"survival.{kind}")]) == 0
        told = capsys.readouterr().out
        assert "Source: sweep small, hash feedc0de, commit 0123456789abcdef" in told
        assert "Query: summary.survival(load_results(PATH)" in told
        assert "survival.csv" in told


def test_why_refuses_what_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "bare.png")
    (tmp_path / "cut.svg").write_text("<svg")
    for name, told in (("bare.png", "carries no Title"), ("cut.svg", "not a PNG or SVG"),
                       ("none.png", "no such file")):  # fmt: skip
        assert report.main(["--why", str(tmp_path / name)]) == 2
        assert told in capsys.readouterr().err


def test_numbers_name_figures_and_tables(written: Path, tmp_path: Path) -> None:
    assert report.main([str(written), "--only", "F6,t6", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "figures" / "recall_spurious.svg").exists()
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {
        "compute", "provenance", "failures"}  # fmt: skip


def test_stale_figures_go(written: Path, tmp_path: Path) -> None:
    old = tmp_path / "figures" / "collapse.png"
    old.parent.mkdir()
    old.write_text("of other rows")
    assert report.main([str(written), "--only", "F9", "--out", str(tmp_path)]) == 0
    assert not old.exists()


@pytest.mark.slow
def test_several_sweeps_make_one_page_and_latex_documents(
    build: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "FIGURES", {"composition": FIGURES["composition"]})
    monkeypatch.setattr(report, "TABLES", {"compute": TABLES["compute"]})
    folders = [build(tmp_path / name, seeds=(1, 1), n_points=0) for name in ("one", "two")]
    arguments = [*map(str, folders), "--format", "html,latex"]
    assert report.main(arguments) == 0
    page = _Page()
    page.feed((tmp_path / "report.html").read_text())
    assert {"one-cells", "two-cells", "one-figure-composition", "two-cell-5"} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert all(link[1:] in page.ids for link in page.links if link.startswith("#"))
    document = (tmp_path / "one" / "report.tex").read_text()
    assert r"{figures/composition.pdf}" in document
    assert r"\input{tables/compute.tex}" in document
    assert (tmp_path / "one" / "figures" / "composition.pdf").exists()
    assert report.main([str(folders[0]), str(folders[0])]) == 2


def test_rows_of_a_long_table_are_packed(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = TABLES["coverage"](results)
    plain = page.table_entry("coverage", table)
    assert (plain.rows, plain.body.count("<tr")) == ("", 1 + len(table.shown))
    monkeypatch.setattr(page, "PLAIN_ROWS", len(table.shown) - 1)
    long = page.table_entry("coverage", table)
    rows = gzip.decompress(base64.b64decode(long.rows)).decode()
    assert plain.body == long.body.replace("<tbody></tbody>", f"<tbody>{rows}</tbody>")
    assert f"{len(table.shown)} rows, which show only where scripts run" in long.caption


def test_a_page_of_many_cells_has_fewer_curves_and_points_of_each(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content(pages: list[Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(pages[1].payload)))
        return found

    whole = cell_pages.cell_pages(results)
    assert len(content(whole)["curves"]["samples"]) == 10
    assert (whole[1].n_points, len(content(whole)["clouds"]["data"]["x"])) == (300, 300)
    monkeypatch.setattr(cell_pages, "PAGE_CURVE_SEEDS", 5 * len(whole))
    monkeypatch.setattr(cell_pages, "PAGE_POINTS", 120 * len(whole))
    few = cell_pages.cell_pages(results)
    assert content(few)["curves"]["samples"] == content(whole)["curves"]["samples"][:5]
    assert (few[1].n_points, len(content(few)["clouds"]["data"]["x"])) == (120, 120)
    # However many the cells, each shows some.
    monkeypatch.setattr(cell_pages, "PAGE_CURVE_SEEDS", 0)
    monkeypatch.setattr(cell_pages, "PAGE_POINTS", 0)
    least = cell_pages.cell_pages(results)
    assert len(content(least)["curves"]["samples"]) == cell_pages.FEWEST_CURVE_SEEDS
    assert least[1].n_points == cell_pages.FEWEST_POINTS
    # The seeds are all there.
    assert content(least)["seeds"] == content(whole)["seeds"]


def test_a_certificate_is_shown(tmp_path: Path) -> None:
    from analysis.page.render import certificate

    assert certificate(tmp_path).startswith("none yet")
    (tmp_path / "verify.json").write_text('{"checked": 5, "equal": 5, "different": []}')
    assert certificate(tmp_path) == "checked: 5; equal: 5; different: 0"
    (tmp_path / "verify.json").write_text("{")
    assert "cannot be read" in certificate(tmp_path)


def test_a_kept_gallery_stands_in_for_the_points(
    build: Callable[..., Path], tmp_path: Path
) -> None:
    folder = build(tmp_path / "kept", seeds=(1, 1), n_points=500)
    results = load_results(folder)
    kept = keep_gallery(results)
    assert kept is not None
    assert kept.stat().st_size < 1_000_000
    for part in (folder / "parts" / "points").iterdir():
        part.unlink()
    again = load_results(folder).points
    sizes = again.groupby(["trial_id", "source"]).size()
    # All points of the trial that the figures show, few of the others.
    assert sorted(sizes.unique()) == [300, 500]
    assert keep_gallery(load_results(folder)) is None
