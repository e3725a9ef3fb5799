"""What a moment gives and says, whoever brought it: a fact, a tier that changed, or time.

A moment that time brings stands in the decision as a state: that it came, or why it did not come to anything; so it never comes
twice. Points of a moment on a purchase are points of that order: they go back with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.caps import Share, cap_left, capped
from engine.ledger.earning import entry_ids, make_entry, member_number
from engine.ledger.giving import give
from engine.ledger.member import CODE, GIVEN, Member, order_ref
from engine.ledger.notices import Why, amount_text, length_text, make_notice
from engine.ledger.orders import day_text
from engine.ledger.prizes import give_tier
from engine.ledger.windows import offer
from rules.book import Moment, Programme
from rules.local_time import local_day
from schemas import facts
from schemas.decisions import Decision, Note, StateChange, TierChange
from schemas.envelope import Fact
from schemas.money import allot
from schemas.notices import EffectForm, Suppressed

#: How a moment ended.
CAME, NOT_MET, HELD_OUT, CAPPED = "came", "not_met", "held_out", "capped"


def come(
    member: Member, moment: Moment, fact: Fact, programme: Programme, why: Why, decision: Decision
) -> tuple[str, list[Fact]]:
    """Add to ``decision`` what a moment gives and says.

    Args:
        member: as he stood before the fact; not changed.
        fact: what brought it, or stands for the timer that did.
        programme: the version of the moment.
        why: it came.
        decision: so far.

    Returns:
        How it ended, and facts that follow for others.

    Raises:
        ProfileClosed: a condition, or consent, cannot be read here.
    """
    lines = moment.lines(member, fact, programme)
    if not lines:
        return NOT_MET, []
    if moment.hold_out is not None and member_number(member.key, moment.id) < moment.hold_out:
        note = Note("hold_out", moment.id, f"this member is one of {moment.hold_out_text} who are held out")
        return HELD_OUT, _leave_out(member, moment, fact, programme, why, decision, "held_out", note)
    points = moment.points
    if moment.cap is not None:
        key, left = cap_left(member, fact, programme, moment.id, moment.cap)
        if left == 0:
            note = capped(moment.id, moment.cap, max(1, points), 0)
            return CAPPED, _leave_out(member, moment, fact, programme, why, decision, "capped", note)
        if left is not None and left < points:
            decision.notes = [*decision.notes, capped(moment.id, moment.cap, points, left)]
            points = left
        decision.counts = [*decision.counts, (key, points, 1)]
    effects, follows = _give(member, moment, points, lines, fact, programme, decision)
    if moment.notice is not None:
        notice = make_notice(member, moment, moment.notice, fact, programme, why, decision, effects)
        decision.notices = [*decision.notices, notice]
    return CAME, follows


def _leave_out(
    member: Member,
    moment: Moment,
    fact: Fact,
    programme: Programme,
    why: Why,
    decision: Decision,
    suppressed: Suppressed,
    note: Note,
) -> list[Fact]:
    decision.notes = [*decision.notes, note]
    if moment.notice is not None:
        notice = make_notice(member, moment, moment.notice, fact, programme, why, decision, (), suppressed)
        decision.notices = [*decision.notices, notice]
    return []


def _give(
    member: Member,
    moment: Moment,
    points: int,
    lines: Sequence[int],
    fact: Fact,
    programme: Programme,
    decision: Decision,
) -> tuple[list[EffectForm], list[Fact]]:
    effects: list[EffectForm] = []
    follows: list[Fact] = []
    if points:
        effects.append(_award(member, moment, points, lines, fact, programme, decision))
    if moment.gift is not None:
        before = len(decision.states)
        order = order_ref(fact.data) if fact.type == facts.PURCHASE else None
        follows = give(member, fact, programme, [(moment.gift, tuple(lines))], decision, order)
        effects += _reward(decision.states[before:], moment.gift.reward or "")
    challenge = None if moment.offers is None else programme.challenge(moment.offers)
    if challenge is not None:
        offer(member, fact, challenge, decision)
    if moment.tier is not None:
        until = give_tier(member, fact, programme, moment.tier, moment.id, decision)
        if until is not None:
            effects.append({"kind": "tier", "tier": moment.tier.level, "until": until})
    return effects, follows


def _award(
    member: Member,
    moment: Moment,
    points: int,
    lines: Sequence[int],
    fact: Fact,
    programme: Programme,
    decision: Decision,
) -> EffectForm:
    share, order = Share(moment.id, None, points), None
    if fact.type == facts.PURCHASE:
        order = order_ref(fact.data)
        weights = [fact.data["lines"][line]["amount_minor"] for line in lines]
        if sum(weights):
            share = Share(moment.id, None, points, lines, allot(points, weights))
            _count_progress(points, fact, programme, decision)
    entry = make_entry(member, fact, programme, share, order, entry_ids(member, fact))
    decision.entries = [*decision.entries, entry]
    return {"kind": "points", "points": points, "entry_id": entry.entry_id}


def _count_progress(points: int, fact: Fact, programme: Programme, decision: Decision) -> None:
    """Where earned points count towards tiers, those of an order count, and go back with it."""
    if programme.tiers is None or programme.tiers.by != "points":
        return
    day = day_text(local_day(fact.time_us, programme.time_zone))
    before = sum([amount for _, amount in decision.progress])
    decision.progress = [(day, before + points)]


def _reward(states: Sequence[StateChange], reward: str) -> list[EffectForm]:
    effects: list[EffectForm] = [
        {"kind": "reward", "reward": reward, "redemption": state.id} for state in states if state.what == GIVEN
    ]
    for effect in effects:
        for state in states:
            if state.what == CODE and state.id == effect["redemption"]:
                effect["code"] = state.state
    return effects


def on_fact(member: Member, fact: Fact, programme: Programme, decision: Decision) -> list[Fact]:
    """Add to ``decision`` what the moments give that a fact brings at once; return facts that follow for others."""
    plan = programme.moments
    if plan is None or decision.reason is not None:
        return []
    word = facts.SHORT_NAMES[fact.type]
    return [
        follows
        for moment in plan.on.get(word, ())
        if (why := _why(member, moment, word, fact)) is not None
        for follows in come(member, moment, fact, programme, why, decision)[1]
    ]


def _why(member: Member, moment: Moment, word: str, fact: Fact) -> Why | None:
    """Return why a fact brings a moment, None where it does not."""
    if moment.word == "spent":
        return _spent(member, moment, fact)
    if moment.word == "segment_entered":
        segment = fact.data["segment"]
        if not fact.data["entered"] or segment not in moment.segments or member.in_segment(segment):
            return None
        return Why(f"entered segment {segment}", {"segment": segment})
    name = fact.data["name"] if word == "activity" else word
    return Why(f"{name}", {"fact": name})


def _spent(member: Member, moment: Moment, fact: Fact) -> Why | None:
    """It is the purchase with which the sum is reached: before it, in the same stretch of time, it was not."""
    data: facts.PurchaseForm = fact.data
    before = member.spent_between(fact.time_us - moment.within_us, fact.time_us, data["currency"])
    spent = before + data["total_minor"]
    if before >= moment.at_least or spent < moment.at_least:
        return None
    length = length_text(moment.within_us)
    return Why(
        f"{amount_text(spent, data['currency'])} spent within {length}", {"spent_minor": spent, "within": length}
    )


def on_tier(member: Member, change: TierChange, fact: Fact, programme: Programme, decision: Decision) -> list[Fact]:
    """Add to ``decision`` what another tier brings; a first tier that is the base is no change."""
    plan, tiers = programme.moments, programme.tiers
    if plan is None or tiers is None or not plan.tier_changed:
        return []
    before, after = tiers.height_of(change.previous or "") or 0, tiers.height_of(change.tier) or 0
    if before == after:
        return []
    way = "up" if after > before else "down"
    why = Why(
        f"{way} from {tiers.levels[before].id} to {change.tier}", {"from": tiers.levels[before].id, "to": change.tier}
    )
    follows: list[Fact] = []
    for moment in plan.tier_changed:
        if (moment.way is None or moment.way == way) and (moment.levels is None or change.tier in moment.levels):
            follows += come(member, moment, fact, programme, why, decision)[1]
    return follows
