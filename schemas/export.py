"""JSON Schema out of the models: what upstream teams validate against and what the logs hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter

from schemas.decision_forms import DecisionForm
from schemas.facts import ENGINE_TYPES, FORMS
from schemas.normalise import EVENT_MODELS
from schemas.notices import NOTICE, NoticeEvent

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Return {file name: JSON Schema}: inbound events, normal forms of the facts log, decisions of the points log,
    notices of incentives."""
    out: dict[str, dict[str, Any]] = {}
    for event_type, model in EVENT_MODELS.items():
        title = f"{event_type}, as it is published"
        out[f"events/{event_type}.json"] = _titled(model.model_json_schema(), title)
    for event_type, form in FORMS.items():
        written = "written by the engine" if event_type in ENGINE_TYPES else "in normal form"
        title = f"data of {event_type} in the facts log, {written}"
        out[f"facts/{event_type}.json"] = _titled(TypeAdapter(form).json_schema(), title)
    out["points-log/decision.json"] = _titled(TypeAdapter(DecisionForm).json_schema(), "value of a points-log record")
    notice = TypeAdapter(NoticeEvent).json_schema()
    out[f"incentives/{NOTICE}.json"] = _titled(notice, "value of an incentives record: a notice, as a CloudEvent")
    return out


def _titled(schema: dict[str, Any], title: str) -> dict[str, Any]:
    return {"$schema": DIALECT, **schema, "title": title}


def export_all(directory: Path) -> list[Path]:
    """Write every schema below ``directory`` and return the paths, in order of their names."""
    return [written(directory / name, schema) for name, schema in sorted(schemas().items())]


def written(path: Path, document: dict[str, Any]) -> Path:
    """Write one document and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    return path
