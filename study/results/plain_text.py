"""Text of files on its way to a terminal: shown, never obeyed."""

from __future__ import annotations


def printable(value: object) -> str:
    """Write a value so that a terminal only shows it: control characters become escapes.

    Examples
    --------
    >>> print(printable("clear \\x1b[2J, then red"))
    clear \\x1b[2J, then red
    """
    return "".join(
        char
        if char.isprintable() or char in "\n\t"
        else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(value)
    )
