from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import theme
from analysis.gallery import FIGURES, Drawn, NotApplicable
from analysis.load import Results, load_results


def _draw(name: str, results: Results) -> Drawn:
    with theme.style():
        return FIGURES[name](results)


def test_many_factors_make_panels(build: Callable[..., Path], tmp_path: Path) -> None:
    cells = [
        {"n_components": k, "alpha": a, "box_rule": b}
        for k in (2, 10, 40)
        for a in (1.0, 5.0)
        for b in ("fixed", "density")
    ]
    factors = ("n_components", "alpha", "box_rule")
    folder = build(tmp_path / "many", factors=factors, cells=cells, seeds=(2, 1), n_points=0)
    results = load_results(folder)
    drawn = _draw("coverage", results)
    assert len(drawn.figure.axes) == 2 * 4
    assert drawn.data["cell"].nunique() == 12
    assert drawn.figure.axes[0].get_title() == "Dirichlet alpha = 1\nbox = fixed"
    assert len(drawn.figure.axes[0].get_xticks()) == 3
    # Panels of a row share an axis that holds the highest of them all; text needs wider ones.
    for row, protocol in enumerate(("original", "calibrated")):
        top = drawn.data.loc[drawn.data["protocol"] == protocol, ["high", "ceiling"]].max().max()
        assert drawn.figure.axes[4 * row].get_ylim()[1] > top
    assert not any(axes.texts for axes in drawn.figure.axes)
    # Twelve lines do not fit one panel: those of the reference cell's alpha and box are shown.
    losses = _draw("loss_curves", results)
    assert losses.data["cell"].nunique() == 3
    assert "3 of 12 cells" in losses.caption


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
        FIGURES[name](results)


@pytest.mark.parametrize("name", ["coverage", "bic_curves", "endpoints", "recall_spurious",
                                  "loss_curves"])  # fmt: skip
def test_all_failed_is_a_reason(build: Callable[..., Path], tmp_path: Path, name: str) -> None:
    folder = build(tmp_path / "bad", seeds=(1, 1), failed=lambda index: "diverged")
    with pytest.raises(NotApplicable, match="finished"):
        FIGURES[name](load_results(folder))


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
        FIGURES["endpoints"](results)


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
        FIGURES["points"](load_results(folder))


def test_captions_are_sentences(results: Results) -> None:
    for name in ("coverage", "bic_curves", "recall_spurious", "loss_curves"):
        drawn = _draw(name, results)
        assert drawn.caption.endswith(".")
        assert "nan" not in drawn.caption
        assert "  " not in drawn.caption
