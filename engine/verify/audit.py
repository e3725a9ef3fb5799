"""One run: partition by partition, both logs and `rejects` read forward once, every check fed from the same records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

from engine.ledger.profiles import Opens, closed
from engine.stream.clients import partition_for
from engine.stream.topics import FACTS, POINTS_LOG, REJECTS
from engine.verify.books import Books
from engine.verify.circles import Circles
from engine.verify.identities import (
    ANNOUNCED,
    COPY,
    FACT,
    FORWARDED,
    NOTHING,
    OPEN,
    PASSED,
    REPEATED,
    VOID,
    Register,
    Row,
    digest,
)
from engine.verify.judge import Judge, Verdict
from engine.verify.links import Links
from engine.verify.logs import Logs
from engine.verify.pairing import Group, Line, Pair, Pairing, raw_of
from engine.verify.refusals import Refusals
from engine.verify.report import Report
from engine.verify.scope import Scope
from engine.verify.settling import settle_names
from rules.book import Programme
from schemas import facts
from schemas.envelope import CLAIM_SOURCE, Fact, readable

DERIVED_TYPES = frozenset(facts.ENGINE_TYPES) - {facts.TICK, facts.PROGRAMME, facts.FORGET}
#: Told after every so many records how far the run is: partition and offset of points-log.
Progressed = Callable[[int, int], None]
_TELL_EVERY = 1_000


class Tables(Protocol):
    """The DuckDB file, as far as a run feeds it: every record of the logs, in order, partition by partition."""

    def begin(self, partition: int) -> None:
        """A partition begins."""
        ...

    def fact(self, record: Any, fact: Fact | None) -> None:
        """The next record of facts."""
        ...

    def decision(self, record: Any, raw: dict[str, Any], books: Books) -> None:
        """The next record of points-log; `books` stand before it."""
        ...

    def end(self, books: Books) -> None:
        """The partition ends."""
        ...

    def close(self) -> None:
        """Everything was told."""
        ...


@dataclass(slots=True)
class Audit:
    """What a run is about, and what it gathers across partitions.

    Attributes:
        programmes: published versions by hash.
        anchors: offset and link per partition of an earlier report.
        tables: the DuckDB file, None without one.
        opens: opens profiles.
    """

    logs: Logs
    programmes: Mapping[str, Programme]
    report: Report
    scope: Scope = field(default_factory=Scope)
    anchors: Mapping[int, tuple[int, str]] = field(default_factory=dict)
    tables: Tables | None = None
    progressed: Progressed = lambda _partition, _offset: None
    opens: Opens = closed
    register: Register = field(default_factory=Register)
    circles: Circles = field(default_factory=Circles)

    def name(self, topic: str) -> str:
        """A topic as it is called on the broker."""
        return self.logs.prefix + topic


def verify(
    logs: Logs,
    programmes: Mapping[str, Programme],
    *,
    scope: Scope | None = None,
    anchors: Mapping[int, tuple[int, str]] | None = None,
    tables: Tables | None = None,
    report: Report | None = None,
    progressed: Progressed = lambda _partition, _offset: None,
    opens: Opens = closed,
) -> Report:
    """Check everything and say what was found. Reads each log once; memory is that of one partition's members.

    Args:
        report: to add to, where findings were made before (the file's positions).
        opens: opens profiles; by default they stay closed, and what depends on them is taken as given.
    """
    report = Report(logs.partitions) if report is None else report
    audit = Audit(logs, programmes, report, scope or Scope(), anchors or {}, tables, progressed, opens)
    with audit.register:
        for partition in range(logs.partitions):
            _Pass(partition, audit).run()
        settle_names(audit.register, logs, report.findings)
    for circle in audit.circles.found():
        report.findings.add(
            "referral_loop",
            f"{' was brought by '.join([*circle, circle[0]])}",
            topic=audit.name(FACTS),
            member=circle[0],
        )
    if tables is not None:
        tables.close()
    return report


class _Pass:
    """One partition."""

    def __init__(self, partition: int, audit: Audit) -> None:
        self._audit, self._partition, self._findings = audit, partition, audit.report.findings
        names = (audit.name(FACTS), audit.name(POINTS_LOG))
        scope = audit.scope
        if not scope.takes_partition(partition, audit.logs.partitions):
            scope = Scope(share=0)
        self._scope = scope
        self._judge = Judge(partition, audit.programmes, scope, self._findings, names, audit.opens)
        self._links = Links(partition, names[1], self._findings, audit.anchors.get(partition))
        self._pairing = Pairing(partition, names, self._findings, self._misfit)
        self._refusals = Refusals(
            partition,
            audit.logs.rejects(partition),
            names[0],
            audit.name(REJECTS),
            self._findings,
            forgets=audit.logs.rejects_begin(partition) > 0,
        )
        self._books = Books()
        self._problems: dict[int, list[str]] = {}
        self._decided_until = 0

    def run(self) -> None:
        """Read both logs forward, then look at what must hold at the end."""
        audit, report = self._audit, self._audit.report
        if audit.tables is not None:
            audit.tables.begin(self._partition)
        lines = self._lines(audit.logs.decisions(self._partition))
        for pair in self._pairing.pairs(audit.logs.facts(self._partition), lines):
            self._take(pair)
        self._refusals.close(self._decided_until)
        self._links.close()
        self._sums()
        if audit.tables is not None:
            audit.tables.end(self._books)
        report.compared += self._judge.compared
        report.as_given += self._judge.as_given
        report.entries += self._books.entries
        report.members += len(self._books.accounts)
        report.points += sum(account.points for account in self._books.accounts.values())
        report.refused += self._refusals.matched
        report.refused_expired += self._refusals.expired
        report.linked += self._links.linked
        report.unchained += self._links.unchained
        if self._links.head is not None:
            report.heads[self._partition] = self._links.head

    def _lines(self, records: Iterable[Any]) -> Iterator[Line]:
        """Every record of the points log, once: linked, booked, compared with the file."""
        audit, report = self._audit, self._audit.report
        for record in records:
            report.decisions += 1
            raw = raw_of(record.value)
            self._links.take(record)
            if audit.tables is not None:
                audit.tables.decision(record, raw, self._books)
            problems = list(self._books.take(raw))
            if problems:
                self._problems[record.offset] = problems
            if report.decisions % _TELL_EVERY == 0:
                audit.progressed(self._partition, record.offset)
            yield record, raw

    def _misfit(self, group: Group) -> None:
        """What answers nothing moved the sums of the members it names: they are not compared with the recomputation."""
        for raw in group.raws:
            self._judge.tainted.update(_members(raw))

    def _take(self, pair: Pair) -> None:
        audit, record, group = self._audit, pair.fact, pair.group
        audit.report.facts += 1
        if pair.state == "undecided":
            audit.report.undecided += 1
            verdict = Verdict(readable(record.value), "skim")
        else:
            verdict = self._judge.take(record, group)
            self._decided_until = record.offset + 1
        if audit.tables is not None:
            audit.tables.fact(record, verdict.fact)
        if verdict.fact is not None:
            self._place(record, verdict.fact)
        self._names(pair, verdict)
        if group is None:
            if pair.state == "unanswered" and verdict.fact is not None:
                self._judge.tainted.add(verdict.fact.key or "")
            return
        if verdict.differs:
            for raw in group.raws:
                self._judge.tainted.update(_members(raw))
        else:
            self._agrees(record, group, verdict)
        if group.outcome == "quarantined":
            audit.report.quarantined += 1
            self._refusals.refused(record, "quarantined")
        elif group.outcome == "rejected":
            self._refusals.refused(record, str(group.raws[0].get("reason")))

    def _agrees(self, record: Any, group: Group, verdict: Verdict) -> None:
        """What else must hold of a decision that is the right one."""
        place = {"topic": self._audit.name(POINTS_LOG), "partition": self._partition}
        for one in group.records:
            if one.key != record.key or one.timestamp != record.timestamp:
                self._findings.add(
                    "decision_misplaced",
                    f"it answers the fact at offset {record.offset} and must carry that record's key and time stamp",
                    **place,
                    offset=one.offset,
                    expected=f"key {record.key!r}, time stamp {record.timestamp}",
                    found=f"key {one.key!r}, time stamp {one.timestamp}",
                )
            for problem in self._problems.pop(one.offset, ()):
                self._findings.add("books_do_not_balance", problem, **place, offset=one.offset, found=group.text)
        if verdict.fact is not None:
            self._audit.circles.take(verdict.fact, group.outcome, group.raws[0].get("reason"))

    def _place(self, record: Any, fact: Fact) -> None:
        key = None if fact.key is None else fact.key.encode()
        home = self._partition if key is None else _home(key, self._audit.logs.partitions)
        if record.key != key or home != self._partition:
            self._findings.add(
                "fact_misplaced",
                "members' facts stand in the partition of their own key",
                topic=self._audit.name(FACTS),
                partition=self._partition,
                offset=record.offset,
                fact=f"{fact.source} {fact.id}",
                member=fact.subject,
                expected=f"key {key!r} in partition {home}",
                found=f"key {record.key!r} in partition {self._partition}",
            )

    def _names(self, pair: Pair, verdict: Verdict) -> None:
        fact, at = verdict.fact, (self._partition, pair.fact.offset)
        if fact is None:
            return
        name = digest(fact.source, fact.id)
        register = self._audit.register
        if pair.state == "undecided":
            register.add(Row(name, OPEN, digest(fact.key or ""), *at))
            return
        if pair.group is not None and pair.group.outcome == "forwarded":
            register.add(Row(name, PASSED, digest(fact.key or ""), *at))
            for to in _passed_to(pair.group.raws):
                self._audit.report.derived += 1
                register.add(Row(name, FORWARDED, digest(to), *at))
            return
        if fact.type in DERIVED_TYPES or fact.source == CLAIM_SOURCE:
            kinds = {"duplicate": REPEATED, "quarantined": VOID, "rejected": VOID}
            outcome = None if pair.group is None else pair.group.outcome
            register.add(Row(name, kinds.get(str(outcome), COPY), _bytes_of(fact.body_hash), *at))
        elif fact.key is not None:
            register.add(Row(name, FACT, digest(fact.key), *at))
        for source, fact_id, body_hash in verdict.derived:
            self._audit.report.derived += 1
            register.add(Row(digest(source, fact_id), ANNOUNCED, _bytes_of(body_hash), *at))

    def _sums(self) -> None:
        """Lots left minus debt is the balance is the sum of entries, of every member that was computed again."""
        judge = self._judge
        if judge.stopped:
            return
        for key in judge.ledger.members:
            if key in judge.tainted:
                continue
            member, account = judge.ledger.members[key], self._books.accounts.get(key)
            left = member.lots.values()
            lots, points = sum(left), 0 if account is None else account.points
            debt = lots - member.balance
            if member.balance != points or debt < 0 or min(left, default=0) < 0:
                self._findings.add(
                    "books_do_not_balance",
                    "the member's sums differ",
                    topic=self._audit.name(POINTS_LOG),
                    partition=self._partition,
                    member=key,
                    expected=f"balance {member.balance}, {lots} points in lots",
                    found=f"the entries in the log sum to {points}",
                )


#: Members come back, and hashing a key costs as much as parsing a fact.
_home = lru_cache(maxsize=1 << 16)(partition_for)


def _passed_to(raws: Iterable[dict[str, Any]]) -> list[str]:
    """To whom an alias passed a fact on."""
    found = [one.get("subject") for raw in raws for one in raw.get("derived") or () if isinstance(one, dict)]
    return [to for to in found if isinstance(to, str)]


def _bytes_of(body_hash: str | None) -> bytes:
    try:
        return bytes.fromhex(body_hash or "").ljust(16, b"\0")[:16]
    except ValueError:
        return NOTHING


def _members(raw: dict[str, Any]) -> Iterator[str]:
    """Whoever a record of the points log speaks of."""
    lists = [found for name in ("entries", "tiers", "states") if isinstance(found := raw.get(name), list)]
    for item in (raw, *chain.from_iterable(lists)):
        member = item.get("member_id") if isinstance(item, dict) else None
        if isinstance(member, str):
            yield member
