"""Facts that earn by the rules and move nothing else but themselves: visits, reviews, activities."""

from __future__ import annotations

from engine.ledger.counters import count
from engine.ledger.earning import earn
from engine.ledger.giving import give
from engine.ledger.member import Member
from engine.ledger.pending import keep_arrival, release_awaited
from engine.ledger.tiers import count_progress
from rules.book import Programme
from schemas.decisions import Decision
from schemas.envelope import Fact

DEFAULT_VISIT_GAP_US = 30 * 60 * 1_000_000


def decide_earning(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with what the rules on this type of fact award."""
    if programme is None:
        decision.reason = "no_programme"
        return []
    earned = earn(member, fact, programme)
    earned.into(decision)
    if programme.counters:
        count(member, fact, programme, decision)
    if programme.tiers is not None and programme.tiers.by == "points":
        count_progress(fact, programme, sum(entry.points for entry in earned.entries), decision)
    return give(member, fact, programme, earned.given, decision) if earned.given else []


def decide_activity(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """An activity can be what the points of an order waited for, whether a rule awards it or not."""
    derived = decide_earning(member, fact, programme, decision)
    if member.cancel_us is not None:  # then some lot waits for a fact
        release_awaited(member, fact, programme, decision)
    if programme is not None and programme.lots is not None and programme.lots.awaited:
        keep_arrival(member, fact, programme, decision)
    return derived


def decide_segment(member: Member, fact: Fact, decision: Decision) -> list[Fact]:
    """Being in a segment or not is what its newest fact says; an older one that comes late changes nothing."""
    known = member.segments.get(fact.data["segment"])
    if known is not None and fact.time_us < known[0]:
        decision.reason = "older_than_known"
    return []


def decide_visit(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """A visit counts unless it continues one at the same store: a gap of at most ``visit_gap`` in either direction."""
    last_us = member.visits.get(fact.data["store"] or "")
    gap_us = programme.visit_gap_us if programme is not None else DEFAULT_VISIT_GAP_US
    if last_us is not None and abs(fact.time_us - last_us) <= gap_us:
        decision.reason = "same_visit"
        return []
    derived = decide_earning(member, fact, programme, decision)
    if programme is not None and programme.tiers is not None and programme.tiers.by == "visits":
        count_progress(fact, programme, 1, decision)
    return derived
