"""Plays a story on the real road: event, intake, partition, points log; and keeps its own books of what the log says.

The books here know nothing of the engine's state: balances, lots and tiers are added up from entries alone, so a state
that says otherwise is a failure of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32
from zoneinfo import ZoneInfo

from engine.ledger.engine_facts import programme_fact, tick_fact
from engine.ledger.partition import Partition
from engine.vault.vault import EphemeralVault
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision, Entry, Note, StateChange, TierChange, encode_decision, parse_decision
from schemas.envelope import FORGET_SOURCE, Fact, encode_fact, make_fact, parse_fact
from schemas.normalise import OPEN_POLICY, Policy, normalise
from schemas.notices import Notice
from schemas.rejects import Rejected
from schemas.times import to_us
from tests.stories.telling import FORGET, TICK, Event

RECORDED = "2060-01-01T00:00:00.000000Z"
ENTRY_OF = "entry of "
GIFT_OF = "gift of "
TICKETS_OF = "tickets of "
EVERY_TYPE = Policy("stories", OPEN_POLICY.types | facts.STAFF_TYPES)


@dataclass(slots=True)
class Lot:
    """A credit, and what is left of it."""

    rule: str
    points: int
    left: int
    active_from: str | None
    expires_at: str | None
    moved: bool = False


@dataclass(slots=True)
class Books:
    """What the points log says, added up."""

    balances: dict[str, int] = field(default_factory=dict)
    lots: dict[str, dict[str, Lot]] = field(default_factory=dict)
    tiers: dict[str, TierChange] = field(default_factory=dict)
    entries: dict[tuple[str | None, str], str] = field(default_factory=dict)
    gifts: dict[str, str] = field(default_factory=dict)
    play: dict[str, dict[str, str | int]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add(self, decision: Decision) -> None:
        """Add one decision up."""
        if decision.outcome != "decided":
            return
        for entry in decision.entries:
            self._add(entry)
        for change in decision.tiers:
            self.tiers[change.member_id] = change
        for given in decision.states:
            if given.what == "redemption_given":
                self.gifts[given.id] = GIFT_OF + given.state.split("|")[1]
            elif given.what == "raffle_tickets_by":
                self.gifts[given.id] = TICKETS_OF + given.state.split(" ")[0]
            self._add_play(given)
        if decision.member_id is not None:
            mine = self.play.setdefault(decision.member_id, {})
            for key, number, *_ in decision.counters:
                if key.startswith("challenge "):
                    name = key.removeprefix("challenge ").replace("|", " ")
                    mine[name] = int(mine.get(name, 0)) + number

    def _add_play(self, change: StateChange) -> None:
        """Keep what a story tells of play: `five 2026-W10 3`, `five 2026-W10 met`, `badge early-bird`, `summer 2 tickets`."""
        mine, name = self.play.setdefault(change.member_id, {}), change.id.replace("|", " ")
        if change.what == "challenge":
            mine[f"{name} met"] = change.state == "met"
        elif change.what == "badge":
            mine[f"badge {name}"] = change.state == "earned"
        elif change.what == "raffle_tickets":
            number, _, raffle = change.state.partition(" ")
            mine[change.id] = "" if change.state == "void" else f"{raffle} {number} tickets"

    def _add(self, entry: Entry) -> None:
        assert entry.entry_id not in self.names, f"two entries are called {entry.entry_id}, one of {entry.rule_id}"
        self.names.add(entry.entry_id)
        mine = self.lots.setdefault(entry.member_id, {})
        self.entries.setdefault((entry.member_id, entry.rule_id), entry.entry_id)
        self.balances[entry.member_id] = self.balances.get(entry.member_id, 0) + entry.points
        if entry.points > 0 and entry.kind != "restore":
            moved = entry.kind == "transfer"
            mine[entry.entry_id] = Lot(
                entry.rule_id, entry.points, entry.points, entry.active_from, entry.expires_at, moved
            )
        for lot_id, points in entry.burns:
            lot = mine[lot_id]
            lot.left -= points
            # What a merged account had spent can come back to a lot of which only the rest had moved over.
            most = lot.left if lot.moved else lot.points
            assert 0 <= lot.left <= most, f"the lot of {lot.rule} holds {lot.left} of {lot.points}"
            if entry.kind == "release":
                lot.active_from, lot.expires_at = entry.active_from, entry.expires_at


@dataclass(slots=True)
class Happened:
    """What one fact led to, and where everybody stands after it."""

    who: str | None
    zone: ZoneInfo
    now: str
    reject: str | None = None
    decision: Decision | None = None
    version: int | None = None
    parts: Sequence[Decision] = ()
    followed: list[tuple[Fact, Decision]] = field(default_factory=list)
    balances: dict[str, int] = field(default_factory=dict)
    lots: dict[str, dict[str, Lot]] = field(default_factory=dict)
    tiers: dict[str, TierChange] = field(default_factory=dict)
    gifts: dict[str, str] = field(default_factory=dict)
    play: dict[str, dict[str, str | int]] = field(default_factory=dict)

    @property
    def decisions(self) -> list[Decision]:
        """The decision in all its parts, and those on facts that followed."""
        return [*self.parts, *(decision for _, decision in self.followed)]

    @property
    def entries(self) -> list[Entry]:
        """Everything that moved points."""
        return [entry for decision in self.decisions for entry in decision.entries]

    @property
    def notes(self) -> list[Note]:
        """Every reason in words, but the one that only repeats why a record was rejected."""
        return [note for decision in self.decisions for note in decision.notes if note.code != decision.reason]

    @property
    def notices(self) -> list[Notice]:
        """Every notice, made or suppressed."""
        return [notice for decision in self.decisions for notice in decision.notices]

    def sums(self, member: str) -> dict[str, int]:
        """Return a member's balance and what it is made of."""
        balance, lots = self.balances.get(member, 0), self.lots.get(member, {}).values()
        left = sum(lot.left for lot in lots)
        pending = sum(lot.left for lot in lots if lot.active_from is None or lot.active_from > self.now)
        return {"balance": balance, "pending": pending, "available": left - pending, "debt": left - balance}


class Play:
    """A deployment of some partitions under some versions; it remembers its logs."""

    def __init__(self, programmes: Sequence[Programme], partitions: int = 1, live_members: int = 5_000) -> None:
        """Begin with empty logs, in which the versions become known."""
        self.versions = {version.hash: version for version in programmes}
        self.zone = programmes[0].time_zone
        self.vault = EphemeralVault()
        opens = self.vault.opens(gone=None)
        self.partitions = [Partition(number, self.versions, live_members, opens) for number in range(partitions)]
        self.log: list[tuple[int, bytes, list[bytes]]] = []
        self.books = Books()
        self.count, self.now = 0, ""
        for version in programmes:
            for partition in self.partitions:
                self._answer(partition, programme_fact(version, RECORDED))

    def happen(self, event: Event) -> Happened:
        """Send one fact down the road and return what it led to."""
        self.count += event.name != TICK
        happened = Happened(event.who, self.zone, self.now)
        if event.name == TICK:
            moment = to_us(event.moment(self.zone))
            for partition in self.partitions:
                tick = tick_fact(partition.number, moment, RECORDED)
                self._note(tick, happened, self._road([(partition, tick)]))
        else:
            try:
                fact = self._fact(self._with_entries(event))
            except Rejected as reject:
                happened.reject = reject.reason
                return self._standing(happened)
            self._note(fact, happened, self._road([(self._partition_of(fact), fact)]))
        return self._standing(happened)

    def _fact(self, event: Event) -> Fact:
        """Take a fact in as intake does: a profile is sealed. Raises Rejected."""
        if event.name == FORGET:
            moment = to_us(event.moment(self.zone))
            told = {"id": f"f{self.count}", "source": FORGET_SOURCE, "type": facts.FORGET, "subject": event.who}
            return make_fact(**told, time_us=moment, recorded_at=RECORDED, data={})  # type: ignore[arg-type]
        fact = normalise(event.encoded(self.count, self.zone), RECORDED, to_us(RECORDED), EVERY_TYPE)
        return self.vault.seal(fact) if fact.type in facts.PERSONAL_TYPES else fact

    def _with_entries(self, event: Event) -> Event:
        """Put the id of the member's first entry by a rule where a story says `entry of RULE`, and of the newest reward that a
        rule gave where it says `gift of RULE`."""
        given = {title: name.partition("|") for name, title in self.books.gifts.items()}
        if event.data.get("redemption") in given:
            source, _, name = given[event.data["redemption"]]
            event = replace(event, data={**event.data, "redemption": name, "redemption_source": source})
        data = {
            key: self.books.entries[event.who, value.removeprefix(ENTRY_OF)]
            if isinstance(value, str) and value.startswith(ENTRY_OF)
            else value
            for key, value in event.data.items()
        }
        return replace(event, data=data)

    def _note(self, fact: Fact, happened: Happened, answers: list[tuple[Fact, list[Decision]]]) -> None:
        self.now = happened.now = max(self.now, fact.time)
        (_, parts), *followed = answers
        happened.parts = [*happened.parts, *parts]
        happened.decision = happened.parts[0]
        happened.followed += [(derived, decision) for derived, decisions in followed for decision in decisions]
        version = self.versions.get(happened.decision.programme or "")
        happened.version = None if version is None else version.version
        if happened.decision.outcome == "rejected":
            happened.reject = happened.decision.reason

    def _road(self, waiting: list[tuple[Partition, Fact]]) -> list[tuple[Fact, list[Decision]]]:
        """Answer a fact and all that follow from it, each in its own partition."""
        answers = []
        while waiting:
            partition, fact = waiting.pop(0)
            decisions, derived = self._answer(partition, fact)
            answers.append((fact, decisions))
            waiting += [(self._partition_of(follows), follows) for follows in derived]
        return answers

    def _answer(self, partition: Partition, fact: Fact) -> tuple[list[Decision], list[Fact]]:
        """Answer a fact as the logs would hold both: encoded and read again."""
        value = encode_fact(fact)
        answer = partition.answer(parse_fact(value), partition.next_offset)
        values = [encode_decision(decision) for decision in answer.decisions]
        self.log.append((partition.number, value, values))
        decisions = [parse_decision(value) for value in values]
        for decision in decisions:
            self.books.add(decision)
        return decisions, [parse_fact(encode_fact(derived)) for derived in answer.derived]

    def _partition_of(self, fact: Fact) -> Partition:
        assert fact.key is not None
        return self.partitions[crc32(fact.key.encode()) % len(self.partitions)]

    def _standing(self, happened: Happened) -> Happened:
        happened.balances = dict(self.books.balances)
        happened.tiers = dict(self.books.tiers)
        happened.gifts = dict(self.books.gifts)
        happened.play = {member: dict(mine) for member, mine in self.books.play.items()}
        happened.lots = {
            member: {
                name: Lot(lot.rule, lot.points, lot.left, lot.active_from, lot.expires_at) for name, lot in lots.items()
            }
            for member, lots in self.books.lots.items()
        }
        return happened

    def states(self) -> dict[str, bytes]:
        """Return every member's packed state, without the offset that differs between placements."""
        return {key: partition.snapshot(key)[1] for partition in self.partitions for key in partition.members}

    def folded(self) -> Play:
        """Return a deployment that was folded from the logs alone."""
        other = Play(list(self.versions.values()), len(self.partitions))
        opens = self.vault.opens(gone=None)
        other.partitions = [Partition(one.number, self.versions, opens=opens) for one in self.partitions]
        for number, value, values in self.log:
            for decision in values:
                other.partitions[number].recall(parse_fact(value), parse_decision(decision))
        return other

    def moved(self) -> dict[tuple[str, str], list[str]]:
        """Return entries, tiers and states by member, each in the order in which they happened, for comparing placements."""
        found: dict[tuple[str, str], list[str]] = {}
        decisions = (parse_decision(value) for _, _, values in self.log for value in values)
        for decision in decisions:
            things: list[Entry | TierChange | StateChange | Notice]
            things = [*decision.entries, *decision.tiers, *decision.states, *decision.notices]
            for thing in things:
                found.setdefault((thing.member_id, type(thing).__name__), []).append(repr(thing))
        return found


def play(programmes: Sequence[Programme], events: Iterable[Event], partitions: int, live_members: int) -> Play:
    """Play all of it at once."""
    stage = Play(programmes, partitions, live_members)
    for event in events:
        stage.happen(event)
    return stage
