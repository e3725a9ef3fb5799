"""Which decision answers which fact: both logs read forward side by side, whatever is missing, doubled or displaced."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from engine.verify.findings import Findings
from engine.verify.logs import text_of
from schemas.envelope import readable

#: Facts that are looked at ahead when a decision answers none of the next ones. Too few: a longer gap in the points log
#: is reported as decisions without facts. Too many: memory.
AHEAD = 20_000
State = Literal["answered", "unanswered", "undecided"]


@dataclass(slots=True)
class Group:
    """The records that answer one fact: one, or the parts of a long decision.

    Attributes:
        raws: their values as JSON objects.
        open: the log ends here and more parts are to come.
    """

    records: list[Any]
    raws: list[dict[str, Any]]
    open: bool = False

    @property
    def offset(self) -> int | None:
        """Of the fact it says to answer; None when that cannot be read."""
        answered = self.raws[0].get("offset")
        return answered if isinstance(answered, int) else None

    @property
    def identity(self) -> tuple[Any, Any]:
        """(source, id) of the fact it says to answer."""
        return self.raws[0].get("source"), self.raws[0].get("fact_id")

    @property
    def outcome(self) -> Any:
        """What it says came of the fact."""
        return self.raws[0].get("outcome")

    @property
    def values(self) -> list[bytes]:
        """The bytes."""
        return [record.value or b"" for record in self.records]

    @property
    def text(self) -> str:
        """All of it, for a message."""
        return "\n".join(text_of(record.value) for record in self.records)


@dataclass(slots=True)
class Pair:
    """A fact and what answers it. ``undecided`` facts stand behind the last decision, ``unanswered`` ones before it."""

    fact: Any
    group: Group | None
    state: State


#: A record of the points log and its value as a JSON object, {} where it is none.
Line = tuple[Any, dict[str, Any]]


def groups(lines: Iterable[Line]) -> Iterator[Group]:
    """Put the parts of a decision together; whatever does not belong to what came before it begins a new group."""
    current: Group | None = None
    for record, raw in lines:
        if current is not None and (raw.get("offset") != current.raws[0].get("offset") or raw.get("part") == 0):
            yield current
            current = None
        if current is None:
            current = Group([record], [raw])
        else:
            current.records.append(record)
            current.raws.append(raw)
        if raw.get("last") is not False:
            yield current
            current = None
    if current is not None:
        current.open = True
        yield current


def raw_of(value: bytes | None) -> dict[str, Any]:
    """The JSON object of a value, {} where it is none."""
    try:
        raw = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return raw if isinstance(raw, dict) else {}


@dataclass(slots=True)
class _Runs:
    """A set of rising offsets, kept as runs: a log without holes is one run."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, offset: int) -> None:
        """Add the next one."""
        if self.ends and self.ends[-1] == offset:
            self.ends[-1] = offset + 1
        else:
            self.starts.append(offset)
            self.ends.append(offset + 1)

    def __contains__(self, offset: int) -> bool:
        index = bisect_right(self.starts, offset) - 1
        return index >= 0 and offset < self.ends[index]


class Pairing:
    """Pairs the facts of one partition with the decisions of its log.

    Args:
        names: facts and points-log, as they are called on the broker.
        misfit: told every group that answers no open fact.
    """

    def __init__(
        self, partition: int, names: tuple[str, str], findings: Findings, misfit: Callable[[Group], None]
    ) -> None:
        self._partition = partition
        self._facts_topic, self._topic = names
        self._findings, self._told = findings, misfit
        self._passed = _Runs()
        self._unanswered: dict[int, Any] = {}
        self._ahead: deque[Any] = deque()
        self._facts: Iterator[Any] = iter(())

    def pairs(self, facts: Iterator[Any], decisions: Iterable[Line]) -> Iterator[Pair]:
        """Yield every fact in order, once, with its decision; report what does not fit."""
        self._facts = facts
        for group in groups(decisions):
            place = self._place(group)
            if place is None:
                continue
            for _ in range(place):
                fact = self._next()
                self._leave(fact)
                yield Pair(fact, None, "unanswered")
            yield Pair(self._next(), group, "answered")
        for fact in self._unanswered.values():
            self._tell_missing(fact)
        while self._look(1):
            yield Pair(self._next(), None, "undecided")

    def _next(self) -> Any:
        fact = self._ahead.popleft()
        self._passed.add(fact.offset)
        return fact

    def _leave(self, fact: Any) -> None:
        """Its decision may still come, out of order; of very many, the oldest are not waited for."""
        self._unanswered[fact.offset] = fact
        if len(self._unanswered) > AHEAD:
            self._tell_missing(self._unanswered.pop(next(iter(self._unanswered))))

    def _look(self, count: int) -> bool:
        """Have so many facts at hand; False when the log ends before."""
        while len(self._ahead) < count:
            fact = next(self._facts, None)
            if fact is None:
                return False
            self._ahead.append(fact)
        return True

    def _place(self, group: Group) -> int | None:
        """How many facts ahead the one that a group answers stands; None when it answers none that is still open."""
        answered = group.offset
        if not self._look(1):
            self._misfit(group)
            return None
        if answered is None or answered == self._ahead[0].offset:
            return 0
        if answered in self._passed:
            self._misfit(group)
            return None
        if (found := self._further(group, answered)) is not None:
            return found
        if _identity(self._ahead[0].value) == group.identity:
            return 0
        self._misfit(group)
        return None

    def _further(self, group: Group, answered: int) -> int | None:
        """Look ahead for a fact by offset and by name: one of them alone may be what was changed."""
        count = 1
        while count < AHEAD and self._look(count + 1):
            fact = self._ahead[count]
            if fact.offset == answered:
                return count if _identity(fact.value) in (group.identity, None) else None
            if fact.offset > answered:
                return None
            count += 1
        return None

    def _misfit(self, group: Group) -> None:
        """Report a group that answers no open fact."""
        self._told(group)
        answered, record = group.offset, group.records[0]
        about: dict[str, Any] = {
            "topic": self._topic,
            "partition": self._partition,
            "offset": record.offset,
            "fact": " ".join(str(part) for part in group.identity),
            "member": group.raws[0].get("member_id"),
            "found": group.text,
        }
        place = f"the fact at {self._facts_topic}[{self._partition}] offset {answered}"
        if answered is not None and answered in self._unanswered:
            del self._unanswered[answered]
            self._findings.add("decision_out_of_order", f"{place} is decided here, behind later facts", **about)
        elif answered is not None and answered in self._passed:
            self._findings.add("decision_doubled", f"{place} has its decision already", **about)
        else:
            self._findings.add("decision_without_fact", f"{place} does not exist", **about)

    def _tell_missing(self, fact: Any) -> None:
        name = _identity(fact.value)
        self._findings.add(
            "decision_missing",
            f"the fact at offset {fact.offset} has no decision in {self._topic}[{self._partition}]",
            topic=self._facts_topic,
            partition=self._partition,
            offset=fact.offset,
            fact=None if name is None else " ".join(name),
            found=text_of(fact.value),
        )


def _identity(value: bytes | None) -> tuple[str, str] | None:
    """(source, id) of a fact; None for a record that is no fact."""
    fact = readable(value)
    return None if fact is None else (fact.source, fact.id)
