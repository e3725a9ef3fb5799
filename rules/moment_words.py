"""Moments in plain words, the way one would read them to the person who owns the shop."""

from __future__ import annotations

from rules.compiling import cap_text
from rules.language import ProgrammeFile
from rules.moment_language import MomentRule, NotFollowedBy, Quiet, Silence, Wanted, When
from rules.parts import Notice
from rules.values import plain, share_text
from rules.words import part_words


def moment_words(rule: MomentRule) -> str:
    """Return when a rule comes and for whom: ``no purchase for 3 times the usual gap, at least 21 days; tier regular``."""
    parts = [_on(rule)]
    parts += [] if rule.when is None else [part_words(rule.when)]
    parts += [] if rule.unless is None else [f"unless {part_words(rule.unless)}"]
    parts += [f"from {rule.from_}"] if rule.from_ is not None else []
    parts += [f"until {rule.until}"] if rule.until is not None else []
    if rule.hold_out is not None:
        parts.append(f"not for {share_text(rule.hold_out)} of the members, who are held out")
    return "; ".join(parts)


def given_words(rule: MomentRule) -> str:
    """Return what a rule gives and says: ``50 points, notice birthday by email``."""
    parts = []
    if rule.award is not None:
        parts.append(f"{rule.award.points} point{'' if rule.award.points == 1 else 's'}")
    if rule.reward is not None:
        parts.append(f"{rule.reward}, free of cost")
    if rule.challenge is not None:
        parts.append(f"offers challenge {rule.challenge}")
    if rule.tier is not None:
        parts.append(f"tier {rule.tier.level} for {rule.tier.for_}")
    if rule.notice is not None:
        parts.append(_notice(rule.notice))
    said = ", ".join(parts) or "nothing"
    return f"{said}; {cap_text(rule.cap)}" if rule.cap is not None else said


def quiet_words(document: ProgrammeFile) -> list[str]:
    """Return the limits on notices, one line each."""
    return [_quiet(limit) for limit in document.quiet or ()]


def _quiet(limit: Quiet) -> str:
    by = "" if limit.channel is None else f" by {' or '.join(limit.channel)}"
    return f"at most {limit.at_most} notice{'' if limit.at_most == 1 else 's'}{by} within {limit.within}"


def _notice(notice: Notice) -> str:
    by = "the preferred channel" if notice.channels is None else " or ".join(notice.channels)
    at = "" if notice.at is None else f", not before {notice.at}"
    until = "" if notice.expires is None else f", within {notice.expires}"
    return f"notice {notice.template} by {by}, with consent{at}{until}"


def _on(rule: MomentRule) -> str:
    on = rule.on
    if not isinstance(on, When):
        plain_words = {"birthday": "on the birthday", "anniversary": "a year or more after joining"}
        return plain_words.get(on, "another tier than before" if on == "tier_changed" else f"each {on}")
    for name, before in (("birthday", on.birthday), ("anniversary", on.anniversary)):
        if before is not None:
            return f"{_days(before.days_before)} before the {name}"
    if on.points_expiring is not None:
        least = f"{on.points_expiring.at_least} or more points expire"
        return f"{_days(on.points_expiring.days_before)} before {least}"
    if on.silence is not None:
        return _silence(on.silence)
    if on.not_followed_by is not None:
        return _follow(on.not_followed_by)
    if on.segment_entered is not None:
        return f"enters segment {' or '.join(on.segment_entered.segment)}"
    if on.spent is not None:
        return f"with this purchase {on.spent.at_least} or more spent within {on.spent.within}"
    to = "" if on.tier_changed is None or on.tier_changed.to is None else f" to {' or '.join(on.tier_changed.to)}"
    way = "" if on.tier_changed is None or on.tier_changed.way is None else f" {on.tier_changed.way}"
    return f"the tier changes{way}{to}"


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number} days"


def _silence(silence: Silence) -> str:
    times = [] if silence.times_usual_gap is None else [f"{plain(silence.times_usual_gap)} times the usual gap"]
    floor = [] if silence.at_least is None else [f"{'at least ' if times else ''}{silence.at_least}"]
    return f"no purchase for {', '.join([*times, *floor])}"


def _follow(follow: NotFollowedBy) -> str:
    after, by = (_wanted(said) for said in (follow.after, follow.by))
    same = "" if follow.same is None else f" of the same {follow.same}"
    return f"{after} and no {by}{same} within {follow.within}"


def _wanted(said: str | Wanted) -> str:
    if isinstance(said, str):
        return said
    return said.on if said.when is None else f"{said.on} ({part_words(said.when)})"
