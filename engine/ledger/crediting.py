"""The last step of every credit, whoever made it: the dates of its lot, the debt it pays, and whether its time is over already.

Which dates, the programme in force says: for the rule that gave the points, else for the member's tier before the fact, else for
all points. Points that came from another member keep theirs. Adjustments by staff and awards of levels never wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.expiry import expire_entry
from engine.ledger.lots import Lot
from engine.ledger.member import NOT_YET, Member
from rules.book import LotPlan, Programme, Wait
from schemas import facts
from schemas.decisions import Entry
from schemas.envelope import Fact
from schemas.ids import hash_id
from schemas.times import to_text, to_us

#: Kinds of credits that get their dates here; others bring them along.
DATED_KINDS = frozenset({"earn", "adjust"})

#: Facts whose points have the dates that the programme says, and no others.
PLAIN_TYPES = frozenset({facts.PURCHASE, facts.VISIT, facts.REVIEW, facts.ACTIVITY, facts.JOINED, facts.REFERRAL})


def finish(
    member: Member, entries: Sequence[Entry], programme: Programme | None, fact: Fact | None, now_us: int
) -> list[Entry]:
    """Complete the credits among ``entries``; return what follows from them: points whose time is over expire at once.

    Args:
        member: as he stood before; not changed.
        entries: of one decision, in their order; credits are changed.
        programme: the version in force.
        fact: what gave the points; None for a timer.
        now_us: where the member's timeline stands.
    """
    plan = None if programme is None else programme.lots
    debt = member.debt - sum([points for entry in entries if entry.kind == "release" for _, points in entry.burns])
    over = []
    for entry in entries:
        if not entry.makes_lot:
            continue
        if plan is not None and programme is not None and entry.kind in DATED_KINDS:
            _date(entry, plan, programme, member, fact)
        # What comes back after a merge says itself what of it pays a debt.
        own = sum([points for _, points in entry.burns]) if entry.burns else 0
        debt -= own
        expires_us = None if entry.expires_at is None else to_us(entry.expires_at)
        if expires_us is not None and expires_us <= now_us:
            if own < entry.points:
                over.append(_expired(member, entry, programme, expires_us, entry.points - own))
        elif debt and _active_us(entry) <= now_us:
            paid = min(debt, entry.points - own)
            entry.burns = [*entry.burns, (entry.entry_id, paid)]
            debt -= paid
    return over


def _active_us(entry: Entry) -> int:
    if entry.waits_for is not None:
        return NOT_YET
    return to_us(entry.occurred_at if entry.active_from is None else entry.active_from)


def _date(entry: Entry, plan: LotPlan, programme: Programme, member: Member, fact: Fact | None) -> None:
    terms = plan.terms(entry.rule_id, member.tier)
    earned_us = to_us(entry.occurred_at) if fact is None else fact.time_us
    active_us = earned_us
    wait = terms.wait
    if wait is not None and entry.kind == "earn" and fact is not None and waits(wait, fact):
        if wait.until is not None and entry.order is not None:
            came_us = member.arrived.get(f"{wait.until}|{entry.order}")
            if came_us is None or came_us >= earned_us + wait.cancel_us:
                entry.active_from, entry.waits_for = None, wait.until
                entry.cancel_at = to_text(earned_us + wait.cancel_us)
                return
            active_us = max(earned_us, came_us)
        # A welcome or a referral's award waits for no fact about an order: none would ever speak of it.
        active_us += wait.for_us or 0
        entry.active_from = to_text(active_us)
    if terms.expiry is not None:
        ends_us = terms.expiry.ends_us(active_us, programme.time_zone)
        entry.expires_at = None if ends_us is None else to_text(ends_us)


def waits(wait: Wait, fact: Fact) -> bool:
    """Tell whether what a fact gives has to wait: only a purchase has a channel, and only an order can be confirmed later."""
    if fact.type != facts.PURCHASE:
        return wait.channels is None and wait.for_us is not None
    return (wait.channels is None or fact.data["channel"] in wait.channels) and wait != Wait()


def _expired(member: Member, entry: Entry, programme: Programme | None, expires_us: int, points: int) -> Entry:
    at_us = max(expires_us, to_us(entry.occurred_at))
    fact_id = hash_id("expiry", member.key, entry.entry_id)
    return expire_entry(member, programme, [Lot(entry.entry_id, points, at_us)], fact_id, to_text(at_us))
