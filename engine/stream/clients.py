"""The one place that makes Kafka clients: security, isolation and bounded timeouts are decided here for all of them.

Errors that a user can mend are `KafkaTrouble`; its message says what, where and how. Commands turn it into their exit
code.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    OffsetOutOfRangeError,
    SaslAuthenticationFailed,
    UnknownError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)
from aiokafka.partitioner import murmur2

from engine.settings import KafkaSecurity

#: One request to one broker. Too small: a broker busy with a leader election (some seconds) looks dead and the worker
#: restarts for nothing. Too large: a dead broker looks like a hang; Faust's own default is 20 minutes.
REQUEST_TIMEOUT_MS = 30_000
#: First contact at start. Too small: a broker that is just starting is reported as unreachable. Too large: somebody who
#: mistyped --bootstrap waits that long for the message that says so.
CONNECT_TIMEOUT_S = 10.0
#: Last words of a client. Too small: what waits in a producer is dropped although the broker lives. Too large: leaving a
#: dead broker takes that long.
STOP_TIMEOUT_S = 10.0
#: How long a transaction may stay open without its owner. Too small: a batch that is slow to decide is aborted under
#: the keeper. Too large: after a death, readers of committed records wait that long for what follows.
TRANSACTION_TIMEOUT_MS = 10_000
#: How long the broker holds a fetch with nothing to send when a log is read to its end. Too small: idle requests in a
#: tight loop. Too large: that much is added to every recovery, once per log.
END_OF_LOG_WAIT_MS = 100
#: No record and no progress for so long while reading a log to its end. Too small: a slow disk fails a recovery. Too
#: large: a partition without a leader holds a start that will not succeed.
STALLED_S = 30.0

#: Bytes of one record batch: below the 1 MiB that brokers take by default, with room for the batch's own header.
BATCH_BYTES = 900_000
#: Bytes of a single record, which may fill a batch alone; topics take 2 MiB (topics.py), minus room for headers.
RECORD_BYTES = 2_000_000
#: Bytes one fetch may bring per partition. Together with the batch transport's budget it bounds a worker's memory.
FETCH_BYTES = 1_048_576

Header = tuple[str, bytes]
#: key, value, timestamp in ms (None: now), headers
Outgoing = tuple[bytes | None, bytes | None, int | None, Sequence[Header]]


_LOGIN_REFUSED = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError)


#: Tansu answers the request for a producer id with UnknownError, brokers that never heard of it with the others.
CANNOT = (UnknownError, UnsupportedVersionError, IncompatibleBrokerVersion)


class KafkaTrouble(Exception):
    """Something about Kafka that a user can mend; the message is for them."""


class Unreachable(KafkaTrouble):
    """No broker answers."""


class RecordTooLarge(KafkaTrouble):
    """A record is larger than the topics take."""


class LogEndsEarlier(KafkaTrouble):
    """A log is shorter than the position it is to be read from: records were lost."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker can do beyond produce and fetch."""

    transactions: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka to talk to, and how: every client comes from here."""

    bootstrap: str
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    client_id: str = "stammgast"

    def _common(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": self.bootstrap,
            "client_id": self.client_id,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            **self.security.client_options(),
        }

    def new_producer(
        self, *, transactional_id: str | None = None, idempotent: bool = False, **more: Any
    ) -> AIOKafkaProducer:
        """A producer, not yet started, that waits for all in-sync copies.

        A transactional producer fences its predecessors when it starts. `idempotent` needs a broker that can (see
        `capabilities`).
        """
        settings: dict[str, Any] = {"acks": "all", "max_batch_size": BATCH_BYTES, "max_request_size": RECORD_BYTES}
        if transactional_id is not None:
            settings |= {"transactional_id": transactional_id, "transaction_timeout_ms": TRANSACTION_TIMEOUT_MS}
        elif idempotent:
            settings["enable_idempotence"] = True
        return AIOKafkaProducer(**self._common(), **settings | more)

    def new_consumer(self, *topics: str, group_id: str | None = None, **more: Any) -> AIOKafkaConsumer:
        """A consumer, not yet started, that sees committed records only and never commits by itself."""
        settings: dict[str, Any] = {
            "isolation_level": "read_committed",
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "max_partition_fetch_bytes": FETCH_BYTES,
        }
        return AIOKafkaConsumer(*topics, group_id=group_id, **self._common(), **settings | more)

    def new_admin(self) -> AIOKafkaAdminClient:
        """An admin client, not yet started."""
        return AIOKafkaAdminClient(**self._common())

    @asynccontextmanager
    async def producer(self, **settings: Any) -> AsyncIterator[AIOKafkaProducer]:
        """A started producer. Errors: Unreachable."""
        async with self._started(self.new_producer(**settings)) as producer:
            yield producer

    @asynccontextmanager
    async def consumer(self, *topics: str, **settings: Any) -> AsyncIterator[AIOKafkaConsumer]:
        """A started consumer. Errors: Unreachable."""
        async with self._started(self.new_consumer(*topics, **settings)) as consumer:
            yield consumer

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """A started admin client. Errors: Unreachable."""
        async with self._started(self.new_admin()) as admin:
            yield admin

    @asynccontextmanager
    async def _started(self, client: Any) -> AsyncIterator[Any]:
        stop = client.close if isinstance(client, AIOKafkaAdminClient) else client.stop
        try:
            await self.start(client)
            yield client
        finally:
            await asyncio.sleep(0)  # aiokafka 0.14 cannot stop a consumer whose tasks never ran
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    await _stopped(client, stop)

    async def start(self, client: Any) -> None:
        """Start a client within CONNECT_TIMEOUT_S.

        Errors: Unreachable when nothing answers or the login is refused; the caller stops the client in any case.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await client.start()
        except (KafkaConnectionError, TimeoutError, OSError) as error:
            raise Unreachable(await self._why_not()) from error

    async def _why_not(self) -> str:
        """What to tell a user when no client can start; aiokafka keeps the reason in its log, so ask once more."""
        host, _, port = self.bootstrap.split(",")[0].rpartition(":")
        options = self.security.client_options()
        reason = "it gave no answer"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                (await create_conn(host, int(port), client_id=self.client_id, **options)).close()
        except _LOGIN_REFUSED as error:
            return f"Kafka at {self.bootstrap} refuses the login ({type(error).__name__}): check the --sasl-* settings"
        except (KafkaError, OSError) as error:  # TLS errors and a TimeoutError are OSErrors, too
            reason = str(error) or reason
        return (
            f"no Kafka answers at {self.bootstrap} ({self.security.security_protocol}; {reason}): is it running, and "
            "are --bootstrap and the security settings right?"
        )


async def _stopped(client: Any, stop: Callable[[], Awaitable[object]]) -> None:
    """Stop a client. While its broker is away, aiokafka 0.14 lets the end of a fetch of its own out of a consumer's stop()
    and leaves the connections open; that is no cancellation of ours."""
    try:
        await stop()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        await client._client.close()


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep aiokafka's own lines out of the log while it is asked something whose answer may be no: we say what it means."""
    its = logging.getLogger("aiokafka")
    before = its.level
    its.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        its.setLevel(before)


async def reach(cluster: Cluster) -> None:
    """Make sure that a broker answers. Errors: Unreachable, the one message that is then told."""
    with _unheard():
        async with cluster.admin():
            pass


async def capabilities(cluster: Cluster) -> Capabilities:
    """Does this broker know transactions and idempotent producers? (The embedded one does not.)

    Asks with one InitProducerId request, so it costs an id and nothing else, within CONNECT_TIMEOUT_S. Only a broker that
    answers no is one that cannot: whoever took a silent or troubled Kafka for one would write without a fence.

    Errors: Unreachable; KafkaError.
    """
    await reach(cluster)  # an unreachable broker is an error of its own, not a missing capability
    producer = cluster.new_producer(idempotent=True)
    try:
        with _unheard():
            await cluster.start(producer)
    except CANNOT as error:
        return Capabilities(transactions=False, reason=type(error).__name__)
    finally:
        await producer.stop()
    return Capabilities(transactions=True)


# -------------------------------------------------------------------------------------------------------------- writing


def partition_for(key: bytes, partitions: int) -> int:
    """The partition of a key: murmur2 as in Kafka's default partitioner, so any client agrees. Source: KIP-480, Java's
    `BuiltInPartitioner.partitionForKey`."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


async def send_values(producer: Any, topic: str, partition: int, records: Sequence[Outgoing]) -> int:
    """Write records to one partition, in order, as few batches as possible; returns when all copies have all of them.

    Args:
        producer: a started aiokafka producer; inside a transaction if it is a transactional one.
        records: (key, value, timestamp in ms or None for now, headers) each.

    Returns:
        How many records were written.

    Errors: RecordTooLarge before anything is sent; KafkaError of the first batch that failed (later ones may be there).
    """
    futures = [
        await producer.send_batch(batch, topic, partition=partition) for batch in _batches(producer, topic, records)
    ]
    await acknowledged(futures)
    return len(records)


def _batches(producer: Any, topic: str, records: Sequence[Outgoing]) -> list[Any]:
    batches, batch = [], None
    for key, value, timestamp_ms, headers in records:
        if batch is None or not _fits(batch, key, value, timestamp_ms, headers):
            size = len(key or b"") + len(value or b"")
            if size > RECORD_BYTES:
                raise RecordTooLarge(f"a record for {topic} has {size:,} bytes; at most {RECORD_BYTES:,} are possible")
            batch = producer.create_batch()
            batches.append(batch)
            _fits(batch, key, value, timestamp_ms, headers)  # an empty batch takes any record
    for batch in batches:
        batch.close()
    return batches


def _fits(
    batch: Any, key: bytes | None, value: bytes | None, timestamp_ms: int | None, headers: Sequence[Header]
) -> bool:
    return batch.append(key=key, value=value, timestamp=timestamp_ms, headers=list(headers)) is not None


async def acknowledged(futures: Sequence[Any]) -> list[Any]:
    """Wait for every future and raise the first error, so that none is left behind unread; returns their results."""
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return outcomes


# -------------------------------------------------------------------------------------------------------------- reading


def stand_at(consumer: Any, places: Mapping[TopicPartition, int]) -> None:
    """Have a consumer read these partitions and no others, each from its offset on."""
    consumer.assign(list(places))
    for place, offset in places.items():
        consumer.seek(place, offset)


async def read_partition(
    cluster: Cluster, topic: str, partition: int, start: int = 0, *, max_records: int = 5_000
) -> AsyncGenerator[list[ConsumerRecord], None]:
    """Read one partition forward from `start` to its end as of now, committed records only, a list per fetch.

    The end is where the reader's own position reaches the last stable offset that the brokers name. They are asked twice
    and the larger answer counts: a fetch from a leader that was just elected may name an older end than readers have seen
    before, which the list of offsets never does (KIP-207); and the embedded broker lists too small an end after a batch.
    Nothing is computed from offsets, because transactions leave holes.

    Errors: LogEndsEarlier when the log ends before `start` or begins after it; KafkaTrouble when there is no such
    partition or nothing moves for STALLED_S; Unreachable.
    """
    tp = TopicPartition(topic, partition)
    await _must_exist(cluster, tp)
    more = {"auto_offset_reset": "none", "fetch_max_wait_ms": END_OF_LOG_WAIT_MS}
    async with cluster.consumer(**more) as consumer:
        stand_at(consumer, {tp: start})
        listed = await _listed_end(consumer, tp)
        end = None
        while end is None or await consumer.position(tp) < end:
            records, end = await _step(consumer, tp, listed, end, max_records)
            if records:
                yield records


async def log_ends(cluster: Cluster, topic: str, partitions: int) -> dict[int, tuple[int, int]]:
    """Where each of so many partitions begins and ends; see `ends_of`."""
    return await ends_of(cluster, topic, range(partitions))


async def ends_of(cluster: Cluster, topic: str, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Where these partitions begin and where readers of committed records stop, as of now: partition -> (begin, end).

    Errors: KafkaTrouble when a partition does not answer within STALLED_S; Unreachable.
    """
    places = [TopicPartition(topic, number) for number in partitions]
    async with cluster.consumer(auto_offset_reset="none", fetch_max_wait_ms=END_OF_LOG_WAIT_MS) as consumer:
        consumer.assign(places)
        begins, told = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        # The embedded broker tells ends that are too early, never too late; the answer to a fetch from there knows better.
        for place in places:
            consumer.seek(place, told[place])
        try:
            async with asyncio.timeout(STALLED_S):
                while any(_reported_end(consumer, place) is None for place in places):
                    await consumer.getmany(timeout_ms=END_OF_LOG_WAIT_MS, max_records=1)
        except TimeoutError as error:
            raise KafkaTrouble(f"{topic} does not answer within {STALLED_S:.0f} s") from error
        return {place.partition: (int(begins[place]), _reported_end(consumer, place) or 0) for place in places}


async def _listed_end(consumer: Any, tp: TopicPartition) -> int:
    """The last stable offset that the partition's leader lists, once it is sure of it."""
    try:
        async with asyncio.timeout(STALLED_S):
            while True:
                with suppress(KafkaError):
                    return int((await consumer.end_offsets([tp]))[tp])
                await asyncio.sleep(END_OF_LOG_WAIT_MS / 1000)
    except TimeoutError as error:
        raise KafkaTrouble(
            f"{tp.topic}/{tp.partition} names no end within {STALLED_S:.0f} s: is Kafka well?"
        ) from error


async def first_offset(cluster: Cluster, topic: str, partition: int) -> int:
    """The offset at which a partition begins: 0, or later once records were deleted; compaction does not move it.

    Errors: KafkaTrouble when there is no such partition; Unreachable.
    """
    tp = TopicPartition(topic, partition)
    await _must_exist(cluster, tp)
    async with cluster.consumer() as consumer:
        return int((await consumer.beginning_offsets([tp]))[tp])


async def _step(
    consumer: Any, tp: TopicPartition, listed: int, end: int | None, max_records: int
) -> tuple[list[ConsumerRecord], int | None]:
    """Move on by one fetch, records or none; learns the end from the first answer."""
    before = await consumer.position(tp)
    try:
        async with asyncio.timeout(STALLED_S):
            while True:
                got = await consumer.getmany(tp, timeout_ms=END_OF_LOG_WAIT_MS, max_records=max_records)
                records = got.get(tp, [])
                if end is None:
                    reported = _reported_end(consumer, tp)
                    end = None if reported is None else max(reported, listed)
                position = await consumer.position(tp)
                highwater = consumer.highwater(tp)
                if highwater is not None and before > max(highwater, listed):
                    raise LogEndsEarlier(
                        f"{tp.topic}/{tp.partition} ends at {max(highwater, listed)}, before {before}: records were lost"
                    )
                # A fetch may move over holes alone: no record, and yet a step.
                if records or position > before or (end is not None and position >= end):
                    return records, end
    except TimeoutError as error:
        raise KafkaTrouble(
            f"{tp.topic}/{tp.partition} does not move on from {before} within {STALLED_S:.0f} s"
        ) from error
    except OffsetOutOfRangeError as error:
        raise LogEndsEarlier(f"{tp.topic}/{tp.partition} does not hold offset {before}: records were lost") from error


def _reported_end(consumer: Any, tp: TopicPartition) -> int | None:
    """The last stable offset of the latest fetch, None before the first answer."""
    stable = consumer.last_stable_offset(tp)
    return None if stable is None or stable < 0 else int(stable)


async def _must_exist(cluster: Cluster, tp: TopicPartition) -> None:
    """Asking for all topics creates none; a consumer that asks for a missing one would."""
    async with cluster.admin() as admin:
        counts: Mapping[str, int] = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics()}
    if tp.partition >= counts.get(tp.topic, 0):
        raise KafkaTrouble(f"{cluster.bootstrap} has no partition {tp.topic}/{tp.partition}: was the topic deleted?")


__all__ = [
    "Capabilities",
    "Cluster",
    "KafkaTrouble",
    "LogEndsEarlier",
    "RecordTooLarge",
    "Unreachable",
    "acknowledged",
    "capabilities",
    "first_offset",
    "log_ends",
    "partition_for",
    "read_partition",
    "send_values",
]
