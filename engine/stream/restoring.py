"""A deployment out of its backup: `facts` as they were, at the offsets they had, and the decisions that they give, byte for byte.

Workers are not asked to decide the old facts again: what follows from them for other members stands in the backup already,
and would be written a second time. So the same pure core decides here, what it derives is compared with what is there, and
only what the backup lacks (it was on its way when the backup was taken) is added at the end, for the workers to decide.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import orjson
from aiokafka import TopicPartition

from engine.ledger.member import CLOSED, ProfileUnavailable
from engine.ledger.partition import Answer, Partition, UnknownProgramme
from engine.stream.chain import CHAIN_HEADER, GENESIS, link
from engine.stream.clients import (
    BATCH_BYTES,
    Cluster,
    KafkaTrouble,
    Outgoing,
    log_ends,
    partition_for,
    read_partition,
    send_values,
)
from engine.stream.outbox import reject_headers
from engine.stream.parts import records_of
from engine.stream.programmes import ANNOUNCED
from engine.stream.topics import FACTS, LOGS, POINTS_LOG, PROGRAMMES, REJECTS, Layout, ensure
from engine.vault.vault import NoVault, Vault
from rules.book import Programme
from schemas.decisions import Decision, decision_of
from schemas.envelope import Fact, encode_fact, parse_fact, readable

#: Facts that are decided and written together. More cost memory, fewer a round trip each.
CHUNK_FACTS = 2_000
#: A mark of a transaction is written soon after it was committed; who waits longer has a Kafka in trouble.
MARK_SECONDS = 30.0
MARK_LOOK_SECONDS = 0.002
#: Value of the records that fill the place of what was aborted before the backup; nobody reads them.
FILLER = b"{}"

#: Told now and then: facts restored so far.
Progressed = Callable[[int], None]


#: A forwarded fact keeps its source and id, so its key names it too.
Name = tuple[str, str, str | None]


def _name(fact: Fact) -> Name:
    return fact.source, fact.id, fact.key


class RestoreRefused(KafkaTrouble):
    """The backup does not fit, or there is something in the way; the message says what and where."""


class Saved(NamedTuple):
    """One line of a dump: a fact with its place in the log it came from, how it was quarantined, if it was, and the decision
    on it where that may have depended on a profile."""

    partition: int
    offset: int
    timestamp_ms: int
    value: bytes
    fact: Fact
    quarantined: tuple[str, str] | None
    decided: Decision | None

    @property
    def key(self) -> bytes | None:
        """Of its record."""
        return None if self.fact.key is None else self.fact.key.encode()


@dataclass(slots=True)
class Restored:
    """What was written. `added` are facts that were on their way when the backup was taken, `as_given` decisions that were
    taken from the backup, because a profile does not open any more."""

    facts: int = 0
    decisions: int = 0
    rejects: int = 0
    added: int = 0
    as_given: int = 0
    partitions: int = 0
    log_id: str = ""
    seconds: float = 0.0


def read_dump(lines: Iterable[bytes], name: str) -> Iterator[Saved]:
    """Yield what `stammgast dump` wrote, by partition, then offset. Errors: RestoreRefused for a line that is none of it."""
    before = (-1, -1)
    for number, line in enumerate(lines, 1):
        try:
            told = orjson.loads(line)
            # The fact's own bytes, as the dump copied them: they stand last in the line.
            value = line[line.index(b',"fact":') + 8 : line.rindex(b"}")]
            given = told.get("quarantined")
            quarantined = None if given is None else (str(given["text"]), str(given["reason"]))
            place = int(told["partition"]), int(told["offset"])
            decided = None if told.get("decided") is None else decision_of(told["decided"])
            saved = Saved(*place, int(told["timestamp_ms"]), value, parse_fact(value), quarantined, decided)
        except (ValueError, KeyError, TypeError) as error:
            raise RestoreRefused(
                f"{name}:{number}: no record of a facts dump ({error}): make it with `stammgast dump`"
            ) from error
        if place <= before:
            raise RestoreRefused(f"{name}:{number}: partition {place[0]}, offset {place[1]} comes after {before}")
        before = place
        yield saved


@dataclass(slots=True)
class _Run:
    """What a restore knows while it goes on."""

    cluster: Cluster
    layout: Layout
    programmes: Mapping[str, Programme]
    progressed: Progressed
    vault: Vault
    done: Restored = field(default_factory=Restored)
    #: Facts that follow from decisions and did not come by yet, by source, id and key, and when their causes were stamped.
    derived: dict[Name, tuple[Fact, int]] = field(default_factory=dict)


async def restore(
    cluster: Cluster,
    layout: Layout,
    saved: Iterable[Saved],
    programmes: Sequence[Programme],
    vault: Vault | None = None,
    progressed: Progressed = lambda _facts: None,
) -> Restored:
    """Write a backup into a Kafka that holds nothing of this deployment yet.

    Args:
        layout: partition count as it was; topics are created.
        saved: of `read_dump`.
        programmes: every version that was published.
        vault: opens profiles; what depends on one that stays closed is taken from the backup as it is.

    Errors: RestoreRefused when topics hold something, a fact does not belong where it stood, a version is missing; other
    KafkaTrouble; KafkaError. What was written by then stays: remove the topics and begin anew.
    """
    began = time.monotonic()
    versions = {version.hash: version for version in programmes}
    run = _Run(cluster, layout, versions, progressed, vault or NoVault())
    run.done.log_id = await ensure(cluster, layout)
    run.done.partitions = layout.partitions
    await _require_empty(cluster, layout)
    await _publish(run)
    for partition, lane in groupby(saved, key=attrgetter("partition")):
        if partition >= layout.partitions:
            raise RestoreRefused(
                f"the backup has a partition {partition}, and {layout.partitions} partitions were asked for: "
                "say --partitions as it was, `stammgast dump` told the number"
            )
        await _Lane(run, partition).restore(lane)
    await _add_what_was_on_its_way(run)
    run.done.seconds = round(time.monotonic() - began, 3)
    return run.done


async def _require_empty(cluster: Cluster, layout: Layout) -> None:
    for name in LOGS:
        topic = layout.name(name)
        count = next(layout.count(one) for one in layout.topics() if one.name == name)
        ends = await log_ends(cluster, topic, count)
        if any(begin != end for begin, end in ends.values()):
            raise RestoreRefused(
                f"{topic} holds records: a backup is restored into topics without any. Choose another --topic-prefix, "
                "or delete the topics of a restore that broke off"
            )


async def _publish(run: _Run) -> None:
    """Versions, each with the mark that its facts are in the log: they are, the backup holds them."""
    done = (ANNOUNCED, str(run.layout.partitions).encode())
    contents = [(version.hash.encode(), version.canonical_json(), None, (done,)) for version in run.programmes.values()]
    async with run.cluster.producer() as producer:
        await send_values(producer, run.layout.name(PROGRAMMES), 0, contents)


class _Lane:
    """One partition on its way back."""

    def __init__(self, run: _Run, partition: int) -> None:
        self._run = run
        self._partition = partition
        self._ledger = Partition(partition, run.programmes, opens=run.vault.opens(gone=CLOSED))
        self._link = GENESIS
        self._facts = TopicPartition(run.layout.name(FACTS), partition)
        self._next = 0

    async def restore(self, lane: Iterable[Saved]) -> None:
        """Write facts and decisions, in order."""
        async with self._open():
            chunk: list[Saved] = []
            for one in lane:
                if chunk and (one.offset != chunk[-1].offset + 1 or len(chunk) == CHUNK_FACTS):
                    await self._take(chunk, hole=one.offset - chunk[-1].offset - 1)
                    chunk = []
                elif not chunk and one.offset != self._next:
                    await self._hole(one.offset)
                chunk.append(one)
            if chunk:
                await self._take(chunk, hole=0)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        cluster = self._run.cluster
        name = f"{self._run.layout.prefix}restore-{self._partition}"
        async with (
            cluster.producer() as self._plain,
            cluster.producer(transactional_id=name) as self._marked,
            cluster.consumer(isolation_level="read_uncommitted") as self._looking,
        ):
            yield

    async def _take(self, chunk: Sequence[Saved], hole: int) -> None:
        """Write a run of facts that follow on each other, the hole behind them, and their decisions."""
        records: list[Outgoing] = [(one.key, one.value, one.timestamp_ms, ()) for one in chunk]
        topic, number = self._facts
        # A hole of one is the mark of a transaction that was committed: the last fact before it gets one again.
        plain, marked = (records[:-1], records[-1:]) if hole == 1 else (records, [])
        if plain:
            await send_values(self._plain, topic, number, plain)
        if marked:
            await self._marked.begin_transaction()
            await send_values(self._marked, topic, number, marked)
            await self._marked.commit_transaction()
        self._next = chunk[-1].offset + 1 + len(marked)
        await self._reached()
        if hole > 1:
            await self._hole(self._next + hole)
        await self._decide(chunk)
        self._run.progressed(self._run.done.facts)

    async def _hole(self, upto: int) -> None:
        """Fill the place of records that were aborted, or were no facts, up to an offset."""
        topic, number = self._facts
        missing = upto - self._next
        if missing == 1:  # no transaction fits: an offset that nothing but a record that is no fact can have taken
            await send_values(self._plain, topic, number, [(None, b"", None, ())])
        else:
            await self._marked.begin_transaction()
            await send_values(self._marked, topic, number, [(None, FILLER, None, ())] * (missing - 1))
            await self._marked.abort_transaction()
        self._next = upto
        await self._reached()

    async def _reached(self) -> None:
        """Wait until the log ends where it must, marks of transactions included. Errors: RestoreRefused, KafkaTrouble."""
        deadline = time.monotonic() + MARK_SECONDS
        while (end := (await self._looking.end_offsets([self._facts]))[self._facts]) != self._next:
            if end > self._next:
                raise RestoreRefused(
                    f"{self._facts.topic}/{self._partition} ends at {end} and not at {self._next}: somebody else writes to "
                    "it. Stop workers and publishers, remove the topics and begin anew"
                )
            if time.monotonic() > deadline:
                raise KafkaTrouble(f"{self._facts.topic}/{self._partition} did not reach {self._next}: is Kafka well?")
            await asyncio.sleep(MARK_LOOK_SECONDS)

    async def _decide(self, chunk: Sequence[Saved]) -> None:
        layout, done = self._run.layout, self._run.done
        decisions: list[Outgoing] = []
        rejects: list[Outgoing] = []
        for one in chunk:
            answer = self._answer(one)
            for value in records_of(answer.decisions, BATCH_BYTES):
                self._link = link(self._link, value)
                decisions.append((one.key, value, one.timestamp_ms, [(CHAIN_HEADER, self._link)]))
            if answer.reject is not None:
                headers = reject_headers(_Record(self._facts.topic, one), answer.reject, one.fact.recorded_at)
                rejects.append((one.key, one.value, None, headers))
            self._run.derived.pop(_name(one.fact), None)
            for fact in answer.derived:
                self._run.derived[_name(fact)] = fact, one.timestamp_ms
        done.decisions += await send_values(self._plain, layout.name(POINTS_LOG), self._partition, decisions)
        if rejects:
            done.rejects += await send_values(self._plain, layout.name(REJECTS), self._partition, rejects)
        done.facts += len(chunk)

    def _answer(self, one: Saved) -> Answer:
        belongs = self._partition if one.key is None else partition_for(one.key, self._run.layout.partitions)
        if belongs != self._partition:
            raise RestoreRefused(
                f"the fact at {self._partition}/{one.offset} belongs to partition {belongs} of {self._run.layout.partitions}: "
                "say --partitions as it was when the backup was taken"
            )
        if one.quarantined is not None:
            return self._ledger.quarantine(one.fact, one.offset, *one.quarantined)
        try:
            return self._ledger.answer(one.fact, one.offset)
        except ProfileUnavailable as closed:
            if one.decided is None:
                raise RestoreRefused(
                    f"the fact at {self._partition}/{one.offset}: {closed}: give the keys, or dump the log anew"
                ) from closed
            self._ledger.recall(one.fact, one.decided)
            self._run.done.as_given += 1
            return Answer([one.decided])
        except UnknownProgramme as error:
            raise RestoreRefused(
                f"the fact at {self._partition}/{one.offset} names programme version {error.hash}, which --programmes does "
                "not hold: give the file that `stammgast dump --programmes` wrote"
            ) from error


class _Record:
    """A fact's record, as a reject tells of it."""

    def __init__(self, topic: str, one: Saved) -> None:
        self.topic, self.partition, self.offset = topic, one.partition, one.offset
        self.headers: list[tuple[str, bytes]] = []


async def _add_what_was_on_its_way(run: _Run) -> None:
    """Facts that decisions led to and that the backup lacks: it read their partition before they were written."""
    topic = run.layout.name(FACTS)
    # Those that came by before their causes, in a partition that was restored earlier, are found by looking again.
    for place in sorted({_place(run, fact) for fact, _ in run.derived.values()}):
        async for records in read_partition(run.cluster, topic, place):
            for found in records:
                fact = readable(found.value)
                if fact is not None:
                    run.derived.pop(_name(fact), None)
    async with run.cluster.producer() as producer:
        for fact, timestamp_ms in run.derived.values():
            record: Outgoing = ((fact.key or "").encode(), encode_fact(fact), timestamp_ms, ())
            run.done.added += await send_values(producer, topic, _place(run, fact), [record])


def _place(run: _Run, fact: Fact) -> int:
    return partition_for((fact.key or "").encode(), run.layout.partitions)
