"""The intake agent: inbound bytes to facts in normal form, keyed by whom they concern; what is wrong goes to `rejects`.

Upstream hashes keys as it likes and writes to several topics, so there is no order across them until intake writes one:
the order of `facts`, per subject, is the order for ever. At least once, with an idempotent producer and no transaction: a
batch is acknowledged after the brokers hold all that came of it, and what is taken twice gets a decision of its own,
outcome `duplicate`. No record stops the flow.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from engine.ledger.member import ProfileUnavailable
from engine.stream.batches import records_of
from engine.stream.clients import RECORD_BYTES, acknowledged, partition_for
from engine.stream.outbox import LEFT_OUT_HEADER, Outbox, reject_headers
from engine.stream.tools import MissingKeys, loop_time
from engine.stream.topics import FACTS, REJECTS, Inbound, Layout
from engine.vault.vault import NoVault, Vault
from schemas.binary import PREFIX, structured
from schemas.envelope import Fact, encode_fact
from schemas.facts import PERSONAL_TYPES
from schemas.normalise import MAX_CLOCK_SKEW_US, MAX_EVENT_BYTES, Policy, normalise
from schemas.personal import is_personal, without_data
from schemas.rejects import Rejected
from schemas.times import MILLISECOND_US, to_text

#: Consignments on their way at once: while the brokers write one, the next is normalised.
UNDER_WAY = 3
#: Longest wait for the brokers; then the process dies and what was not acknowledged is read again.
SEND_SECONDS = 30.0
#: After this many records the keepers and heartbeats get the event loop.
BREATH_RECORDS = 250

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """What one inbound topic may carry, ready for use."""

    inbound: Inbound
    policy: Policy


@dataclass(slots=True)
class Taken:
    """What came of one batch: records to send, and numbers for the metrics."""

    outbox: Outbox
    facts: Counter[str]
    rejects: Counter[str]


class Intake:
    """Normalises batches and writes them to `facts` and `rejects`. Belongs to one event loop.

    Args:
        producer: a started producer of its own, idempotent where the broker can.
        rules: of each inbound topic, by its name on the broker.
        now_us: the wall clock, microseconds; intake is the one place that stamps facts with it.
        vault: seals profiles; without one they are refused.
    """

    def __init__(
        self,
        producer: Any,
        layout: Layout,
        rules: Mapping[str, Rules],
        now_us: Callable[[], int] | None = None,
        vault: Vault | None = None,
    ) -> None:
        self._producer = producer
        self._rules = rules
        self._facts_topic = layout.name(FACTS)
        self._rejects_topic = layout.name(REJECTS)
        self._partitions = layout.partitions
        self._vault = vault or NoVault()
        self._now_us = now_us or (lambda: time.time_ns() // 1_000)
        # Members come back: hashing a key costs as much as a third of normalising an event.
        self._place_of = functools.lru_cache(maxsize=200_000)(self._hash)

    def _hash(self, key: str) -> tuple[bytes, tuple[str, int]]:
        raw = key.encode()
        return raw, (self._facts_topic, partition_for(raw, self._partitions))

    async def take(self, records: Any) -> Taken:
        """Normalise one fetched batch of one inbound topic. Sends nothing yet. Never raises for what a record holds."""
        taken = Taken(Outbox(self._producer), Counter(), Counter())
        rules = self._rules[records[0].topic]
        recorded_ms = self._now_us() // MILLISECOND_US
        recorded_at = to_text(recorded_ms * MILLISECOND_US)
        for number, record in enumerate(records, start=1):
            try:
                self._accept(record, rules, recorded_ms, recorded_at, taken)
            except Rejected as rejected:
                self._reject(record, rejected, recorded_ms, recorded_at, taken)
            if number % BREATH_RECORDS == 0:
                await asyncio.sleep(0)
        return taken

    def _accept(self, record: Any, rules: Rules, recorded_ms: int, recorded_at: str, taken: Taken) -> None:
        raw = record.value or b""
        if record.headers:
            raw = structured(record.headers, raw)
        fact = normalise(raw, recorded_at, recorded_ms * MILLISECOND_US, rules.policy)
        if not rules.inbound.admits(fact.source):
            raise Rejected("not_allowed", f"{rules.inbound.topic} does not take events of this source", "source")
        if fact.type in PERSONAL_TYPES:
            fact = self._sealed(fact)
        key, place = self._place_of(_key(fact))
        value = encode_fact(fact)
        if len(value) + len(key) > RECORD_BYTES:
            raise Rejected("too_large", f"{len(value):,} bytes in normal form: send a smaller event")
        taken.outbox.add(place, key, value, recorded_ms)
        taken.facts[fact.type] += 1

    def _sealed(self, fact: Fact) -> Fact:
        try:
            return self._vault.seal(fact)
        except ProfileUnavailable as error:
            raise MissingKeys(f"profiles cannot be sealed: {error}. Nothing is lost, start the worker again") from error

    def _reject(self, record: Any, rejected: Rejected, recorded_ms: int, recorded_at: str, taken: Taken) -> None:
        headers = reject_headers(record, rejected, recorded_at)
        place = (self._rejects_topic, record.offset % self._partitions)
        key, value = record.key, record.value
        event = _event(record)
        if is_personal(event, self._rules[record.topic].policy.types):
            # Neither bytes nor key nor headers of its own: nobody knows what stands in them.
            headers = [*reject_headers(record, rejected, recorded_at, own=False), (LEFT_OUT_HEADER, b"data")]
            key, value = None, without_data(event)
        taken.outbox.add(place, key, value, recorded_ms, headers)
        taken.rejects[rejected.reason] += 1


def _event(record: Any) -> bytes:
    """A refused event as one piece, so that a profile in binary mode is known for one; its headers too where it is none."""
    value = record.value or b""
    try:
        return structured(record.headers, value)
    except Rejected:
        return b" ".join([value, *(text or b"" for name, text in record.headers if name.startswith(PREFIX))])


def _key(fact: Fact) -> str:
    key = fact.key
    if key is None:
        raise Rejected("invalid", "this event belongs to nobody: it needs a subject", "subject")
    return key


class Pump:
    """Sends consignments in the order in which they were taken, a few at a time, and acknowledges when brokers have them.

    Order within a partition holds because handing over is done by one task, one consignment after the other; only the
    waiting for the brokers overlaps.
    """

    def __init__(
        self,
        died: Callable[[BaseException], None],
        sent: Callable[[Taken, float], None],
        seconds: Callable[[], float] = loop_time,
    ) -> None:
        """Args: died is told the error that ends the process; sent is told what the brokers hold, and the seconds it took."""
        self._seconds = seconds
        self._died = died
        self._sent = sent
        self._places = asyncio.Semaphore(UNDER_WAY)
        self._waiting: set[asyncio.Task[None]] = set()
        self._last_done = self._seconds()

    async def push(self, taken: Taken, acknowledge: Callable[[], None]) -> None:
        """Hand a consignment over; returns when the next may be taken. Errors: KafkaError, TimeoutError."""
        await self._places.acquire()
        began = self._seconds()
        async with asyncio.timeout(SEND_SECONDS):
            futures = await taken.outbox.hand_over()
        task = asyncio.create_task(self._settle(futures, taken, acknowledge, began))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _settle(self, futures: list[Any], taken: Taken, acknowledge: Callable[[], None], began: float) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await acknowledged(futures)
            self._sent(taken, self._seconds() - began)
            acknowledge()
            self._last_done = self._seconds()
        except Exception as error:  # noqa: BLE001  facts may be missing: nothing after them may be acknowledged
            self._died(error)
        finally:
            self._places.release()

    def quiet(self, seconds: float) -> bool:
        """Is nothing on its way, and was nothing for so long?"""
        return not self._waiting and self._seconds() - self._last_done >= seconds

    async def drain(self, seconds: float) -> bool:
        """Wait until the brokers have all that was handed over; False when time ran out."""
        if not self._waiting:
            return True
        _, late = await asyncio.wait(set(self._waiting), timeout=seconds)
        return not late


def intake_agent(intake: Intake, pump: Pump) -> Callable[[Any], Any]:
    """The agent's body for `app.agent(...)`."""

    async def take(stream: Any) -> None:
        async for event in stream.noack().events():
            await pump.push(await intake.take(records_of(event)), event.ack)

    return take


def rules_of(
    inbound: Mapping[str, Inbound],
    layout: Layout,
    max_clock_skew_us: int = MAX_CLOCK_SKEW_US,
    max_bytes: int = MAX_EVENT_BYTES,
) -> dict[str, Rules]:
    """The rules of every inbound topic, by its name on the broker."""
    return {layout.name(topic): Rules(one, one.policy(max_clock_skew_us, max_bytes)) for topic, one in inbound.items()}
