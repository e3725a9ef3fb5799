"""Every golden event becomes the very bytes it became when it was put here."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.envelope import encode_fact
from schemas.facts import INBOUND_TYPES
from schemas.normalise import normalise
from schemas.times import to_us

HERE = Path(__file__).parent
NOW = "2026-06-01T00:00:00.000000Z"
EVENTS = sorted(path for path in HERE.glob("stammgast.*.json") if not path.name.endswith(".fact.json"))


def fact_bytes(event: Path) -> bytes:
    """The record of `facts` that an event becomes, as intake of that moment writes it before anything is sealed."""
    return encode_fact(normalise(event.read_bytes(), NOW, to_us(NOW))) + b"\n"


@pytest.mark.parametrize("event", EVENTS, ids=lambda path: path.stem)
def test_an_old_event_is_the_same_fact(event: Path) -> None:
    """Whatever the engine learned since."""
    assert fact_bytes(event) == event.with_suffix(".fact.json").read_bytes()


def test_every_type_has_a_golden_event() -> None:
    """A new type, or a new version of one, needs its own."""
    assert {path.stem for path in EVENTS} == set(INBOUND_TYPES)
