"""Points expire: at the end of the last day of their lot, or of the last day on which an idle member may keep them."""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.lots import Lot, open_lots
from engine.ledger.member import NEVER, SLIDING, Member
from engine.ledger.moved import Moved
from rules.book import Book, Programme
from rules.local_time import local_day, midnight_us, months_later
from schemas import facts
from schemas.decisions import Entry, StateChange
from schemas.envelope import TIMER_SOURCE, Fact
from schemas.ids import hash_id
from schemas.times import to_text

#: The rule that entries of kind ``expire`` carry.
EXPIRY = "expiry"
#: Facts that are something the member does: they put off the day on which an idle member's points go.
ACTIVE_TYPES = frozenset(
    {facts.PURCHASE, facts.VISIT, facts.REVIEW, facts.ACTIVITY, facts.JOINED, facts.REFERRAL, facts.REDEMPTION}
)


def due_us(member: Member) -> int | None:
    """Return when points next expire, None for never."""
    first, slides = member.expiry_us, member.slides_us
    return slides if first is None or (slides is not None and slides < first) else first


def expire_when_due(member: Member, book: Book, due: int) -> Moved:
    """Take what is left of the lots whose time is over, in one entry."""
    slides = member.slides_us is not None and member.slides_us <= due
    lots = [
        lot
        for lot in open_lots(member)
        if _is_over(lot, due) or (slides and lot.expires_us is None and lot.active(due))
    ]
    programme, text = book.at(due), to_text(due)
    fact_id = expiry_id(member.key, due)
    moved = Moved()
    if lots:
        moved.entries.append(expire_entry(member, programme, lots, fact_id, text))
    if slides:
        moved.states.append(StateChange(member.key, SLIDING, SLIDING, NEVER, TIMER_SOURCE, fact_id, text))
    return moved


def _is_over(lot: Lot, now_us: int) -> bool:
    return lot.expires_us is not None and lot.expires_us <= now_us


def expiry_id(member: str, due: int) -> str:
    """Return the id of the timer that fires when points of a member expire at ``due``."""
    return hash_id(EXPIRY, member, to_text(due))


def expire_entry(member: Member, programme: Programme | None, lots: Sequence[Lot], fact_id: str, at: str) -> Entry:
    """Return the entry that takes everything out of ``lots`` at ``at``."""
    return Entry(
        entry_id=entry_id(member.key, fact_id),
        member_id=member.key,
        kind="expire",
        points=-sum([lot.left for lot in lots]),
        rule_id=EXPIRY,
        rule_version=0 if programme is None else programme.version,
        source=TIMER_SOURCE,
        fact_id=fact_id,
        occurred_at=at,
        burns=[(lot.id, lot.left) for lot in lots],
    )


def entry_id(member: str, fact_id: str) -> str:
    """Return the id of the entry that a timer's firing made."""
    return hash_id(TIMER_SOURCE, fact_id, member, "expire")


def put_off(member: Member, fact: Fact, programme: Programme) -> StateChange | None:
    """Return until when lots without a date are kept now that the member did something, None where nothing changes."""
    months = None if programme.lots is None else programme.lots.inactivity_months
    if fact.type not in ACTIVE_TYPES or (months is None and member.slides_us is None):
        return None
    state = NEVER
    if months is not None:
        last = months_later(local_day(fact.time_us, programme.time_zone), months)
        until_us = midnight_us(last + 1, programme.time_zone)
        if member.slides_us is not None and until_us <= member.slides_us:
            return None
        if until_us <= member.now_us(fact.time_us):
            return None  # a late fact from before the day on which his points went
        state = to_text(until_us)
    return StateChange(member.key, SLIDING, SLIDING, state, fact.source, fact.id, fact.time)
