"""What a published set says of itself, as RO-Crate, as Croissant and as a data package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from study.results.columns import Described, describe_column
from study.results.tables import KEYS

if TYPE_CHECKING:
    from study.exchange.crate import About, Part

_PARQUET = "application/vnd.apache.parquet"
# What Croissant calls it, which is older than its registration.
_CROISSANT_PARQUET = "application/x-parquet"
_MEDIA = {".parquet": _PARQUET, ".json": "application/json", ".md": "text/markdown"}
_MEDIA[".yml"] = "application/yaml"
TABLE_TEXTS = {
    "plan": "one row per planned trial",
    "trials": "one row per trial: configuration, counts, endpoints, provenance",
    "controls": "counts of a fresh draw of each truth",
    "nulls": "how models without a network score",
    "curves": "training curves: one row per trial and epoch",
    "counts": "every likelihood and BIC: one row per owner, source, protocol, epoch and k",
    "components": "what became of each true component of each trial",
    "recall": "recall by threshold, of each trial and source",
    "outside": "share of points outside the truth's ellipsoids, by level",
    "points": "a gallery of points",
    "gallery": "a thinned gallery of points",
    "weights": "trained weights",
    "works": "what an adaptive sweep asked for, in order",
    "suggestions": "what is known of each cell of an adaptive sweep",
    "rungs": "the objective while trials trained",
}


def _described(column: str) -> Described:
    try:
        return describe_column(column)
    except KeyError:
        # Of a plug-in that is not loaded.
        return Described("a column of a plug-in")


def as_croissant(about: About, parts: Sequence[Part]) -> dict[str, Any]:
    """Describe the tables as a Croissant data set: one record set per table."""
    tables = [part for part in parts if part.table]
    content: dict[str, Any] = {
        "@context": _CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "name": about.name,
        "description": about.text,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": about.licence,
        "url": f"urn:mode-coverage-study:{about.name}",
        "datePublished": about.published_at[:10],
        "version": "1.0.0",
        "citeAs": f"{about.name}, results of mode-coverage-study, commit {about.commit}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": f"{part.table}.parquet",
                "name": f"{part.table}.parquet",
                "contentUrl": part.path,
                "encodingFormat": _CROISSANT_PARQUET,
                "sha256": part.sha256,
            }
            for part in tables
        ],
        "recordSet": [_record_set(part) for part in tables],
    }
    if about.authors:
        content["creator"] = [{"@type": "sc:Person", "name": name} for name in about.authors]
    return content


def _record_set(part: Part) -> dict[str, Any]:
    assert part.schema is not None
    return {
        "@type": "cr:RecordSet",
        "@id": part.table,
        "name": part.table,
        "description": f"{TABLE_TEXTS[part.table]}; {part.n_rows} rows",
        "key": [{"@id": f"{part.table}/{column}"} for column in KEYS[part.table]],
        "field": [_croissant_field(part.table, field) for field in part.schema],
    }


def _croissant_field(table: str, field: pa.Field) -> dict[str, Any]:
    is_list = pa.types.is_list(field.type)
    plain = field.type
    while pa.types.is_list(plain):
        plain = plain.value_type
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{table}/{field.name}",
        "name": field.name,
        "description": _described(field.name).sentence(field.name),
        "dataType": _croissant_type(plain),
        "source": {
            "fileObject": {"@id": f"{table}.parquet"},
            "extract": {"column": field.name},
        },
    }
    return found | ({"repeated": True} if is_list else {})


def _croissant_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def as_data_package(about: About, parts: Sequence[Part]) -> dict[str, Any]:
    """Describe the tables as a data package: types, units, bounds and keys of every column."""
    content: dict[str, Any] = {
        "profile": "data-package",
        "name": about.name.lower(),
        "title": about.name,
        "description": about.text,
        "created": about.published_at,
        "licenses": [{"name": "other", "title": about.licence}],
        "resources": [_resource(part) for part in parts if part.table],
    }
    if about.authors:
        content["contributors"] = [{"title": name, "role": "author"} for name in about.authors]
    return content


def _resource(part: Part) -> dict[str, Any]:
    assert part.schema is not None
    return {
        "name": part.table,
        "path": part.path,
        "format": "parquet",
        "mediatype": _PARQUET,
        "description": TABLE_TEXTS[part.table],
        "schema": {
            "fields": [_package_field(field, field.name in part.gaps) for field in part.schema],
            "primaryKey": list(KEYS[part.table]),
        },
    }


def _package_field(field: pa.Field, has_gaps: bool) -> dict[str, Any]:
    described = _described(field.name)
    kind = _package_type(field.type)
    if kind == "integer" and has_gaps:
        # frictionless reads parquet by pandas, where a column of whole numbers has no gaps.
        kind = "number"
    found: dict[str, Any] = {"name": field.name, "type": kind, "description": described.text}
    if described.unit:
        found["unit"] = described.unit
    if kind in ("integer", "number"):
        low, high = described.bounds
        ends = {"minimum": low, "maximum": high}
        limits = {name: end for name, end in ends.items() if math.isfinite(end)}
        if limits:
            found["bounds"] = limits
    return found


def _package_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        # frictionless takes no array of numpy for an array.
        return "any"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "string"


def as_ro_crate(about: About, parts: Sequence[Part]) -> dict[str, Any]:
    """Describe the whole as an RO-Crate: files, the software that made them, who checked them."""
    software = "https://pypi.org/project/mode-coverage-study/"
    licence = {"@id": about.licence} if "://" in about.licence else about.licence
    people = [
        {"@id": f"#author-{number}", "@type": "Person", "name": name}
        for number, name in enumerate(about.authors, start=1)
    ]
    root: dict[str, Any] = {
        "@id": "./",
        "@type": "Dataset",
        "name": about.name,
        "description": about.text,
        "datePublished": about.published_at[:10],
        "license": licence,
        "hasPart": [{"@id": part.path} for part in parts],
        "mentions": [{"@id": "#run"}],
    }
    if people:
        root["author"] = [{"@id": person["@id"]} for person in people]
    graph = [
        {
            "@id": "ro-crate-metadata.json",
            "@type": "CreativeWork",
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
            "about": {"@id": "./"},
        },
        root,
        *people,
        *(_file(part) for part in parts),
        {
            "@id": "#run",
            "@type": "CreateAction",
            "name": f"the sweep {about.name}",
            "instrument": {"@id": software},
            "object": {"@id": f"{about.name}/manifest.json"},
            "result": [{"@id": part.path} for part in parts if part.table],
        },
        {
            "@id": software,
            "@type": "SoftwareApplication",
            "name": "mode-coverage-study",
            "softwareVersion": about.commit,
        },
    ]
    if "://" in about.licence:
        graph.append({"@id": about.licence, "@type": "CreativeWork", "name": about.licence})
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}


def _file(part: Part) -> dict[str, Any]:
    suffix = f".{part.path.rpartition('.')[2]}"
    text = f"{TABLE_TEXTS[part.table]}; {part.n_rows} rows" if part.table else part.path
    return {
        "@id": part.path,
        "@type": "File",
        "name": part.path,
        "description": text,
        "encodingFormat": _MEDIA.get(suffix, "text/plain"),
        "contentSize": str(len(part.content)),
        "sha256": part.sha256,
    }


_CROISSANT_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
