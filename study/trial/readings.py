"""What a count says besides k*: its set, other criteria, flags, and the fitted mixture's modes."""

from __future__ import annotations

from study.config import Source
from study.detection.criteria import epsilon_bic, free_parameters, k_set, singular_bic
from study.detection.modes import ModeCount, modal_em
from study.results import fit_columns, reading_columns
from study.trial.rows import Row


def count_readings(source: Source, count: ModeCount, n_samples: int) -> Row:
    """Make the columns of what else a calibrated search says: its set, other criteria, flags."""
    inside = k_set(count.ks, count.bic, count.contrast_errors)
    n_free = free_parameters(count.log_likelihood, count.bic, n_samples)
    singular = singular_bic(count.ks, count.log_likelihood, n_free, n_samples)
    weighted = epsilon_bic(count.log_likelihood, n_free, n_samples)
    values = (
        inside[0],
        inside[-1],
        int(count.ks[singular.argmin()]),
        int(count.ks[weighted.argmin()]),
        count.stopped,
        count.has_ties,
    )
    return dict(zip(reading_columns(source), values, strict=True))


def fit_readings(source: Source, count: ModeCount) -> Row:
    """Make the columns of a fitted mixture: maxima of its density, and k by ICL."""
    values = (len(modal_em(count.fitted)), int(count.ks[count.icl.argmin()]))
    return dict(zip(fit_columns(source), values, strict=True))
