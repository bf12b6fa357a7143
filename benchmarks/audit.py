"""Audit of metrics, this project's included: `make audit` writes the table of docs/metrics.md.

Every metric is turned into a score that is 1 for equal laws and 0 for laws apart, as the checks
(`benchmarks.audit_checks`) ask. A metric that needs a mixture of Gaussians as the truth is asked
only the checks that have one; the others count neither as passed nor as failed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from benchmarks.audit_checks import CHECKS, Check, Draw, Kind, Verdict, passes
from study.detection.modes import detect_modes
from study.endpoints.fidelity import NeighborFidelity, neighbor_fidelity, two_sample_accuracy
from study.endpoints.literature import rke_modes
from study.endpoints.matching import match_points

FloatArray = np.ndarray
DOCS = Path("docs/metrics.md")
RECORD = Path("benchmarks/audit.json")
START, END = "<!-- audit: written by make audit -->", "<!-- end of audit -->"
# What Räisä et al. publish, of 30.
PUBLISHED = {"density": 18, "coverage": 13}
EXPECTED_COVERAGE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as a score.

    Parameters
    ----------
    name : str
    kind : "fidelity" or "diversity"
        What it is asked as.
    score : callable
        A draw to the score, or None where the metric does not exist.
    repeats : int
        Over how many draws it is averaged at the most.
    """

    name: str
    kind: Kind
    score: Callable[[Draw], float | None]
    repeats: int = 10


@lru_cache(maxsize=64)
def published_k(n_real: int, n_synthetic: int) -> int:
    """Choose the number of neighbours at which equal laws have a coverage above 0.95."""
    for k in range(1, 21):
        steps = np.arange(1, k + 1)
        missed = np.log(n_real - steps).sum() - np.log(n_real + n_synthetic - steps).sum()
        if 1 - math.exp(missed) > EXPECTED_COVERAGE:
            return k
    return 20


def once(compute: Callable[[Draw], Any]) -> Callable[[Draw], Any]:
    """Remember what was computed of the latest draw: a score may be asked as two kinds."""
    latest: list[Any] = [None, None]

    def remembered(draw: Draw) -> Any:
        if latest[0] is not draw:
            latest[:] = draw, compute(draw)
        return latest[1]

    return remembered


@once
def published_prdc(draw: Draw) -> tuple[float, float]:
    """Compute density and coverage as the audit's authors do: standardised, surfaces included."""
    mean, sd = draw.real.mean(axis=0), draw.real.std(axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    real, synthetic = (draw.real - mean) / sd, (draw.synthetic - mean) / sd
    k = published_k(len(real), len(real))
    inside = np.zeros(len(real), dtype=np.int64)
    for start in range(0, len(real), 1000):
        part = real[start : start + 1000]
        radii = np.partition(cdist(part, real), k, axis=1)[:, [k]]
        inside[start : start + 1000] = (cdist(part, synthetic) <= radii).sum(axis=1)
    return float(inside.sum() / (k * len(synthetic))), float((inside > 0).mean())


@once
def our_prdc(draw: Draw) -> NeighborFidelity:
    """Compute density and coverage as this project's tables have them."""
    return neighbor_fidelity(draw.synthetic, draw.real)


def our_coverage(draw: Draw) -> float:
    """Return this project's coverage over what equal laws have."""
    return our_prdc(draw).coverage / (1 - 2.0**-5)


@once
def classifier(draw: Draw) -> float:
    """Turn held-out accuracy into a score: twice the error, at most 1."""
    accuracy = two_sample_accuracy(draw.synthetic, draw.real, rng=np.random.default_rng(0))
    return min(1.0, 2 * (1 - accuracy))


def kernel_modes(draw: Draw) -> float:
    """Return RKE of the synthetic over that of the real points, at most 1, by the real scale."""
    bandwidth = math.sqrt(draw.real.var(axis=0).sum())
    few = 2500
    return min(1.0, rke_modes(draw.synthetic[:few], bandwidth) / rke_modes(draw.real[:few],
                                                                           bandwidth))  # fmt: skip


def counted(draw: Draw) -> float | None:
    """Return k* of the synthetic over that of the real points, at most 1."""
    if draw.real.shape[1] > 8 or max(len(draw.real), len(draw.synthetic)) > 2000:
        return None
    counts = [detect_modes(points, protocol="calibrated", k_max=20).k
              for points in (draw.synthetic, draw.real)]  # fmt: skip
    return min(1.0, counts[0] / counts[1])


def recall(draw: Draw) -> float | None:
    """Return mode recall."""
    return None if draw.truth is None else match_points(draw.synthetic, draw.truth).mode_recall()


def inside_mass(draw: Draw) -> float | None:
    """Return the share inside the 99 % ellipsoids over that of the real points, at most 1."""
    if draw.truth is None:
        return None
    return min(1.0, match_points(draw.synthetic, draw.truth).hq
               / max(match_points(draw.real, draw.truth).hq, 1e-9))  # fmt: skip


@once
def likelihood(draw: Draw) -> float | None:
    """Return exp(-forward KL), estimated at the real points by both exact densities."""
    if draw.truth is None or draw.law is None:
        return None
    truth, law = draw.truth.log_prob(draw.real), draw.law.log_prob(draw.real)
    return float(min(1.0, np.exp(-np.mean(truth - law))))


METRICS = (
    Metric(name="density", kind="fidelity", score=lambda draw: published_prdc(draw)[0]),
    Metric(name="coverage", kind="diversity", score=lambda draw: published_prdc(draw)[1]),
    Metric(name="our density", kind="fidelity",
           score=lambda draw: our_prdc(draw).density),
    Metric(name="our coverage", kind="diversity", score=our_coverage),
    Metric(name="inside mass", kind="fidelity", score=inside_mass),
    Metric(name="mode recall", kind="diversity", score=recall),
    Metric(name="exp(-forward KL) as fidelity", kind="fidelity", score=likelihood),
    Metric(name="exp(-forward KL) as diversity", kind="diversity", score=likelihood),
    Metric(name="C2ST as fidelity", kind="fidelity", score=classifier, repeats=1),
    Metric(name="C2ST as diversity", kind="diversity", score=classifier, repeats=1),
    Metric(name="RKE", kind="diversity", score=kernel_modes, repeats=2),
    Metric(name="k* ratio", kind="diversity", score=counted, repeats=1),
)  # fmt: skip


def run_check(check: Check, metrics: Sequence[Metric], repeats: int) -> dict[str, list[list]]:
    """Score the draws of one check.

    Parameters
    ----------
    check : Check
    metrics : sequence of Metric
    repeats : int

    Returns
    -------
    dict of str to list
        [setting, x, mean score] by metric.
    """
    sums: dict[tuple[str, object, float], list[float]] = {}
    for repeat in range(repeats):
        rng = np.random.default_rng([repeat, len(check.name)])
        for draw in check.draws(rng):
            for metric in metrics:
                value = metric.score(draw) if repeat < metric.repeats else None
                if value is not None:
                    key = (metric.name, draw.setting, float(draw.x))
                    sums.setdefault(key, []).append(float(value))
    rows: dict[str, list[list]] = {}
    for (name, setting, x), values in sums.items():
        rows.setdefault(name, []).append([setting, x, float(np.mean(values))])
    return rows


def judge(check: Check, metric: Metric, rows: list[list]) -> dict[str, bool | None]:
    """Return which questions of a check a metric passes; None where it was not asked.

    Parameters
    ----------
    check : Check
    metric : Metric
    rows : list
        [setting, x, score].
    """
    found: dict[str, bool | None] = {}
    for question, criteria in check.desiderata.items():
        verdicts: list[Verdict] = []
        for setting in dict.fromkeys(row[0] for row in rows):
            points = sorted((row[1], row[2]) for row in rows if row[0] == setting)
            x, v = np.array(points).T
            verdicts += [hold(x, v, metric.kind, setting) for hold in criteria.values()]
        found[question] = passes(verdicts) if rows else None
    return found


def table(verdicts: dict[str, dict[str, dict[str, bool | None]]], metrics: Sequence[str]) -> str:
    """Write passes and failures as Markdown: a row per check and question.

    Parameters
    ----------
    verdicts : dict
        By check, metric and question.
    metrics : sequence of str
    """
    marks = {True: "yes", False: "no", None: "-"}
    lines = [
        "| check | question | " + " | ".join(metrics) + " |",
        "|" + " --- |" * (2 + len(metrics)),
    ]
    totals = {name: [0, 0] for name in metrics}
    for check, by_metric in verdicts.items():
        questions = next(iter(by_metric.values()))
        for question in questions:
            cells = []
            for name in metrics:
                verdict = by_metric.get(name, {}).get(question)
                totals[name][0] += verdict is True
                totals[name][1] += verdict is not None
                cells.append(marks[verdict])
            lines.append(f"| {check} | {question} | " + " | ".join(cells) + " |")
    sums = " | ".join(f"**{good} of {asked}**" for good, asked in totals.values())
    return "\n".join([*lines, f"| **passed** | | {sums} |"])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks and write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=main.__doc__)
    parser.add_argument(
        "--repeats", type=int, default=10, help="draws of each check (default: 10)"
    )
    parser.add_argument("--metrics", nargs="+", metavar="NAME", help="only these metrics")
    parser.add_argument("--checks", nargs="+", metavar="NAME", help="only these checks")
    options = parser.parse_args(argv)
    metrics = [m for m in METRICS if options.metrics is None or m.name in options.metrics]
    checks = [c for c in CHECKS if options.checks is None or c.name in options.checks]
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for check in checks:
        started = time.process_time()
        rows = run_check(check, metrics, options.repeats)
        held = record.setdefault(check.name, {})
        for metric in metrics:
            held[metric.name] = {
                "repeats": min(options.repeats, metric.repeats),
                "passed": judge(check, metric, rows.get(metric.name, [])),
            }
        print(f"{check.name}: {time.process_time() - started:.0f} s", flush=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        write_docs(record)
    return 0


def write_docs(record: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Write the table between its marks in docs/metrics.md.

    Parameters
    ----------
    record : dict
        By check and metric: repeats, and what was passed. A check or metric that was not run yet
        is missing, and said to be.
    """
    order = [check.name for check in CHECKS if check.name in record]
    names = [m.name for m in METRICS if any(m.name in record[check] for check in order)]
    verdicts = {
        check: {name: held["passed"] for name, held in record[check].items()} for check in order
    }
    draws: dict[int, list[str]] = {}
    for name in names:
        draws.setdefault(
            min(record[check][name]["repeats"] for check in order if name in record[check]), []
        ).append(name)
    said = "; ".join(f"{number}: {', '.join(held)}" for number, held in sorted(draws.items()))
    left = [m.name for m in METRICS if m.name not in names]
    notes = [f"Draws that a score is averaged over (the paper has 10): {said}."]
    if len(order) < len(CHECKS):
        notes.append(f"Run so far: {len(order)} of {len(CHECKS)} checks.")
    if left:
        notes.append(f"Not run yet: {', '.join(left)}.")
    published = ", ".join(f"{name} {number} of 30" for name, number in PUBLISHED.items())
    notes.append(f"Published: {published}.")
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    text = f"{START}\n{table(verdicts, names)}\n\n{' '.join(notes)}\n{END}"
    DOCS.write_text(before + text + after, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
