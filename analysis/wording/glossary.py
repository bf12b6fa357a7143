"""The words of a report, each with its meaning: for hovering, and as a list on the page."""

from __future__ import annotations

import html
import re

GLOSSARY = {
    "k*": "the number of components that a counting protocol selects for a set of points",
    "control": "the same count on a fresh draw of the true mixture: the detector alone",
    "extra components": "k* of samples less k* of their control",
    "ceiling": "the largest k that was tried; a count there says only 'at least'",
    "coverage": "k* over the number K of true components",
    "mode recall": "share of true components that receive at least a fifth of their mass",
    "spurious mass": "share of points outside every true component's 99 % region, less the same "
    "share of true data",
    "forward KL": "the Kullback-Leibler divergence from the true density to the model's, in nats",
    "nats": "units of information by the natural logarithm; 1 nat is 1.44 bits",
    "BCa": "bias-corrected and accelerated bootstrap interval, over data seeds",
    "Holm": "a step-down adjustment of p-values for several tests",
    "TOST": "two one-sided tests: shows that a difference is within a margin",
    "data seed": "what draws a mixture and its points; every cell gets the same ones",
    "init seed": "what draws a network's initial weights and the order of its training points",
    "decoder means": "the decoder's output without its noise, which the original report counted",
    "control_gap": "BIC units by which a control's search ended above a fit that starts from the "
    "true mixture; above 10 the control is no yardstick",
}
_WORDS = sorted(GLOSSARY, key=len, reverse=True)
_PATTERN = re.compile(
    r"(?<![\w*])(" + "|".join(re.escape(word) for word in _WORDS) + r")(?![\w*])", re.IGNORECASE
)


def with_terms(text: str) -> str:
    """Write text as HTML in which the first use of each word of the glossary is explained."""
    seen: set[str] = set()
    by_lower = {word.lower(): meaning for word, meaning in GLOSSARY.items()}

    def explained(found: re.Match[str]) -> str:
        word = found[1].lower()
        if word in seen:
            return found[1]
        seen.add(word)
        return f'<abbr title="{html.escape(by_lower[word], quote=True)}">{found[1]}</abbr>'

    return _PATTERN.sub(explained, html.escape(text))


def as_markdown() -> str:
    """Write docs/glossary.md, a heading and so an address for each word."""
    head = (
        "# Words\n\nFor readers of a page or a table, which explain the same words where they are "
        "first used. More words\nof the code are in [Architecture](architecture.md#words).\n"
    )
    parts = [f"## {word}\n\n{text[0].upper()}{text[1:]}.\n" for word, text in GLOSSARY.items()]
    return "\n".join([head, *parts])
