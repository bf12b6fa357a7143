"""The record of a sweep: the public face of this package.

Other packages import from here; within it, names are imported from where they are defined.
"""

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
    SOURCES,
    WELL_ENDED,
    count_columns,
    frame_to_table,
    to_table,
)

__all__ = [
    "CONFIG_FIELDS",
    "ENDPOINTS",
    "KEYS",
    "PROTOCOLS",
    "SCHEMAS",
    "SCHEMA_VERSION",
    "SOURCES",
    "WELL_ENDED",
    "DamagedFileError",
    "ResultsError",
    "ResultsFolder",
    "count_columns",
    "finished_ids",
    "frame_to_table",
    "join_location",
    "open_folder",
    "read_certificate",
    "read_table",
    "recorded",
    "timestamp",
    "to_table",
    "write_tables",
]
