"""A golden decision with notices keeps its bytes, and becomes the very event that it became when it was put here."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import orjson
import pytest

from schemas.decisions import encode_decision, parse_decision
from schemas.export import schemas
from schemas.notices import NOTICE, encode_event, event_of, parse_event

HERE = Path(__file__).parent / "incentives"
DECISION = (HERE / "stammgast.notice.v1.decision.json").read_bytes().rstrip(b"\n")
EVENT = (HERE / "stammgast.notice.v1.json").read_bytes().rstrip(b"\n")


def test_a_decision_with_notices_keeps_its_bytes() -> None:
    """Made and suppressed, of members who are not the decision's: a tick has none."""
    assert encode_decision(parse_decision(DECISION)) == DECISION


def test_a_notice_becomes_the_same_event() -> None:
    """One that was suppressed becomes none."""
    made, suppressed = parse_decision(DECISION).notices
    event = event_of(made)

    assert event is not None
    assert encode_event(event) == EVENT
    assert event_of(suppressed) is None


def test_the_event_reads_back_and_keeps_its_schema() -> None:
    """What a sender reads is what was written."""
    event = parse_event(EVENT)

    assert encode_event(event) == EVENT
    jsonschema.validate(orjson.loads(EVENT), schemas()[f"incentives/{NOTICE}.json"])


@pytest.mark.parametrize("key", ["subject", "data"])
def test_an_event_without_its_parts_is_refused(key: str) -> None:
    """A sender must not guess whom to write to, or what."""
    broken = {name: value for name, value in orjson.loads(EVENT).items() if name != key}

    with pytest.raises(ValueError, match=key):
        parse_event(orjson.dumps(broken))
