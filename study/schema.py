"""What editors and readers know of a sweep file: its JSON schema and its table of fields.

`python -m study.schema` writes both; `python -m study.schema --check` fails if one is stale.
The schema keeps to draft 7, the one that editors' YAML extensions support whole.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from study.fields import Field
from study.sections import SECTIONS, all_fields, replicate_fields

SCHEMA_PATH = Path("sweeps/sweep.schema.json")
DOCS_PATH = Path("docs/sweeps.md")
_TABLE_START = "<!-- fields: written by python -m study.schema -->"
_TABLE_END = "<!-- end of fields -->"
_LIST_OF_THREE = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 3,
    "maxItems": 3,
}
_TEXT = {"type": "string", "maxLength": 1000}


def build_schema() -> dict[str, Any]:
    """Build the JSON schema of a sweep file."""
    ref = {name: {"$ref": f"#/definitions/{name}"} for name in ("fixed", "grid", "zip", "block")}
    sections = {name: _section(name) for name in SECTIONS}
    level = {
        "fixed": {**ref["fixed"], "description": "Fields that differ from the defaults."},
        "grid": {**ref["grid"], "description": "Swept fields, crossed: lists or generators."},
        "zip": {**ref["zip"], "description": "Swept fields that move together."},
    }
    block_sections = {name: part for name, part in sections.items() if name != "resources"}
    zipped = _fields_object(_axis, swept=True)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Sweep file",
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {
                "type": "string",
                "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
                "description": "Names the folder of the results.",
            },
            "question": {**_TEXT, "description": "What the sweep is to answer."},
            **level,
            "blocks": {
                "type": "array",
                "items": ref["block"],
                "minItems": 1,
                "description": "Sub-grids whose union is run.",
            },
            "exclude": {
                "type": "array",
                "items": {"$ref": "#/definitions/match"},
                "minItems": 1,
                "description": "Cells that are not run: each entry matches on all its fields.",
            },
            "replicates": _replicates(),
            **sections,
        },
        "definitions": {
            "fixed": _fields_object(_value),
            "grid": zipped,
            "zip": {"anyOf": [zipped, {"type": "array", "items": zipped, "minItems": 1}]},
            "match": _fields_object(_match),
            "block": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": False,
                "properties": {"label": _TEXT, **level, **block_sections},
            },
        },
    }


def _fields_object(make: Callable[[Field], dict[str, Any]], *, swept: bool = False) -> Any:
    """List fields by dotted name and, in the same object, nested in sections."""
    fields = [field for field in all_fields().values() if field.sweepable or not swept]
    sections: dict[str, dict[str, Any]] = {}
    for field in fields:
        sections.setdefault(field.section, {})[field.leaf] = make(field)
    nested = {
        name: {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": properties,
        }
        for name, properties in sections.items()
    }
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {**{field.path: make(field) for field in fields}, **nested},
    }


def _section(name: str) -> dict[str, Any]:
    section: dict[str, Any] = _fields_object(_value)["properties"][name]
    return {**section, "description": f"The {name} fields, as under fixed."}


def _value(field: Field) -> dict[str, Any]:
    plain = json.loads(json.dumps(field.default))
    return {**_draft_7(field.schema), "description": field.description, "default": plain}


def _axis(field: Field) -> dict[str, Any]:
    kinds: list[dict[str, Any]] = [
        {"type": "array", "items": _draft_7(field.schema), "minItems": 1}
    ]
    if field.is_numeric:
        generators = dict.fromkeys(("linspace", "logspace", "range"), _LIST_OF_THREE)
        kinds.append(
            {
                "type": "object",
                "properties": generators,
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            }
        )
    return {"anyOf": kinds, "description": field.description}


def _match(field: Field) -> dict[str, Any]:
    value = _draft_7(field.schema)
    listed = {"type": "array", "items": value, "minItems": 1}
    return {"anyOf": [value, listed], "description": field.description}


def _replicates() -> dict[str, Any]:
    properties = {field.leaf: _value(field) for field in replicate_fields().values()}
    return {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": properties,
        "description": "Seeds that every cell is crossed with.",
    }


def _draft_7(schema: Any) -> Any:
    """Rewrite a tuple of equal items, which draft 7 writes as a list of fixed length."""
    if isinstance(schema, list):
        return [_draft_7(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: _draft_7(value) for key, value in schema.items() if key != "prefixItems"}
    if "prefixItems" in schema:
        kept["items"] = _draft_7(schema["prefixItems"][0])
    return kept


def fields_table() -> str:
    """Write the Markdown table of all fields: default, what it must be, meaning."""
    lines = ["| field | default | must be | meaning |", "|---|---|---|---|"]
    for field in [*all_fields().values(), *replicate_fields().values()]:
        default = json.dumps(field.default)
        note = "" if field.sweepable else " Cannot be swept."
        meaning = f"{field.description}{note}".replace("|", "\\|")
        lines.append(f"| `{field.path}` | `{default}` | {field.expectation} | {meaning} |")
    return "\n".join(lines)


def outputs(root: Path) -> dict[Path, str]:
    """Return the generated files and the text that they should hold."""
    docs = root / DOCS_PATH
    head, _, rest = docs.read_text(encoding="utf-8").partition(_TABLE_START)
    tail = rest.partition(_TABLE_END)[2]
    table = f"{_TABLE_START}\n{fields_table()}\n{_TABLE_END}"
    return {
        root / SCHEMA_PATH: json.dumps(build_schema(), indent=1) + "\n",
        docs: f"{head}{table}{tail}",
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Write the schema and the table, or check that they are up to date.

    Returns
    -------
    int
        1 if `--check` finds a stale file.
    """
    parser = argparse.ArgumentParser(prog="python -m study.schema", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    options = parser.parse_args(argv)
    stale = [
        path
        for path, text in outputs(Path(__file__).parents[1]).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if options.check:
            print(f"{path}: stale; run python -m study.schema", file=sys.stderr)
        else:
            path.write_text(outputs(Path(__file__).parents[1])[path], encoding="utf-8")
            print(f"wrote {path}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
