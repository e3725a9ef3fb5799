"""The fact that the log holds of an event. Identity is (source, id), as in CloudEvents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from schemas import facts
from schemas.ids import hash_bytes
from schemas.times import to_text, to_us

ENGINE_SOURCES = "urn:stammgast:"
TIMER_SOURCE = "urn:stammgast:timer"
CLOCK_SOURCE = "urn:stammgast:clock"
PROGRAMME_SOURCE = "urn:stammgast:programme"
ALIAS_SOURCE = "urn:stammgast:alias"
CLAIM_SOURCE = "urn:stammgast:claim"
ORDER_SOURCE = "urn:stammgast:order"
TRANSFER_SOURCE = "urn:stammgast:transfer"
REFERRAL_SOURCE = "urn:stammgast:referral"
REFUND_SOURCE = "urn:stammgast:refund"
STOCK_SOURCE = "urn:stammgast:stock"
#: Of decisions on records that nobody can read as facts; they are named after their place.
UNREADABLE_SOURCE = "urn:stammgast:unreadable"
REWARD_SOURCE = "urn:stammgast:reward"
FORGET_SOURCE = "urn:stammgast:forget"
ORDER_KEY = "order:"
STOCK_KEY = "stock:"
COST_KEY = "cost:"


@dataclass(slots=True, init=False)
class Fact:
    """One record of the ``facts`` log: a valid event in normal form.

    Attributes:
        time: when it happened, canonical text; ``time_us`` is the same in microseconds.
        recorded_at: when intake wrote it, canonical text of whole milliseconds; never hashed, never decided upon.
        body_hash: names type, subject, time and data: a duplicate has the same, a reused id another.
        data: the ``...Form`` of its type (schemas.facts).
    """

    id: str
    source: str
    type: str
    subject: str | None
    time: str
    recorded_at: str
    body_hash: str
    data: Any
    time_us: int

    # Written out, because mypyc compiles this and leaves the one that dataclass makes to the interpreter.
    def __init__(
        self,
        id: str,  # noqa: A002 - CloudEvents' own word
        source: str,
        type: str,  # noqa: A002 - CloudEvents' own word
        subject: str | None,
        time: str,
        recorded_at: str,
        body_hash: str,
        data: Any,
        time_us: int,
    ) -> None:
        self.id = id
        self.source = source
        self.type = type
        self.subject = subject
        self.time = time
        self.recorded_at = recorded_at
        self.body_hash = body_hash
        self.data = data
        self.time_us = time_us

    @property
    def key(self) -> str | None:
        """The Kafka key: the subject, the order of an anonymous sale, a reward's stock, the day of a cost, or None for ticks and
        programme facts."""
        if self.subject is not None:
            return self.subject
        if self.type in facts.ORDER_KEYED:
            return order_key(self.data["order_source"], self.data["order_id"])
        if self.type in facts.STOCK_KEYED:
            return stock_key(self.data["reward"], self.data["store"])
        if self.type in facts.DAY_KEYED:
            return f"{COST_KEY}{self.data['day']}"
        return None


def order_key(order_source: str, order_id: str) -> str:
    """Return the key under which an anonymous order is kept."""
    return f"{ORDER_KEY}{order_source}:{order_id}"


def stock_key(reward: str, store: str) -> str:
    """Return the key under which the pieces of a reward in a store are kept; without a store, all there are."""
    return f"{STOCK_KEY}{reward}:{store}"


def body_hash(event_type: str, subject: str | None, time: str, data: Any) -> str:
    """Return the hash by which a second delivery is told from a reused id."""
    return hash_bytes(orjson.dumps([event_type, subject, time, data]))


def make_fact(
    *,
    id: str,  # noqa: A002 - CloudEvents' own word
    source: str,
    type: str,  # noqa: A002 - CloudEvents' own word
    subject: str | None,
    time_us: int,
    recorded_at: str,
    data: Any,
) -> Fact:
    """Make a fact, with canonical time and its body hash."""
    time = to_text(time_us)
    return Fact(id, source, type, subject, time, recorded_at, body_hash(type, subject, time, data), data, time_us)


def encode_fact(fact: Fact) -> bytes:
    """Return the value of a ``facts`` record: a CloudEvent in JSON with extension attributes recordedat and bodyhash."""
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": fact.id,
            "source": fact.source,
            "type": fact.type,
            "subject": fact.subject,
            "time": fact.time,
            "recordedat": fact.recorded_at,
            "bodyhash": fact.body_hash,
            "data": fact.data,
        }
    )


def parse_fact(value: bytes) -> Fact:
    """Return the fact of a ``facts`` record, trusting that this engine wrote it.

    Raises:
        ValueError or KeyError: this is not a record of the ``facts`` log.
    """
    return fact_of(orjson.loads(value))


def fact_of(event: Any) -> Fact:
    """Return the fact of a ``facts`` record that was parsed already, trusting that this engine wrote it.

    Raises:
        KeyError, TypeError or ValueError: this is not a record of the ``facts`` log.
    """
    time = event["time"]
    return Fact(
        event["id"],
        event["source"],
        event["type"],
        event["subject"],
        time,
        event["recordedat"],
        event["bodyhash"],
        event["data"],
        to_us(time),
    )


def readable(value: bytes | None) -> Fact | None:
    """Return the fact, or None for a record that no intake of ours wrote."""
    try:
        return parse_fact(value or b"")
    except (ValueError, KeyError, TypeError):
        return None
