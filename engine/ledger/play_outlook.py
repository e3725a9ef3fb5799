"""What a member plays, told to people: how far he is in each challenge, his badges, his tickets."""

from __future__ import annotations

from typing import NamedTuple

from engine.ledger.member import Member
from engine.ledger.orders import day_text
from engine.ledger.played import (
    ACCEPTED,
    BADGE,
    CHALLENGE,
    MET,
    TICKETS,
    Played,
    counter_key,
    record,
    times_met,
    window_name,
    windows_of,
)
from engine.ledger.windows import own_window
from rules.book import ChallengePlan, Programme
from rules.local_time import day_date, end_of, local_day, midnight_us, window_label

_WEEK = 7


class ChallengeSeen(NamedTuple):
    """How far a member is in the window of a challenge that is open at a moment.

    Attributes:
        window: its label; None where none has begun for him.
        progress: facts that counted, or minor units.
        met_times: how often he met the challenge in all its windows.
        ends_us: when the window is over, exclusive; None where none has begun.
        accepted: he has taken it, or nobody has to.
    """

    plan: ChallengePlan
    window: str | None
    progress: int
    met: bool
    met_times: int
    ends_us: int | None
    accepted: bool


class BadgeSeen(NamedTuple):
    """A badge that a member has; ``label`` is its id where the programme does not know it any more."""

    badge: str
    label: str
    since_us: int
    rule: str


class TicketsSeen(NamedTuple):
    """Valid tickets of one raffle, by name as in the table `raffle_tickets`."""

    raffle: str
    label: str
    tickets: tuple[str, ...]


def challenges_seen(member: Member, programme: Programme, now_us: int) -> list[ChallengeSeen]:
    """Return the challenges that are open to a member at a moment, by id; those that only something else begins once it did."""
    plans = {plan.id: plan for some in programme.challenges.values() for plan in some}
    found = [_seen(member, programme, plans[name], now_us) for name in sorted(plans)]
    return [seen for seen in found if seen is not None]


def _seen(member: Member, programme: Programme, plan: ChallengePlan, now_us: int) -> ChallengeSeen | None:
    accepted = not plan.opt_in or record(ACCEPTED, plan.id) in member.played
    window, ends_us = _open_window(member, programme, plan, now_us)
    often = times_met(member.played, plan.id)
    if window is None:
        begins_by_itself = plan.begins in ("first_match", "accepted") and (plan.times is None or often < plan.times)
        if not begins_by_itself:
            return None
        return ChallengeSeen(plan, None, 0, False, often, None, plan.begins == "first_match")
    name = window_name(plan.id, window)
    found = member.played.get(record(CHALLENGE, name))
    met = found is not None and found.state == MET
    return ChallengeSeen(plan, window, member.counted(counter_key(name))[0], met, often, ends_us, accepted)


def _open_window(
    member: Member, programme: Programme, plan: ChallengePlan, now_us: int
) -> tuple[str | None, int | None]:
    zone = programme.time_zone
    if plan.every is not None:
        day = local_day(now_us, zone)
        return window_label(day, plan.every), midnight_us(_last_day(day, plan.every) + 1, zone)
    if plan.from_us is not None and plan.until_us is not None:
        if not plan.from_us <= now_us < plan.until_us:
            return None, None
        return day_text(local_day(plan.from_us, zone)), plan.until_us
    label = own_window(member, now_us, plan)
    ends = [found.ends_us for other, found in windows_of(member.played, plan.id) if other == label]
    return label, ends[0] if ends else None


def _last_day(day: int, every: str) -> int:
    if every == "day":
        return day
    return day + _WEEK - day_date(day).isoweekday() if every == "week" else end_of(day, every)


def badges_seen(member: Member, programme: Programme | None) -> list[BadgeSeen]:
    """Return the badges that a member has, by id."""
    plans = {} if programme is None else programme.badges
    return [
        BadgeSeen(name, plans[name].label if name in plans else name, found.at_us, found.rule)
        for name, found in _of_kind(member, BADGE)
    ]


def tickets_seen(member: Member, programme: Programme | None) -> list[TicketsSeen]:
    """Return a member's valid tickets, by raffle."""
    plans = {} if programme is None else programme.raffles
    names: dict[str, list[str]] = {}
    for name, found in _of_kind(member, TICKETS):
        names.setdefault(found.state, []).extend(ticket_names(name, found.number))
    return [
        TicketsSeen(raffle, plans[raffle].label if raffle in plans else raffle, tuple(names[raffle]))
        for raffle in sorted(names)
    ]


def ticket_names(given: str, number: int) -> list[str]:
    """Return the names of tickets that came together, as the table `raffle_tickets` has them."""
    return [f"{given}-{place:04d}" for place in range(1, number + 1)]


def _of_kind(member: Member, kind: str) -> list[tuple[str, Played]]:
    begin = record(kind, "")
    return sorted((name.removeprefix(begin), found) for name, found in member.played.items() if name.startswith(begin))
