"""From the checked rules of `moments:` to what the ledger reads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from zoneinfo import ZoneInfo

from rules.compiling_play import given_tier, notice_plan
from rules.conditions import compile_lines
from rules.language import ProgrammeFile
from rules.moment_language import MomentRule, NotFollowedBy, Quiet, When
from rules.moment_language import Wanted as WantedSaid
from rules.parts import Condition
from rules.plan import DATES, Cap, Moment, MomentPlan, QuietPlan, Rule, Wanted
from rules.values import LocalMoment, share_text

#: Hold-outs choose members by numbers below this.
MEMBER_NUMBERS = 1 << 32
FACT_WORDS = ("purchase", "visit", "review", "activity", "joined", "referral")
#: Facts with which something may begin that should be followed by another, and which may follow; any other word is an activity.
FOLLOWING = ("purchase", "visit", "review")
#: Which facts bring a moment that is no word of a fact.
_BROUGHT_BY = {"spent": "purchase", "segment_entered": "segment"}


class Said(NamedTuple):
    """A rule as conditions see it."""

    on: str
    when: Condition | None
    unless: Condition | None = None
    from_: LocalMoment | None = None
    until: LocalMoment | None = None


def word_of(rule: MomentRule) -> str:
    """Return the word of a rule's moment, or the fact that it answers."""
    if isinstance(rule.on, When):
        return next(iter(rule.on.model_fields_set))
    return rule.on


def fact_of(rule: MomentRule) -> str:
    """Return the fact by whose fields the conditions of a rule may ask; the moment's word where there is none."""
    word = word_of(rule)
    return "purchase" if word == "spent" else word


def wanted_of(said: str | WantedSaid) -> tuple[str, Condition | None]:
    """Return the type and the condition of a fact that begins something, or that should follow."""
    if isinstance(said, WantedSaid):
        return said.on, said.when
    return (said, None) if said in FOLLOWING else ("activity", Condition(name=(said,)))


def moments_said(document: ProgrammeFile) -> list[Said]:
    """Return the rules that answer facts, and the facts that others wait for, as earning rules are: for counters."""
    return [
        Said(fact_of(rule), rule.when, rule.unless) for rule in document.moments or () if fact_of(rule) in FACT_WORDS
    ]


def compile_moments(document: ProgrammeFile, caps: dict[str, Cap], zone: ZoneInfo) -> MomentPlan | None:
    """Return the moments of a version, None where it has none.

    Args:
        document: checked.
        caps: of its rules, compiled, by their ids.
        zone: of the programme.
    """
    if document.moments is None:
        return None
    found = sorted((_moment(rule, caps.get(rule.id), zone) for rule in document.moments), key=lambda one: one.id)
    awaited = [one for one in found if one.word == "not_followed_by"]
    timed = tuple(one for one in found if one.word in DATES or one.word == "silence")
    at_once = [one for one in found if one.word in FACT_WORDS or one.word in _BROUGHT_BY]
    conditions = [part for rule in document.moments for part in (rule.when, rule.unless)]
    conditions += [
        wanted_of(said)[1]
        for rule in document.moments
        if isinstance(rule.on, When) and rule.on.not_followed_by is not None
        for said in (rule.on.not_followed_by.after, rule.on.not_followed_by.by)
    ]
    birthday = any(one.word == "birthday" for one in found)
    return MomentPlan(
        on=_by((_BROUGHT_BY.get(one.word, one.word), one) for one in at_once),
        tier_changed=tuple(one for one in found if one.word == "tier_changed"),
        timed=timed,
        begins=_by((one.after.on, one) for one in awaited if one.after is not None),
        ends=_by((one.by.on, one) for one in awaited if one.by is not None),
        awaited={one.id: one for one in awaited},
        quiet=tuple(_quiet(limit) for limit in document.quiet or ()),
        asks_profile=birthday or any(one.notice is not None for one in found) or any(map(asks_profile, conditions)),
        asks_birthday=birthday,
    )


def asks_profile(condition: Condition | None) -> bool:
    """Tell whether a condition, or one inside it, looks at the profile."""
    if condition is None:
        return False
    inside = (*(condition.all or ()), *(condition.any or ()), condition.not_)
    return condition.profile is not None or condition.consent is not None or any(map(asks_profile, inside))


def _by(pairs: Iterable[tuple[str, Moment]]) -> dict[str, tuple[Moment, ...]]:
    found: dict[str, tuple[Moment, ...]] = {}
    for on, moment in pairs:
        found[on] = (*found.get(on, ()), moment)
    return found


def _moment(rule: MomentRule, cap: Cap | None, zone: ZoneInfo) -> Moment:
    fact = fact_of(rule)
    # Nothing but what may be asked of every fact may be asked of a moment: as of a referral.
    lines = compile_lines(
        Said(fact if fact in FACT_WORDS else "referral", rule.when, rule.unless, rule.from_, rule.until), zone
    )
    on = rule.on if isinstance(rule.on, When) else When.model_construct()
    before = on.birthday or on.anniversary or on.points_expiring
    silence, follow, changed = on.silence, on.not_followed_by, on.tier_changed
    times = None if silence is None else silence.times_usual_gap
    floor = None if silence is None else silence.at_least
    after, by = (None, None) if follow is None else _both(follow, zone)
    spent_us = 0 if on.spent is None else on.spent.within.length_us
    return Moment(
        id=rule.id,
        word=word_of(rule),
        lines=lines,
        points=0 if rule.award is None else rule.award.points,
        gift=None if rule.reward is None else Rule(rule.id, "bonus", 0, None, False, lines, reward=rule.reward),
        offers=rule.challenge,
        tier=None if rule.tier is None else given_tier(rule.tier),
        notice=None if rule.notice is None else notice_plan(rule.notice),
        cap=cap,
        hold_out=None if rule.hold_out is None else int(rule.hold_out * MEMBER_NUMBERS),
        hold_out_text="" if rule.hold_out is None else share_text(rule.hold_out),
        days_before=0 if before is None else before.days_before,
        times=None if times is None else times.as_integer_ratio(),
        at_least_us=0 if floor is None else floor.length_us,
        within_us=spent_us if follow is None else follow.within.length_us,
        at_least=_at_least(on),
        after=after,
        by=by,
        same=None if follow is None else follow.same,
        levels=None if changed is None or changed.to is None else frozenset(changed.to),
        way=None if changed is None else changed.way,
        segments=frozenset() if on.segment_entered is None else frozenset(on.segment_entered.segment),
    )


def _at_least(on: When) -> int:
    if on.points_expiring is not None:
        return int(on.points_expiring.at_least)
    return 0 if on.spent is None else on.spent.at_least.minor


def _both(follow: NotFollowedBy, zone: ZoneInfo) -> tuple[Wanted, Wanted]:
    after, by = (
        Wanted(on, compile_lines(Said(on, when), zone)) for on, when in map(wanted_of, (follow.after, follow.by))
    )
    return after, by


def _quiet(limit: Quiet) -> QuietPlan:
    return QuietPlan(limit.at_most, limit.within.length_us, None if limit.channel is None else frozenset(limit.channel))
