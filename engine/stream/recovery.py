"""How a keeper finds out where it was: both logs of its partition, read forward together.

The points log holds outcomes and the facts log what they answer, so neither is enough: a member's state is the fold of
(fact, decision) pairs. Only committed records count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from engine.stream.chain import GENESIS, link_of
from engine.stream.clients import Cluster, KafkaTrouble, read_partition
from engine.stream.parts import joined
from engine.stream.tools import Batches, Ledger, Logs
from engine.stream.topics import FACTS, POINTS_LOG, Layout
from schemas.decisions import Decision, parse_decision
from schemas.envelope import Fact, parse_fact
from schemas.facts import TICK


class LogsDisagree(KafkaTrouble):
    """The two logs of a partition do not belong together: one lost records that the other relies on."""


@dataclass(slots=True)
class Recovered:
    """What recovery found.

    Attributes:
        ledger: the state that the decisions so far made.
        next_offset: of the first fact without a (complete) decision.
        facts: how many decisions were folded.
        parts_written: parts of the next fact's decision that stand in the log already. Only a writer without
            transactions can leave such a torso; its missing parts are written, not the whole again.
        last_tick_us: time of the newest tick that was decided.
        link: of the last decision's record; the next one goes on from it.
    """

    ledger: Ledger
    next_offset: int = 0
    facts: int = 0
    parts_written: int = 0
    last_tick_us: int = 0
    link: bytes = GENESIS


def readable(value: bytes | None) -> Fact | None:
    """The fact, or None for a record that no intake of ours wrote."""
    try:
        return parse_fact(value or b"")
    except (ValueError, KeyError, TypeError):
        return None


async def recover(new_ledger: Callable[[], Ledger], logs: Logs, where: str) -> Recovered:
    """Fold every decided fact of a partition; return the state and the position.

    Args:
        new_ledger: makes an empty one.
        where: names the partition in messages.

    Errors: LogsDisagree when a decision's fact is not in the facts log; UnknownProgramme; KafkaTrouble.
    """
    found = Recovered(new_ledger())
    parts: list[Decision] = []
    async with aclosing(logs.decisions(0)) as decisions, aclosing(logs.facts(0)) as facts:
        cursor = _Cursor(facts, where)
        async for records in decisions:
            for record in records:
                decision = parse_decision(record.value)
                parts.append(decision)
                found.link = link_of(record.headers) or found.link
                if decision.last:
                    _fold(await cursor.fact_of(decision), parts, found)
                    parts = []
    found.parts_written = len(parts)
    return found


def _fold(value: bytes | None, parts: Sequence[Decision], found: Recovered) -> None:
    decision, fact = joined(parts), readable(value)
    if fact is not None:
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
    """The logs of a partition on Kafka."""

    def __init__(self, cluster: Cluster, layout: Layout, partition: int) -> None:
        self._cluster, self._layout, self._partition = cluster, layout, partition

    def decisions(self, start: int) -> Batches:
        """Records of `points-log` from this offset on."""
        return self._read(POINTS_LOG, start)

    def facts(self, start: int) -> Batches:
        """Records of `facts` from this offset on."""
        return self._read(FACTS, start)

    def _read(self, topic: str, start: int) -> Batches:
        return read_partition(self._cluster, self._layout.name(topic), self._partition, start)
