"""What a programme file says that cannot be meant: it is correct, it runs, and a rule of it never does what it says.

Each contradiction has a name, so that people can look it up and scripts can tell one from another. They are no mistakes of
`rules.checks`: a log may hold such a version, and it is decided as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from rules.checks import GIVEN
from rules.draft import Path
from rules.language import EarnRule, ProgrammeFile
from rules.moment_language import MomentRule, When
from rules.parts import Cap, Condition, Limit, Range
from rules.play import Challenge, Window
from rules.values import LocalMoment
from schemas.times import DAY_US

PHASES = ("base", "bonus", "multiply", "limit")
# What `Token` of schemas.facts refuses, and so no profile can say of a channel.
_NO_CHANNEL = re.compile(r"[\x00-\x1f\x7f|]|.{129}")
_SETS = ("sku", "category", "channel", "store", "place", "weekday", "tier", "name", "via")
_RANGES = ("amount", "quantity", "days_since_joined", "days_since_last_purchase", "rating")
_A_YEAR = {"day": 366, "week": 54, "month": 12, "quarter": 4, "year": 1, "ever": 1}


class Contradiction(NamedTuple):
    """Two things that cannot both be meant, by name, with the place of the one to look at first."""

    name: str
    path: Path
    message: str
    proposal: str


def contradictions(document: ProgrammeFile) -> list[Contradiction]:
    """Return every contradiction of one version, in the order of the file."""
    found = [one for look in _LOOKS for one in look(document)]
    return sorted(
        found, key=lambda one: [str(part).rjust(6, "0") if isinstance(part, int) else part for part in one.path]
    )


# ---- a cap below the award ----


def _caps(document: ProgrammeFile) -> Iterator[Contradiction]:
    for index, rule in enumerate(document.earn):
        award = rule.award
        if award is None or award.per is not None or award.points is None:
            continue
        if rule.cap is not None and rule.cap.points is not None and rule.cap.points < award.points:
            text = f"it awards {award.points} at a time, and its cap leaves {rule.cap.points} at most"
            yield Contradiction(
                "cap_below_award", ("earn", index, "cap"), text, f"write points: {award.points} or more"
            )
        for other in document.earn:
            if _cuts(other.limit, rule, award.points) and other.on == rule.on:
                place: Path = ("earn", document.earn.index(other), "limit")
                text = f"the award of {rule.id} is {award.points}, and this limit leaves less"
                yield Contradiction("cap_below_award", place, text, f"write points: {award.points} or more")
    for side in ("referrer", "referred"):
        said = None if document.refer is None else getattr(document.refer, side)
        given, cap = getattr(said, "points", None), getattr(said, "cap", None)
        if given is not None and cap is not None and cap.points is not None and cap.points < given:
            text = f"it awards {given} at a time, and its cap leaves {cap.points} at most"
            yield Contradiction("cap_below_award", ("refer", side, "cap"), text, f"write points: {given} or more")


def _fixed(rule: EarnRule) -> int | None:
    """Return the points of an award that is the same each time, None for any other."""
    if rule.award is None or rule.award.per is not None:
        return None
    points: int | None = rule.award.points
    return points


def _cuts(limit: Limit | None, rule: EarnRule, points: int) -> bool:
    if limit is None or limit.points is None or (limit.only is not None and rule.id not in limit.only):
        return False
    return limit.points < points


# ---- a rule that can never fire ----


def _never(document: ProgrammeFile) -> Iterator[Contradiction]:
    silent = {index: why for index, rule in enumerate(document.earn) if (why := _why_never(rule, document))}
    for index, (text, proposal) in silent.items():
        yield Contradiction("never_fires", ("earn", index), text, proposal)
    names = {document.earn[index].id for index in silent}
    for index, rule in enumerate(document.earn):
        for effect in ("multiply", "limit"):
            only = getattr(getattr(rule, effect), "only", None)
            if index not in silent and only and set(only) <= names:
                text = f"every rule it is about can never fire: {', '.join(only)}"
                yield Contradiction("never_fires", ("earn", index, effect, "only"), text, "mend those, or take it out")
    yield from _stopped(document)


def _why_never(rule: EarnRule, document: ProgrammeFile) -> tuple[str, str] | None:
    said = [part for part in (rule.when,) if part is not None]
    spans = [(rule.from_, rule.until)]
    holding = [part for condition in said for part in _together(condition)]
    spans += [(part.from_, part.until) for part in holding]
    return (
        _dates(spans, document) or _sets(holding, rule.unless) or _ranges(holding) or _firsts(holding) or _against(rule)
    )


def _together(condition: Condition) -> list[Condition]:
    """Return the conditions that must all hold at once."""
    return [condition, *(inner for part in condition.all or () for inner in _together(part))]


def _ends(moment: LocalMoment) -> Any:
    return moment.local + timedelta(days=1) if moment.whole_day else moment.local


def _dates(
    spans: Sequence[tuple[LocalMoment | None, LocalMoment | None]], document: ProgrammeFile
) -> tuple[str, str] | None:
    begins = [document.valid.from_, *(begin for begin, _ in spans if begin is not None)]
    ends = [end for _, end in spans if end is not None]
    if document.valid.until is not None:
        ends.append(document.valid.until)
    latest = max(begins, key=lambda moment: moment.local)
    if ends and _ends(earliest := min(ends, key=_ends)) <= latest.local:
        text = f"it begins {latest} and is over by {earliest}, as rule, conditions and version say together"
        return text, "give it dates inside the version's"
    return None


def _sets(holding: Sequence[Condition], unless: Condition | None) -> tuple[str, str] | None:
    for name in _SETS:
        wanted: set[Any] | None = None
        for condition in holding:
            if (words := getattr(condition, name, None)) is not None:
                wanted = set(words) if wanted is None else wanted & set(words)
        if wanted is not None and not wanted:
            return f"no {name} is all that its conditions ask for", "ask for one of them, or use any"
        without = [unless] if unless is not None else []
        without += [condition.not_ for condition in holding if condition.not_ is not None]
        for other in without:
            excluded = getattr(other, name, None)
            if wanted and excluded and other.model_fields_set == {name} and wanted <= set(excluded):
                return f"it asks for {name} {', '.join(sorted(wanted))} and excludes it", "take one of the two out"
    return None


def _ranges(holding: Sequence[Condition]) -> tuple[str, str] | None:
    for name in _RANGES:
        ranges = [value for condition in holding if isinstance(value := getattr(condition, name), Range)]
        lows = [low for value in ranges if (low := getattr(value, "at_least", None)) is not None]
        highs = [high for value in ranges if (high := getattr(value, "below", None)) is not None]
        if lows and highs and max(lows) >= min(highs):
            return f"no {name} is at least {max(lows)} and below {min(highs)}", "let the ranges meet"
    return None


def _firsts(holding: Sequence[Condition]) -> tuple[str, str] | None:
    if not any(condition.first_purchase is True for condition in holding):
        return None
    for condition in holding:
        if condition.first_purchase is False:
            return "a purchase is the first one or it is not", "take one of the two out"
        if condition.days_since_last_purchase is not None:
            return "before the first purchase there is no last one", "take days_since_last_purchase out"
        if condition.spent is not None and condition.spent.at_least.minor > 0:
            return "before the first purchase nothing was spent", "take spent out"
        nth = getattr(condition, "every_nth", None)
        if nth is not None:
            return f"the first purchase is not number {nth.n}", "take every_nth out"
    return None


def _against(rule: EarnRule) -> tuple[str, str] | None:
    if rule.when is not None and rule.unless is not None and rule.when == rule.unless:
        return "when and unless say the same", "take one of them out"
    return None


def _stopped(document: ProgrammeFile) -> Iterator[Contradiction]:
    """A rule that always applies and says stop leaves nothing to those after it."""
    ordered = sorted(enumerate(document.earn), key=lambda pair: _order(pair[1]))
    for place, (_, first) in enumerate(ordered):
        always = first.when is None and first.unless is None and first.from_ is None and first.until is None
        if not (first.stop and always and first.exclusive is None):
            continue
        for index, rule in ordered[place + 1 :]:
            if rule.on == first.on and rule.limit is None:
                text = f"{first.id} comes before it, always applies, and says stop"
                yield Contradiction("never_fires", ("earn", index), text, f"give it a higher priority than {first.id}")


def _order(rule: EarnRule) -> tuple[int, int, str]:
    bonus = rule.bonus or any(getattr(rule, effect) is not None for effect in GIVEN)
    phase = "limit" if rule.limit else "multiply" if rule.multiply else "bonus" if bonus else "base"
    return PHASES.index(phase), -rule.priority, rule.id


# ---- a tier nobody can reach ----


def _tiers(document: ProgrammeFile) -> Iterator[Contradiction]:
    tiers = document.tiers
    if tiers is None or tiers.qualify.by != "points":
        return
    over = tiers.qualify.over
    years = (
        {"calendar_year": 1, "membership_year": 2}.get(over) if isinstance(over, str) else over.rolling.months // 12 + 2
    )
    most = most_points(document, years)
    for index, level in enumerate(tiers.levels):
        if most is not None and isinstance(level.from_, int) and level.from_ > most:
            text = f"{level.id} begins at {level.from_} points, and all caps together leave {most} at most"
            place: Path = ("tiers", "levels", index, "from")
            yield Contradiction("unreachable_tier", place, text, f"write from: {most} or less, or raise the caps")


def most_points(document: ProgrammeFile, years: int | None) -> int | None:
    """Return the most points that rules can give a member, None where nothing bounds them.

    Args:
        document: the version.
        years: calendar years that the time touches; None: ever.
    """
    kinds = {rule.on for rule in document.earn if rule.award is not None}
    # A limit is about one kind of fact: only where all awards are on that kind it bounds the whole.
    limits = [
        rule.limit
        for rule in document.earn
        if rule.limit is not None and rule.limit.only is None and kinds == {rule.on}
    ]
    of_limits = [bound for limit in limits if (bound := _bound(limit, years)) is not None]
    if of_limits:
        return min(of_limits)
    if kinds and (any(rule.multiply is not None for rule in document.earn) or _multiplying(document)):
        return None
    bounds = [_of_rule(rule, years) for rule in document.earn if rule.award is not None]
    known = [bound for bound in bounds if bound is not None]
    return sum(known) if len(known) == len(bounds) else None


def _multiplying(document: ProgrammeFile) -> bool:
    return document.tiers is not None and any(level.multiply not in (None, 1) for level in document.tiers.levels)


def _of_rule(rule: EarnRule, years: int | None) -> int | None:
    if rule.cap is None or rule.award is None:
        return None
    if rule.cap.points is not None:
        return _bound(rule.cap, years)
    times, points = _windows(rule.cap.every, rule.cap.per, years), _fixed(rule)
    if times is None or rule.cap.times is None or points is None or rule.award.each == "line":
        return None
    return times * rule.cap.times * points


def _bound(cap: Cap, years: int | None) -> int | None:
    windows = _windows(cap.every, cap.per, years)
    return None if windows is None or cap.points is None else windows * int(cap.points)


def _windows(every: str, per: tuple[str, ...], years: int | None) -> int | None:
    if "place" in per or (years is None and every != "ever"):
        return None
    return 1 if every == "ever" else _A_YEAR[every] * (years or 1)


# ---- an award that buys good reviews ----


def _reviews(document: ProgrammeFile) -> Iterator[Contradiction]:
    for index, rule in enumerate(document.earn):
        if rule.on != "review":
            continue
        for key in ("when", "unless"):
            condition = getattr(rule, key)
            if condition is not None and _asks_rating(condition):
                text = "the award depends on the rating: what is paid for then is no review"
                yield Contradiction("award_depends_on_rating", ("earn", index, key), text, "take rating out of it")


def _asks_rating(condition: Condition) -> bool:
    inner = [*(condition.all or ()), *(condition.any or ()), *([condition.not_] if condition.not_ else ())]
    return condition.rating is not None or any(map(_asks_rating, inner))


# ---- a reward nobody can afford ----


def _rewards(document: ProgrammeFile) -> Iterator[Contradiction]:
    most = None if document.refer is not None else most_points(document, None)
    for index, reward in enumerate(getattr(document, "rewards", None) or ()):
        cost = getattr(reward, "cost", None)
        if isinstance(cost, int) and most is not None and cost > most:
            text = f"it costs {cost}, and all caps together leave {most} at most, ever"
            yield Contradiction("unaffordable_reward", ("rewards", index, "cost"), text, f"write cost: {most} or less")


# ---- a challenge nobody can meet, a raffle nobody can check ----


def _challenges(document: ProgrammeFile) -> Iterator[Contradiction]:
    offered = {rule.challenge for rule in document.earn} | {rule.challenge for rule in document.moments or ()}
    for index, challenge in enumerate(document.challenges or ()):
        path: Path = ("challenges", index)
        if challenge.window.begins == "offered" and challenge.id not in offered:
            text = "it begins when a rule offers it, and none does"
            yield Contradiction("never_begins", (*path, "window", "begins"), text, "add a rule with challenge: to earn")
        why = _never_counts(challenge, document) or _too_many(challenge, document)
        if why is not None:
            yield Contradiction("unreachable_challenge", path, *why)


def _never_counts(challenge: Challenge, document: ProgrammeFile) -> tuple[str, str] | None:
    holding = [] if challenge.when is None else _together(challenge.when)
    spans = [(challenge.window.from_, challenge.window.until), *((part.from_, part.until) for part in holding)]
    found = _dates(spans, document) or _sets(holding, challenge.unless) or _ranges(holding) or _firsts(holding)
    if found is None and challenge.when is not None and challenge.when == challenge.unless:
        return "when and unless say the same", "take one of them out"
    return found


def _too_many(challenge: Challenge, document: ProgrammeFile) -> tuple[str, str] | None:
    """Say why nobody can have so many facts in the window, None if somebody may."""
    need = challenge.need
    if not isinstance(need, int) or need < _TWO:
        return None
    firsts = challenge.when is not None and any(part.first_purchase is True for part in _together(challenge.when))
    if challenge.on in {"joined", "referral"} or firsts:
        once = "the first purchase" if firsts else challenge.on
        return f"a member has {once} once, and it needs {need}", "write need: 1"
    length_us = _length_us(challenge.window)
    stores = None if challenge.when is None else challenge.when.store
    if challenge.on == "visit" and length_us is not None and stores is not None:
        # Visits at one store are one until the gap is over; at another store they count anew.
        most = len(stores) * (length_us // (document.visit_gap.length_us + 1) + 1)
        if need > most:
            gap = document.visit_gap
            return (
                f"visits closer than {gap} are one: at most {most} fit into its window, it needs {need}",
                "ask for less",
            )
    return None


_TWO = 2
_DAYS = {"day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}


def _length_us(window: Window) -> int | None:
    if window.within is not None:
        return int(window.within.length_us)
    if window.every is not None:
        return _DAYS[window.every] * DAY_US
    if window.from_ is None or window.until is None:
        return None
    utc = ZoneInfo("UTC")
    return window.until.ends_us(utc) - window.from_.begins_us(utc)


def _raffles(document: ProgrammeFile) -> Iterator[Contradiction]:
    given = {rule.raffle.name for rule in document.earn if rule.raffle is not None}
    given |= {one.then.raffle.name for one in document.challenges or () if one.then.raffle is not None}
    for index, raffle in enumerate(document.raffles or ()):
        path: Path = ("raffles", index)
        if raffle.commitment is None:
            text = "nobody can check its draw: the hash of its secret must be known before the first ticket"
            yield Contradiction("raffle_without_commitment", path, text, "make one by stammgast raffle secret")
        if raffle.id not in given:
            yield Contradiction(
                "raffle_without_tickets", path, "nothing gives tickets of it", "add a rule with raffle:"
            )
        late = _dates([(raffle.from_, raffle.until)], document)
        if late is not None:
            yield Contradiction("raffle_without_time", path, *late)


# ---- a moment that never comes, or of which nobody hears ----


def _moments(document: ProgrammeFile) -> Iterator[Contradiction]:
    for index, rule in enumerate(document.moments or ()):
        place: Path = ("moments", index)
        if never := _moment_never(rule, document):
            yield Contradiction("never_fires", (*place, "on"), *never)
        points = None if rule.award is None else rule.award.points
        if points and rule.cap is not None and rule.cap.points is not None and rule.cap.points < points:
            text = f"it awards {points} at a time, and its cap leaves {rule.cap.points} at most"
            yield Contradiction("cap_below_award", (*place, "cap"), text, f"write points: {points} or more")
        if _never_said(rule):
            text = "it comes at midnight, and has expired before the hour from which on it may be said"
            yield Contradiction("never_said", (*place, "notice", "expires"), text, "let it expire later")
        if unheard := _unheard(rule):
            yield Contradiction("never_said", (*place, "notice", "channels"), *unheard)


def _unheard(rule: MomentRule) -> tuple[str, str] | None:
    """Return why nobody can be told by the channels of a notice."""
    channels = None if rule.notice is None else rule.notice.channels
    if channels is None:
        return None
    if all(_NO_CHANNEL.search(channel) for channel in channels):
        return (
            f"no profile can consent to {', '.join(channels)}",
            "name channels without | and of at most 128 characters",
        )
    without = rule.unless
    if without is not None and without.model_fields_set == {"consent"} and set(channels) <= set(without.consent or ()):
        text = f"it comes to those alone who do not consent to {', '.join(channels)}"
        return text, "take consent out of unless, or name another channel"
    return None


def _never_said(rule: MomentRule) -> bool:
    notice = rule.notice
    if notice is None or notice.at is None or notice.expires is None or not _at_midnight(rule):
        return False
    return notice.expires.length_us <= notice.at.day_us


def _moment_never(rule: MomentRule, document: ProgrammeFile) -> tuple[str, str] | None:
    holding = [] if rule.when is None else _together(rule.when)
    spans = [(rule.from_, rule.until), *[(part.from_, part.until) for part in holding]]
    found = _dates(spans, document) or _sets(holding, rule.unless) or _ranges(holding)
    if found is not None or not isinstance(rule.on, When):
        return found
    if rule.on.points_expiring is not None and not _expiring(document):
        return "points of this programme never expire", "say when they expire, or take the rule out"
    changed, tiers = rule.on.tier_changed, document.tiers
    if changed is not None and changed.to is not None and tiers is not None:
        heights = {level.id: height for height, level in enumerate(tiers.levels)}
        edge = 0 if changed.way == "up" else len(heights) - 1 if changed.way == "down" else -1
        if all(heights.get(level) == edge for level in changed.to):
            return f"nobody goes {changed.way} to {', '.join(changed.to)}", "take way out, or name another level"
    return None


def _expiring(document: ProgrammeFile) -> bool:
    said = [document.points.expire, *[rule.expire for rule in document.earn]]
    said += [] if document.tiers is None else [level.expire for level in document.tiers.levels]
    return any(expire not in (None, "none") for expire in said)


def _at_midnight(rule: MomentRule) -> bool:
    if isinstance(rule.on, When):
        return bool(rule.on.model_fields_set & {"birthday", "anniversary", "points_expiring", "silence"})
    return rule.on in ("birthday", "anniversary")


_LOOKS: tuple[Callable[[ProgrammeFile], Iterator[Contradiction]], ...] = (
    _caps,
    _never,
    _tiers,
    _reviews,
    _rewards,
    _challenges,
    _raffles,
    _moments,
)
