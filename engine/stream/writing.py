"""The one hand that writes a partition's log: a producer that fences its predecessors, and whole turns or nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from aiokafka.errors import (
    InvalidMessageError,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
)

from engine.stream.clients import KafkaTrouble, RecordTooLarge
from engine.stream.outbox import Outbox, Place
from engine.stream.tools import Tools
from engine.stream.topics import POINTS_LOG

#: One append may take this long (send, commit); then the process dies and another takes over.
APPEND_SECONDS = 30.0
CLEAN_UP_SECONDS = 3.0

FENCED = (ProducerFenced, InvalidProducerEpoch)


#: Errors of Kafka that come of what is written, and will come again.
_OF_RECORDS = (RecordTooLarge, MessageSizeTooLargeError, RecordListTooLargeError, InvalidMessageError)


def blames_no_fact(error: BaseException) -> bool:
    """Is this an end that another fact would have met as well: Kafka, the network, a programme that is not there?"""
    return isinstance(error, KafkaTrouble | KafkaError | OSError) and not isinstance(error, _OF_RECORDS)


class Writer:
    """The producer of one keeper. With transactions, starting it fences whoever had the partition before.

    Attributes:
        producer: aiokafka's; None until it is started.
    """

    def __init__(self, partition: int, tools: Tools) -> None:
        self._tools = tools
        self._partition = partition
        self._place = f"{tools.layout.name(POINTS_LOG)}/{partition}"
        self.producer: Any = None

    async def start(self) -> None:
        """Fence. Errors: TimeoutError, KafkaError."""
        name = f"{self._tools.app}-rewards-{self._partition}" if self._tools.transactional else None
        self.producer = self._tools.new_producer(name)
        async with asyncio.timeout(APPEND_SECONDS):
            await self.producer.start()

    async def write(self, outbox: Outbox, derived: Outbox | None = None) -> dict[Place, int | None]:
        """Write both: all of it, or nothing of it becomes visible.

        Returns:
            The offset after the last record of `outbox`, per place; None where the brokers did not say it.

        Errors: FENCED when another process has the partition; KafkaTrouble when it takes too long; other KafkaErrors.
        """
        try:
            async with asyncio.timeout(APPEND_SECONDS):
                if self._tools.transactional:
                    return await self._in_a_transaction(outbox, derived)
                return await self._one_after_the_other(outbox, derived)
        except TimeoutError as error:
            raise KafkaTrouble(
                f"{self._place} took no decisions within {APPEND_SECONDS:.0f} s: is Kafka well?"
            ) from error

    async def _in_a_transaction(self, outbox: Outbox, derived: Outbox | None) -> dict[Place, int | None]:
        await self.producer.begin_transaction()
        try:
            sending = [consignment.send() for consignment in (outbox, derived) if consignment is not None]
            ends, *_ = await asyncio.gather(*sending)
            await self.producer.commit_transaction()
            return ends
        except FENCED:
            raise
        except BaseException:
            await self._abort()
            raise

    async def _one_after_the_other(self, outbox: Outbox, derived: Outbox | None) -> dict[Place, int | None]:
        """Without transactions a death may come in between. A derived fact that is written twice is a duplicate; one that
        was never written, though its decision stands, would be lost; so would a rejected record. And a decision that is
        written although the one before it failed would leave a fact without one for ever."""
        if derived is not None:
            await derived.send()
        await outbox.send_one_by_one()
        return {}

    async def _abort(self) -> None:
        """Best effort: an open transaction holds readers back until it times out or the next owner fences it."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await self.producer.abort_transaction()

    async def stop(self) -> None:
        """Free the producer. Never raises; bounded."""
        if self.producer is None:
            return
        # A fenced or unreachable producer cannot say goodbye properly; nothing depends on it.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await self.producer.stop()
