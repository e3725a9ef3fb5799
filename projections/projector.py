"""Keep a DuckDB file in step with the logs: read `facts`, `points-log` and `rejects`, apply them batch by batch.

Where to go on stands in the file itself, in the transaction of the rows; consumer-group offsets are never used. The
event loop reads, one writer thread applies, and while it does the next batch is gathered and, if it is large, parsed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from engine.stream.clients import Cluster, KafkaTrouble, LogEndsEarlier, stand_at
from engine.stream.topics import LOGS, Layout, LogMissing, partition_count, require
from engine.telemetry import METRICS, Hearing, Metrics, Progress
from projections.ahead import WORTH_RECORDS, Ahead
from projections.day_end import DayEnd
from projections.parsing import Parsed
from projections.trouble import FileTrouble
from projections.warehouse import DECISIONS, FACTS, LOG_SCHEMA, REJECTS, Warehouse, reject_of

# A batch is applied when it holds so many records: DuckDB then loads over 100,000 decisions a second, and one batch
# stays below 100 MB.
BATCH_RECORDS = 25_000
BATCH_BYTES = 64 * 1024 * 1024
# ... or when its oldest record has waited so long. Too small: a commit per handful of records keeps a core busy. Too
# large: analysts wait.
BATCH_AGE_S = 0.1
FETCH_RECORDS = 5_000
# One fetch brings up to so much: with the clients' usual 1 MiB per partition, catching up waits for round trips.
FETCH_BYTES = 32 * 1024 * 1024
PARTITION_FETCH_BYTES = 8 * 1024 * 1024
# A batch that may grow old looks this often whether it is to stop.
LONGEST_LOOK_S = 0.5
# How long to wait for more records while the writer is busy anyway.
BUSY_WAIT_S = 0.02
# How long a projector that was started before the worker waits for the logs to be created, and how often it looks.
LOGS_WAIT_S = 30.0
LOGS_LOOK_S = 0.5
# How long a log must end before the position reached in it until it is believed to have lost records.
SHORT_LOG_S = 5.0
TOPICS = (FACTS, DECISIONS, REJECTS)

log = structlog.get_logger(__name__)
Applied = Callable[["Projector"], None]


@dataclass(slots=True)
class Batch:
    """Records read and not yet applied, by topic, and their weight."""

    records: dict[str, list[ConsumerRecord]] = field(default_factory=lambda: {topic: [] for topic in TOPICS})
    count: int = 0
    size_bytes: int = 0
    began_s: float = 0.0
    oldest_ms: dict[tuple[str, int], int] = field(default_factory=dict)
    age_s: float = BATCH_AGE_S
    most: int = BATCH_RECORDS

    def add(self, topic: str, records: list[ConsumerRecord]) -> None:
        """Take records of one partition, in their order."""
        if not self.count:
            self.began_s = time.monotonic()
        self.oldest_ms.setdefault((topic, records[0].partition), records[0].timestamp)
        self.records[topic].extend(records)
        self.count += len(records)
        self.size_bytes += sum(len(record.value or b"") for record in records)

    @property
    def full(self) -> bool:
        """Does it hold all that one transaction takes?"""
        return self.count >= self.most or self.size_bytes >= BATCH_BYTES

    def left_s(self) -> float:
        """Seconds that its oldest record may still wait for more."""
        return max(0.0, self.began_s + self.age_s - time.monotonic()) if self.count else BATCH_AGE_S


@dataclass(frozen=True, slots=True)
class _Ready:
    """A batch as the writer takes it."""

    facts: pa.Table
    decisions: pa.Table
    parsed: dict[str, Parsed] | None = None


class Interrupted(KafkaTrouble):
    """Kafka gave an error that may pass; the file is sound, and a new reader goes on where it stands."""


class Projector:
    """Reads the logs of one deployment into one warehouse until it is told to stop.

    Args:
        cluster: where the logs are.
        prefix: of the topic names.
        warehouse: an open file; this projector's writer thread is the only one to use it until `run` returns.
        on_applied: called in the event loop after each batch, for a progress bar.
        batch_age_s, batch_records: a transaction is begun when its oldest record is so old, or when it holds so many;
            None: `BATCH_RECORDS`.
    """

    def __init__(
        self,
        cluster: Cluster,
        warehouse: Warehouse,
        *,
        prefix: str = "",
        metrics: Metrics = METRICS,
        progress: Progress | None = None,
        hearing: Hearing | None = None,
        on_applied: Applied | None = None,
        batch_age_s: float = BATCH_AGE_S,
        batch_records: int | None = None,
    ) -> None:
        self.applied_records = 0
        self.lag_records = 0
        self._batch_age_s, self._batch_records = batch_age_s, batch_records or BATCH_RECORDS
        self._cluster, self._warehouse, self._prefix = cluster, warehouse, prefix
        self._metrics, self._progress, self._on_applied = metrics, progress or Progress(), on_applied
        self._hearing = hearing or Hearing()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="projector-writer")
        self._ahead = Ahead()
        self._next: dict[TopicPartition, int] = {}
        #: When what is behind the last record read was written, at the earliest.
        self._known_ms: dict[TopicPartition, int] = {}
        self._heard_ms: dict[TopicPartition, int] = {}
        self._short_since_s: dict[TopicPartition, float] = {}
        #: Where each partition ended when that was first known, and those that were read to there.
        self._goal: dict[TopicPartition, int] = {}
        self._reached: set[TopicPartition] = set()
        self._deaf = False
        self._day_end = DayEnd(warehouse)

    @property
    def caught_up(self) -> bool:
        """Has it read all that was there when it began, and is no more left than one transaction takes?"""
        return 0 < len(self._next) == len(self._reached) and self.lag_records <= BATCH_RECORDS

    async def run(self, stop: asyncio.Event) -> None:
        """Apply what the logs hold and what comes, until `stop` is set; what was read by then is applied first.

        Raises:
            UsageError: the file was built from other logs.
            FileTrouble: the file can no longer be written; nothing is lost, whoever opens it again goes on from there.
            KafkaTrouble: no broker, no logs, or logs that lost records.
        """
        try:
            self._warehouse.bind(await logs_id(self._cluster, self._prefix, stop))
            # A reject is read again for as long as it is kept; the logs are never reset: see `_check`.
            async with self._cluster.consumer(
                fetch_max_wait_ms=200, fetch_max_bytes=FETCH_BYTES, max_partition_fetch_bytes=PARTITION_FETCH_BYTES
            ) as consumer:
                await self._begin(consumer)
                await self._follow(consumer, stop)
        except KafkaError as error:
            raise Interrupted(f"Kafka at {self._cluster.bootstrap} gave an error: {type(error).__name__}") from error
        finally:
            await asyncio.to_thread(self._writer.shutdown)
            await asyncio.to_thread(self._ahead.close)

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        """Assign every partition and go to the record after the last one applied."""
        for topic in TOPICS:
            try:
                count = await partition_count(self._cluster, self._prefix + topic)
            except LogMissing:
                if topic != REJECTS:
                    raise
                count = 0
            known = self._warehouse.positions(topic)
            for partition in range(count):
                self._next[TopicPartition(self._prefix + topic, partition)] = known.get(partition, -1) + 1
        self._known_ms = dict.fromkeys(self._next, time.time_ns() // 1_000_000)
        stand_at(consumer, self._next)
        log.info(
            "projector started", file=self._warehouse.path, partitions=len(self._next), log_id=self._warehouse.log_id
        )

    async def _follow(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        writing: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        try:
            while not stop.is_set():
                batch = await self._gather(consumer, stop, writing)
                ahead = self._parse_ahead(batch) if writing is not None else None
                if writing is not None:
                    await writing
                    writing = None
                    self._progress.worked()
                self._warehouse.require_in_place()
                await self._tell(consumer, batch)
                if batch.count:
                    ready: _Ready | None = None
                    if ahead is not None:
                        ready = await asyncio.wrap_future(ahead)
                    writing = loop.run_in_executor(self._writer, self._apply, batch, ready)
        finally:
            if writing is not None:
                await writing
        await self._tell(consumer, Batch())

    async def _gather(
        self, consumer: AIOKafkaConsumer, stop: asyncio.Event, writing: asyncio.Future[None] | None
    ) -> Batch:
        """Read until the batch is full, or old enough and the writer free: a busy writer gets larger batches."""
        batch = Batch(age_s=self._batch_age_s, most=self._batch_records)
        while not batch.full and not stop.is_set():
            left_s = batch.left_s()
            if left_s <= 0 and (writing is None or writing.done()):
                break
            wait_ms = int(min(max(left_s, BUSY_WAIT_S), LONGEST_LOOK_S) * 1000)
            fetched = await consumer.getmany(timeout_ms=wait_ms, max_records=FETCH_RECORDS)
            for tp, records in fetched.items():
                self._check(tp, records[0].offset)
                batch.add(tp.topic.removeprefix(self._prefix), records)
                self._next[tp] = records[-1].offset + 1
                self._known_ms[tp] = records[-1].timestamp
            if not fetched and not batch.count:
                self._check_ends(consumer)
                break
        return batch

    def _check(self, tp: TopicPartition, offset: int) -> None:
        """A log that begins anew below where we stood has lost records; a shorter `rejects` has merely forgotten old ones."""
        if offset < self._next[tp] and tp.topic.removeprefix(self._prefix) in LOGS:
            raise LogEndsEarlier(
                f"{tp.topic}/{tp.partition} gives offset {offset} where the file already holds everything below "
                f"{self._next[tp]}: the log lost records. Restore it, or build the file anew with --fresh"
            )

    def _check_ends(self, consumer: AIOKafkaConsumer) -> None:
        """A leader that was just elected may name an older end than was seen before (KIP-207): only one that stays counts."""
        for tp, offset in self._next.items():
            end = consumer.highwater(tp)
            if end is None or end >= offset or tp.topic.removeprefix(self._prefix) not in LOGS:
                self._short_since_s.pop(tp, None)
            elif time.monotonic() - self._short_since_s.setdefault(tp, time.monotonic()) > SHORT_LOG_S:
                self._check(tp, end)

    def _parse_ahead(self, batch: Batch) -> Future[_Ready] | None:
        """Have a large batch parsed while the writer is busy with the one before."""
        return self._ahead.run(lambda: self._ready(batch, ahead=True)) if batch.count >= WORTH_RECORDS else None

    def _ready(self, batch: Batch, *, ahead: bool) -> _Ready:
        facts, decisions = (_log_table(batch.records[topic]) for topic in (FACTS, DECISIONS))
        return _Ready(facts, decisions, self._ahead.parse(facts, decisions) if ahead else None)

    def _apply(self, batch: Batch, ready: _Ready | None) -> None:
        """Writer thread: one transaction for the batch."""
        ready = ready or self._ready(batch, ahead=False)
        rejects = [reject_of(r.partition, r.offset, r.timestamp, r.headers) for r in batch.records[REJECTS]]
        try:
            with self._metrics.time_batch("projector"):
                self._warehouse.apply(ready.facts, ready.decisions, rejects, parsed=ready.parsed)
            if self.caught_up and not batch.full:  # nothing is left to read that would still belong to the day
                self._day_end.look()
        except duckdb.Error as error:
            raise FileTrouble.of(self._warehouse.path, error) from error
        self.applied_records += batch.count

    async def _tell(self, consumer: AIOKafkaConsumer, batch: Batch) -> None:
        """Publish position and lag, after each batch and while nothing comes; `batch` is read and not yet applied."""
        positions = {topic: self._warehouse.positions(topic) for topic in TOPICS}
        total = 0
        for tp, next_offset in self._next.items():
            topic = tp.topic.removeprefix(self._prefix)
            position = positions[topic].get(tp.partition, -1)
            unread = await self._unread(consumer, tp)
            lag = unread + next_offset - 1 - position if position < next_offset - 1 else unread
            total += lag
            read_ms = batch.oldest_ms.get((topic, tp.partition))
            oldest_ms = self._known_ms[tp] if read_ms is None and unread else read_ms
            self._metrics.set_projector(topic, tp.partition, position + 1, lag, oldest_ms)
        self.lag_records = total
        self._progress.waiting(total)
        self._hearing.heard((ms, f"{tp.topic}/{tp.partition}") for tp, ms in self._heard_ms.items())
        self._say_whether_heard()
        if self._on_applied is not None:
            self._on_applied(self)

    def _say_whether_heard(self) -> None:
        """One line when Kafka falls silent, one when it answers again; the clients themselves try all the time."""
        heard, why = self._hearing.probe()
        if heard is self._deaf:
            self._deaf = not heard
            if self._deaf:
                log.warning("Kafka does not answer; waiting for it", kafka=self._cluster.bootstrap, detail=why)
            else:
                log.info("Kafka answers again", kafka=self._cluster.bootstrap)

    async def _unread(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> int:
        """Offsets between the reader and the end of the log. The reader stands behind the marks of transactions, which are
        no records; counted from the last record, a log that ends in one would never be read to its end."""
        end = consumer.last_stable_offset(tp)
        position = int(await consumer.position(tp))
        unread = 0 if end is None or end < 0 else max(0, end - position)
        if end is not None and position >= self._goal.setdefault(tp, end):
            self._reached.add(tp)
        heard_ms = consumer.last_poll_timestamp(tp)
        self._heard_ms.pop(tp, None)
        if not unread and heard_ms is not None:
            self._known_ms[tp] = max(self._known_ms[tp], heard_ms)
            self._heard_ms[tp] = heard_ms
        return unread


async def logs_id(cluster: Cluster, prefix: str, stop: asyncio.Event, patience_s: float = LOGS_WAIT_S) -> str:
    """Return the id of the logs; a worker that starts at the same time has `patience_s` to create them.

    Raises:
        LogMissing: they are not there in time.
    """
    deadline, told = time.monotonic() + patience_s, False
    while True:
        try:
            return await require(cluster, Layout(prefix=prefix))
        except LogMissing as error:
            if time.monotonic() > deadline or stop.is_set():
                raise
            if not told:
                log.info("waiting for the logs", reason=str(error))
                told = True
            await asyncio.sleep(LOGS_LOOK_S)


def _log_table(records: list[ConsumerRecord]) -> pa.Table:
    columns: Mapping[str, list[Any]] = {
        "partition": [record.partition for record in records],
        "offset": [record.offset for record in records],
        "timestamp_ms": [record.timestamp for record in records],
        "value": [record.value for record in records],
    }
    return pa.table(columns, schema=LOG_SCHEMA)
