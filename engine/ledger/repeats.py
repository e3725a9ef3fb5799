"""Facts that are no news, and facts that come too late to tell whether they are."""

from __future__ import annotations

from engine.ledger.history import ANY_BODY
from engine.ledger.member import DEDUPE_HORIZON_US, Member
from engine.ledger.redemptions import redemption_name
from rules.book import Programme
from schemas import facts
from schemas.decisions import Decision, Note
from schemas.envelope import CLAIM_SOURCE, Fact
from schemas.rejects import Rejected
from schemas.times import DAY_US


def repeated_or_late(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> Rejected | None:
    """Set the outcome of a fact that is no news or comes too late; the horizon counts back from the member's newest fact."""
    newest_us = member.newest_us
    if newest_us is None:
        return None
    horizon_us = newest_us - DEDUPE_HORIZON_US
    seen = member.history.seen(fact.source, fact.id)
    if seen is not None and seen[1] >= horizon_us:
        return answer_again(fact, seen[0], decision)
    if fact.time_us < horizon_us and not _second_half(fact):
        days = DEDUPE_HORIZON_US // DAY_US
        text = f"{fact.time} is more than {days} days before this member's newest fact"
        reject = Rejected("too_late_to_deduplicate", text, "time")
    elif (
        programme is not None
        and programme.late_limit_us is not None
        and fact.time_us < newest_us - programme.late_limit_us
        and not _second_half(fact)
    ):
        reject = Rejected("too_late", f"{fact.time} is later than this programme accepts", "time")
    else:
        return None
    return refuse(decision, reject)


def used_before(member: Member, fact: Fact, decision: Decision) -> Rejected | None:
    """Refuse a fact whose source and id were used by one that lies behind the horizon, as long as what that one brought is known
    here by the same name: its points, its order's points, its redemption. Else two things would have one name.

    Args:
        member: as he stood before the fact.
        decision: with what the fact would move.
    """
    match fact.type:
        case facts.PURCHASE:
            known = member.history.had_order_of(fact.source, fact.id)
        case facts.REDEMPTION:
            known = redemption_name(fact.source, fact.id) in member.spent
        case _:
            known = False
    if not known and not _brings_known(member, decision):
        return None
    text = "this source used this id for another event, and what it brought is still known: give every event its own id"
    return Rejected("id_reused", text, "id")


def _brings_known(member: Member, decision: Decision) -> bool:
    return any(entry.points > 0 and entry.entry_id in member.lots_apart for entry in decision.entries)


def answer_again(fact: Fact, body: str, decision: Decision) -> Rejected | None:
    """Answer a fact whose source and id were seen before, with that ``body`` (the beginning of its hash, or `ANY_BODY`)."""
    if fact.body_hash.startswith(body) or body == ANY_BODY:
        decision.outcome = "duplicate"
        return None
    text = "this source used this id for another event: give every event its own id"
    return refuse(decision, Rejected("id_reused", text, "id"))


def refuse(decision: Decision, reject: Rejected) -> Rejected:
    """Set the outcome of a fact that is refused at the door of its partition."""
    decision.outcome, decision.reason = "rejected", reject.reason
    decision.notes = [Note(reject.reason, None, reject.message)]
    return reject


def _second_half(fact: Fact) -> bool:
    """Tell whether a fact follows from one that was decided already: then it is taken, however late it comes."""
    return fact.type in facts.NEVER_LATE or fact.source == CLAIM_SOURCE
