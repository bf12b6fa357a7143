from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from analysis.figures import collapse, registry, response_surface, theme
from analysis.figures.layout import near_groups
from analysis.figures.registry import (
    FIGURES,
    Drawn,
    FigureError,
    NotApplicable,
    ReportFigure,
    figure_numbers,
    figures_of,
    register,
)
from analysis.frames import summary
from analysis.load import Results, load_results
from analysis.report import write_report


def _draw(name: str, results: Results) -> Drawn:
    with theme.style():
        return FIGURES[name].draw(results)


def test_many_factors_make_panels(build: Callable[..., Path], tmp_path: Path) -> None:
    cells = [
        {
            "n_components": k,
            "alpha": a,
            "box_rule": b,
            "box_half_width": 10.0 if b == "fixed" else 10 * (k / 10) ** (1 / 3),
        }
        for k in (2, 10, 20, 40)
        for a in (1.0, 5.0)
        for b in ("fixed", "density")
    ]
    factors = ("n_components", "alpha", "box_rule")
    folder = build(tmp_path / "many", factors=factors, cells=cells, seeds=(2, 1), n_points=0)
    results = load_results(folder)
    drawn = _draw("coverage", results)
    assert len(drawn.figure.axes) == 2 * 4
    # The two boxes are one at 10 components, so that one panel of two has a gap there.
    assert drawn.data["cell"].nunique() == 14
    assert drawn.figure.axes[0].get_title() == "Dirichlet alpha = 1\nbox = fixed"
    assert len(drawn.figure.axes[0].get_xticks()) == 4
    # Panels of a row share an axis that holds the highest of them all; text needs wider ones.
    for row, protocol in enumerate(("original", "calibrated")):
        top = drawn.data.loc[drawn.data["protocol"] == protocol, ["high", "ceiling"]].max().max()
        assert drawn.figure.axes[4 * row].get_ylim()[1] > top
    assert not any(axes.texts for axes in drawn.figure.axes)
    # Fourteen lines do not fit one panel: those of the reference cell's alpha and box are shown.
    losses = _draw("loss_curves", results)
    assert losses.data["cell"].nunique() == 4
    assert "4 of 14 cells" in losses.caption


def _wide(build: Callable[..., Path], folder: Path, **sizes: int) -> Results:
    """Make a full factorial of so many levels of q, beta and K, one trial a cell."""
    levels = {"latent_dim": range(1, sizes["q"] + 1), "kl_weight": range(1, sizes["beta"] + 1),
              "n_components": range(2, sizes["k"] + 2)}  # fmt: skip
    cells = [dict(zip(levels, values, strict=True)) for values in product(*levels.values())]
    return load_results(
        build(folder, factors=tuple(levels), cells=cells, seeds=(1, 1), n_points=0,
              fixed={"epochs": 1, "k_max": 6})
    )  # fmt: skip


def test_panels_beyond_a_page_are_those_near_the_reference(
    build: Callable[..., Path], tmp_path: Path
) -> None:
    # On the x axis is beta; K and q make twelve panels, the reference (the first cell) q = 1.
    results = _wide(build, tmp_path / "wide", q=3, beta=5, k=4)
    coverage = _draw("coverage", results)
    assert set(coverage.data["latent_dim"]) == {1}
    assert coverage.data["n_components"].nunique() == 4
    assert "40 cells are left out, those far from latent_dim=1" in coverage.caption
    endpoints = _draw("endpoints", results)
    texts = [text.get_text() for text in endpoints.figure.legends[0].get_texts()]
    assert texts == [f"{k}, 1" for k in range(2, 6)]
    assert set(endpoints.data["latent_dim"]) == {1}
    assert "20 of 60 cells" in endpoints.caption


def test_a_response_surface_fits_a_page(
    build: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = _wide(build, tmp_path / "maps", q=2, beta=3, k=3)
    whole = _draw("response_surface", results)
    assert whole.data["cell"].nunique() == 18
    monkeypatch.setattr(response_surface, "PAGE_HEIGHT", 0.6 * whole.figure.get_figheight())
    drawn = _draw("response_surface", results)
    assert drawn.figure.get_figheight() <= response_surface.PAGE_HEIGHT
    assert set(drawn.data["latent_dim"]) == {1}
    assert "9 of 18 cells are left out, those far from latent_dim=1" in drawn.caption


def test_a_high_response_surface_fits_a_page(build: Callable[..., Path], tmp_path: Path) -> None:
    drawn = _draw("response_surface", _wide(build, tmp_path / "high", q=2, beta=9, k=2))
    assert drawn.data["cell"].nunique() == 36
    assert drawn.figure.get_figheight() <= response_surface.PAGE_HEIGHT


@pytest.mark.parametrize("k", [1, 2, 3])
def test_titles_of_a_response_surface_do_not_meet(
    build: Callable[..., Path], tmp_path: Path, k: int
) -> None:
    figure = _draw("response_surface", _wide(build, tmp_path / "maps", q=3, beta=3, k=k)).figure
    figure.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in figure.axes]
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index])
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1


def test_the_reference_is_among_the_groups_kept(
    build: Callable[..., Path], tmp_path: Path
) -> None:
    cells = [{"latent_dim": 1, "n_components": k} for k in (4, 8, 10, 20)]
    folder = build(tmp_path / "one", factors=("n_components",), cells=cells, seeds=(1, 1),
                   n_points=0)  # fmt: skip
    results = load_results(folder)
    cell = summary.reference_cell(results)
    frame = summary.cells(results)
    ((levels, rows),) = near_groups(results, frame, ["n_components"], 1)
    assert rows["cell"].tolist() == [cell]
    assert len(near_groups(results, frame, ["n_components"], 4)) == 4
    assert levels == (rows["n_components"].iloc[0],)


def test_thousands_of_latents_are_drawn_small(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = replace(results, manifest=replace(results.manifest, factors=("kl_weight",)))
    edged = _draw("collapse", swept).figure.axes[1].collections[0]
    monkeypatch.setattr(collapse, "MANY_POINTS", 100)
    figure = _draw("collapse", swept).figure
    assert figure.axes[1].collections[0].get_sizes()[0] < edged.get_sizes()[0] / 4
    figure.draw_without_rendering()
    # No legend lies on points, and none leaves the figure.
    for axes in figure.axes:
        box = axes.get_legend().get_window_extent()
        assert box.y1 <= axes.get_window_extent().y0
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert box.y0 >= figure.bbox.y0


def test_categories_are_not_joined_by_lines(build: Callable[..., Path], tmp_path: Path) -> None:
    cells = [{"hidden": h, "standardize": s} for h in ("linear", "8x8") for s in (False, True)]
    folder = build(tmp_path / "kinds", factors=("hidden", "standardize"), cells=cells,
                   seeds=(2, 1), n_points=0)  # fmt: skip
    results = load_results(folder)
    axes = _draw("coverage", results).figure.axes
    assert [axis.get_title() for axis in axes[:2]] == ["standardize = False", "standardize = True"]
    assert {bar.lines[0].get_linestyle() for bar in axes[0].containers} == {"None"}
    assert len(_draw("endpoints", results).figure.axes) == 3


@pytest.mark.parametrize("name", ["points", "latent_plane", "tsne"])
def test_no_gallery_is_a_reason(build: Callable[..., Path], tmp_path: Path, name: str) -> None:
    results = load_results(build(tmp_path / "bare", seeds=(1, 1), n_points=0))
    with pytest.raises(NotApplicable, match="not kept in version control"):
        FIGURES[name].draw(results)


@pytest.mark.parametrize("name", ["coverage", "bic_curves", "endpoints", "recall_spurious",
                                  "loss_curves"])  # fmt: skip
def test_all_failed_is_a_reason(build: Callable[..., Path], tmp_path: Path, name: str) -> None:
    folder = build(tmp_path / "bad", seeds=(1, 1), failed=lambda index: "diverged")
    with pytest.raises(NotApplicable, match="finished"):
        FIGURES[name].draw(load_results(folder))


def test_nothing_swept_shows_every_count(build: Callable[..., Path], tmp_path: Path) -> None:
    folder = build(tmp_path / "seeds", factors=(), cells=[{}], seeds=(4, 2), n_points=0)
    results = load_results(folder)
    drawn = _draw("coverage", results)
    assert drawn.title == "Coverage by source"
    # Two protocols have two scales; the second keeps its tick labels.
    second = drawn.figure.axes[1]
    drawn.figure.draw_without_rendering()
    assert all(label.get_visible() and label.get_text() for label in second.get_yticklabels())
    with pytest.raises(NotApplicable, match="nothing is swept"):
        FIGURES["endpoints"].draw(results)


@pytest.mark.parametrize("dim", [2, 5])
def test_points_of_other_dimensions(build: Callable[..., Path], tmp_path: Path, dim: int) -> None:
    folder = build(tmp_path / "dims", cells=[{"latent_dim": 1}], seeds=(1, 1), n_points=40,
                   fixed={"dim": dim})  # fmt: skip
    results = load_results(folder)
    drawn = _draw("points", results)
    assert [axis.name for axis in drawn.figure.axes] == ["3d" if dim > 2 else "rectilinear"] * 3
    assert ("first three of 5 coordinates" in drawn.caption) is (dim == 5)
    assert "jitter without meaning" in _draw("latent_plane", results).caption


def test_one_dimension_has_no_picture(build: Callable[..., Path], tmp_path: Path) -> None:
    folder = build(tmp_path / "line", seeds=(1, 1), n_points=20, fixed={"dim": 1})
    with pytest.raises(NotApplicable, match="one dimension"):
        FIGURES["points"].draw(load_results(folder))


def test_captions_are_sentences(results: Results) -> None:
    for name in ("coverage", "bic_curves", "recall_spurious", "loss_curves"):
        drawn = _draw(name, results)
        assert drawn.caption.endswith(".")
        assert "nan" not in drawn.caption
        assert "  " not in drawn.caption


def _nothing(results: Results) -> Drawn:
    raise NotApplicable("nothing to draw")


@pytest.fixture
def plugged() -> Iterator[ReportFigure]:
    figure = register(ReportFigure("plugged", _nothing, number="F99"))
    yield figure
    del FIGURES["plugged"]


def test_a_registered_figure_comes_last(results: Results, plugged: ReportFigure) -> None:
    assert figures_of(results)[-1] == "plugged"
    assert list(figure_numbers().items())[-1] == ("F99", "plugged")


def test_a_registered_figure_is_in_the_report(
    results: Results, plugged: ReportFigure, tmp_path: Path
) -> None:
    lines: list[str] = []
    write_report(results.path, out=tmp_path, only=["F99"], say=lines.append)
    assert any("plugged left out: nothing to draw" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("coverage", "", "'coverage' is taken"),
        ("Other-Name", "", "'Other-Name': expected lower-case letters"),
        ("../up", "", "expected lower-case letters"),
        ("another", "F3", "number 'F3' is that of 'survival'"),
    ],
)
def test_names_and_numbers_are_unique(name: str, number: str, message: str) -> None:
    before = list(FIGURES)
    with pytest.raises(FigureError, match=message):
        register(ReportFigure(name, _nothing, number=number))
    assert list(FIGURES) == before


def test_every_file_of_a_figure_is_listed() -> None:
    folder = Path(str(registry.__file__)).parent
    files = {path.stem for path in folder.glob("*.py") if "FIGURE = " in path.read_text()}
    assert {module.__name__.rpartition(".")[2] for module in registry.MODULES} == files
    assert {module.FIGURE.name for module in registry.MODULES} == files
