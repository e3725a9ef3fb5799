"""Records on their way to Kafka: gathered per (topic, partition), sent as whole batches, acknowledged as one.

aiokafka's `create_batch`/`send_batch` costs a third of one `send` per record; it needs whoever writes to know the
partition, which everybody here does.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from engine.stream.clients import RECORD_BYTES, RecordTooLarge, acknowledged
from schemas.rejects import Rejected

Header = tuple[str, bytes]
NONE: list[Header] = []
Place = tuple[str, int]

OUR_HEADERS = "stammgast-"
#: On a record in `rejects` that described a person: what of it was not kept.
LEFT_OUT_HEADER = "stammgast-left-out"


class BatchProducer(Protocol):
    """What the outbox needs of aiokafka's producer."""

    def create_batch(self) -> Any:
        """An empty batch builder."""
        ...

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        """Hand a closed batch over; the future resolves when the brokers acknowledged it."""
        ...


class Outbox:
    """One consignment of records; order is kept within each (topic, partition). Use it once."""

    __slots__ = ("_batches", "_open", "_producer", "records")

    def __init__(self, producer: BatchProducer) -> None:
        self._producer = producer
        self._batches: dict[Place, list[Any]] = {}
        self._open: dict[Place, Any] = {}
        self.records = 0

    def add(
        self, place: Place, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: list[Header] = NONE
    ) -> None:
        """Put one record into the consignment; headers must be a list, aiokafka's compiled builder takes nothing else.

        Errors: RecordTooLarge when the topic takes no such record.
        """
        batch = self._open.get(place)
        if batch is None:
            batch = self._start(place)
        if batch.append(key=key, value=value, timestamp=timestamp_ms, headers=headers) is None:
            # An empty batch takes any record, so the limit is held here.
            size = len(key or b"") + len(value or b"")
            if size > RECORD_BYTES:
                raise RecordTooLarge(
                    f"a record for {place[0]} has {size:,} bytes; at most {RECORD_BYTES:,} are possible"
                )
            self._start(place).append(key=key, value=value, timestamp=timestamp_ms, headers=headers)
        self.records += 1

    def _start(self, place: Place) -> Any:
        batch = self._open[place] = self._producer.create_batch()
        self._batches.setdefault(place, []).append(batch)
        return batch

    async def hand_over(self) -> list[Any]:
        """Pass every batch to the producer, in order within its place; the futures say when the brokers have them."""
        lanes = await asyncio.gather(*(self._hand_over_one(place, batches) for place, batches in self._batches.items()))
        return [future for lane in lanes for future in lane]

    async def _hand_over_one(self, place: Place, batches: list[Any]) -> list[Any]:
        topic, partition = place
        futures = []
        for batch in batches:
            batch.close()
            futures.append(await self._producer.send_batch(batch, topic, partition=partition))
        return futures

    async def send(self) -> dict[Place, int | None]:
        """Send everything and wait until the brokers acknowledged all of it.

        Returns:
            The offset after the last record, per place; None where the brokers did not say it.

        Errors: the first KafkaError of any batch.
        """
        if not self._batches:
            return {}
        answers = iter(await acknowledged(await self.hand_over()))
        ends: dict[Place, int | None] = {}
        for place, batches in self._batches.items():
            for batch in batches:
                answer = next(answers)
                # A batch that was sent twice may be acknowledged without saying where it went.
                said = answer is not None and answer.offset >= 0
                ends[place] = answer.offset + batch.record_count() if said else None
        return ends

    async def send_one_by_one(self) -> None:
        """As `send`, but a batch goes when the one before it in its place is acknowledged: after an error nothing follows.

        For a producer without transactions. Errors: the first KafkaError of any batch.
        """
        await acknowledged([self._one_by_one(place, batches) for place, batches in self._batches.items()])

    async def _one_by_one(self, place: Place, batches: list[Any]) -> None:
        for batch in batches:
            await acknowledged(await self._hand_over_one(place, [batch]))


def reject_headers(record: Any, rejected: Rejected, received_at: str, *, own: bool = True) -> list[Header]:
    """The headers of a record in `rejects`: its own, then why and whence.

    Args:
        record: as fetched; headers of an earlier refusal (a redriven record) are replaced.
        received_at: when intake took it, canonical text; empty where nobody knows.
        own: keep the headers that it came with.
    """
    kept = [header for header in record.headers if own and not header[0].startswith(OUR_HEADERS)]
    told = {
        "reason": rejected.reason,
        "field": rejected.field,
        "message": rejected.message,
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "received-at": received_at,
    }
    return kept + [(OUR_HEADERS + name, text.encode()) for name, text in told.items()]
