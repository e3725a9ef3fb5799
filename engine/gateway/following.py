"""The read model's partitions: members as the logs leave them, folded by the same core, a moment behind the log.

A partition begins as a worker's does, from the newest checkpoint, and goes on with both logs: a decision is folded once its fact
is here. Nothing is decided here and nothing is written.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from engine.ledger.partition import Partition
from engine.stream.parts import joined
from engine.stream.recovery import LogsDisagree
from schemas.decisions import Decision, parse_decision
from schemas.envelope import Fact, readable
from schemas.facts import REDEMPTION, REDEMPTION_FULFILLED

#: Decided redemptions that are remembered with their answer, for whoever asks again. A granted one is known for ever by its
#: member's state; a refused one as long as it is here.
REMEMBERED = 20_000

Name = tuple[str, str]


class Decided(NamedTuple):
    """A fact and the decision on it."""

    fact: Fact
    decision: Decision


class Memory:
    """The newest decisions on redemptions and used vouchers, by the source and id of the request."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._known: OrderedDict[Name, Decided] = OrderedDict()

    def note(self, decided: Decided) -> None:
        """Keep a decision that answers a redemption; of several on one name the first that decided it."""
        name = decided.fact.source, decided.fact.id
        if (
            decided.fact.type not in (REDEMPTION, REDEMPTION_FULFILLED)
            or decided.decision.outcome != "decided"
            or name in self._known
        ):
            return
        self._known[name] = decided
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def get(self, name: Name) -> Decided | None:
        """What was decided on it, None when that is not known any more."""
        return self._known.get(name)


class Recalling:
    """What a recovery works on: the partition, and the memory that hears of every decision. Else it is the partition."""

    def __init__(self, ledger: Partition, memory: Memory) -> None:
        self.ledger, self._memory = ledger, memory

    def recall(self, fact: Fact, decision: Decision) -> None:
        """As the partition's, and remembered."""
        self.ledger.recall(fact, decision)
        self._memory.note(Decided(fact, decision))

    def restore(self, key: str, offset: int, packed: bytes) -> None:
        """As the partition's."""
        self.ledger.restore(key, offset, packed)

    def restore_outline(self, outline: Mapping[str, Any]) -> None:
        """As the partition's."""
        self.ledger.restore_outline(outline)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)


class Follower:
    """One partition of the read model. Records are fed as they come from either log; `fold` takes what belongs together.

    Attributes:
        next_fact, next_record: offsets after the last fact that was folded, and after the last points-log record fed.
    """

    def __init__(self, number: int, ledger: Partition, next_fact: int, next_record: int) -> None:
        self.number, self.ledger = number, ledger
        self.next_fact, self.next_record = next_fact, next_record
        self._facts: deque[tuple[int, bytes | None]] = deque()
        self._parts: list[Decision] = []
        self._decisions: deque[Decision] = deque()

    @property
    def waiting(self) -> tuple[int, int]:
        """(facts, decisions) that are here and wait for their other half."""
        return len(self._facts), len(self._decisions)

    def feed_facts(self, records: Iterable[Any]) -> None:
        """Take records of `facts`, in order."""
        self._facts.extend((record.offset, record.value) for record in records)

    def feed_decisions(self, records: Iterable[Any]) -> None:
        """Take records of `points-log`, in order."""
        for record in records:
            decision = parse_decision(record.value)
            self.next_record = record.offset + 1
            self._parts.append(decision)
            if decision.last:
                self._decisions.append(joined(self._parts))
                self._parts = []

    def fold(self) -> Iterator[Decided]:
        """Fold every decision whose fact is here, and yield both; nothing is lost when the caller stops early.

        Errors: UnknownProgramme, and then the same decision is folded at the next call; LogsDisagree; FoldFailed.
        """
        while self._decisions and self._facts:
            decision = self._decisions[0]
            offset, value = self._facts[0]
            if offset < decision.offset:
                self._facts.popleft()
                continue
            if offset > decision.offset:
                raise LogsDisagree(
                    f"points-log decides offset {decision.offset} of partition {self.number}, facts lacks it"
                )
            fact = readable(value)
            if fact is not None:
                self.ledger.recall(fact, decision)
            self._facts.popleft()
            self._decisions.popleft()
            self.next_fact = offset + 1
            if fact is not None:
                yield Decided(fact, decision)
