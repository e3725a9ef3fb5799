"""What happens in the shop: events of a few members, made once per process and used again by many histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import orjson

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.stream.clients import partition_for
from rules.book import Programme
from schemas import facts
from schemas.envelope import Fact, encode_fact, make_fact
from schemas.normalise import normalise
from schemas.times import DAY_US, to_text, to_us
from tests.chaos.plans import PLANS
from tests.properties.writing import compiled
from tests.simulation import business, profiles

RECORDED = "2026-06-01T00:00:00.000000Z"
RECORDED_MS = to_us(RECORDED) // 1000
BEGIN_US = to_us("2026-02-01T08:00:00.000000Z")
STORIES = 16
LENGTH = 400
#: A fact with this type was written by a newer engine: deciding it raises.
UNHEARD = "stammgast.unheard.v1"
STRANGE, DEADLY = "urn:strange", "deadly"


@dataclass(frozen=True, slots=True)
class Event:
    """Something to publish: as shops send it, and as intake writes it; `fact` None where intake refuses it."""

    raw: bytes
    fact: bytes | None
    key: bytes | None


@cache
def programmes(dealing: bool = False) -> tuple[Programme, ...]:
    """Both versions of the coffee bar, compiled from the plans that the naive model reads, or of members who deal."""
    return business.programmes() if dealing else tuple(compiled(plan) for plan in PLANS)


@cache
def story(number: int, dealing: bool = False) -> Sequence[Event]:
    """A shop's events in order of time, some out of it; `dealing`: its members deal with each other."""
    rng = Random(f"story {number}")
    members = [f"m{name}" for name in range(rng.randint(3, 14))]
    orders: list[tuple[str, str]] = []
    shop = business.Business(rng, members)
    at_us, events = BEGIN_US, []
    for count in range(LENGTH):
        at_us += int(rng.expovariate(1 / (DAY_US / 3)))
        late_us = rng.choice((0,) * 9 + (5 * DAY_US, 100 * DAY_US))
        if dealing:
            kind, subject, data = shop.happens(count)
        else:
            kind, subject, data = _happening(rng, count, rng.choice(members), members, orders)
        event = {
            "specversion": "1.0",
            "id": f"e{count}",
            "source": "urn:till:7",
            "type": kind,
            "subject": subject,
            "time": to_text(at_us - late_us),
            "data": data,
        }
        events.append(_event(event))
        if dealing and count % 9 == 2:
            events.append(_told(Random(f"who {number} {count}"), members, count, at_us))
    return events


def _told(rng: Random, members: list[str], count: int, at_us: int) -> Event:
    """Who somebody is; by dice of its own, so that what else happens stays what it was."""
    event = {
        "specversion": "1.0",
        "id": f"p{count}",
        "source": "urn:till:7",
        "type": facts.PROFILE,
        "subject": rng.choice(members),
        "time": to_text(at_us),
        "data": profiles.said(rng),
    }
    return _event(event)


def _happening(
    rng: Random, count: int, member: str, members: list[str], orders: list[tuple[str, str]]
) -> tuple[str, str | None, dict[str, Any]]:
    kind = rng.choices(
        (facts.PURCHASE, facts.VISIT, facts.REFUND, facts.REVIEW, facts.ACTIVITY, facts.JOINED, facts.REFERRAL),
        (40, 20, 12, 6, 6, 4, 12),
    )[0]
    if kind == facts.PURCHASE:
        price = rng.choice(("2.40", "3.90", "12.00", "48.00"))
        category = rng.choice(("coffee", "bakery", "gift_card"))
        line = {"sku": "s1", "category": category, "quantity": "1", "unit_price": price}
        buyer = member if rng.random() < 0.93 else None
        if buyer is not None:
            orders.append((buyer, f"o{count}"))
        more = {"order_id": f"o{count}", "lines": [line], "total": price, "currency": "EUR", "channel": "pos"}
        return kind, buyer, more
    if kind == facts.REFUND:
        buyer, order = rng.choice(orders) if orders and rng.random() < 0.9 else (member, "unknown")
        return kind, buyer, {"order_id": order, "currency": "EUR"} | rng.choice(({}, {"total": "1.00"}))
    if kind == facts.REFERRAL:
        return kind, member, {"referrer": rng.choice(members)}
    said: dict[str, dict[str, Any]] = {
        facts.VISIT: {"store": "s"},
        facts.REVIEW: {"place": rng.choice("ab"), "rating": 8, "verified": True},
        facts.ACTIVITY: {"name": "newsletter_read"},
        facts.JOINED: {"via": "app"},
    }
    return kind, member, said[kind]


def _event(event: dict[str, Any]) -> Event:
    raw = orjson.dumps(event)
    try:
        fact = normalise(raw, RECORDED, to_us(RECORDED))
    except Exception:  # noqa: BLE001  refused by intake; then it is published to be refused
        return Event(raw, None, None)
    fact = profiles.PlainVault().seal(fact) if fact.type == facts.PROFILE else fact
    return Event(raw, encode_fact(fact), (fact.key or "").encode())


def reused(event: Event) -> Event:
    """Another event under the same id."""
    body = orjson.loads(event.raw)
    body["time"] = to_text(to_us(body["time"]) + 1_000_000)
    return _event(body)


def unheard(rng: Random, count: int) -> Fact:
    """A fact that this engine cannot decide."""
    return _special(UNHEARD, f"u{count}", f"m{rng.randint(0, 5)}", {})


def deadly(rng: Random, count: int) -> Fact:
    """A fact at which the deciding process dies."""
    return _special(facts.JOINED, f"{DEADLY}{count}", f"m{rng.randint(0, 5)}", {"via": None})


def _special(kind: str, fact_id: str, subject: str, data: Any) -> Fact:
    return make_fact(
        id=fact_id, source=STRANGE, type=kind, subject=subject, time_us=BEGIN_US + 30 * DAY_US,
        recorded_at=RECORDED, data=data,
    )  # fmt: skip


def contents(fact: Fact) -> tuple[bytes | None, bytes, int, tuple[()]]:
    """A fact as a record of `facts`."""
    return (None if fact.key is None else fact.key.encode(), encode_fact(fact), RECORDED_MS, ())


def announced(version: Programme) -> tuple[bytes | None, bytes, int, tuple[()]]:
    """The record that makes a version known."""
    return contents(programme_fact(version, RECORDED))


def tick(partition: int, day: int) -> tuple[bytes | None, bytes, int, tuple[()]]:
    """The record that settles a partition."""
    return contents(tick_fact(partition, BEGIN_US + day * DAY_US, RECORDED))


def place_of(key: bytes, partitions: int) -> int:
    """The partition of a key."""
    return partition_for(key, partitions)
