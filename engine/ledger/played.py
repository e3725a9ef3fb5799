"""What a member's play is made of: challenges that he began or met, badges, tickets; and how decisions move it.

Everything has a name and one record. What gave it (an order, or a challenge's window) is in the record, so that it is found again
when that comes back. Progress of challenges is no record: it is a counter, which orders that come back move back by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from schemas.decisions import StateChange
from schemas.times import to_text, to_us

#: Names of states. Of a challenge's window: ``<challenge>|<window>``; of its words `MET`, `UNMET`, and when it began and ends.
CHALLENGE, CHALLENGE_SPAN, CHALLENGE_BY = "challenge", "challenge_span", "challenge_by"
#: What a challenge that was met gave: entry and points, a redemption, a tier until a day.
CHALLENGE_AWARD, CHALLENGE_REWARD, CHALLENGE_TIER = "challenge_award", "challenge_reward", "challenge_tier"
#: When a member accepted a challenge whose windows are in the calendar.
ACCEPTED = "challenge_accepted"
#: A badge by its id, tickets by the id of what gave them: so many of a raffle; and where each came from.
BADGE, BADGE_BY, TICKETS, TICKETS_BY = "badge", "badge_by", "raffle_tickets", "raffle_tickets_by"
#: The cap key that counted tickets.
TICKETS_COUNTED = "raffle_tickets_counted"
#: A tier that a programme gives until a day, or ends.
TIER_GIVEN = "tier_given"
MET, UNMET, EARNED, WITHDRAWN, VOID, ENDED = "met", "unmet", "earned", "withdrawn", "void", "ended"
BEGUN = "begun"
#: Name of the records of how often challenges are met, and of the state that adds windows to it which are forgotten.
TIMES, MET_BEFORE = "times", "challenge_met_before"

#: The kinds that `take_played` knows.
KINDS = frozenset({
    CHALLENGE, CHALLENGE_SPAN, CHALLENGE_BY, CHALLENGE_AWARD, CHALLENGE_REWARD, CHALLENGE_TIER, ACCEPTED,
    BADGE, BADGE_BY, TICKETS, TICKETS_BY, TICKETS_COUNTED, MET_BEFORE,
})  # fmt: skip

_to_us = lru_cache(maxsize=1 << 12)(to_us)


class Played(NamedTuple):
    """One thing of a member's play.

    Attributes:
        state: of a challenge's window `BEGUN`, `MET` or `UNMET`; of a badge `EARNED`; of tickets their raffle.
        at_us: since when it is in that state.
        begins_us, ends_us: of a window with a beginning of its own; ends_us is exclusive.
        rule, version: what gave it.
        origin: name of the order, or of the challenge's window, that it came with; empty for another fact.
        lines: of the order, from 1, that brought it, with commas; empty: all.
        number: of a window what it needed; of tickets how many; of all windows of a challenge how many are met.
        award, points: entry and points that a window gave.
        reward: name of the redemption that it gave.
        tier, tier_day: the level that it gave, and until which local day.
        counted: the cap key that counted it; empty without a cap.
    """

    state: str
    at_us: int = 0
    begins_us: int = 0
    ends_us: int = 0
    rule: str = ""
    version: int = 0
    origin: str = ""
    lines: str = ""
    number: int = 0
    award: str = ""
    points: int = 0
    reward: str = ""
    tier: str = ""
    tier_day: str = ""
    counted: str = ""


def window_name(challenge: str, label: str) -> str:
    """Return the name of a window of a challenge, as its states have it."""
    return f"{challenge}|{label}"


def counter_key(name: str) -> str:
    """Return the key of the counter of a window's progress."""
    return f"{CHALLENGE} {name}"


def record(what: str, name: str) -> str:
    """Return the name of a record: its kind, and the name among those of its kind."""
    return f"{what}|{name}"


def times_met(played: dict[str, Played], challenge: str) -> int:
    """Return how often a challenge is met, windows that were forgotten included."""
    found = played.get(record(TIMES, challenge))
    return 0 if found is None else found.number


def windows_of(played: dict[str, Played], challenge: str) -> Iterator[tuple[str, Played]]:
    """Yield label and record of the windows of a challenge that began by themselves, or were met."""
    begin = record(CHALLENGE, f"{challenge}|")
    for name, found in played.items():
        if name.startswith(begin):
            yield name.removeprefix(begin), found


def take_played(played: dict[str, Played], change: StateChange) -> None:
    """Change a member's play by a state of a decision, of one of `KINDS`."""
    what, name, state = change.what, change.id, change.state
    if what in (MET_BEFORE, CHALLENGE):
        _take_met(played, change)
    elif what == CHALLENGE_SPAN:
        begins, _, ends = state.partition("/")
        played[record(CHALLENGE, name)] = Played(BEGUN, _to_us(begins), _to_us(begins), _to_us(ends))
    elif what in (BADGE, TICKETS, ACCEPTED):
        _take_prize(played, what, name, state, _to_us(change.occurred_at))
    elif what in (BADGE_BY, TICKETS_BY):
        key = record(BADGE if what == BADGE_BY else TICKETS, name)
        rule, version, lines, origin = state.split(" ", 3)
        by = played[key]._replace(rule=rule, version=int(version), lines=lines.removeprefix("-"), origin=origin)
        played[key] = by
    elif what == TICKETS_COUNTED:
        played[record(TICKETS, name)] = played[record(TICKETS, name)]._replace(counted=state)
    else:
        _take_gain(played, what, name, state)


def _take_met(played: dict[str, Played], change: StateChange) -> None:
    """Take down that a window is met, or is not met any more; and how often its challenge is."""
    times = record(TIMES, change.id.partition("|")[0])
    if change.what == MET_BEFORE:
        step = int(change.state)
    else:
        key = record(CHALLENGE, change.id)
        before = played.get(key, Played(BEGUN))
        step = (change.state == MET) - (before.state == MET)
        at_us = _to_us(change.occurred_at)
        played[key] = Played(change.state, at_us, before.begins_us, before.ends_us)
    number = step + (played[times].number if times in played else 0)
    if number > 0:
        played[times] = Played("", number=number)
    else:
        played.pop(times, None)


def _take_prize(played: dict[str, Played], what: str, name: str, state: str, at_us: int) -> None:
    key = record(what, name)
    if state in (WITHDRAWN, VOID):
        played.pop(key, None)
    elif what == ACCEPTED:
        if key not in played or at_us < played[key].at_us:
            played[key] = Played(state, at_us)
    elif what == BADGE:
        played[key] = Played(state, at_us)
    else:
        number, _, raffle = state.partition(" ")
        played[key] = Played(raffle, at_us, number=int(number))


def _take_gain(played: dict[str, Played], what: str, name: str, state: str) -> None:
    """Take down what a window that was met gave."""
    key = record(CHALLENGE, name)
    first, _, second = state.partition(" ")
    if what == CHALLENGE_BY:
        played[key] = played[key]._replace(version=int(first), number=int(second))
    elif what == CHALLENGE_AWARD:
        played[key] = played[key]._replace(award=first, points=int(second))
    elif what == CHALLENGE_REWARD:
        played[key] = played[key]._replace(reward=state)
    elif what == CHALLENGE_TIER:
        played[key] = played[key]._replace(tier=first, tier_day=second)


# ---- what an alias brings ----


def states_of(others: dict[str, Played], own: dict[str, Played]) -> Iterator[tuple[str, str, str, int]]:
    """Yield the states by which another's play becomes a member's own: (kind, name, state, since when, 0 for now).

    A badge that both have is the member's own, and so is a window, unless only the other's is met.
    """
    met: dict[str, int] = {}
    for key, other in others.items():
        kind, _, name = key.partition("|")
        if kind == CHALLENGE:
            met[name.partition("|")[0]] = met.get(name.partition("|")[0], 0) + (other.state == MET)
            if key not in own or (other.state == MET and own[key].state != MET):
                yield from _window_states(name, other)
        elif kind != TIMES and key not in own:
            said = f"{other.number} {other.state}" if kind == TICKETS else other.state
            yield kind, name, said, other.at_us
            if kind in (BADGE, TICKETS):
                by = f"{other.rule} {other.version} -{other.lines} {other.origin}"
                yield BADGE_BY if kind == BADGE else TICKETS_BY, name, by, other.at_us
            if other.counted:
                yield TICKETS_COUNTED, name, other.counted, other.at_us
    for key, other in others.items():
        kind, _, name = key.partition("|")
        if kind == TIMES and other.number > met.get(name, 0):
            yield MET_BEFORE, name, str(other.number - met.get(name, 0)), 0


def _window_states(name: str, other: Played) -> Iterator[tuple[str, str, str, int]]:
    if other.ends_us:
        yield CHALLENGE_SPAN, name, f"{to_text(other.begins_us)}/{to_text(other.ends_us)}", other.begins_us
    if other.state == BEGUN:
        return
    yield CHALLENGE, name, other.state, other.at_us
    if other.state == MET:
        yield CHALLENGE_BY, name, f"{other.version} {other.number}", other.at_us
        if other.award:
            yield CHALLENGE_AWARD, name, f"{other.award} {other.points}", other.at_us
        if other.reward:
            yield CHALLENGE_REWARD, name, other.reward, other.at_us
        if other.tier:
            yield CHALLENGE_TIER, name, f"{other.tier} {other.tier_day}", other.at_us
