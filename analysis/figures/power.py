"""Power and interval half-width against the number of data seeds."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.figures.layout import (
    Drawn,
    NotApplicable,
    ReportFigure,
    legend_below,
    new_figure,
    varies,
)
from analysis.frames import summary
from analysis.load import Results
from analysis.wording import notes
from analysis.wording.names import short_name


def draw_power(results: Results) -> Drawn:
    """Power and interval half-width against the number of data seeds."""
    parts = []
    for endpoint, effect in (("k_samples_calibrated", 2.0), ("fkl_nats", 0.05)):
        if varies(results, endpoint):
            parts.append(summary.power_curve(results, endpoint, effect))
    parts = [part for part in parts if len(part) and part["power"].notna().any()]
    if not parts:
        raise NotApplicable(
            "power needs measured variance components: at least two data seeds and two init seeds"
        )
    frame = pd.concat(parts, ignore_index=True)
    endpoints = list(dict.fromkeys(frame["endpoint"]))
    figure = new_figure(theme.FULL_WIDTH, 2.6 * len(endpoints) + 0.3)
    axes = figure.subplots(len(endpoints), 2, squeeze=False)
    for (left, right), endpoint in zip(axes, endpoints, strict=True):
        rows = frame[frame["endpoint"] == endpoint]
        unit = "components" if endpoint.startswith("k_") else "nats"
        plot_power(rows, ax=left)
        plot_power(rows, value="half_width", ax=right)
        effect = float(rows["effect"].iloc[0])
        left.set_title(f"{short_name(endpoint)}: a difference of {effect:g} {unit}")
        right.set_ylabel(f"half-width ({unit})")
    legend_below(figure, axes[0, 0])
    return Drawn(
        figure,
        frame,
        "How many seeds",
        caption(results, frame),
        "Line charts of the power of a paired comparison and of the half-width of an interval "
        "against the number of data seeds, a line for each number of init seeds.",
        'summary.power_curve(load_results(PATH), "k_samples_calibrated", 2.0)',
    )


def caption(results: Results, frame: pd.DataFrame) -> str:
    """Caption the power curves."""
    return (
        "Power of a paired comparison of two cells (two-sided, 5 %) and half-width of a 95 % "
        "interval of one cell's mean, from the variance components measured here. Dotted: power "
        "0.8. Components from few seeds are themselves uncertain by a factor of two, and so are "
        f"these curves. {notes.denominators(results)}"
    )


def plot_power(
    frame: pd.DataFrame, *, value: str = "power", ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw power, or the half-width of an interval, against the number of data seeds.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows from `summary.power_curve`, one endpoint.
    value : "power" or "half_width"
    ax : Axes or None
    **kwargs
        Passed to `Axes.plot`.
    """
    ax = ax or plt.gca()
    inits = sorted(frame["n_init"].unique())
    colors = theme.level_colors(inits)
    for index, n_init in enumerate(inits):
        rows = frame[frame["n_init"] == n_init].sort_values("n_data")
        style: dict[str, Any] = {"color": colors[n_init], "marker": "oD^sv"[index % 5], "ms": 4}
        style |= {"ls": ["-", "--", "-.", ":"][index % 4], "label": f"{n_init} init seeds"}
        style["label"] = str(style["label"]).replace("1 init seeds", "1 init seed")
        ax.plot(rows["n_data"], rows[value], **(style | kwargs))
    ax.set_xlabel("data seeds")
    if value == "power":
        ax.axhline(0.8, color=theme.NEUTRAL, ls=":", lw=1.2)
        ax.set(ylabel="power", ylim=(0, 1.03))
    else:
        ax.set_ylabel("half-width of the interval")
        ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    return ax


FIGURE = ReportFigure("power", draw_power, kind="design", number="F13", section="robustness")
