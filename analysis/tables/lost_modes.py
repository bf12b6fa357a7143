"""Which modes were lost, by cell, and the odds of recall by what a component is like."""

from __future__ import annotations

import pandas as pd

from analysis.frames import lost_modes as frames
from analysis.frames.cells import named_rows
from analysis.load import Results
from analysis.statistics.intervals import KIND_TEXT
from analysis.tables.table import NotTabulated, Table, p_text
from analysis.wording.names import TRAIT_NAMES, cell_text


def lost_modes(results: Results) -> Table:
    """Count lost modes by cell: in how many data sets, and whether in every network."""
    frame = frames.lost_by_cell(results)
    if frame.empty:
        raise NotTabulated("no component is known of a mixture that was drawn from a recipe")
    rows = named_rows(frame)
    shown = pd.DataFrame(
        {
            "cell": frame["cell"].map(cell_text),
            "modes": frame["n_modes"].astype(str),
            "lost in a network": frame["n_lost"].astype(str),
            "lost in every network": frame["n_always"].astype(str),
            "data sets with a loss": [f"{r.n_data_lost} of {r.n_data}" for r in rows],
            "misses": [f"{r.n_missed} of {r.n_asked}" for r in rows],
        }
    )
    return Table(
        "Lost modes",
        "True components with at least 50 expected points, over the data sets. Lost: less than a "
        "fifth of its mass was generated. In every network: in all trainings on its data set. "
        "Misses: modes times networks.",
        frame,
        shown,
    )


def recall_odds(results: Results) -> Table:
    """Odds of recall by weight, separation and variance, all three together."""
    frame = frames.recall_model(results)
    if frame.empty:
        raise NotTabulated(
            f"modes were lost in fewer than {frames.FEWEST_DATA_SETS} data sets, too few to say "
            "which kind is lost"
        )
    first = named_rows(frame)[0]
    shown = pd.DataFrame(
        {
            "trait": frame["trait"].map(TRAIT_NAMES),
            "odds of recall for twice as much": [
                f"{r.odds_ratio:.3g} [{r.low:.3g}, {r.high:.3g}]" for r in named_rows(frame)
            ],
            "p": frame["p_value"].map(p_text),
        }
    )
    return Table(
        "Odds of recall",
        f"Odds ratio [low, high] for twice the trait, the others equal: bias-reduced logistic "
        f"regression (Firth) with a constant for each of {first.n_cells} cells that lost a mode, "
        f"one slope over them all; {first.n_missed} misses of {first.n_asked}, in "
        f"{first.n_data_lost} of {first.n_data} data sets. Brackets: {first.level:.0%} "
        f"{KIND_TEXT['jackknife']}. The p-values are exploratory and not adjusted. Traits were "
        "drawn, not varied: an association, not an effect.",
        frame,
        shown,
    )
