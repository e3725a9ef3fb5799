"""What should be followed by something in time: a basket by a purchase, a search by the same product bought.

What begins to wait, and what ends a wait, stands in the decision as a state; nothing is looked for again later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from engine.ledger.member import AWAITED, FOLLOWED, Member
from engine.ledger.moment_dues import Due
from rules.book import Book, Moment, Programme
from schemas import facts
from schemas.decisions import Decision, StateChange
from schemas.envelope import Fact
from schemas.times import to_text

#: A fact that was not new: what it tells was told before.
_OLD = frozenset({"order_already_counted", "same_visit"})


def watch(member: Member, fact: Fact, programme: Programme, decision: Decision) -> None:
    """Add to ``decision`` what a fact ends of the member's waits, and what it lets begin."""
    plan = programme.moments
    if plan is None or not plan.awaited or decision.reason in _OLD:
        return
    word = facts.SHORT_NAMES[fact.type]
    states = [*_ended(member, fact, programme, plan.ends.get(word, ()))]
    if decision.reason is None:
        states += _begun(member, fact, programme, plan.begins.get(word, ()))
    if states:
        decision.states = [*decision.states, *states]


def _ended(member: Member, fact: Fact, programme: Programme, moments: Sequence[Moment]) -> Iterator[StateChange]:
    """A fact ends a wait that had begun by its time, and is about the same."""
    if not member.awaited:
        return
    for moment in moments:
        by = moment.by
        mine = [name for name in member.awaited if name.partition("|")[0] == moment.id]
        lines = by.lines(member, fact, programme) if mine and by is not None else ()
        if not lines:
            continue
        about = None if moment.same is None else set(_about(fact, moment.same, lines))
        for name in mine:
            if fact.time_us >= member.awaited[name][0] and (about is None or name.partition("|")[2] in about):
                yield StateChange(member.key, AWAITED, name, FOLLOWED, fact.source, fact.id, fact.time)


def _begun(member: Member, fact: Fact, programme: Programme, moments: Sequence[Moment]) -> Iterator[StateChange]:
    """A wait begins with the fact's own time; one that would be over already does not: nobody knows what followed."""
    for moment in moments:
        lines = () if moment.after is None else moment.after.lines(member, fact, programme)
        until_us = fact.time_us + moment.within_us
        if not lines or until_us <= member.now_us(fact.time_us):
            continue
        for about in [""] if moment.same is None else dict.fromkeys(_about(fact, moment.same, lines)):
            name = f"{moment.id}|{about}"
            known = member.awaited.get(name)
            if known is None or known[1] < until_us:
                yield StateChange(member.key, AWAITED, name, to_text(until_us), fact.source, fact.id, fact.time)


def _about(fact: Fact, same: str, lines: Sequence[int]) -> list[str]:
    """Return what a fact is about, by the name of a field; nothing where it does not say."""
    data: Any = fact.data
    if fact.type == facts.PURCHASE:
        if same == "order_id":
            return [data["order_id"]]
        return [said for line in lines if (said := data["lines"][line].get(same)) is not None]
    said = data["attributes"].get(same) if fact.type == facts.ACTIVITY else data.get(same)
    return [] if said is None else [str(said)]


def overdue(member: Member, book: Book, due_us: int) -> tuple[str, Due | None] | None:
    """Return what waited in vain until ``due_us``, the first by name, and its rule in force then; None where nothing did."""
    names = sorted(name for name, (_, until_us) in member.awaited.items() if until_us <= due_us)
    if not names:
        return None
    programme = book.at(due_us)
    plan = None if programme is None else programme.moments
    moment = None if plan is None else plan.awaited.get(names[0].partition("|")[0])
    if programme is None or moment is None:
        return names[0], None
    return names[0], Due(due_us, moment, programme, names[0])
