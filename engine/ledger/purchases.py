"""An order was paid: it counts once, earns by the rules, moves tier progress, and may be what a referral waited for."""

from __future__ import annotations

from engine.ledger.claims import may_be_claimed
from engine.ledger.counters import count
from engine.ledger.earning import earn
from engine.ledger.giving import give
from engine.ledger.member import Member, order_ref
from engine.ledger.referrals import award_purchase
from engine.ledger.tiers import count_progress
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision, Note
from schemas.envelope import Fact


def decide_purchase(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with what a purchase moves; return facts for other subjects."""
    data: facts.PurchaseForm = fact.data
    order = order_ref(data)
    if member.has_order(order):
        decision.reason = "order_already_counted"
        return []
    if member.anonymous:
        may_be_claimed(programme, decision)
        return []
    if programme is None:
        decision.reason = "no_programme"
        return []
    if data["currency"] != programme.currency:
        decision.reason = "other_currency"
        text = f"the programme counts {programme.currency}, this order was paid in {data['currency']}"
        decision.notes = [Note("other_currency", None, text)]
        return []
    earned = earn(member, fact, programme, order)
    earned.into(decision)
    if programme.counters:
        count(member, fact, programme, decision)
    if programme.tiers is not None:
        amount = _progress(programme.tiers.by, data, sum([entry.points for entry in earned.entries]))
        count_progress(fact, programme, amount, decision)
    derived = award_purchase(member, fact, programme, decision)
    return [*derived, *give(member, fact, programme, earned.given, decision, order)] if earned.given else derived


def _progress(by: str, data: facts.PurchaseForm, points: int) -> int:
    if by == "spend":
        return data["total_minor"]
    if by == "points":
        return points
    return 1 if by == "orders" else 0
