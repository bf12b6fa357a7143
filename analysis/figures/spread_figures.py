"""Drawing spread: response surfaces, variance components, distributions, agreement, power.

Each function takes a tidy frame that already holds every number, and one Axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import ticker
from matplotlib.axes import Axes

from analysis.figures import theme
from analysis.wording.names import cell_labels, level_text, name_of, short_name

# Dark to light and light to dark in grey: magnitude and sign survive a grey print.
SURFACE_MAP, SIGNED_MAP = "cividis", "PuOr"
COMPONENT_STYLES = {
    "data": ("#0072b2", ""),
    "init": ("#e69f00", "///"),
    "sample": ("#009e73", "..."),
    "detector": ("#cc79a7", "xx"),
}
COMPONENT_NAMES = {
    "data": "data seed",
    "init": "init seed",
    "sample": "sample draw",
    "detector": "detector's EM",
}
EVALUATOR_COLORS = {"omega squared": "#1a1a1a", "fANOVA": "#0072b2", "PED-ANOVA": "#e69f00"}


def plot_response_surface(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str,
    limits: tuple[float, float],
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw one endpoint over two factors: colour and text its mean, below it half its interval.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.endpoints_by_cell`, one endpoint, one row for each level of x and y.
    x, y : str
        Factors.
    limits : (float, float)
        Ends of the colour scale, shared by the panels that are compared.
    ax : Axes or None
    **kwargs
        To `seaborn.heatmap`.
    """
    ax = ax or plt.gca()
    means = frame.pivot(index=y, columns=x, values="estimate").iloc[::-1]
    half = ((frame["high"] - frame["low"]) / 2).where(frame["interval"] != "constant")
    halves = frame.assign(half=half).pivot(index=y, columns=x, values="half").iloc[::-1]
    texts = [
        [_surface_text(mean, half) for mean, half in zip(row, other, strict=True)]
        for row, other in zip(means.to_numpy(float), halves.to_numpy(float), strict=True)
    ]
    size = 6.5 if means.shape[1] <= 5 else 5.6
    style: dict[str, Any] = {"cmap": SURFACE_MAP, "cbar": False, "linewidths": 0.6, "fmt": ""}
    style |= {"vmin": limits[0], "vmax": limits[1], "annot_kws": {"size": size}} | kwargs
    sns.heatmap(means.astype(float), annot=np.array(texts), ax=ax, **style)
    ax.set_xticklabels([level_text(value) for value in means.columns], rotation=0)
    ax.set_yticklabels([level_text(value) for value in means.index], rotation=0)
    ax.set(xlabel=name_of(x), ylabel=name_of(y))
    ax.grid(False)
    return ax


def _surface_text(mean: float, half: float) -> str:
    if not np.isfinite(mean):
        return ""
    return f"{mean:.2f}" if not np.isfinite(half) else f"{mean:.2f}\n±{half:.2f}"


def plot_variance_components(
    frame: pd.DataFrame, *, endpoints: Sequence[str], ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw each endpoint's variance as stacked shares, a bar for each endpoint.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.variance_components`.
    endpoints : sequence of str
        Bars, from the top.
    ax : Axes or None
    **kwargs
        To `Axes.barh`.
    """
    ax = ax or plt.gca()
    places = np.arange(len(endpoints))[::-1]
    left = np.zeros(len(endpoints))
    shares = frame.pivot(index="endpoint", columns="component", values="share")
    spreads = frame.pivot(index="endpoint", columns="component", values="sd")
    for name, (color, hatch) in COMPONENT_STYLES.items():
        if name not in shares:
            continue
        widths = shares[name].reindex(list(endpoints)).fillna(0).to_numpy(float)
        style: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white", "lw": 0.5}
        style |= {"height": 0.62, "label": COMPONENT_NAMES[name]} | kwargs
        ax.barh(places, widths, left=left, **style)
        for place, start, width, sd in zip(
            places, left, widths, spreads[name].reindex(list(endpoints)), strict=True
        ):
            if width > 0.13:
                box = {"fc": "white", "ec": "none", "pad": 1.0, "alpha": 0.9}
                middle: dict[str, Any] = {"ha": "center", "va": "center", "size": 7, "bbox": box}
                ax.text(start + width / 2, place, f"sd {sd:.2g}", **middle)
        left += widths
    ax.set_yticks(places, [short_name(name) for name in endpoints])
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    ax.set_xlabel("share of the variance within a cell")
    ax.grid(False, axis="y")
    return ax


def plot_component_intervals(
    frame: pd.DataFrame, *, endpoint: str, ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw the standard deviation of each variance component with its interval.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.variance_components`.
    endpoint : str
    ax : Axes or None
    **kwargs
        To `Axes.errorbar`.
    """
    ax = ax or plt.gca()
    rows = frame[frame["endpoint"] == endpoint].iloc[::-1]
    low, high = (np.sqrt(rows[name].clip(lower=0).to_numpy(float)) for name in ("low", "high"))
    sd = rows["sd"].to_numpy(float)
    for place, name in enumerate(rows["component"]):
        ends = [[max(sd[place] - low[place], 0)], [max(high[place] - sd[place], 0)]]
        style: dict[str, Any] = {"color": COMPONENT_STYLES[name][0], "marker": "o", "ms": 5}
        style |= {"capsize": 2.5} | kwargs
        ax.errorbar([sd[place]], [place], xerr=np.nan_to_num(ends), **style)
    ax.set_yticks(range(len(rows)), [COMPONENT_NAMES[str(name)] for name in rows["component"]])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(4))
    ax.set(title=short_name(endpoint), xlabel="standard deviation")
    return ax


def plot_importances(frame: pd.DataFrame, *, ax: Axes | None = None, **kwargs: Any) -> Axes:
    """Draw each factor's importance by every evaluator; the dummy's line is the noise floor.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.importances`.
    ax : Axes or None
    **kwargs
        To `Axes.barh`.
    """
    ax = ax or plt.gca()
    evaluators = [name for name in EVALUATOR_COLORS if (frame["evaluator"] == name).any()]
    order = frame.groupby("factor", sort=False)["is_dummy"].first().astype(bool)
    factors = [*order.index[~order], *order.index[order]]
    height = 0.8 / len(evaluators)
    for index, name in enumerate(evaluators):
        rows = frame[frame["evaluator"] == name].drop_duplicates("factor").set_index("factor")
        rows = rows.reindex(factors)
        places = np.arange(len(factors))[::-1] - (index - (len(evaluators) - 1) / 2) * height
        value = rows["importance"].to_numpy(float)
        below = np.nan_to_num(value - rows["low"].to_numpy(float)).clip(min=0)
        above = np.nan_to_num(rows["high"].to_numpy(float) - value).clip(min=0)
        style: dict[str, Any] = {"color": EVALUATOR_COLORS[name], "height": 0.9 * height}
        style |= {"label": name, "hatch": ["", "///", "..."][index], "edgecolor": "white"}
        style |= {"error_kw": {"lw": 0.9, "capsize": 2, "ecolor": "#555555"}} | kwargs
        # Seen as zero, a negative estimate of a share is still written in the table.
        ax.barh(places, value.clip(min=0), xerr=[below, above], **style)
    names = [name_of(str(name)) for name in factors]
    ax.set_yticks(np.arange(len(factors))[::-1], names)
    ax.set_xlim(left=0)
    ax.set_xlabel("importance (share)")
    ax.grid(False, axis="y")
    return ax


def plot_distributions(
    frame: pd.DataFrame,
    *,
    endpoint: str,
    cells: Sequence[str],
    ax: Axes | None = None,
    **kwargs: Any,
) -> Axes:
    """Draw every trial's value in each cell over a violin of them.

    Parameters
    ----------
    frame : pandas.DataFrame
        Rows of the trials table: cell and the endpoint.
    endpoint : str
    cells : sequence of str
        In the order drawn. A cell with fewer than 5 values, or one value, has points alone.
    ax : Axes or None
    **kwargs
        To `Axes.scatter`.
    """
    ax = ax or plt.gca()
    rows = frame[frame["cell"].isin(cells)].astype({endpoint: float}).dropna(subset=[endpoint])
    spread = rows.groupby("cell")[endpoint].agg(["size", "nunique"])
    wide = spread.index[(spread["size"] >= 5) & (spread["nunique"] > 1)]
    order = list(cells)
    if len(wide):
        violin = {"inner": None, "cut": 0, "linewidth": 0.6, "color": "#cfe3f1", "width": 0.85}
        part = rows[rows["cell"].isin(wide)]
        sns.violinplot(
            part, x="cell", y=endpoint, order=order, density_norm="width", ax=ax, **violin
        )
    number = {cell: float(index) for index, cell in enumerate(order)}
    place = np.array([number[cell] for cell in rows["cell"]])
    place += np.random.default_rng(0).uniform(-0.22, 0.22, len(rows))
    style: dict[str, Any] = {"s": 9 if len(rows) < 600 else 4, "alpha": 0.6, "lw": 0}
    style |= {"color": theme.SOURCE_COLORS["samples"], "rasterized": True, "zorder": 3} | kwargs
    ax.scatter(place, rows[endpoint], **style)
    labels = cell_labels(order)
    ax.set_xticks(range(len(order)), labels)
    if max(map(len, labels)) * len(order) > 60:
        ax.tick_params(axis="x", labelrotation=60)
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    ax.set(xlabel="", ylabel=name_of(endpoint), xlim=(-0.6, len(order) - 0.4))
    ax.grid(False, axis="x")
    return ax


def plot_agreement(
    frame: pd.DataFrame, *, metrics: Sequence[str], ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw rank correlations of metrics: Spearman below the diagonal, Kendall above.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.agreement`, one level.
    metrics : sequence of str
        In the order drawn.
    ax : Axes or None
    **kwargs
        To `seaborn.heatmap`.
    """
    ax = ax or plt.gca()
    n = len(metrics)
    place = {name: index for index, name in enumerate(metrics)}
    values = np.full((n, n), np.nan)
    for row in frame.itertuples():
        first, second = place.get(str(row.metric)), place.get(str(row.other))
        if first is None or second is None or first == second:
            continue
        values[max(first, second), min(first, second)] = row.spearman
        values[min(first, second), max(first, second)] = row.kendall
    texts = [[_correlation_text(value) for value in row] for row in values]
    names = [short_name(name) for name in metrics]
    text = np.array(texts)
    style: dict[str, Any] = {"cmap": SIGNED_MAP, "vmin": -1, "vmax": 1, "linewidths": 0.5}
    style |= {"cbar": False, "fmt": "", "annot_kws": {"size": 7 if n <= 8 else 6}} | kwargs
    sns.heatmap(values, annot=text, xticklabels=names, yticklabels=names, ax=ax, **style)
    ax.set_facecolor("#eeeeee")
    ax.tick_params(axis="x", labelrotation=60)
    plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    ax.tick_params(axis="y", labelrotation=0)
    ax.grid(False)
    return ax


def _correlation_text(value: float) -> str:
    """Write .52 for 0.52: the fields are narrow."""
    return f"{value:.2f}".replace("0.", ".", 1) if np.isfinite(value) else ""


def plot_power(
    frame: pd.DataFrame, *, value: str = "power", ax: Axes | None = None, **kwargs: Any
) -> Axes:
    """Draw power, or the half-width of an interval, against the number of data seeds.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `summary.power_curve`, one endpoint.
    value : "power" or "half_width"
    ax : Axes or None
    **kwargs
        To `Axes.plot`.
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
