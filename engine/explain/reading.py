"""Finding what is asked about in the logs: a member's key, the id of a fact, the id of an entry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

from engine.explain.telling import Record
from rules.book import Programme
from schemas.decisions import parse_decision
from schemas.envelope import COST_KEY, Fact, parse_fact


class Line(NamedTuple):
    """One record of the `facts` log; ``quarantined`` is (text, reason) where that was the answer to it."""

    partition: int
    offset: int
    value: bytes
    quarantined: tuple[str, str] | None = None


class Logs(Protocol):
    """Where facts and decisions come from; both can be read again and again."""

    @property
    def versions(self) -> Mapping[str, Programme]:
        """Programme versions by hash."""
        ...

    def facts(self) -> Iterator[Line]:
        """Every fact, by partition or mixed, each partition in the order of its offsets."""
        ...

    def decisions(self) -> Iterator[tuple[int, bytes]]:
        """Every decision with its partition."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What was asked about.

    Attributes:
        kind: member, fact or entry.
        key: of the member whose facts tell about it.
        at: partition and offset of the fact; None for a member.
    """

    kind: str
    key: str
    partition: int
    at: tuple[int, int] | None = None


class Ambiguous(LookupError):
    """Several sources sent a fact of this id; ``sources`` names them."""

    def __init__(self, sources: list[str]) -> None:
        super().__init__(", ".join(sources))
        self.sources = sources


class NotExplained(LookupError):
    """It stands in the log, but belongs to no member."""


def find(logs: Logs, what: str, source: str | None = None) -> list[Found]:
    """Return what ``what`` names: a member first, then a fact (of ``source``), then an entry; empty for nothing.

    A fact that an alias forwarded is found under each of its keys, in the order of the log.

    Raises:
        Ambiguous: facts of several sources have this id.
        NotExplained: a tick or a version: it belongs to no member.
    """
    needle = orjson.dumps(what)[1:-1]
    facts: list[tuple[Line, Fact]] = []
    for line in logs.facts():
        if needle not in line.value:
            continue
        fact = parse_fact(line.value)
        if fact.key == what and source is None:
            return [Found("member", what, line.partition)]
        if fact.id == what and source in (None, fact.source):
            facts.append((line, fact))
    sources = sorted({fact.source for _, fact in facts})
    if len(sources) > 1:
        raise Ambiguous(sources)
    found: dict[str, Found] = {}
    for line, fact in facts:
        if fact.key is None:
            raise NotExplained(f"{what} is a {fact.type.split('.')[1]}: name a member it moved")
        found.setdefault(fact.key, Found("fact", fact.key, line.partition, (line.partition, line.offset)))
    entry = None if found else _entry(logs, what, needle)
    return [*found.values()] if entry is None else [entry]


def _entry(logs: Logs, what: str, needle: bytes) -> Found | None:
    for partition, value in logs.decisions():
        if needle in value:
            decision = parse_decision(value)
            for entry in decision.entries:
                if entry.entry_id == what:
                    return Found("entry", entry.member_id, partition, (partition, decision.offset))
    return None


def records(logs: Logs, found: Found) -> Iterator[tuple[Record, tuple[str, str] | None]]:
    """Yield the facts that tell about a member: his own, and the ticks and versions of his partition."""
    needle = orjson.dumps(found.key)[1:-1]
    for line in logs.facts():
        if line.partition != found.partition:
            continue
        plain = needle in line.value or b'"subject":null' in line.value or _anonymous(found.key)
        if plain and (fact := parse_fact(line.value)).key in (None, found.key):
            yield (line.partition, line.offset, fact), line.quarantined


def _anonymous(key: str) -> bool:
    return key.startswith(("order:", COST_KEY))


def dumped(line: bytes) -> Line:
    """Read one line of a facts dump.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    record: Any = orjson.loads(line)
    given = record.get("quarantined")
    quarantined = None if given is None else (str(given["text"]), str(given["reason"]))
    return Line(record["partition"], record["offset"], orjson.dumps(record["fact"]), quarantined)
