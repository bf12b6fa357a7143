"""What each column of the tables is made of: endpoints by their records, all others here."""

from __future__ import annotations

from study.results.endpoints import endpoint
from study.results.precision import Made

# Of any table.
_MADE = {
    "eigenvalues": Made.TRUTH,
    "weight": Made.TRUTH,
    "eligible": Made.TRUTH,
    "active_units": Made.TRAINING,
    "decoder_variance": Made.PASSES,
    "control_gap": Made.GAP,
    "sample_gap": Made.GAP,
    "n_repairs": Made.COUNT,
    "length": Made.COUNT,
    "fragments": Made.COUNT,
    "log_likelihood": Made.CURVE,
    "bic": Made.CURVE,
    "icl": Made.ENTROPY,
    "contrast_error": Made.CONTRAST,
    "converged": Made.FOLLOWS,
    "selected": Made.FOLLOWS,
    "at_ceiling": Made.FOLLOWS,
    "recalled": Made.FLAG,
    "component": Made.FLAG,
    "mass": Made.MASS,
    "recall": Made.MODE_SHARE,
    "outside": Made.POINT_SHARE,
    **dict.fromkeys(("x0", "x1", "x2", "x3"), Made.COORDINATE),
    # Which settings count, and what could not be counted.
    **dict.fromkeys(("trial_id", "control_id", "message", "family"), Made.FLAG),
}
# Columns of one source or protocol.
_HEADS = {
    "has_ties_": Made.FLAG,
    **dict.fromkeys(("at_ceiling_", "stopped_"), Made.FOLLOWS),
    **dict.fromkeys(("k_", "sbic_k_", "ebic_k_", "modal_modes_", "icl_k_"), Made.COUNT),
}


def made_of(table: str, column: str) -> Made:
    """Return what a column is made of; what nothing is known of is a name or a setting.

    Parameters
    ----------
    table : str
        A key of `SCHEMAS`.
    column : str

    Examples
    --------
    >>> made_of("trials", "coverage_samples_calibrated").name, made_of("curves", "recon").name
    ('MODE_SHARE', 'TRAINING')
    """
    if table.partition(".")[0] in ("curves", "weights"):
        return Made.TRAINING
    if column in _MADE:
        return _MADE[column]
    record = endpoint(column)
    if record is not None:
        return record.material
    # `k_min` and `k_max` are settings.
    head = next((head for head in _HEADS if column.startswith(head)), None)
    return Made.GIVEN if head is None or column in ("k_min", "k_max") else _HEADS[head]
