"""Degenerate results: no sentence, caption or cell of a report shows what is not a number."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.figures import theme
from analysis.figures.layout import NotApplicable
from analysis.figures.registry import FIGURES, figures_of
from analysis.load import Results, load_results, without_infinities
from analysis.page import answer
from analysis.page.cell_table import cell_rows
from analysis.page.cells import cell_pages
from analysis.page.chips import chips
from analysis.page.explore import explored
from analysis.page.headline import headline
from analysis.page.headline_factors import MOST_WORDS
from analysis.page.hero import hero_svg
from analysis.page.latex import render_latex
from analysis.page.render import FigureEntry, sweep_entry, table_entry
from analysis.tables.table import NotTabulated
from analysis.tables.tables import TABLES, tables_of
from analysis.wording.notes import denominators
from study.results import ENDPOINTS

NO_NUMBER = re.compile(r"(?<![A-Za-z_])(?:nan|NaN|NaT|None|<NA>|inf|Infinity)(?![A-Za-z_])")
CELLS = [{"latent_dim": 1}, {"latent_dim": 2}, {"latent_dim": 4}]
COUNTS = [
    f"{what}_{source}_{protocol}"
    for what in ("k", "coverage")
    for source in ("data", "means", "samples", "codes")
    for protocol in ("original", "calibrated")
]
EMPTY = ("controls", "curves", "counts", "components", "recall", "points", "nulls")
Change = Callable[[pd.DataFrame], pd.DataFrame]


def _set(**values: object) -> Change:
    return lambda trials: trials.assign(**values)


def _all_equal(trials: pd.DataFrame) -> pd.DataFrame:
    """Every endpoint and count is the same in every trial."""
    names = [*ENDPOINTS, *COUNTS]
    return trials.assign(**{name: trials[name].iloc[0] for name in names if name in trials})


def _counts(k: int, *, at_ceiling: bool) -> Change:
    def change(trials: pd.DataFrame) -> pd.DataFrame:
        return trials.assign(
            **{
                name: k if name.startswith("k_") else k / trials["n_components"].astype(float)
                for name in COUNTS
            },
            **{
                name: pd.array([at_ceiling] * len(trials), dtype="boolean")
                for name in trials
                if name.startswith("at_ceiling")
            },
        )

    return change


def _in_one_cell(value: float) -> Change:
    """Every endpoint of the second cell is this."""

    def change(trials: pd.DataFrame) -> pd.DataFrame:
        there = trials["latent_dim"].eq(2)
        names = [name for name in ENDPOINTS if trials[name].dtype.kind == "f"]
        return trials.assign(**{name: trials[name].mask(there, value) for name in names})

    return change


def _disjoint(trials: pd.DataFrame) -> pd.DataFrame:
    """No two cells share a data seed."""
    seeds = trials["data_seed"] + 100 * trials["latent_dim"]
    return trials.assign(data_seed=seeds)


def _only(condition: str) -> Change:
    return lambda trials: trials.query(condition)


def _given_beside_recipes(trials: pd.DataFrame) -> pd.DataFrame:
    given = trials["latent_dim"].eq(1)
    return trials.assign(
        box_rule=trials["box_rule"].mask(given, "given"),
        **{
            name: trials[name].mask(given)
            for name in ("alpha", "box_half_width", "variance_low", "variance_high")
            if name in trials
        },
    )


def _all_failed_but_one(trials: pd.DataFrame) -> pd.DataFrame:
    bad = np.arange(len(trials)) > 0
    names = [*(name for name in ENDPOINTS if name in trials), *COUNTS]
    return trials.assign(
        status=trials["status"].mask(bad, "failed"), **{n: trials[n].mask(bad) for n in names}
    )


CHANGES: dict[str, Change] = {
    "as they are": lambda trials: trials,
    "no spread": _all_equal,
    "all at the ceiling": _counts(14, at_ceiling=True),
    "all collapsed": _counts(1, at_ceiling=False),
    "infinite endpoints": _in_one_cell(np.inf),
    "infinite downwards": _in_one_cell(-np.inf),
    "missing endpoints": _in_one_cell(np.nan),
    "no endpoint anywhere": _set(**dict.fromkeys(ENDPOINTS, np.nan)),
    "no control": _set(k_data_calibrated=pd.NA, coverage_data_calibrated=np.nan, k_id=pd.NA),
    "disjoint seeds": _disjoint,
    "one data seed": _only("data_seed == 0"),
    "one init seed": _only("init_seed == 0"),
    "one trial": _only("data_seed == 0 and init_seed == 0 and latent_dim == 1"),
    "one trial per cell": _only("data_seed == 0 and init_seed == 0"),
    "one cell": _only("latent_dim == 2"),
    "two seeds": _only("data_seed < 2"),
    "given beside recipes": _given_beside_recipes,
    "one done": _all_failed_but_one,
}


@pytest.fixture(scope="module")
def whole(build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Build a small sweep with everything."""
    place = tmp_path_factory.mktemp("degenerate") / "small"
    return load_results(build(place, cells=CELLS, seeds=(4, 2), n_points=40))


def _changed(whole: Results, name: str) -> Results:
    """Change the trials, and leave the other tables to those that are left."""
    changed = CHANGES[name](whole.trials).reset_index(drop=True)
    trials, infinite = without_infinities(changed)
    kept = set(trials["trial_id"])
    plan = whole.plan[whole.plan["trial_id"].isin(kept)]
    manifest = replace(whole.manifest, n_trials=len(plan))
    return replace(whole, trials=trials, plan=plan, manifest=manifest, infinite=infinite)


def _bare(whole: Results) -> Results:
    """Keep the trials alone."""
    return replace(whole, **{name: getattr(whole, name).iloc[:0] for name in EMPTY})


def _texts(results: Results) -> Iterator[tuple[str, str]]:
    """Give everything that a page says, but its figures: where, and the text."""
    shown = []
    for name in tables_of(results):
        try:
            table = TABLES[name](results)
        except NotTabulated as reason:
            yield f"table {name}", str(reason)
            continue
        shown.append(table_entry(name, table))
        yield f"table {name}", f"{table.title} {table.caption}"
        yield f"table {name}", table.shown.to_csv(index=False, na_rep="NaN")
        yield f"table {name}", table.to_markdown() + table.to_latex(name)
    pages = cell_pages(results)
    for page in pages:
        yield f"cell {page.name}", " ".join((page.title, *page.facts))
        yield f"data of cell {page.name}", gzip.decompress(base64.b64decode(page.payload)).decode()
    yield "answer", "\n".join(answer.sentences(results))
    answered = headline(results)
    assert len(answered.verdict.split()) <= MOST_WORDS
    yield "headline", f"{answered.verdict} {[str(number) for number in answered.numbers]}"
    yield "chart", hero_svg(answered.chart)
    yield "flags", str(chips(results))
    yield "cells", " ".join(f"{row.text} {row.flags} {row.line}" for row in cell_rows(results))
    payload = gzip.decompress(base64.b64decode(explored(results).payload)).decode()
    yield "explore", payload
    entry = sweep_entry(results, (), shown, pages)
    yield "page", f"{entry.denominators} {entry.provenance}"
    yield "LaTeX", render_latex(entry)


def _strange(texts: Iterator[tuple[str, str]]) -> list[str]:
    return [
        f"{place}: ...{text[max(0, hit.start() - 90) : hit.end() + 30]!r}"
        for place, text in texts
        for hit in [NO_NUMBER.search(text)]
        if hit is not None
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CHANGES)
def test_no_table_or_sentence_shows_what_is_no_number(whole: Results, name: str) -> None:
    assert _strange(_texts(_changed(whole, name))) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["as they are", "one trial"])
def test_a_folder_of_trials_alone_has_a_page(whole: Results, name: str) -> None:
    assert _strange(_texts(_bare(_changed(whole, name)))) == []


def _captions(results: Results) -> Iterator[tuple[str, str]]:
    """Draw each figure; give what stands in it and below it."""
    for name in figures_of(results):
        with theme.style():
            try:
                drawn = FIGURES[name].draw(results)
            except NotApplicable as reason:
                yield f"figure {name}", str(reason)
                continue
            drawn.figure.canvas.draw()
        words = [text.get_text() for text in drawn.figure.findobj(_is_text)]
        yield f"figure {name}", "\n".join((drawn.title, drawn.caption, drawn.alt, *words))


def _is_text(artist: object) -> bool:
    return hasattr(artist, "get_text") and hasattr(artist, "get_fontsize")


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CHANGES)
def test_no_figure_shows_what_is_no_number(whole: Results, name: str) -> None:
    assert _strange(_captions(_changed(whole, name))) == []


def test_every_text_of_a_page_is_looked_at(whole: Results) -> None:
    entry = sweep_entry(whole, [FigureEntry("x", "x")], [], ())
    assert entry.answer
    assert NO_NUMBER.search("data seeds nan% (sd 0 [0, 0])")
    assert not NO_NUMBER.search("information, nano, inference, NAND")


def test_infinite_values_are_counted_and_left_out(whole: Results) -> None:
    results = _changed(whole, "infinite endpoints")
    n = int(whole.trials["latent_dim"].eq(2).sum())
    assert results.infinite["fkl_nats"] == n
    assert not np.isinf(results.trials["fkl_nats"]).any()
    assert "infinite values, which are in no mean: " in denominators(results)
    assert f" {n}" in denominators(results).partition("infinite")[2]
    assert "infinite" not in denominators(whole)
