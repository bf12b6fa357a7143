"""One page on a table: what is said, then the numbers it rests on."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd

from analysis.comparison.comparison import WANTED_POWER, Comparison
from analysis.comparison.table import CLUSTER
from analysis.frames.cells import named_rows
from analysis.statistics.intervals import KIND_TEXT
from analysis.tables.table import decimal, p_text, share_text, with_limits


def to_markdown(found: Comparison) -> str:
    """Write the page as Markdown."""
    parts = [f"# {_title(found)}", *(f"- {line}" for line in sentences(found))]
    for title, note, frame in tables(found):
        body = frame.to_markdown(index=False, disable_numparse=True)
        parts.append(f"\n## {title}\n\n{body}\n\n{note}")
    return "\n".join(parts) + "\n"


def to_html(found: Comparison) -> str:
    """Write the page as one HTML file that loads nothing."""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in sentences(found))
    body = [f"<h1>{html.escape(_title(found))}</h1>", f"<ul>{lines}</ul>"]
    for title, note, frame in tables(found):
        body.append(f"<h2>{html.escape(title)}</h2>{frame.to_html(index=False, border=0)}")
        body.append(f"<p>{html.escape(note)}</p>")
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;display:block;overflow-x:auto}"
        "td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #ccc}"
        "@media(prefers-color-scheme:dark){body{background:#111;color:#eee}}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(_title(found))}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _title(found: Comparison) -> str:
    return f"{found.asked.endpoint} by {', '.join(found.asked.factors)}"


def sentences(found: Comparison) -> list[str]:
    """Say what was compared, what differs, what does not, and how many clusters would tell."""
    rows, asked = found.rows, found.asked
    missing = f"; {rows.n_missing} rows without a value are left out" if rows.n_missing else ""
    said = [
        f"{len(rows.frame)} rows, {len(rows.cells)} cells, {rows.frame[CLUSTER].nunique()} "
        f"clusters ({asked.cluster}){missing}. Clusters of the same name are taken for the "
        "same in every cell; n is the number of clusters, never of rows."
    ]
    said += _of_differences(found)
    if len(found.equivalence):
        pairs = found.equivalence
        n = int(pairs["equivalent"].sum())
        said.append(
            f"{n} of {len(pairs)} pairs of cells differ by less than {asked.margin:g}"
            f"{_unit(found)} (two one-sided tests)."
        )
    if len(found.censored):
        n = int(found.censored["n_at_ceiling"].sum())
        said.append(
            f"{n} of {len(rows.frame)} values are at their ceiling: means and differences of "
            "these cells are lower bounds, the medians below take them for censored."
        )
    return said + _of_power(found)


def _of_differences(found: Comparison) -> list[str]:
    frame = found.differences
    if frame.empty:
        return ["There is one cell, so nothing is compared."]
    n = frame["n_clusters"].to_numpy(int)
    if n.max() < 2:
        return [
            f"No cell shares two clusters with {found.reference}, so no difference can be tested; "
            "the intervals of the cells stand by themselves."
        ]
    alpha = 1 - found.asked.level
    if (frame["least_p"] > alpha).all():
        return [
            f"With {n.max()} common clusters no difference can reach {alpha:.0%} (the least "
            f"possible p is {frame['least_p'].min():.2g}): this design can only be described."
        ]
    said = []
    for row in named_rows(frame):
        if row.p_adjusted <= alpha:
            doubt = (
                f", {row.p_skewed:.2g} if the differences may be skewed"
                if row.p_skewed > alpha
                else ""
            )
            size = with_limits(row.estimate, row.low_all, row.high_all, digits=_digits(found))
            said.append(
                f"{row.cell} differs from {found.reference} by {size}{_unit(found)} (adjusted "
                f"p {_equals(row.p_adjusted)}{doubt})."
            )
    n_open = len(frame) - len(said)
    if n_open:
        said.append(
            f"Of {n_open} of {len(frame)} cells no difference from {found.reference} is shown; "
            "that is not to say that there is none."
        )
    return said


def _of_power(found: Comparison) -> list[str]:
    if found.power.empty or not np.isfinite(found.effect):
        return []
    needed = found.clusters_needed
    how_many = f"{needed} clusters" if needed else "more than 50 clusters"
    return [
        f"A difference of {found.effect:.4g}{_unit(found)} between two cells is seen with a power "
        f"of {WANTED_POWER:.0%} by {how_many}, if this table's spread is the true one."
    ]


def _equals(p: float) -> str:
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"


def _unit(found: Comparison) -> str:
    return f" {found.asked.unit}" if found.asked.unit else ""


def _digits(found: Comparison) -> int:
    """Choose decimals by the spread of the values: three figures of it."""
    spread = float(found.rows.frame["value"].std())
    return int(np.clip(2 - np.floor(np.log10(spread)), 0, 8)) if spread > 0 else 2


def tables(found: Comparison) -> list[tuple[str, str, pd.DataFrame]]:
    """List the tables of the page: title, note, and text for readers."""
    listed = [_means(found), _differences(found), _equivalence(found), _censored(found)]
    listed += [_variance(found), _power(found)]
    return [one for one in listed if one is not None]


def _means(found: Comparison) -> tuple[str, str, pd.DataFrame]:
    digits = _digits(found)
    shown = pd.DataFrame(
        {
            "cell": row.cell,
            f"mean{_unit(found)}": with_limits(row.estimate, row.low, row.high, digits=digits),
            "clusters": str(row.n_clusters),
            "rows": str(row.n_rows),
            "at ceiling": share_text(row.share_at_ceiling),
        }
        for row in named_rows(found.means)
    )
    if found.asked.ceiling is None:
        shown = shown.drop(columns="at ceiling")
    kinds = ", ".join(KIND_TEXT[kind] for kind in found.means["interval"].unique())
    return "Means", f"Brackets: {found.asked.level:.0%} {kinds}.", shown


def _differences(found: Comparison) -> tuple[str, str, pd.DataFrame] | None:
    if found.differences.empty:
        return None
    digits = _digits(found)
    shown = pd.DataFrame(
        {
            "cell": row.cell,
            f"difference{_unit(found)}": with_limits(
                row.estimate, row.low, row.high, digits=digits
            ),
            "all at once": with_limits(row.estimate, row.low_all, row.high_all, digits=digits),
            "p": p_text(row.p_value),
            "p (family)": p_text(row.p_adjusted),
            "p (family, skew)": p_text(row.p_skewed),
            "p (sign test)": p_text(row.p_sign),
            "clusters": str(row.n_clusters),
        }
        for row in named_rows(found.differences)
    )
    note = (
        f"Each cell less {found.reference}, paired by cluster. p: sign flips; family: step-down "
        "max-T over all rows of this table by joint sign flips, which suppose that two values of "
        "a cluster could be exchanged if nothing differed; skew: by a studentised bootstrap, "
        "which does not. All at once: intervals that hold together."
    )
    return "Differences", note, shown


def _equivalence(found: Comparison) -> tuple[str, str, pd.DataFrame] | None:
    if found.equivalence.empty:
        return None
    digits = _digits(found)
    shown = pd.DataFrame(
        {
            "cell": row.cell,
            "other": row.other,
            "difference": with_limits(row.difference, row.low90, row.high90, digits=digits),
            "p": p_text(row.p),
            "within the margin": "yes" if row.equivalent else "not shown",
        }
        for row in named_rows(found.equivalence)
    )
    level = 1 - 2 * (1 - found.asked.level)
    note = f"Brackets: {level:.0%} t interval. Margin: {found.asked.margin:g}{_unit(found)}."
    return "Equivalence", note, shown


def _censored(found: Comparison) -> tuple[str, str, pd.DataFrame] | None:
    if found.censored.empty:
        return None
    digits = _digits(found)
    shown = pd.DataFrame(
        {
            "cell": row.cell,
            "median": "above the ceiling" if np.isinf(row.median) else f"{row.median:g}",
            "at ceiling": f"{row.n_at_ceiling} ({row.share_at_ceiling:.0%})",
            "share above": f"{with_limits(row.share_above, row.low, row.high, digits=2)} "
            f"above {decimal(row.above, digits=digits)}",
        }
        for row in named_rows(found.censored)
    )
    return "Values at their ceiling", "Kaplan-Meier; limits by cluster.", shown


def _variance(found: Comparison) -> tuple[str, str, pd.DataFrame] | None:
    if found.variance.empty:
        return None
    digits = _digits(found)
    shown = pd.DataFrame(
        {
            "component": row.component,
            f"sd{_unit(found)}": with_limits(
                row.sd, np.sqrt(row.low), np.sqrt(row.high), digits=digits
            ),
            "share of variance": share_text(row.share),
            "levels": str(row.n),
        }
        for row in named_rows(found.variance)
    )
    dropped = int(found.variance["n_dropped"].iloc[0])
    note = "Within cells, averaged over them; modified large-sample intervals."
    if dropped:
        note += f" {dropped} rows are outside the largest complete block."
    return "Where the spread comes from", note, shown


def _power(found: Comparison) -> tuple[str, str, pd.DataFrame] | None:
    if found.power.empty:
        return None
    digits = _digits(found)
    shown = pd.DataFrame(
        {
            "clusters": str(row.n_clusters),
            "power": share_text(row.power),
            "half width": decimal(row.half_width, digits=digits),
        }
        for row in named_rows(found.power)
    )
    note = (
        f"Of a paired t test of one difference of {found.effect:.4g}{_unit(found)}, by itself; "
        f"half width of its {found.asked.level:.0%} interval."
    )
    return "Power", note, shown
