"""When an account begins and ends: whoever has not joined, or has left, earns nothing and hears why."""

from __future__ import annotations

from engine.ledger.activities import decide_earning
from engine.ledger.member import Member, order_ref
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import Fact

#: What earns. A refund takes back, whoever has left; what the engine derives has its own answer.
_EARNING = frozenset({facts.PURCHASE, facts.VISIT, facts.REVIEW, facts.ACTIVITY, facts.REFERRAL_AWARD})


def barred(member: Member, fact: Fact, programme: Programme, decision: Decision) -> bool:
    """Say so where this fact earns nothing because its member has not joined yet, or has left.

    What happened before somebody joined, where that must be said, and what happened after he left, earns nothing, whenever
    it is told. Such an order is counted all the same: it does not earn when it is sent again.
    """
    if fact.type not in _EARNING or member.anonymous:
        return False
    if fact.type == facts.PURCHASE and member.has_order(order_ref(fact.data)):
        return False
    decision.reason = bar(member, fact, programme)
    return decision.reason is not None


def bar(member: Member, fact: Fact, programme: Programme) -> str | None:
    """Return why nothing is earned by a fact of this time, None if it may be."""
    if member.left_us is not None and fact.time_us >= member.left_us:
        return "has_left"
    joined_us = member.joined_us if member.joined_said else None
    if programme.join_explicit and (joined_us is None or fact.time_us < joined_us):
        return "not_joined"
    return None


def decide_joined(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Joining counts once; whoever comes back after he left may earn again, and gets no second welcome."""
    if member.left_us is not None and fact.time_us >= member.left_us:
        decision.reason = "joined_again"
        return []
    if member.joined_said:
        decision.reason = "already_joined"
        return []
    return decide_earning(member, fact, programme, decision)


def decide_left(member: Member, decision: Decision) -> list[Fact]:
    """Leaving takes no points: it ends earning, until a `joined` that comes after it."""
    if member.left_us is not None:
        decision.reason = "already_left"
    return []
