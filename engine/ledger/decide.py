"""The dispatcher: which file answers which fact, and nothing else."""

from __future__ import annotations

from engine.ledger.activities import decide_activity, decide_earning, decide_segment, decide_visit
from engine.ledger.adjustments import decide_adjustment
from engine.ledger.aliases import decide_link, decide_takeover
from engine.ledger.challenges import play
from engine.ledger.claims import decide_claim, decide_claim_answered, decide_claim_asked
from engine.ledger.joining import barred, decide_left
from engine.ledger.member import Member
from engine.ledger.overrides import decide_override
from engine.ledger.owners import decide_order_owned, tell_order
from engine.ledger.profiles import decide_profile
from engine.ledger.purchases import decide_purchase
from engine.ledger.redemptions import decide_redemption, decide_redemption_end, decide_stock_answered
from engine.ledger.referrals import decide_joining, decide_referral, decide_referral_award
from engine.ledger.refunds import decide_refund
from engine.ledger.reversals import decide_referral_reversal
from engine.ledger.stock import decide_stock_asked, decide_stock_returned
from engine.ledger.transfers import decide_transfer, decide_transfer_answer, decide_transfer_offer
from engine.ledger.vouchers import use_vouchers
from engine.ledger.waiting import act_on
from rules.book import Book, Programme
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import Fact


def decide(member: Member, fact: Fact, programme: Programme | None, decision: Decision, book: Book) -> list[Fact]:
    """Fill ``decision`` with what ``fact`` does to ``member``; return facts that follow for other subjects.

    Args:
        member: settled to the fact's time; never changed here.
        fact: new for this member, not too late.
        programme: the version in force at the fact's time, None in a gap.
        decision: outcome ``decided``, empty.
        book: the versions known here; what an order moved is given back as its own version counted it.

    Raises:
        UnknownFactType: the log holds a type that this engine does not know.
    """
    some_are_barred = programme is not None and (programme.join_explicit or member.left_us is not None)
    if some_are_barred and programme is not None and barred(member, fact, programme, decision):
        return []
    derived = _decide_fact(member, fact, programme, decision, book)
    if programme is not None and programme.plays:
        return [*derived, *play(member, fact, programme, decision)]
    return derived


def _decide_fact(member: Member, fact: Fact, programme: Programme | None, decision: Decision, book: Book) -> list[Fact]:
    """Answer a fact, but for what it does to challenges."""
    match fact.type:
        case facts.PURCHASE:
            derived = decide_purchase(member, fact, programme, decision)
            return _complete_purchase(member, fact, programme, decision, book, derived)
        case facts.REFUND | facts.WAITED_REFUND:
            return decide_refund(member, fact, decision, book)
        case facts.VISIT:
            return decide_visit(member, fact, programme, decision)
        case facts.REVIEW:
            return decide_earning(member, fact, programme, decision)
        case facts.ACTIVITY:
            return decide_activity(member, fact, programme, decision)
        case facts.REFERRAL:
            return decide_referral(member, fact, programme, decision)
        case facts.REFERRAL_AWARD:
            return decide_referral_award(member, fact, programme, decision)
        case facts.REFERRAL_REVERSAL:
            return decide_referral_reversal(member, fact, programme, decision)
        case facts.REDEMPTION:
            return decide_redemption(member, fact, programme, decision)
        case facts.REDEMPTION_CANCELLED | facts.REDEMPTION_FULFILLED:
            return decide_redemption_end(member, fact, programme, decision)
        case _:
            return _decide_membership(member, fact, programme, decision)


def _complete_purchase(
    member: Member, fact: Fact, programme: Programme | None, decision: Decision, book: Book, derived: list[Fact]
) -> list[Fact]:
    """Use up the vouchers that paid, tell the order's own key whose it is, and let refunds act that waited for this purchase."""
    if "vouchers" in fact.data:
        use_vouchers(member, fact, decision, book)
    if programme is not None and programme.refund_by_receipt and decision.reason is None and not member.anonymous:
        derived = [*derived, *tell_order(member, fact, decision)]
    return [*derived, *act_on(member, fact, decision)] if member.waiting else derived


def _decide_stock(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Answer what goes to and fro between a member and the stock of a reward."""
    match fact.type:
        case facts.STOCK_ASKED:
            return decide_stock_asked(member, fact, programme, decision)
        case facts.STOCK_ANSWERED:
            return decide_stock_answered(member, fact, programme, decision)
        case facts.STOCK_RETURNED:
            return decide_stock_returned(member, fact, decision)
        case _:
            raise UnknownFactType(fact.type)


def _decide_membership(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Answer what is about who somebody is, and what staff does."""
    match fact.type:
        case facts.JOINED:
            return decide_joining(member, fact, programme, decision)
        case facts.SEGMENT:
            return decide_segment(member, fact, decision)
        case facts.LEFT:
            return decide_left(member, decision)
        case facts.PROFILE:
            return decide_profile(member, fact, decision)
        case facts.LINK | facts.MERGE:
            return decide_link(member, fact, programme, decision)
        case facts.TIER_OVERRIDE:
            return decide_override(member, fact, programme, decision)
        case facts.ADJUSTMENT:
            return decide_adjustment(member, fact, programme, decision)
        case _:
            return _decide_between(member, fact, programme, decision)


def _decide_between(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Answer what is decided in two partitions: claims, transfers, what an alias had."""
    match fact.type:
        case facts.CLAIM:
            return decide_claim(member, fact, programme, decision)
        case facts.CLAIM_ASKED:
            return decide_claim_asked(member, fact, decision)
        case facts.CLAIM_ANSWERED:
            return decide_claim_answered(fact, decision)
        case facts.ORDER_OWNED:
            return decide_order_owned(member, fact, decision)
        case facts.TRANSFER:
            return decide_transfer(member, fact, programme, decision)
        case facts.TRANSFER_OFFER:
            return decide_transfer_offer(member, fact, programme, decision)
        case facts.TRANSFER_ANSWER:
            return decide_transfer_answer(member, fact, programme, decision)
        case facts.TAKEOVER:
            return decide_takeover(member, fact, programme, decision)
        case _:
            return _decide_stock(member, fact, programme, decision)


class UnknownFactType(ValueError):
    """The facts log holds a type this engine does not know: it was written by a newer one."""
