"""What a member plays, and what a fact did to it, in words and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.ledger.member import Member
from engine.ledger.play_outlook import ChallengeSeen, badges_seen, challenges_seen, tickets_seen
from engine.ledger.played import (
    ACCEPTED,
    BADGE,
    BADGE_BY,
    CHALLENGE,
    CHALLENGE_AWARD,
    CHALLENGE_BY,
    CHALLENGE_REWARD,
    CHALLENGE_SPAN,
    CHALLENGE_TIER,
    MET_BEFORE,
    TICKETS,
    TICKETS_BY,
    TICKETS_COUNTED,
    TIER_GIVEN,
    counter_key,
)
from rules.book import Programme
from rules.values import Money
from schemas.decisions import Decision, StateChange
from schemas.times import to_text

_PLAY_WORDS: dict[str, str] = {
    CHALLENGE: "challenge {0} is {1}",
    CHALLENGE_SPAN: "challenge {0} begins and ends: {1}",
    CHALLENGE_BY: "challenge {0} was met under version, having needed: {1}",
    CHALLENGE_AWARD: "challenge {0} gave entry and points: {1}",
    CHALLENGE_REWARD: "challenge {0} gave redemption {1}",
    CHALLENGE_TIER: "challenge {0} gave tier until the end of: {1}",
    ACCEPTED: "challenge {0} is accepted",
    MET_BEFORE: "challenge {0} was met before, so many times: {1}",
    BADGE: "badge {0} is {1}",
    BADGE_BY: "badge {0} came by rule, version, lines and order: {1}",
    TICKETS: "tickets {0}: {1}",
    TICKETS_BY: "tickets {0} came by rule, version, lines and order: {1}",
    TICKETS_COUNTED: "tickets {0} count against the cap {1}",
    TIER_GIVEN: "tier {0} is given until the end of {1}",
}


def counted(decision: Decision) -> list[tuple[str, int]]:
    """Return what a fact moved of challenges: (challenge|window, by how much)."""
    begin = counter_key("")
    return [(key.removeprefix(begin), number) for key, number, *_ in decision.counters if key.startswith(begin)]


def window_words(name: str) -> str:
    """Return a window's name as one reads it: ``five (2026-W10)``."""
    challenge, _, window = name.partition("|")
    return f"{challenge} ({window})" if window else challenge


def state_words(change: StateChange) -> str | None:
    """Return a state of play in words, None for one of another kind."""
    said = _PLAY_WORDS.get(change.what)
    return None if said is None else said.format(window_words(change.id), change.state)


def play_data(member: Member, programme: Programme | None) -> dict[str, Any]:
    """Return what a member plays at the end of what is known of him; nothing where he plays nothing."""
    told: dict[str, Any] = {}
    seen = _challenges(member, programme)
    if seen:
        told["challenges"] = [
            {
                "challenge": one.plan.id,
                "window": one.window,
                "progress": one.progress,
                "need": one.plan.need,
                "met": one.met,
            }
            for one in seen
        ]
    if badges := badges_seen(member, programme):
        told["badges"] = [{"badge": one.badge, "since": to_text(one.since_us), "by": one.rule} for one in badges]
    if tickets := tickets_seen(member, programme):
        told["tickets"] = {one.raffle: list(one.tickets) for one in tickets}
    return told


def play_lines(member: Member, programme: Programme | None) -> Iterator[str]:
    """Yield what a member plays, a line each."""
    for one in _challenges(member, programme):
        progress, need = one.progress, one.plan.need
        far = (
            f"{Money(progress, _currency(programme))} of {Money(need, _currency(programme))}"
            if one.plan.money
            else f"{progress} of {need}"
        )
        until = "" if one.ends_us is None else f", until {to_text(one.ends_us)}"
        yield f"challenge {one.plan.id}: {far}{until}{', met' if one.met else ''}"
    for badge in badges_seen(member, programme):
        yield f"badge {badge.badge}, since {to_text(badge.since_us)}, by {badge.rule}"
    for held in tickets_seen(member, programme):
        yield f"{len(held.tickets)} ticket{'' if len(held.tickets) == 1 else 's'} of {held.raffle}"


def _challenges(member: Member, programme: Programme | None) -> list[ChallengeSeen]:
    """Those that are under way for him, at his newest moment."""
    if programme is None:
        return []
    seen = challenges_seen(member, programme, member.now_us(member.newest_us or 0))
    return [one for one in seen if one.window is not None and (one.accepted or one.progress)]


def _currency(programme: Programme | None) -> str:
    return "" if programme is None else programme.currency
