"""What is known of each endpoint: one record per column, from which every list is derived.

An endpoint is a number that a trial has besides its counts. Its record says what the number is
called, in which unit, in which direction it is better, between which bounds it lies, by how much
it may differ and still count as equal, and what it rests on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

from study.plugins import ENDPOINTS
from study.results.precision import Made

Direction = Literal["high", "low", "neither"]
# "model": the trained model and held-out points alone, whatever is counted. "points": the points
# that are counted, so also their number. "fit": the mixture that the detector fits to samples.
Basis = Literal["model", "points", "fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One column of `trials` that says how good a trial is, or what its numbers rest on.

    Parameters
    ----------
    name : str
        The column.
    title : str
        What it is called for people, without its unit.
    unit : str
        What one unit of it is: "nats", "share of points".
    better : "high", "low" or "neither"
    rests_on : "model", "points" or "fit"
        What can change it. An endpoint that rests on the model does not depend on how points are
        counted.
    short : str
        A shorter title for ticks and table heads; the title if empty.
    bounds : (float, float)
        Between which values it lies.
    margin : float
        Cells that differ by less are called equivalent.
    is_primary : bool
        Whether it is tested and drawn for each cell.
    is_compared : bool
        Whether its ranks are compared with those of other metrics.
    is_mean : bool
        Whether it is a mean over the points, so that its expectation does not depend on how many
        are counted.
    of_baselines : bool
        Whether generators without a network have it, too.
    is_whole : bool
        Whether it is a whole number.
    made_of : Made, optional
        What it is made of, if not what most that rests on the same are.
    compute : callable, optional
        Of a plug-in's endpoint: takes what a trial generated (`study.endpoints.further.Generated`)
        and returns the number, or None where it has none.
    """

    name: str
    title: str
    unit: str
    better: Direction
    rests_on: Basis
    short: str = ""
    bounds: tuple[float, float] = (-math.inf, math.inf)
    margin: float = 0.05
    is_primary: bool = False
    is_compared: bool = False
    is_mean: bool = False
    of_baselines: bool = False
    is_whole: bool = False
    made_of: Made | None = None
    compute: Callable[[Any], float | None] | None = None

    @property
    def material(self) -> Made:
        """What it is made of, which decides how far apart two honest computations can be."""
        if self.is_whole:
            return Made.COUNT
        return self.made_of or _MATERIALS[self.rests_on]

    @property
    def axis_title(self) -> str:
        """The title with its unit in brackets."""
        return f"{self.title} ({self.unit})"

    @property
    def short_title(self) -> str:
        """The title for ticks and table heads."""
        return self.short or self.title


_MATERIALS: dict[Basis, Made] = {
    "model": Made.PASSES,
    "points": Made.POINT_SHARE,
    "fit": Made.FIT,
}
SOURCES = ("data", "means", "samples", "codes")
# Columns that say how a network is measured, not what it is; the number of points first.
MEASURING = ("detection_n_samples", "k_min", "k_max", "restarts", "detection_seed")
SHARE = (0.0, 1.0)
NOT_NEGATIVE = (0.0, math.inf)

_LITERATURE = (
    Endpoint(
        name="modes_captured",
        title="modes captured",
        unit="modes with a point of 2,500 within 3 sd",
        better="high",
        rests_on="points",
        bounds=NOT_NEGATIVE,
        margin=1.0,
        is_compared=True,
        of_baselines=True,
        is_whole=True,
    ),
    Endpoint(
        name="hq_3sd",
        title="share within 3 sd",
        unit="share of points",
        better="high",
        rests_on="points",
        bounds=SHARE,
        is_compared=True,
        of_baselines=True,
    ),
    Endpoint(
        name="rkl_captured",
        title="reverse KL of captured modes",
        unit="nats",
        better="low",
        rests_on="points",
        bounds=NOT_NEGATIVE,
        of_baselines=True,
    ),
    Endpoint(
        name="rkl_nearest",
        title="reverse KL of nearest modes",
        unit="nats",
        better="low",
        rests_on="points",
        bounds=NOT_NEGATIVE,
        of_baselines=True,
    ),
    Endpoint(
        name="emc",
        title="entropic mode coverage",
        short="EMC",
        unit="share of log K",
        better="high",
        rests_on="points",
        # A mean of rounded posterior probabilities may exceed 1 in its last digit.
        bounds=(0.0, 1.0 + 1e-9),
        of_baselines=True,
    ),
    Endpoint(
        name="rke_modes",
        title="modes by kernel entropy (RKE)",
        short="RKE modes",
        unit="modes",
        # Beside the control: more of them is not closer to the truth.
        better="neither",
        rests_on="points",
        bounds=NOT_NEGATIVE,
        margin=0.5,
        of_baselines=True,
    ),
)

_RECORDS = (
    Endpoint(
        name="modal_modes_samples",
        title="density modes",
        unit="modes",
        better="neither",
        rests_on="fit",
        bounds=NOT_NEGATIVE,
        margin=1.0,
        is_compared=True,
        is_whole=True,
    ),
    Endpoint(
        name="icl_k_samples",
        title="k by ICL",
        unit="components",
        better="neither",
        rests_on="fit",
        bounds=NOT_NEGATIVE,
        margin=1.0,
        is_compared=True,
        is_whole=True,
    ),
    Endpoint(
        name="mode_recall",
        title="mode recall",
        unit="share of modes",
        better="high",
        rests_on="points",
        made_of=Made.MODE_SHARE,
        bounds=SHARE,
        is_primary=True,
        is_compared=True,
        of_baselines=True,
    ),
    Endpoint(
        name="mode_recall_means",
        title="mode recall of decoder means",
        unit="share of modes",
        better="high",
        rests_on="points",
        made_of=Made.MODE_SHARE,
        bounds=SHARE,
    ),
    Endpoint(
        name="weighted_recall",
        title="weighted recall",
        unit="share of the truth's mass",
        better="high",
        rests_on="points",
        made_of=Made.MODE_WEIGHT,
        bounds=SHARE,
        of_baselines=True,
    ),
    Endpoint(
        name="spurious_mass",
        title="mass outside the 99 % ellipsoids",
        short="outside 99 %",
        unit="share of points",
        better="low",
        rests_on="points",
        # Less than none only by the chance in the control.
        bounds=(-0.02, 1.0),
        margin=0.02,
        is_primary=True,
        is_compared=True,
        of_baselines=True,
        is_mean=True,
    ),
    Endpoint(
        name="spurious_mass_means",
        title="mass of decoder means outside the 99 % ellipsoids",
        short="means outside 99 %",
        unit="share of points",
        better="low",
        rests_on="points",
        bounds=(-0.02, 1.0),
        margin=0.02,
        is_mean=True,
    ),
    Endpoint(
        name="between_mass",
        title="mass outside the 1 - 10⁻⁶ ellipsoids",
        short="outside 1 - 10⁻⁶",
        unit="share of points",
        better="low",
        rests_on="points",
        bounds=(-0.02, 1.0),
        margin=0.02,
        of_baselines=True,
    ),
    Endpoint(
        name="hq_control",
        title="high-quality share of the control",
        unit="share of points",
        better="neither",
        rests_on="points",
        bounds=SHARE,
        is_mean=True,
    ),
    Endpoint(
        name="hq_samples",
        title="high-quality share",
        unit="share of points",
        better="high",
        rests_on="points",
        bounds=SHARE,
        of_baselines=True,
        is_mean=True,
    ),
    Endpoint(
        name="hq_means",
        title="high-quality share of decoder means",
        unit="share of points",
        better="high",
        rests_on="points",
        bounds=SHARE,
        is_mean=True,
    ),
    Endpoint(
        name="fkl_nats",
        title="forward KL",
        unit="nats",
        better="low",
        rests_on="model",
        made_of=Made.DENSITY,
        bounds=NOT_NEGATIVE,
        is_primary=True,
        is_compared=True,
        of_baselines=True,
    ),
    Endpoint(
        name="fkl_se",
        title="standard error of forward KL",
        unit="nats",
        better="neither",
        rests_on="model",
        made_of=Made.DENSITY,
        bounds=NOT_NEGATIVE,
        of_baselines=True,
    ),
    Endpoint(
        name="fkl_mc_se",
        title="Monte Carlo part of the standard error of forward KL",
        unit="nats",
        better="neither",
        rests_on="model",
        made_of=Made.DRAWS,
        bounds=NOT_NEGATIVE,
    ),
    Endpoint(
        name="fkl_unmet_share",
        title="share of points whose density is not reliable",
        short="unreliable densities",
        unit="share of points",
        better="neither",
        rests_on="model",
        made_of=Made.DRAWS,
        bounds=SHARE,
    ),
    Endpoint(
        name="fkl_ess_min",
        title="smallest effective number of draws of a density",
        short="smallest ESS",
        unit="draws",
        better="neither",
        rests_on="model",
        made_of=Made.WORST,
        bounds=NOT_NEGATIVE,
    ),
    Endpoint(
        name="tv",
        title="total variation",
        unit="share of mass",
        better="low",
        rests_on="points",
        made_of=Made.MASS,
        bounds=SHARE,
        is_compared=True,
        of_baselines=True,
    ),
    Endpoint(
        name="tv_means",
        title="total variation of decoder means",
        unit="share of mass",
        better="low",
        rests_on="points",
        made_of=Made.MASS,
        bounds=SHARE,
    ),
    Endpoint(
        name="rkl_modes",
        title="reverse KL of modes",
        unit="nats",
        better="low",
        rests_on="points",
        made_of=Made.MASS,
        bounds=NOT_NEGATIVE,
        of_baselines=True,
    ),
    Endpoint(
        name="rkl_modes_means",
        title="reverse KL of modes of decoder means",
        unit="nats",
        better="low",
        rests_on="points",
        made_of=Made.MASS,
        bounds=NOT_NEGATIVE,
    ),
    Endpoint(
        name="fragmentation",
        title="fragmentation",
        unit="components per recalled mode",
        better="low",
        rests_on="fit",
        made_of=Made.MODE_SHARE,
        bounds=NOT_NEGATIVE,
        is_compared=True,
        of_baselines=True,
    ),
    Endpoint(
        name="bridges",
        title="bridges",
        unit="components",
        better="low",
        rests_on="fit",
        made_of=Made.COUNT,
        bounds=NOT_NEGATIVE,
        of_baselines=True,
    ),
    Endpoint(
        name="fragment_sum",
        title="further fragments, by quality",
        short="further fragments",
        unit="components",
        better="low",
        rests_on="fit",
        bounds=NOT_NEGATIVE,
        of_baselines=True,
    ),
    Endpoint(
        name="bridge_sum",
        title="components outside, by quality",
        short="components outside",
        unit="components",
        better="low",
        rests_on="fit",
        bounds=NOT_NEGATIVE,
        of_baselines=True,
    ),
    Endpoint(
        name="fragment_mass",
        title="mass in further fragments",
        unit="share of points",
        better="low",
        rests_on="fit",
        bounds=SHARE,
        of_baselines=True,
    ),
    Endpoint(
        name="prdc_density",
        title="density",
        unit="ratio to the control's",
        better="high",
        rests_on="points",
        made_of=Made.NEIGHBOURS,
        bounds=NOT_NEGATIVE,
        is_compared=True,
        of_baselines=True,
    ),
    Endpoint(
        name="prdc_coverage",
        title="coverage by nearest neighbours",
        short="coverage (k nearest)",
        unit="share of points",
        better="high",
        rests_on="points",
        made_of=Made.NEIGHBOURS,
        bounds=SHARE,
        is_compared=True,
        of_baselines=True,
    ),
    Endpoint(
        name="c2st",
        title="classifier accuracy",
        unit="share of points",
        # 0.5 is a classifier that cannot tell.
        better="low",
        rests_on="points",
        made_of=Made.LEARNED,
        bounds=SHARE,
        is_compared=True,
        of_baselines=True,
    ),
    *_LITERATURE,
    *(
        replace(
            record,
            name=f"{record.name}_control",
            title=f"{record.title}, control",
            short=f"{record.short}, control" if record.short else "",
            better="neither",
            is_compared=False,
            of_baselines=False,
        )
        for record in _LITERATURE
    ),
    Endpoint(
        name="rke_bandwidth",
        title="bandwidth of the kernel entropy",
        short="RKE bandwidth",
        unit="data units",
        better="neither",
        rests_on="model",
        bounds=NOT_NEGATIVE,
        of_baselines=True,
    ),
    Endpoint(
        name="entropy_nats",
        title="entropy of the truth",
        unit="nats",
        better="neither",
        rests_on="model",
        made_of=Made.TRUTH,
    ),
    Endpoint(
        name="recon",
        title="reconstruction",
        unit="squared error",
        better="low",
        rests_on="model",
        bounds=NOT_NEGATIVE,
    ),
    Endpoint(
        name="kl_nats",
        title="KL divergence",
        short="KL",
        unit="nats",
        better="neither",
        rests_on="model",
        bounds=NOT_NEGATIVE,
    ),
    Endpoint(
        name="loss",
        title="loss",
        unit="squared error + beta nats",
        better="low",
        rests_on="model",
        bounds=NOT_NEGATIVE,
    ),
    Endpoint(
        name="loss_floor",
        title="least possible loss",
        unit="squared error + beta nats",
        better="neither",
        rests_on="model",
        made_of=Made.TRUTH,
    ),
    Endpoint(
        name="rate_bound_nats",
        title="rate bound",
        unit="nats",
        better="neither",
        rests_on="model",
    ),
    Endpoint(
        name="lambda_1",
        title="largest eigenvalue of the truth's covariance",
        unit="squared data units",
        better="neither",
        rests_on="model",
        made_of=Made.TRUTH,
        bounds=NOT_NEGATIVE,
    ),
    Endpoint(
        name="train_recon",
        title="reconstruction while training",
        unit="squared error",
        better="low",
        rests_on="model",
        made_of=Made.TRAINING,
        bounds=NOT_NEGATIVE,
    ),
    Endpoint(
        name="train_kl_nats",
        title="KL divergence while training",
        unit="nats",
        better="neither",
        rests_on="model",
        made_of=Made.TRAINING,
        bounds=NOT_NEGATIVE,
    ),
)
RECORDS: dict[str, Endpoint] = {record.name: record for record in _RECORDS}


def further_endpoints() -> dict[str, Endpoint]:
    """Return the endpoints that plug-ins have added."""
    return {name: ENDPOINTS[name] for name in ENDPOINTS}


class Chosen(Sequence[str], Set[str]):
    """Columns of the endpoints that a condition holds for, those of plug-ins included.

    It is a sequence in their order, and takes part in operations on sets.
    """

    def __init__(self, holds: Callable[[Endpoint], bool]) -> None:
        self._holds = holds

    def _names(self) -> tuple[str, ...]:
        return names(filter(self._holds, (*_RECORDS, *further_endpoints().values())))

    def __getitem__(self, index: Any) -> Any:
        return self._names()[index]

    def __len__(self) -> int:
        return len(self._names())

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @classmethod
    def _from_iterable(cls, columns: Iterable[Any]) -> Any:
        return frozenset(columns)


def endpoint(column: str) -> Endpoint | None:
    """Return the record of a column: an endpoint's, or that of a count; None for other columns.

    Examples
    --------
    >>> endpoint("fkl_nats").unit
    'nats'
    >>> endpoint("k_samples_calibrated").margin
    1.0
    """
    if column in RECORDS or column in ENDPOINTS:
        return RECORDS.get(column) or further_endpoints()[column]
    kind, _, tail = column.partition("_")
    source, _, protocol = tail.partition("_")
    if kind not in ("k", "coverage") or source not in SOURCES or not protocol:
        return None
    letter, unit = ("k*", "components") if kind == "k" else ("k*/K", "components per true one")
    return Endpoint(
        name=column,
        title=f"{letter} {source}, {protocol}",
        unit=unit,
        better="neither",
        rests_on="fit",
        bounds=NOT_NEGATIVE,
        margin=1.0 if kind == "k" else 0.1,
        is_whole=kind == "k",
        made_of=Made.MODE_SHARE,
    )


def measured_by(column: str | None = None) -> tuple[str, ...]:
    """Return the measuring columns that move what an endpoint is expected to be.

    Parameters
    ----------
    column : str or None
        An endpoint; None: all measuring columns, which are also returned for unknown columns.

    Examples
    --------
    >>> measured_by("fkl_nats"), measured_by("mode_recall")
    ((), ('detection_n_samples',))
    """
    record = None if column is None else endpoint(column)
    if record is None or record.rests_on == "fit":
        return MEASURING
    return () if record.rests_on == "model" or record.is_mean else MEASURING[:1]


def is_larger_better(column: str) -> bool:
    """Return whether more of an endpoint is better.

    Raises
    ------
    ValueError
        The column is not an endpoint, or neither direction is better.
    """
    record = endpoint(column)
    if record is None or record.better == "neither":
        raise ValueError(
            f"{column!r} has no better direction; compare it with its control instead"
        )
    return record.better == "high"


def names(records: Iterable[Endpoint]) -> tuple[str, ...]:
    """Return the columns of some records, in their order."""
    return tuple(record.name for record in records)


PRIMARY_ENDPOINTS = Chosen(lambda record: record.is_primary)
COMPARED_ENDPOINTS = Chosen(lambda record: record.is_compared)
BASELINE_ENDPOINTS = Chosen(lambda record: record.of_baselines)
FIT_ENDPOINTS = Chosen(lambda record: record.rests_on == "fit")
