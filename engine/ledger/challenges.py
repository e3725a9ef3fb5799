"""Challenges: so many matching facts, or so much money, within a window; then what the programme gives for it.

A window of the calendar is what its dates say, for everybody. One with a beginning of its own begins with the first fact that
counts, with the member's acceptance, a segment or an offer; two of one challenge never overlap, so a late fact before one
begins one that ends where that begins. A fact counts into the window of its own time, whenever it is told, also while the window
is met already: what is returned later is then made up for by what was bought beside it.

Progress is a counter of the member's. An order that comes back moves it back; where a window is then not met any more, what it
gave goes back with it, unless the programme says `when_returned: keep`.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.ledger.caps import Share
from engine.ledger.debt import Purse, taken_back
from engine.ledger.earning import entry_ids, make_entry
from engine.ledger.fold import take_in
from engine.ledger.giving import give_reward, take_back_reward
from engine.ledger.member import Member
from engine.ledger.moved import Moved
from engine.ledger.notices import Why, make_notice
from engine.ledger.orders import day_text
from engine.ledger.played import (
    ACCEPTED,
    CHALLENGE,
    CHALLENGE_AWARD,
    CHALLENGE_BY,
    CHALLENGE_REWARD,
    CHALLENGE_TIER,
    MET,
    UNMET,
    Played,
    counter_key,
    record,
    times_met,
    window_name,
)
from engine.ledger.prizes import (
    CameWith,
    end_tier,
    give_badge,
    give_tickets,
    give_tier,
    say,
    take_away,
    withdraw_prizes,
)
from engine.ledger.returns import OrderLines, note
from engine.ledger.windows import begin, offer, own_window
from rules.book import Book, ChallengePlan, Moment, Programme
from rules.local_time import local_day, window_label
from schemas import facts
from schemas.decisions import Decision
from schemas.envelope import Fact
from schemas.notices import EffectForm

#: The activity by which a member takes a challenge, and the attribute that names it.
ACCEPTANCE, OF_CHALLENGE = "challenge_accepted", "challenge"
#: The moment that a notice of a challenge names.
MET_WORD = "challenge_met"


def play(member: Member, fact: Fact, programme: Programme, decision: Decision) -> list[Fact]:
    """Add to ``decision`` what a fact does to the challenges of its member; return facts that follow for others.

    Args:
        member: as he stood before the fact.
        decision: on it, complete but for this and the review of the tier.
    """
    if decision.reason is not None or member.anonymous:
        return []
    on = facts.SHORT_NAMES[fact.type]
    for plan in programme.begun_by.get(on, ()):
        _begin_by(member, fact, plan, decision)
    return [
        asked for plan in programme.challenges.get(on, ()) for asked in _count(member, fact, programme, plan, decision)
    ]


def _begin_by(member: Member, fact: Fact, plan: ChallengePlan, decision: Decision) -> None:
    if plan.begins == "segment":
        if fact.data["entered"] and fact.data["segment"] == plan.segment:
            offer(member, fact, plan, decision)
        return
    if fact.data["name"] != ACCEPTANCE or fact.data["attributes"].get(OF_CHALLENGE) != plan.id:
        return
    if plan.begins == "accepted":
        offer(member, fact, plan, decision)
    else:
        say(member, fact, decision, (ACCEPTED, plan.id, ACCEPTED))


def _window(member: Member, fact: Fact, programme: Programme, plan: ChallengePlan, decision: Decision) -> str | None:
    """Return the label of the window into which a fact counts, None for none; its own may begin with it."""
    if plan.every is not None:
        return window_label(local_day(fact.time_us, programme.time_zone), plan.every)
    if plan.from_us is not None and plan.until_us is not None:
        inside = plan.from_us <= fact.time_us < plan.until_us
        return day_text(local_day(plan.from_us, programme.time_zone)) if inside else None
    label = own_window(member, fact.time_us, plan)
    if label is None and plan.begins == "first_match":
        return begin(member, fact, plan, decision)
    return label


def _count(member: Member, fact: Fact, programme: Programme, plan: ChallengePlan, decision: Decision) -> list[Fact]:
    lines = plan.lines(member, fact, programme)
    if not lines:
        return []
    if plan.opt_in:
        accepted = member.played.get(record(ACCEPTED, plan.id))
        if accepted is None or fact.time_us < accepted.at_us:
            return []
    amount = sum([fact.data["lines"][line]["amount_minor"] for line in lines]) if plan.money else 1
    if amount <= 0:
        return []
    label = _window(member, fact, programme, plan, decision)
    if label is None:
        return []
    name = window_name(plan.id, label)
    key = counter_key(name)
    all_lines = fact.type != facts.PURCHASE or len(lines) == len(fact.data["lines"])
    numbers = [] if all_lines else [line + 1 for line in lines]
    decision.counters = [*decision.counters, (key, amount, 0, numbers)]
    window = member.played.get(record(CHALLENGE, name))
    if (window is not None and window.state == MET) or member.counted(key)[0] + amount < plan.need:
        return []
    if plan.times is not None and times_met(member.played, plan.id) >= plan.times:
        return []
    return _meet(member, fact, programme, plan, name, decision)


def _meet(
    member: Member, fact: Fact, programme: Programme, plan: ChallengePlan, name: str, decision: Decision
) -> list[Fact]:
    """Give what a challenge gives."""
    rule = plan.rule_id
    say(member, fact, decision, (CHALLENGE, name, MET), (CHALLENGE_BY, name, f"{programme.version} {plan.need}"))
    asked: list[Fact] = []
    effects: list[EffectForm] = []
    if plan.points:
        entry = make_entry(member, fact, programme, Share(rule, None, plan.points), None, entry_ids(member, fact))
        decision.entries = [*decision.entries, entry]
        say(member, fact, decision, (CHALLENGE_AWARD, name, f"{entry.entry_id} {plan.points}"))
        effects.append({"kind": "points", "points": plan.points, "entry_id": entry.entry_id})
    if plan.reward is not None:
        redemption, asked = give_reward(member, fact, programme, plan.reward, rule, decision)
        if redemption is not None:
            say(member, fact, decision, (CHALLENGE_REWARD, name, redemption))
            effects.append({"kind": "reward", "reward": plan.reward, "redemption": redemption})
    came = CameWith(rule, programme.version, record(CHALLENGE, name))
    if plan.badge is not None:
        give_badge(member, fact, plan.badge, came, decision)
    if plan.tickets is not None:
        give_tickets(member, fact, programme, plan.tickets, came, decision)
    if plan.tier is not None and programme.tiers is not None:
        day = give_tier(member, fact, programme, plan.tier, rule, decision)
        if day is not None:
            say(member, fact, decision, (CHALLENGE_TIER, name, f"{plan.tier.level} {day}"))
            effects.append({"kind": "tier", "tier": plan.tier.level, "until": day})
    if plan.notice is not None:
        why = Why(f"challenge {plan.id} is met", {"challenge": plan.id, "need": plan.need})
        told = Moment(rule, MET_WORD, plan.lines, notice=plan.notice)
        notice = make_notice(member, told, plan.notice, fact, programme, why, decision, effects)
        decision.notices = [*decision.notices, notice]
    return asked


# ---- goods come back ----


def take_play_back(
    member: Member, fact: Fact, order: str, lines: OrderLines, decision: Decision, book: Book
) -> list[Fact]:
    """Take back what an order brought in play, and what challenges gave that are not met any more.

    Args:
        member: as he stood before the refund.
        fact: the refund.
        order: name of the order.
        lines: what came back of it, this refund included.
        decision: on the refund, with what it moves of counters.

    Returns:
        What goes back to stocks.
    """
    withdraw_prizes(member, fact, order, lines, decision, book)
    moved: dict[str, int] = {}
    for key, number, *_ in decision.counters:
        moved[key] = moved.get(key, 0) + number
    returned: list[Fact] = []
    for key, number in moved.items():
        name = key.removeprefix(f"{CHALLENGE} ")
        window = member.played.get(record(CHALLENGE, name))
        if window is None or counter_key(name) != key or window.state != MET:
            continue
        if member.counted(key)[0] + number < window.number and not _kept(name, window, book):
            returned += _undo(member, fact, name, window, decision, book)
    return returned


def _kept(name: str, window: Played, book: Book) -> bool:
    programme = book.of_number(window.version)
    plan = None if programme is None else programme.challenge(name.partition("|")[0])
    return plan is not None and plan.keep


def _undo(member: Member, fact: Fact, name: str, window: Played, decision: Decision, book: Book) -> Sequence[Fact]:
    """Take back what a window gave."""
    challenge = name.partition("|")[0]
    say(member, fact, decision, (CHALLENGE, name, UNMET))
    note(decision, "challenge_unmet", f"{challenge} is not met any more: what it gave is taken back")
    if window.award:
        _claw_back(member, fact, challenge, window, decision, book)
    origin = record(CHALLENGE, name)
    for prize, found in member.played.items():
        if found.origin == origin:
            take_away(member, fact, prize, found, decision, book)
    if window.tier:
        end_tier(member, fact, window.tier, window.tier_day, decision)
    return take_back_reward(member, fact, window.reward, decision) if window.reward else ()


def _claw_back(member: Member, fact: Fact, challenge: str, window: Played, decision: Decision, book: Book) -> None:
    lot = member.lots_apart.get(window.award)
    due = 0 if lot is None else window.points - lot.gone
    if lot is None or due <= 0:
        return
    now = member.fork()
    take_in(now, Moved(entries=list(decision.entries)))  # what is taken already cannot be taken a second time
    purse = Purse(now, [now.lots_apart[lot.id]], book.at(fact.time_us), member.now_us(fact.time_us))
    ((burns, owed),) = purse.take([(lot.id, due)])
    points = owed + sum([part for _, part in burns])
    if points:
        entry = taken_back(member, fact, (lot.id, f"challenge:{challenge}", window.version), points, burns)
        decision.entries = [*decision.entries, entry]
    if points < due:
        note(decision, "not_taken", f"{due - points} points of {challenge} were spent already: they are not taken back")
