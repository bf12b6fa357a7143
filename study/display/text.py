"""Text of a results folder as cells of a rich table: shown, never obeyed."""

from __future__ import annotations

from rich.text import Text

from study.results import printable


def as_text(value: object, style: str = "") -> Text:
    """Make text for rich that holds no markup and no control characters."""
    return Text(printable(value), style=style)
