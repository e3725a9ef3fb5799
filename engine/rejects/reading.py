"""Records of `rejects` as somebody reads them who has to mend them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from engine.stream.outbox import OUR_HEADERS, Header
from engine.stream.topics import FACTS
from engine.verify.logs import Logs
from schemas.binary import structured
from schemas.rejects import Rejected
from schemas.times import MILLISECOND_US, to_text, to_us

Place = tuple[int, int]
#: How each refusal is mended, by reason; `show` tells it.
MENDING = {
    "not_json": "the source must send JSON; nothing can be sent back as it is",
    "not_a_cloudevent": "write the missing attribute into a copy, and send that with `redrive --mended`",
    "unknown_type": "upgrade the engine if a newer one knows the type, else correct it with `redrive --mended`",
    "not_allowed": "let the topic carry it (--inbound), or publish it to the topic that does",
    "invalid": "correct the field in a copy, and send that with `redrive --mended`",
    "personal_subject": "give the member an opaque key in a copy, and send that with `redrive --mended`",
    "naive_time": "write the time with its offset into a copy, and send that with `redrive --mended`",
    "future_time": "set the clock of the source; once the moment has come, `redrive` sends it as it is",
    "unknown_currency": "correct the currency in a copy, and send that with `redrive --mended`",
    "too_many_decimals": "round the amount in a copy, and send that with `redrive --mended`",
    "too_large": "raise --max-event-bytes, or split it; then `redrive`",
    "no_profile_keys": "start the workers with keys for profiles (docs/privacy.md); then the source sends it again",
    "forgotten": "nothing is to be done: the member was forgotten after this happened",
    "id_reused": "the source used one id twice: give the second event its own in a copy, and send that with `--mended`",
    "too_late": "publish a version that accepts it (`rules publish --backdate`), then `redrive`",
    "too_late_to_deduplicate": "it is too old to be told from a repetition: correct the member by hand",
    "quarantined": "the engine could not decide it: upgrade the engine, then `redrive` sends the fact as it is",
}


@dataclass(frozen=True)
class Refused:
    """One record of `rejects`.

    Attributes:
        place: its partition and offset in rejects.
        topic, origin: whence it came: the topic without the deployment's prefix, and (partition, offset) there.
        received_us: when it was taken in, or refused where nobody knows.
        headers: its own, without those that tell of the refusal.
        left_out: it described a person, and what it said was not kept.
    """

    place: Place
    reason: str
    field: str
    message: str
    topic: str
    origin: Place
    received_us: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    left_out: bool = False

    @property
    def by_keeper(self) -> bool:
        """Was it a fact already when it was refused? Else intake refused the event."""
        return self.topic == FACTS

    @property
    def name(self) -> str:
        """Its place as the command line takes it."""
        return f"{self.place[0]}:{self.place[1]}"

    @cached_property
    def event(self) -> dict[str, Any]:
        """Its value as a JSON object, {} where it is none."""
        try:
            event = orjson.loads(structured(self.headers, self.value or b""))
        except (orjson.JSONDecodeError, Rejected):
            return {}
        return event if isinstance(event, dict) else {}

    def told(self, attribute: str) -> str:
        """An attribute of the event as text, empty where it has none."""
        value = self.event.get(attribute)
        return value if isinstance(value, str) else ""

    def brief(self) -> dict[str, Any]:
        """A row of the list. It leaves the subject out: a refused one can be somebody's e-mail address."""
        return {
            "place": self.name,
            "received_at": to_text(self.received_us),
            "reason": self.reason,
            "field": self.field,
            "message": self.message,
            "topic": self.topic,
            "partition": self.origin[0],
            "offset": self.origin[1],
            "source": self.told("source"),
            "id": self.told("id"),
            "type": self.told("type"),
        }


def refused_of(record: Any, prefix: str) -> Refused:
    """Read a record of `rejects`."""
    said: dict[str, str] = {
        name: value.decode("utf-8", "replace") for name, value in record.headers if name.startswith(OUR_HEADERS)
    }

    def told(name: str) -> str:
        return said.get(OUR_HEADERS + name, "")

    return Refused(
        place=(record.partition, record.offset),
        reason=told("reason") or "unknown",
        field=told("field"),
        message=told("message"),
        topic=told("topic").removeprefix(prefix),
        origin=(_number(told("partition")), _number(told("offset"))),
        received_us=_received_us(told("received-at"), record.timestamp),
        key=record.key,
        value=record.value,
        left_out=bool(told("left-out")),
        headers=tuple((name, value) for name, value in record.headers if not name.startswith(OUR_HEADERS)),
    )


def _number(text: str) -> int:
    return int(text) if text.isdigit() else -1


def _received_us(text: str, timestamp_ms: int) -> int:
    try:
        return to_us(text)
    except ValueError:
        return timestamp_ms * MILLISECOND_US


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: every condition that is given must hold; within one, any value.

    Attributes:
        sources: a source may end in ``*``. names: places, or ids of events.
    """

    reasons: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    since_us: int | None = None
    until_us: int | None = None

    @property
    def anything(self) -> bool:
        """Is no condition given?"""
        return self == Wanted()

    def takes(self, one: Refused) -> bool:
        """Does it fit?"""
        return (
            (not self.reasons or one.reason in self.reasons)
            and (not self.topics or one.topic in self.topics)
            and (not self.sources or any(_fits(one.told("source"), pattern) for pattern in self.sources))
            and (not self.names or one.name in self.names or one.told("id") in self.names)
            and (self.since_us is None or one.received_us >= self.since_us)
            and (self.until_us is None or one.received_us < self.until_us)
        )


def _fits(source: str, pattern: str) -> bool:
    return source.startswith(pattern[:-1]) if pattern.endswith("*") else source == pattern


def select(logs: Logs, wanted: Wanted) -> Iterator[Refused]:
    """Read `rejects` once and yield what is wanted, by partition and offset."""
    for partition in range(logs.partitions):
        for record in logs.rejects(partition):
            one = refused_of(record, logs.prefix)
            if wanted.takes(one):
                yield one
