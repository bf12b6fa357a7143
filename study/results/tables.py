"""The tables of a results folder: names, columns, types, keys; and rows to Arrow and back.

Configuration columns carry the leaf names of the sweep's fields. Units: `_nats` natural-log units,
`_s` seconds, `bic`, `control_gap` and `sample_gap` BIC units (2 x nats).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from study.plugins import COLUMN_SETS, PROTOCOLS, until_plugins_change
from study.results.endpoints import (
    BASELINE_ENDPOINTS,
    RECORDS,
    SOURCES,
    further_endpoints,
    names,
)

if TYPE_CHECKING:
    import pandas as pd

# Version 2 only adds: what a version-1 folder lacks reads as null or empty.
SCHEMA_VERSION = 2
# What fragments, bridges and further readings rest on, where it was counted.
REFERENCE_PROTOCOL = "calibrated"
# No failures: a search stops cells without hope on purpose.
WELL_ENDED = ("done", "stopped")

_TYPES = {"int": pa.int64(), "float": pa.float64(), "str": pa.string(), "bool": pa.bool_()}
_ID, _STR, _INT, _FLOAT, _BOOL = pa.string(), pa.string(), pa.int64(), pa.float64(), pa.bool_()

_READINGS = (
    ("k_set_low", _INT),
    ("k_set_high", _INT),
    ("sbic_k", _INT),
    ("ebic_k", _INT),
    ("stopped", _BOOL),
    ("has_ties", _BOOL),
)


def count_columns(source: str, protocol: str) -> tuple[str, str, str]:
    """Return the columns of one count: detected k, coverage k / K and the ceiling flag."""
    tail = f"{source}_{protocol}"
    return f"k_{tail}", f"coverage_{tail}", f"at_ceiling_{tail}"


# Of a search of the samples that was repeated with other detector seeds: BIC above the best of
# them, and k* at the lowest BIC of all.
GAP_COLUMNS = ("sample_gap", "k_best_samples")


def reading_columns(source: str) -> tuple[str, ...]:
    """Name the columns of what else a source's calibrated search says, besides k*.

    The ends of the set of k that are not significantly worse; k by singular BIC and by
    epsilon-BIC; whether the search gave up below its limits; whether points coincide.
    """
    return tuple(f"{name}_{source}" for name, _ in _READINGS)


def fit_columns(source: str) -> tuple[str, str]:
    """Name the columns of a source's fitted mixture: maxima of its density, and k by ICL."""
    return f"modal_modes_{source}", f"icl_k_{source}"


def _reading_fields(sources: Sequence[str]) -> list[tuple[str, pa.DataType]]:
    return [(f"{name}_{source}", dtype) for source in sources for name, dtype in _READINGS]


def reference_protocol(protocols: Iterable[str]) -> str:
    """Choose the protocol, of at least one, whose mixture the endpoints rest on."""
    first, *rest = protocols
    return REFERENCE_PROTOCOL if REFERENCE_PROTOCOL in (first, *rest) else first


def _count_fields(
    sources: Sequence[str], protocols: Iterable[str] = tuple(PROTOCOLS.builtin)
) -> list[tuple[str, pa.DataType]]:
    types = (_INT, _FLOAT, _BOOL)
    return [
        field
        for source in sources
        for protocol in protocols
        for field in zip(count_columns(source, protocol), types, strict=True)
    ]


SEED_FIELDS = [("data_seed", _INT), ("init_seed", _INT), ("sample_seed", _INT)]


def config_fields() -> list[tuple[str, pa.DataType]]:
    """List the configuration columns of a trial, declared with the fields of a sweep file."""
    columns = COLUMN_SETS["config"]().items()
    return [*((name, _TYPES[kind]) for name, kind in columns), *SEED_FIELDS]


ENDPOINTS = names(record for record in RECORDS.values() if not record.is_whole)
PROVENANCE_FIELDS: list[tuple[str, pa.DataType]] = [
    ("commit", _STR),
    ("dirty", _BOOL),
    ("python", _STR),
    ("torch", _STR),
    ("sklearn", _STR),
    ("numpy", _STR),
    ("cpu", _STR),
    ("device", _STR),
    ("finished_at", _STR),
    ("schema_version", _INT),
]


def _null_count_fields(protocols: Iterable[str]) -> list[tuple[str, pa.DataType]]:
    pairs = ([(f"k_{name}", _INT), (f"at_ceiling_{name}", _BOOL)] for name in protocols)
    return list(chain.from_iterable(pairs))


# Columns that come from the mixture's control, computed once for each mixture.
CONTROL_FIELDS = [
    *_count_fields(("data",)),
    *_reading_fields(("data",)),
    *((name, _INT) for name in fit_columns("data")),
    ("control_gap", _FLOAT),
]


@until_plugins_change
def _with_plugins(table_name: str) -> pa.Schema:
    schema = _SCHEMAS[table_name]
    schema = schema if isinstance(schema, pa.Schema) else schema()
    return pa.schema([*schema, *map(pa.field, *_columns_of_plugins(table_name))])


def _columns_of_plugins(table_name: str) -> tuple[tuple[str, ...], tuple[pa.DataType, ...]]:
    """List the columns of what plug-ins count and compute: names and types."""
    protocols = PROTOCOLS.added
    endpoints = further_endpoints().values()
    fields = {
        "trials": [
            *_count_fields(SOURCES, protocols),
            *((record.name, _INT if record.is_whole else _FLOAT) for record in endpoints),
        ],
        "controls": _count_fields(("data",), protocols),
        "nulls": _null_count_fields(protocols),
    }.get(table_name, [])
    return tuple(name for name, _ in fields), tuple(kind for _, kind in fields)


class _Schemas(Mapping[str, pa.Schema]):
    """Schemas by table, made when they are needed: fields of sweep files and plug-ins decide."""

    def __init__(self, schemas: Mapping[str, pa.Schema | Callable[[], pa.Schema]]) -> None:
        self._schemas = schemas

    def __getitem__(self, name: str) -> pa.Schema:
        return _with_plugins(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)


@cache
def _trials_schema() -> pa.Schema:
    return pa.schema(
        [
            ("trial_id", _ID),
            ("training_id", _ID),
            ("data_id", _ID),
            ("control_id", _ID),
            ("stack_id", _ID),
            ("cell", _STR),
            ("status", _STR),
            ("message", _STR),
            *config_fields(),
            *CONTROL_FIELDS,
            *_count_fields(SOURCES[1:]),
            *_reading_fields(SOURCES[1:]),
            *zip(GAP_COLUMNS, (_FLOAT, _INT), strict=True),
            *((name, _INT if record.is_whole else _FLOAT) for name, record in RECORDS.items()),
            # Of the truth's covariance, largest first.
            ("eigenvalues", pa.list_(_FLOAT)),
            ("active_units", _INT),
            ("decoder_variance", _FLOAT),
            ("train_s", _FLOAT),
            ("count_s", _FLOAT),
            ("endpoints_s", _FLOAT),
            *PROVENANCE_FIELDS,
        ]
    )


# Every column that a folder has without plug-ins; `optional_fields` lists what may come besides.
_SCHEMAS: dict[str, pa.Schema | Callable[[], pa.Schema]] = {
    "plan": pa.schema([("trial_id", _ID), ("control_id", _ID), ("cell", _STR)]),
    # What an adaptive sweep asked for, in order; written before it runs.
    "works": pa.schema(
        [
            ("work", _INT),
            ("suggestion", _INT),
            ("purpose", _STR),
            ("cell", _STR),
            ("point", _STR),
            ("seeds", pa.list_(pa.list_(pa.int64()))),
            ("trial_ids", pa.list_(_ID)),
            ("asked_at", _STR),
            # JSON: [epoch, limit] of each rung, as they were when it was asked.
            ("rungs", _STR),
        ]
    ),
    # What is known of each cell of an adaptive sweep; derived from `works` and `trials`.
    "suggestions": pa.schema(
        [
            ("suggestion", _INT),
            ("objective", _STR),
            ("direction", _STR),
            ("cell", _STR),
            ("point", _STR),
            ("value", _FLOAT),
            ("se", _FLOAT),
            ("n", _INT),
            ("fresh_value", _FLOAT),
            ("fresh_se", _FLOAT),
            ("fresh_n", _INT),
            ("is_best", _BOOL),
            # Of a cell that was stopped: at which epoch, and its mean objective there.
            ("stopped_epoch", _INT),
            ("stopped_value", _FLOAT),
        ]
    ),
    # The objective of an adaptive sweep, measured while its trials trained.
    "rungs": pa.schema(
        [
            ("trial_id", _ID),
            ("epoch", _INT),
            ("objective", _STR),
            ("value", _FLOAT),
            ("measure_s", _FLOAT),
        ]
    ),
    "trials": _trials_schema,
    "controls": pa.schema(
        [
            ("control_id", _ID),
            ("data_id", _ID),
            ("n_components", _INT),
            ("data_seed", _INT),
            ("status", _STR),
            ("message", _STR),
            *CONTROL_FIELDS,
            ("n_repairs", _INT),
            ("count_s", _FLOAT),
            *PROVENANCE_FIELDS,
        ]
    ),
    "nulls": lambda: pa.schema(
        [
            ("control_id", _ID),
            ("null", _STR),
            *_null_count_fields(PROTOCOLS.builtin),
            *((name, _FLOAT) for name in BASELINE_ENDPOINTS),
        ]
    ),
    "curves": pa.schema(
        [
            ("trial_id", _ID),
            ("epoch", _INT),
            ("recon", _FLOAT),
            ("kl_nats", _FLOAT),
            ("loss", _FLOAT),
            ("active_units", _INT),
            ("kl_per_latent", pa.list_(_FLOAT)),
        ]
    ),
    "counts": pa.schema(
        [
            ("owner_id", _ID),
            ("source", _STR),
            ("protocol", _STR),
            ("epoch", _INT),
            ("k", _INT),
            ("log_likelihood", _FLOAT),
            ("bic", _FLOAT),
            ("icl", _FLOAT),
            # Sampling error (nats) of the log likelihood less the one at k*.
            ("contrast_error", _FLOAT),
            ("converged", _BOOL),
            ("selected", _BOOL),
            ("at_ceiling", _BOOL),
            # Covariances of the fits (`study.detection.families`).
            ("family", _STR),
        ]
    ),
    "components": pa.schema(
        [
            ("trial_id", _ID),
            ("component", _INT),
            ("weight", _FLOAT),
            ("mass", _FLOAT),
            ("fragments", _INT),
            ("recalled", _BOOL),
            ("eligible", _BOOL),
        ]
    ),
    "recall": pa.schema(
        [("trial_id", _ID), ("source", _STR), ("threshold", _FLOAT), ("recall", _FLOAT)]
    ),
    # Share of points outside the ellipsoids of each level, by source (`study.endpoints.outside`).
    "outside": pa.schema(
        [("trial_id", _ID), ("source", _STR), ("level", _FLOAT), ("outside", _FLOAT)]
    ),
    "points": pa.schema(
        [
            ("trial_id", _ID),
            ("source", _STR),
            ("index", _INT),
            *((f"x{axis}", pa.float32()) for axis in range(4)),
            ("component", _INT),
        ]
    ),
    # A thinned copy of `points`, small enough for version control; written by the report.
    "gallery": pa.schema(
        [
            ("trial_id", _ID),
            ("source", _STR),
            ("index", _INT),
            *((f"x{axis}", pa.float32()) for axis in range(4)),
            ("component", _INT),
        ]
    ),
    "weights": pa.schema(
        [
            ("training_id", _ID),
            ("name", _STR),
            ("shape", pa.list_(pa.int64())),
            ("dtype", _STR),
            ("values", pa.binary()),
        ]
    ),
}
SCHEMAS: Mapping[str, pa.Schema] = _Schemas(_SCHEMAS)
KEYS: dict[str, tuple[str, ...]] = {
    "plan": ("trial_id",),
    "works": ("work",),
    "suggestions": ("suggestion", "objective"),
    "rungs": ("trial_id", "epoch"),
    "trials": ("trial_id",),
    "controls": ("control_id",),
    "nulls": ("control_id", "null"),
    "curves": ("trial_id", "epoch"),
    "counts": ("owner_id", "source", "protocol", "epoch", "k"),
    "components": ("trial_id", "component"),
    "recall": ("trial_id", "source", "threshold"),
    "outside": ("trial_id", "source", "level"),
    "points": ("trial_id", "source", "index"),
    "gallery": ("trial_id", "source", "index"),
    "weights": ("training_id", "name"),
}


def pandas_type(dtype: pa.DataType) -> Any:
    """Keep missing integers and booleans as missing instead of turning columns to float."""
    return _nullable_types().get(dtype)


@cache
def _nullable_types() -> dict[pa.DataType, Any]:
    # Not at the top: planning a sweep reads no rows and need not wait for pandas.
    import pandas as pd

    return {_INT: pd.Int64Dtype(), _BOOL: pd.BooleanDtype()}


def optional_fields(table_name: str) -> list[tuple[str, pa.DataType]]:
    """List the columns that a table has only where there is something in them.

    They are the options of generators and mixture families.
    """
    options = COLUMN_SETS["options"]().items() if table_name == "trials" else ()
    return [(name, _TYPES[kind]) for name, kind in options]


def whole_schema(table_name: str, more: Iterable[pa.Field]) -> pa.Schema:
    """Return a table's schema and, behind it, further columns, each once."""
    schema = SCHEMAS[table_name]
    known = set(schema.names)
    added = {field.name: field.remove_metadata() for field in more if field.name not in known}
    return pa.schema([*schema, *added.values()])


def to_table(table_name: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Turn rows into an Arrow table of the named schema; absent columns are null.

    Raises
    ------
    KeyError
        A row has a column that the table cannot have.
    """
    schema = SCHEMAS[table_name]
    further = {key for row in rows for key in row} - set(schema.names)
    if further:
        optional = {name: pa.field(name, kind) for name, kind in optional_fields(table_name)}
        unknown = further - optional.keys()
        if unknown:
            raise KeyError(f"table {table_name!r} has no column {sorted(unknown)}")
        schema = whole_schema(table_name, (optional[key] for key in optional if key in further))
    columns = [
        pa.array([_plain(row.get(field.name)) for row in rows], type=field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _plain(value: Any) -> Any:
    """Strip numpy scalars, which Arrow would otherwise refuse to convert between kinds."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def frame_to_table(
    table_name: str, frame: pd.DataFrame, *, more: Iterable[pa.Field] = ()
) -> pa.Table:
    """Turn a frame with a table's columns into an Arrow table of its schema.

    Parameters
    ----------
    table_name : str
        A key of `SCHEMAS`.
    frame : DataFrame
    more : iterable of Field
        Columns that it has besides.
    """
    schema = whole_schema(table_name, more)
    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
