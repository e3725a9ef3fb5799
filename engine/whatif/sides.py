"""Both sides of some members, fact by fact: one partition as it was, and its shadow from the moment of taking over on.

Until that moment there is one side only, which is copied then: what is the same needs no second computation, and it is the same.

What follows for others is each side's own. In a log the recorded facts that follow stand at their places: the present side
takes them as they are. The shadow takes at that place what it made follow from the same cause (which may say something else),
leaves out what did not follow there, and takes what the log does not have right after its cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.ledger.engine_facts import tick_fact
from engine.ledger.member import ProfileUnavailable
from engine.ledger.partition import Answer, FoldFailed, Partition, UnknownProgramme
from engine.ledger.profiles import Opens
from engine.whatif.plan import Plan
from engine.whatif.tally import NEW, NOW, Tally
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import Fact
from schemas.times import to_text

#: As in a replay of a file, which is one partition too.
LIVE_MEMBERS = 20_000
#: What only follows from another fact.
FOLLOWING = frozenset(facts.ENGINE_TYPES) - {facts.TICK, facts.PROGRAMME, facts.FORGET}

Name = tuple[str, str, str | None]


@dataclass(slots=True)
class Counted:
    """What a process saw; the same however many there are, once added up."""

    facts: int = 0
    compared: int = 0
    recorded: int = 0
    left_out: int = 0
    followed_anew: int = 0
    undecidable: int = 0
    refused: int = 0
    newest_us: int | None = None
    newest_tick_us: int | None = None


@dataclass(slots=True)
class _Side:
    """A partition and the offset that its next fact gets: the shadow has facts that the log has not."""

    partition: Partition
    next_offset: int = 0

    def copy(self, plan: Plan, live_members: int) -> _Side:
        """Return the same state under the shadow's book."""
        old = self.partition
        new = Partition(old.number, plan.shadow, live_members, old.opens)
        new.next_offset, new.newest_us = old.next_offset, old.newest_us
        new.book = plan.shadow_book(old.book)
        for key in old.members:
            offset, packed = old.snapshot(key)
            new.restore(key, offset, packed)
        return _Side(new, self.next_offset)


@dataclass(slots=True)
class _Pair:
    now: _Side
    new: _Side | None = None


@dataclass(slots=True)
class Recorded:
    """What the log has about a fact besides it: its answer, or the quarantine (text, reason) that was its answer."""

    decision: Decision | None = None
    quarantine: tuple[str, str] | None = None


NOTHING_RECORDED = Recorded()


class Sides:
    """Both sides of some members; whoever deals with one of them is among them too.

    Args:
        plan: which versions hold when.
        opens: opens profiles, on both sides alike.
        tally: takes what both sides did.
        from_log: the facts come from a log, which has those that follow; else they are raw events.
        known: versions known from the beginning; those of a log are told by it.
    """

    def __init__(
        self, plan: Plan, opens: Opens, tally: Tally, *, from_log: bool, known: Iterable[Programme] = ()
    ) -> None:
        self.counted = Counted()
        self._plan, self._opens, self._tally, self._from_log = plan, opens, tally, from_log
        self._known = tuple(known)
        self._pairs: dict[int, _Pair] = {}
        #: Facts that follow on the shadow's side, which the log will have at their place.
        #: None: as the log has it, because its cause came before the sides parted.
        self._owed: dict[Name, Fact | None] = {}
        #: What the log announced, and what the shadow will take once it is (records of one millisecond have no order).
        self._announced: set[Name] = set()
        self._early: dict[Name, tuple[int, Fact]] = {}
        #: What the log announced with such an early one: the shadow has it with that one, or not at all.
        self._with_early: set[Name] = set()

    def take(self, number: int, fact: Fact, recorded: Recorded = NOTHING_RECORDED) -> None:
        """Take in the next fact of a partition.

        Raises:
            UnknownProgramme: the log names a version that is not among the present ones.
            FoldFailed: a recorded answer does not fit the facts before it.
        """
        if fact.type == facts.PROGRAMME:
            self._learn(self._pair(number), fact)
            return
        if self._from_log and (fact.type in FOLLOWING or (fact.source, fact.id, fact.key) in self._announced):
            self._take_following(number, fact, recorded)
        else:
            self._take_cause(number, fact, recorded, fact)

    def settle(self, time_us: int) -> None:
        """Let both sides do what time does until a moment. What is announced and not in the log any more reaches neither."""
        for number, pair in list(self._pairs.items()):
            self._fork(pair)
            tick = tick_fact(number, time_us, to_text(time_us))
            self._take_cause(number, tick, NOTHING_RECORDED, tick)

    def pairs(self) -> Iterable[tuple[Partition, Partition]]:
        """Every partition with its shadow, once settled."""
        for pair in self._pairs.values():
            yield pair.now.partition, (pair.new or pair.now).partition

    def _pair(self, number: int) -> _Pair:
        pair = self._pairs.get(number)
        if pair is None:
            partition = Partition(number, self._plan.present, LIVE_MEMBERS, self._opens)
            for version in self._known:
                partition.book = partition.book.with_version(version)
            pair = self._pairs[number] = _Pair(_Side(partition))
        return pair

    def _learn(self, pair: _Pair, fact: Fact) -> None:
        version = self._plan.present.get(fact.data["hash"])
        if version is None:
            raise UnknownProgramme(fact.data["hash"])
        now = pair.now.partition
        now.book = now.book.with_version(version)
        if pair.new is not None and version.hash in self._plan.kept:
            new = pair.new.partition
            new.book = new.book.with_version(self._plan.kept[version.hash])

    def _fork(self, pair: _Pair) -> _Side:
        if pair.new is None:
            pair.new = pair.now.copy(self._plan, LIVE_MEMBERS)
        return pair.new

    def _take_following(self, number: int, fact: Fact, recorded: Recorded) -> None:
        """Take in a recorded fact that followed from another: the present side as it stands, the shadow what followed there."""
        name = (fact.source, fact.id, fact.key)
        if name in self._announced:
            self._announced.discard(name)
            if name in self._owed:
                self._take_cause(number, fact, recorded, self._owed.pop(name) or fact)
            elif name in self._with_early:
                self._with_early.discard(name)
                self._with_early |= self._take_cause(number, fact, recorded, None)
            else:
                self.counted.left_out += 1
                self._take_cause(number, fact, recorded, None)
        elif fact.time_us < self._plan.since_us and self._pair(number).new is None:
            self._take_cause(number, fact, recorded, fact)
        else:
            self._early[name] = (number, fact)
            self._with_early |= self._take_cause(number, fact, recorded, None)

    def _take_cause(self, number: int, fact: Fact, recorded: Recorded, mine: Fact | None) -> set[Name]:
        """Decide a fact on the present side, and ``mine`` in the shadow, if there is one yet; return what is announced."""
        pair = self._pair(number)
        if pair.new is None and (fact.time_us >= self._plan.since_us or mine is not fact):
            self._fork(pair)
        answer = self._answer(pair.now, fact, recorded)
        self._count(fact, recorded)
        for decision in answer.decisions:
            self._tally.add(NOW, decision)
        announced: set[Name] = {
            (one.source, one.id, one.subject) for decision in answer.decisions for one in decision.derived
        }
        shadowed: Answer | None = None
        if pair.new is None:
            for decision in answer.decisions:
                self._tally.add(NEW, decision)
        elif mine is not None:
            alike = recorded if recorded.decision is None else Recorded(None, recorded.quarantine)
            shadowed = self._answer(pair.new, mine, alike)
            self.counted.compared += fact.type != facts.TICK
            for decision in shadowed.decisions:
                self._tally.add(NEW, decision)
        theirs = [] if shadowed is None else shadowed.derived
        if not self._from_log:
            self._deliver(NOW, number, answer.derived)
            self._deliver(NEW, number, theirs)
        elif announced or theirs:
            self._follow(number, announced, theirs, parted=pair.new is not None)
        return announced

    def _follow(self, number: int, announced: set[Name], theirs: Sequence[Fact], *, parted: bool) -> None:
        """Remember what the log will have of a cause, and let the shadow have at once what it will not."""
        self._announced |= announced
        if not parted:
            self._owed |= dict.fromkeys(announced)
        anew = []
        for fact in theirs:
            name = (fact.source, fact.id, fact.key)
            if name in announced:
                self._owed[name] = fact
            else:
                anew.append(fact)
        self.counted.followed_anew += len(anew)
        self._deliver(NEW, number, anew)
        for name in announced & self._early.keys():
            home, fact = self._early.pop(name)
            if name in self._owed:
                self._deliver(NEW, home, [self._owed.pop(name) or fact])
            else:
                self.counted.left_out += 1

    def _deliver(self, side: int, number: int, given: Sequence[Fact]) -> None:
        """Decide facts that follow right after their cause, depth first, on one side; while there is one side, for both."""
        waiting = [(number, fact) for fact in reversed(given)]
        while waiting:
            came_from, fact = waiting.pop()
            number = self._home(side, fact, came_from)
            pair = self._pair(number)
            at = pair.now if side == NOW else self._fork(pair)
            answer = self._answer(at, fact, NOTHING_RECORDED)
            for decision in answer.decisions:
                self._tally.add(side, decision)
                if side == NOW and pair.new is None:
                    self._tally.add(NEW, decision)
            waiting += [(number, one) for one in reversed(answer.derived)]

    def _home(self, side: int, fact: Fact, number: int) -> int:
        """Where the member of a fact lives; a new one beside the cause."""
        if not self._from_log or fact.key is None:
            return number
        for home, pair in self._pairs.items():
            at = pair.now if side == NOW or pair.new is None else pair.new
            if fact.key in at.partition.members:
                return home
        return number

    def _answer(self, side: _Side, fact: Fact, recorded: Recorded) -> Answer:
        offset, side.next_offset = side.next_offset, side.next_offset + 1
        if recorded.decision is not None and fact.type != facts.TICK:
            decision = recorded.decision
            decision.offset = offset
            side.partition.recall(fact, decision)
            self.counted.recorded += 1
            return Answer([decision])
        if recorded.quarantine is not None:
            return side.partition.quarantine(fact, offset, *recorded.quarantine)
        try:
            return side.partition.answer(fact, offset)
        except (FoldFailed, UnknownProgramme, ProfileUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - as a worker does it: the fact moves nothing, and the others go on
            self.counted.undecidable += 1
            return side.partition.quarantine(fact, offset, type(error).__name__)

    def _count(self, fact: Fact, recorded: Recorded) -> None:
        counted = self.counted
        if fact.type == facts.TICK:
            if counted.newest_tick_us is None or fact.time_us > counted.newest_tick_us:
                counted.newest_tick_us = fact.time_us
            return
        counted.facts += 1
        if fact.type in facts.TOLD_OF:
            return  # no time goes on by them
        if counted.newest_us is None or fact.time_us > counted.newest_us:
            counted.newest_us = fact.time_us
