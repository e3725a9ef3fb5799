"""One member's facts decided again, in the order of the log, and what is told of each.

Members are independent of each other: what one does to another is a fact of the other. So only his own facts, the ticks
and the versions of his partition are folded, and explaining one member costs one reading of the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from engine.explain.examining import RuleAsked, rules_asked
from engine.ledger.member import Member
from engine.ledger.moment_dues import learn_birthday
from engine.ledger.outlook import Outlook, outlook
from engine.ledger.packing import unpack
from engine.ledger.partition import Partition
from engine.ledger.profiles import Opens, closed
from engine.ledger.timers import settle
from rules.book import Programme
from schemas.decisions import Decision, Entry
from schemas.envelope import Fact


@dataclass(slots=True)
class Told:
    """One fact of a member, what was decided, and why.

    Attributes:
        before: what he had when the fact came, after what time did until then: (balance, tier).
        rules: every rule that could have answered it.
    """

    partition: int
    offset: int
    fact: Fact
    decision: Decision
    version: Programme | None
    before: tuple[int, str | None]
    rules: list[RuleAsked]

    @property
    def entries(self) -> list[Entry]:
        """What the fact itself moved."""
        return [entry for entry in self.decision.entries if entry.fact_id == self.fact.id]

    @property
    def by_time(self) -> list[Entry]:
        """What time moved before it."""
        return [entry for entry in self.decision.entries if entry.fact_id != self.fact.id]


@dataclass(slots=True)
class Lot:
    """A credit, and every entry that took from it or gave back to it."""

    entry: Entry
    left: int
    touched: list[tuple[Entry, int]] = field(default_factory=list)


@dataclass(slots=True)
class Life:
    """All that is told of a member, and where he stands at the end, under the version in force then."""

    key: str
    told: list[Told]
    member: Member
    lots: dict[str, Lot]
    outlook: Outlook | None = None
    programme: Programme | None = None

    def entries(self) -> Iterable[tuple[Told, Entry]]:
        """Every entry with the fact in whose decision it stands."""
        return ((told, entry) for told in self.told for entry in told.decision.entries)

    def followed(self, told: Told) -> list[Entry]:
        """Return later entries that name an entry of this fact as their cause, or touch its lots."""
        mine = {entry.entry_id for entry in told.decision.entries}
        return [
            entry
            for other, entry in self.entries()
            if other is not told and (entry.caused_by in mine or any(lot in mine for lot, _ in entry.burns))
        ]


Record = tuple[int, int, Fact]


def tell(
    key: str,
    records: Iterable[tuple[Record, tuple[str, str] | None]],
    versions: Mapping[str, Programme],
    focus: tuple[int, int] | None = None,
    opens: Opens = closed,
) -> Life:
    """Decide a member's facts again and return what is told of them.

    Args:
        key: of the member, or of the order of an anonymous sale.
        records: his own facts, and the ticks and versions of his partition, in order; with (text, reason) of those that the
            log quarantined, which is taken as given.
        versions: by hash.
        focus: partition and offset of the fact whose rules are asked about.
        opens: opens profiles.

    Raises:
        engine.ledger.partition.UnknownProgramme: the log knows a version that is not at hand.
        engine.ledger.member.ProfileUnavailable: an answer depends on a profile that does not open.
    """
    partition = Partition(0, versions, opens=opens)
    life = Life(key, [], Member(key), {})
    for (number, offset, fact), quarantined in records:
        known = partition.members.get(key)
        stood = (0, None) if known is None else (known.balance, known.tier)
        wanted = focus == (number, offset)
        before = _before(partition, key, fact, opens) if wanted else None
        if before is not None:
            stood = (before.balance, before.tier)
        answer = partition.quarantine(fact, offset, *quarantined) if quarantined else partition.answer(fact, offset)
        for decision in answer.decisions:
            if fact.key is None and not (decision.entries or decision.tiers or decision.states):
                continue
            version = versions.get(decision.programme or "") if fact.key is not None else None
            told = Told(number, offset, fact, decision, version, stood, [])
            if before is not None and version is not None:
                told.rules = rules_asked(before, fact, version, decision)
            life.told.append(told)
            _keep_lots(life, decision)
    life.member = partition.members.get(key) or life.member
    if partition.newest_us is not None:
        life.programme = partition.book.at(partition.newest_us)
        if life.programme is not None:
            life.outlook = outlook(life.member, life.programme, partition.newest_us)
    return life


def _before(partition: Partition, key: str, fact: Fact, opens: Opens) -> Member:
    """Return a copy of the member as the fact finds him: after everything that time did until then."""
    found = unpack(key, partition.members.packed(key)) if key in partition.members else Member(key)
    if found.sealed is not None and partition.book.asks_profile:
        found.opened = opens(found.sealed)
        learn_birthday(found, found.opened)
    return settle(found, partition.book, fact.time_us)[0]


def _keep_lots(life: Life, decision: Decision) -> None:
    for entry in decision.entries:
        if entry.makes_lot:
            life.lots[entry.entry_id] = Lot(entry, entry.points)
        for lot_id, points in entry.burns:
            if (lot := life.lots.get(lot_id)) is not None:
                lot.left -= points
                lot.touched.append((entry, points))
