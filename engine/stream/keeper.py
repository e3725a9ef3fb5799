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
from collections import deque
from collections.abc import Sequence
from typing import Literal

import structlog

from engine.ledger.partition import FoldFailed, UnknownProgramme
from engine.stream.attempts import Attempts, Step
from engine.stream.outbox import Outbox
from engine.stream.pace import Pace
from engine.stream.recovery import Recovered, recover
from engine.stream.snapshots import (
    IDLE_MOST,
    IDLE_SECONDS,
    LEAVE_MOST,
    LEAVE_SECONDS,
    TURN_MOST,
    Snapshots,
    attempt_key,
    checkpoint_key,
)
from engine.stream.tools import Delivery, Ledger, MissingProgramme, Tools
from engine.stream.topics import FACTS, MEMBER_SNAPSHOTS
from engine.stream.turn import Decider, Turn
from engine.stream.writing import CLEAN_UP_SECONDS, FENCED, Writer, blames_no_fact

#: A turn takes what waits, up to this many facts: longer transactions cost less each, shorter ones show sooner.
TURN_RECORDS = 4_000
#: So many facts go into the first transaction of a keeper. One that is written within the first time may be twice as large the
#: next time; one that takes longer than the second, of the 10 s that brokers leave it open, is followed by a smaller one.
FIRST_RECORDS, WRITE_QUICK_S, WRITE_SLOW_S = 250, 1.0, 3.0
#: Batches that may wait in a keeper before its partition is paused, and before it flows again. Twice as many fit, for
#: those already on their way when it was paused; what comes after that is dropped and read again.
QUEUE_HIGH = 4
QUEUE_LOW = 1
QUEUE_MOST = 2 * QUEUE_HIGH

log = structlog.get_logger(__name__)


State = Literal["opening", "open", "closed"]
#: As the end of what was delivered: everything is dropped until the consumer asked for the position.
NOTHING_FOLLOWS = -1


class Keeper:
    """The one writer of a partition of `points-log`, and the state that its decisions made.

    Belongs to the event loop that made it. A closed keeper stays closed; its partition gets a new one.
    """

    def __init__(self, partition: int, tools: Tools) -> None:
        self.partition = partition
        self.state: State = "opening"
        self.idle_since = tools.seconds()
        #: A commit since the last assignment proves that nobody fenced this keeper in between.
        self.proven = True
        self._tools = tools
        self._where = f"{tools.layout.name(FACTS)}[{partition}]"
        self._writer = Writer(partition, tools)
        self._notes = (tools.layout.name(MEMBER_SNAPSHOTS), partition)
        #: Set by opening.
        self._decider: Decider
        self._snapshots: Snapshots
        self._attempts = Attempts(None, 0, marks=False)
        self._pace = Pace(FIRST_RECORDS, TURN_RECORDS, WRITE_QUICK_S, WRITE_SLOW_S)
        self._queue: deque[Delivery] = deque()
        self._at_hand: list[Delivery] = []
        self._filled = asyncio.Event()
        self._delivered = NOTHING_FOLLOWS
        self._resting = False
        self._held = False
        self._free = asyncio.Event()
        self._free.set()
        self._task: asyncio.Task[None] | None = None

    @property
    def ledger(self) -> Ledger:
        """The state that the decisions made; of an open keeper."""
        return self._decider.ledger

    @property
    def next_offset(self) -> int:
        """Of the first fact without a decision; of an open keeper."""
        return self._decider.next_offset

    @property
    def last_tick_us(self) -> int:
        """Time of the newest tick that was decided; of an open keeper."""
        return self._decider.last_tick_us

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

    async def leave(self) -> None:
        """After `rest`, before a stop in order: write the snapshots that are left, if they are few. Never raises; bounded."""
        if self.state != "open" or not self._free.is_set() or not self._tools.transactional:
            return
        snapshots = self._snapshots
        if not (snapshots.under_way or snapshots.since) or self._begin_checkpoint() > LEAVE_MOST:
            return
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                while snapshots.under_way:
                    turn = Turn(self._writer.producer)
                    snapshots.add_some(turn.outbox, TURN_MOST, self._tools.now_ms())
                    await self._append(turn)
        except Exception as error:  # noqa: BLE001  a checkpoint saves time and nothing else
            log.info("left without a checkpoint", place=self._where, error=type(error).__name__)

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
            await asyncio.wait([self._task], timeout=3 * CLEAN_UP_SECONDS)
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
        except asyncio.CancelledError:
            await self._take_attempt_back()
            raise
        except FENCED as error:
            log.warning("fenced: another worker owns the partition now", place=self._where, error=type(error).__name__)
            self.state = "closed"
            tools.flow.pause(self.partition)
            tools.fenced(self.partition)
        except Exception as error:  # noqa: BLE001  whatever it is, the process must not go on with half a state
            self.state = "closed"
            if isinstance(error, FoldFailed):
                await self._note(
                    checkpoint_key(self.partition), None
                )  # if a snapshot is to blame, nobody reads it again
            elif blames_no_fact(error):
                await self._take_attempt_back()
            tools.died(error)
        finally:
            self.state = "closed"
            self._drop_queue()
            self._free.set()
            await self._writer.stop()

    async def _open(self) -> None:
        """Fence, then recover."""
        began = self._tools.seconds()
        await self._writer.start()
        found = await self._recover()
        self._decider = Decider(self.partition, self._tools, found)
        every = self._tools.checkpoint_decisions
        self._snapshots = Snapshots(self.partition, self._notes[0], found.ledger, found.facts, every)
        self._attempts = Attempts(found.attempt, found.next_offset, marks=self._tools.transactional)
        if self._attempts.careful:
            log.warning("a worker died here and nothing was decided since: going carefully", place=self._where)
        self.state = "open"
        seconds = self._tools.seconds() - began
        self._tools.watch.recovered(seconds, found.source, found.facts)
        log.info(
            "keeper open",
            place=self._where,
            next_offset=self.next_offset,
            source=found.source,
            snapshots=found.members,
            folded=found.facts,
            seconds=round(seconds, 3),
        )

    async def _take_attempt_back(self) -> None:
        """The end of this keeper is no fact's fault. Best effort, bounded.

        By a plain producer: after a transaction that failed, batches may wait in its own, and would be committed with
        whatever comes next. Written too late, by one that was fenced, it costs the heir a try that he does not count.
        """
        if self._attempts.outstanding is None:
            return
        plain = self._tools.new_producer(None)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await plain.start()
                outbox = Outbox(plain)
                outbox.add(self._notes, attempt_key(self.partition), self._attempts.taken_back(), self._tools.now_ms())
                await outbox.send()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLEAN_UP_SECONDS):
                await plain.stop()

    async def _distrust_snapshots(self) -> None:
        """The state could not take in its own decision. If a snapshot is to blame, nobody shall read it again."""
        if self._tools.transactional:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLEAN_UP_SECONDS):
                    await self._note(checkpoint_key(self.partition), None)

    async def _note(self, key: bytes, value: bytes | None) -> None:
        outbox = Outbox(self._writer.producer)
        outbox.add(self._notes, key, value, self._tools.now_ms())
        await self._writer.write(outbox)

    async def _recover(self) -> Recovered:
        try:
            return await self._recover_once()
        except UnknownProgramme:
            # Published since this worker read the programmes, by another one that decided under it.
            await self._tools.reload_programmes()
        try:
            return await self._recover_once()
        except UnknownProgramme as still:
            raise MissingProgramme(
                f"{self._where} was decided under programme version {still.hash}, but the programmes topic does not hold "
                "it: publish that version again with `stammgast rules publish`, then start again"
            ) from still

    async def _recover_once(self) -> Recovered:
        tools, partition = self._tools, self.partition
        # Without transactions none are written: a checkpoint could stand there without its snapshots.
        return await recover(
            lambda: tools.new_ledger(partition),
            tools.logs(partition),
            self._where,
            partition,
            snapshots=tools.transactional,
        )

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._filled.clear()
        self._tell_waiting()

    # ---------------------------------------------------------------------------------------------------------- turn

    async def _turn(self) -> None:
        """Decide what waits, write it, acknowledge it; without anything that waits, write snapshots."""
        deliveries = await self._take()
        try:
            if deliveries:
                await self._work_off(deliveries)
            else:
                await self._commit(Turn(self._writer.producer))
        finally:
            self._at_hand = []
            self._free.set()
        self._tell_waiting()
        self._let_flow()

    async def _work_off(self, deliveries: Sequence[Delivery]) -> None:
        # Read again after a rebalance, some may be decided already.
        records = [record for one in deliveries for record in one.records if record.offset >= self.next_offset]
        for step in self._attempts.steps(records):
            if self._resting and step.careful:
                return  # the rest is read again by whoever has the partition then
            async with self._tools.one_at_a_time if step.careful else contextlib.nullcontext():
                await self._take_step(step)
            if step.records[-1].offset >= self.next_offset:
                return  # the rest of it is read again by whoever has the partition then
        self.idle_since = self._tools.seconds()
        for delivery in deliveries:
            delivery.acknowledge()

    async def _take_step(self, step: Step) -> None:
        began = self._tools.seconds()
        if step.attempt is not None:
            await self._note(attempt_key(self.partition), step.attempt.encode())
            self._attempts.marked(step.attempt)
        if step.careful:
            self._tools.watch.attempt("given_up" if step.hopeless or step.attempt is None else step.attempt.kind)
        if step.hopeless:
            turn = Turn(self._writer.producer)
            self._decider.give_up(step.records[0], turn, unread=step.unread)
            await self._finish(turn, began)
            return
        taken = 0
        while taken < len(step.records) and not (taken and self._resting):
            began, turn = self._tools.seconds(), Turn(self._writer.producer)
            taken += await self._decider.decide(step.records[taken : taken + self._pace.records], turn)
            await self._finish(turn, began)

    async def _finish(self, turn: Turn, began: float) -> None:
        writing = self._tools.seconds()
        await self._commit(turn)
        now = self._tools.seconds()
        self._pace.took(turn.facts, now - writing)
        self._attempts.progressed()
        self._tools.watch.decided(turn.tally, now - began)

    async def _commit(self, turn: Turn) -> None:
        """Write what the turn led to, some snapshots with it, and begin the next checkpoint when it is time."""
        snapshots = self._snapshots
        most = snapshots.share(turn.facts) if turn.facts else IDLE_MOST
        snapshots.add_some(turn.outbox, most, self._tools.now_ms())
        if not turn.outbox.records:
            return
        await self._append(turn)
        self.proven = True
        snapshots.since += turn.facts
        self._tools.watch.snapshots(*snapshots.counted())
        if snapshots.due:
            self._begin_checkpoint()

    async def _append(self, turn: Turn) -> None:
        self._decider.committed(await self._writer.write(turn.outbox, turn.derived))

    def _begin_checkpoint(self) -> int:
        """From here on, write every member that changed; returns how many those are."""
        checkpoint = self._decider.checkpoint() if self._tools.transactional else None
        return 0 if checkpoint is None else self._snapshots.begin(checkpoint)

    async def _take(self) -> list[Delivery]:
        """What waits; nothing when there is time for snapshots."""
        while not self._queue:
            self._filled.clear()
            if await self._time_for_snapshots():
                break
        # From here to the end of the turn this keeper is at work: nothing may come in between, so nothing is awaited.
        self._free.clear()
        self._at_hand, records = [], 0
        while self._queue and records < TURN_RECORDS:
            self._at_hand.append(self._queue.popleft())
            records += len(self._at_hand[-1].records)
        return self._at_hand

    async def _time_for_snapshots(self) -> bool:
        """Wait for facts; True when none came for a while and snapshots can be written instead."""
        snapshots = self._snapshots
        if not self._tools.transactional or not snapshots.idle_work:
            await self._filled.wait()
            return False
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._filled.wait()
        except TimeoutError:
            if self._queue or self._resting:
                return False
            if not snapshots.under_way:
                self._begin_checkpoint()
            return snapshots.under_way
        return False

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
