"""Measure a set of points as a trial's samples are, whoever made them.

The points take the place of a trial's samples and have its columns: counts by each protocol and,
given a truth, every endpoint that needs no density. A reference without a truth takes the place of
the control. All numbers rest on `detection.n_samples` points, 10,000 by default: k* grows with how
many are counted, and only equal numbers are compared with equal ones. More are thinned at random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from study.config import DetectionConfig, MixtureConfig, Source
from study.data.data_set import DataSet, draw_data_set
from study.data.seeds import numpy_generator
from study.detection.counting import Counts, count_possible, reasons_text
from study.endpoints.baselines import fit_nulls, score_null
from study.endpoints.fidelity import neighbor_fidelity, two_sample_accuracy
from study.endpoints.scores import score_points
from study.measuring.files import PointsError, check_cloud
from study.measuring.truths import truth_config
from study.results import count_columns, reference_protocol
from study.trial.readings import count_readings, fit_readings
from study.trial.rows import count_rows

Row = dict[str, Any]
Report = Callable[[str], None]
# Points at which k* is counted besides all of them: it grows with their number.
GROWTH = (1_000, 3_000, 10_000, 30_000)
SHOWN_POINTS = 2_000
UNKNOWN_WITHOUT_TRUTH = (
    "Without a truth there is no recall, no spurious mass and no count of captured modes: k* says "
    "how many Gaussians describe these points, not how many modes there should be.",
)
UNKNOWN_WITHOUT_REFERENCE = (
    "Without a truth or a reference nothing says whether the points are where they should be.",
)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What is known of one set of points.

    Parameters
    ----------
    name : str
        Of the points.
    n_points : int
        How many there are, of which `columns["detection_n_samples"]` were measured.
    columns : dict
        By the names of the `trials` table; None where a number does not exist.
    nulls : list of dict
        The same of generators that learn nothing or everything, as in the `nulls` table.
    growth : list of dict
        n, source, protocol, k: k* by number of points.
    counts, recall, components : list of dict
        As in the tables of these names, without the trial's id.
    notes : tuple of str
        What cannot be known, and what to bear in mind; whole sentences.
    shown : dict of str to ndarray
        A few points of each source, for pictures.
    """

    name: str
    n_points: int
    columns: Row
    nulls: list[Row] = field(default_factory=list)
    growth: list[Row] = field(default_factory=list)
    counts: list[Row] = field(default_factory=list)
    recall: list[Row] = field(default_factory=list)
    components: list[Row] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    shown: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def _repr_html_(self) -> str:
        """Show the tables in a notebook."""
        # Not at the top: measuring needs no page.
        from study.measuring.page import tables_html

        return tables_html([self])


def measure_points(
    points: Any,
    *,
    truth: str | Path | MixtureConfig | None = None,
    reference: Any = None,
    seed: int = 0,
    detection: DetectionConfig | None = None,
    nulls: bool = True,
    name: str = "points",
    rng: np.random.Generator | None = None,
    say: Report = lambda text: None,
) -> Measurement:
    """Measure points as a trial's samples are.

    Parameters
    ----------
    points : array-like or data frame, shape (n_points, n_features)
    truth : str, path or MixtureConfig, optional
        What they should be distributed as: a name, such as "ring8", a sweep file, a mixture.
    reference : array-like or data frame, optional
        Points to compare with where the truth is not known; not with `truth`.
    seed : int
        Data seed of the truth, and of what is drawn at random.
    detection : DetectionConfig, optional
        How modes are counted, and of how many points.
    nulls : bool
        Measure one Gaussian, principal components and so on beside them.
    name : str
        What the points are called.
    rng : numpy.random.Generator, optional
        Draws the classifier's split; by default a stream of the seed.
    say : callable
        Receives one line before each part of the work.

    Returns
    -------
    Measurement

    Raises
    ------
    PointsError
        The points, the reference or the truth cannot be used; one line, with the remedy.
    """
    cloud = check_cloud(points, name)
    if truth is not None and reference is not None:
        raise PointsError("give a truth or a reference, not both: a truth draws its own control")
    detection = detection or DetectionConfig()
    used = thin(cloud, detection.n_samples, seed)
    against = prepare(truth, reference, n_samples=len(used), dim=used.shape[1], seed=seed)
    return _measure(
        used, against, detection, name=name, n_points=len(cloud), nulls=nulls,
        rng=rng or numpy_generator("classifier", seed, 0, 0), say=say,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Against:
    """What points are compared with.

    Parameters
    ----------
    data : DataSet or None
        Of the truth.
    control : ndarray or None
        A draw of the truth, or the reference.
    seed : int
    """

    data: DataSet | None
    control: np.ndarray | None
    seed: int


def thin(points: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
    """Choose some points at random; all, in their order, if there are no more."""
    if len(points) <= n_samples:
        return points
    rng = numpy_generator("draw", seed, 0, 0, 0)
    return points[np.sort(rng.choice(len(points), size=n_samples, replace=False))]


def prepare(
    truth: str | Path | MixtureConfig | None,
    reference: Any,
    *,
    n_samples: int,
    dim: int,
    seed: int,
) -> Against:
    """Draw what points are compared with, and make sure that it is of their dimension.

    Raises
    ------
    PointsError
        It is not, or there is no such truth.
    """
    if truth is not None:
        config = truth_config(truth)
        if config.dim != dim:
            raise PointsError(
                f"the points have {dim} columns and the truth has dimension {config.dim}; choose "
                "the truth of these points, or keep its coordinates only"
            )
        data = draw_data_set(config, seed, n_samples)
        return Against(data=data, control=data.control, seed=seed)
    if reference is None:
        return Against(data=None, control=None, seed=seed)
    control = thin(check_cloud(reference, "reference"), n_samples, seed)
    if control.shape[1] != dim:
        raise PointsError(
            f"the points have {dim} columns and the reference has {control.shape[1]}; they must "
            "have the same coordinates"
        )
    return Against(data=None, control=control, seed=seed)


def _measure(
    points: np.ndarray,
    against: Against,
    detection: DetectionConfig,
    *,
    name: str,
    n_points: int,
    nulls: bool,
    rng: np.random.Generator,
    say: Report,
) -> Measurement:
    n_modes = against.data.truth.n_modes if against.data else None
    columns: Row = {
        "n_components": n_modes,
        "dim": points.shape[1],
        "detection_n_samples": len(points),
        **{key: getattr(detection, key) for key in ("k_min", "k_max", "restarts")},
        "detection_seed": detection.seed,
    }
    say("counting the points")
    counted = count_possible(points, detection)
    curves = _count(columns, "samples", counted, n_modes, len(points))
    fitted = counted.found[reference_protocol(counted.found)].fitted if counted.found else None
    reasons: dict[tuple[Source, str], str] = {
        ("samples", protocol): why for protocol, why in counted.reasons.items()
    }
    if against.control is not None:
        say("counting the control" if against.data else "counting the reference")
        of_control = count_possible(against.control, detection)
        curves += _count(columns, "data", of_control, n_modes, len(against.control))
        reasons |= {("data", protocol): why for protocol, why in of_control.reasons.items()}
    recall: list[Row] = []
    components: list[Row] = []
    if against.data is not None and against.control is not None:
        say("comparing with the truth")
        scores = score_points(points, truth=against.data.truth, control=against.control, rng=rng,
                              fitted=fitted)  # fmt: skip
        columns |= scores.columns
        recall, components = scores.recall, scores.components
    elif against.control is not None:
        say("comparing with the reference")
        columns |= compare_with_reference(points, against.control, rng=rng)
    columns["message"] = reasons_text(reasons)
    return Measurement(
        name=name,
        n_points=n_points,
        columns=columns,
        nulls=measure_nulls(against, detection, len(points), say=say) if nulls else [],
        growth=list(_growth(points, columns, detection, say)),
        counts=curves,
        recall=recall,
        components=components,
        notes=_notes(against, columns, n_points),
        shown=_shown(points, against),
    )


def _count(
    columns: Row, source: Source, counted: Counts, n_modes: int | None, n_points: int
) -> list[Row]:
    """Add the columns of a source's counts, and return its rows of `counts`."""
    curves: list[Row] = []
    for protocol, count in counted.found.items():
        k_name, share_name, ceiling_name = count_columns(source, protocol)
        columns |= {k_name: count.k, ceiling_name: count.at_ceiling}
        columns[share_name] = None if n_modes is None else count.k / n_modes
        rows = count_rows("", source, protocol, epoch=0, count=count)
        curves += [
            {k: v for k, v in row.items() if k not in ("owner_id", "epoch")} for row in rows
        ]
        if protocol == "calibrated":
            columns |= count_readings(source, count, n_points)
    if counted.found:
        columns |= fit_readings(source, counted.found[reference_protocol(counted.found)])
    return curves


def compare_with_reference(
    points: np.ndarray, reference: np.ndarray, *, rng: np.random.Generator
) -> Row:
    """Compare points with a reference, without a truth: density, coverage, classifier."""
    near = neighbor_fidelity(points, reference)
    return {
        "prdc_density": near.density,
        "prdc_coverage": near.coverage,
        "c2st": two_sample_accuracy(points, reference, rng=rng),
    }


def measure_nulls(
    against: Against, detection: DetectionConfig, n_samples: int, *, say: Report
) -> list[Row]:
    """Measure generators that learn nothing or everything, as rows of `nulls`.

    Parameters
    ----------
    against : Against
    detection : DetectionConfig
    n_samples : int
        Points that were measured, and are drawn here.
    say : callable

    Returns
    -------
    list of dict
        Empty without a truth.
    """
    if against.data is None:
        return []
    sized = replace(detection, n_samples=n_samples)
    rows = []
    for index, model in enumerate(fit_nulls(against.data)):
        say(f"measuring a null model: {model.name}")
        rows.append(score_null(model, index, against.data, against.seed, sized))
    return rows


def _growth(
    points: np.ndarray, columns: Row, detection: DetectionConfig, say: Report
) -> Iterator[Row]:
    """Yield k* of the first points, by protocol; that of all of them last."""
    for n in (*(n for n in GROWTH if n < len(points)), len(points)):
        if n < len(points):
            say(f"counting the first {n:,} points")
            found = {p: c.k for p, c in count_possible(points[:n], detection).found.items()}
        else:
            names = {p: count_columns("samples", p)[0] for p in detection.protocols}
            found = {p: columns[k] for p, k in names.items() if k in columns}
        for protocol, k in found.items():
            yield {"n": n, "source": "samples", "protocol": protocol, "k": k}


def _notes(against: Against, columns: Row, n_points: int) -> tuple[str, ...]:
    notes: list[str] = []
    used = columns["detection_n_samples"]
    if used < n_points:
        notes.append(
            f"{used:,} of {n_points:,} points, chosen at random, are measured: k* grows with how "
            "many are counted. More: --n."
        )
    if against.data is None:
        notes += UNKNOWN_WITHOUT_TRUTH
        notes += () if against.control is not None else UNKNOWN_WITHOUT_REFERENCE
    if against.data is None and against.control is not None:
        notes.append(
            "Of two draws of one law: density 1, coverage .969, classifier accuracy .5 on average."
        )
    if columns["message"]:
        notes.append(f"{columns['message']}.")
    return tuple(notes)


def _shown(points: np.ndarray, against: Against) -> dict[str, np.ndarray]:
    sets = {"samples": points}
    if against.control is not None:
        sets["data"] = against.control
    return {source: held[:SHOWN_POINTS] for source, held in sets.items()}


def over_files(measured: Sequence[Measurement]) -> dict[str, Row]:
    """Average each column over files, with a 95 % interval of Student's t.

    Parameters
    ----------
    measured : sequence of Measurement
        One per file; files are what is resampled, such as seeds or models.

    Returns
    -------
    dict of str to dict
        mean, low, high and n by column; only of columns that are numbers in at least two files.
    """
    from scipy.stats import t

    found: dict[str, Row] = {}
    for name in measured[0].columns:
        values = [one.columns.get(name) for one in measured]
        numbers = np.array([v for v in values if _is_number(v)], dtype=np.float64)
        if len(numbers) < 2:
            continue
        mean = float(numbers.mean())
        half = float(t.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers)))
        found[name] = {"mean": mean, "low": mean - half, "high": mean + half, "n": len(numbers)}
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value))
