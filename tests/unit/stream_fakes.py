"""Stand-ins for Kafka in tests of the stream room: a producer that keeps what it was given, records, a flow, a ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import ProducerFenced

from engine.stream.clients import LogEndsEarlier
from engine.stream.keeper import Keeper
from engine.stream.rewards import Keepers
from engine.stream.tools import Tools
from engine.stream.topics import Layout
from engine.telemetry import Tally
from schemas.decisions import Decision
from schemas.envelope import Fact, encode_fact, make_fact
from schemas.rejects import Rejected


@dataclass(slots=True)
class Record:
    """As aiokafka hands it out."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 1_700_000_000_000
    headers: Sequence[tuple[str, bytes]] = ()


class FakeBatch:
    """A batch that holds at most `room` records."""

    def __init__(self, room: int) -> None:
        self._room = room
        self.records: list[dict[str, Any]] = []
        self.closed = False

    def append(self, **record: Any) -> object | None:
        """None when full, as aiokafka's builder."""
        if self.closed or len(self.records) >= self._room:
            return None
        self.records.append(record)
        return record

    def close(self) -> None:
        """No more records."""
        self.closed = True

    def record_count(self) -> int:
        """How many it holds."""
        return len(self.records)


@dataclass(slots=True)
class Acknowledged:
    """What brokers say about a batch: the offset of its first record."""

    offset: int


class FakeBroker:
    """What was committed, per (topic, partition); a transaction leaves a hole behind itself, as its marker does."""

    def __init__(self) -> None:
        self.logs: dict[tuple[str, int], list[Record]] = {}
        self.ends: dict[tuple[str, int], int] = {}
        self.begins: dict[tuple[str, int], int] = {}

    def hold(self, records: Iterable[Record]) -> None:
        """Take records that stand there from the beginning."""
        for record in records:
            place = record.topic, record.partition
            self.logs.setdefault(place, []).append(record)
            self.ends[place] = record.offset + 1

    def commit(self, sent: Sequence[tuple[str, int, dict[str, Any]]], hole: int) -> None:
        """Append what a producer sent."""
        for topic, partition, record in sent:
            place = topic, partition
            offset = self.ends.get(place, 0)
            self.logs.setdefault(place, []).append(
                Record(*place, offset, record["key"], record["value"], record["timestamp"], record["headers"])
            )
            self.ends[place] = offset + 1
        for place in {(topic, partition) for topic, partition, _ in sent}:
            self.ends[place] += hole

    def read(self, topic: str, partition: int, start: int) -> AsyncGenerator[Sequence[Record], None]:
        """As a reader of committed records."""
        place = topic, partition
        if start > self.ends.get(place, 0) or start < self.begins.get(place, 0):
            raise LogEndsEarlier(f"{topic}/{partition} does not hold offset {start}")
        return batches([record for record in self.logs.get(place, ()) if record.offset >= start])


class FakeProducer:
    """Keeps what was sent, per (topic, partition); a transaction shows only when it is committed."""

    def __init__(
        self, transactional_id: str | None = None, room: int = 1_000, broker: FakeBroker | None = None
    ) -> None:
        self.transactional_id = transactional_id
        self.log: list[tuple[str, int, dict[str, Any]]] = []
        self.calls: list[str] = []
        self.fenced = False
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._room = room
        self._broker = broker or FakeBroker()
        self._pending: list[tuple[str, int, dict[str, Any]]] = []

    async def start(self) -> None:
        """Nothing to do."""
        self.calls.append("start")

    async def stop(self) -> None:
        """Nothing to do."""
        self.calls.append("stop")

    def create_batch(self) -> FakeBatch:
        """An empty batch."""
        return FakeBatch(self._room)

    async def send_batch(self, batch: FakeBatch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Take a batch; the future is done at once, or fails if it was told to."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self.gate.wait()
        if self.error is not None:
            future.set_exception(self.error)
            return future
        place = topic, partition
        under_way = sum((name, number) == place for name, number, _ in self._pending)
        future.set_result(Acknowledged(self._broker.ends.get(place, 0) + under_way))
        self._pending.extend((topic, partition, record) for record in batch.records)
        if self.transactional_id is None:
            self._show(hole=0)
        return future

    def _show(self, hole: int) -> None:
        self._broker.commit(self._pending, hole)
        self.log += self._pending
        self._pending = []

    async def begin_transaction(self) -> None:
        """Open one."""
        self.calls.append("begin")

    async def commit_transaction(self) -> None:
        """Show what was sent, unless somebody else has the partition by now."""
        if self.fenced:
            raise ProducerFenced()
        self.calls.append("commit")
        self._show(hole=1)

    async def abort_transaction(self) -> None:
        """Forget what was sent."""
        self.calls.append("abort")
        self._pending = []

    def sent(self, topic: str) -> list[dict[str, Any]]:
        """What a reader of committed records sees in a topic."""
        return [record for name, _, record in self.log if name == topic]


@dataclass(slots=True)
class FakeAnswer:
    """What the ledger answers."""

    decisions: list[Decision]
    derived: list[Fact] = field(default_factory=list)
    reject: Rejected | None = None


class FakeLedger:
    """Decides everything; ids say what else shall happen: `poison`, `reject`, `derive`."""

    def __init__(self) -> None:
        self.newest_us: int | None = None
        self.next_due_us: int | None = None
        self.taken: list[tuple[str, int]] = []
        self.parts = 1

    def answer(self, fact: Fact, offset: int) -> FakeAnswer:
        """One decision, or as many parts as asked for."""
        if fact.id.startswith("poison"):
            raise ArithmeticError("poisoned")
        decisions = [decision_on(fact, offset, part, self.parts) for part in range(self.parts)]
        for decision in decisions:
            self.recall(fact, decision)
        derived = [fact_of("derived-" + fact.id, "referrer")] if fact.id.startswith("derive") else []
        reject = Rejected("id_reused", "used before", "id") if fact.id.startswith("reject") else None
        return FakeAnswer(decisions, derived, reject)

    def recall(self, fact: Fact, decision: Decision) -> None:
        """Remember who was taken in."""
        self.taken.append((fact.id, decision.offset))

    def changed(self) -> list[str]:
        """Nobody is worth a snapshot."""
        return []

    def snapshot(self, key: str) -> tuple[int, bytes]:
        """There is none."""
        raise KeyError(key)

    def restore(self, key: str, offset: int, packed: bytes) -> None:
        """Ignore."""

    def outline(self) -> dict[str, Any]:
        """Nothing."""
        return {"members": 0}

    def restore_outline(self, outline: Mapping[str, Any]) -> None:
        """Ignore."""

    def quarantine(self, fact: Fact, offset: int, error: str, reason: str = "quarantined") -> FakeAnswer:
        """A quarantined decision with a reject."""
        decision = decision_on(fact, offset)
        decision.outcome, decision.reason = "quarantined", reason
        return FakeAnswer([decision], reject=Rejected("quarantined", error))


def decision_on(fact: Fact, offset: int, part: int = 0, parts: int = 1) -> Decision:
    """A bare decision."""
    return Decision(
        fact.source, fact.id, fact.type, fact.subject, "decided", None, None, fact.time, offset,
        part=part, last=part == parts - 1,
    )  # fmt: skip


def fact_of(fact_id: str, subject: str = "m1") -> Fact:
    """A joined fact."""
    return make_fact(
        id=fact_id,
        source="urn:test",
        type="stammgast.joined.v1",
        subject=subject,
        time_us=1_700_000_000_000_000,
        recorded_at="2023-11-14T22:13:20.000000Z",
        data={"via": None},
    )


def fact_record(offset: int, fact_id: str | None = None, partition: int = 0) -> Record:
    """A record of `facts`."""
    fact = fact_of(fact_id or f"f{offset}")
    return Record("facts", partition, offset, b"m1", encode_fact(fact))


class FakeFlow:
    """Notes how the consumer was steered."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int | None]] = []
        self.keepers: dict[int, Keeper] = {}

    def pause(self, partition: int) -> None:
        """Note it."""
        self.calls.append(("pause", partition, None))

    def resume(self, partition: int) -> None:
        """Note it."""
        self.calls.append(("resume", partition, None))

    def reopen(self, partition: int) -> None:
        """Note it; then ask for the position, as the consumer does."""
        self.calls.append(("reopen", partition, None))
        self.keepers[partition].position()


class FakeWatch:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.tallies: list[Tally] = []
        self.undecided: list[tuple[int, int | None]] = []
        self.recoveries: list[tuple[str, int]] = []
        self.members = self.checkpoints = 0
        self.attempts: list[str] = []

    def decided(self, tally: Tally, seconds: float) -> None:
        """Keep."""
        self.tallies.append(tally)

    def waiting(self, partition: int, records: int, oldest_ms: int | None) -> None:
        """Keep."""
        self.undecided.append((records, oldest_ms))

    def recovered(self, seconds: float, source: str, decisions: int) -> None:
        """Keep."""
        self.recoveries.append((source, decisions))

    def snapshots(self, members: int, checkpoints: int) -> None:
        """Count."""
        self.members += members
        self.checkpoints += checkpoints

    def attempt(self, kind: str) -> None:
        """Keep."""
        self.attempts.append(kind)

    def gone(self, partition: int) -> None:
        """Ignore."""


async def batches(records: Sequence[Record], size: int = 3) -> AsyncGenerator[Sequence[Record], None]:
    """Records as a log reader yields them."""
    for start in range(0, len(records), size):
        yield records[start : start + size]


class FakeLogs:
    """The logs of a partition on a fake broker."""

    def __init__(self, broker: FakeBroker, partition: int = 0) -> None:
        self._broker, self._partition = broker, partition

    def decisions(self, start: int) -> AsyncGenerator[Sequence[Record], None]:
        """Those from `start` on."""
        return self._broker.read("points-log", self._partition, start)

    def facts(self, start: int) -> AsyncGenerator[Sequence[Record], None]:
        """Those from `start` on."""
        return self._broker.read("facts", self._partition, start)

    def snapshots(self) -> AsyncGenerator[Sequence[Record], None]:
        """All that are there."""
        place = "member-snapshots", self._partition
        return self._broker.read(*place, self._broker.begins.get(place, 0))

    async def snapshots_begin(self) -> int:
        """The first that is there."""
        return self._broker.begins.get(("member-snapshots", self._partition), 0)


def logs_of(*records: Record) -> FakeLogs:
    """Logs that hold these."""
    broker = FakeBroker()
    broker.hold(records)
    return FakeLogs(broker)


class Bench:
    """A keeper with everything around it faked, and the two logs it recovers from."""

    def __init__(
        self,
        *,
        transactional: bool = True,
        facts: Sequence[Record] = (),
        log: Sequence[Record] = (),
        broker: FakeBroker | None = None,
        new_ledger: Callable[[int], Any] | None = None,
        **tools: Any,
    ) -> None:
        self.broker = broker or FakeBroker()
        self.broker.hold([*facts, *log])
        self._new_ledger = new_ledger or (lambda _: FakeLedger())
        self.producers: list[FakeProducer] = []
        self.ledgers: list[Any] = []
        self.flow, self.watch = FakeFlow(), FakeWatch()
        self.deaths: list[BaseException] = []
        self.fenced: list[int] = []
        self.reloads = 0
        self.acknowledged: list[int] = []
        self.opened = asyncio.Event()
        self.keepers: Keepers | None = None
        self.tools = Tools(
            app="shop",
            layout=Layout(partitions=4),
            new_producer=self._producer,
            logs=lambda partition: FakeLogs(self.broker, partition),
            new_ledger=self._ledger,
            reload_programmes=self._reload,
            partition_of=lambda key: len(key) % 4,
            flow=self.flow,
            watch=self.watch,
            died=self.deaths.append,
            fenced=self.fenced.append,
            changed=self._changed,
            transactional=transactional,
            **tools,
        )

    def _producer(self, transactional_id: str | None) -> FakeProducer:
        self.producers.append(FakeProducer(transactional_id, broker=self.broker))
        return self.producers[-1]

    def _ledger(self, partition: int) -> Any:
        self.ledgers.append(self._new_ledger(partition))
        return self.ledgers[-1]

    async def _reload(self) -> None:
        self.reloads += 1

    @property
    def producer(self) -> FakeProducer:
        """The newest."""
        return self.producers[-1]

    async def keeper(self, partition: int = 0) -> Keeper:
        """A keeper that has opened."""
        keeper = self.flow.keepers[partition] = Keeper(partition, self.tools)
        keeper.start()
        await self.opened.wait()
        assert keeper.position() is not None
        return keeper

    def _changed(self) -> None:
        self.opened.set()
        if self.keepers is not None:
            self.keepers.changed()
