"""The generated files: fresh, valid, and agreeing with the reader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from study.config import all_fields
from study.config.yaml_source import SweepError, read_yaml
from study.schema import build_schema, main, outputs

ROOT = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "config" / "broken_sweeps"
# Broken in ways that only an editor's schema of this kind is expected to catch.
CAUGHT = ("misspelt_field", "zero_epochs", "grid_empty_list", "text_for_number", "block_empty")


def read(path: Path) -> Any:
    return json.loads(json.dumps(read_yaml(path).plain()))


def test_generated_files_are_fresh() -> None:
    for path, text in outputs(ROOT).items():
        assert path.read_text() == text, f"{path}: stale; run python -m study.schema"
    assert main(["--check"]) == 0


def test_schema_is_valid_and_knows_every_field() -> None:
    schema = build_schema()
    Draft7Validator.check_schema(schema)
    assert set(all_fields()) <= set(schema["definitions"]["fixed"]["properties"])
    assert all(f"value:{path}" in schema["definitions"] for path in all_fields())
    assert all(field.description for field in all_fields().values())


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_sweeps_fit_the_schema(path: Path) -> None:
    Draft7Validator(build_schema()).validate(read(path))


def test_schema_refuses_only_what_the_reader_refuses() -> None:
    validator = Draft7Validator(build_schema())
    refused = []
    for path in sorted(BROKEN.glob("*.yaml")):
        try:
            refused += [] if validator.is_valid(read(path)) else [path.stem]
        except SweepError:
            continue
    assert set(CAUGHT) <= set(refused)
    assert len(refused) >= 50
