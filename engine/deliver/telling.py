"""What became of a notice, written to Kafka: outcomes as events for intake, dead letters for people."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from aiokafka.errors import KafkaError

from engine.deliver.lane import Item
from engine.stream.clients import Cluster, KafkaTrouble, capabilities, log_ends, read_partition
from schemas.facts import NOTICE_OUTCOME
from schemas.ids import hash_id
from schemas.times import to_text

SOURCE = "urn:deliver:stammgast"
#: Until it is tried again to write what became of a notice. Too short: a busy loop while Kafka is away. Too long: finished
#: notices stand there unfinished.
AGAIN_S = 1.0
ACK_SECONDS = 30.0

log = structlog.get_logger(__name__)


def outcome_event(
    notice_id: str, member: str, channel: str, outcome: str, reason: str, time_us: int, source: str = SOURCE
) -> bytes:
    """The event that tells what became of a notice. Its id names the moment, too: what was sent twice is told twice."""
    time = to_text(time_us)
    return orjson.dumps(
        {
            "specversion": "1.0",
            "id": hash_id("outcome", notice_id, channel, outcome, time),
            "source": source,
            "type": NOTICE_OUTCOME,
            "subject": member,
            "time": time,
            "data": {"notice": notice_id, "outcome": outcome, "channel": channel, "reason": word(reason)},
        }
    )


def word(reason: str) -> str | None:
    """A reason as facts take it: lower case, no free text; None for none."""
    kept = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in reason.lower())[:64]
    return kept.lstrip("_") or None


class Writer:
    """One producer with acks=all that is replaced when it breaks; whoever writes waits until all copies have it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer: Any = None
        self._renewing = asyncio.Lock()
        self._idempotent = True
        self.trouble = "not started"

    async def start(self) -> None:
        """Errors: KafkaTrouble."""
        self._idempotent = (await capabilities(self._cluster)).transactions
        await self._renew(None)

    async def write(
        self, topic: str, key: bytes, value: bytes | None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Write one record, again and again until it is there: only a process that ends leaves it unwritten."""
        sent = [(name, text.encode()) for name, text in (headers or {}).items()]
        while True:
            producer = self._producer
            try:
                async with asyncio.timeout(ACK_SECONDS):
                    await producer.send_and_wait(topic, value, key=key, headers=sent)
            except (KafkaError, TimeoutError) as error:
                self.trouble = f"the brokers do not take what is written ({type(error).__name__})"
                log.warning("not acknowledged, written again", topic=topic, error=type(error).__name__)
                await asyncio.sleep(AGAIN_S)
                with contextlib.suppress(KafkaTrouble):
                    await self._renew(producer)
            else:
                self.trouble = ""
                return

    async def _renew(self, broken: Any) -> None:
        """Put a new producer in the place of a broken one, once for all who found it broken."""
        async with self._renewing:
            if self._producer is not broken:
                return
            fresh = self._cluster.new_producer(idempotent=self._idempotent)
            try:
                await self._cluster.start(fresh)
            except KafkaTrouble:
                await _end(fresh)
                raise
            self._producer, self.trouble = fresh, ""
            if broken is not None:
                await _end(broken)

    def probe(self) -> tuple[bool, str]:
        """For /readyz."""
        return not self.trouble, self.trouble or "the brokers take what is written"

    async def stop(self) -> None:
        """Close the producer."""
        if self._producer is not None:
            await _end(self._producer)


async def _end(producer: Any) -> None:
    with contextlib.suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(ACK_SECONDS):
            await producer.stop()


# -------------------------------------------------------------------------------------------------------- dead letters


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A notice that could not be delivered.

    Attributes:
        key: the notice's id, or `topic:partition:offset` of a record that is none.
        value: the record as it stood on `incentives`.
    """

    key: str
    value: bytes
    reason: str
    channel: str
    attempts: int
    at: str
    place: str

    def told(self) -> dict[str, Any]:
        """For a list: no member, no value."""
        return {
            "id": self.key,
            "channel": self.channel,
            "reason": self.reason,
            "attempts": self.attempts,
            "at": self.at,
            "place": self.place,
        }


def dead_headers(item: Item, reason: str, time_us: int) -> dict[str, str]:
    """Headers of a dead letter."""
    topic, partition, offset = item.place
    return {
        "reason": reason or "failed",
        "channel": item.notice["data"]["channel"],
        "attempts": str(item.attempts),
        "at": to_text(time_us),
        "place": f"{topic}:{partition}:{offset}",
    }


async def dead_letters(cluster: Cluster, topic: str, partitions: int = 1) -> list[DeadLetter]:
    """Dead letters that nobody has dealt with, oldest first: of each the newest record counts, an empty one ends it.

    Errors: KafkaTrouble.
    """
    newest: dict[str, DeadLetter | None] = {}
    for partition, (begin, _) in sorted((await log_ends(cluster, topic, partitions)).items()):
        async for records in read_partition(cluster, topic, partition, begin):
            for record in records:
                key = (record.key or b"").decode(errors="replace")
                newest.pop(key, None)
                newest[key] = _letter(key, record) if record.value else None
    return [letter for letter in newest.values() if letter is not None]


def _letter(key: str, record: Any) -> DeadLetter:
    said = {name: value.decode(errors="replace") for name, value in record.headers}
    attempts = said.get("attempts", "0")
    return DeadLetter(
        key,
        record.value,
        said.get("reason", ""),
        said.get("channel", ""),
        int(attempts) if attempts.isdigit() else 0,
        said.get("at", ""),
        said.get("place", ""),
    )
