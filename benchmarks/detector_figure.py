"""Draw the calibration figure of docs/detector.md from the benchmark's rows."""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.detector import ROWS, read_rows
from benchmarks.detector_table import DATA_SET, METHODS, TOLERANCE_BIC

COLORS = {
    "search": "#0072b2",
    "sklearn": "#d55e00",
    "sklearn_n_init": "#e69f00",
    "mclust": "#009e73",
}
FIGURE = Path(__file__).parents[1] / "docs" / "detector.png"


def gaps_to_truth(rows: pd.DataFrame) -> pd.DataFrame:
    """Return BIC above EM from the truth, one row per data set and method.

    Parameters
    ----------
    rows : DataFrame
        The benchmark's calibration rows.

    Returns
    -------
    DataFrame
        n_components, method, gap (BIC units).
    """
    truth = rows[rows.method == "truth"][[*DATA_SET, "bic"]].rename(columns={"bic": "truth"})
    both = rows[rows.method.isin(COLORS)].merge(truth, on=DATA_SET)
    return both.assign(gap=both.bic - both.truth)


def plot_gaps(gaps: pd.DataFrame, *, ax: Axes) -> Axes:
    """Draw every data set's gap, one strip per method, on a symmetric log axis."""
    for place, method in enumerate(COLORS):
        part = gaps[gaps.method == method]
        sns.stripplot(
            x=[place] * len(part), y=part.gap, ax=ax, color=COLORS[method], size=3, alpha=0.7,
            native_scale=True, jitter=0.25, legend=False,
        )  # fmt: skip
        share = f"{100 * (part.gap <= TOLERANCE_BIC).mean():.0f} %" if len(part) else "-"
        ax.annotate(
            f"{share}\nof {len(part)}", (place, 1.0), xycoords=("data", "axes fraction"),
            ha="center", va="bottom", fontsize=6,
        )  # fmt: skip
    ax.axhline(TOLERANCE_BIC, color="0.5", linewidth=0.8)
    ax.set_yscale("symlog", linthresh=10)
    ax.set_xticks(range(len(COLORS)), [METHODS[m] for m in COLORS], rotation=40, ha="right")
    ax.set(xlabel="", ylabel="")
    return ax


def main(argv: list[str] | None = None) -> int:
    """Write the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--output", type=Path, default=FIGURE)
    options = parser.parse_args(argv)
    mpl.use("agg")
    rows = read_rows(options.rows)
    gaps = gaps_to_truth(rows[rows.group == "calibration"])
    components = sorted(gaps.n_components.unique())
    figure = Figure(figsize=(2.1 * len(components), 4.2), layout="constrained")
    axes = figure.subplots(1, len(components), sharey=True, squeeze=False)[0]
    for ax, k in zip(axes, components, strict=True):
        plot_gaps(gaps[gaps.n_components == k], ax=ax)
        ax.set_title(f"K = {k}", pad=24)
    axes[0].set_ylabel("BIC above EM started at the truth")
    figure.savefig(options.output, dpi=130)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
