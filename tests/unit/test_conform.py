"""`stammgast conform`: every kind of finding is found once, with its place, and good events conform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.cli import main
from engine.conform.examining import ERRORS, WARNINGS, Examination, words
from schemas.times import to_us
from tests.kafka.deployment import Event, event, purchase

NOW_US = to_us("2026-02-03T00:00:00Z")


def examined(*events: Event | bytes, key: bytes | None = None, stamp: str | None = None) -> Examination:
    """Events as they stand in a file, or with a key and the moment of sending in a topic."""
    found = Examination(NOW_US)
    for number, one in enumerate(events, 1):
        raw = one if isinstance(one, bytes) else json.dumps(one).encode()
        found.take(raw, f"e:{number}", key, None if stamp is None else to_us(stamp) // 1_000)
    found.finish()
    return found


def refund(event_id: str, order_id: str, **more: str) -> Event:
    """A part of an order comes back."""
    return event(event_id, "refund", "anna", {"order_id": order_id, "currency": "EUR", "amount": "1.00"}, **more)


def with_data(one: Event, **changed: Any) -> Event:
    """An event with other data."""
    return one | {"data": one["data"] | changed}


FIRST = purchase("p1", "anna")
EARLIER = "2026-02-01T10:00:00+01:00"


@pytest.mark.parametrize(
    ("kind", "events"),
    [
        ("not_json", [b"{"]),
        ("not_a_cloudevent", [b"{}"]),
        ("unknown_type", [FIRST | {"type": "stammgast.purchase.v9"}]),
        ("not_allowed", [FIRST | {"type": "stammgast.tick.v1"}]),
        ("invalid", [with_data(FIRST, channel="fax")]),
        ("personal_subject", [FIRST | {"subject": "a@example.org"}]),
        ("naive_time", [FIRST | {"time": "2026-02-02T10:00:00"}]),
        ("future_time", [FIRST | {"time": "2026-02-03T01:00:00Z"}]),
        ("unknown_currency", [with_data(FIRST, currency="EUX")]),
        ("too_many_decimals", [with_data(FIRST, total="12.001")]),
        ("too_large", [FIRST | {"pad": "x" * 900_000}]),
        ("id_reused", [FIRST, with_data(FIRST, store="b")]),
        ("duplicate", [FIRST, FIRST]),
        ("order_repeated", [FIRST, with_data(FIRST | {"id": "p2"})]),
        ("refund_without_order", [FIRST, refund("r1", "p9")]),
        ("refund_before_order", [refund("r1", "p1"), FIRST]),
        ("out_of_order", [FIRST, purchase("p2", "anna", when=EARLIER)]),
        ("no_subject", [purchase("p1", None)]),
        ("total_far_from_lines", [with_data(FIRST, total="120.00")]),
    ],
)
def test_each_kind_is_found_where_it_is(kind: str, events: list[Event | bytes]) -> None:
    """One finding, of that kind, with an example that says where."""
    found = examined(*events)

    assert {name: one.count for name, one in found.findings.items()} == {kind: 1}
    assert found.findings[kind].examples[0].place.startswith("e:")
    assert bool(found.errors) == (kind in ERRORS)
    assert any(kind in line for line in words(found, "e"))


def test_a_topic_tells_more() -> None:
    """With key and moment of sending: clocks that are wrong, events that are late, keys that are not the subject."""
    assert set(examined(FIRST, key=b"till-7").findings) == {"key_differs"}
    assert set(examined(FIRST, key=b"anna", stamp="2026-02-02T12:00:00Z").findings) == {"late"}
    ahead = examined(FIRST, key=b"anna", stamp="2026-02-02T08:59:50Z")
    assert set(ahead.findings) == {"sent_before_it_happened"}
    assert ahead.as_json()["median_delay_seconds"] == {"urn:test": -10.0}
    assert set(WARNINGS) >= {"late", "key_differs", "sent_before_it_happened"}


def test_the_share_out_of_order_is_told() -> None:
    """Of the members' events, each counted once."""
    found = examined(FIRST, purchase("p2", "anna", when=EARLIER), purchase("p3", "ben"), purchase("p4", "ben"))
    assert found.as_json()["out_of_order_share"] == 0.25


def conform(path: Path, *more: str) -> Result:
    """The command on a file."""
    return CliRunner().invoke(main, ["conform", str(path), *more])


def test_the_command_says_no_with_exit_code_1(tmp_path: Path) -> None:
    """Good events: 0. Errors: 1, in words or JSON. Neither file nor topic: 2."""
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(FIRST) + "\n")
    good = conform(path)
    assert (good.exit_code, "It conforms." in good.output) == (0, True)
    path.write_text(json.dumps(FIRST) + "\n\nnonsense\n")
    bad = conform(path, "--json")
    assert bad.exit_code == 1
    assert json.loads(bad.output)["errors"][0]["examples"][0]["place"] == "events.jsonl:3"
    assert conform(tmp_path / "nothing").exit_code == 2
    staff = event("l1", "link", "card", {"member": "anna", "operator": "kim", "reason": "lost"})
    path.write_text(json.dumps(staff) + "\n")
    assert conform(path).exit_code == 1
    assert conform(path, "--staff").exit_code == 0
