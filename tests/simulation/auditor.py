"""The auditor: folds every facts log by itself, and holds each committed decision against it, as soon as it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from engine.ledger.partition import Partition
from engine.stream.attempts import KILLER, KILLER_TEXT, TRIES
from engine.stream.chain import GENESIS, link, link_of
from engine.stream.parts import records_of
from engine.stream.turn import unreadable_decision
from schemas.decisions import Decision, parse_decision
from schemas.envelope import CLOCK_SOURCE, PROGRAMME_SOURCE, UNREADABLE_SOURCE, Fact, readable
from schemas.notices import encode_event, event_of
from tests.chaos.plans import PLANS
from tests.properties.naive import Model
from tests.properties.writing import compiled
from tests.simulation import profiles, stories
from tests.simulation.conservation import Conservation
from tests.simulation.logs import Broker, Log, Place, Record
from tests.simulation.options import Options


@dataclass(slots=True)
class Books:
    """What the auditor knows of one partition of `facts`.

    Attributes:
        cursor: everything below is decided, in the log and in the fold.
        awaited: values of the records that must come next: what is left of a decision in parts.
    """

    fold: Partition
    facts: Log
    cursor: int = 0
    decided: int = 0
    awaited: list[bytes] = field(default_factory=list)
    fact: Record | None = None
    link: bytes = GENESIS
    broken: bool = False
    given_up: set[int] = field(default_factory=set)


class Auditor:
    """Sees every committed record the moment readers may see it."""

    def __init__(self, broker: Broker, options: Options) -> None:
        partitions, transactional = options.partitions, options.transactional
        versions = {version.hash: version for version in stories.programmes(options.business)}
        self._broker = broker
        self._transactional = transactional
        self._options = options
        self._batch_bytes: int = options.knobs["engine.stream.turn.BATCH_BYTES"]
        self.books = [
            Books(Partition(p, versions, opens=profiles.opens), broker.logs["facts", p]) for p in range(partitions)
        ]
        self.violations: list[str] = []
        self.outcomes: Counter[str] = Counter()
        #: How many processes were interrupted so far; set by the history.
        self.interrupted: Callable[[], int] = lambda: 0
        self._derived: Counter[tuple[str, str, str]] = Counter()
        self._rejects: Counter[tuple[int, int, str]] = Counter()
        self._notices: Counter[tuple[int, bytes]] = Counter()
        broker.listeners.append(self.committed)

    def report(self, text: str) -> None:
        """Something that must never be."""
        self.violations.append(f"{self._broker.network.loop.time():.3f} s: {text}")

    # ------------------------------------------------------------------------------------------------------- as it goes

    def committed(self, place: Place, records: list[Record]) -> None:
        """Records became visible."""
        if place[0] == "points-log":
            books = self.books[place[1]]
            for record in records:
                if not books.broken:
                    self._check(books, record)

    def _check(self, books: Books, record: Record) -> None:
        if not books.awaited and not self._decide(books, record):
            books.broken = True
            return
        fact, value = books.fact, books.awaited.pop(0)
        assert fact is not None
        if record.value != value:
            books.broken = True
            texts = f"  is {_text(record.value)}\n  must be {_text(value)}"
            self.report(f"{self._name(record)}: not the decision on facts {fact.offset}\n{texts}")
        elif (record.key, record.timestamp) != (fact.key, fact.timestamp):
            books.broken = True
            self.report(f"{self._name(record)}: key or time is not that of its fact")
        books.link = link(books.link, value)
        if not books.broken and link_of(record.headers) != books.link:
            books.broken = True
            self.report(f"{self._name(record)}: the chain is broken")

    @staticmethod
    def _name(record: Record) -> str:
        return f"{record.topic}/{record.partition} offset {record.offset}"

    def _decide(self, books: Books, record: Record) -> bool:
        """Fold the next fact; False when there is none that this record could answer."""
        fact = self.next_fact(books)
        said = orjson.loads(record.value or b"{}")
        answered = int(said.get("offset", -1))
        if fact is None or fact.offset != answered:
            what = "doubled" if answered < books.cursor else "out of order, or for a fact that nobody can see"
            wanted = "none" if fact is None else fact.offset
            self.report(f"{self._name(record)}: decision on facts {answered} is {what}; the next undecided is {wanted}")
            return False
        books.fact, books.cursor = fact, fact.offset + 1
        books.decided += 1
        answer = self._answer(
            books,
            fact,
            given_up=said.get("reason") == KILLER,
            unread=said.get("source") == UNREADABLE_SOURCE,
        )
        books.awaited = records_of(answer, self._batch_bytes)
        return True

    def next_fact(self, books: Books) -> Record | None:
        """The first committed fact without a decision."""
        records, stable = books.facts.records, books.facts.stable
        for offset in range(books.cursor, stable):
            if records[offset].state == "committed":
                return records[offset]
        return None

    def _answer(self, books: Books, record: Record, *, given_up: bool, unread: bool) -> list[Decision]:
        fact = readable(record.value)
        if fact is None:
            self._count(record, ["quarantined"])
            self.outcomes["quarantined"] += 1
            return [unreadable_decision(record.partition, record.offset)]
        if given_up:
            self._given_up(fact)
            if unread:
                self._count(record, ["quarantined"])
                books.given_up.add(record.offset)
                return [unreadable_decision(record.partition, record.offset, KILLER)]
            answer = books.fold.quarantine(fact, record.offset, KILLER_TEXT, KILLER)
            self.outcomes["given up"] += 1
            self._count(record, ["quarantined"])
            books.given_up.add(record.offset)
            return answer.decisions
        try:
            answer = books.fold.answer(fact, record.offset)
        except Exception as error:  # noqa: BLE001  as in the keeper
            answer = books.fold.quarantine(fact, record.offset, f"{type(error).__name__}: {error}")
        self.outcomes[answer.decisions[0].outcome] += 1
        self._count(record, [] if answer.reject is None else [answer.reject.reason])
        self._expect_notices(answer.decisions)
        for derived in answer.derived:
            self._derived[derived.source, derived.id, derived.key or ""] += 1
        return answer.decisions

    def _expect_notices(self, decisions: list[Decision]) -> None:
        for notice in (one for decision in decisions for one in decision.notices):
            self.outcomes[f"notice {notice.reason or notice.state}"] += 1
            event = event_of(notice)
            if event is not None:
                place = stories.place_of(notice.member_id.encode(), self._options.partitions)
                self._notices[place, encode_event(event)] += 1

    def _given_up(self, fact: Fact) -> None:
        """A fact may be given up that kills its worker, or at which three workers happened to die."""
        if fact.id.startswith(stories.DEADLY):
            return
        self.outcomes["given up, innocent"] += 1
        if self.interrupted() < TRIES:
            self.report(f"{fact.id} was given up after {self.interrupted()} interruptions")

    def _count(self, record: Record, reasons: list[str]) -> None:
        for reason in reasons:
            self._rejects[record.partition, record.offset, reason] += 1

    def offsets(self, offsets: dict[Place, int]) -> None:
        """The group commits: nothing below may be undecided."""
        for (topic, partition), offset in offsets.items():
            if topic != "facts":
                continue
            books = self.books[partition]
            decided = books.cursor
            for fact in books.facts.records[decided:offset]:
                if fact.state == "committed" and fact.offset not in self._being_marked(partition):
                    self.report(f"facts/{partition}: the group committed {offset}, and {fact.offset} has no decision")
                    break

    def _being_marked(self, partition: int) -> set[int]:
        """Facts whose decisions are committed, and whose marker is on its way to the partition."""
        found: set[int] = set()
        for writer, records in self._broker.logs["points-log", partition].open.items():
            known = self._broker.transactions[writer]
            if known.state == "ending" and known.committed:
                found |= {int(orjson.loads(record.value or b"{}")["offset"]) for record in records}
        return found

    def opened(self, partition: int, next_offset: int, ledger: Any) -> None:
        """A keeper has recovered: where it stands the fold must stand as well, if that is where the log is."""
        books = self.books[partition]
        if not books.broken and not books.awaited and books.fold.next_offset == next_offset:
            self.same(f"facts/{partition} recovered at {next_offset}", ledger, books.fold)

    def same(self, where: str, ledger: Any, fold: Partition) -> None:
        """Two states must be equal, byte for byte."""
        mine, theirs = state_of(fold), state_of(ledger)
        for name in mine.keys() | theirs.keys():
            if mine.get(name) != theirs.get(name):
                self.report(f"{where}: {name} is\n  {theirs.get(name)}\nand must be\n  {mine.get(name)}")
                return

    # --------------------------------------------------------------------------------------------------------- at the end

    def all_decided(self) -> bool:
        """Has every fact its decision?"""
        return all(self.next_fact(books) is None and not books.awaited for books in self.books)

    def close(self, published: Counter[tuple[str, str, str]]) -> None:
        """When all has converged: facts that follow, rejects, and what must be true of all members together.

        Args:
            published: (source, id, key) of what was told; intake may write that more than once.
        """
        seen: Counter[tuple[str, str, str]] = Counter()
        for books in self.books:
            for record in books.facts.committed():
                fact = readable(record.value)
                if fact is not None and fact.source not in (CLOCK_SOURCE, PROGRAMME_SOURCE):
                    seen[fact.source, fact.id, fact.key or ""] += 1
        wanted = self._derived + published
        if self._options.intake:
            for identity in published:
                seen[identity] = min(seen[identity], wanted[identity])
        self._compare("facts", wanted, seen)
        self._compare_rejects()
        told = Counter(
            (partition, record.value or b"")
            for (topic, partition), log in self._broker.logs.items()
            for record in (log.committed() if topic == "incentives" else ())
        )
        self._compare("incentives", self._notices, told)
        # A second half that was given up leaves its business half done, until it is sent back.
        if self._options.business and not self.outcomes["given up, innocent"]:
            self._look_across()

    def _look_across(self) -> None:
        across = Conservation()
        for books in self.books:
            told = {record.offset: readable(record.value) for record in books.facts.committed()}
            for record in self._broker.logs["points-log", books.facts.partition].committed():
                decision = parse_decision(record.value or b"")
                if (fact := told[decision.offset]) is not None:
                    across.take(fact, decision)
        for finding in across.findings(books.fold for books in self.books):
            self.report(finding)

    def _compare_rejects(self) -> None:
        told: Counter[tuple[int, int, str]] = Counter()
        for (topic, _), log in self._broker.logs.items():
            for record in log.committed() if topic == "rejects" else ():
                headers = dict(record.headers)
                if headers["stammgast-topic"] == b"facts":
                    offset, reason = int(headers["stammgast-offset"]), headers["stammgast-reason"].decode()
                    told[int(headers["stammgast-partition"]), offset, reason] += 1
        self._compare("rejects", self._rejects, told)

    def ask_the_model(self) -> None:
        """The naive model, which knows nothing of the engine, folds each log of facts: every balance must be the same."""
        for books in self.books:
            mine: Counter[str] = Counter()
            model = Model({compiled(plan).hash: plan for plan in PLANS})
            for record in books.facts.committed():
                fact = readable(record.value)
                if fact is not None and fact.type != stories.UNHEARD and record.offset not in books.given_up:
                    for move in model.answer(orjson.loads(record.value or b"")).moves:
                        mine[move.member] += move.points
            theirs: Counter[str] = Counter()
            for record in self._broker.logs["points-log", books.facts.partition].committed():
                for entry in parse_decision(record.value or b"").entries:
                    theirs[entry.member_id] += entry.points
            for member in mine.keys() | theirs.keys():
                if mine[member] != theirs[member]:
                    self.report(f"{member}: the log says {theirs[member]} points, the naive model {mine[member]}")

    def _compare(self, what: str, wanted: Counter[Any], seen: Counter[Any]) -> None:
        if missing := wanted - seen:
            self.report(f"{what} missing: {dict(missing)}")
        doubled = seen - wanted if self._transactional else Counter({name: 1 for name in seen if name not in wanted})
        if doubled:
            self.report(f"{what} too often: {dict(doubled)}")


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")[:600]


def state_of(ledger: Any) -> dict[str, Any]:
    """Everything a partition's state holds, comparable: members as they are packed."""
    members = {f"member {key}": ledger.snapshot(key) for key in ledger.members}
    return {"outline": ledger.outline(), "due": ledger.next_due_us, **members}
