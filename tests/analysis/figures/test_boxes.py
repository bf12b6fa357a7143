"""No text on text, nothing cut, axes that keep most of the height: by the renderer's boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.figures import theme
from analysis.figures.layout import legend_below, new_figure, settle_labels
from analysis.figures.loss_curves import draw_loss_curves
from analysis.figures.recall_spurious import draw_recall_spurious, plot_recall_spurious
from analysis.load import Results, load_results
from tests.analysis.figures.boxes import faults


def test_the_boxes_find_what_is_wrong() -> None:
    figure = Figure(figsize=(4, 3))
    ax = figure.add_axes((0.2, 0.2, 0.7, 0.3))
    ax.text(0.5, 0.5, "one")
    ax.text(0.52, 0.52, "two")
    figure.text(0.99, 0.5, "cut off")
    found = " ".join(faults(figure))
    assert "'one'" in found
    assert "'two'" in found
    assert "cut at the side" in found
    assert "of the height" in found


@pytest.fixture(scope="module")
def crowded(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Ten cells with the long names of a search."""
    cells = [{"latent_dim": q, "kl_weight": b} for q in (1, 2) for b in (0.1, 0.3, 1.0, 3.0, 9.0)]
    place = tmp_path_factory.mktemp("crowded") / "crowded"
    factors = ("latent_dim", "kl_weight")
    return load_results(build(place, cells=cells, factors=factors, seeds=(2, 1), n_points=0))


@pytest.mark.parametrize("draw", [draw_recall_spurious, draw_loss_curves])
def test_a_legend_of_ten_cells_leaves_the_axes_their_height(
    crowded: Results, draw: Callable[[Results], object]
) -> None:
    with theme.style():
        assert faults(draw(crowded).figure) == []  # type: ignore[attr-defined]


def test_labels_of_null_models_keep_apart() -> None:
    nulls = pd.DataFrame(
        {
            "null": ["gaussian", "ppca", "kde", "truth"],
            "mode_recall": [0.0, 0.01, 0.99, 1.0],
            "spurious_mass": [0.55, 0.55, 0.01, 0.0],
        }
    )
    frame = pd.DataFrame({"cell": ["a=1"], "mode_recall": [1.0], "spurious_mass": [0.1]})
    with theme.style():
        figure = new_figure(theme.FULL_WIDTH / 2, 3.2)
        ax = figure.subplots()
        plot_recall_spurious(frame, colors={"a=1": "C0"}, nulls=nulls, ax=ax)
        settle_labels(ax, list(ax.texts))  # type: ignore[arg-type]
        legend_below(figure, ax)
        assert faults(figure) == []
