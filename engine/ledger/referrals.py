"""One member brought another: who may, when it pays, and how the other side hears of it.

The referred member's decision carries his own award and a derived fact for the referrer, decided in the referrer's order.
The derived fact is written whenever the moment has come, also where the referrer gets nothing, so that both states know.
"""

from __future__ import annotations

from engine.ledger.activities import decide_earning
from engine.ledger.caps import Share, cap_left, capped
from engine.ledger.earning import entry_ids, make_entry
from engine.ledger.following import follow
from engine.ledger.joining import bar, decide_joined
from engine.ledger.member import Member
from rules.book import Programme, ReferAward
from schemas import facts
from schemas.decisions import Decision, Note
from schemas.envelope import REFERRAL_SOURCE, Fact
from schemas.ids import hash_id

REFERRED = "refer:referred"
REFERRER = "refer:referrer"


def decide_referral(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with what a referral moves now; return the fact for the referrer where it pays at once."""
    referrer: str = fact.data["referrer"]
    decision.reason = _refusal(member, referrer)
    if decision.reason is not None:
        return []
    if programme is None:
        return []
    why = bar(member, fact, programme)
    if why is not None:  # who brought whom is remembered, whichever of joining and referral is told first
        decision.notes = [Note(why, None, "a referral earns nothing before its member has joined, or after he left")]
        return []
    derived = decide_earning(member, fact, programme, decision)
    plan = programme.refer
    if plan is None or not (plan.moment == "referral" or (plan.moment == "joined" and member.joined_said)):
        return derived
    return [*derived, *_award(member, fact, programme, referrer, decision)]


def _refusal(member: Member, referrer: str) -> str | None:
    if referrer == member.key or referrer in member.aliases:
        return "self_referral"
    if member.referral is not None:
        return "already_referred"
    if member.orders_counted:
        return "not_a_new_member"
    if referrer in member.brought:
        return "referral_loop"
    return None


def award_purchase(member: Member, fact: Fact, programme: Programme, decision: Decision) -> list[Fact]:
    """Add the referral's awards to a purchase if this is the one they waited for, or one of those that are awarded."""
    referral, plan = member.referral, programme.refer
    if referral is None or plan is None:
        return []
    if plan.moment != "every_purchase" and (plan.moment != "first_purchase" or not referral.open):
        return []
    if fact.data["total_minor"] < plan.at_least_minor:
        return []
    if fact.time_us < referral.at_us:  # it came late: an order from before the referral was not brought by it
        return []
    if plan.within_us is not None and fact.time_us > referral.at_us + plan.within_us:
        return []
    return _award(member, fact, programme, referral.referrer, decision)


def _award(member: Member, fact: Fact, programme: Programme, referrer: str, decision: Decision) -> list[Fact]:
    plan = programme.refer
    assert plan is not None
    cause_entry = _grant(member, fact, programme, REFERRED, plan.referred, None, decision)
    data: facts.ReferralAwardForm = {
        "referred": member.key,
        "cause_source": fact.source,
        "cause_id": fact.id,
        "cause_entry": cause_entry,
    }
    fact_id = hash_id(fact.source, fact.id, member.key, REFERRER)
    kind = facts.REFERRAL_AWARD
    return [follow(decision, fact, referrer, source=REFERRAL_SOURCE, fact_id=fact_id, kind=kind, data=data)]


def decide_joining(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with what joining moves, the awards of a referral that waited for it included."""
    derived = decide_joined(member, fact, programme, decision)
    referral = member.referral
    if decision.reason is not None or programme is None or referral is None or not referral.open:
        return derived
    if programme.refer is None or programme.refer.moment != "joined":
        return derived
    return [*derived, *_award(member, fact, programme, referral.referrer, decision)]


def decide_referral_award(member: Member, fact: Fact, programme: Programme | None, decision: Decision) -> list[Fact]:
    """Fill ``decision`` with the referrer's award."""
    if programme is None:
        decision.reason = "no_programme"
    elif programme.refer is not None:
        _grant(member, fact, programme, REFERRER, programme.refer.referrer, fact.data["cause_entry"], decision)
    return []


def _grant(
    member: Member,
    fact: Fact,
    programme: Programme,
    rule_id: str,
    award: ReferAward | None,
    caused_by: str | None,
    decision: Decision,
) -> str | None:
    """Add one side's award, clipped by its cap, and return the entry's id."""
    if award is None or award.points == 0:
        return None
    points = award.points
    if award.cap is not None:
        key, left = cap_left(member, fact, programme, rule_id, award.cap)
        points = points if left is None else min(points, left)
        if points < award.points:
            decision.notes = [*decision.notes, capped(rule_id, award.cap, award.points, points)]
        if points:
            decision.counts = [*decision.counts, (key, points, 1)]
    if points == 0:
        return None
    entry = make_entry(member, fact, programme, Share(rule_id, None, points), None, entry_ids(member, fact))
    entry.caused_by = caused_by
    decision.entries = [*decision.entries, entry]
    return entry.entry_id
