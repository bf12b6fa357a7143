"""Which columns of the trials table a configuration measures, known before anything is trained."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

from study.config.cells import Cell
from study.config.sections import DetectionConfig
from study.plugins import PROTOCOLS, until_plugins_change

# What a recipe says of a mixture; a given one says nothing of it.
_OF_THE_RECIPE = frozenset(["box_half_width", "variance_low", "variance_high", "alpha"])
_TIMES = frozenset(["train_s", "count_s", "endpoints_s"])


def why_unmeasured(name: str, cell: Cell) -> str | None:
    """Return why a column has no value in any trial of a cell.

    Parameters
    ----------
    name : str
        Name of a numeric column of the trials table.
    cell : Cell

    Returns
    -------
    str or None
        Such as "detection.sources lacks samples"; None if it is measured.

    Examples
    --------
    >>> from study.config.cells import make_cell
    >>> why_unmeasured("bridges", make_cell({"detection.sources": ("data", "means")}))
    'detection.sources lacks samples'
    """
    # Imported here, as below: it brings pyarrow, and a plan need not wait for that.
    from study.results.endpoints import FIT_ENDPOINTS

    if name in FIT_ENDPOINTS:
        return _lacking(cell.detection, ("samples",))
    if name == "fkl_ess_min" and cell.model.latent_dim == 1:
        return "with model.latent_dim 1 the forward KL is integrated, not drawn"
    if name == "control_gap":
        return _lacking(cell.detection, ("data",), ("calibrated",))
    if name in _gaps():
        restarts = "detection.gap_restarts is 0" if not cell.detection.gap_restarts else None
        return _lacking(cell.detection, ("samples",), ("calibrated",)) or restarts
    if name in _of_control_fit():
        return _lacking(cell.detection, ("data",))
    if name == "sampler_components" and cell.detection.sampler == "prior":
        return "detection.sampler is prior, which fits no components"
    if name in _OF_THE_RECIPE:
        given = cell.mixture.means is not None
        return "mixture.means gives the mixture, which has no recipe" if given else None
    counted = _counts().get(name)
    if counted is None:
        return None
    source, protocol = counted
    return _lacking(cell.detection, (source,), (protocol,))


def is_known_at_rungs(name: str) -> bool:
    """Return whether a numeric column can be measured at a rung of a training.

    Controls are counted elsewhere, times vary, and a row gets its provenance at the end.
    """
    from study.results.tables import CONTROL_FIELDS, PROVENANCE_FIELDS

    return name not in {*_TIMES, *dict(CONTROL_FIELDS), *dict(PROVENANCE_FIELDS)}


def _lacking(
    detection: DetectionConfig, sources: Collection[str], protocols: Collection[str] = ()
) -> str | None:
    for part, wanted in (("sources", sources), ("protocols", protocols)):
        missing = [value for value in wanted if value not in getattr(detection, part)]
        if missing:
            return f"detection.{part} lacks {missing[0]}"
    return None


@until_plugins_change
def _counts() -> dict[str, tuple[str, str]]:
    """Map the columns of counts to their source and protocol."""
    from study.results.tables import SOURCES, count_columns, reading_columns

    counted = {
        name: (source, protocol)
        for source in SOURCES
        for protocol in PROTOCOLS
        for name in count_columns(source, protocol)
    }
    read = {name: (s, "calibrated") for s in SOURCES for name in reading_columns(s)}
    return counted | read


@cache
def _gaps() -> frozenset[str]:
    from study.results.tables import GAP_COLUMNS

    return frozenset(GAP_COLUMNS)


@cache
def _of_control_fit() -> frozenset[str]:
    from study.results.tables import fit_columns

    return frozenset(fit_columns("data"))
