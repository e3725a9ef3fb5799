"""Several partitions of `facts` as one stream that decides the same: the order in which a new generation of topics is written.

A decision depends on its member's facts before it, on the versions known in its partition by then, and on how far ticks have
moved time there. Any merge of whole partitions keeps the first. For the other two, partitions wait for each other at programme
facts and at ticks: a version becomes known, and a moment has come, in all of them at one place of the merge. What follows from a
decision waits until that decision has gone by. The merge depends on the logs alone, never on when it is made, so a copy that
broke off goes on with the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from schemas import facts
from schemas.envelope import CLAIM_SOURCE, Fact
from schemas.ids import hash_id

#: Facts of these types stand in the log because a decision led to them.
FOLLOWING = frozenset(facts.ENGINE_TYPES) - {facts.TICK, facts.PROGRAMME, facts.FORGET}
_DERIVED = b'"derived":['


class TicksUneven(Exception):
    """Time was moved further in one partition than in another, and nothing more comes there."""

    def __init__(self, lane: int, reached_us: int, time_us: int) -> None:
        super().__init__(f"partition {lane} is settled to {reached_us} and another one to {time_us}")
        self.time_us = time_us


@dataclass(slots=True)
class Item:
    """A record of `facts` on its way.

    Attributes:
        record: as fetched. fact: None where it is none, or nobody dares to read it.
        answers: values of its decision's records; empty while it has none.
    """

    record: Any
    fact: Fact | None
    answers: Sequence[bytes] = ()


@dataclass(slots=True)
class Step:
    """What comes next: a fact (`kind` "fact", one item), a programme fact or tick of all the partitions that hold it, or the
    announcement of a version once more ("again")."""

    kind: str
    items: list[Item]


class Source(Protocol):
    """One partition, read forward."""

    async def peek(self) -> Item | None:
        """The next record with its decision; None when there is none now."""
        ...

    def take(self) -> None:
        """Go on behind it."""
        ...


@dataclass(slots=True)
class Standing:
    """How far one partition has been taken, as the merge sees it.

    Attributes:
        key_ms: the latest time stamp so far. tick_us: of its newest tick. peopled: it holds somebody's facts.
    """

    key_ms: int = 0
    tick_us: int = 0
    peopled: bool = False


@dataclass(slots=True)
class Knowledge:
    """What the merge remembers across partitions.

    Attributes:
        versions: hashes of the programme versions that went by.
        announced: names of facts that decisions gone by lead to, and that did not come by yet.
        crossed: how often partitions waited for each other in a circle, so that one had to go first.
    """

    versions: set[str] = field(default_factory=set)
    announced: set[str] = field(default_factory=set)
    crossed: int = 0


class Merge:
    """The merge of some partitions; ask `next` until it returns None.

    Args:
        sources: by partition. standings: as they were left, the same length.
        ended: no partition will get more records: one without a next one is not waited for.
    """

    def __init__(
        self, sources: Sequence[Source], standings: Sequence[Standing], knowledge: Knowledge, *, ended: bool
    ) -> None:
        self._sources, self._standings, self._known, self._ended = sources, standings, knowledge, ended

    async def next(self) -> Step | None:
        """The next step; None when nothing more can be said now.

        Errors: TicksUneven, only with `ended`.
        """
        heads: dict[int, Item] = {}
        for number, source in enumerate(self._sources):
            head = await source.peek()
            if head is not None:
                heads[number] = head
            elif not self._ended:
                return None
        if not heads:
            return None
        step = self._again(heads) or self._plain(heads) or self._together(heads)
        for item in step.items:
            announce(item.answers, self._known.announced)
        return step

    def _again(self, heads: dict[int, Item]) -> Step | None:
        """The announcement of a version that is known already."""
        for number, head in heads.items():
            if _kind(head) == "programme" and _hash(head) in self._known.versions:
                return Step("again", [self._take(heads, number)])
        return None

    def _plain(self, heads: dict[int, Item]) -> Step | None:
        """The oldest fact that waits for nobody."""
        best: tuple[int, int] | None = None
        for number, head in heads.items():
            if _kind(head) != "fact" or self._waits(head):
                continue
            place = max(self._standings[number].key_ms, head.record.timestamp), number
            if best is None or place < best:
                best = place
        return None if best is None else Step("fact", [self._take(heads, best[1])])

    def _waits(self, head: Item) -> bool:
        fact = head.fact
        return fact is not None and _follows(fact) and name_of(fact) not in self._known.announced

    def _together(self, heads: dict[int, Item]) -> Step:
        """Everybody waits: for a version, for a moment, or in a circle, out of which the earliest tick or version leads."""
        kinds = {_kind(head) for head in heads.values()}
        if kinds == {"tick"}:
            return self._tick(heads)
        if kinds == {"programme"}:
            if len({_hash(head) for head in heads.values()}) > 1:
                self._known.crossed += 1
            return self._programme(heads)
        self._known.crossed += 1
        if "programme" in kinds:
            return self._programme(heads)
        if "tick" in kinds:
            return self._tick(heads)
        return Step(
            "fact", [self._take(heads, min(heads, key=lambda number: (heads[number].record.timestamp, number)))]
        )

    def _tick(self, heads: dict[int, Item]) -> Step:
        ticks = {number: _time(head) for number, head in heads.items() if _kind(head) == "tick"}
        time_us = min(ticks.values())
        for number, standing in enumerate(self._standings):
            if number not in heads and standing.peopled and standing.tick_us < time_us:
                raise TicksUneven(number, standing.tick_us, time_us)
        return Step("tick", [self._take(heads, number) for number, when in ticks.items() if when == time_us])

    def _programme(self, heads: dict[int, Item]) -> Step:
        named = {number: head for number, head in heads.items() if _kind(head) == "programme"}
        chosen = min((_time(head), _hash(head)) for head in named.values())[1]
        self._known.versions.add(chosen)
        return Step("programme", [self._take(heads, number) for number, head in named.items() if _hash(head) == chosen])

    def _take(self, heads: dict[int, Item], number: int) -> Item:
        item, standing = heads[number], self._standings[number]
        self._sources[number].take()
        standing.key_ms = max(standing.key_ms, item.record.timestamp)
        fact = item.fact
        if fact is not None and fact.type == facts.TICK:
            standing.tick_us = max(standing.tick_us, fact.time_us)
        elif fact is not None and fact.type != facts.PROGRAMME:
            standing.peopled = True
            if _follows(fact):
                self._known.announced.discard(name_of(fact))
        return item


def _follows(fact: Fact) -> bool:
    return fact.type in FOLLOWING or fact.source == CLAIM_SOURCE


def name_of(fact: Fact) -> str:
    """What a fact that follows from a decision is known by."""
    return hash_id(fact.source, fact.id)


def announce(answers: Iterable[bytes], announced: set[str]) -> None:
    """Note the facts that a decision leads to. One that an alias passes on keeps its name and waits for nobody."""
    for value in answers:
        if _DERIVED in value:
            for one in orjson.loads(value).get("derived", ()):
                if one["type"] in FOLLOWING or one["source"] == CLAIM_SOURCE:
                    announced.add(hash_id(one["source"], one["id"]))


def _kind(item: Item) -> str:
    if item.fact is None:
        return "fact"
    return {facts.TICK: "tick", facts.PROGRAMME: "programme"}.get(item.fact.type, "fact")


def _time(item: Item) -> int:
    return 0 if item.fact is None else item.fact.time_us


def _hash(item: Item) -> str:
    return "" if item.fact is None else str(item.fact.data["hash"])
