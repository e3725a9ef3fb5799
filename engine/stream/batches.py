"""A Faust transport that hands an agent one fetched batch of a partition as ONE event.

Idiomatic Faust pays its machinery per record, 2,500 to 5,500 a second. Here it pays per batch: the event's value is the
list of records that one fetch brought for one partition, and everything else of Faust (assignment, rebalance, streams,
commits, supervision) works on as before. What differs from Faust's own consumer, and why:

- **Commits.** Faust 0.15.3 works out what to commit from acknowledged offsets and the gaps between them. That arithmetic
  stops for ever at a hole it was not told of (faust-streaming/faust#625), commits what is in flight behind a gap, and is
  off by one (#606). A batch knows where it ends, so here the answer is simpler: the end of the last batch before which
  all are acknowledged. Holes (aborted transactions and control records) do not matter, inside a batch or between two;
  a hole at the very end is committed too, so that lag reaches zero.
- **Where to start.** Faust seeks to the group's offsets. Here a callback is asked first, per partition, and nothing of
  that partition is taken until it answered. It may take its time (a keeper recovers): other partitions flow meanwhile.
  A group offset ahead of the log cannot skip a record.
- **Only committed records** are read (Faust itself would, only under its own exactly-once).
- **Memory.** A partition is fetched only while its share of a byte budget is free. What is delivered and not yet
  acknowledged counts, so a slow partition stops being read and holds back nobody else.
- **Truncated logs.** Faust drops records below the position it remembers, in silence. Here a log that continues below
  it is an error where a callback governs the start, and a warning elsewhere.

It leans on Faust's internals; `check_environment` holds the versions, and tests/kafka/test_batches.py the behaviour.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from typing import Any

import faust
import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import IllegalStateError
from faust.tables.manager import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.supervisors import CrashingSupervisor

from engine.stream.clients import FETCH_BYTES, REQUEST_TIMEOUT_MS, Cluster

#: The versions whose internals this module leans on. Another one needs this module read again, then these lines.
PINS: Mapping[str, str] = {"faust-streaming": "0.15.3", "mode-streaming": "0.7.1", "aiokafka": "0.14.0"}

#: What Python adds to a record's bytes in memory: the ConsumerRecord, its key, value, offset and timestamp objects.
RECORD_OVERHEAD_BYTES = 500
#: Records of one fetch over all partitions. Too small: per-batch work shows. Too large: partitions take longer turns.
FETCH_RECORDS = 5_000
#: Bytes of batches delivered and not yet acknowledged, all partitions together. Too small: keepers wait for fetches.
#: Too large: a backlog moves into memory instead of staying in Kafka.
BUDGET_BYTES = 128 * 1024 * 1024
#: How long a broker holds a fetch for which it has nothing, if nothing comes. There is one fetch at a time per broker:
#: while the records of a full partition are being handed on, the next fetch asks for the empty ones alone, and the full
#: one waits until that returns. With the 1,500 that Faust sets a worker with idle inbound topics stood still for half of
#: the time (measured). Too small: an idle worker asks in vain all day, a round trip per broker each time. Too large: full
#: partitions wait for empty ones.
FETCH_WAIT_MS = 20
#: How soon a partition that flows again is noticed while others are being waited for. Too small: an idle worker spins.
#: Too large: a partition that was full loses that much time.
POLL_WHILE_HELD_S = 0.025
#: One question to the broker about a group's offset. Too small: a coordinator that moves fails the start. Too large: a
#: partition stands still for that long without anybody knowing.
ASK_TIMEOUT_S = REQUEST_TIMEOUT_MS / 1000
#: The last commit before a rebalance, or of a worker that crashed. Too small: more is read twice after it. Too large: the
#: rebalance, or the end of the process, waits.
LAST_COMMIT_S = 3.0

#: A worker that is silent so long is thrown out of the group. Too small: a worker that is merely busy is thrown out. Too
#: large: after a death its partitions stand still that long.
SESSION_S = 10.0
#: The same at the embedded broker, which keeps whoever joins a group waiting for half of it, and has one worker only.
EMBEDDED_SESSION_S = 3.0

#: Asked once per assignment and partition: where to read on. None: at the group's offset, or at the log's beginning.
StartOffset = Callable[[TP], Awaitable[int | None]]

log = structlog.get_logger(__name__)


class LogRewoundError(Exception):
    """A governed partition continues below the position that its owner named: the log was truncated or replaced."""


class EnvironmentUnfitError(Exception):
    """This installation has other versions of Faust, mode or aiokafka, or Faust without its compiled parts."""


def check_environment() -> None:
    """Refuse to start on an installation whose Faust behaves differently.

    Errors: EnvironmentUnfitError that says what differs and how to mend it.
    """
    for package, wanted in PINS.items():
        found = version(package)
        if found != wanted:
            raise EnvironmentUnfitError(
                f"{package} {found} is installed, and the batch transport was made for {wanted}: install from "
                "requirements.lock"
            )
    # The pure-Python iterator acknowledges stale events after a rebalance, unprocessed; the compiled one does not.
    if os.environ.get("NO_CYTHON"):
        raise EnvironmentUnfitError("NO_CYTHON is set: without Faust's compiled parts events can be lost; unset it")
    try:
        import_module("faust._cython.streams")
    except ImportError as error:
        raise EnvironmentUnfitError(
            "Faust was installed without its compiled parts, and without them events can be lost: install its wheel"
        ) from error


# ------------------------------------------------------------------------------------------------------------ progress


@dataclass(slots=True)
class _Delivered:
    """A batch on its way through an agent; `end` is the offset to commit once it is acknowledged."""

    message: Any
    end: int
    size: int
    oldest_ms: int


@dataclass(slots=True)
class Progress:
    """How far one partition is, from one seek to the next. Offsets; sizes in bytes.

    A new seek makes a new object, so whoever holds an old one knows that his records are stale.

    Attributes:
        next: where the reader stands, holes behind the last record included.
        after: behind the last record delivered, or the start.
        governed: the start was named by `start_offset`.
        done: what may be committed, None while nothing may.
        known_ms: when what is behind the last record delivered was written, at the earliest: the time of that record, or
            a later moment at which the log ended there.
        start: where it was opened.
    """

    next: int
    after: int = 0
    governed: bool = False
    done: int | None = None
    size: int = 0
    known_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    start: int = 0
    _under_way: deque[_Delivered] = field(default_factory=deque)

    def deliver(self, message: Any, end: int, size: int) -> None:
        """A batch goes out; the records up to `end` are now somebody's."""
        batch = message.value
        self._under_way.append(_Delivered(message, end, size, batch[0].timestamp))
        self.known_ms = batch[-1].timestamp
        self.size += size
        self.next = end
        self.after = message.offset + 1

    def opened(self, start: int, *, governed: bool) -> None:
        """It is known where to read on; what lies below a start that its owner named is done, and the group may know."""
        self.start = self.next = self.after = start
        if governed:
            self.done = start
        self.governed = governed

    def skip(self, position: int) -> None:
        """The reader moved on over a hole: it belongs to the batch before it."""
        self.next = position
        if self._under_way:
            self._under_way[-1].end = position
        else:
            self.done = position

    def settle(self) -> int:
        """Take note of acknowledged batches, in order; returns the bytes still under way."""
        while self._under_way and self._under_way[0].message.acked:
            oldest = self._under_way.popleft()
            self.done = oldest.end
            self.size -= oldest.size
        return self.size

    @property
    def idle(self) -> bool:
        """Is nothing under way?"""
        return not self._under_way

    @property
    def worked_off(self) -> int:
        """Everything below is acknowledged, or a hole."""
        self.settle()
        if self.idle:
            return self.next
        return self.start if self.done is None else self.done

    def oldest_ms(self) -> int:
        """When the oldest record not acknowledged was written; while none of them was delivered, at the earliest."""
        return self._under_way[0].oldest_ms if self._under_way else self.known_ms


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one partition is, for those who watch.

    Attributes:
        done: everything below is acknowledged, or a hole.
        end: where the log of committed records ended when the broker last answered.
        oldest_ms: when the oldest record between them was written (Kafka's stamp, ms since the epoch), None when there
            is none. While none of them was fetched it is the earliest moment at which it can have been.
        heard_ms: when the broker last said where the log ends; None where nothing is asked of it at the moment (the
            partition is paused or full, or what came is still being worked off).
    """

    done: int
    end: int
    oldest_ms: int | None
    heard_ms: int | None


# ------------------------------------------------------------------------------------------------------- in the thread


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka: committed records only, and positions along with the records."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust offers no settings for these; the consumer reads them when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    async def fetch(
        self, wanted: frozenset[TP], timeout: float
    ) -> tuple[dict[TP, list[ConsumerRecord]], dict[TP, int]]:
        """Fetched records by partition, and the position after them (behind holes, too) of every wanted partition."""
        answer: tuple[dict[TP, list[ConsumerRecord]], dict[TP, int]]
        answer = await self.call_thread(self._fetch, wanted, timeout)
        return answer

    async def _fetch(
        self, wanted: frozenset[TP], timeout: float
    ) -> tuple[dict[TP, list[ConsumerRecord]], dict[TP, int]]:
        consumer = self._ensure_consumer()
        records = await self._fetch_records(consumer, wanted, timeout=timeout, max_records=consumer._max_poll_records)
        return records, dict(_positions(consumer, wanted))

    async def start_of_group(self, tp: TP) -> int:
        """The group's committed offset, else the beginning of the log."""
        async with asyncio.timeout(ASK_TIMEOUT_S):
            return int(await self.call_thread(self._start_of_group, tp))

    async def _start_of_group(self, tp: TP) -> int:
        consumer, place = self._ensure_consumer(), driver.ensure_aiokafka_TP(tp)
        committed = await consumer.committed(place)
        return int((await consumer.beginning_offsets([place]))[place] if committed is None else committed)

    async def seek_to(self, tp: TP, offset: int) -> None:
        """Set a position, in the consumer's own thread."""
        await self.call_thread(self._seek_to, tp, offset)

    async def _seek_to(self, tp: TP, offset: int) -> None:
        self._ensure_consumer().seek(driver.ensure_aiokafka_TP(tp), offset)

    def told(self, tp: TP) -> tuple[int, int] | None:
        """(end of the committed log, when the broker said so in ms since the epoch); None before its first answer."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(tp)
        if state is None or state.highwater is None:
            return None
        # Records of a transaction that is open are nobody's work yet. A broker that knows no transactions says -1.
        end = state.highwater if state.lso is None or state.lso < 0 else state.lso
        return int(end), int(state.timestamp)

    async def touch(self) -> None:
        """Tell the group that this member lives although it takes nothing (max_poll_interval)."""
        await self.call_thread(self._touch)

    async def _touch(self) -> None:
        with self._ensure_consumer()._fetcher._subscriptions.fetch_context():
            pass


def _standing(progress: Progress, end: int, heard_ms: int, *, asked: bool) -> Standing:
    done = progress.worked_off
    if done >= end:
        progress.known_ms = max(progress.known_ms, heard_ms)
        return Standing(done, end, None, heard_ms if asked else None)
    return Standing(done, end, progress.oldest_ms(), None)


def _positions(consumer: Any, wanted: Iterable[TP]) -> Iterator[tuple[TP, int]]:
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment
    if assignment is None:
        return
    for tp in wanted:
        state = assignment.state_value(tp)
        if state is not None and state.has_valid_position:
            yield tp, state.position


# ------------------------------------------------------------------------------------------------------------ consumer


class BatchConsumer(driver.Consumer):
    """Faust's consumer, a batch at a time. Everything here runs in the worker's main event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._progress: dict[TP, Progress] = {}
        self._held: set[TP] = set()
        self._resting: set[TP] = set()
        self._openings: dict[TP, asyncio.Future[None]] = {}
        self._moved = asyncio.Event()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- for keepers

    def pause(self, tp: TP) -> None:
        """Take nothing more from this partition until `resume`; idempotent, forgotten at the next assignment."""
        self._resting.add(tp)

    def resume(self, tp: TP) -> None:
        """Let it flow again; idempotent."""
        self._resting.discard(tp)
        self._moved.set()

    def paused(self) -> frozenset[TP]:
        """The partitions that a keeper paused."""
        return frozenset(self._resting)

    def reopen(self, tp: TP) -> None:
        """Ask `start_offset` again and read on from there: the owner of the partition begins anew. Idempotent."""
        if tp in self._progress:
            self._begin(tp)

    # -- for telemetry

    def standings(self) -> dict[TP, Standing]:
        """How far every partition is that is open and of which the broker has told something."""
        asked, found = self._wanted() if self.flow_active else frozenset(), {}
        for tp, progress in self._progress.items():
            if tp not in self._held and (told := self._thread.told(tp)) is not None:
                end, heard_ms = told
                found[tp] = _standing(progress, end, heard_ms, asked=tp in asked)
        return found

    # -- fetching

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch once and yield one message per partition that brought records; its value is the list of records."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        wanted = self._wanted()
        if not wanted:
            await self._wait_until_moved(timeout)
            return
        seen = {tp: self._progress[tp] for tp in wanted}
        if len(seen) < len(self._progress):
            timeout = min(timeout, POLL_WHILE_HELD_S)
        records, positions = await self._thread.fetch(wanted, timeout)
        for tp, progress in seen.items():
            if self.should_stop or not self.flow_active:
                return  # positions are set anew when the flow resumes
            batch, position = records.get(tp), positions.get(tp)
            if self._progress.get(tp) is not progress:
                if batch:
                    await self._read_again(tp)
            elif position is not None:
                message = self._take(tp, progress, batch or [], position)
                if message is not None:
                    yield tp, message

    def _wanted(self) -> frozenset[TP]:
        """The partitions that flow and have room."""
        active = self._get_active_partitions()
        share = self._budget_bytes // max(1, len(self._progress))
        return frozenset(
            tp
            for tp, progress in self._progress.items()
            # With nothing under way there is always room, or a single large batch would stop the partition for good.
            if (progress.settle() < share or progress.idle)
            and tp in active
            and tp not in self._held
            and tp not in self._resting
        )

    @property
    def _budget_bytes(self) -> int:
        return int(getattr(self.transport, "budget_bytes", BUDGET_BYTES))

    async def _wait_until_moved(self, timeout: float) -> None:
        self._moved.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._moved.wait()
        except TimeoutError:
            if self._progress:
                await self._thread.touch()

    def _take(self, tp: TP, progress: Progress, batch: list[ConsumerRecord], position: int) -> Any | None:
        """Book what a fetch brought; returns the message to deliver, if it brought records."""
        first = batch[0].offset if batch else position
        if first < progress.next:
            progress = self._rewound(tp, progress, first)
        self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        if batch:
            message = self._batch_message(tp, batch)
            message.after = progress.after
            progress.deliver(message, max(position, batch[-1].offset + 1), size_in_memory(batch))
            # Faust's loop compares with it and looks for gaps; without it the loop delivers whatever comes.
            self._read_offset[tp] = None
            return message
        if position > progress.next:
            progress.skip(position)
        return None

    def _batch_message(self, tp: TP, batch: list[ConsumerRecord]) -> Any:
        message = self._to_message(tp, batch[-1])
        message.key, message.value, message.headers = None, batch, ()
        return message

    def _rewound(self, tp: TP, progress: Progress, first: int) -> Progress:
        """The broker went on below what was asked for: it no longer has those records."""
        text = (
            f"{tp.topic}/{tp.partition} continues at {first}, below {progress.next}: the log was truncated or replaced"
        )
        if progress.governed:
            raise LogRewoundError(text)
        log.warning("the group was ahead of the log; reading from where the log is", detail=text)
        self._committed_offset[tp] = None
        fresh = self._progress[tp] = Progress(first, after=first, start=first)
        return fresh

    async def _read_again(self, tp: TP) -> None:
        """A fetch crossed a seek and may have taken records from behind it: drop them and seek once more."""
        progress = self._progress.get(tp)
        if progress is not None and tp not in self._held:
            await self._thread.seek_to(tp, progress.next)

    # -- assignment

    async def perform_seek(self) -> None:
        """Begin every assigned partition anew; Faust calls this after each assignment, before anything flows."""
        self._forget()
        for tp in self.assignment():
            self._begin(tp)

    def _begin(self, tp: TP) -> None:
        """Hold a partition and find out where it starts; it flows once that is known."""
        self._cancel_opening(tp)
        progress = self._progress[tp] = Progress(0)
        self._held.add(tp)
        self._openings[tp] = self.add_future(self._open(tp, progress))

    async def _open(self, tp: TP, progress: Progress) -> None:
        ask: StartOffset | None = getattr(self.transport, "start_offset", None)
        start = await ask(tp) if ask is not None else None
        governed = start is not None
        if start is None:
            start = await self._thread.start_of_group(tp)
        if self._progress.get(tp) is not progress:
            return
        progress.opened(start, governed=governed)
        try:
            await self._thread.seek_to(tp, start)
        except IllegalStateError:
            return  # lost in a rebalance that is about to be announced
        if self._progress.get(tp) is progress:
            # None, not the start: Faust would refuse to commit less than a group offset that is ahead of the log.
            self._committed_offset[tp] = None
            self._held.discard(tp)
            self._moved.set()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """A rebalance begins: commit what is done, then forget; whoever gets a partition begins it anew."""
        try:
            async with asyncio.timeout(LAST_COMMIT_S):
                await self.commit()
        except TimeoutError:
            log.info("no commit before the rebalance", seconds=LAST_COMMIT_S)
        self._forget()
        await super().on_partitions_revoked(revoked)

    async def on_stop(self) -> None:
        """The last commit, with an end: what is asked of a crashed thread between its last look and its end is never answered."""
        seconds = LAST_COMMIT_S if self._thread.crashed else ASK_TIMEOUT_S
        try:
            async with asyncio.timeout(seconds):
                await super().on_stop()
        except TimeoutError:
            log.info("no commit before the end", seconds=seconds)

    def _forget(self) -> None:
        for tp in list(self._openings):
            self._cancel_opening(tp)
        self._progress.clear()
        self._held.clear()
        self._resting.clear()

    def _cancel_opening(self, tp: TP) -> None:
        opening = self._openings.pop(tp, None)
        if opening is not None and not opening.done():
            opening.cancel()

    # -- acknowledging and committing

    def ack(self, message: Any) -> bool:
        """Book an acknowledgement; the partition may have room again."""
        acked = bool(super().ack(message))
        self._moved.set()
        return acked

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._progress) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        """What may be committed now: the end of the last batch before which all are acknowledged."""
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        progress = self._progress.get(tp)
        if progress is None or tp in self._held:
            return None
        progress.settle()
        return progress.done

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Gaps do not matter here."""


class BatchTransport(driver.Transport):
    """The transport to set on an app; `configure` does it."""

    Consumer = BatchConsumer
    start_offset: StartOffset | None = None
    budget_bytes: int = BUDGET_BYTES


class NoTables(TableManager):
    """Faust waits a second before it joins the group, so that tables may register. We have none: our state is in the logs."""

    async def on_start(self) -> None:
        """Go on at once."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()


def configure(app: Any, start_offset: StartOffset | None = None, *, budget_bytes: int = BUDGET_BYTES) -> BatchTransport:
    """Give a Faust app the batch transport. Call it before the app's consumer exists.

    Args:
        app: a `faust.App` made with `app_settings`.
        start_offset: asked per assigned partition; while it is awaited nothing of that partition is taken. Its task is
            cancelled when the group rebalances meanwhile: protect a recovery that should go on (`asyncio.shield`).
            An exception ends the worker.
        budget_bytes: memory for batches delivered and not yet acknowledged.

    Errors: EnvironmentUnfitError.
    """
    check_environment()
    transport = BatchTransport(app.conf.broker_consumer, app)
    transport.start_offset = start_offset
    transport.budget_bytes = budget_bytes
    app.transport = transport
    return transport


def app_settings(
    cluster: Cluster, partitions: int, *, session_s: float = SESSION_S, instance_id: str | None = None
) -> dict[str, Any]:
    """Settings of a `faust.App` that the batch transport needs, the cluster's security included.

    Args:
        partitions: how many partitions the worker may read at once, all topics together.
        session_s: SESSION_S, or EMBEDDED_SESSION_S at the embedded broker.
        instance_id: for static membership (KIP-345): a member that comes back under it within the session moves nobody.
    """
    return {
        "consumer_group_instance_id": instance_id,
        "broker": [f"kafka://{server}" for server in cluster.bootstrap.split(",")],
        "broker_credentials": faust_credentials(cluster),
        "broker_client_id": cluster.client_id,
        # An agent that raises ends the process, and nothing it had is acknowledged: the one safe way in this Faust.
        "agent_supervisor": CrashingSupervisor,
        "TableManager": NoTables,
        # Events are batches here. Twice the partitions: one being handed on, one waiting, for each.
        "stream_buffer_maxsize": 2 * max(1, partitions),
        # Faust would wait without limit for what is in flight, at every rebalance and at the end.
        "stream_wait_empty": False,
        "broker_max_poll_records": FETCH_RECORDS,
        "consumer_max_fetch_size": FETCH_BYTES,
        "consumer_auto_offset_reset": "earliest",
        "broker_session_timeout": session_s,
        "broker_heartbeat_interval": session_s / 4,
        # How long a rebalance waits for members that finish their work; longer than a keeper takes to rest.
        "broker_rebalance_timeout": 30.0,
        # At least the session timeout, or Faust refuses; far below its default for producers, 20 minutes.
        "broker_request_timeout": max(session_s, REQUEST_TIMEOUT_MS / 1000),
        "producer_request_timeout": REQUEST_TIMEOUT_MS / 1000,
        # Group offsets are for people who look at lag, and for intake, which reads this much twice after a death.
        "broker_commit_interval": 1.0,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "topic_partitions": max(1, partitions),
        "web_enabled": False,
    }


def faust_credentials(cluster: Cluster) -> Any:
    """The login for Faust's `broker_credentials`, or None: the same security as every other client."""
    options = cluster.security.client_options()
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


def batch_topic(app: Any, *names: str) -> Any:
    """The Faust topic for an agent that takes batches: raw bytes, nothing decoded."""
    return app.topic(*names, value_serializer="raw", key_serializer="raw", value_type=bytes, key_type=bytes)


def records_of(event: Any) -> list[ConsumerRecord]:
    """The records of an event from a batch topic, in offset order, all of one partition; never empty."""
    records: list[ConsumerRecord] = event.message.value
    return records


def read_after(event: Any) -> int:
    """Where the batch before this one ended (its last record's offset + 1), or where the partition was started.

    Everything below was delivered before; from here to this batch's first record there are only holes.
    """
    return int(event.message.after)


def size_in_memory(batch: Iterable[ConsumerRecord]) -> int:
    """Roughly what a batch occupies, in bytes; absent keys and values count as -1 in Kafka and as little here."""
    return sum(r.serialized_key_size + r.serialized_value_size + RECORD_OVERHEAD_BYTES for r in batch)


__all__ = [
    "EMBEDDED_SESSION_S",
    "PINS",
    "SESSION_S",
    "BatchConsumer",
    "BatchTransport",
    "EnvironmentUnfitError",
    "LogRewoundError",
    "Progress",
    "Standing",
    "app_settings",
    "batch_topic",
    "check_environment",
    "configure",
    "read_after",
    "records_of",
]
