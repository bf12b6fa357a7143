"""What the figures of counts, theory and spread draw, by their artists."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import (
    agreement,
    collapse,
    distributions,
    marks,
    outside,
    paired_counts,
    power,
    rate_distortion,
    response_surface,
    survival,
    theme,
    variance,
)
from analysis.figures.composition import plot_composition
from analysis.frames import composition, summary, theory
from analysis.frames.outside import outside_by_cell, widened_truths
from analysis.load import Results


@pytest.fixture
def ax() -> Iterator[Axes]:
    with theme.style():
        yield Figure().subplots()


def test_slopes_join_control_and_count(results: Results, ax: Axes) -> None:
    frame = summary.paired_counts(results, "samples", "calibrated")
    frame = frame[frame["cell"] == "latent_dim=2"]
    paired_counts.plot_paired_slopes(frame, true_k=10, ax=ax)
    slopes = [line for line in ax.lines if list(line.get_xdata()) == [0, 1]]
    ends = sorted(tuple(line.get_ydata()) for line in slopes if line.get_label() != "true K = 10")
    assert (1.0, 1.0) not in ends
    pairs = frame[["k_control", "k_generated"]].itertuples(index=False)
    assert set(ends) >= {tuple(map(float, pair)) for pair in pairs}


def test_survival_ends_in_a_cross_when_censored(results: Results, ax: Axes) -> None:
    frame = summary.survival(results, "means", "original")
    frame = frame[frame["cell"] == "latent_dim=2"]
    survival.plot_survival(frame, source="means", true_k=10, ax=ax)
    cross = ax.lines[-1]
    assert cross.get_marker() == "X"
    assert cross.get_xdata()[0] == 14
    assert cross.get_ydata()[0] == pytest.approx(frame["survival"].iloc[-1])


def test_mass_outside_falls_as_ellipsoids_grow(results: Results, ax: Axes) -> None:
    frame = outside_by_cell(results)
    levels = sorted(frame["ellipsoid"].unique())
    frame = frame[frame["cell"] == "latent_dim=2"]
    truths = widened_truths(3, levels)
    outside.plot_outside(frame, truths=truths, colors={"latent_dim=2": "black"}, ax=ax)
    *wider, measured = (line.get_ydata() for line in ax.lines)
    assert len(wider) == truths["factor"].nunique()
    estimates = frame.sort_values("ellipsoid")["estimate"].to_numpy()
    assert measured == pytest.approx(np.maximum(estimates, outside.SMALLEST_MASS))
    assert all(np.diff(line).max() <= 0 for line in wider)
    assert next(text.get_text() for text in ax.get_xticklabels()) == "90 %"


def test_parts_add_up_to_the_count(results: Results, ax: Axes) -> None:
    frame = composition.composition_by_cell(results)
    assert np.allclose(frame[list(composition.PARTS)].sum(axis=1), frame["k"])
    plot_composition(frame, names=composition.PART_NAMES, ax=ax)
    ends = {}
    for bars in ax.containers:
        for bar in bars:
            y = bar.get_y()
            ends[y] = max(ends.get(y, 0), bar.get_x() + bar.get_width())
    assert sorted(ends.values()) == pytest.approx(sorted(frame["k"]))


def test_water_filling_matches_the_closed_form() -> None:
    eigenvalues = np.array([4.0, 1.0, 0.25])
    curve = theory.linear_curve(eigenvalues, latent_dim=2, levels=np.array([0.25, 0.5, 2.0, 5.0]))
    assert curve["recon"].tolist() == pytest.approx([0.75, 1.25, 3.25, 5.25])
    expected = [2.079442, 1.386294, 0.346574, 0.0]
    assert curve["kl_nats"].tolist() == pytest.approx(expected, abs=1e-5)


def test_shannon_curve_lies_below_every_trial(results: Results, ax: Axes) -> None:
    frame = theory.rate_and_distortion(results)
    dim = frame["dim"].astype(float)
    bound = frame["entropy"] - 0.5 * dim * np.log(2 * np.pi * np.e * frame["recon"] / dim)
    assert (frame["kl_nats"] >= bound - 1e-9).all()
    curve = theory.shannon_curve(frame)
    assert curve["kl_nats"].is_monotonic_decreasing
    colors = theme.level_colors(list(dict.fromkeys(frame["cell"])))
    rate_distortion.plot_rate_distortion(frame, colors=colors, shannon=curve, ax=ax)
    assert sum(len(cloud.get_offsets()) for cloud in ax.collections[1:]) == len(frame)


def test_collapse_marks_the_threshold(results: Results, ax: Axes) -> None:
    frame = theory.collapse(results)
    assert (
        frame.groupby("trial_id")["rank"].max() == frame.groupby("trial_id")["latent_dim"].first()
    ).all()
    collapse.plot_active_units(frame.drop_duplicates("trial_id"), colors={2: "k"}, ax=ax)
    assert ax.lines[0].get_xdata()[0] == 1
    assert ax.get_xlim()[1] > 1


def test_surface_writes_mean_and_half_width(ax: Axes) -> None:
    frame = pd.DataFrame(
        {"q": [1, 2, 1, 2], "beta": [1.0, 1.0, 4.0, 4.0], "estimate": [1.0, 2.0, 3.0, np.nan],
         "low": [0.9, 1.5, 3.0, np.nan], "high": [1.1, 2.5, 3.0, np.nan],
         "interval": ["t", "t", "constant", "none"]}
    )  # fmt: skip
    response_surface.plot_response_surface(frame, x="q", y="beta", limits=(1, 3), ax=ax)
    assert [text.get_text() for text in ax.texts if text.get_text()] == [
        "3.00", "1.00\n±0.10", "2.00\n±0.50"]  # fmt: skip


def test_variance_shares_fill_the_bar(results: Results, ax: Axes) -> None:
    frame = summary.variance_components(results, ["fkl_nats", "spurious_mass"])
    variance.plot_variance_components(frame, endpoints=["fkl_nats", "spurious_mass"], ax=ax)
    ends = [bar.get_x() + bar.get_width() for bar in ax.containers[-1]]
    assert ends == pytest.approx([1, 1])


def test_distributions_show_every_trial(results: Results, ax: Axes) -> None:
    done = summary.done_trials(results.trials)
    cells = ["latent_dim=1", "latent_dim=2"]
    distributions.plot_distributions(done, endpoint="fkl_nats", cells=cells, ax=ax)
    cloud = max(ax.collections, key=lambda found: len(found.get_offsets()))
    assert len(cloud.get_offsets()) == done["cell"].isin(cells).sum()


def test_agreement_is_spearman_below_and_kendall_above(ax: Axes) -> None:
    frame = pd.DataFrame({"metric": ["a"], "other": ["b"], "spearman": [0.5], "kendall": [-0.25]})
    agreement.plot_agreement(frame, metrics=["a", "b"], ax=ax)
    assert [text.get_text() for text in ax.texts] == ["-.25", ".50"]


def test_power_has_a_line_for_each_number_of_inits(ax: Axes) -> None:
    frame = pd.DataFrame(
        {"n_data": [5, 10, 5, 10], "n_init": [1, 1, 3, 3], "power": [0.2, 0.4, 0.3, 0.6]}
    )
    power.plot_power(frame, ax=ax)
    assert [line.get_label() for line in ax.lines[:2]] == ["1 init seed", "3 init seeds"]


@pytest.mark.parametrize("with_intervals", [True, False])
def test_importances_end_with_the_noise(ax: Axes, with_intervals: bool) -> None:
    frame = pd.DataFrame(
        {"factor": ["noise", "q", "noise", "q"], "evaluator": ["fANOVA"] * 2 + ["PED-ANOVA"] * 2,
         "importance": [0.1, 0.9, 0.2, 0.8], "is_dummy": [True, False] * 2}
    )  # fmt: skip
    if with_intervals:
        frame = frame.assign(low=frame["importance"] - 0.05, high=frame["importance"] + 0.05)
    marks.plot_importances(frame, ax=ax)
    top_down = sorted(ax.patches, key=lambda bar: -bar.get_y())
    assert [bar.get_width() for bar in top_down] == pytest.approx([0.9, 0.8, 0.1, 0.2])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["q", "noise"]
    assert bool(ax.collections) == with_intervals
