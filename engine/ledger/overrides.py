"""Staff gives a member a tier until a day: he then has at least that one, whatever was earned.

A complaint answered with three months of gold: it raises and never lowers, and a member who earns more has more. A later
override takes the place of the one before; one with the base level ends it.
"""

from __future__ import annotations

from engine.ledger.member import Member
from engine.ledger.orders import day_number
from rules.book import Programme
from rules.local_time import local_day
from schemas import facts
from schemas.decisions import Decision, Note
from schemas.envelope import Fact


def decide_override(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with why an override does nothing, if it does; the review of the tier does the rest."""
    data: facts.TierOverrideForm = fact.data
    if programme is None:
        decision.reason = "no_programme"
    elif programme.tiers is None:
        decision.reason = "no_tiers"
    elif programme.tiers.height_of(data["tier"]) is None:
        decision.reason = "unknown_tier"
        known = ", ".join(level.id for level in programme.tiers.levels)
        decision.notes = [Note("unknown_tier", None, f"there is no tier {data['tier']}: known are {known}")]
    elif day_number(data["until"]) < local_day(member.now_us(fact.time_us), programme.time_zone):
        decision.reason = "already_over"
    return []
