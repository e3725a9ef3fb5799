"""Counters: which order it is, which days in a row; facts move them, goods that come back move them back."""

from __future__ import annotations

from engine.ledger.member import Member
from engine.ledger.orders import Counted, Order
from engine.ledger.returns import OrderLines
from rules.book import Programme
from rules.counting import lines_counted, steps
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import Fact


def count(member: Member, fact: Fact, programme: Programme, decision: Decision) -> None:
    """Add to ``decision`` what a fact moves of the counters of its type."""
    on = facts.SHORT_NAMES[fact.type]
    moved: list[Counted] = []
    for counter in programme.counters.get(on, ()):
        lines = lines_counted(counter, fact)
        if lines is not None:
            moved += [(*step, lines) for step in steps(counter, on, member, fact, programme.time_zone)]
    if moved:
        decision.counters = [*decision.counters, *moved]


def counters_given_back(order: Order, lines: OrderLines) -> list[Counted]:
    """Return what a refund gives counters back: by the part of the lines that counted, rounded down until all came back."""
    given: list[Counted] = []
    for key, number, moments, counted in order.counters:
        before, now, whole = lines.parts(counted)
        back = number * now // whole - number * before // whole
        moments_back = moments * now // whole - moments * before // whole
        if back or moments_back:
            given.append((key, -back, -moments_back, counted))
    return given
