"""What time alone does to a member: every timer due before a fact fires before it, in due order.

Due moments depend on the member's own timeline, so it does not matter when a process woke up. In this version the one
timer is the tier's: at ``until`` the level is reviewed.
"""

from __future__ import annotations

from copy import copy

from engine.ledger.member import Member, evolve_tiers
from engine.ledger.tiers import review
from rules.book import Book
from schemas.decisions import TierChange
from schemas.envelope import TIMER_SOURCE
from schemas.ids import hash_id
from schemas.times import to_text


def due_us(member: Member) -> int | None:
    """Return when the member's next timer is due, None without one."""
    return member.standing.until_us if member.standing is not None else None


def settle(member: Member, book: Book, time_us: int) -> tuple[Member, list[TierChange]]:
    """Fire every timer of ``member`` that is due at or before ``time_us``.

    Returns:
        The member as he stands then (a shallow copy where a timer fired; the given one is not changed), and the changes.
    """
    changes: list[TierChange] = []
    while (due := due_us(member)) is not None and due <= time_us:
        change = _review_tier(member, book, due)
        changes.append(change)
        member = copy(member)
        evolve_tiers(member, [change])
    return member, changes


def _review_tier(member: Member, book: Book, due: int) -> TierChange:
    fact_id = hash_id("tier_review", member.key, to_text(due))
    programme = book.at(due)
    change = None if programme is None else review(member, programme, due, [], TIMER_SOURCE, fact_id)
    if change is not None:
        return change
    # No version in force, or none that would move it: the tier stays, and this timer must not fire again.
    standing = member.standing
    assert standing is not None
    return TierChange(
        member.key, standing.tier, standing.tier, to_text(standing.since_us), None, TIMER_SOURCE, fact_id, to_text(due)
    )
