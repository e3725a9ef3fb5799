"""One keeper per owned partition of `facts`: fence, recover, seek, run. One decision per fact, in offset order.

What makes it so: the partition's own transactional producer, which only one process can hold (starting it fences the
one before), and the position, which is read from the log of decisions and from nowhere else. Consumer-group offsets are
committed for people who look at lag; nothing starts from them.

The order within a turn is decide, send, commit, acknowledge. Deciding is pure and may be thrown away; everything that a
batch of facts leads to (decisions, facts for other members, rejected records) becomes visible in one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import structlog
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced

from engine.ledger.partition import FoldFailed, UnknownProgramme
from engine.stream.chain import CHAIN_HEADER, GENESIS, link
from engine.stream.clients import BATCH_BYTES, KafkaTrouble
from engine.stream.outbox import Outbox, reject_headers
from engine.stream.parts import records_of
from engine.stream.recovery import Recovered, readable
from engine.stream.topics import FACTS, POINTS_LOG, REJECTS, Layout
from engine.telemetry import raised_at
from schemas.decisions import Decision
from schemas.envelope import Fact, encode_fact
from schemas.facts import TICK
from schemas.rejects import Rejected
from schemas.times import to_text

#: The checkpoint record of a later issue, fixed now so that nothing else takes its place. It will stand in
#: `member-snapshots` under the key `stammgast:checkpoint:<partition>`, written in the same transaction as the last
#: snapshot of every member that was dirty before it: {"format": 1, "facts": next offset of facts, "points_log": next
#: offset of points-log, "state_format": format of the snapshots beside it}. A keeper that meets a format it does not
#: know ignores it and folds the logs from their beginning, which is what this version always does.
CHECKPOINT_FORMAT = 1
CHECKPOINT_KEY = "stammgast:checkpoint:{partition}"

#: One append may take this long (send, commit); then the process dies and another takes over.
APPEND_SECONDS = 30.0
CLEAN_UP_SECONDS = 3.0
#: A turn takes what waits, up to this many facts: longer transactions cost less each, shorter ones show sooner.
TURN_RECORDS = 4_000
#: So many facts take each step together (parse, decide, encode), then other keepers, heartbeats and intake get the event
#: loop. Going through all steps fact by fact costs a third more: each step's code and data push those of the others out of
#: the processor's caches. More than some hundred gain nothing and hold the loop.
BREATH_RECORDS = 250
#: Batches that may wait in a keeper before its partition is paused, and before it flows again. Twice as many fit, for
#: those already on their way when it was paused; what comes after that is dropped and read again.
QUEUE_HIGH = 4
QUEUE_LOW = 1
QUEUE_MOST = 2 * QUEUE_HIGH

FENCED = (ProducerFenced, InvalidProducerEpoch)
UNREADABLE = "stammgast.unreadable"
UNREADABLE_SOURCE = "urn:stammgast:unreadable"

log = structlog.get_logger(__name__)


class Ledger(Protocol):
    """What a keeper needs of `engine.ledger.partition.Partition`."""

    newest_us: int | None

    @property
    def next_due_us(self) -> int | None:
        """When the next timer of any member is due."""
        ...

    def answer(self, fact: Fact, offset: int) -> Any:
        """Decide a fact and take the decision in: an object with `decisions`, `derived` and `reject`."""
        ...

    def recall(self, fact: Fact, decision: Decision) -> None:
        """Take a decision in that stands in the log."""
        ...

    def quarantine(self, fact: Fact, offset: int, error: str) -> Any:
        """The answer to a fact that nobody could decide."""
        ...


class Flow(Protocol):
    """The consumer of `facts`, as far as a keeper steers it."""

    def pause(self, partition: int) -> None:
        """Fetch nothing more from this partition."""
        ...

    def resume(self, partition: int) -> None:
        """Fetch again, from where the reader stands."""
        ...

    def reopen(self, partition: int) -> None:
        """Ask the keeper for its position again, and read on from there."""
        ...


class Watch(Protocol):
    """Who is told what happened (metrics)."""

    def decided(self, decisions: Sequence[Decision], rejects: Sequence[str], seconds: float) -> None:
        """A turn was committed."""
        ...

    def waiting(self, partition: int, records: int, oldest_ms: int | None) -> None:
        """So many facts are in memory and have no decision yet; when the oldest of them was recorded."""
        ...

    def gone(self, partition: int) -> None:
        """This worker has the partition no longer."""
        ...


class MissingProgramme(KafkaTrouble):
    """A fact names a programme version that the `programmes` topic does not hold."""


@dataclass(slots=True)
class Delivery:
    """Records of one partition as fetched.

    Attributes:
        records: aiokafka's, in order, at least one.
        acknowledge: call when every record is decided in the log.
        after: the reader's position before these records, None when unknown: a delivery that does not follow on what
            was delivered before it is refused, so that no fact is skipped whatever the consumer did in between.
    """

    records: Sequence[Any]
    acknowledge: Callable[[], None]
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What every keeper of a worker shares.

    Attributes:
        app: name of the deployment; transactional ids begin with it.
        new_producer: makes a producer; None as transactional id makes a plain one.
        recover: fills a fresh ledger from both logs of a partition.
        new_ledger: an empty ledger for a partition.
        reload_programmes: reads the `programmes` topic again.
        partition_of: the partition of `facts` for a key.
        died: told when something happened that no keeper can mend: the process must end.
        fenced: told the partition of a keeper that was fenced and closed itself.
        changed: told when a keeper may have become able to take deliveries.
        transactional: False on the embedded broker, which knows no transactions.
    """

    app: str
    layout: Layout
    new_producer: Callable[[str | None], Any]
    recover: Callable[[int, Ledger], Awaitable[Recovered]]
    new_ledger: Callable[[int], Ledger]
    reload_programmes: Callable[[], Awaitable[None]]
    partition_of: Callable[[bytes], int]
    flow: Flow
    watch: Watch
    died: Callable[[BaseException], None]
    fenced: Callable[[int], None]
    changed: Callable[[], None]
    transactional: bool = True


State = Literal["opening", "open", "closed"]
#: As the end of what was delivered: everything is dropped until the consumer asked for the position.
NOTHING_FOLLOWS = -1


class Keeper:
    """The one writer of a partition of `points-log`, and the state that its decisions made.

    Belongs to the event loop that made it. A closed keeper stays closed; its partition gets a new one. Attributes for
    others to read: `state`, `next_offset`, `ledger`, `last_tick_us`, `idle_since`, `proven`.
    """

    def __init__(self, partition: int, tools: Tools) -> None:
        self.partition = partition
        self.state: State = "opening"
        self.ledger: Ledger = tools.new_ledger(partition)
        self.next_offset = 0
        self.last_tick_us = 0
        self.idle_since = time.monotonic()
        #: A commit since the last assignment proves that nobody fenced this keeper in between.
        self.proven = True
        self._tools = tools
        self._where = f"{tools.layout.name(FACTS)}[{partition}]"
        self._log_place = (tools.layout.name(POINTS_LOG), partition)
        self._facts_topic = tools.layout.name(FACTS)
        self._rejects_place = (tools.layout.name(REJECTS), partition)
        self._producer: Any = None
        self._queue: deque[Delivery] = deque()
        self._at_hand: list[Delivery] = []
        self._filled = asyncio.Event()
        self._delivered = NOTHING_FOLLOWS
        self._skip_parts = 0
        self._link = GENESIS
        self._resting = False
        self._held = False
        self._free = asyncio.Event()
        self._free.set()
        self._task: asyncio.Task[None] | None = None

    # ------------------------------------------------------------------------------------------- seen from the worker

    def start(self) -> None:
        """Begin to open; returns at once. `position` answers when it is done."""
        self._task = asyncio.create_task(self._live(), name=f"keeper-{self.partition}")

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery, never wait. What cannot be taken is dropped and read again from the position in the log."""
        if self.state != "open" or self._resting:
            return
        if self._delivered == NOTHING_FOLLOWS:
            return
        if delivery.after is not None and delivery.after != self._delivered:
            self._read_again("a delivery does not follow on the one before")
            return
        if len(self._queue) >= QUEUE_MOST:
            self._read_again("the queue is full")
            return
        self._queue.append(delivery)
        self._filled.set()
        self._delivered = delivery.records[-1].offset + 1
        self._tell_waiting()
        if len(self._queue) >= QUEUE_HIGH and not self._held:
            self._held = True
            self._tools.flow.pause(self.partition)

    def _read_again(self, why: str) -> None:
        """Stop the flow; once the queue is worked off, it starts again from the position in the log."""
        log.info("deliveries dropped and read again", place=self._where, why=why)
        self._held = True
        self._delivered = NOTHING_FOLLOWS
        self._tools.flow.pause(self.partition)
        if self._free.is_set():
            self._let_flow()  # no turn is under way whose end would do it

    async def rest(self, seconds: float) -> None:
        """Before a rebalance: finish the turn at hand, drop what waits; what is not done in time is aborted."""
        self._resting = True
        self._drop_queue()
        if self.state != "open":
            return
        try:
            async with asyncio.timeout(seconds):
                await self._free.wait()
        except TimeoutError:
            log.warning("turn not finished in time, aborted", place=self._where, seconds=seconds)
            await self.close()

    def carry_on(self) -> None:
        """After a rebalance in which the partition stayed: go on with the same producer."""
        self._resting = self._held = False
        self._delivered = NOTHING_FOLLOWS
        self.proven = False
        self._tools.changed()

    async def idle(self) -> None:
        """Wait until nothing waits here and no turn is under way."""
        while self._queue or not self._free.is_set():
            await self._free.wait()
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Abort what is under way, free the producer. Never raises; bounded."""
        self._resting = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=2 * CLEAN_UP_SECONDS)
        self.state = "closed"
        self._drop_queue()

    def position(self) -> int | None:
        """Where the consumer must read on, if the keeper takes deliveries now; what it delivers next must begin there."""
        if self.state != "open" or self._resting:
            return None
        self._delivered = self.next_offset
        return self.next_offset

    # ---------------------------------------------------------------------------------------------------------- life

    async def _live(self) -> None:
        tools = self._tools
        try:
            await self._open()
            tools.changed()
            while True:
                await self._turn()
        except FENCED as error:
            log.warning("fenced: another worker owns the partition now", place=self._where, error=type(error).__name__)
            self.state = "closed"
            tools.flow.pause(self.partition)
            tools.fenced(self.partition)
        except Exception as error:  # noqa: BLE001  whatever it is, the process must not go on with half a state
            self.state = "closed"
            tools.died(error)
        finally:
            self.state = "closed"
            self._drop_queue()
            self._free.set()
            await self._stop_producer()

    async def _open(self) -> None:
        """Fence, then recover."""
        tools, began = self._tools, time.monotonic()
        name = f"{tools.app}-rewards-{self.partition}" if tools.transactional else None
        self._producer = tools.new_producer(name)
        async with asyncio.timeout(APPEND_SECONDS):
            await self._producer.start()
        found = await tools.recover(self.partition, self.ledger)
        self.next_offset, self._skip_parts = found.next_offset, found.parts_written
        self.last_tick_us, self._link = found.last_tick_us, found.link
        self.state = "open"
        log.info(
            "keeper open",
            place=self._where,
            next_offset=self.next_offset,
            recovered=found.facts,
            seconds=round(time.monotonic() - began, 3),
        )

    async def _stop_producer(self) -> None:
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        # A fenced or unreachable producer cannot say goodbye properly; nothing depends on it.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await producer.stop()

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._filled.clear()
        self._tell_waiting()

    # ---------------------------------------------------------------------------------------------------------- turn

    async def _turn(self) -> None:
        """Decide what waits, write it, acknowledge it."""
        deliveries = await self._take()
        try:
            began = time.monotonic()
            turn = Turn(self._producer)
            for delivery in deliveries:
                await self._decide(delivery.records, turn)
            if turn.outbox.records:
                await self._append(turn)
                self.proven = True
            self._tools.watch.decided(turn.decisions, turn.rejects, time.monotonic() - began)
            for delivery in deliveries:
                delivery.acknowledge()
        finally:
            self._at_hand = []
            self.idle_since = time.monotonic()
            self._free.set()
        self._tell_waiting()
        self._let_flow()

    async def _take(self) -> list[Delivery]:
        while not self._queue:
            self._filled.clear()
            await self._filled.wait()
        # From here to the end of the turn this keeper is at work: nothing may come in between, so nothing is awaited.
        self._free.clear()
        self._at_hand, records = [], 0
        while self._queue and records < TURN_RECORDS:
            self._at_hand.append(self._queue.popleft())
            records += len(self._at_hand[-1].records)
        return self._at_hand

    def _let_flow(self) -> None:
        """Start the partition again when it was held and what waited is worked off."""
        if not self._held or self._resting:
            return
        if self._delivered == NOTHING_FOLLOWS and not self._queue:
            self._tools.flow.reopen(self.partition)
            self._held = False
        elif self._delivered != NOTHING_FOLLOWS and len(self._queue) <= QUEUE_LOW:
            self._tools.flow.resume(self.partition)
            self._held = False

    def _tell_waiting(self) -> None:
        undecided = [*self._at_hand, *self._queue]
        waiting = sum(len(delivery.records) for delivery in undecided)
        oldest_ms = undecided[0].records[0].timestamp if undecided else None
        self._tools.watch.waiting(self.partition, waiting, oldest_ms)

    async def _decide(self, records: Sequence[Any], turn: Turn) -> None:
        for start in range(0, len(records), BREATH_RECORDS):
            # Read again after a rebalance, some may be decided already.
            chunk = [record for record in records[start : start + BREATH_RECORDS] if record.offset >= self.next_offset]
            facts = [readable(record.value) for record in chunk]
            for record, fact in zip(chunk, facts, strict=True):
                try:
                    self._decide_one(record, fact, turn)
                except UnknownProgramme as missing:
                    await self._with_new_programmes(record, fact, turn, missing)
                self.next_offset = record.offset + 1
            self._encode(turn)
            await asyncio.sleep(0)

    async def _with_new_programmes(self, record: Any, fact: Fact | None, turn: Turn, missing: UnknownProgramme) -> None:
        """A version was published since this worker read the programmes: read them again, once."""
        await self._tools.reload_programmes()
        try:
            self._decide_one(record, fact, turn)
        except UnknownProgramme as still:
            raise MissingProgramme(
                f"{self._where} names programme version {still.hash} at offset {record.offset}, but the programmes "
                "topic does not hold it: publish that version again with `stammgast rules publish`, then start again"
            ) from missing

    def _decide_one(self, record: Any, fact: Fact | None, turn: Turn) -> None:
        if fact is None:
            self._write_unreadable(record, turn)
            return
        try:
            answer = self.ledger.answer(fact, record.offset)
        except UnknownProgramme:
            raise
        except FoldFailed as error:
            self._log_error("decision cannot be taken in", record, fact, error)
            raise
        except Exception as error:  # noqa: BLE001  whatever a pure function raised, this fact cannot be decided
            self._log_error("fact quarantined", record, fact, error)
            answer = self.ledger.quarantine(fact, record.offset, f"{type(error).__name__}: {error}")
        turn.decided.append((record, answer.decisions))
        for derived in answer.derived:
            self._write_derived(derived, record.timestamp, turn)
        if answer.reject is not None:
            self._write_reject(record, answer.reject, fact.recorded_at, turn)
        if fact.type == TICK:
            self.last_tick_us = max(self.last_tick_us, fact.time_us)

    def _log_error(self, what: str, record: Any, fact: Fact, error: Exception) -> None:
        named = {"place": self._where, "offset": record.offset, "source": fact.source, "fact_id": fact.id}
        log.error(what, **named, error=type(error).__name__, raised_at=raised_at(error))

    def _encode(self, turn: Turn) -> None:
        """Turn what was decided into records."""
        for record, decisions in turn.decided:
            values = records_of(decisions, BATCH_BYTES)
            if self._skip_parts:
                # A writer without transactions died between two parts; the first ones stand in the log, the same bytes.
                values, self._skip_parts = values[self._skip_parts :], 0
            for value in values:
                self._link = link(self._link, value)
                turn.outbox.add(self._log_place, record.key, value, record.timestamp, [(CHAIN_HEADER, self._link)])
            turn.decisions.extend(decisions)
        turn.decided.clear()

    def _write_derived(self, fact: Fact, timestamp_ms: int, turn: Turn) -> None:
        key = (fact.key or "").encode()
        place = (self._facts_topic, self._tools.partition_of(key))
        turn.derived.add(place, key, encode_fact(fact), timestamp_ms)

    def _write_reject(self, record: Any, rejected: Rejected, received_at: str, turn: Turn) -> None:
        headers = reject_headers(record, rejected, received_at)
        # Stamped with now, not with the fact's time: the retention of rejects counts from the refusal.
        turn.outbox.add(self._rejects_place, record.key, record.value, time.time_ns() // 1_000_000, headers)
        turn.rejects.append(rejected.reason)

    def _write_unreadable(self, record: Any, turn: Turn) -> None:
        """Something wrote to `facts` that is no fact. It still gets its one decision, or the log would stop here."""
        log.error("record in facts is no fact", place=self._where, offset=record.offset)
        decision = unreadable_decision(self.partition, record.offset)
        turn.decided.append((record, [decision]))
        rejected = Rejected("quarantined", "this record of facts is not a fact: only the engine may write to facts")
        self._write_reject(record, rejected, "", turn)

    async def _append(self, turn: Turn) -> None:
        """Write a turn: all of it, or nothing of it becomes visible. Errors: KafkaTrouble when it takes too long."""
        try:
            async with asyncio.timeout(APPEND_SECONDS):
                await (self._in_a_transaction(turn) if self._tools.transactional else self._one_after_the_other(turn))
        except TimeoutError as error:
            raise KafkaTrouble(
                f"{self._log_place[0]}/{self.partition} took no decisions within {APPEND_SECONDS:.0f} s: is Kafka well?"
            ) from error

    async def _in_a_transaction(self, turn: Turn) -> None:
        producer = self._producer
        await producer.begin_transaction()
        try:
            await asyncio.gather(turn.derived.send(), turn.outbox.send())
            await producer.commit_transaction()
        except FENCED:
            raise
        except BaseException:
            await self._abort(producer)
            raise

    async def _one_after_the_other(self, turn: Turn) -> None:
        """Without transactions a death may come in between. A derived fact that is written twice is a duplicate; one that
        was never written, though its decision stands, would be lost."""
        await turn.derived.send()
        await turn.outbox.send()

    async def _abort(self, producer: Any) -> None:
        """Best effort: an open transaction holds readers back until it times out or the next owner fences it."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await producer.abort_transaction()


class Turn:
    """What one turn of a keeper leads to."""

    __slots__ = ("decided", "decisions", "derived", "outbox", "rejects")

    def __init__(self, producer: Any) -> None:
        self.outbox = Outbox(producer)
        self.derived = Outbox(producer)
        self.decided: list[tuple[Any, Sequence[Decision]]] = []
        self.decisions: list[Decision] = []
        self.rejects: list[str] = []


def unreadable_decision(partition: int, offset: int) -> Decision:
    """The decision on a record of `facts` that is no fact: quarantined, named after its place."""
    return Decision(
        source=UNREADABLE_SOURCE,
        fact_id=f"{partition}:{offset}",
        type=UNREADABLE,
        member_id=None,
        outcome="quarantined",
        reason="unreadable",
        programme=None,
        occurred_at=to_text(0),
        offset=offset,
    )
