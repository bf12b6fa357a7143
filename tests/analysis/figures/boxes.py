"""What is wrong with a drawn figure by its renderer's boxes: text on text, cut text, flat axes."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

# Letters have air around them: boxes may share so many pixels at each side.
AIR = 1.5
# Of the height, what the axes with their titles and ticks take at least.
LEAST_AXES = 0.6


def faults(figure: Figure) -> list[str]:
    """List the faults of a figure.

    Parameters
    ----------
    figure : Figure

    Returns
    -------
    list of str
        A line each; empty if there is none.
    """
    figure.draw_without_rendering()
    canvas = figure.bbox
    boxes = [(text, _box(text)) for text in _texts(figure)]
    found = []
    for index, (text, box) in enumerate(boxes):
        if box.x0 < canvas.x0 - 1 or box.x1 > canvas.x1 + 1:
            found.append(f"cut at the side: {text!r}")
        if box.y0 < canvas.y0 - 1 or box.y1 > canvas.y1 + 1:
            found.append(f"cut above or below: {text!r}")
        found += [
            f"{text!r} on {other!r}" for other, its in boxes[index + 1 :] if box.overlaps(its)
        ]
    axes = [ax.get_window_extent() for ax in figure.axes if ax.get_visible()]
    taken = Bbox.union(axes).height / canvas.height if axes else 1.0
    if taken < LEAST_AXES:
        found.append(f"axes take {taken:.0%} of the height")
    return found


def _texts(figure: Figure) -> list[Text]:
    """List the texts that are seen, tick labels within their axes' limits among them."""
    seen: list[Text] = []
    hidden: set[int] = set()
    for ax in figure.axes:
        for axis in (getattr(ax, f"{name}axis") for name in "xyz" if hasattr(ax, f"{name}axis")):
            shown = {id(label) for label in axis.get_ticklabels(which="both")}
            # Ticks beyond the limits are kept, but not drawn.
            low, high = sorted(axis.get_view_interval())
            span = high - low
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                inside = low - 1e-6 * span <= tick.get_loc() <= high + 1e-6 * span
                for label in (tick.label1, tick.label2):
                    if not inside or id(label) not in shown:
                        hidden.add(id(label))
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            parent: Any = text.axes
            if parent is None or parent.get_visible():
                seen.append(text)
    return seen


def _box(text: Text) -> Bbox:
    box = text.get_window_extent()
    if text.get_rotation() % 90:
        return box.shrunk(0.5) if hasattr(box, "shrunk") else box
    return Bbox.from_extents(box.x0 + AIR, box.y0 + AIR, box.x1 - AIR, box.y1 - AIR)
