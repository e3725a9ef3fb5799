"""The events in a request, in each of the three modes of CloudEvents over HTTP, as the bytes that go to Kafka.

Source: HTTP protocol binding for CloudEvents 1.0.2. Nothing is written anew that need not be: an amount stays the text it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from engine.gateway.problems import Problem

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
PLAIN = "application/json"
#: Events in one batch. Too few: a till that was offline needs many requests. Too many: one answer holds the loop.
BATCH_MOST = 1_000
ATTRIBUTE = "ce-"


def events_of(headers: Mapping[str, str], body: bytes) -> tuple[list[bytes], bool]:
    """Return the events of a request, each in structured JSON, and whether it is a batch.

    Errors: Problem unsupported, not_json, not_a_cloudevent, too_large.
    """
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    binary = ATTRIBUTE + "specversion" in headers or ATTRIBUTE + "type" in headers
    if media == STRUCTURED:
        return [body], False
    if media == BATCH:
        return split(body), True
    if media in (PLAIN, "") and binary:
        return [joined(headers, body)], False
    if media == PLAIN:
        return (split(body), True) if body.lstrip()[:1] == b"[" else ([body], False)
    raise Problem("unsupported", f"content type {media[:80] or '(none)'}", "content-type")


def joined(headers: Mapping[str, str], body: bytes) -> bytes:
    """Make a structured event of one in binary mode: attributes in `ce-` headers, the body is its data.

    Errors: Problem not_json, not_a_cloudevent.
    """
    _check_json(body)
    attributes: dict[str, str] = {}
    for name, value in headers.items():
        attribute = name.removeprefix(ATTRIBUTE)
        if attribute == name:
            continue
        if attribute in ("data", "data_base64"):
            raise Problem("not_a_cloudevent", "in binary mode the body is the data", name)
        try:
            attributes[attribute] = unquote_to_bytes(value.encode("latin-1")).decode()
        except (UnicodeDecodeError, UnicodeEncodeError) as error:
            raise Problem("not_a_cloudevent", "a header is not percent-encoded UTF-8", name) from error
    return orjson.dumps(attributes)[:-1] + b',"data":' + body.strip() + b"}"


def _check_json(body: bytes) -> None:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem("not_json", f"the body is no JSON: {error}") from error


def split(body: bytes) -> list[bytes]:
    """The elements of a JSON list, each as it was written. Errors: Problem not_json, too_large."""
    _check_json(body)
    text = body.decode().strip()
    if text[:1] != "[":
        raise Problem("not_json", "a batch is a JSON list of events")
    if text[1:].lstrip()[:1] == "]":
        raise Problem("bad_request", "the batch holds no event")
    decoder, place, events = json.JSONDecoder(), 1, []
    while True:
        place = _past_blanks(text, place)
        _, end = _element(decoder, text, place)
        events.append(text[place:end].encode())
        if len(events) > BATCH_MOST:
            raise Problem("too_large", f"more than {BATCH_MOST:,} events in one batch")
        place = _past_blanks(text, end)
        if text[place] == "]":
            return events
        place += 1


def _element(decoder: json.JSONDecoder, text: str, place: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, place)
    except (ValueError, RecursionError) as error:
        raise Problem("not_json", f"an event of the batch is no JSON: {error}") from error


def _past_blanks(text: str, place: int) -> int:
    while text[place] in " \t\n\r":
        place += 1
    return place
