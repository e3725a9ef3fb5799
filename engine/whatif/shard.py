"""One process of a comparison: it reads the whole file, decides the facts of its members on both sides, and says what it saw."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from engine.ledger.member import Member, ProfileUnavailable, quantity_milli
from engine.ledger.partition import FoldFailed, Partition, UnknownProgramme
from engine.lines import CHUNK_FACTS, Progress, reading
from engine.vault.vault import EphemeralVault, Vault
from engine.whatif.circles import Circles
from engine.whatif.plan import Plan, WhatIfError, make_plan
from engine.whatif.sides import NOTHING_RECORDED, Recorded, Sides
from engine.whatif.tally import Tally
from rules.book import from_json
from schemas import facts
from schemas.decisions import decision_of
from schemas.envelope import Fact, fact_of
from schemas.normalise import normalise
from schemas.rejects import Rejected
from schemas.times import MILLISECOND_US, to_text

#: A quote inside a text is written with a backslash before it, so this is a key; in a dump the fact's own comes first.
_SUBJECT = re.compile(rb'"subject":"([^"\\]+)"')
#: What stands for everybody: every process takes it in.
_FOR_ALL = frozenset({facts.TICK, facts.PROGRAMME})


@dataclass(frozen=True, slots=True)
class Job:
    """What all processes of a comparison are told.

    Attributes:
        path: of the facts; ``dump``: a dump of the log, else raw events.
        present, new: versions as `Programme.canonical_json` gives them.
        since_us: None: when the new programme begins.
        recorded_us: stands as recorded_at of raw events.
        shards: processes.
    """

    path: Path
    dump: bool
    present: tuple[bytes, ...]
    new: tuple[bytes, ...]
    since_us: int | None
    recorded_us: int
    shards: int

    def plan(self) -> Plan:
        """Work out both sides."""
        return make_plan([from_json(one) for one in self.present], [from_json(one) for one in self.new], self.since_us)


@dataclass(slots=True)
class MemberEnd:
    """A member in the end, the present side first; ``seen`` are orders not wholly returned, the newest order, segments."""

    member_id: str
    tier: tuple[str | None, str | None]
    tier_since_us: tuple[int | None, int | None]
    balance: tuple[int, int]
    outstanding: tuple[int, int]
    debt: tuple[int, int]
    orders: int
    last_purchase_us: int | None
    segments: tuple[str, ...]


Waiting = tuple[int, int, int, Fact, Recorded]


class Shard:
    """Decides the facts of its members; `read`, then `settle`, then `result`."""

    def __init__(self, job: Job, circles: Circles, index: int, vault: Vault | None = None) -> None:
        """Prepare; ``vault`` opens the profiles of a dump."""
        self.job, self.circles, self._index = job, circles, index
        plan = self.plan = job.plan()
        zone = plan.taking_over[0].time_zone
        self.tally = Tally(plan.since_us, zone)
        self._sealing = EphemeralVault()
        opens = self._sealing.opens(gone=None) if vault is None else vault.opens(gone=None)
        known = () if job.dump else tuple(sorted(plan.present.values(), key=lambda version: version.valid_from_us))
        self._apart = Sides(plan, opens, self.tally, from_log=job.dump, known=known)
        #: Members who deal with others: in a log of several partitions the order between these is that of time.
        self._joined = Sides(plan, opens, self.tally, from_log=job.dump, known=known)
        self._waiting: list[Waiting] = []
        self._recorded_us = job.recorded_us - job.recorded_us % MILLISECOND_US
        self._recorded_at = to_text(self._recorded_us)

    def read(self, progress: Progress = lambda _done, _total: None) -> dict[str, Any]:
        """Decide every fact of this process's members; return what was counted.

        Raises:
            ReplayError: the file cannot be read.
            WhatIfError: its facts cannot be decided twice.
        """
        try:
            with reading(self.job.path, progress) as lines:
                self._dumped(lines) if self.job.dump else self._events(lines)
            for _, number, _, fact, recorded in sorted(self._waiting, key=lambda one: one[:3]):
                self._joined.take(number, fact, recorded)
            self._waiting.clear()
        except UnknownProgramme as error:
            raise WhatIfError(
                f"the log knows the version {error.hash}, --programme does not: give all versions that were published"
            ) from error
        except ProfileUnavailable as error:
            raise WhatIfError(
                f"{error}: a rule asks for it, so give the keys (--profile-key-file, --profile-keys)"
            ) from error
        except FoldFailed as error:
            raise WhatIfError(f"the recorded decisions do not fit the facts: {error}") from error
        return self.counted()

    def counted(self) -> dict[str, Any]:
        """What was counted, of both kinds of members."""
        one, other = asdict(self._apart.counted), asdict(self._joined.counted)
        newest = {name: _later(one.pop(name), other.pop(name)) for name in ("newest_us", "newest_tick_us")}
        return {name: one[name] + other[name] for name in one} | newest

    def settle(self, time_us: int) -> None:
        """Let both sides do what time does until a moment."""
        self._apart.settle(time_us)
        self._joined.settle(time_us)

    def members(self) -> Iterator[MemberEnd]:
        """Every member in the end, aliases left out."""
        for sides in (self._apart, self._joined):
            for now, new in sides.pairs():
                yield from _ends(now, new)

    def _mine(self, key: str | None) -> bool:
        return self.circles.shard(key, self.job.shards) == self._index

    def _events(self, lines: Iterator[bytes]) -> None:
        while chunk := list(islice(lines, CHUNK_FACTS)):
            for sides, fact in [found for line in chunk if (found := self._event(line)) is not None]:
                sides.take(0, fact)

    def _event(self, line: bytes) -> tuple[Sides, Fact] | None:
        """A line as a fact, and whose it is; None for one that is not of this process, or that is refused."""
        if not line.strip():
            return None
        key = _subject_of_event(line)
        if not self._mine(key):
            return None
        sides = self._joined if self.circles.joined(key) else self._apart
        try:
            fact = normalise(line, self._recorded_at, self._recorded_us)
        except Rejected:
            sides.counted.refused += 1
            return None
        return sides, self._sealing.seal(fact) if fact.type in facts.PERSONAL_TYPES else fact

    def _dumped(self, lines: Iterator[bytes]) -> None:
        mine: dict[bytes, bool] = {}
        numbered = enumerate(lines, 1)
        while chunk := list(islice(numbered, CHUNK_FACTS)):
            for given in [self._record(number, line) for number, line in chunk if self._may_be_mine(line, mine)]:
                self._take_dumped(given)

    def _may_be_mine(self, line: bytes, mine: dict[bytes, bool]) -> bool:
        """Tell whether a line of a dump may be of this process; ``mine`` keeps the answers by subject."""
        found = _SUBJECT.search(line)
        if found is None:
            return True
        known = mine.get(found[1])
        if known is None:
            known = mine[found[1]] = self._mine(found[1].decode())
        return known

    def _record(self, number: int, line: bytes) -> Waiting:
        try:
            return _dumped(orjson.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise WhatIfError(
                f"{self.job.path.name}:{number}: no record of a facts dump ({error}): make it with `stammgast dump`, or say "
                "--events for a file of events"
            ) from error

    def _take_dumped(self, given: Waiting) -> None:
        _, number, _, fact, recorded = given
        if fact.type in _FOR_ALL:
            self._apart.take(number, fact)
            self._waiting.append(given)
        elif self._mine(fact.key):
            if self.circles.joined(fact.key):
                self._waiting.append(given)
            else:
                self._apart.take(number, fact, recorded)


def _dumped(record: Any) -> Waiting:
    """A line of a dump: when it was written, partition, offset, the fact, and its answer if that stands there."""
    place = record["timestamp_ms"], record["partition"], record["offset"]
    return *place, fact_of(record["fact"]), _recorded(record)


def _recorded(record: Any) -> Recorded:
    given, decided = record.get("quarantined"), record.get("decided")
    if given is not None:
        return Recorded(None, (str(given["text"]), str(given["reason"])))
    return NOTHING_RECORDED if decided is None else Recorded(decision_of(decided))


def _subject_of_event(line: bytes) -> str | None:
    try:
        subject = orjson.loads(line).get("subject")
    except (ValueError, AttributeError):
        return None
    return subject if isinstance(subject, str) else None


def _ends(now: Partition, new: Partition) -> Iterator[MemberEnd]:
    for key in {**dict.fromkeys(now.members), **dict.fromkeys(new.members)}:
        before, after = now.members.peek(key) or Member(key), new.members.peek(key) or Member(key)
        if before.anonymous or (before.alias_of is not None and after.alias_of is not None):
            continue
        yield MemberEnd(
            key,
            (before.tier, after.tier),
            (_since_us(before), _since_us(after)),
            (before.balance, after.balance),
            (before.balance + before.debt, after.balance + after.debt),
            (before.debt, after.debt),
            before.orders_counted - sum(_whole_back(before)),
            before.last_purchase_us,
            tuple(sorted(name for name, (_, entered) in before.segments.items() if entered)),
        )


def _since_us(member: Member) -> int | None:
    return None if member.standing is None else member.standing.since_us


def _whole_back(member: Member) -> Iterator[bool]:
    """Of each order of which something came back: was it all of it?"""
    if not member.returned:
        return
    for bought in member.history.orders_since(None):
        if bought.number in member.returned:
            order, back = member.unpacked(bought), member.returned[bought.number]
            money = sum(line[2] for line in order.lines)
            if money:
                yield sum(back.minor.values()) >= money
            else:
                yield sum(back.milli.values()) >= sum(quantity_milli(line[1]) for line in order.lines)


def _later(one: int | None, other: int | None) -> int | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)


def now_us() -> int:
    """The clock: when raw events count as recorded."""
    return time.time_ns() // 1_000
