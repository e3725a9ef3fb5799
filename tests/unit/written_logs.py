"""Logs in memory, written as keepers write them, so that a test can damage one thing in them and see what verify says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.ledger.partition import Partition
from engine.ledger.profiles import Opens, closed
from engine.stream.chain import CHAIN_HEADER, GENESIS, link
from engine.stream.clients import BATCH_BYTES, partition_for
from engine.stream.outbox import reject_headers
from engine.stream.parts import records_of
from engine.stream.turn import unreadable_decision
from rules.book import Programme
from schemas.envelope import Fact, encode_fact, readable
from schemas.rejects import Rejected
from tests.unit.stream_fakes import Record

FACTS, POINTS_LOG, REJECTS = "facts", "points-log", "rejects"
RECORDED_MS = 1_767_225_600_000


@dataclass
class WrittenLogs:
    """Three logs of a deployment; satisfies `engine.verify.logs.Logs`. Fill it with `tell`, damage `topics`.

    Attributes:
        topics: records by topic and partition.
        poisoned: ids of facts that the keeper quarantines.
        opens: opens profiles for the keeper that writes.
        hole: offsets that each record leaves free behind it, as transactions do.
    """

    programmes: Mapping[str, Programme]
    partitions: int = 2
    prefix: str = ""
    poisoned: frozenset[str] = frozenset()
    hole: int = 0
    topics: dict[str, list[list[Record]]] = field(init=False)
    begins: dict[int, int] = field(default_factory=dict)
    late_facts: list[Record] = field(default_factory=list)
    opens: Opens = closed

    def __post_init__(self) -> None:
        self.topics = {name: [[] for _ in range(self.partitions)] for name in (FACTS, POINTS_LOG, REJECTS)}
        self._ledgers = [Partition(number, self.programmes, opens=self.opens) for number in range(self.partitions)]
        self._decided = [0] * self.partitions

    # ------------------------------------------------------------------------------------------------------ as read

    def facts(self, partition: int) -> Iterator[Record]:
        """As `Logs`."""
        return iter(list(self.topics[FACTS][partition]))

    def decisions(self, partition: int) -> Iterator[Record]:
        """As `Logs`."""
        return iter(list(self.topics[POINTS_LOG][partition]))

    def rejects(self, partition: int) -> Iterator[Record]:
        """As `Logs`."""
        return iter(list(self.topics[REJECTS][partition]))

    def rejects_begin(self, partition: int) -> int:
        """As `Logs`."""
        return self.begins.get(partition, 0)

    def fact_at(self, partition: int, offset: int) -> Record | None:
        """As `Logs`."""
        return next((record for record in self.topics[FACTS][partition] if record.offset == offset), None)

    def later_facts(self, partition: int) -> Iterator[Record]:
        """As `Logs`."""
        return (record for record in self.late_facts if record.partition == partition)

    def later_decisions(self, partition: int) -> Iterator[Record]:
        """As `Logs`."""
        return iter(())

    # --------------------------------------------------------------------------------------------------- as written

    def tell(self, facts: Iterable[Fact], *, decide: bool = True) -> None:
        """Write facts, those without a key to every partition, and decide each with all that follows from it."""
        for fact in facts:
            value, key = encode_fact(fact), None if fact.key is None else fact.key.encode()
            places = range(self.partitions) if key is None else [partition_for(key, self.partitions)]
            for partition in places:
                self.write_fact(partition, key, value)
            while decide and self._step():
                pass

    def write_fact(self, partition: int, key: bytes | None, value: bytes) -> Record:
        """Append a record to `facts`."""
        return self._append(FACTS, partition, key, value)

    def _append(
        self, topic: str, partition: int, key: bytes | None, value: bytes, headers: list[Any] | None = None
    ) -> Record:
        log = self.topics[topic][partition]
        offset = log[-1].offset + 1 + self.hole if log else 0
        record = Record(self.prefix + topic, partition, offset, key, value, RECORDED_MS, headers or [])
        log.append(record)
        return record

    def _step(self) -> bool:
        """Decide the next undecided fact of each partition; False when there was none."""
        worked = False
        for partition in range(self.partitions):
            facts = self.topics[FACTS][partition]
            if self._decided[partition] < len(facts):
                record = facts[self._decided[partition]]
                self._decided[partition] += 1
                self._decide(record)
                worked = True
        return worked

    def _decide(self, record: Record) -> None:
        fact, ledger = readable(record.value), self._ledgers[record.partition]
        if fact is None:
            values = records_of([unreadable_decision(record.partition, record.offset)], BATCH_BYTES)
            refused: Rejected | None = Rejected("quarantined", "no fact")
        else:
            if fact.id in self.poisoned:
                answer = ledger.quarantine(fact, record.offset, "ArithmeticError: poisoned")
            else:
                answer = ledger.answer(fact, record.offset)
            values, refused = records_of(answer.decisions, BATCH_BYTES), answer.reject
            for one in answer.derived:
                key = (one.key or "").encode()
                self.write_fact(partition_for(key, self.partitions), key, encode_fact(one))
        for value in values:
            self.write_decision(record.partition, record.key, value)
        if refused is not None:
            headers = reject_headers(record, refused, "" if fact is None else fact.recorded_at)
            self._append(REJECTS, record.partition, record.key, record.value or b"", headers)

    def refuse(self, value: bytes, rejected: Rejected, topic: str = "shop-events", offset: int = 7) -> str:
        """Append what intake refused to `rejects`; returns its place there."""
        came = Record(self.prefix + topic, 0, offset, b"till-7", value, RECORDED_MS, [("trace", b"t1")])
        headers = reject_headers(came, rejected, "2026-12-01T00:00:00.000000Z")
        record = self._append(REJECTS, offset % self.partitions, came.key, value, headers)
        return f"{record.partition}:{record.offset}"

    def write_decision(self, partition: int, key: bytes | None, value: bytes) -> None:
        """Append a record to the points log, with its link."""
        log = self.topics[POINTS_LOG][partition]
        before = dict(log[-1].headers)[CHAIN_HEADER] if log else GENESIS
        self._append(POINTS_LOG, partition, key, value, [(CHAIN_HEADER, link(before, value))])

    # -------------------------------------------------------------------------------------------------- as damaged

    def change(self, partition: int, index: int, value: bytes) -> None:
        """Replace the value of a record of the points log, with a chain that looks right."""
        self.rewrite(partition, [*self.values(partition)[:index], value, *self.values(partition)[index + 1 :]])

    def values(self, partition: int) -> list[bytes]:
        """The values of one partition of the points log."""
        return [record.value or b"" for record in self.topics[POINTS_LOG][partition]]

    def rewrite(self, partition: int, values: list[bytes]) -> None:
        """Write one partition of the points log anew from these values; keys come from the values' old records."""
        old = self.topics[POINTS_LOG][partition]
        keys = {record.value: record.key for record in old}
        by_index = [record.key for record in old] if len(values) == len(old) else None
        self.topics[POINTS_LOG][partition] = []
        for index, value in enumerate(values):
            known = keys.get(value, by_index[index] if by_index else None)
            self.write_decision(partition, known, value)

    def drop(self, topic: str, partition: int, index: int) -> Record:
        """Take a record out."""
        return self.topics[topic][partition].pop(index)

    def replace(self, topic: str, partition: int, index: int, **changes: Any) -> None:
        """Change one record."""
        log = self.topics[topic][partition]
        log[index] = replace(log[index], **changes)
