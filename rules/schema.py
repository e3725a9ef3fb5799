"""The JSON Schema of the programme language, for editors: `rules/programme.schema.json` is this, written down."""

from __future__ import annotations

import json
from typing import Any

from rules.language import ProgrammeFile

TITLE = "Stammgast reward programme, one version"


def programme_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a programme file as an editor sees it."""
    schema = ProgrammeFile.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": TITLE}


def schema_text() -> str:
    """Return the schema as it stands in the repository."""
    return json.dumps(programme_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
