"""Badges, tickets of raffles, and tiers for some time: what rules and challenges give that is neither points nor a reward.

Each knows what it came with: it goes back when all of that came back, as the programme says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.ledger.member import Member
from engine.ledger.orders import day_number, day_text
from engine.ledger.played import (
    BADGE,
    BADGE_BY,
    EARNED,
    ENDED,
    TICKETS,
    TICKETS_BY,
    TICKETS_COUNTED,
    TIER_GIVEN,
    VOID,
    WITHDRAWN,
    Played,
    record,
)
from engine.ledger.returns import OrderLines, note
from rules.book import Book, GivenTierPlan, Programme, TicketPlan
from rules.local_time import local_day
from schemas.decisions import Decision, Note, StateChange
from schemas.envelope import Fact
from schemas.ids import hash_id


def say(member: Member, fact: Fact, decision: Decision, *said: tuple[str, str, str]) -> None:
    """Add states to a decision: (kind, name, state) each."""
    states = [StateChange(member.key, what, name, state, fact.source, fact.id, fact.time) for what, name, state in said]
    decision.states = [*decision.states, *states]


class CameWith(NamedTuple):
    """What a badge or tickets came with.

    Attributes:
        rule, version: what gave it.
        origin: name of the order, or of the window of a challenge; empty for another fact.
        lines: of the order, from 1; none: all.
        counted: the cap key that counted it, empty without a cap.
    """

    rule: str
    version: int
    origin: str = ""
    lines: Sequence[int] = ()
    counted: str = ""

    @property
    def text(self) -> str:
        """What a state says of it."""
        return f"{self.rule} {self.version} -{','.join(map(str, self.lines))} {self.origin}"


def give_badge(member: Member, fact: Fact, badge: str, came: CameWith, decision: Decision) -> bool:
    """Give a badge that the member does not have yet; return whether he got it."""
    now = [change for change in decision.states if change.what == BADGE and change.id == badge]
    if record(BADGE, badge) in member.played or now:
        return False
    say(member, fact, decision, (BADGE, badge, EARNED), (BADGE_BY, badge, came.text))
    return True


def give_tickets(
    member: Member, fact: Fact, programme: Programme, plan: TicketPlan, came: CameWith, decision: Decision
) -> bool:
    """Give tickets of a raffle for a fact of its time; return whether there were any."""
    raffle = programme.raffles[plan.raffle]
    if not raffle.from_us <= fact.time_us < raffle.until_us:
        text = f"tickets of {raffle.id} are for facts of its time: this is none"
        decision.notes = [*decision.notes, Note("raffle_closed", came.rule, text)]
        return False
    name = hash_id(fact.source, fact.id, member.key, TICKETS, raffle.id, came.rule, str(came.version))
    say(member, fact, decision, (TICKETS, name, f"{plan.tickets} {raffle.id}"), (TICKETS_BY, name, came.text))
    if came.counted:
        say(member, fact, decision, (TICKETS_COUNTED, name, came.counted))
    return True


def give_tier(
    member: Member, fact: Fact, programme: Programme, plan: GivenTierPlan, rule: str, decision: Decision
) -> str | None:
    """Give a level for some time; return until which local day.

    One that the member was given before stays if it is higher, or lasts longer: None then, and the decision says so.
    """
    assert programme.tiers is not None
    today = local_day(member.now_us(fact.time_us), programme.time_zone)
    until, now = plan.last_day(today), member.override
    if now is not None and now.until_day >= today:
        height = programme.tiers.height_of(now.tier) or 0
        given = programme.tiers.height_of(plan.level) or 0
        if height > given or (height == given and now.until_day >= until):
            text = f"{now.tier} until {day_text(now.until_day)} stays: it is not less than {plan.level}"
            decision.notes = [*decision.notes, Note("tier_kept", rule, text)]
            return None
    day = day_text(until)
    say(member, fact, decision, (TIER_GIVEN, plan.level, day))
    return day


def end_tier(member: Member, fact: Fact, tier: str, day: str, decision: Decision) -> None:
    """End a level that was given until a day, if it is still the one that the member was given last."""
    now = member.override
    if now is not None and now.tier == tier and now.until_day == day_number(day):
        say(member, fact, decision, (TIER_GIVEN, tier, ENDED))


def withdraw_prizes(member: Member, fact: Fact, order: str, lines: OrderLines, decision: Decision, book: Book) -> None:
    """Take back the badges and tickets that an order brought of which nothing is left now.

    Args:
        fact: the refund.
        order: name of the order.
        lines: what came back of it, this refund included.
    """
    for name, found in member.played.items():
        if found.origin != order:
            continue
        numbers = tuple([int(number) for number in found.lines.split(",") if number])
        before, now, whole = lines.parts(numbers)
        if now >= whole and before < whole:
            take_away(member, fact, name, found, decision, book)


def take_away(member: Member, fact: Fact, name: str, found: Played, decision: Decision, book: Book) -> None:
    """Take a badge back, unless it is one to keep, or make tickets void."""
    kind, _, own = name.partition("|")
    if kind == TICKETS:
        say(member, fact, decision, (TICKETS, own, VOID))
        if found.counted:
            decision.counts = [*decision.counts, (found.counted, 0, -1)]
        note(decision, "tickets_void", f"{found.number} of {found.state}: what they came with was returned")
    elif kind == BADGE and not _kept(own, found, book):
        say(member, fact, decision, (BADGE, own, WITHDRAWN))
        note(decision, "badge_withdrawn", f"{own}: what it came with was returned")


def _kept(badge: str, found: Played, book: Book) -> bool:
    programme = book.of_number(found.version)
    plan = None if programme is None else programme.badges.get(badge)
    return plan is not None and plan.keep
