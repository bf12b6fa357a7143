"""Figures are compared by their artists, not by their pixels."""

from collections.abc import Iterator
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from analysis.figures import (
    bic_curves,
    coverage,
    endpoints,
    loss_curves,
    marks,
    recall_spurious,
    theme,
)
from analysis.figures.factor_axis import FactorAxis, set_factor_axis
from analysis.frames import summary
from analysis.load import Results
from analysis.wording.names import SOURCE_NAMES, cell_text


@pytest.fixture
def ax() -> Iterator[Axes]:
    """An axes of a figure that pyplot does not know."""
    with theme.style():
        yield Figure().subplots()


def test_loss_curves_draw_line_band_and_marks(results: Results, ax: Axes) -> None:
    frame = summary.losses_by_epoch(results)
    reported = pd.DataFrame({"quantity": ["recon"], "epoch": [10], "reported": [2.5483]})
    colors = {"latent_dim=1": "red", "latent_dim=2": "blue"}
    loss_curves.plot_loss_curves(frame, quantity="recon", colors=colors, reported=reported, ax=ax)
    first, second, mark = ax.lines
    expected = frame.query("cell == 'latent_dim=1' and quantity == 'recon'")["estimate"]
    assert np.allclose(first.get_ydata(), expected)
    assert [first.get_label(), second.get_label()] == ["q = 1", "q = 2"]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([10], [2.5483])
    assert len(ax.collections) == 2


def test_bic_curves_mark_minima_and_the_original_range(results: Results, ax: Axes) -> None:
    trials = summary.done_trials(results.trials).query("latent_dim == 2")
    frame = summary.bic_curves(results, trials)
    bic_curves.plot_bic_curves(frame, source="samples", true_k=10, ax=ax)
    chosen = frame.query("source == 'samples' and protocol == 'calibrated' and selected")
    markers = ax.lines[-1]
    assert sorted(markers.get_xdata()) == sorted(chosen["k"])
    assert set(markers.get_ydata()) == {0.0}
    lines = [line for line in ax.lines if len(line.get_xdata()) == 40]
    assert len(lines) == len(chosen) + (len(chosen) == 40)
    assert [line.get_xdata()[0] for line in ax.lines[:2]] == [14, 10]
    top = ax.get_ylim()[1]
    assert top > frame.loc[frame["source"] == "samples", "delta_bic"].max()


def test_coverage_draws_what_the_frame_says(results: Results, ax: Axes) -> None:
    frame = summary.coverage_by_cell(results).query("protocol == 'calibrated'")
    coverage.plot_coverage(frame, x="latent_dim", ax=ax)
    bars = {bar.get_label(): bar for bar in ax.containers}
    assert set(bars) == {SOURCE_NAMES[name] for name in ("means", "samples", "codes")}
    line, _, (segments,) = bars["samples"].lines
    rows = frame[frame["source"] == "samples"]
    assert np.allclose(line.get_ydata(), rows["estimate"])
    assert to_rgba(line.get_color()) == to_rgba(theme.SOURCE_COLORS["samples"])
    ends = np.array([segment[:, 1] for segment in segments.get_segments()])
    assert np.allclose(ends, rows[["low", "high"]])
    assert "true data (control)" in ax.get_legend_handles_labels()[1]
    shares = [text.get_text() for text in ax.texts]
    expected = frame.query("source == 'means' and share_at_ceiling >= 0.05")["share_at_ceiling"]
    assert shares == [f"{share:.0%}" for share in expected]
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in hollow) == len(expected)


def test_nothing_leaves_the_panel(results: Results, ax: Axes) -> None:
    frame = summary.coverage_by_cell(results).query("protocol == 'original'")
    coverage.plot_coverage(frame, x="latent_dim", ax=ax)
    ax.figure.draw_without_rendering()
    box = ax.get_window_extent()
    for text in ax.texts:
        extent = text.get_window_extent()
        assert box.y0 <= extent.y0
        assert extent.y1 <= box.y1


def test_coverage_is_logarithmic_when_the_ceiling_moves(ax: Axes) -> None:
    frame = pd.DataFrame(
        {"n_components": [2, 40], "source": "samples", "estimate": [2.0, 1.0], "low": [1.5, 0.9],
         "high": [2.5, 1.1], "ceiling": [20.0, 1.0], "n_at_ceiling": 0, "share_at_ceiling": 0.0}
    )  # fmt: skip
    coverage.plot_coverage(frame, x="n_components", ax=ax)
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[1] > 20


def test_coverage_by_source_shows_every_count(results: Results, ax: Axes) -> None:
    cell = "cell == 'latent_dim=2' and protocol == 'original'"
    frame = summary.coverage_by_cell(results).query(cell)
    trials = summary.coverage_trials(results).query(cell)
    coverage.plot_coverage_by_source(frame, trials, ax=ax)
    sizes = [len(cloud.get_offsets()) for cloud in ax.collections if cloud.get_offsets().shape[0]]
    assert sum(size for size in sizes if size > 1) == len(trials)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels[0] == "true data\n(control)"


def test_endpoint_lines_by_hue(ax: Axes) -> None:
    frame = pd.DataFrame(
        {"q": [1, 2, 1, 2], "group": ["a", "a", "b", "b"], "endpoint": "tv",
         "estimate": [1.0, 2, 3, 4], "low": np.nan, "high": np.nan}
    )  # fmt: skip
    endpoints.plot_endpoint(
        frame, x="q", endpoint="tv", hue="group", colors={"a": "red", "b": "blue"}, ax=ax
    )
    assert [bar.get_label() for bar in ax.containers] == ["a", "b"]
    assert [list(bar.lines[0].get_ydata()) for bar in ax.containers] == [[1, 2], [3, 4]]


def test_recall_and_spurious_mass_stay_in_view(results: Results, ax: Axes) -> None:
    frame = summary.recall_and_spurious(results).query("source == 'samples'")
    colors = theme.level_colors(list(dict.fromkeys(frame["cell"])))
    recall_spurious.plot_recall_spurious(frame, colors=colors, ax=ax)
    assert sum(len(cloud.get_offsets()) for cloud in ax.collections) == len(frame)
    assert ax.get_xlim()[1] > frame["spurious_mass"].max()


def test_shared_axes_show_the_wider_panel() -> None:
    narrow = pd.DataFrame({"cell": ["a"], "spurious_mass": [0.1], "mode_recall": [1.0]})
    axes = Figure().subplots(1, 2, sharex=True)
    for ax, mass in zip(axes, (0.1, 0.5), strict=True):
        frame = narrow.assign(spurious_mass=mass)
        recall_spurious.plot_recall_spurious(frame, colors={"a": "k"}, ax=ax)
    assert axes[0].get_xlim()[1] > 0.5


def test_axes_default_to_the_current_ones(results: Results) -> None:
    import matplotlib.pyplot as plt

    with mpl.rc_context({"backend": "agg"}):
        _, ax = plt.subplots()
        frame = summary.losses_by_epoch(results)
        drawn = loss_curves.plot_loss_curves(frame, quantity="recon", colors={"latent_dim=2": "k"})
        assert drawn is ax
        plt.close("all")


@pytest.mark.parametrize(
    ("levels", "is_log", "is_numeric"),
    [([1, 2, 3, 4, 8], False, True), ([0.1, 1.0, 10.0], True, True), (["a", "b"], False, False),
     ([False, True], False, False), ([5], False, True)],
)  # fmt: skip
def test_factor_axis(levels: list, is_log: bool, is_numeric: bool) -> None:
    axis = FactorAxis(pd.Series(levels))
    assert (axis.is_log, axis.is_numeric) == (is_log, is_numeric)
    places = axis(pd.Series(levels))
    assert np.allclose(places, levels if is_numeric else range(len(levels)))
    assert (axis(pd.Series(levels), shift=1) > places).all()


def test_factor_ticks_are_the_levels(ax: Axes) -> None:
    set_factor_axis(ax, pd.Series([0.1, 0.3, 100.0]))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.1", "0.3", "100"]
    assert ax.get_xlim()[0] < 0.1


@pytest.mark.parametrize(("width", "rotation"), [(1.9, 60), (6.0, 0)])
def test_ticks_are_turned_where_they_would_collide(
    ax: Axes, width: float, rotation: float
) -> None:
    set_factor_axis(ax, pd.Series([0.125, 0.251, 0.512, 1.024, 2.048, 4.096]))
    marks.turn_crowded_ticks(ax, width)
    ax.figure.set_size_inches(width, 2)
    ax.figure.draw_without_rendering()
    labels = ax.get_xticklabels()
    assert {label.get_rotation() for label in labels} == {rotation}
    if not rotation:
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_style_changes_nothing_outside() -> None:
    before = mpl.rcParams.copy()
    with theme.style():
        assert mpl.rcParams["font.size"] == 8.5
    assert mpl.rcParams == before


def test_source_colours_differ_in_hue_or_lightness() -> None:
    colors = np.array([to_rgba(color)[:3] for color in theme.SOURCE_COLORS.values()])
    distance = np.abs(colors[:, None] - colors[None]).sum(axis=2)
    assert distance[~np.eye(len(colors), dtype=bool)].min() > 0.4
    assert len(set(theme.SOURCE_MARKERS.values())) == len(theme.SOURCE_MARKERS)


@pytest.mark.parametrize("n", [1, 10, 14, 40])
def test_components_have_distinct_colours(n: int) -> None:
    colors = theme.component_colors(range(n))
    assert len({tuple(np.round(to_rgba(color), 6)) for color in colors.values()}) == n


@pytest.mark.parametrize(
    ("cell", "text"),
    [("latent_dim=2", "q = 2"), ("kl_weight=1.0, hidden=8x8", "beta = 1, hidden layers = 8x8"),
     ("all", "all trials")],
)  # fmt: skip
def test_cell_text(cell: str, text: str) -> None:
    assert cell_text(cell) == text
