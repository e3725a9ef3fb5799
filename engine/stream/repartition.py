"""More partitions: `facts` copied into a new generation of topics, decided there by the same core, with nothing derived anew.

Facts that follow from decisions are in the old log and are copied with the others, so what the core derives here is not written;
neither are notices, which went out already. Ticks belong to a partition: they are left out, and written anew for the new ones
where `engine.stream.merging` puts them. One transaction holds facts, their decisions, rejects, and how far every old partition
was taken: a copy that is killed goes on where it was, and a second one fences the first.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, cast

import structlog
from aiokafka.errors import KafkaError

from engine.ledger.engine_facts import tick_fact
from engine.ledger.member import CLOSED, ProfileUnavailable
from engine.ledger.partition import Answer, Partition, UnknownProgramme
from engine.stream.chain import CHAIN_HEADER, GENESIS, link
from engine.stream.clients import BATCH_BYTES, Cluster, KafkaTrouble, partition_for, send_values
from engine.stream.generations import Generation, Lane, read_generation
from engine.stream.lanes import LaneReader
from engine.stream.merging import Item, Knowledge, Merge, Standing, Step, TicksUneven
from engine.stream.outbox import Outbox, Place, reject_headers
from engine.stream.parts import joined, records_of
from engine.stream.programmes import ANNOUNCED, load_published
from engine.stream.recovery import KafkaLogs, recover
from engine.stream.topics import DEPLOYMENT, FACTS, POINTS_LOG, PROGRAMMES, REJECTS, Layout, ensure
from engine.stream.turn import NO_FACT, unreadable_decision
from engine.vault.vault import NoVault, Vault
from rules.book import Programme
from schemas.decisions import Decision, parse_decision
from schemas.envelope import Fact, encode_fact
from schemas.facts import TICK
from schemas.rejects import Rejected
from schemas.times import to_text

#: Steps of the merge in one transaction. More cost memory, fewer a round trip each.
CHUNK_STEPS = 2_000
#: A tick of many members takes long to decide, and the transaction is open by then. Too small: it is aborted under the copy. Too
#: large: a copy that was killed and is not begun again holds readers of the new topics back that long.
TRANSACTION_MS = 600_000

log = structlog.get_logger(__name__)
#: Told after every transaction: what was copied so far.
Progressed = Callable[[Mapping[str, int]], None]
COUNTS = ("facts", "decisions", "same", "rejects", "ticks_dropped", "ticks_written", "programmes_dropped", "as_given")


class RepartitionRefused(KafkaTrouble):
    """These logs cannot be copied as they are; the message says what to do."""


class _Placed(NamedTuple):
    """A record for the new `facts`, with the item it comes from; a tick that is written anew has none."""

    partition: int
    key: bytes | None
    value: bytes
    timestamp_ms: int
    fact: Fact | None
    item: Item | None


@dataclass(slots=True)
class _Bench:
    """One new partition: its state and the end of its chain."""

    ledger: Partition
    link: bytes = GENESIS


@dataclass(slots=True)
class Repartition:
    """A copy from one generation to the next; use it inside `opened`.

    Attributes:
        told: how far it is, as it stands in the new `deployment`.
        undecided: facts copied behind the last decision, at the cut-over.
    """

    cluster: Cluster
    old: Layout
    new: Layout
    vault: Vault = field(default_factory=NoVault)
    progressed: Progressed = lambda _counts: None
    told: Generation = field(default_factory=lambda: Generation("filling", ""))
    undecided: int = 0
    versions: dict[str, Programme] = field(default_factory=dict)
    _benches: list[_Bench] = field(default_factory=list)
    _standings: list[Standing] = field(default_factory=list)
    _known: Knowledge = field(default_factory=Knowledge)
    _counts: dict[str, int] = field(default_factory=dict)
    producer: Any = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Repartition]:
        """Begin, or go on where the last one stopped; whoever copied until now is fenced.

        Errors: RepartitionRefused, other KafkaTrouble, KafkaError.
        """
        name = f"{self.new.prefix}repartition-{self.old.prefix}"
        async with self.cluster.producer(transactional_id=name, transaction_timeout_ms=TRANSACTION_MS) as self.producer:
            found = await read_generation(self.cluster, self.new.prefix)
            if found is not None and (found.state != "filling" or found.other != self.old.prefix):
                raise RepartitionRefused(
                    f"the topics with prefix {self.new.prefix!r} are {found.state}, from {found.other!r}: choose another "
                    "--to-prefix"
                )
            await ensure(self.cluster, self.new)
            self.told = found or Generation(
                "filling",
                self.old.prefix,
                self.new.inbound_prefix or "",
                self.new.partitions,
                tuple(Lane() for _ in range(self.old.partitions)),
            )
            await self._learn_versions()
            await self._take_up()
            yield self

    async def _learn_versions(self) -> None:
        """What was published in the old generation is known in the new one, marked as announced: its facts are copied."""
        published = await load_published(self.cluster, self.old.prefix)
        fresh = [version for name, version in published.items() if name not in self.versions]
        self.versions |= published
        mark = (ANNOUNCED, str(self.new.partitions).encode())
        contents = [(version.hash.encode(), version.canonical_json(), None, (mark,)) for version in fresh]
        if contents:
            async with self.cluster.producer() as producer:
                await send_values(producer, self.new.name(PROGRAMMES), 0, contents)

    async def _take_up(self) -> None:
        """State of every new partition, out of what was written there; nothing on the first start."""
        told = self.told
        self._standings = [Standing(lane.key_ms, lane.tick_us, lane.peopled) for lane in told.lanes]
        self._known = Knowledge(set(told.versions), set(told.announced), told.crossed)
        self._counts = dict.fromkeys(COUNTS, 0) | told.counts
        opens = self.vault.opens(gone=CLOSED)
        for number in range(self.new.partitions):
            where = f"{self.new.name(FACTS)}/{number}"
            logs = KafkaLogs(self.cluster, self.new, number)
            empty = partial(Partition, number, self.versions, opens=opens)
            found = await recover(empty, logs, where, number, snapshots=False)
            if found.facts and not told.counts:
                raise RepartitionRefused(
                    f"{where} holds decisions that no copy wrote: choose a --to-prefix that nobody uses"
                )
            self._benches.append(_Bench(cast(Partition, found.ledger), found.link))

    async def copy(self, *, ended: bool) -> int:
        """Copy what is decided by now, as far as every partition reaches; returns how many facts that were.

        Args:
            ended: nobody writes to the old logs any more; then everything is copied, what is undecided last.

        Errors: RepartitionRefused, other KafkaTrouble, KafkaError.
        """
        before = self._counts["facts"]
        await self._learn_versions()
        await self._pass(ended=ended, undecided=False)
        if ended:
            await self._pass(ended=True, undecided=True)
        return self._counts["facts"] - before

    async def _pass(self, *, ended: bool, undecided: bool) -> None:
        readers = [
            LaneReader(self.cluster, self.old.prefix, number, lane, undecided=undecided)
            for number, lane in enumerate(self.told.lanes)
        ]
        merge = Merge(readers, self._standings, self._known, ended=ended)
        try:
            while steps := await self._gather(merge):
                await self._write(steps, readers, undecided=undecided)
        except TicksUneven as uneven:
            raise RepartitionRefused(
                "time was moved further in some partitions than in others. Start a worker on the old topics, run `stammgast "
                f"tick --at {to_text(uneven.time_us)}` or later, wait until it is decided, stop the worker and cut over again"
            ) from uneven
        except LookupError as lost:
            raise RepartitionRefused(f"{lost}: see `stammgast verify`, and restore the logs first") from lost
        finally:
            for reader in readers:
                await reader.close()

    @staticmethod
    async def _gather(merge: Merge) -> list[Step]:
        steps: list[Step] = []
        while len(steps) < CHUNK_STEPS and (step := await merge.next()) is not None:
            steps.append(step)
        return steps

    # ------------------------------------------------------------------------------------------------------ writing

    async def _write(self, steps: list[Step], readers: list[LaneReader], *, undecided: bool) -> None:
        """One transaction: facts, their decisions, and how far that is."""
        placed: dict[int, list[_Placed]] = defaultdict(list)
        for step in steps:
            for one in self._place(step, undecided):
                placed[one.partition].append(one)
        await self.producer.begin_transaction()
        try:
            offsets = await self._send_facts(placed)
            if not undecided:
                await self._send_decisions(placed, offsets)
            self._note(readers)
            await send_values(self.producer, self.new.name(DEPLOYMENT), 0, [self.told.record()])
            await self.producer.commit_transaction()
        except KafkaError as error:
            raise KafkaTrouble(
                f"the copy stopped ({type(error).__name__}): nothing of this turn is visible, run it again and it goes on"
            ) from error
        self.progressed(self._counts)

    def _place(self, step: Step, undecided: bool) -> list[_Placed]:
        """Where the records of a step go. Errors: RepartitionRefused."""
        first, everywhere = step.items[0], range(self.new.partitions)
        record, fact = first.record, first.fact
        if undecided and step.kind != "fact":
            raise RepartitionRefused(
                "a tick or a programme fact of the old topics is not decided yet: start a worker there once more, stop it when "
                "all is decided, and cut over again"
            )
        if step.kind == "fact" or fact is None:
            self.undecided += undecided
            self._counts["facts"] += 1
            return [_Placed(self._home(first), record.key, record.value, record.timestamp, fact, first)]
        self._counts["ticks_dropped" if step.kind == "tick" else "programmes_dropped"] += len(step.items)
        if step.kind == "again":
            return []
        if step.kind == "programme":
            return [_Placed(q, record.key, record.value, record.timestamp, fact, first) for q in everywhere]
        ticks = [tick_fact(q, fact.time_us, fact.recorded_at) for q in everywhere]
        self._counts["ticks_written"] += len(ticks)
        return [_Placed(q, None, encode_fact(one), record.timestamp, one, None) for q, one in enumerate(ticks)]

    def _home(self, item: Item) -> int:
        """The new partition of a fact. Errors: RepartitionRefused for one that stands where its key does not belong."""
        record = item.record
        if record.key is None:
            return int(record.partition % self.new.partitions)
        belongs = partition_for(record.key, self.old.partitions)
        if item.fact is not None and belongs != record.partition:
            raise RepartitionRefused(
                f"{self.old.name(FACTS)}/{record.partition} offset {record.offset} holds a fact of partition {belongs}: somebody "
                "wrote to it past intake, and the order of that member's facts is not certain; see `stammgast verify`"
            )
        return partition_for(record.key, self.new.partitions)

    async def _send_facts(self, placed: Mapping[int, list[_Placed]]) -> dict[int, int]:
        """Offset of the first new fact, per partition."""
        outbox, topic = Outbox(self.producer), self.new.name(FACTS)
        for number, ones in placed.items():
            for one in ones:
                outbox.add((topic, number), one.key, one.value, one.timestamp_ms)
        ends: Mapping[Place, int | None] = await outbox.send()
        offsets = {}
        for number, ones in placed.items():
            end = ends[topic, number]
            if end is None:
                raise KafkaTrouble("Kafka did not say where facts went: run it again, it goes on")
            offsets[number] = end - len(ones)
        return offsets

    async def _send_decisions(self, placed: Mapping[int, list[_Placed]], offsets: Mapping[int, int]) -> None:
        outbox, points, rejects = Outbox(self.producer), self.new.name(POINTS_LOG), self.new.name(REJECTS)
        for number, ones in placed.items():
            bench = self._benches[number]
            for offset, one in enumerate(ones, offsets[number]):
                decisions, rejected = self._decide(bench.ledger, one, offset)
                values = records_of(decisions, BATCH_BYTES)
                self._compare(one, offset, values)
                for value in values:
                    bench.link = link(bench.link, value)
                    outbox.add((points, number), one.key, value, one.timestamp_ms, [(CHAIN_HEADER, bench.link)])
                self._counts["decisions"] += 1
                if rejected is not None:
                    headers = reject_headers(
                        _Where(self.new.name(FACTS), number, offset), rejected, _received(one.fact)
                    )
                    outbox.add((rejects, number), one.key, one.value, time.time_ns() // 1_000_000, headers)
                    self._counts["rejects"] += 1
            await asyncio.sleep(0)
        await outbox.send()

    def _compare(self, one: _Placed, offset: int, values: list[bytes]) -> None:
        """Count the decisions that are, but for their place, the bytes that stand in the old log; ticks have none there."""
        if one.item is not None and one.fact is not None and one.fact.type != TICK:
            place, before = b'"offset":%d' % offset, b'"offset":%d' % one.item.record.offset
            self._counts["same"] += [value.replace(before, place, 1) for value in one.item.answers] == values

    def _decide(self, ledger: Partition, one: _Placed, offset: int) -> tuple[list[Decision], Rejected | None]:
        """The decision in the new place: computed by the core, or as the old log has it where that cannot be computed."""
        given = [] if one.item is None else [parse_decision(value) for value in self._uncomputable(one.item)]
        if one.fact is None:
            reason = (given[0].reason if given else None) or "unreadable"
            return [unreadable_decision(ledger.number, offset, reason)], NO_FACT
        if given:
            text = given[0].notes[0].text if given[0].notes else ""
            answer = ledger.quarantine(one.fact, offset, text or "", given[0].reason or "quarantined")
            return answer.decisions, answer.reject
        answer = self._answer(ledger, one.fact, one.item, offset)
        return answer.decisions, answer.reject

    def _answer(self, ledger: Partition, fact: Fact, item: Item | None, offset: int) -> Answer:
        try:
            return ledger.answer(fact, offset)
        except ProfileUnavailable as closed:
            if item is None:
                raise RepartitionRefused(
                    f"a tick asks for a profile: {closed}. Give the keys of this deployment"
                ) from closed
            decision = joined([parse_decision(value) for value in item.answers])
            decision.offset = offset
            ledger.recall(fact, decision)
            self._counts["as_given"] += 1
            return Answer([decision])
        except UnknownProgramme as missing:
            raise RepartitionRefused(
                f"version {missing.hash} is not in {self.old.name(PROGRAMMES)}: publish it there again, then go on"
            ) from missing

    @staticmethod
    def _uncomputable(item: Item) -> list[bytes]:
        """The decision of a quarantine: why a fact could not be decided is nothing that can be computed."""
        told = bool(item.answers) and b'"outcome":"quarantined"' in item.answers[0]
        return list(item.answers) if told and parse_decision(item.answers[0]).outcome == "quarantined" else []

    def _note(self, readers: list[LaneReader]) -> None:
        lanes = [
            Lane(reader.next_fact, reader.next_decision, one.key_ms, one.tick_us, one.peopled)
            for reader, one in zip(readers, self._standings, strict=True)
        ]
        known = self._known
        self.told = replace(
            self.told,
            lanes=tuple(lanes),
            versions=tuple(sorted(known.versions)),
            announced=tuple(sorted(known.announced)),
            crossed=known.crossed,
            counts=dict(self._counts),
        )

    def summary(self) -> dict[str, Any]:
        """For people and scripts."""
        told = asdict(self.told)
        return {
            "from": self.old.prefix,
            "to": self.new.prefix,
            "partitions": [self.old.partitions, self.new.partitions],
            **self._counts,
            "crossed": told["crossed"],
            "undecided": self.undecided,
        }


class _Where(NamedTuple):
    """A fact's record, as a reject tells of it."""

    topic: str
    partition: int
    offset: int
    headers: tuple[tuple[str, bytes], ...] = ()


def _received(fact: Fact | None) -> str:
    return "" if fact is None else fact.recorded_at
