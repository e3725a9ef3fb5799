"""The order that a referral was awarded for came back: both sides give their bonus back, and the referral waits again."""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.debt import Purse, taken_back
from engine.ledger.following import follow
from engine.ledger.lots import Lot
from engine.ledger.member import Bonus, Member
from engine.ledger.orders import Order
from engine.ledger.referrals import REFERRED, REFERRER
from engine.ledger.returns import OrderLines, note
from rules.book import Book, Programme
from schemas import facts
from schemas.decisions import Decision, Entry
from schemas.envelope import REFERRAL_SOURCE, Fact
from schemas.ids import hash_id


def lost_bonus(member: Member, ref: str, order: Order, lines: OrderLines, book: Book) -> Bonus | None:
    """Return what a referral gave for an order, if what is kept of the order is not worth it any more."""
    bonus = member.bonuses.get(ref)
    if bonus is None:
        return None
    _, back, whole = lines.parts(())
    if back == whole:
        return bonus
    programme = book.of_hash(bonus.programme)
    plan = None if programme is None else programme.refer
    kept = order.total_minor - sum(lines.back_minor)
    return bonus if plan is not None and kept < plan.at_least_minor else None


def bonus_left(member: Member, bonus: Bonus) -> tuple[Lot, int]:
    """Return the lot of a bonus as it is now, and how many points time left of it to take back."""
    assert bonus.entry_id is not None
    lot = member.lots_apart.get(bonus.entry_id)
    if lot is None:
        return Lot(bonus.entry_id, 0, 0), bonus.points
    return lot, bonus.points - lot.gone


def reverse_referral(
    member: Member, fact: Fact, bonus: Bonus, entries: Sequence[Entry], decision: Decision
) -> list[Fact]:
    """Give the cap of the new member's bonus back, and return the fact for the referrer.

    It is written also where the referrer got nothing, so that both states know.

    Args:
        entries: those that the refund makes; one of them takes the bonus back.
    """
    assert member.referral is not None
    back = next((entry for entry in entries if entry.rule_id == REFERRED), None)
    if back is not None:
        _free_cap(bonus, -back.points, decision)
    referrer = member.referral.referrer
    data: facts.ReferralReversalForm = {
        "referred": member.key,
        "cause_source": fact.source,
        "cause_id": fact.id,
        "cause_entry": None if back is None else back.entry_id,
        "award_id": bonus.award_id,
    }
    fact_id = hash_id(fact.source, fact.id, member.key, "refer:reversal")
    kind = facts.REFERRAL_REVERSAL
    return [follow(decision, fact, referrer, source=REFERRAL_SOURCE, fact_id=fact_id, kind=kind, data=data)]


def decide_referral_reversal(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with what the referrer gives back; nothing where he got nothing."""
    bonus = member.bonuses.get(fact.data["award_id"])
    if bonus is None or bonus.entry_id is None:
        return []
    lot, due = bonus_left(member, bonus)
    ((burns, owed),) = Purse(member, [lot], programme, member.now_us(fact.time_us)).take([(bonus.entry_id, due)])
    points = owed + sum([points for _, points in burns])
    if points < due:
        note(decision, "not_taken", f"{due - points} points of it were spent already: they are not taken back")
    if points:
        entry = taken_back(member, fact, (bonus.entry_id, REFERRER, bonus.rule_version), points, burns)
        decision.entries = [*decision.entries, entry]
        _free_cap(bonus, points, decision)
    return []


def _free_cap(bonus: Bonus, points: int, decision: Decision) -> None:
    if bonus.counted is not None:
        decision.counts = [*decision.counts, (bonus.counted, -points, -1 if points == bonus.points else 0)]
