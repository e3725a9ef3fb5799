"""One partition of the facts log, folded: whoever hands it the log's records in order gets the log of decisions.

The keeper, the replay and verify run this same class. It holds members and the programme versions known so far, and knows
neither Kafka nor files nor a clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.ledger.decide import decide
from engine.ledger.member import DEDUPE_HORIZON_US, Member, evolve, evolve_tiers
from engine.ledger.tiers import review
from engine.ledger.timers import due_us, settle
from rules.book import Book, Programme
from schemas import facts
from schemas.decisions import Decision, Note, TierChange
from schemas.envelope import Fact
from schemas.rejects import Rejected
from schemas.times import DAY_US

TICK_PART_MEMBERS = 500


class UnknownProgramme(LookupError):
    """A programme fact names a version whose text is not at hand: it must be fetched before this fact can be decided."""

    def __init__(self, programme_hash: str) -> None:
        super().__init__(f"no programme version {programme_hash} is at hand")
        self.hash = programme_hash


class FoldFailed(Exception):
    """A decision that was just made, or that stands in the log, could not be taken in: this state must not be used on."""


@dataclass(slots=True)
class Answer:
    """What one fact leads to.

    Attributes:
        decisions: one, or the parts of a long one, in order.
        derived: facts for other subjects, to be written with the decision.
        reject: why the record also goes to ``rejects``.
    """

    decisions: list[Decision]
    derived: list[Fact] = field(default_factory=list)
    reject: Rejected | None = None


class Partition:
    """The state of one partition: members by key, the book, when the next timer is due, how far the log was read."""

    def __init__(self, number: int, programmes: Mapping[str, Programme]) -> None:
        """Start empty.

        Args:
            number: of the partition; only names it.
            programmes: versions at hand by hash; looked up when a programme fact makes one known. May grow later.
        """
        self.number = number
        self.members: dict[str, Member] = {}
        self.book = Book()
        self.next_offset = 0
        self.newest_us: int | None = None
        self._programmes = programmes
        self._due: list[tuple[int, str]] = []

    @property
    def next_due_us(self) -> int | None:
        """When the next timer of any member is due, None without one."""
        while self._due:
            at_us, key = self._due[0]
            if due_us(self.members[key]) == at_us:
                return at_us
            heapq.heappop(self._due)
        return None

    def answer(self, fact: Fact, offset: int) -> Answer:
        """Decide a fact and take its decision in.

        Args:
            fact: the next fact of the partition; offsets may have holes.
            offset: of its record.

        Raises:
            UnknownProgramme: fetch the version and call again; nothing was changed.
            FoldFailed: the partition's state is broken; fold it anew from the logs.
            Exception: anything else means that this fact cannot be decided; nothing was changed, see `quarantine`.
        """
        if fact.type == facts.TICK:
            answer = Answer(self._decide_tick(fact, offset))
        elif fact.type == facts.PROGRAMME:
            self._programme(fact)
            answer = Answer([_new_decision(fact, offset, None, fact.data["hash"])])
        else:
            answer = self._decide_member(fact, offset)
        try:
            for decision in answer.decisions:
                self.recall(fact, decision)
        except Exception as error:
            raise FoldFailed(f"the decision on {fact.source} {fact.id} at offset {offset}: {error}") from error
        return answer

    def quarantine(self, fact: Fact, offset: int, error: str) -> Answer:
        """Answer a fact on which ``answer`` raised: it moves nothing, and its record goes to ``rejects``."""
        decision = _new_decision(fact, offset, fact.subject, None)
        decision.outcome, decision.reason = "quarantined", "quarantined"
        decision.notes = [Note("quarantined", None, error)]
        self.recall(fact, decision)
        return Answer([decision], reject=Rejected("quarantined", error))

    def recall(self, fact: Fact, decision: Decision) -> None:
        """Take in a decision that the points log holds (recovery), or that was just made."""
        self.next_offset = decision.offset + 1
        if decision.outcome != "decided":
            return
        if fact.type == facts.PROGRAMME:
            self.book = self.book.with_version(self._programme(fact))
        elif fact.type == facts.TICK:
            for change in decision.tiers:
                evolve_tiers(self.members[change.member_id], [change])
                self._watch(self.members[change.member_id])
        else:
            key = fact.key
            assert key is not None
            member = self.members.get(key)
            if member is None:
                member = self.members[key] = Member(key)
            evolve(member, fact, decision)
            if decision.tiers:
                self._watch(member)
            if self.newest_us is None or fact.time_us > self.newest_us:
                self.newest_us = fact.time_us

    def _watch(self, member: Member) -> None:
        at_us = due_us(member)
        if at_us is not None:
            heapq.heappush(self._due, (at_us, member.key))

    def _programme(self, fact: Fact) -> Programme:
        try:
            return self._programmes[fact.data["hash"]]
        except KeyError:
            raise UnknownProgramme(fact.data["hash"]) from None

    def _decide_tick(self, fact: Fact, offset: int) -> list[Decision]:
        """Settle every due member, in parts of a fixed number of members in id order."""
        due: list[tuple[int, str]] = []
        while (at_us := self.next_due_us) is not None and at_us <= fact.time_us:
            due.append(heapq.heappop(self._due))
        # Back into the index: only taking the decision in moves a member's timer, and what is no longer due falls out then.
        for item in due:
            heapq.heappush(self._due, item)
        keys = sorted({key for _, key in due})
        parts = [keys[start : start + TICK_PART_MEMBERS] for start in range(0, len(keys), TICK_PART_MEMBERS)] or [[]]
        decisions = []
        for part, part_keys in enumerate(parts):
            decision = _new_decision(fact, offset, None, None)
            decision.part, decision.last = part, part == len(parts) - 1
            decision.tiers = [
                change for key in part_keys for change in settle(self.members[key], self.book, fact.time_us)[1]
            ] or ()
            decisions.append(decision)
        return decisions

    def _decide_member(self, fact: Fact, offset: int) -> Answer:
        key = fact.key
        assert key is not None
        member = self.members.get(key) or Member(key)
        programme = self.book.at(fact.time_us)
        decision = _new_decision(fact, offset, fact.subject, None if programme is None else programme.hash)
        reject = _repeated_or_late(member, fact, programme, decision)
        if decision.outcome != "decided":
            return Answer([decision], reject=reject)
        settled, changes = settle(member, self.book, fact.time_us)
        if changes:
            decision.tiers = changes
        derived = decide(settled, fact, programme, decision)
        if not member.anonymous:
            change = self._review(settled, fact, programme, decision)
            if change is not None:
                decision.tiers = [*decision.tiers, change]
        return Answer([decision], derived)

    def _review(self, member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> TierChange | None:
        now_us = member.now_us(fact.time_us)
        if now_us != fact.time_us:
            programme = self.book.at(now_us)
        if programme is None:
            return None
        return review(member, programme, now_us, decision.progress, fact.source, fact.id)


def _new_decision(fact: Fact, offset: int, member_id: str | None, programme: str | None) -> Decision:
    return Decision(fact.source, fact.id, fact.type, member_id, "decided", None, programme, fact.time, offset)


def _repeated_or_late(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> Rejected | None:
    """Set the outcome of a fact that is no news or comes too late; the horizon counts back from the member's newest fact."""
    newest_us = member.newest_us
    if newest_us is None:
        return None
    horizon_us = newest_us - DEDUPE_HORIZON_US
    seen = member.seen.get((fact.source, fact.id))
    if seen is not None and seen[1] >= horizon_us:
        if seen[0] == fact.body_hash:
            decision.outcome = "duplicate"
            return None
        reject = Rejected("id_reused", "this source used this id for another event: give every event its own id", "id")
    elif fact.time_us < horizon_us:
        days = DEDUPE_HORIZON_US // DAY_US
        text = f"{fact.time} is more than {days} days before this member's newest fact"
        reject = Rejected("too_late_to_deduplicate", text, "time")
    elif (
        programme is not None
        and programme.late_limit_us is not None
        and fact.time_us < newest_us - programme.late_limit_us
    ):
        reject = Rejected("too_late", f"{fact.time} is later than this programme accepts", "time")
    else:
        return None
    decision.outcome, decision.reason = "rejected", reject.reason
    decision.notes = [Note(reject.reason, None, reject.message)]
    return reject
