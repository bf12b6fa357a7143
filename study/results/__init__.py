"""The record of a sweep: the public face of this package.

Other packages import from here; within it, names are imported from where they are defined.
"""

from study.results.endpoints import (
    COMPARED_ENDPOINTS,
    PRIMARY_ENDPOINTS,
    SOURCES,
    Endpoint,
    endpoint,
    is_larger_better,
)
from study.results.folder import (
    DamagedFileError,
    ResultsError,
    ResultsFolder,
    join_location,
    open_folder,
)
from study.results.provenance import timestamp
from study.results.record import finished_ids, read_certificate, read_table, recorded, write_tables
from study.results.tables import (
    CONFIG_FIELDS,
    ENDPOINTS,
    KEYS,
    PROTOCOLS,
    SCHEMA_VERSION,
    SCHEMAS,
    WELL_ENDED,
    count_columns,
    frame_to_table,
    to_table,
)

__all__ = [
    "COMPARED_ENDPOINTS",
    "CONFIG_FIELDS",
    "ENDPOINTS",
    "KEYS",
    "PRIMARY_ENDPOINTS",
    "PROTOCOLS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SOURCES",
    "WELL_ENDED",
    "DamagedFileError",
    "Endpoint",
    "ResultsError",
    "ResultsFolder",
    "count_columns",
    "endpoint",
    "finished_ids",
    "frame_to_table",
    "is_larger_better",
    "join_location",
    "open_folder",
    "read_certificate",
    "read_table",
    "recorded",
    "timestamp",
    "to_table",
    "write_tables",
]
