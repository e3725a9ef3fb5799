"""Moments that time brings: the timers of birthdays, anniversaries and points about to expire, and of what was awaited.

Each firing is one rule's. What comes due at one moment by several rules fires one after the other, by the rules' ids, so that a
later one sees what an earlier one gave and said.
"""

from __future__ import annotations

from engine.ledger import awaiting, tiers
from engine.ledger.joining import bar
from engine.ledger.member import AWAITED, COUNTED, MOMENT, Member
from engine.ledger.moment_dues import Due, dues, why_due
from engine.ledger.moments import come, on_tier
from engine.ledger.moved import Moved
from engine.ledger.played import TIER_GIVEN
from rules.book import Book, Programme
from rules.plan import DATES
from schemas.decisions import Decision, StateChange
from schemas.envelope import TIMER_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import to_text

#: Type of what stands for a timer where a rule expects a fact; it is in no log.
TIMER = "stammgast.timer"
#: The rule of what was awaited is not in force any more; the member has left, or has not joined.
NOT_IN_FORCE, BARRED = "not_in_force", "barred"


def dates_due_us(member: Member) -> int | None:
    """Return when a moment of the calendar comes next, None for never."""
    return member.dates_us


def waits_due_us(member: Member) -> int | None:
    """Return when a wait is next over, None for never."""
    return member.waits_us


def fire_date(member: Member, book: Book, due_us: int) -> Moved:
    """Let the first rule's moment of the calendar come that is due."""
    return _fire_rule(member, book, due_us, dates=True)


def fire_wait(member: Member, book: Book, due_us: int) -> Moved:
    """Let the first rule's moment come that was waited for until now: first what should have followed, then silence."""
    found = awaiting.overdue(member, book, due_us)
    if found is None:
        return _fire_rule(member, book, due_us, dates=False)
    name, due = found
    text, fact_id = to_text(due_us), hash_id(AWAITED, member.key, name, to_text(due_us))
    if due is None:
        return Moved(states=[StateChange(member.key, AWAITED, name, NOT_IN_FORCE, TIMER_SOURCE, fact_id, text)])
    return _fire(member, book, due, AWAITED, name)


def _fire_rule(member: Member, book: Book, due_us: int, *, dates: bool) -> Moved:
    found = [due for due in dues(member, book) if due.at_us == due_us and (due.moment.word in DATES) == dates]
    due = min(found, key=lambda one: one.moment.id)
    return _fire(member, book, due, MOMENT, due.moment.id)


def _fire(member: Member, book: Book, due: Due, what: str, name: str) -> Moved:
    """Let a moment come, and mark it as come: under ``name`` of ``what``."""
    fact = _stand_in(member, hash_id(what, member.key, name, to_text(due.at_us)), due.at_us)
    scratch = _scratch(fact, due.programme)
    ended, follows = BARRED, list[Fact]()
    if bar(member, fact, due.programme) is None:
        ended, follows = come(member, due.moment, fact, due.programme, why_due(member, due), scratch)
    moved = Moved(states=[StateChange(member.key, what, name, ended, TIMER_SOURCE, fact.id, fact.time)])
    _into(moved, scratch, follows, Moved())
    if any(state.what == TIER_GIVEN for state in moved.states):
        change = tiers.review_given(member, book, due.at_us, moved.states, fact.id)
        if change is not None:
            moved.tiers.append(change)
    return moved


def after_step(member: Member, book: Book, step: Moved, due_us: int) -> None:
    """Add to what a timer moved what another tier brings, if it made one.

    Args:
        member: as he stood before the step.
        book: the versions.
        step: changed.
        due_us: when it fired.
    """
    programme, change = book.at(due_us), step.tiers[-1]
    if programme is None or programme.moments is None or not programme.moments.tier_changed:
        return
    fact = _stand_in(member, change.fact_id, due_us)
    scratch = _scratch(fact, programme)
    scratch.entries, scratch.notices = [*step.entries], [*step.notices]
    follows = on_tier(member, change, fact, programme, scratch)
    _into(step, scratch, follows, Moved(entries=[*step.entries], notices=[*step.notices]))


def _stand_in(member: Member, fact_id: str, time_us: int) -> Fact:
    """Return what rules see where they expect a fact."""
    text = to_text(time_us)
    return Fact(fact_id, TIMER_SOURCE, TIMER, member.key, text, text, "", {}, time_us)


def _scratch(fact: Fact, programme: Programme) -> Decision:
    return Decision(fact.source, fact.id, fact.type, fact.subject, "decided", None, programme.hash, fact.time, 0)


def _into(moved: Moved, scratch: Decision, follows: list[Fact], known: Moved) -> None:
    """Add what a moment gave and said to a step; caps stand there as states, because a tick moves many members."""
    moved.entries += scratch.entries[len(known.entries) :]
    moved.notices += scratch.notices[len(known.notices) :]
    moved.states += scratch.states
    for key, points, times in scratch.counts:
        text = f"{points}|{times}"
        moved.states.append(
            StateChange(
                scratch.member_id or "", COUNTED, key, text, scratch.source, scratch.fact_id, scratch.occurred_at
            )
        )
    moved.follows += follows
    moved.derived += scratch.derived
