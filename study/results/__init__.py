"""The record of a sweep: the public face of this package.

Other packages import from here; within it, names are imported from where they are defined. A name
is loaded when it is first used: what is known of endpoints needs no Arrow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.results.columns import (
        Described as Described,
    )
    from study.results.columns import (
        describe_column as describe_column,
    )
    from study.results.endpoints import (
        COMPARED_ENDPOINTS as COMPARED_ENDPOINTS,
    )
    from study.results.endpoints import (
        PRIMARY_ENDPOINTS as PRIMARY_ENDPOINTS,
    )
    from study.results.endpoints import (
        SOURCES as SOURCES,
    )
    from study.results.endpoints import (
        Endpoint as Endpoint,
    )
    from study.results.endpoints import (
        endpoint as endpoint,
    )
    from study.results.endpoints import (
        is_larger_better as is_larger_better,
    )
    from study.results.endpoints import (
        measured_by as measured_by,
    )
    from study.results.folder import (
        DamagedFileError as DamagedFileError,
    )
    from study.results.folder import (
        ResultsError as ResultsError,
    )
    from study.results.folder import (
        ResultsFolder as ResultsFolder,
    )
    from study.results.folder import (
        join_location as join_location,
    )
    from study.results.folder import (
        open_folder as open_folder,
    )
    from study.results.lineage import (
        check_lineage as check_lineage,
    )
    from study.results.plain_text import (
        printable as printable,
    )
    from study.results.provenance import (
        timestamp as timestamp,
    )
    from study.results.record import (
        CERTIFICATE as CERTIFICATE,
    )
    from study.results.record import (
        finished_ids as finished_ids,
    )
    from study.results.record import (
        read_certificate as read_certificate,
    )
    from study.results.record import (
        read_table as read_table,
    )
    from study.results.record import (
        recorded as recorded,
    )
    from study.results.record import (
        write_tables as write_tables,
    )
    from study.results.tables import (
        ENDPOINTS as ENDPOINTS,
    )
    from study.results.tables import (
        GAP_COLUMNS as GAP_COLUMNS,
    )
    from study.results.tables import (
        KEYS as KEYS,
    )
    from study.results.tables import (
        PROTOCOLS as PROTOCOLS,
    )
    from study.results.tables import (
        SCHEMA_VERSION as SCHEMA_VERSION,
    )
    from study.results.tables import (
        SCHEMAS as SCHEMAS,
    )
    from study.results.tables import (
        WELL_ENDED as WELL_ENDED,
    )
    from study.results.tables import (
        config_fields as config_fields,
    )
    from study.results.tables import (
        count_columns as count_columns,
    )
    from study.results.tables import (
        fit_columns as fit_columns,
    )
    from study.results.tables import (
        frame_to_table as frame_to_table,
    )
    from study.results.tables import (
        reading_columns as reading_columns,
    )
    from study.results.tables import (
        reference_protocol as reference_protocol,
    )
    from study.results.tables import (
        to_table as to_table,
    )

_MODULES = {
    "columns": ("Described", "describe_column"),
    "endpoints": (
        "COMPARED_ENDPOINTS",
        "PRIMARY_ENDPOINTS",
        "SOURCES",
        "Endpoint",
        "endpoint",
        "is_larger_better",
        "measured_by",
    ),
    "folder": (
        "DamagedFileError",
        "ResultsError",
        "ResultsFolder",
        "join_location",
        "open_folder",
    ),
    "lineage": ("check_lineage",),
    "plain_text": ("printable",),
    "provenance": ("timestamp",),
    "record": (
        "CERTIFICATE",
        "finished_ids",
        "read_certificate",
        "read_table",
        "recorded",
        "write_tables",
    ),
    "tables": (
        "ENDPOINTS",
        "GAP_COLUMNS",
        "KEYS",
        "PROTOCOLS",
        "SCHEMA_VERSION",
        "SCHEMAS",
        "WELL_ENDED",
        "config_fields",
        "count_columns",
        "fit_columns",
        "frame_to_table",
        "reading_columns",
        "reference_protocol",
        "to_table",
    ),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [
    "CERTIFICATE",
    "COMPARED_ENDPOINTS",
    "ENDPOINTS",
    "GAP_COLUMNS",
    "KEYS",
    "PRIMARY_ENDPOINTS",
    "PROTOCOLS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SOURCES",
    "WELL_ENDED",
    "DamagedFileError",
    "Described",
    "Endpoint",
    "ResultsError",
    "ResultsFolder",
    "check_lineage",
    "config_fields",
    "count_columns",
    "describe_column",
    "endpoint",
    "finished_ids",
    "fit_columns",
    "frame_to_table",
    "is_larger_better",
    "join_location",
    "measured_by",
    "open_folder",
    "printable",
    "read_certificate",
    "read_table",
    "reading_columns",
    "recorded",
    "reference_protocol",
    "timestamp",
    "to_table",
    "write_tables",
]


def __getattr__(name: str) -> Any:
    """Load a name of the face when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = value
    return value
