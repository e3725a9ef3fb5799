"""One partition of a generation that is copied: its facts, each with the decision on it, both logs read forward together."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from engine.stream.attempts import KILLER
from engine.stream.clients import Cluster, read_partition
from engine.stream.generations import Lane
from engine.stream.merging import Item
from engine.stream.topics import FACTS, POINTS_LOG
from schemas.envelope import UNREADABLE_SOURCE, readable

#: A quote inside a text is written with a backslash before it, so this is the decision's own field.
_OFFSET = re.compile(rb'"offset":(\d+)')
_LAST_PART = b'"last":false'
Records = AsyncGenerator[list[Any], None]


class LaneReader:
    """Satisfies `engine.stream.merging.Source`. Reads as far as both logs reach when it is first asked.

    Args:
        start: where to begin.
        undecided: read what has no decision yet, instead of what has one.
    """

    def __init__(self, cluster: Cluster, prefix: str, partition: int, start: Lane, *, undecided: bool = False) -> None:
        self.next_fact, self.next_decision = start.facts, start.decisions
        self._undecided = undecided
        self._cluster, self._prefix, self._partition = cluster, prefix, partition
        self._opened: list[Records] = []
        self._facts: list[Any] = []
        self._decisions: list[Any] = []
        self._at_fact = self._at_decision = 0
        self._head: Item | None = None
        self._dry = False

    async def close(self) -> None:
        """Let go of the consumers."""
        for one in self._opened:
            await one.aclose()

    async def peek(self) -> Item | None:
        """The next record with its decision; None when there is none.

        Errors: KafkaTrouble when a log lost records.
        """
        if self._head is None and not self._dry:
            self._head = await self._read()
            self._dry = self._head is None
        return self._head

    def take(self) -> None:
        """Go on behind it."""
        head, self._head = self._head, None
        if head is None:
            raise LookupError("nothing was looked at")
        self.next_fact = head.record.offset + 1
        if head.answers:
            self.next_decision = self._decisions[self._at_decision - 1].offset + 1

    async def _read(self) -> Item | None:
        if not self._opened:
            # Decisions first: the facts that they answer are there by then.
            for topic, start in ((POINTS_LOG, self.next_decision), (FACTS, self.next_fact)):
                self._opened.append(read_partition(self._cluster, self._prefix + topic, self._partition, start))
        decisions, facts = self._opened
        if self._undecided:
            record = await self._fact(facts)
            return None if record is None else Item(record, readable(record.value))
        answers = []
        while (answer := await self._decision(decisions)) is not None:
            self._at_decision += 1
            answers.append(answer)
            if _LAST_PART not in answer.value:
                break
        if not answers:
            return None
        offset, record = offset_of(answers[0].value), await self._fact(facts)
        while record is not None and record.offset < offset:
            record = await self._fact(facts)
        if record is None or record.offset != offset:
            raise LookupError(f"{self._prefix}{FACTS}/{self._partition} does not hold the decided fact at {offset}")
        values = [one.value for one in answers]
        return Item(record, None if given_up_unread(values) else readable(record.value), values)

    async def _fact(self, facts: Records) -> Any:
        if self._at_fact == len(self._facts):
            self._facts, self._at_fact = await _next(facts), 0
            if not self._facts:
                return None
        self._at_fact += 1
        return self._facts[self._at_fact - 1]

    async def _decision(self, decisions: Records) -> Any:
        if self._at_decision == len(self._decisions):
            more = await _next(decisions)
            if not more:
                return None
            self._decisions, self._at_decision = more, 0
        return self._decisions[self._at_decision]


async def _next(batches: Records) -> list[Any]:
    with suppress(StopAsyncIteration):
        while True:
            if records := await anext(batches):
                return records
    return []


def offset_of(value: bytes) -> int:
    """The offset of the fact that a decision answers. Errors: ValueError."""
    found = _OFFSET.search(value)
    if found is None:
        raise ValueError(f"no decision: {value[:100]!r}")
    return int(found[1])


def given_up_unread(answers: list[bytes]) -> bool:
    """Does the decision say that reading its record ended workers? Then nobody reads it."""
    told = bool(answers) and UNREADABLE_SOURCE.encode() in answers[0] and KILLER.encode() in answers[0]
    return told and b'"outcome":"quarantined"' in answers[0]
