"""Who is written to, by which channel, and when not: consent from the profile, quiet limits from the programme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from engine.ledger.member import Member
from rules.book import Moment, NoticePlan, Programme, QuietPlan
from rules.local_time import wall_us
from schemas.decisions import Decision
from schemas.envelope import Fact
from schemas.ids import hash_id
from schemas.money import minor_digits
from schemas.notices import EffectForm, Notice, Suppressed, Value
from schemas.times import DAY_US, SECOND_US, to_text, to_us


class Why(NamedTuple):
    """Why a moment came, in words, and the numbers and names that these are made from."""

    text: str
    fields: Mapping[str, Value]


_UNITS = ((DAY_US, "day"), (3600 * SECOND_US, "hour"), (60 * SECOND_US, "minute"))


def length_text(length_us: int) -> str:
    """Return a length of time in its largest whole unit: ``24 hours``, ``3 days``."""
    for unit_us, name in _UNITS:
        number = length_us // unit_us
        if number and length_us % unit_us == 0:
            return f"{number} {name}{'' if number == 1 else 's'}"
    return f"{length_us // SECOND_US} seconds"


def amount_text(minor: int, currency: str) -> str:
    """Return an amount of money in words of its currency: ``100.00 EUR``."""
    digits = minor_digits(currency)
    whole, rest = divmod(minor, 10**digits)
    return f"{whole}.{rest:0{digits}d} {currency}" if digits else f"{whole} {currency}"


def make_notice(
    member: Member,
    moment: Moment,
    plan: NoticePlan,
    fact: Fact,
    programme: Programme,
    why: Why,
    decision: Decision,
    effects: Sequence[EffectForm] = (),
    suppressed: Suppressed | None = None,
) -> Notice:
    """Return the notice of a moment, made or suppressed.

    Args:
        member: as he stood before.
        fact: what brought the moment, or stands for the timer that did.
        decision: so far; what was given with the notice stands there.
        effects: what was given with it.
        suppressed: why it is not made, where that is known before consent and limits are asked.

    Raises:
        ProfileClosed: consent cannot be read here.
    """
    at_us = spoken_us(member, plan, fact.time_us, programme)
    channel = channel_of(member, plan)
    expires_us = None if plan.expires_us is None else fact.time_us + plan.expires_us
    if suppressed is None:
        quiet = () if programme.moments is None else programme.moments.quiet
        if channel is None:
            suppressed = "no_consent"
        elif expires_us is not None and expires_us <= at_us:
            suppressed = "expired"
        elif crowded([*member.told, *told_of(decision.notices)], quiet, channel, at_us):
            suppressed = "quiet"
    profile = member.profile
    return Notice(
        hash_id(fact.source, fact.id, member.key, "notice", moment.id, str(programme.version)),
        member.key,
        moment.id,
        programme.version,
        programme.hash,
        moment.word,
        "made" if suppressed is None else "suppressed",
        suppressed,
        plan.template,
        fact.source,
        fact.id,
        fact.time,
        channel,
        None if profile is None or channel is None else profile.language,
        values_of(member, why, effects, decision),
        {"text": why.text, "fields": dict(why.fields)},
        to_text(at_us),
        None if expires_us is None else to_text(expires_us),
        effects,
    )


def channel_of(member: Member, plan: NoticePlan) -> str | None:
    """Return the channel: the preferred one where it may be used, else the first; None without consent to any."""
    profile = member.profile
    if profile is None:
        return None
    allowed = sorted(profile.consents) if plan.channels is None else plan.channels
    open_to = [channel for channel in allowed if channel in profile.consents]
    if profile.preferred_channel in open_to:
        return profile.preferred_channel
    return open_to[0] if open_to else None


def spoken_us(member: Member, plan: NoticePlan, time_us: int, programme: Programme) -> int:
    """Return from when on it may be said: not before the member's timeline stands there, nor before the hour of its day."""
    now_us = member.now_us(time_us)
    if plan.at_us is None:
        return now_us
    return max(now_us, wall_us(now_us, plan.at_us, programme.time_zone))


def crowded(told: Iterable[tuple[str, int]], quiet: Sequence[QuietPlan], channel: str, at_us: int) -> bool:
    """Tell whether one more notice at a moment would be too many in some stretch of time of a limit's length."""
    for limit in quiet:
        if limit.channels is not None and channel not in limit.channels:
            continue
        times = sorted([us for by, us in told if limit.channels is None or by in limit.channels] + [at_us])
        place = times.index(at_us)
        for first in range(max(0, place - limit.at_most), place + 1):
            last = first + limit.at_most
            if last < len(times) and times[last] - times[first] < limit.within_us:
                return True
    return False


def values_of(member: Member, why: Why, effects: Sequence[EffectForm], decision: Decision) -> dict[str, Value]:
    """Return what a text may say: the moment's fields, the points he has then, and what was given."""
    balance = member.balance + sum([entry.points for entry in decision.entries])
    values: dict[str, Value] = {**why.fields, "balance": balance}
    for effect in effects:
        if effect["kind"] == "points":
            values["points"] = effect["points"]
        elif effect["kind"] == "reward":
            values["reward"] = effect["reward"]
            if "code" in effect:
                values["code"] = effect["code"]
        else:
            values["tier"], values["until"] = effect["tier"], effect["until"]
    return values


def told_of(notices: Iterable[Notice]) -> list[tuple[str, int]]:
    """Return channel and moment of the notices that were made: what limits count."""
    return [
        (notice.channel, to_us(notice.not_before))
        for notice in notices
        if notice.state == "made" and notice.channel is not None and notice.not_before is not None
    ]
