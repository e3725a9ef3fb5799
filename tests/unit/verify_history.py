"""One history that has everything verify looks at, and ways to damage its logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.verify.audit import verify
from engine.verify.report import Report
from rules.book import Programme, load_directory
from schemas.envelope import Fact
from schemas.normalise import normalise
from schemas.times import to_us
from tests.unit.ledger import programme
from tests.unit.written_logs import FACTS, POINTS_LOG, WrittenLogs

COFFEE_BAR = Path(__file__).parents[2] / "rules" / "programmes" / "coffee-bar"
#: As the records' time stamps say; brokers take no stamps from the future.
RECORDED = "2026-01-01T00:00:00.000000Z"
MEMBERS = ("anna", "ben", "cora", "dirk", "emma", "finn")


def versions() -> dict[str, Programme]:
    """The coffee bar's versions by hash."""
    return {one.hash: one for one in load_directory(COFFEE_BAR)}


def event(event_id: str, kind: str, subject: str | None, data: dict[str, Any], when: str) -> Fact:
    """A fact as intake would write it."""
    value = {
        "specversion": "1.0", "id": event_id, "source": "urn:test", "type": f"stammgast.{kind}.v1", "subject": subject,
        "time": when, "data": data,
    }  # fmt: skip
    return normalise(json.dumps(value).encode(), RECORDED, to_us("2100-01-01T00:00:00Z"))


def buy(event_id: str, subject: str | None, price: str = "12.00", when: str = "2026-02-02T15:00:00+01:00") -> Fact:
    """One coffee at the till."""
    line = {"sku": "ESP", "category": "coffee", "quantity": "1", "unit_price": price}
    data = {"order_id": event_id, "lines": [line], "total": price, "currency": "EUR", "channel": "pos"}
    return event(event_id, "purchase", subject, data, when)


def refer(event_id: str, subject: str, referrer: str, when: str = "2026-02-01T10:00:00+01:00") -> Fact:
    """Somebody was brought."""
    return event(event_id, "referral", subject, {"referrer": referrer}, when)


def refund(event_id: str, subject: str, order: str, when: str = "2026-02-05T10:00:00+01:00") -> Fact:
    """A part of an order came back."""
    return event(event_id, "refund", subject, {"order_id": order, "amount": "5.00", "currency": "EUR"}, when)


def history(*, partitions: int = 2, prefix: str = "", hole: int = 0) -> WrittenLogs:
    """Purchases, a refund, referrals, duplicates, refusals, a poisoned fact, noise, ticks: everything decided."""
    programmes = versions()
    logs = WrittenLogs(programmes, partitions, prefix, frozenset({"poison"}), hole)
    logs.tell(programme_fact(one, RECORDED) for one in programmes.values())
    logs.tell(refer(f"r-{name}", name, "anna") for name in ("ben", "cora"))
    logs.tell(buy(f"p{number}-{name}", name, f"{20 + number}.00") for number in range(4) for name in MEMBERS)
    logs.tell([buy("p0-anna", "anna", "20.00"), refund("b1", "ben", "p1-ben"), buy("till", None)])
    logs.tell(
        [buy("p1-cora", "cora", "99.00"), buy("late", "dirk", when="2024-09-01T10:00:00Z"), buy("poison", "emma")]
    )
    logs.write_fact(1, b"k", b"\xff no fact")
    # A tick names its partition; one that only one of them has is enough here.
    logs.tell([tick_fact(0, to_us("2028-01-02T00:00:00Z"), RECORDED), buy("last", "finn", when="2028-01-03T10:00:00Z")])
    return logs


def between() -> WrittenLogs:
    """Business in two partitions: a card, a merge, a sale that a member claimed, points that were given and that came back."""
    one = programme(
        "claim: {within: 30 days}\ntransfer: {at_least: 1}\n"
        "earn: [{id: spend, on: purchase, award: {points: 1, per: 1.00 EUR}}]\n"
        "tiers: {levels: [{id: guest}, {id: gold, from: 20.00 EUR}]}\n"
    )
    staff = {"operator": "op-3", "reason": "lost_card"}
    logs = WrittenLogs({one.hash: one}, 5)
    logs.tell([programme_fact(one, RECORDED), buy("a1", "anna"), buy("b1", "ben"), buy("till", None)])
    logs.tell([event("l0", "link", "card", {"member": "ben", **staff}, "2026-02-02T18:00:00Z")])
    for number, member in enumerate(("anna", "card")):
        logs.tell([event(f"c{number}", "claim", member, {"order_id": "till"}, "2026-02-03T10:00:00Z")])
    for number, to in enumerate(("card", "nobody")):
        logs.tell([event(f"t{number}", "transfer", "anna", {"to": to, "points": 5}, "2026-02-04T10:00:00Z")])
    logs.tell([event("l1", "merge", "ben", {"into": "cora", **staff}, "2026-02-05T10:00:00Z")])
    logs.tell([buy("b2", "card", when="2026-02-06T10:00:00Z"), refund("b3", "ben", "b1", "2026-02-07T10:00:00Z")])
    return logs


def found(logs: WrittenLogs, **options: Any) -> Report:
    """Run verify over logs in memory."""
    return verify(logs, options.pop("programmes", logs.programmes), **options)


def index_of(logs: WrittenLogs, fact_id: str, topic: str = POINTS_LOG) -> tuple[int, int]:
    """(partition, index) of the first record of a topic that names a fact."""
    name = b'"id":"%s"' if topic == FACTS else b'"fact_id":"%s"'
    for partition, records in enumerate(logs.topics[topic]):
        for index, record in enumerate(records):
            if name % fact_id.encode() in (record.value or b""):
                return partition, index
    raise LookupError(fact_id)
