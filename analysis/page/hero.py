"""The first screen's chart as inline SVG: drawn without a script, in the page's own colours."""

from __future__ import annotations

import html
import math

import numpy as np

from analysis.page.answered import Chart, Mark

WIDTH, HEIGHT = 720, 330
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 30, 62
BAR, LABEL = 36, 260


def hero_svg(chart: Chart | None) -> str:
    """Draw a chart; nothing where there is none."""
    if chart is None or not chart.marks:
        return ""
    return _bars(chart) if chart.kind == "bars" else _dots(chart)


def ticks_of(low: float, high: float, n: int = 5) -> list[float]:
    """Return about n round numbers that lie between two ends, both inside the outermost."""
    span = max(high - low, 1e-9)
    rough = span / n
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)  # ends that differ by rounding alone
    return [round(index * step, 12) for index in range(first, last + 1)]


def _ends(chart: Chart) -> tuple[float, float]:
    values = [
        end for mark in chart.marks for end in (mark.value, mark.low, mark.high)
        if np.isfinite(end)
    ]  # fmt: skip
    values += [chart.line] if chart.line is not None else []
    if chart.kind == "bars":
        values.append(0.0)
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 1, high + 1)


def _number(chart: Chart, value: float) -> str:
    if chart.percent:
        return f"{value:.0%}"
    return f"{value:+.{chart.digits}f}" if chart.signed else f"{value:.{chart.digits}f}"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "middle") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{html.escape(text)}</text>"
    )


def _svg(chart: Chart, height: float, parts: list[str]) -> str:
    name = html.escape(
        f"{chart.axis}: " + "; ".join(mark.hover for mark in chart.marks), quote=True
    )
    return (
        f'<svg class="hero-chart" viewBox="0 0 {WIDTH} {height:g}" role="img" '
        f'aria-label="{name}">{"".join(parts)}</svg>'
    )


def _open(mark: Mark) -> str:
    kinds = "pt" + " main" * mark.is_main + " bound" * mark.is_bound
    cell = f' data-cell="{html.escape(mark.cell, quote=True)}"' if mark.cell else ""
    return f'<g class="{kinds}"{cell}><title>{html.escape(mark.hover)}</title>'


def _dots(chart: Chart) -> str:
    ticks = ticks_of(*_ends(chart))
    low, high = ticks[0], ticks[-1]

    def y_of(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [
        _text(LEFT - 8, 14, chart.axis, "axis", "start").replace(f'x="{LEFT - 8}.0"', 'x="2"')
    ]
    for tick in ticks:
        y = y_of(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(LEFT - 8, y + 4, f"{tick:g}", "tick", "end"))
    if chart.line is not None:
        y, sample = y_of(chart.line), WIDTH - RIGHT - 7.2 * len(chart.line_text) - 34
        parts.append(
            f'<line class="control" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        # Named above the chart: beside the line there may be marks.
        parts.append(
            f'<line class="control" x1="{sample:.0f}" x2="{sample + 24:.0f}" y1="10" y2="10"/>'
        )
        parts.append(_text(WIDTH - RIGHT, 14, chart.line_text, "lab", "end"))
    step = (WIDTH - LEFT - RIGHT) / len(chart.marks)
    for index, mark in enumerate(chart.marks):
        x = LEFT + step * (index + 0.42)
        parts.append(_open(mark))
        if np.isfinite([mark.low, mark.high]).all() and mark.low < mark.high:
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y_of(mark.low):.1f}" '
                f'y2="{y_of(mark.high):.1f}"/>'
            )
        parts.append(f'<circle cx="{x:.1f}" cy="{y_of(mark.value):.1f}" r="6"/>')
        parts.append(
            _text(x + 11, y_of(mark.value) + 4, _number(chart, mark.value), "val", "start")
        )
        parts.append("</g>")
        parts += _tick_lines(x, mark.label, step)
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, chart.below, "axis"))
    return _svg(chart, HEIGHT, parts)


def _tick_lines(x: float, label: str, room: float) -> list[str]:
    """Write a label under its mark, in two lines where one has no room."""
    if len(label) * 7.2 <= room or " " not in label:
        return [_text(x, HEIGHT - BOTTOM + 20, label, "tick")]
    words = label.split(" ")
    half = min(
        range(1, len(words)),
        key=lambda n: abs(len(" ".join(words[:n])) - len(" ".join(words[n:]))),
    )
    lines = (" ".join(words[:half]), " ".join(words[half:]))
    return [_text(x, HEIGHT - BOTTOM + 18 + 14 * n, line, "tick") for n, line in enumerate(lines)]


def _bars(chart: Chart) -> str:
    ticks = ticks_of(*_ends(chart), n=4)
    low, high = ticks[0], ticks[-1]
    height = TOP + BAR * len(chart.marks) + 34

    def x_of(value: float) -> float:
        return LABEL + (WIDTH - LABEL - 70) * (value - low) / (high - low)

    parts = [_text(2, 14, chart.axis, "axis", "start")]
    bottom = height - 26
    for tick in ticks:
        x = x_of(tick)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{bottom}"/>'
        )
        parts.append(_text(x, height - 8, f"{tick:.0%}" if chart.percent else f"{tick:g}", "tick"))
    for index, mark in enumerate(chart.marks):
        y = TOP + BAR * (index + 0.5) - 4
        ends = sorted((x_of(min(max(0.0, low), high)), x_of(mark.value)))
        parts.append(_open(mark))
        parts.append(
            f'<rect x="{ends[0]:.1f}" y="{y - 9:.1f}" width="{max(ends[1] - ends[0], 1):.1f}" '
            'height="18" rx="2"/>'
        )
        right = x_of(mark.value)
        if np.isfinite([mark.low, mark.high]).all() and mark.low < mark.high:
            parts.append(
                f'<line x1="{x_of(mark.low):.1f}" x2="{x_of(mark.high):.1f}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/>'
            )
            right = max(right, x_of(mark.high))
        parts.append(_text(right + 8, y + 4, _number(chart, mark.value), "val", "start"))
        parts.append("</g>")
        parts += _bar_label(mark.label, y)
    return _svg(chart, height, parts)


def _bar_label(label: str, y: float) -> list[str]:
    """Write a label before its bar, in two lines where one has no room."""
    if len(label) * 7.0 <= LABEL - 12:
        return [_text(LABEL - 10, y + 4, label, "tick", "end")]
    parts = label.split(", ")
    half = math.ceil(len(parts) / 2)
    lines = (", ".join(parts[:half]) + ",", ", ".join(parts[half:]))
    return [_text(LABEL - 10, y - 3 + 14 * n, line, "tick", "end") for n, line in enumerate(lines)]
