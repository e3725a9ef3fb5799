"""The checks, without any Kafka: what the logs hold beside what they must hold, computed twice from the facts.

Once with the engine's own ledger, for bytes; once with the naive model, which knows nothing of the engine, for every outcome,
entry, lot, tier and balance; where members deal with each other, which that one does not know, all members together must add up
(tests/simulation/conservation.py). `PartitionAudit` is given each fact with what answered it, in the order of the logs.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.ledger.partition import Answer, Partition
from engine.ledger.profiles import Opens, closed
from engine.stream.clients import BATCH_BYTES, partition_for
from engine.stream.parts import records_of
from schemas.decisions import Decision, parse_decision
from schemas.envelope import ENGINE_SOURCES, Fact, parse_fact
from schemas.facts import TICK
from schemas.notices import encode_event, event_of
from tests.chaos.plans import PLANS
from tests.properties.harness import Pair
from tests.properties.naive import Model
from tests.properties.writing import compiled
from tests.simulation import business
from tests.simulation.conservation import Conservation

CHAIN_HEADER = "stammgast-chain"
GENESIS = bytes(16)
SHOWN = 5
#: What must be zero, in the order of the report.
ZEROS = (
    "decisions lost", "decisions doubled", "decisions out of order", "decisions with other bytes",
    "decisions that the naive model answers otherwise", "wrong running balances", "wrong keys or stamps",
    "broken chain links", "decisions quarantined", "derived facts lost", "derived facts doubled", "rejects lost",
    "rejects doubled", "notices lost", "notices doubled", "notices out of order",
    "acknowledged events lost", "tables unlike the log", "members unlike the naive model",
    "points lost or made between members",
)  # fmt: skip


@dataclass
class Findings:
    """What is wrong, counted by kind, the first of each in full."""

    counts: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, what: str, times: int = 1) -> None:
        """One more."""
        assert kind in ZEROS, kind
        self.counts[kind] += times
        first = self.shown.setdefault(kind, [])
        if len(first) < SHOWN:
            first.append(what[:2_000])


@dataclass(frozen=True, slots=True)
class Stored:
    """A record of a log, as far as the audit needs it."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    chain: bytes | None = None


def link(previous: bytes, value: bytes) -> bytes:
    """The tamper-evidence link of a record: BLAKE2b-128 of the link before it and the value."""
    return hashlib.blake2b(previous + value, digest_size=16).digest()


#: (source, id, key) of a fact.
Mark = tuple[str, str, str]
#: Key and value of a record of incentives.
Told = tuple[bytes | None, bytes]


class Across:
    """What belongs together over partitions: derived facts with their decisions, rejects with theirs, notices with theirs."""

    def __init__(self, partitions: int = 1) -> None:
        #: By (source, id, key): what decisions announced, and what stands in facts.
        self.announced: Counter[Mark] = Counter()
        self.derived: Counter[Mark] = Counter()
        self.refused: set[tuple[int, int]] = set()
        self.rejects: Counter[tuple[int, int]] = Counter()
        self.facts_seen: set[str] = set()
        self.refused_values: set[str] = set()
        self.outcomes: Counter[str] = Counter()
        self.notices: Counter[str] = Counter()
        #: By partition, in order: the notices that decisions made, and what stands in incentives.
        self.made: list[list[Told]] = [[] for _ in range(partitions)]
        self.told: list[list[Told]] = [[] for _ in range(partitions)]

    def tell(self, record: Stored) -> None:
        """A record of incentives."""
        self.told[record.partition].append((record.key, record.value))

    def finish(self, findings: Findings) -> None:
        """Everything announced is there once, and nothing else."""
        self._compare_notices(findings)
        # An event that was forwarded round a circle stands under the key that it was told of twice or more: copies that intake
        # made cannot be told from it.
        told = {mark[:2] for mark in self.derived if mark not in self.announced}
        for mark, count in self.announced.items():
            found = self.derived[mark]
            if found < count:
                findings.add("derived facts lost", f"{mark}: announced by a decision, not in facts")
            if found > count and (mark[:2] in told or mark[0].startswith(ENGINE_SOURCES)):
                findings.add("derived facts doubled", f"{mark}: {found} times in facts, announced {count} times")
        for mark in self.derived.keys() - self.announced.keys():
            if not mark[0].startswith(ENGINE_SOURCES):
                continue
            findings.add("derived facts doubled", f"{mark}: in facts, and no decision announced it")
        for place in self.refused - self.rejects.keys():
            findings.add("rejects lost", f"facts/{place[0]}/{place[1]} is refused in the log, and not in rejects")
        for place, count in self.rejects.items():
            if count > 1 or place not in self.refused:
                findings.add("rejects doubled", f"facts/{place[0]}/{place[1]}: {count} times in rejects")

    def _compare_notices(self, findings: Findings) -> None:
        """One by one: key, bytes, order."""
        for number, (made, told) in enumerate(zip(self.made, self.told, strict=True)):
            if made == told:
                continue
            lost, doubled = Counter(made) - Counter(told), Counter(told) - Counter(made)
            for kind, found in (("notices lost", lost), ("notices doubled", doubled)):
                for (_, value), times in found.items():
                    findings.add(kind, f"incentives/{number}: {value.decode('utf-8', 'replace')}", times)
            if not lost and not doubled:
                place = next(place for place, pair in enumerate(zip(made, told, strict=True)) if pair[0] != pair[1])
                findings.add(
                    "notices out of order", f"incentives/{number}: the notice at {place} is {told[place][1]!r}"
                )

    def missing(self, journal: Sequence[str], findings: Findings) -> None:
        """Every acknowledged event is in facts or in rejects."""
        for mark in journal:
            if mark not in self.facts_seen and mark not in self.refused_values:
                findings.add("acknowledged events lost", mark)


class PartitionAudit:
    """One partition: both logs side by side."""

    def __init__(
        self,
        number: int,
        findings: Findings,
        across: Across,
        conservation: Conservation | None = None,
        opens: Opens = closed,
    ) -> None:
        """Start; `conservation` where members deal with each other, which the naive model knows nothing of; `opens` reads their
        profiles."""
        versions = [compiled(plan) for plan in PLANS] if conservation is None else business.programmes()
        self._conservation = conservation
        self.number = number
        self.findings, self.across = findings, across
        self.ledger = Partition(number, {version.hash: version for version in versions}, opens=opens)
        self.pair = Pair([])
        self.pair.model = Model({compiled(plan).hash: plan for plan in PLANS})
        self.pair.hashes = {plan.version: compiled(plan).hash for plan in PLANS}
        self.facts: deque[Stored] = deque()
        self.log: deque[Stored] = deque()
        self.answered = 0
        self.chained = 0
        self._chain: bytes | None = None
        self._last_offset = -1
        self._in_log: Counter[str] = Counter()
        self._in_model: Counter[str] = Counter()

    @property
    def known(self) -> int:
        """How many members there are."""
        return len(self.pair.model.people) if self._conservation is None else len(self.ledger.members)

    def work(self) -> int:
        """Compare as far as both logs are there; returns how many facts were."""
        done = 0
        while self.facts and self.log and self._one():
            done += 1
        self.answered += done
        return done

    def _one(self) -> bool:
        """Take the next fact and its decisions; False when more of the log must come first."""
        parts: list[tuple[Stored, Decision]] = []
        fact = self.facts[0]
        for record in self.log:
            decision = parse_decision(record.value)
            if decision.offset != fact.offset:
                break
            parts.append((record, decision))
            if decision.last:
                break
        if parts and not parts[-1][1].last and len(parts) == len(self.log):
            return False
        if not parts:
            return self._stray(fact, parse_decision(self.log[0].value))
        for _ in parts:
            self.log.popleft()
        self.facts.popleft()
        self._compare(fact, [record for record, _ in parts], [decision for _, decision in parts])
        return True

    def _stray(self, fact: Stored, decision: Decision) -> bool:
        """The next decision answers another fact than the next one."""
        where = f"points-log/{self.number}/{self.log[0].offset}"
        if decision.offset > fact.offset:
            self.facts.popleft()
            self.findings.add(
                "decisions lost", f"facts/{self.number}/{fact.offset} has no decision; {where} comes next"
            )
            return True
        kind = "decisions doubled" if decision.offset <= self._last_offset else "decisions out of order"
        self._link(self.log.popleft())
        self.findings.add(kind, f"{where} answers fact {decision.offset} when it was the turn of {fact.offset}")
        return True

    def _lost(self, record: Stored, more: str = "") -> None:
        known = parse_fact(record.value)
        self.across.facts_seen.add(f"{known.source}\t{known.id}")
        self.findings.add("decisions lost", f"facts/{self.number}/{record.offset} has no decision{more}")

    def _compare(self, record: Stored, stored: list[Stored], decisions: list[Decision]) -> None:
        where = f"facts/{self.number}/{record.offset}"
        self._last_offset = record.offset
        for one in stored:
            self._link(one)
            if (one.key, one.timestamp_ms) != (record.key, record.timestamp_ms):
                self.findings.add("wrong keys or stamps", f"{where}: {one.key!r} {one.timestamp_ms}")
        fact = parse_fact(record.value)
        self._note(fact, record, decisions)
        answer = self.ledger.answer(fact, record.offset)
        expected, actual = records_of(answer.decisions, BATCH_BYTES), [one.value for one in stored]
        if expected != actual:
            self.findings.add("decisions with other bytes", f"{where}\n  must be {expected!r}\n  is      {actual!r}")
        if self._conservation is None:
            self._ask_the_model(fact, record, answer, decisions)
        else:
            for decision in decisions:
                self._conservation.take(fact, decision)

    def _note(self, fact: Fact, record: Stored, decisions: list[Decision]) -> None:
        """What other partitions and topics must hold because of this."""
        across = self.across
        if fact.key is not None:
            across.derived[fact.source, fact.id, fact.key] += 1
        across.facts_seen.add(f"{fact.source}\t{fact.id}")
        across.outcomes[decisions[0].outcome] += 1
        if decisions[0].outcome == "quarantined":
            self.findings.add("decisions quarantined", f"facts/{self.number}/{record.offset}: {decisions[0].notes}")
        if decisions[0].outcome in ("rejected", "quarantined"):
            across.refused.add((self.number, record.offset))
        for notice in (one for decision in decisions for one in decision.notices):
            across.notices[notice.reason or notice.state] += 1
            event, key = event_of(notice), notice.member_id.encode()
            if event is not None:
                across.made[partition_for(key, len(across.made))].append((key, encode_event(event)))
        across.announced.update((one.source, one.id, one.subject) for decision in decisions for one in decision.derived)

    def _ask_the_model(self, fact: Fact, record: Stored, answer: Answer, decisions: list[Decision]) -> None:
        where = f"facts/{self.number}/{record.offset}"
        verdict = self.pair.model.answer(json.loads(record.value))
        entries = [entry for decision in decisions for entry in decision.entries]
        for move, entry in zip(verdict.moves, entries, strict=False):
            self.pair.entry_ids[id(move)] = entry.entry_id
        try:
            view = self.pair.engine_view(Answer(decisions, answer.derived), record.offset)
            differences = Pair.differences(view, self.pair.model_view(verdict))
        except (AssertionError, KeyError) as error:
            differences = [f"{type(error).__name__}: {error}"]
        if differences:
            self.findings.add("decisions that the naive model answers otherwise", f"{where}: " + "\n".join(differences))
        for entry in entries:
            self._in_log[entry.member_id] += entry.points
        for move in verdict.moves:
            self._in_model[move.member] += move.points
        if fact.type != TICK and fact.subject is not None:
            log, model = self._in_log[fact.subject], self._in_model[fact.subject]
            if log != model or log < 0:
                self.findings.add("wrong running balances", f"{where}: {fact.subject} has {log}, must have {model}")

    def _link(self, record: Stored) -> None:
        """The chain begins at the first record with a header; from there on every record has the right one."""
        if record.chain is None and self._chain is None:
            return
        self._chain = link(self._chain or GENESIS, record.value)
        self.chained += 1
        if record.chain != self._chain:
            was = record.chain.hex() if record.chain else "none"
            self.findings.add("broken chain links", f"points-log/{self.number}/{record.offset}: {was}")
            self._chain = record.chain or self._chain

    def finish(self) -> None:
        """What has no answer now has none at all."""
        for fact in self.facts:
            self._lost(fact)
        for record in self.log:
            self.findings.add("decisions out of order", f"points-log/{self.number}/{record.offset} answers nothing")

    # What the naive model says that members have in the end.

    def balances(self) -> dict[str, int]:
        """Of members that ever had points moved."""
        moved = {move.member for person in self.pair.model.people.values() for move in person.moves()}
        return {key: person.balance() for key, person in self.pair.model.people.items() if key in moved}

    def tiers(self) -> dict[str, str]:
        """Of members that have one."""
        held = {key: person.tier() for key, person in self.pair.model.people.items()}
        return {key: tier for key, tier in held.items() if tier is not None}

    def lots(self) -> dict[str, tuple[str, int]]:
        """Lot -> (member, points left), from what the model granted and took back."""
        lots: dict[str, tuple[str, int]] = {}
        for person in self.pair.model.people.values():
            for move in person.moves():
                if move.points > 0:
                    lots[self.pair.entry_ids[id(move)]] = (move.member, move.points)
                elif move.cause is not None:
                    lot = self.pair.entry_ids[id(move.cause)]
                    lots[lot] = (move.member, lots[lot][1] + move.points)
        return lots


def chain_of(headers: Sequence[tuple[str, Any]]) -> bytes | None:
    """The chain header of a record, if it has one."""
    return next((bytes(value) for name, value in headers if name == CHAIN_HEADER), None)
