"""CloudEvents in binary mode in Kafka's headers are the same events."""

from __future__ import annotations

import json

import pytest

from engine.rejects.reading import refused_of
from engine.stream.intake import _event
from schemas.binary import structured, without_attributes
from schemas.normalise import normalise
from schemas.personal import is_personal, without_data
from schemas.rejects import Rejected
from schemas.times import to_us
from tests.kafka.deployment import purchase
from tests.unit.stream_fakes import Record

NOW = "2026-02-03T00:00:00.000000Z"
ONE = purchase("p1", "müller")
HEADERS = [(f"ce_{name}", value.encode()) for name, value in ONE.items() if name != "data"]
HEADERS += [("content-type", b"application/json"), ("trace", b"t1")]
DATA = json.dumps(ONE["data"]).replace('"12.00"', "12.00").encode()


def test_it_is_the_same_fact() -> None:
    """Whether attributes stand in headers or in the value."""
    binary = normalise(structured(HEADERS, DATA), NOW, to_us(NOW))
    plain = normalise(json.dumps(ONE).encode(), NOW, to_us(NOW))
    assert binary == plain


def test_structured_events_stay_as_they_are() -> None:
    """Also with headers that look binary, when their content type says otherwise."""
    raw = json.dumps(ONE).encode()
    assert structured([("trace", b"t1")], raw) is raw
    assert structured([*HEADERS[:-2], ("Content-Type", b"application/cloudevents+json; charset=UTF-8")], raw) is raw
    assert without_attributes(HEADERS) == [("trace", b"t1")]


@pytest.mark.parametrize(
    ("headers", "data", "reason"),
    [
        (HEADERS, b"", "not_json"),
        (HEADERS, DATA[:-1] + b'},"subject":"eve"', "not_json"),
        ([*HEADERS, ("ce_data", b"{}")], DATA, "not_a_cloudevent"),
        ([*HEADERS, ("ce_x", b"\xff")], DATA, "not_a_cloudevent"),
    ],
)
def test_what_cannot_be_read_is_rejected(headers: list[tuple[str, bytes]], data: bytes, reason: str) -> None:
    """With its reason; nothing can be smuggled from the data into the attributes."""
    with pytest.raises(Rejected) as caught:
        structured(headers, data)
    assert caught.value.reason == reason


def test_a_refused_profile_in_binary_mode_is_known_for_one() -> None:
    """Its type stands in the headers: nothing of its data goes to rejects."""
    headers = [(name, b"stammgast.profile.v1" if name == "ce_type" else value) for name, value in HEADERS]
    for value in (b'{"birthday":"1990-06-30"}', b"no json 1990-06-30"):
        event = _event(Record("shop-events", 0, 0, None, value, headers=headers))
        assert is_personal(event, frozenset())
        assert b"1990" not in without_data(event)


def test_a_refused_one_tells_its_source() -> None:
    """The list of rejects shows source and id from the headers."""
    record = Record("rejects", 0, 0, None, b"{}", headers=HEADERS)
    assert (refused_of(record, "").told("source"), refused_of(record, "").told("id")) == ("urn:test", "p1")
