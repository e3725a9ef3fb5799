"""Windows of challenges that have a beginning of their own: when they begin, and which one a moment falls into."""

from __future__ import annotations

from engine.ledger.member import Member
from engine.ledger.played import CHALLENGE_SPAN, times_met, window_name, windows_of
from engine.ledger.prizes import say
from rules.book import ChallengePlan
from schemas.decisions import Decision
from schemas.envelope import Fact
from schemas.times import to_text


def offer(member: Member, fact: Fact, plan: ChallengePlan, decision: Decision) -> bool:
    """Begin a window at a fact, unless one is under way or the challenge was met often enough; return whether it began."""
    return own_window(member, fact.time_us, plan) is None and begin(member, fact, plan, decision) is not None


def begin(member: Member, fact: Fact, plan: ChallengePlan, decision: Decision) -> str | None:
    """Begin a window at a fact, and return its label; None where the challenge was met often enough."""
    if plan.times is not None and times_met(member.played, plan.id) >= plan.times:
        return None
    begins_us, later = fact.time_us, [found.begins_us for _, found in windows_of(member.played, plan.id)]
    ends_us = min([begins_us + (plan.within_us or 0), *[other for other in later if other > begins_us]])
    label = to_text(begins_us)
    name = window_name(plan.id, label)
    say(member, fact, decision, (CHALLENGE_SPAN, name, f"{label}/{to_text(ends_us)}"))
    return label


def own_window(member: Member, at_us: int, plan: ChallengePlan) -> str | None:
    """Return the label of the window with a beginning of its own that a moment falls into."""
    for label, found in windows_of(member.played, plan.id):
        if found.begins_us <= at_us < found.ends_us:
            return label
    return None
