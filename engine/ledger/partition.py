"""One partition of the facts log, folded: whoever hands it the log's records in order gets the log of decisions.

The keeper, the replay and verify run this same class. It holds members and the programme versions known so far, and knows
neither Kafka nor files nor a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from engine.ledger.aliases import forward
from engine.ledger.awaiting import watch
from engine.ledger.crediting import PLAIN_TYPES, finish
from engine.ledger.decide import decide
from engine.ledger.due import DueIndex
from engine.ledger.expiry import put_off
from engine.ledger.fold import evolve, hear, take_in
from engine.ledger.member import CLOSED, Member, ProfileClosed, ProfileUnavailable
from engine.ledger.members import LIVE_MEMBERS, Members
from engine.ledger.missed import falls_short, retake
from engine.ledger.moment_dues import learn_birthday, look_ahead
from engine.ledger.moments import on_fact, on_tier
from engine.ledger.moved import Moved, by_member
from engine.ledger.packing import UnknownStateFormat, peek
from engine.ledger.profiles import Opens, closed, follow_forget
from engine.ledger.repeats import refuse, repeated_or_late, used_before
from engine.ledger.stock import return_lapsed
from engine.ledger.tiers import review_after
from engine.ledger.timers import due_us, settle
from engine.ledger.welcomes import welcome
from rules.book import Book, Programme
from schemas import facts
from schemas.decisions import Decision, Note, TierChange
from schemas.envelope import Fact
from schemas.rejects import Rejected
from schemas.upcasting import current

TICK_PART_MEMBERS = 500


class UnknownProgramme(LookupError):
    """A programme fact names a version whose text is not at hand: it must be fetched before this fact can be decided."""

    def __init__(self, programme_hash: str) -> None:
        super().__init__(f"no programme version {programme_hash} is at hand")
        self.hash = programme_hash


Result = TypeVar("Result")


class UndecidableInPrivate(Exception):
    """A fact could not be decided while a profile was open: only the kind of error is told."""


class FoldFailed(Exception):
    """A decision that was just made, or that stands in the log, could not be taken in: this state must not be used on."""


@dataclass(slots=True, init=False)
class Answer:
    """What one fact leads to.

    Attributes:
        decisions: one, or the parts of a long one, in order.
        derived: facts for other subjects, to be written with the decision.
        reject: why the record also goes to ``rejects``.
    """

    decisions: list[Decision]
    derived: list[Fact]
    reject: Rejected | None

    # Written out for mypyc, as all that is made for every fact (see `engine.ledger.earning.Unit`).
    def __init__(
        self, decisions: list[Decision], derived: list[Fact] | None = None, reject: Rejected | None = None
    ) -> None:
        self.decisions = decisions
        self.derived = [] if derived is None else derived
        self.reject = reject


class Partition:
    """The state of one partition: members by key, the book, when the next timer is due, how far the log was read.

    It can be put down and taken up again: `outline` is everything that is no member, and `snapshot` one member. They need
    not be of one moment: a decision that a member's snapshot holds already is ignored when it is recalled.
    """

    def __init__(
        self,
        number: int,
        programmes: Mapping[str, Programme],
        live_members: int = LIVE_MEMBERS,
        opens: Opens = closed,
    ) -> None:
        """Start empty.

        Args:
            number: of the partition; only names it.
            programmes: versions at hand by hash; looked up when a programme fact makes one known. May grow later.
            live_members: most members kept as objects; the others are kept packed.
            opens: opens a sealed profile for the moment in which a fact is decided; by default nobody can.
        """
        self.number = number
        self.members = Members(live_members)
        self.book = Book()
        self.next_offset = 0
        self.newest_us: int | None = None
        self._programmes = programmes
        self.opens = opens
        self._due = DueIndex()
        self._changed: dict[str, None] = {}
        # Whose birthday is asked for and not known, because his profile does not open here.
        self._closed: set[str] = set()

    @property
    def next_due_us(self) -> int | None:
        """When the next timer of any member is due, None without one."""
        return self._due.first_us

    def overdue(self, time_us: int) -> int:
        """Return to how many members time should have done something by ``time_us``; 0 at the newest tick."""
        return self._due.count_until(time_us)

    def changed(self) -> list[str]:
        """Return the keys of members that changed since the last call, in the order of their first change, and forget them."""
        keys = list(self._changed)
        self._changed.clear()
        return keys

    def snapshot(self, key: str) -> tuple[int, bytes]:
        """Return a member as bytes, and the offset of the newest fact in them. Raises KeyError for an unknown key."""
        packed = self.members.packed(key)
        return peek(packed)[0], packed

    def restore(self, key: str, offset: int, packed: bytes) -> None:
        """Take in a member as `snapshot` gave him; of several snapshots of one member the newest counts.

        To be called before any decision is recalled or made.

        Raises:
            UnknownStateFormat: another engine packed him, or ``offset`` is not his: fold everybody anew.
        """
        found, due = peek(packed)
        if found != offset:
            raise UnknownStateFormat(f"the state of member {key} ends at offset {found}, its record says {offset}")
        known, due_before = peek(self.members.packed(key)) if key in self.members else (-1, None)
        if offset < known:
            return
        self.members.restore(key, packed)
        self._due.move(key, due_before, due)

    def outline(self) -> dict[str, Any]:
        """Return everything that is no member, for JSON: next offset, newest time, hashes of the book's versions, members."""
        return {
            "next_offset": self.next_offset,
            "newest_us": self.newest_us,
            "book": [version.hash for version in self.book.versions],
            "members": len(self.members),
        }

    def restore_outline(self, outline: Mapping[str, Any]) -> None:
        """Take in what `outline` gave, before any decision is recalled or made.

        Raises:
            UnknownProgramme: fetch the version and call again; nothing was changed.
        """
        self.book = Book(self._version(programme_hash) for programme_hash in outline["book"])
        self.next_offset, self.newest_us = outline["next_offset"], outline["newest_us"]

    def answer(self, fact: Fact, offset: int) -> Answer:
        """Decide a fact and take its decision in.

        Args:
            fact: the next fact of the partition; offsets may have holes.
            offset: of its record.

        Raises:
            UnknownProgramme: fetch the version and call again; nothing was changed.
            ProfileClosed: the answer depends on a profile that cannot be opened here; nothing was changed.
            FoldFailed: the partition's state is broken, or of a longer log; fold it anew from the logs.
            Exception: anything else means that this fact cannot be decided; nothing was changed, see `quarantine`.
        """
        if offset < self.next_offset:
            raise FoldFailed(f"the fact at offset {offset} is decided already: the next one is at {self.next_offset}")
        member: Member | None = None
        if fact.type == facts.TICK:
            answer = self._decide_tick(fact, offset)
        elif fact.type == facts.PROGRAMME:
            self.book.with_version(self._version(fact.data["hash"]))
            answer = Answer([_new_decision(fact, offset, None, fact.data["hash"])])
        else:
            member = self._member_of(fact)
            answer = self._decide_member(member, fact, offset)
        try:
            if member is not None:
                self._fold(member, fact, answer.decisions[0], own=True)
                self.next_offset = offset + 1
            else:
                for decision in answer.decisions:
                    self.recall(fact, decision)
        except Exception as error:
            raise FoldFailed(f"the decision on {fact.source} {fact.id} at offset {offset}: {error}") from error
        return answer

    def preview(self, fact: Fact) -> Answer:
        """Answer a fact as if it came now, and take nothing in: for quotes.

        Raises:
            Exception: this fact cannot be decided.
        """
        return self._decide_member(self._member_of(fact), fact, self.next_offset)

    def quarantine(self, fact: Fact, offset: int, error: str, reason: str = "quarantined") -> Answer:
        """Answer a fact on which ``answer`` raised, or that nobody dares to try: it moves nothing, and its record goes to
        ``rejects``."""
        decision = _new_decision(fact, offset, fact.subject, None)
        decision.outcome, decision.reason = "quarantined", reason
        decision.notes = [Note("quarantined", None, error)]
        self.recall(fact, decision)
        return Answer([decision], reject=Rejected("quarantined", error))

    def recall(self, fact: Fact, decision: Decision) -> None:
        """Take in a decision that the points log holds (recovery), or that was just made; one in parts comes joined.

        What a member's snapshot holds already is ignored, so decisions may be recalled from anywhere before the oldest
        snapshot on. Only what changes a member moves his offset: a duplicate or a rejected fact does not.
        """
        if fact.type == facts.TICK:
            for key, moved in by_member(decision).items():
                self._recall_tick(key, moved, decision.offset)
        elif fact.type != facts.PROGRAMME:
            self._fold(self._member_of(fact), fact, decision, own=False)
        elif decision.outcome == "decided":
            self._learn(self._version(fact.data["hash"]))
        if decision.offset >= self.next_offset:
            self.next_offset = decision.offset + 1

    def _learn(self, version: Programme) -> None:
        """Know a version from here on. Moments that time brings are looked for anew, for everybody: it may bring some to members
        who do nothing."""
        book = self.book.with_version(version)
        if book is self.book:
            return
        self.book, before = book, self.book
        if not before.spans and not book.spans:
            return
        for key in list(self.members):
            member = self._member(key)
            assert member is not None
            due_before = member.next_due_us
            self._look_ahead(member)
            member.next_due_us = due_us(member)
            if member.next_due_us != due_before:
                self._due.move(key, due_before, member.next_due_us)
                self.members.put(member)
                self._changed[key] = None

    def _look_ahead(self, member: Member) -> None:
        """Work out when moments come next; the profile is opened where a birthday is to be known."""
        if self.book.birthdays_from_us is not None and not self._knows_birthday(member):
            self._closed.add(member.key)
        else:
            self._closed.discard(member.key)
        look_ahead(member, self.book)

    def _knows_birthday(self, member: Member) -> bool:
        """See to it that the birthday that a profile says is known; False where the profile does not open here."""
        if learn_birthday(member, CLOSED) or member.sealed is None:
            return True
        try:
            return learn_birthday(member, self.opens(member.sealed))
        except ProfileUnavailable:
            return False

    def _fold(self, member: Member, fact: Fact, decision: Decision, own: bool) -> None:
        if decision.outcome != "decided":
            return
        if fact.type in facts.FORGETTING:
            self._forget(member, decision.offset)
            return
        if fact.type in facts.TOLD_OF:
            self._hear(member, fact, decision)
            return
        if member.offset < decision.offset:
            evolve(member, fact, decision, own=own)
            self._take(member, decision.offset)
        if self.newest_us is None or fact.time_us > self.newest_us:
            self.newest_us = fact.time_us

    def _forget(self, member: Member, offset: int) -> None:
        """Drop a profile. It is nothing that happened to the member: no account begins, no time goes on."""
        if member.offset < offset and member.key in self.members:
            member.sealed = None
            self._take(member, offset)

    def _hear(self, member: Member, fact: Fact, decision: Decision) -> None:
        """Keep that it was told, so that it counts once; a key that nobody has stays one."""
        if decision.reason is None and member.offset < decision.offset:
            hear(member, fact)
            self._take(member, decision.offset)

    def _recall_tick(self, key: str, moved: Moved, offset: int) -> None:
        """Take in what a tick did to one member; one part of its decision holds all of it."""
        member = self._member(key)
        if member is None:
            raise FoldFailed(f"a tick moved member {key}, whom neither snapshot nor log brought")
        if member.offset < offset:
            take_in(member, moved)
            self._take(member, offset)

    def _take(self, member: Member, offset: int) -> None:
        if self.book.spans:
            self._look_ahead(member)
        before_us, member.next_due_us = member.next_due_us, due_us(member)
        self._due.move(member.key, before_us, member.next_due_us)
        member.offset = offset
        self.members.put(member)
        self._changed[member.key] = None

    def _member_of(self, fact: Fact) -> Member:
        """The member of a fact, a new one for the first."""
        key = fact.key
        assert key is not None
        return self._member(key) or Member(key)

    def _member(self, key: str) -> Member | None:
        try:
            return self.members.get(key)
        except UnknownStateFormat as error:
            raise FoldFailed(str(error)) from error

    def _version(self, programme_hash: str) -> Programme:
        try:
            return self._programmes[programme_hash]
        except KeyError:
            raise UnknownProgramme(programme_hash) from None

    def _decide_tick(self, fact: Fact, offset: int) -> Answer:
        """Settle every due member, in parts of a fixed number of members in id order."""
        if self._closed and self._asks_birthdays(fact.time_us):
            key = min(self._closed)
            member = self._member(key)
            if member is not None and member.sealed is not None:
                raise ProfileClosed(key, member.sealed.key)
        keys = self._due.until(fact.time_us)
        parts = [keys[start : start + TICK_PART_MEMBERS] for start in range(0, len(keys), TICK_PART_MEMBERS)] or [[]]
        answer = Answer([])
        for part, part_keys in enumerate(parts):
            decision = _new_decision(fact, offset, None, None)
            decision.part, decision.last = part, part == len(parts) - 1
            moved = self._settle_all(part_keys, fact.time_us)
            moved.precede(decision)
            answer.decisions.append(decision)
            answer.derived += [*moved.follows, *return_lapsed(fact, moved.lapsed, decision)]
        return answer

    def _settle_all(self, keys: Sequence[str], time_us: int) -> Moved:
        everything = Moved()
        for key in keys:
            member = self._member(key)
            assert member is not None
            moved = self._settle_open(member, time_us)
            if moved is not None:
                everything.add(moved)
        return everything

    def _settle_open(self, member: Member, time_us: int) -> Moved | None:
        """Settle a member, with his profile open where a rule may ask for it; see `_decide_open`."""
        if member.sealed is None or not self.book.asks_profile or not self.book.spans:
            return settle(member, self.book, time_us)[1]
        return self._in_private(member, time_us, lambda: settle(member, self.book, time_us)[1])

    def _in_private(self, member: Member, time_us: int, work: Callable[[], Result]) -> Result:
        """Do something with a member's profile open; what is raised meanwhile says nothing of it."""
        assert member.sealed is not None
        member.opened = self.opens(member.sealed)
        try:
            self._need_birthday(member, time_us)
            return work()
        except ProfileClosed:
            raise
        except Exception as error:  # noqa: BLE001 - its text may hold what was looked at
            raise UndecidableInPrivate(type(error).__name__) from None
        finally:
            member.opened = None

    def _asks_birthdays(self, time_us: int) -> bool:
        """Tell whether a birthday may have come until then."""
        return self.book.birthdays_from_us is not None and time_us >= self.book.birthdays_from_us

    def _need_birthday(self, member: Member, time_us: int) -> None:
        """Know the birthday of a member whose profile is open, where a rule asks for it. Raises ProfileClosed."""
        if member.sealed is None or learn_birthday(member, member.opened):
            return
        if self._asks_birthdays(time_us):
            raise ProfileClosed(member.key, member.sealed.key)

    def _decide_member(self, member: Member, fact: Fact, offset: int) -> Answer:
        if member.offset >= offset:
            raise FoldFailed(
                f"the snapshot of member {member.key} holds offset {member.offset}, the log ends before {offset}"
            )
        programme = self.book.at(fact.time_us)
        decision = _new_decision(fact, offset, fact.subject, None if programme is None else programme.hash)
        if member.alias_of is not None and (passed := forward(member, fact, decision)) is not None:
            return Answer([decision], *passed)
        if fact.type in facts.FORGETTING:
            return Answer([decision], follow_forget(member, fact, decision))
        reject = repeated_or_late(member, fact, programme, decision)
        if decision.outcome != "decided":
            return Answer([decision], reject=reject)
        if fact.type in facts.TOLD_OF:
            known = fact.type == facts.COST or member.key in self.members
            decision.reason = None if known else "unknown_member"
            return Answer([decision])
        fact = current(fact)
        moved, derived = self._decide_open(member, fact, programme, decision)
        reject = used_before(member, fact, decision)
        if reject is not None:
            decision = _new_decision(fact, offset, fact.subject, decision.programme)
            return Answer([decision], reject=refuse(decision, reject))
        if moved is not None:
            moved.precede(decision)
            if moved.lapsed:
                derived = [*derived, *return_lapsed(fact, moved.lapsed, decision)]
            if moved.follows:
                derived = [*moved.follows, *derived]
        return Answer([decision], derived)

    def _decide_open(
        self, member: Member, fact: Fact, programme: Programme | None, decision: Decision
    ) -> tuple[Moved | None, list[Fact]]:
        """Settle and decide, with the profile open where a rule may ask for it; what is raised then says nothing of it."""
        if member.sealed is None or not self.book.asks_profile:
            return self._decide_settled(member, fact, programme, decision)
        return self._in_private(member, fact.time_us, lambda: self._decide_settled(member, fact, programme, decision))

    def _decide_settled(
        self, member: Member, fact: Fact, programme: Programme | None, decision: Decision
    ) -> tuple[Moved | None, list[Fact]]:
        settled, moved = settle(member, self.book, fact.time_us)
        derived = decide(settled, fact, programme, decision, self.book)
        if member.anonymous or _ends_here(member, fact, decision):
            return moved, derived
        moments = None if programme is None else programme.moments
        if moments is not None and programme is not None:
            derived = [*derived, *on_fact(settled, fact, programme, decision)]
            if moments.awaited:
                watch(settled, fact, programme, decision)
        change = self._review(settled, fact, programme, decision)
        if change is not None:
            decision.tiers = [change]
            if moments is not None and programme is not None and moments.tier_changed:
                derived = [*derived, *on_tier(settled, change, fact, programme, decision)]
        self._finish(settled, fact, programme, decision)
        return moved, derived

    def _finish(self, member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> None:
        """Complete the lots that a fact made, and put off the day on which an idle member's points go."""
        if decision.entries and (member.missed or (decision.states and falls_short(decision))):
            retake(member, fact, decision, self.book)
        dated = programme is not None and programme.lots is not None
        if decision.entries and (dated or member.debt or fact.type not in PLAIN_TYPES):
            over = finish(member, decision.entries, programme, fact, member.now_us(fact.time_us))
            if over:
                decision.entries = [*decision.entries, *over]
        if programme is not None and (dated or member.slides_us is not None):
            change = put_off(member, fact, programme)
            if change is not None:
                decision.states = [*decision.states, change]

    def _review(self, member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> TierChange | None:
        now_us = member.now_us(fact.time_us)
        if now_us != fact.time_us:
            programme = self.book.at(now_us)
        if programme is None:
            return None
        plan = programme.tiers
        if (
            plan is not None
            and (plan.welcomes or member.welcomed)
            and decision.progress
            and fact.type != facts.TAKEOVER
        ):
            welcome(member, fact, programme, plan, now_us, decision)
        return review_after(member, fact, programme, now_us, decision)


def _new_decision(fact: Fact, offset: int, member_id: str | None, programme: str | None) -> Decision:
    return Decision(fact.source, fact.id, fact.type, member_id, "decided", None, programme, fact.time, offset)


def _ends_here(member: Member, fact: Fact, decision: Decision) -> bool:
    """Tell whether nobody is left at this key: it became an alias, was one already, or points came for a key that nobody has."""
    if fact.type in facts.ALIASING:
        return decision.reason is None or member.alias_of is not None
    return decision.reason == "unknown_member"
