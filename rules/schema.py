"""The JSON Schema of the programme language, for editors: `rules/programme.schema.json` is this, written down."""

from __future__ import annotations

import json
from typing import Any

from rules.language import ProgrammeFile

TITLE = "Stammgast reward programme, one version"


def programme_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a programme file as an editor sees it."""
    schema = _without_null(ProgrammeFile.model_json_schema(by_alias=True, mode="validation"))
    schema["properties"]["visit_gap"]["default"] = str(ProgrammeFile.model_fields["visit_gap"].default)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": TITLE}


def _without_null(part: Any) -> Any:
    """Take null out: what is not said is left out of the file, not written as nothing."""
    if isinstance(part, list):
        return [_without_null(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {key: _without_null(value) for key, value in part.items() if not (key == "default" and value is None)}
    if {"type": "null"} in found.get("anyOf", []):
        rest = [item for item in found.pop("anyOf") if item != {"type": "null"}]
        found = {**rest[0], **found} if len(rest) == 1 else {**found, "anyOf": rest}
    if isinstance(found.get("default"), dict):
        found["default"] = {key: value for key, value in found["default"].items() if value is not None}
    return found


def schema_text() -> str:
    """Return the schema as it stands in the repository."""
    return json.dumps(programme_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
