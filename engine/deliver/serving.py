"""`stammgast deliver` as a process: reads `incentives` as a consumer group, hands notices to lanes, commits what is finished."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from engine.deliver.config import Config
from engine.deliver.lane import Item, Lane, item_of
from engine.deliver.metrics import DeliverMetrics
from engine.deliver.progress import Progress
from engine.deliver.telling import Writer, dead_headers, outcome_event
from engine.stream.clients import Cluster, KafkaTrouble, Unreachable
from engine.stream.generations import inbound_prefix
from engine.stream.topics import DEAD_NOTICES, INCENTIVES, LogMissing, partition_count
from engine.telemetry import Health, Hearing, Metrics
from engine.telemetry import Progress as Pulse
from schemas.notices import parse_event

#: Notices in memory, about 2 KB each. Too few: notices that wait for tomorrow hold back those of today. Too many: memory.
HELD_MOST = 20_000
POLL_MS, POLL_RECORDS = 500, 500
#: How often what is finished is committed. Too often: requests. Too rarely: more is sent again after a crash.
COMMIT_S = 1.0
#: How long a process may be silent before its partitions go to others. Too short: a busy one is thrown out, and what it has
#: under way is sent twice. Too long: after a death nothing of its partitions is sent until then.
SESSION_S = 10.0
#: Between two questions to brokers that gave an error. Too short: a line of the log for each. Too long: that much later on.
ASK_AGAIN_S = 1.0
#: A partition that goes to another process is given so long for what is under way, below the group's session timeout.
HAND_OVER_S = 8.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeliverSettings:
    """What the process needs to know; the command fills it from its options."""

    cluster: Cluster
    config: Config
    group: str = "stammgast-deliver"
    prefix: str = ""
    outcome_topic: str = "app-events"
    shutdown_seconds: float = 15.0


@dataclass(slots=True)
class _Books:
    """Where each partition of this process stands; one that is somebody else's now has no book."""

    open: dict[TopicPartition, Progress] = field(default_factory=dict)
    committed: dict[TopicPartition, tuple[int, str]] = field(default_factory=dict)


class Courier(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Everything between the topic and the lanes."""

    def __init__(self, settings: DeliverSettings, metrics: Metrics, health: Health) -> None:
        self._settings, self._counts = settings, DeliverMetrics(metrics.registry)
        self._topic = settings.prefix + INCENTIVES
        self._dead, self._outcomes = settings.prefix + DEAD_NOTICES, settings.prefix + settings.outcome_topic
        self._writer = Writer(settings.cluster)
        self._lanes = {
            name: Lane(name, channel, settings.config.senders[name], self._finished, self._counts)
            for name, channel in settings.config.channels.items()
        }
        self._books = _Books()
        self._consumer: Any = None
        self._paused = False
        self._pulse, self._hearing = Pulse(), Hearing()
        self._ending: set[asyncio.Task[None]] = set()
        health.add("deliver", self._pulse.probe)
        health.add("kafka", self._hearing.probe)
        health.add("writing", self._writer.probe)
        self._counts.begin(list(self._lanes))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then what is under way is finished and committed. Errors: KafkaTrouble."""
        settings = self._settings
        await self._check_topics()
        await self._writer.start()
        consumer = settings.cluster.new_consumer(
            group_id=settings.group, max_poll_records=POLL_RECORDS, session_timeout_ms=round(SESSION_S * 1_000)
        )
        self._consumer = consumer
        consumer.subscribe([self._topic], listener=self)
        running: list[asyncio.Task[None]] = []
        try:
            await settings.cluster.start(consumer)
            running = [asyncio.create_task(lane.run(stop)) for lane in self._lanes.values()]
            log.info("deliver started", group=settings.group, channels=sorted(self._lanes), topic=self._topic)
            await self._read(stop)
        finally:
            stop.set()
            await asyncio.gather(*running, return_exceptions=True)
            if self._ending:
                await asyncio.wait(self._ending, timeout=settings.shutdown_seconds)
            cut_off = sum(
                await asyncio.gather(*(lane.drain(settings.shutdown_seconds) for lane in self._lanes.values()))
            )
            await self._commit()
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(settings.shutdown_seconds):
                    await consumer.stop()
            await self._writer.stop()
            for sender in settings.config.senders.values():
                await sender.close()
            log.info("deliver stopped", cut_off=cut_off)

    async def _check_topics(self) -> None:
        # Inbound topics keep their names when the logs are moved to more partitions.
        settings = self._settings
        self._outcomes = await inbound_prefix(settings.cluster, settings.prefix) + settings.outcome_topic
        for topic in (self._topic, self._dead, self._outcomes):
            try:
                await partition_count(self._settings.cluster, topic)
            except LogMissing as error:
                raise KafkaTrouble(f"{error}: `stammgast topics create` makes it, or check --topic-prefix") from error

    async def _read(self, stop: asyncio.Event) -> None:
        looked_s = 0.0
        while not stop.is_set():
            try:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            except KafkaError as error:
                await self._wait_for_kafka(error)
                continue
            for place, records in fetched.items():
                await self._take(place, records)
            self._pulse.waiting(0)
            now_s = time.monotonic()
            if now_s - looked_s >= COMMIT_S:
                looked_s = now_s
                await self._commit()
                self._look()

    async def _wait_for_kafka(self, error: Exception) -> None:
        """Brokers that are away are waited for: nothing was taken, so nothing is lost. Errors: those that do not pass, such as a
        missing right."""
        if isinstance(error, KafkaError) and not error.retriable:
            raise error
        log.warning("Kafka gave an error, asked again", error=type(error).__name__)
        await asyncio.sleep(ASK_AGAIN_S)

    async def _take(self, place: TopicPartition, records: Sequence[Any]) -> None:
        """Hand the records of one partition to their lanes."""
        book = self._books.open.get(place)
        if book is None:
            try:
                book = await self._open(place)
            except (KafkaError, Unreachable) as error:
                if place in self._consumer.assignment():
                    self._consumer.seek(place, records[0].offset)
                await self._wait_for_kafka(error)
                return
            if place not in self._consumer.assignment():  # it went while we asked
                return
            self._books.open[place] = book
        for record in records:
            if book.take(record.offset):
                self._sort(record)

    async def _open(self, place: TopicPartition) -> Progress:
        """The book of a partition, out of the group's last commit."""
        async with self._settings.cluster.admin() as admin:
            found = await admin.list_consumer_group_offsets(self._settings.group, partitions=[place])
        last = found.get(place)
        if last is None or last.offset < 0:
            begin = (await self._consumer.beginning_offsets([place]))[place]
            return Progress(begin)
        return Progress(last.offset, last.metadata or "")

    def _sort(self, record: Any) -> None:
        place = (record.topic, record.partition, record.offset)
        try:
            notice = parse_event(record.value or b"")
            item = item_of(notice, record.value, place, time.time())
        except ValueError:
            self._later(self._unreadable(record, place))
            return
        lane = self._lanes.get(notice["data"]["channel"])
        if lane is not None:
            lane.put(item)
        elif self._settings.config.ignore_others:
            self._counts.outcomes.labels("other", "ignored").inc()
            self._close(place)
        else:
            self._later(self._finished(item, "failed", "no_sender"))

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _unreadable(self, record: Any, place: tuple[str, int, int]) -> None:
        """A record that is no notice: kept for a person to look at."""
        key = ":".join(str(part) for part in place)
        headers = {"reason": "unreadable", "channel": "", "attempts": "0", "place": key}
        await self._writer.write(self._dead, key.encode(), record.value or b"{}", headers)
        self._counts.dead.labels("other", "unreadable").inc()
        log.warning("a record of incentives is no notice", place=key)
        self._close(place)

    async def _finished(self, item: Item, outcome: str, reason: str) -> None:
        """Write down what became of a notice; only then it counts as finished."""
        notice, time_us = item.notice, time.time_ns() // 1_000
        channel, notice_id = notice["data"]["channel"], notice["id"]
        if outcome == "failed":
            await self._writer.write(self._dead, notice_id.encode(), item.body, dead_headers(item, reason, time_us))
            self._counts.dead.labels(channel if channel in self._lanes else "other", reason or "failed").inc()
        event = outcome_event(notice_id, notice["subject"], channel, outcome, reason, time_us)
        await self._writer.write(self._outcomes, notice["subject"].encode(), event)
        self._counts.outcomes.labels(channel if channel in self._lanes else "other", outcome).inc()
        told = log.info if outcome == "sent" else log.warning
        told(
            "a notice is finished",
            notice=notice_id,
            rule=notice["data"]["rule"],
            channel=channel,
            outcome=outcome,
            reason=reason or None,
            attempts=item.attempts,
        )
        self._close(item.place)

    def _close(self, place: tuple[str, int, int]) -> None:
        topic, partition, offset = place
        book = self._books.open.get(TopicPartition(topic, partition))
        if book is not None:
            book.finish(offset)

    async def _commit(self, only: Iterable[TopicPartition] | None = None) -> None:
        """Commit what is finished, where it moved."""
        books = self._books
        places = books.open if only is None else [place for place in only if place in books.open]
        new = {place: books.open[place].commit for place in places}
        new = {place: at for place, at in new.items() if books.committed.get(place) != at}
        if not new:
            return
        try:
            await self._consumer.commit(new)
        except (CommitFailedError, IllegalStateError):
            return  # the group was dealt anew: whoever has the partitions now goes on from the commit before
        except KafkaError as error:
            log.warning("not committed, tried again", error=type(error).__name__)
            return
        books.committed |= new

    def _look(self) -> None:
        """Measure, and take no more while too much waits."""
        for lane in self._lanes.values():
            lane.tell()
        consumer, assigned = self._consumer, self._consumer.assignment()
        heard = [(consumer.last_poll_timestamp(place), f"{place.topic}-{place.partition}") for place in assigned]
        self._hearing.heard((ms, place) for ms, place in heard if ms)
        held = sum(lane.held for lane in self._lanes.values()) + len(self._ending)
        self._paused = held >= (HELD_MOST // 2 if self._paused else HELD_MOST)
        full = {
            place for place in assigned if self._paused or (place in self._books.open and self._books.open[place].full)
        }
        consumer.pause(*full)
        consumer.resume(*(assigned - full))
        ends = [(consumer.highwater(place), self._books.open.get(place)) for place in assigned]
        behind = sum(end - book.next_offset for end, book in ends if end is not None and book is not None)
        self._counts.behind.set(max(0, behind))

    # ---------------------------------------------------------------------------------------- ConsumerRebalanceListener

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Finish what is under way, commit, forget."""
        gone = {(place.topic, place.partition) for place in revoked}
        tasks = [task for lane in self._lanes.values() for task in lane.drop(lambda item: item.place[:2] in gone)]
        if tasks:
            await asyncio.wait(tasks, timeout=HAND_OVER_S)
        await self._commit([TopicPartition(*place) for place in gone])
        for place in gone:
            self._books.open.pop(TopicPartition(*place), None)
            self._books.committed.pop(TopicPartition(*place), None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """A partition's book is opened with its first record."""
        log.info("partitions", taken=sorted(place.partition for place in assigned))


async def serve(settings: DeliverSettings, metrics: Metrics, health: Health, stop: asyncio.Event) -> None:
    """Run until `stop`. Errors: KafkaTrouble."""
    await Courier(settings, metrics, health).run(stop)
