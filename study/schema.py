"""Write what editors and readers know about sweep files: the JSON schema and the table of fields.

`python -m study.schema` writes both; `python -m study.schema --check` fails if one is stale.
The schema keeps to draft 7, which the YAML extensions of editors support in full.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from study.config.catalogue import all_fields, replicate_fields, trial_sections
from study.config.fields import Field
from study.config.search_reader import search_fields
from study.display.command_parser import CommandParser
from study.display.console import guard_output, say, say_error

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
    sections = {name: _ref(f"fixed:{name}") for name in (*trial_sections(), "resources")}
    level = {
        "fixed": {**_ref("fixed"), "description": "Fields that differ from the defaults."},
        "grid": {**_ref("grid"), "description": "Swept fields, crossed: lists or generators."},
        "zip": {**_ref("zip"), "description": "Swept fields that move together."},
    }
    block_sections = {name: part for name, part in sections.items() if name != "resources"}
    replicates = {field.leaf: _value(field) for field in replicate_fields().values()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Sweep file",
        **_object(
            {
                "name": {
                    "type": "string",
                    "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
                    "description": "Name of the sweep and of its results folder.",
                },
                "question": {**_TEXT, "description": "What the sweep should answer."},
                **level,
                "blocks": _list_of(_ref("block"), "Sub-grids whose union is run."),
                "exclude": _list_of(
                    _ref("exclude"), "Cells that are not run, by what they match."
                ),
                "replicates": _object(replicates, "Seeds that every cell is crossed with."),
                "search": {**_ref("search"), "description": "An adaptive sweep."},
                **sections,
            }
        ),
        "required": ["name"],
        "definitions": {
            **_field_definitions(),
            **_level("fixed", "value"),
            **_level("grid", "axis"),
            **_level("exclude", "match"),
            **_level("space", "dimension"),
            "search": {**_search(), "required": ["space"]},
            "zip": {"anyOf": [_ref("grid"), _list_of(_ref("grid"))]},
            "block": _object({"label": _TEXT, **level, **block_sections}),
        },
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{name}"}


def _object(properties: dict[str, Any], description: str = "") -> dict[str, Any]:
    form: dict[str, Any] = {"type": "object", "additionalProperties": False, "minProperties": 1}
    if description:
        form["description"] = description
    return {**form, "properties": properties}


def _list_of(items: dict[str, Any], description: str = "") -> dict[str, Any]:
    form: dict[str, Any] = {"type": "array", "minItems": 1, "items": items}
    return {**form, "description": description} if description else form


def _field_definitions() -> dict[str, Any]:
    """Define each field three times: as a value, as an axis, and as something to match."""
    forms: dict[str, Any] = {
        "generator": {
            **_object(dict.fromkeys(("linspace", "logspace", "range"), _LIST_OF_THREE)),
            "maxProperties": 1,
        }
    }
    for path, field in all_fields().items():
        value = _ref(f"value:{path}")
        kinds = [_list_of(value), *([_ref("generator")] if field.is_numeric else [])]
        forms[f"value:{path}"] = _value(field)
        forms[f"match:{path}"] = {
            "anyOf": [value, _list_of(value)],
            "description": field.description,
        }
        if field.sweepable:
            forms[f"axis:{path}"] = {"anyOf": kinds, "description": field.description}
            forms[f"dimension:{path}"] = _dimension(field)
    return forms


def _dimension(field: Field) -> dict[str, Any]:
    """Define a field of a search space: choices, or the ends of a range."""
    choices = _list_of(_ref(f"value:{field.path}"))
    ends = {**choices, "minItems": 2, "maxItems": 2}
    ranges = dict.fromkeys(("uniform", "log") if field.is_numeric else (), ends)
    entry = _object({"choice": choices, **ranges, "when": {"type": "object"}})
    return {"anyOf": [choices, entry], "description": field.description}


def _search() -> dict[str, Any]:
    """Define the search part: its space, what it looks for, and its options."""
    direction = {"enum": ["minimize", "maximize"]}
    return _object(
        {
            "space": _ref("space"),
            "objective": {**_TEXT, "description": "An expression over columns of `trials`."},
            "direction": direction,
            "objectives": {"type": "object", "additionalProperties": direction},
            "endpoint": {**_TEXT, "description": "What crosses the level of a boundary."},
            **{field.leaf: _value(field) for field in search_fields().values()},
        }
    )


def _level(part: str, kind: str) -> dict[str, Any]:
    """Define a part of the file: its fields by dotted name and, nested, by section."""
    swept = kind in ("axis", "dimension")
    fields = [field for field in all_fields().values() if field.sweepable or not swept]
    sections: dict[str, dict[str, Any]] = {}
    for field in fields:
        sections.setdefault(field.section, {})[field.leaf] = _ref(f"{kind}:{field.path}")
    dotted = {field.path: _ref(f"{kind}:{field.path}") for field in fields}
    nested = {name: _ref(f"{part}:{name}") for name in sections}
    return {
        part: _object({**dotted, **nested}),
        **{
            f"{part}:{name}": _object(properties, f"The {name} fields.")
            for name, properties in sections.items()
        },
    }


def _value(field: Field) -> dict[str, Any]:
    default = json.loads(json.dumps(field.default))
    return {**_draft_7(field.schema), "description": field.description, "default": default}


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
    listed = (all_fields(), replicate_fields(), search_fields())
    for field in (field for fields in listed for field in fields.values()):
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
    guard_output()
    parser = CommandParser(prog="python -m study.schema", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail if a file is stale"
    )
    options = parser.parse_args(argv)
    stale = [
        path
        for path, text in outputs(Path(__file__).parents[1]).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if options.check:
            say_error(f"{path}: stale; run python -m study.schema")
        else:
            path.write_text(outputs(Path(__file__).parents[1])[path], encoding="utf-8")
            say(f"wrote {path}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
