"""CloudEvents in binary mode on Kafka: attributes in headers, the data alone in the value; made one event in structured JSON.

Source: Kafka protocol binding for CloudEvents 1.0.2, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from schemas.rejects import Rejected

PREFIX = "ce_"
CONTENT_TYPE = "content-type"
STRUCTURED = b"application/cloudevents"


def is_binary(headers: Iterable[tuple[str, bytes]]) -> bool:
    """Tell whether a record's headers hold the attributes of its event."""
    binary = False
    for name, value in headers:
        if name == "ce_specversion":
            binary = True
        elif name.lower() == CONTENT_TYPE and value and value.startswith(STRUCTURED):
            return False
    return binary


def structured(headers: Iterable[tuple[str, bytes]], value: bytes) -> bytes:
    """Return an event in structured JSON; what came so is returned as it is, amounts stay the digits that were sent.

    Raises:
        Rejected: not_json, not_a_cloudevent: the headers or the value cannot be read.
    """
    known = list(headers)
    if not is_binary(known):
        return value
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise Rejected("not_json", f"in binary mode the value is the data, in JSON: {error}") from error
    attributes: dict[str, str] = {}
    for name, raw in known:
        if not name.startswith(PREFIX):
            continue
        attribute = name[len(PREFIX) :]
        if attribute in ("data", "data_base64"):
            raise Rejected("not_a_cloudevent", "in binary mode the value is the data", name)
        try:
            attributes[attribute] = (raw or b"").decode()
        except UnicodeDecodeError as error:
            raise Rejected("not_a_cloudevent", "a header is no UTF-8", name) from error
    return orjson.dumps(attributes)[:-1] + b',"data":' + value.strip() + b"}"


def without_attributes(headers: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return the headers that do not belong to an event in binary mode, for when it is sent on in structured JSON."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX) and name.lower() != CONTENT_TYPE]
