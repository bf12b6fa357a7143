"""One page over many sweeps: a card for each, from the `card.json` that its report wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from analysis.load import Results
from analysis.page.render import SweepEntry

_HERE = Path(__file__).parent
CARD = "card.json"


def card_of(results: Results, entry: SweepEntry) -> dict[str, Any]:
    """Gather what a sweep's card shows: question, verdict, number, flags, date."""
    number = entry.headline.numbers[0] if entry.headline.numbers else None
    finished = results.trials["finished_at"].dropna()
    return {
        "name": results.manifest.name,
        "question": results.manifest.question,
        "verdict": entry.headline.verdict,
        "number": number.text if number else "",
        "what": number.what if number else "",
        "interval": number.interval if number else "",
        "chips": [{"text": chip.text, "level": chip.level} for chip in entry.chips],
        "date": str(finished.max())[:10] if len(finished) else "",
        "partial": bool(entry.running),
    }


def read_cards(folder: str | Path) -> list[dict[str, Any]]:
    """Read the cards of the sweeps in a folder, by name; what cannot be read is left out."""
    found = []
    for path in sorted(Path(folder).glob(f"*/{CARD}")):
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(card, dict) and (path.parent / "report.html").exists():
            found.append(card | {"folder": path.parent.name})
    return found


def render_index(cards: list[dict[str, Any]]) -> str:
    """Write the page of cards; it asks nothing of a network."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    css = (_HERE / "page.css").read_text(encoding="utf-8")
    return environment.get_template("index.html.j2").render(cards=cards, css=css)
