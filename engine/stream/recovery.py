"""How a keeper finds out where it was: both logs of its partition, read forward together, from the newest checkpoint on.

The points log holds outcomes and the facts log what they answer, so neither is enough: a member's state is the fold of
(fact, decision) pairs. Only committed records count. A checkpoint with its snapshots shortens the fold and is never believed
against the logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from aiokafka.errors import KafkaError

from engine.ledger.partition import UnknownProgramme
from engine.stream.attempts import KILLER, Attempt
from engine.stream.chain import GENESIS, link_of
from engine.stream.clients import Cluster, KafkaTrouble, LogEndsEarlier, first_offset, read_partition
from engine.stream.parts import joined
from engine.stream.snapshots import Checkpoint, Shelf, Unusable
from engine.stream.tools import Batches, Ledger, Logs
from engine.stream.topics import FACTS, MEMBER_SNAPSHOTS, POINTS_LOG, Layout
from schemas.decisions import Decision, parse_decision
from schemas.envelope import UNREADABLE_SOURCE, readable
from schemas.facts import TICK

#: So many members are restored before others get the event loop.
BREATH_MEMBERS = 1_000

log = structlog.get_logger(__name__)


class LogsDisagree(KafkaTrouble):
    """The two logs of a partition do not belong together: one lost records that the other relies on."""


@dataclass(slots=True)
class Recovered:
    """What recovery found.

    Attributes:
        ledger: the state that the decisions so far made.
        next_offset: of the first fact without a (complete) decision.
        log_end: offset after the last decision's record.
        facts: how many decisions were folded.
        parts_written: parts of the next fact's decision that stand in the log already. Only a writer without
            transactions can leave such a torso; its missing parts are written, not the whole again.
        last_tick_us: time of the newest tick that was decided.
        link: of the last decision's record; the next one goes on from it.
        members: how many were taken from snapshots.
        source: what the fold began with.
        begins: where `member-snapshots` begins, see `Checkpoint`.
        attempt: the marker of what a worker was at, see `engine.stream.attempts`.
    """

    ledger: Ledger
    next_offset: int = 0
    log_end: int = 0
    facts: int = 0
    parts_written: int = 0
    last_tick_us: int = 0
    link: bytes = GENESIS
    members: int = 0
    source: Literal["snapshot", "start"] = "start"
    begins: int = 0
    attempt: Attempt | None = None


async def recover(
    new_ledger: Callable[[], Ledger], logs: Logs, where: str, partition: int = 0, *, snapshots: bool = True
) -> Recovered:
    """Bring a partition's state back; return it with the position.

    With a checkpoint its members are taken from their snapshots and only what came after it is folded. Whatever is wrong
    with them costs time and nothing else: one line in the log says why, and both logs are folded from their start.

    Args:
        new_ledger: makes an empty one.
        where: names the partition in messages.
        snapshots: False where none are written.

    Errors: LogsDisagree when a decision's fact is not in the facts log, or a log is shorter than it was at the checkpoint;
        UnknownProgramme; KafkaTrouble.
    """
    shelf = Shelf(partition)
    if snapshots:
        shelf.begins = await logs.snapshots_begin()
        try:
            async with aclosing(logs.snapshots()) as written:
                async for records in written:
                    shelf.put(records)
        except LogEndsEarlier:
            shelf = Shelf(partition, shelf.begins)  # deleted while it was read: as good as none
        try:
            return await _from_snapshots(new_ledger, shelf, logs, where)
        except Unusable as why:
            _say_why(where, shelf, why)
    found = Recovered(new_ledger(), begins=shelf.begins, attempt=Attempt.parse(shelf.attempt))
    async with aclosing(logs.decisions(0)) as decisions, aclosing(logs.facts(0)) as facts:
        await _fold_all(decisions, _Cursor(facts, where), found)
    return found


def _say_why(where: str, shelf: Shelf, why: Unusable) -> None:
    if shelf.checkpoint is None:
        log.info("no checkpoint: folding from the start", place=where)
    else:
        log.warning("snapshots not used: folding from the start", place=where, why=str(why))


async def _from_snapshots(new_ledger: Callable[[], Ledger], shelf: Shelf, logs: Logs, where: str) -> Recovered:
    """Errors: Unusable, and those of `recover`."""
    if shelf.checkpoint is None:
        raise Unusable("there is no checkpoint")
    checkpoint = Checkpoint.parse(shelf.checkpoint)
    if checkpoint.begins != shelf.begins:
        raise Unusable(
            f"member-snapshots begins at offset {shelf.begins}, at the checkpoint it was {checkpoint.begins}"
        )
    found = Recovered(
        new_ledger(),
        next_offset=checkpoint.facts,
        log_end=checkpoint.points_log,
        last_tick_us=checkpoint.last_tick_us,
        link=checkpoint.link,
        members=len(shelf),
        source="snapshot",
        begins=shelf.begins,
        attempt=Attempt.parse(shelf.attempt),
    )
    try:
        await _restore(found.ledger, checkpoint, shelf)
        await _fold_tail(checkpoint, logs, found, where)
    except (Unusable, UnknownProgramme, KafkaTrouble, KafkaError, TimeoutError):
        raise
    except Exception as error:
        # Whatever a snapshot did to the fold: the logs alone decide, and if it was not the snapshot, they will say so.
        raise Unusable(f"the fold failed on them ({type(error).__name__})") from error
    return found


async def _restore(ledger: Ledger, checkpoint: Checkpoint, shelf: Shelf) -> None:
    if len(shelf) < checkpoint.outline["members"]:
        raise Unusable(f"{checkpoint.outline['members']:,} members were written, {len(shelf):,} are there")
    ledger.restore_outline(checkpoint.outline)
    for number, (key, offset, packed) in enumerate(shelf.states()):
        ledger.restore(key, offset, packed)
        if number % BREATH_MEMBERS == 0:
            await asyncio.sleep(0)


async def _fold_tail(checkpoint: Checkpoint, logs: Logs, found: Recovered, where: str) -> None:
    """Fold what came after the checkpoint, once it is sure that both logs are those which the checkpoint saw.

    The last decision before it and that decision's fact are read again: a log that ends before them has lost records.
    """
    try:
        async with (
            aclosing(logs.decisions(checkpoint.points_log - 1)) as decisions,
            aclosing(logs.facts(checkpoint.facts - 1)) as facts,
        ):
            cursor = _Cursor(facts, where)
            records = await _next(decisions)
            if not records:
                raise LogEndsEarlier(f"nothing stands at offset {checkpoint.points_log - 1} of points-log")
            last = records[0]
            if last.offset != checkpoint.points_log - 1 or (link_of(last.headers) or GENESIS) != checkpoint.link:
                raise Unusable("points-log holds another record at the place of the checkpoint, see `stammgast verify`")
            await cursor.fact_of(parse_decision(last.value))
            await _fold_all(decisions, cursor, found, records[1:])
    except LogEndsEarlier as error:
        raise LogsDisagree(
            f"{where}: a log is shorter than it was at the checkpoint, so records were lost: {error}. Restore it before this "
            "worker may start; if it is meant to be shorter, delete the topic member-snapshots"
        ) from error


async def _fold_all(decisions: Batches, cursor: _Cursor, found: Recovered, first: Sequence[Any] = ()) -> None:
    parts: list[Decision] = []
    records = first or await _next(decisions)
    while records:
        for record in records:
            decision = parse_decision(record.value)
            parts.append(decision)
            found.link, found.log_end = link_of(record.headers) or found.link, record.offset + 1
            if decision.last:
                _fold(await cursor.fact_of(decision), parts, found)
                parts = []
        records = await _next(decisions)
    found.parts_written = len(parts)


async def _next(batches: Batches) -> Sequence[Any]:
    """The next records; none at the end and only there."""
    async for records in batches:
        if records:
            return records
    return ()


def _fold(value: bytes | None, parts: Sequence[Decision], found: Recovered) -> None:
    decision = joined(parts)
    # Nothing is folded of what was given up unread, and reading it ended workers.
    unread = decision.source == UNREADABLE_SOURCE and decision.reason == KILLER
    fact = None if unread else readable(value)
    if fact is not None:
        if (fact.source, fact.id) != (decision.source, decision.fact_id):
            raise LogsDisagree(
                f"points-log decides another fact at offset {decision.offset} than the facts log holds there. The two logs "
                "do not belong together: restore them before this worker may start"
            )
        found.ledger.recall(fact, decision)
        if fact.type == TICK:
            found.last_tick_us = max(found.last_tick_us, fact.time_us)
    found.next_offset, found.facts = decision.offset + 1, found.facts + 1


class _Cursor:
    """Goes forward in the facts log, decision by decision."""

    def __init__(self, facts: Batches, where: str) -> None:
        self._facts, self._where = facts, where
        self._records: Sequence[Any] = ()
        self._next = 0

    async def fact_of(self, decision: Decision) -> bytes | None:
        """The value of the record that a decision answers."""
        while True:
            while self._next < len(self._records):
                record = self._records[self._next]
                self._next += 1
                if record.offset == decision.offset:
                    value: bytes | None = record.value
                    return value
                if record.offset > decision.offset:
                    raise LogsDisagree(self._lost(decision.offset))
            try:
                self._records, self._next = await anext(self._facts), 0
            except StopAsyncIteration:
                raise LogsDisagree(self._lost(decision.offset)) from None

    def _lost(self, offset: int) -> str:
        return (
            f"{self._where}: points-log decides the fact at offset {offset}, but the facts log does not hold it. The "
            "two logs do not belong together, or facts were deleted: restore them before this worker may start"
        )


class KafkaLogs:
    """The logs of a partition on Kafka; for one recovery."""

    def __init__(self, cluster: Cluster, layout: Layout, partition: int) -> None:
        self._cluster, self._layout, self._partition = cluster, layout, partition
        self._begin: int | None = None

    def decisions(self, start: int) -> Batches:
        """Records of `points-log` from this offset on."""
        return self._read(POINTS_LOG, start)

    def facts(self, start: int) -> Batches:
        """Records of `facts` from this offset on."""
        return self._read(FACTS, start)

    async def snapshots(self) -> Batches:
        """Records of `member-snapshots` from its beginning on."""
        async with aclosing(self._read(MEMBER_SNAPSHOTS, await self.snapshots_begin())) as batches:
            async for records in batches:
                yield records

    async def snapshots_begin(self) -> int:
        """The first offset of `member-snapshots` that is still there."""
        if self._begin is None:
            self._begin = await first_offset(self._cluster, self._layout.name(MEMBER_SNAPSHOTS), self._partition)
        return self._begin

    def _read(self, topic: str, start: int) -> Batches:
        return read_partition(self._cluster, self._layout.name(topic), self._partition, start)
