"""Events on their way to an inbound topic: answered only when all copies in sync have them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka.errors import KafkaError

from engine.gateway.problems import Problem
from engine.stream.clients import Cluster, KafkaTrouble, capabilities

#: Longest wait for the brokers. Too small: a leader election answers 503 although the event is written a moment later.
#: Too large: a till stands there with a customer.
ACK_SECONDS = 10.0
#: Events on their way at once; more are answered 503 before they fill the memory.
UNDER_WAY = 20_000
RETRY_AFTER_S = 2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parcel:
    """One event: the topic's name on the broker, its Kafka key, its bytes."""

    topic: str
    key: bytes
    value: bytes


class Sender:
    """One producer with acks=all, idempotent where the broker can. A producer that failed for good is replaced."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer: Any = None
        self._idempotent = True
        self._under_way = 0
        self._renewing: asyncio.Task[None] | None = None
        self.trouble = "not started"

    async def start(self) -> None:
        """Errors: KafkaTrouble."""
        self._idempotent = (await capabilities(self._cluster)).transactions
        producer = self._cluster.new_producer(idempotent=self._idempotent)
        try:
            await self._cluster.start(producer)
        except KafkaTrouble:
            await producer.stop()
            raise
        self._producer, self.trouble = producer, ""

    async def stop(self) -> None:
        """Wait for what is under way, then close."""
        if self._renewing is not None:
            self._renewing.cancel()
        if self._producer is not None:
            await _end(self._producer)

    def probe(self) -> tuple[bool, str]:
        """For /readyz: did the brokers take the last events?"""
        return not self.trouble, self.trouble or "the brokers take events"

    async def send(self, parcels: Sequence[Parcel]) -> list[Problem | None]:
        """Send events in their order; per event None once all copies have it, or why that is not known.

        A problem does not mean that the event is not in the log: the same event may be sent again, it counts once.
        """
        if self._under_way + len(parcels) > UNDER_WAY:
            return [_away(f"{self._under_way:,} events wait for the brokers already")] * len(parcels)
        producer = self._producer
        self._under_way += len(parcels)
        try:
            outcomes = await self._all(producer, parcels)
        finally:
            self._under_way -= len(parcels)
        failed = next((outcome for outcome in outcomes if outcome is not None), None)
        if failed is None:
            self.trouble = ""
            return [None] * len(parcels)
        self.trouble = _words(failed)
        log.warning("events were not acknowledged", error=type(failed).__name__, events=len(parcels))
        if isinstance(failed, KafkaError) and self._renewing is None:
            self._renewing = asyncio.create_task(self._renew(producer))
        return [None if one is None else _away(_words(one)) for one in outcomes]

    async def _all(self, producer: Any, parcels: Sequence[Parcel]) -> list[BaseException | None]:
        futures: list[Any] = []
        stopped: BaseException = TimeoutError()
        deadline = asyncio.get_running_loop().time() + ACK_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                for parcel in parcels:
                    future = await producer.send(parcel.topic, parcel.value, key=parcel.key)
                    futures.append(future)
        except (KafkaError, TimeoutError) as error:
            stopped = error
        if futures:
            # Not cancelled when time runs out: what is under way may still arrive, and its producer goes on.
            await asyncio.wait(futures, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        for future in futures:
            future.add_done_callback(_heard)
        outcomes = [future.exception() if future.done() else TimeoutError() for future in futures]
        return outcomes + [stopped] * (len(parcels) - len(futures))

    async def _renew(self, broken: Any) -> None:
        """Put a new producer in the place of one whose sequence is broken, which aiokafka's never mends (aiokafka#1017)."""
        fresh = self._cluster.new_producer(idempotent=self._idempotent)
        try:
            await self._cluster.start(fresh)
        except KafkaTrouble as error:
            self.trouble = str(error)
            await _end(fresh)
        else:
            self._producer = fresh
            await _end(broken)
        finally:
            self._renewing = None


def _heard(future: Any) -> None:
    """An error that came too late was answered as one that nobody knows."""
    if not future.cancelled():
        future.exception()


async def _end(producer: Any) -> None:
    try:
        async with asyncio.timeout(ACK_SECONDS):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        log.warning("a producer did not stop", error=type(error).__name__)


def _words(error: BaseException) -> str:
    said = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
    return f"it is not known whether the brokers have it ({said})"


def _away(detail: str) -> Problem:
    return Problem("kafka_away", detail, retry_after=RETRY_AFTER_S)
