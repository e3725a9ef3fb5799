"""One AsyncAPI 3 document out of the models: which topic carries which events, and what each looks like.

Source: AsyncAPI specification 3.0.0, Kafka bindings 0.5.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from schemas import facts
from schemas.decision_forms import DecisionForm
from schemas.normalise import EVENT_MODELS
from schemas.notices import NOTICE, NoticeEvent

VERSION = "3.0.0"
KAFKA_BINDING = "0.5.0"
_REFS = "#/components/schemas/{model}"
_DEFS = "$defs"


def document(version: str, inbound: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the document.

    Args:
        version: of the product.
        inbound: topic -> types of the events that it carries.
    """
    schemas: dict[str, Any] = {}
    messages = {name: _message(name, schemas) for name in EVENT_MODELS}
    decision = _taken_apart(TypeAdapter(DecisionForm).json_schema(ref_template=_REFS), schemas)
    messages["decision"] = {
        "name": "decision",
        "title": "The answer to one fact",
        "contentType": "application/json",
        "payload": decision,
        "bindings": {"kafka": _key("as its fact: the member, or order:<source>:<id>")},
    }
    messages[NOTICE] = {
        "name": NOTICE,
        "title": "Somebody should be written to",
        "contentType": "application/cloudevents+json",
        "payload": _taken_apart(TypeAdapter(NoticeEvent).json_schema(ref_template=_REFS), schemas),
        "bindings": {"kafka": _key("the member")},
    }
    channels = {topic: _channel(topic, types, "events from outside") for topic, types in sorted(inbound.items())}
    channels["points-log"] = _channel("points-log", ["decision"], "one decision per fact, in the order of facts")
    channels["incentives"] = _channel(
        "incentives", [NOTICE], "notices for the systems that talk to members, kept for 14 days"
    )
    operations = {f"take-{topic}": _operation("receive", topic, types) for topic, types in sorted(inbound.items())}
    operations["tell-decisions"] = _operation("send", "points-log", ["decision"])
    operations["tell-notices"] = _operation("send", "incentives", [NOTICE])
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Stammgast",
            "version": version,
            "description": "CloudEvents 1.0 in (structured or binary), decisions and notices out; topics may have a prefix.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def _message(event_type: str, schemas: dict[str, Any]) -> dict[str, Any]:
    model = EVENT_MODELS[event_type]
    payload = _taken_apart(model.model_json_schema(ref_template=_REFS), schemas)
    return {
        "name": event_type,
        "title": facts.short_name(event_type).replace("_", " "),
        "contentType": "application/cloudevents+json",
        "payload": payload,
        "bindings": {"kafka": _key("the subject; of an anonymous sale anything that is the same for its order")},
    }


def _taken_apart(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Move the definitions of a schema to the document's own.

    Raises:
        ValueError: two different models have one name.
    """
    for name, definition in schema.pop(_DEFS, {}).items():
        if schemas.setdefault(name, definition) != definition:
            raise ValueError(f"two models are called {name}")
    return schema


def _key(says: str) -> dict[str, Any]:
    return {"key": {"type": "string", "description": says}, "bindingVersion": KAFKA_BINDING}


def _channel(topic: str, types: Sequence[str], says: str) -> dict[str, Any]:
    return {
        "address": topic,
        "description": says,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in sorted(types)},
        "bindings": {"kafka": {"topic": topic, "bindingVersion": KAFKA_BINDING}},
    }


def _operation(action: str, topic: str, types: Sequence[str]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in sorted(types)],
    }
