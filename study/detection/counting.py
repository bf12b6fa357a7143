"""Counts by every protocol of a configuration; one that cannot be made leaves the others alone.

Points drawn from a trained model, or its codes, can be such that a protocol has no answer: a
single repeated point, fewer distinct points than a mixture has parameters, a cloud that is flat to
working precision. Then that count has no value, and a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from study.config import DetectionConfig, Source
from study.detection.cloud import FloatArray
from study.detection.modes import ModeCount
from study.detection.protocols import count_modes
from study.results.folder import first_line


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted of one point set, and what could not be.

    Parameters
    ----------
    found : dict of str to ModeCount
        By protocol.
    reasons : dict of str to str
        By protocol: one line, why there is no count.
    """

    found: dict[str, ModeCount]
    reasons: dict[str, str]


def count_possible(points: FloatArray, detection: DetectionConfig) -> Counts:
    """Count the modes of a point set by every protocol that can.

    Parameters
    ----------
    points : ndarray, shape (n, D)
    detection : DetectionConfig

    Returns
    -------
    Counts
    """
    found: dict[str, ModeCount] = {}
    reasons: dict[str, str] = {}
    for protocol in detection.protocols:
        try:
            found |= count_modes(points, replace(detection, protocols=(protocol,)))
        except (ValueError, ArithmeticError) as error:
            reasons[protocol] = first_line(error)
    return Counts(found, reasons)


def reasons_text(reasons: Mapping[tuple[Source, str], str]) -> str | None:
    """Write why counts have no value, for a row's message; None if all have one.

    Examples
    --------
    >>> reasons_text({("codes", "calibrated"): "points: too few"})
    'no count of codes (calibrated): points: too few'
    """
    texts = [f"no count of {s} ({p}): {reason}" for (s, p), reason in reasons.items()]
    return "; ".join(texts) or None
