"""One page about measured points: tables, figures, and what cannot be known."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from study.measuring.comparison import compare
from study.measuring.measure import Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"original": "#b35806", "calibrated": "#2166ac", "samples": "#2166ac", "data": "#878787"}
SOURCES = {"samples": "points", "data": "control"}
FOOT = (
    "k* with + is the largest k tried, so more may fit better; braces hold every k that is not "
    "significantly worse. Brackets are 95 % intervals of Student's t over files."
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1b; background: #fff; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
div.wide {{ overflow-x: auto; }}
th, td {{ padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
img {{ max-width: 100%; height: auto; }}
</style></head><body><main>
<h1>{title}</h1>
{body}
</main></body></html>
"""


def tables_html(measured: Sequence[Measurement]) -> str:
    """Write the table of numbers, and what cannot be known, as HTML.

    Parameters
    ----------
    measured : sequence of Measurement
    """
    table = compare(measured)
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in table.head)
    rows = "".join(
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table.rows
    )
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in (*measured[0].notes, FOOT))
    return (
        '<div class="wide"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )


def write_page(measured: Sequence[Measurement], folder: Path) -> Path:
    """Write index.html and figures/ into a folder.

    Parameters
    ----------
    measured : sequence of Measurement
    folder : Path
        Made if it does not exist.

    Returns
    -------
    Path
        The page.
    """
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    parts = [tables_html(measured)]
    for name, (draw, text) in FIGURES.items():
        drawn = _draw(measured[0], draw)
        if drawn is None:
            continue
        (figures / f"{name}.png").write_bytes(drawn)
        data = base64.b64encode(drawn).decode()
        parts.append(
            f'<h2>{html.escape(text)}</h2><img alt="{html.escape(text)}" '
            f'src="data:image/png;base64,{data}">'
        )
    names = ", ".join(one.name for one in measured)
    page = folder / "index.html"
    page.write_text(
        _PAGE.format(title=html.escape(f"Measured: {names}"), body="\n".join(parts)),
        encoding="utf-8",
    )
    return page


def _draw(one: Measurement, draw: Callable[[Measurement, Axes], bool]) -> bytes | None:
    """Return a figure as PNG; None where there is nothing to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Figure = Figure(figsize=(6.4, 4.2), layout="constrained", dpi=132)
    FigureCanvasAgg(figure)
    if not draw(one, figure.add_subplot()):
        return None
    held = io.BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()


def plot_points(one: Measurement, ax: Axes) -> bool:
    """Draw the first two coordinates of the points over those of the control."""
    for source in ("data", "samples"):
        held = one.shown.get(source)
        if held is None:
            continue
        across = held[:, 1] if held.shape[1] > 1 else np.zeros(len(held))
        ax.plot(held[:, 0], across, ".", ms=2, color=COLOURS[source], label=SOURCES[source])
    ax.set(xlabel="first coordinate", ylabel="second coordinate")
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(markerscale=4)
    return True


def plot_bic(one: Measurement, ax: Axes) -> bool:
    """Draw BIC above its lowest value by k, for each protocol."""
    from matplotlib.ticker import MaxNLocator

    for protocol, colour in COLOURS.items():
        rows = [r for r in one.counts if (r["source"], r["protocol"]) == ("samples", protocol)]
        if not rows:
            continue
        ks = np.array([row["k"] for row in rows])
        bic = np.array([row["bic"] for row in rows])
        ax.plot(ks, bic - bic.min(), color=colour, label=f"{protocol} protocol")
        at = bic.argmin()
        ax.plot(ks[at], 0, "o", color=colour)
    if not ax.lines:
        return False
    ax.set_yscale("symlog", linthresh=10)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="components k", ylabel="BIC above its lowest value")
    ax.legend()
    return True


def plot_growth(one: Measurement, ax: Axes) -> bool:
    """Draw k* by the number of points that are counted."""
    from matplotlib.ticker import MaxNLocator

    for protocol, colour in COLOURS.items():
        rows = [row for row in one.growth if row["protocol"] == protocol]
        if len(rows) > 1:
            ax.plot([r["n"] for r in rows], [r["k"] for r in rows], "o-", color=colour,
                    label=f"{protocol} protocol")  # fmt: skip
    if not ax.lines:
        return False
    ax.set_xscale("log")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="points counted", ylabel="k*")
    ax.legend()
    return True


def plot_recall(one: Measurement, ax: Axes) -> bool:
    """Draw mode recall by threshold, for the points and the control."""
    for source, title in SOURCES.items():
        rows = [row for row in one.recall if row["source"] == source]
        if rows:
            ax.plot([r["threshold"] for r in rows], [r["recall"] for r in rows],
                    color=COLOURS[source], label=title)  # fmt: skip
    if not ax.lines:
        return False
    ax.set(xlabel="share of a mode's weight that counts as recalled", ylabel="mode recall",
           ylim=(-0.02, 1.02))  # fmt: skip
    ax.legend()
    return True


FIGURES: dict[str, tuple[Callable[[Measurement, Axes], bool], str]] = {
    "points": (plot_points, "The points over the control"),
    "bic": (plot_bic, "BIC by number of components"),
    "growth": (plot_growth, "k* grows with the number of points"),
    "recall": (plot_recall, "Mode recall by threshold"),
}
